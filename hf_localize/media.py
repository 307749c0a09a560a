"""Media values in Arrow stream files: what they point at, and taking it in.

An image or a sound is a struct of ``bytes`` and ``path``; where the bytes are not there, the path
names a file, a member of an archive (``zip://<member>::<path of the archive>``) or a URL.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.errors import UnsafeArchiveError

if TYPE_CHECKING:
    import pyarrow as pa

#: A file inside an archive of this machine, as `datasets` writes it.
_MEMBER = re.compile(r"(zip|tar|gzip|bz2|lzma|xz|zstd)://[^:]*::(?!\w+://)[^\0]+")


def refuse_foreign_files(shard: Path, columns: Collection[str], allowed: Sequence[Path]) -> None:
    """Check that no media value of *shard* names a file that did not come with the dataset.

    Data from elsewhere could name any file of the machine that captures it, and what is captured
    may be published.

    Args:
        columns: those that hold media.
        allowed: folders in which `datasets` and huggingface_hub keep what they have downloaded.

    Raises:
        UnsafeArchiveError: a value names a file outside *allowed*, or a URL not of the Hub.
    """
    import pyarrow as pa

    roots = [os.path.join(os.path.realpath(folder), "") for folder in allowed]
    with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            for column in columns:
                for path in _paths_without_bytes(batch[column]):
                    place = path.rpartition("::")[2]
                    if not place.startswith("hf://") and not os.path.realpath(place).startswith(tuple(roots)):
                        raise UnsafeArchiveError(
                            f"a value of column {column!r} names {path!r}, which did not come with the "
                            "dataset: it is not captured"
                        )


def embed_members(shard: Path, columns: Collection[str]) -> None:
    """Read into the Arrow stream file *shard* the archive members to which media values point.

    ``save_to_disk`` embeds files; since `datasets` 4.8.5 not those inside an archive, of which a
    value holds no more than ``zip://<member>::<path of the archive>``.

    Args:
        columns: those that hold media.
    """
    import pyarrow as pa

    part = shard.with_name(f".{shard.name}.embedded")
    with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
        paths = (p for batch in reader for column in columns for p in _paths_without_bytes(batch[column]))
        if not any("::" in path for path in paths):
            return
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(pa.memory_map(str(shard)))
        reader = opened.enter_context(pa.ipc.open_stream(source))
        writer = opened.enter_context(pa.ipc.new_stream(str(part), reader.schema))
        for batch in reader:
            for column in columns:
                index = batch.schema.get_field_index(column)
                batch = batch.set_column(index, batch.schema.field(index), _with_members(batch[column]))
            writer.write_batch(batch)
    os.replace(part, shard)


def _paths_without_bytes(array: pa.Array) -> Iterator[str]:
    """Yield the path of each media value in *array* that has no bytes."""
    import pyarrow.compute as pc

    if _is_media(array.type):
        lacking = pc.and_(array.field("bytes").is_null(), array.field("path").is_valid())
        yield from array.field("path").filter(lacking).to_pylist()
    for child in _children(array):
        yield from _paths_without_bytes(child)


def _with_members(array: pa.Array) -> pa.Array:
    """Return *array*, of an undivided batch, with the bytes of the archive members that it names."""
    import pyarrow as pa

    children = _children(array)
    if not children or not len(array):
        return array
    if _is_media(array.type):
        values = [_member(*pair) for pair in zip(*(child.to_pylist() for child in children), strict=True)]
        kinds = [field.type for field in array.type]
        children = [pa.array(list(c), k) for c, k in zip(zip(*values, strict=True), kinds, strict=True)]
    else:
        children = [_with_members(child) for child in children]
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(array.type):
        return pa.StructArray.from_arrays(children, fields=list(array.type), mask=mask)
    if pa.types.is_fixed_size_list(array.type):
        return type(array).from_arrays(*children, type=array.type, mask=mask)
    return type(array).from_arrays(array.offsets, *children, type=array.type, mask=mask)


def _is_media(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and [field.name for field in kind] == ["bytes", "path"]


def _children(array: pa.Array) -> list[pa.Array]:
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        return [array.field(index) for index in range(array.type.num_fields)]
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return [array.values] if any(test(array.type) for test in is_list) else []


def _member(data: bytes | None, path: str | None) -> tuple[bytes | None, str | None]:
    import fsspec

    if data is not None or path is None or not _MEMBER.fullmatch(path):
        return data, path
    with fsspec.open(path, "rb") as file:
        return file.read(), path.partition("::")[0].rsplit("/", 1)[-1]  # As stock names what it embeds.
