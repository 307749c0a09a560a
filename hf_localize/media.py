"""Media values in Arrow stream files: what they point at, and taking it in.

An image, a sound, a video … is a struct of ``bytes`` and ``path``; where the bytes are not there, the
path names a file, a member of an archive (``zip://<member>::<path of the archive>``) or a URL.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_localize.errors import IntegrityError, UnsafeArchiveError
from hf_localize.features import has_media, is_media

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows whose files were read are written together when they have so many bytes.
_BATCH_BYTES = 32 << 20


def media_columns(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return those columns of features JSON whose values may lie in files of their own."""
    return {column: feature for column, feature in features.items() if has_media(feature)}


def refuse_foreign_files(shard: Path, features: Mapping[str, Any], allowed: Sequence[Path]) -> None:
    """Check that no media value of *shard* names a file that did not come with the dataset.

    Data from elsewhere could name any file of the machine that captures it, and what is captured
    may be published.

    Args:
        features: of the columns that hold media.
        allowed: folders in which `datasets` and huggingface_hub keep what they have downloaded.

    Raises:
        UnsafeArchiveError: a value names a file outside *allowed*, or a URL not of the Hub.
    """
    roots = tuple(os.path.join(os.path.realpath(folder), "") for folder in allowed)
    for column, path in _lacking(shard, features):
        place = path.rpartition("::")[2]
        if not place.startswith("hf://") and not os.path.realpath(place).startswith(roots):
            raise UnsafeArchiveError(
                f"a value of column {column!r} names {path!r}, which did not come with the "
                "dataset: it is not captured"
            )


def require_bytes(shards: Iterable[Path], features: Mapping[str, Any]) -> None:
    """Check that each media value in *shards* has its bytes, or is null. No bytes of values are read.

    Args:
        features: of all columns.

    Raises:
        IntegrityError: one has not, or a shard can't be read.
    """
    if media := media_columns(features):
        for shard in shards:
            for column, path in _lacking(shard, media):
                raise IntegrityError(
                    f"a value of column {column!r} in {shard} has no bytes, only the path {path!r}, which "
                    "leads nowhere on other machines. Register the dataset where that file is: "
                    "hg-localize register"
                )


def embed_files(shard: Path, features: Mapping[str, Any]) -> None:
    """Read into the Arrow stream file *shard* the files to which media values point.

    ``save_to_disk`` embeds files; but not of all media types in each release of `datasets` (videos since
    4.1, PDFs since 4.0), and since 4.8.5 not those inside an archive.

    Args:
        features: of the columns that hold media.

    Raises:
        IntegrityError: a file can't be read.
    """
    import pyarrow as pa

    if next(_lacking(shard, features), None) is None:
        return
    part = shard.with_name(f".{shard.name}.embedded")
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(pa.memory_map(str(shard)))
        reader = opened.enter_context(pa.ipc.open_stream(source))
        writer = opened.enter_context(pa.ipc.new_stream(str(part), reader.schema))
        for batch in reader:
            for rows in _embedded(batch, features):
                writer.write_batch(rows)
    os.replace(part, shard)


def _lacking(shard: Path, features: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield column and path of each media value in *shard* that has no bytes."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                for column in features.keys() & set(batch.schema.names):
                    for path in _paths_without_bytes(batch[column], features[column]):
                        yield column, path
    except (pa.ArrowInvalid, pa.ArrowIOError) as exc:
        raise IntegrityError(f"{shard} is not a readable Arrow stream: {exc}") from exc


def _paths_without_bytes(array: pa.Array, feature: Any) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_media(feature):
        for child, inner in _children(array, feature):
            yield from _paths_without_bytes(child, inner)
    elif _has_place(array.type):
        lacking = pc.and_(array.field("bytes").is_null(), array.field("path").is_valid())
        yield from array.field("path").filter(pc.and_(array.is_valid(), lacking)).to_pylist()
    elif pa.types.is_string(array.type):  # A path alone, as what was never cast has it.
        yield from array.drop_null().to_pylist()


def _embedded(batch: pa.RecordBatch, features: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of *batch*, with the bytes of the files that its media values name."""
    import pyarrow as pa

    rows: list[pa.RecordBatch] = []
    for number in range(batch.num_rows):
        row = batch.take(pa.array([number]))  # So lists lie from their beginning.
        for column in features.keys() & set(batch.schema.names):
            index = row.schema.get_field_index(column)
            row = row.set_column(index, row.schema.field(index), _with_files(row[column], features[column]))
        rows.append(row)
        if number + 1 == batch.num_rows or sum(row.nbytes for row in rows) >= _BATCH_BYTES:
            yield from pa.Table.from_batches(rows).combine_chunks().to_batches()
            rows = []


def _with_files(array: pa.Array, feature: Any) -> pa.Array:
    """Return *array*, which is no slice, with the bytes of the files that its media values name."""
    import pyarrow as pa

    children = _children(array, feature)
    if is_media(feature) and _has_place(array.type):
        values = [value and _with_bytes(value) for value in array.to_pylist()]
        return pa.array(values, array.type)
    if not children or not len(array):
        return array
    embedded = [_with_files(child, inner) for child, inner in children]
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(array.type):
        return pa.StructArray.from_arrays(embedded, fields=list(array.type), mask=mask)
    if pa.types.is_fixed_size_list(array.type):
        return type(array).from_arrays(*embedded, type=array.type, mask=mask)
    return type(array).from_arrays(array.offsets, *embedded, type=array.type, mask=mask)


def _has_place(kind: pa.DataType) -> bool:
    """Tell whether values of an Arrow type have bytes or a path; others of a type not known here may not."""
    import pyarrow as pa

    return pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}


def _children(array: pa.Array, feature: Any) -> list[tuple[pa.Array, Any]]:
    """Return the arrays inside *array*, each with its features JSON."""
    import pyarrow as pa

    inner = feature[0] if isinstance(feature, list) else feature
    if isinstance(feature, Mapping) and "_type" in feature and isinstance(feature["_type"], str):
        inner = feature.get("feature")
    if pa.types.is_struct(array.type) and isinstance(inner, Mapping):
        if inner is not feature:  # A Sequence of a struct is a struct of lists.
            inner = {name: [item] for name, item in inner.items()}
        return [(array.field(name), inner[name]) for name in (f.name for f in array.type) if name in inner]
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return [(array.values, inner)] if any(test(array.type) for test in is_list) else []


def _with_bytes(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a media value with the bytes of the file that it names, and the name that stock gives it."""
    if value["bytes"] is not None or value["path"] is None:
        return value
    path = value["path"]
    try:
        data = Path(path).read_bytes() if os.path.isfile(path) else _fetched(path)
    except Exception as exc:  # Whatever the many file systems of fsspec raise.
        raise IntegrityError(
            f"{path!r}, of which a value has no more than the path, can't be read: {exc!r:.200}"
        ) from exc
    return {**value, "bytes": data, "path": path.partition("::")[0].rsplit("/", 1)[-1]}


def _fetched(path: str) -> bytes:
    import fsspec

    with fsspec.open(path, "rb") as file:
        data: bytes = file.read()
        return data
