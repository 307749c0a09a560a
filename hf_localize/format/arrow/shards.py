"""Arrow stream files, the shards of an entry: placing, splitting and counting them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.errors import IntegrityError
from hf_localize.format.arrow.seek import check_shard
from hf_localize.format.features import portable, types_in
from hf_localize.format.files import replacing
from hf_localize.progress import counter

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_localize.format.manifest import Split

METADATA_KEY = b"huggingface"


def write_portable_shard(source: Path, target: Path, *, is_ours: bool = False) -> None:
    """Place the Arrow stream file *source* at *target* with portable schema metadata.

    The file is linked where its metadata is portable already (copied where it can't be linked);
    otherwise only the schema message at its head is written anew.

    Args:
        is_ours: *source* is nobody else's, and may be changed.

    Raises:
        IntegrityError: *source* is not an Arrow stream.
    """
    head = _portable_head(source)
    if head is None:
        link_or_copy(source, target)
        return
    message, offset = head
    if is_ours and len(message) == offset:
        with open(source, "r+b") as file:
            file.write(message)
        link_or_copy(source, target)
        return
    with open(source, "rb") as reader, open(target, "wb") as writer:
        writer.write(message)
        reader.seek(offset)
        shutil.copyfileobj(reader, writer, 1 << 20)


def make_portable(shard: Path) -> None:
    """Give the Arrow stream file *shard* portable schema metadata, if it has other.

    Raises:
        IntegrityError: it is not an Arrow stream.
    """
    if _portable_head(shard) is not None:
        with replacing(shard) as part:
            write_portable_shard(shard, part)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link *source* at *target*, or copy it where the file system does not allow a link."""
    try:
        os.link(source, target)
    except OSError:  # Where *source* is missing, the copy says so.
        shutil.copyfile(source, target)


def write_empty_shard(like: Path, target: Path) -> None:
    """Write an Arrow stream file without rows, with the schema of the one at *like*."""
    import pyarrow as pa

    with pa.memory_map(str(like)) as source, pa.ipc.open_stream(source) as reader:
        schema = portable_schema(reader.schema)
    with pa.ipc.new_stream(str(target), schema):
        pass


def split_by_rows(sources: Sequence[Path], rows: Sequence[int], targets: Sequence[Path]) -> None:
    """Write the rows of the Arrow stream files *sources*, in order, as one file for each of *rows*.

    Args:
        rows: how many rows each of *targets* gets; in sum, all that *sources* have.

    Raises:
        IntegrityError: *sources* have another number of rows, or are not Arrow streams.
    """
    import pyarrow as pa

    with contextlib.ExitStack() as opened:
        readers = [
            opened.enter_context(pa.ipc.open_stream(opened.enter_context(pa.memory_map(str(source)))))
            for source in sources
        ]
        schema = portable_schema(readers[0].schema)
        batches = _batches(sources, readers)
        batch = next(batches, None)
        for count, target in zip(rows, targets, strict=True):
            with pa.ipc.new_stream(str(target), schema) as writer:
                while count:
                    if batch is None:
                        raise IntegrityError(f"{sources[0].parent} has fewer rows than its info says")
                    writer.write_batch(batch.slice(0, count).replace_schema_metadata(schema.metadata))
                    taken = min(count, batch.num_rows)
                    count -= taken
                    batch = batch.slice(taken) if taken < batch.num_rows else next(batches, None)
        if batch is not None:
            raise IntegrityError(f"{sources[0].parent} has more rows than its info says")


def _batches(sources: Sequence[Path], readers: Sequence[pa.RecordBatchReader]) -> Iterator[pa.RecordBatch]:
    for source, reader in zip(sources, readers, strict=True):
        yield from (batch for batch in reader if batch.num_rows)
        counter(str(source))(source.stat().st_size)


def count_rows(shard: Path) -> int:
    """Return the number of rows of an Arrow stream file; only batch headers are read."""
    try:
        with open(shard, "rb") as file:
            return check_shard(file)
    except (IntegrityError, FileNotFoundError) as exc:
        raise IntegrityError(f"{shard} is not a readable Arrow stream: {exc}") from exc


def column_names(shard: Path) -> set[str]:
    """Return the names of the columns of an Arrow stream file."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
            return set(reader.schema.names)
    except (pa.ArrowException, FileNotFoundError, pa.ArrowIOError) as exc:
        raise IntegrityError(f"{shard} is not a readable Arrow stream: {exc}") from exc


def check_shards(folder: Path, splits: Iterable[Split], paths: Container[str] | None = None) -> None:
    """Check that shards in *folder* are whole Arrow streams of the rows that *splits* name.

    Args:
        paths: of the shards that are looked at; None: all.

    Raises:
        IntegrityError: one is not.
    """
    for shard in (shard for split in splits for shard in split.shards):
        if paths is None or shard.path in paths:
            try:
                with open(folder / shard.path, "rb") as file:
                    check_shard(file, shard.rows, shard.seek_points)
            except (IntegrityError, FileNotFoundError) as exc:
                raise IntegrityError(f"{folder / shard.path}: {exc}") from exc


def _portable_head(source: Path) -> tuple[bytes, int] | None:
    """Return a new schema message and the length of the old one; None where none is needed."""
    import pyarrow as pa

    try:
        with open(source, "rb") as file:
            prefix = file.read(8)
            # Encapsulated message format: continuation marker, then the metadata's length.
            # https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
            if prefix[:4] != b"\xff\xff\xff\xff" or len(prefix) != 8:
                raise IntegrityError(f"{source} is not an Arrow stream")
            offset = 8 + int.from_bytes(prefix[4:], "little")
            file.seek(0)
            schema = pa.ipc.read_schema(pa.py_buffer(file.read(offset)))
    except pa.ArrowInvalid as exc:
        raise IntegrityError(f"{source} is not an Arrow stream: {exc}") from exc
    needed = portable_schema(schema)
    return None if needed.metadata == schema.metadata else (needed.serialize().to_pybytes(), offset)


def portable_schema(schema: pa.Schema) -> pa.Schema:
    """Return *schema* with the features in its metadata in the portable spelling."""
    metadata = dict(schema.metadata or {})
    if not any(kind in metadata.get(METADATA_KEY, b"") for kind in (b'"List"', b'"LargeList"')):
        return schema
    document = json.loads(metadata[METADATA_KEY])
    features = portable(document["info"]["features"])
    document["info"]["features"] = {
        column: feature for column, feature in features.items() if "LargeList" not in types_in(feature)
    }
    # As long as it was, where that can be, so that a file can be changed without writing it anew.
    text = json.dumps(document, separators=(",", ":")).encode()
    metadata[METADATA_KEY] = text.ljust(len(metadata[METADATA_KEY]))
    return schema.with_metadata(metadata)
