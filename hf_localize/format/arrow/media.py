"""Media values in Arrow stream files: what they point at, and taking it in.

An image, a sound, a video … is a struct of ``bytes`` and ``path``; where the bytes are not there, the
path names a file, a member of an archive (``zip://<member>::<path of the archive>``) or a URL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_localize.errors import IntegrityError, UnsafeArchiveError
from hf_localize.format.features import has_media, is_media

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
                "dataset, so the dataset is not captured"
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
                    "other machines don't have. Register the dataset on a machine that has this file: "
                    "hg-localize register"
                )


def with_files(
    table: pa.Table, features: Mapping[str, Any], name_of: Callable[[str], str], *, is_own: bool = False
) -> Iterator[pa.Table]:
    """Yield the rows of *table*, with the bytes of the files that its media values name.

    Args:
        features: of the columns that hold media.
        name_of: returns the path that a value has from then on, by that of its file.
        is_own: absolute paths of values that have their bytes are of this machine too.

    Raises:
        IntegrityError: a file can't be read.
    """
    import pyarrow as pa

    if not any(_named(batch, features, is_own) for batch in table.to_batches()):
        yield table
        return
    rows: list[pa.RecordBatch] = []
    size_bytes = 0
    for batch in table.to_batches():
        for number in range(batch.num_rows):
            row = batch.take(pa.array([number]))  # So lists lie from their beginning.
            for column in features.keys() & set(batch.schema.names):
                index, field = row.schema.get_field_index(column), row.schema.field(column)
                array = _with_files(row[column], features[column], name_of, is_own)
                row = row.set_column(index, field, array)
            rows.append(row)
            size_bytes += row.nbytes
            if size_bytes >= _BATCH_BYTES:
                yield pa.Table.from_batches(rows)
                rows, size_bytes = [], 0
    if rows:
        yield pa.Table.from_batches(rows)


def _named(batch: pa.RecordBatch, features: Mapping[str, Any], is_own: bool) -> bool:
    """Tell whether a media value of *batch* names a file whose bytes, or whose path, are to be changed."""
    return any(
        next(_paths(batch[column], features[column], is_own), None) is not None
        for column in features.keys() & set(batch.schema.names)
    )


def _lacking(shard: Path, features: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield column and path of each media value in *shard* that has no bytes."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                for column in features.keys() & set(batch.schema.names):
                    for path in _paths(batch[column], features[column]):
                        yield column, path
    except (pa.ArrowInvalid, pa.ArrowIOError) as exc:
        raise IntegrityError(f"{shard} is not a readable Arrow stream: {exc}") from exc


def _paths(array: pa.Array, feature: Any, is_own: bool = False) -> Iterator[str]:
    """Yield the path of each media value in *array* that has no bytes; if *is_own*, all absolute paths."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_media(feature):
        for child, inner in _children(array, feature):
            yield from _paths(child, inner, is_own)
    elif _has_place(array.type):
        paths = array.field("path")
        needed = pc.and_(array.field("bytes").is_null(), paths.is_valid())
        if is_own:
            needed = pc.or_kleene(needed, pc.starts_with(paths, os.sep))
        yield from paths.filter(pc.and_kleene(array.is_valid(), needed)).to_pylist()
    elif pa.types.is_string(array.type):  # A path alone, as what was never cast has it.
        yield from array.drop_null().to_pylist()


def _with_files(array: pa.Array, feature: Any, name_of: Callable[[str], str], is_own: bool) -> pa.Array:
    """Return *array*, which is no slice, with the bytes of the files that its media values name."""
    import pyarrow as pa

    children = _children(array, feature)
    if is_media(feature) and _has_place(array.type):
        values = [value and _with_bytes(value, name_of, is_own) for value in array.to_pylist()]
        return pa.array(values, array.type)
    if not children or not len(array):
        return array
    embedded = [_with_files(child, inner, name_of, is_own) for child, inner in children]
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


def _with_bytes(value: Mapping[str, Any], name_of: Callable[[str], str], is_own: bool) -> Mapping[str, Any]:
    """Return a media value with the bytes of the file that it names, and the path that is to stand for it."""
    path = value["path"]
    if path is None or (value["bytes"] is not None and not (is_own and path.startswith(os.sep))):
        return value
    if value["bytes"] is not None:
        return {**value, "path": name_of(path)}
    try:
        data = Path(path).read_bytes() if os.path.isfile(path) else _fetched(path)
    except Exception as exc:  # Whatever the many file systems of fsspec raise.
        raise IntegrityError(
            f"{path!r}, which a value names without its bytes, can't be read: {exc!r:.200}"
        ) from exc
    return {**value, "bytes": data, "path": name_of(path)}


def _fetched(path: str) -> bytes:
    import fsspec

    with fsspec.open(path, "rb") as file:
        data: bytes = file.read()
        return data
