"""The manifest as JSON: writing it, and reading what may be damaged or hostile."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hf_localize.errors import IntegrityError, InvalidRefError, UnsafeArchiveError
from hf_localize.format.arrow.seek import check_points
from hf_localize.format.files import check_tree, read_whole
from hf_localize.format.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.sealed_json import check_seal, parse_json, sealed

FORMAT_VERSION = 1
#: How deep features may be nested: what reads them later calls itself for each level.
_MAX_DEPTH = 60
#: As datasets.naming has it.
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_NOT_IN_CONFIG = re.compile(r"[<>:/\\|?*]")  # As datasets.builder has it.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = frozenset(
    {
        *("config_name", "revision", "canonical_id", "resolved_config", "commit"),
        *("repository_default_config", "origin", "created", "license"),
    }
)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return *manifest* as UTF-8 JSON, always the same for the same manifest.

    Raises:
        IntegrityError: :func:`read_manifest` would refuse it.
    """
    with writing_what_is_readable(manifest.ref):
        data = sealed(manifest_document(manifest))
        read_manifest(data, "its manifest")
    return data


@contextlib.contextmanager
def writing_what_is_readable(ref: DatasetRef) -> Iterator[None]:
    """Make an error of making JSON, or of reading it again, say that *ref* is not written.

    Raises:
        IntegrityError: there was one.
    """
    try:
        yield
    except (IntegrityError, ValueError, RecursionError) as exc:
        raise IntegrityError(f"{ref} is not written, because it could not be read back: {exc}") from exc


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Return *manifest* as a JSON object, without its checksum."""
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "digest": manifest.digest}
    for item in fields(manifest):
        document[item.name] = getattr(manifest, item.name)
    document["repository_configs"] = list(manifest.repository_configs)
    document["files"] = [
        {"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256}
        for f in sorted(manifest.files, key=lambda f: f.path)
    ]
    document["splits"] = [_split_to_json(split) for split in manifest.splits]
    return document


def read_manifest(data: bytes, where: str) -> Manifest:
    """Return the manifest that *data* (JSON) holds; *where* names its place in errors.

    Raises:
        IntegrityError: it is not a manifest, does not have its checksum, or is of a format version
            that is not known here.
        UnsafeArchiveError: it names a path that leads outside the entry.
    """
    check_seal(data, where)
    document = parse_json(data, where)
    if not isinstance(document, dict) or "format_version" not in document:
        raise IntegrityError(f"{where} is not a manifest")
    if document["format_version"] != FORMAT_VERSION:
        raise IntegrityError(
            f"{where} has format version {document['format_version']!r}; this version of "
            f"hf_localize reads version {FORMAT_VERSION}. Upgrade hf_localize."
        )
    try:
        manifest = _from_json(document)
    except IntegrityError as exc:
        raise IntegrityError(f"{where} is not a manifest: {exc}") from exc
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as exc:
        raise IntegrityError(f"{where} is not a manifest: {exc!r:.300}") from exc
    check_manifest(manifest, where)
    return manifest


def check_fields(manifest: Manifest, where: str) -> None:
    """Check the names in a manifest that was made of others' JSON, and how deep that is.

    Raises:
        IntegrityError: it can't be right.
        UnsafeArchiveError: it names what can't name a dataset.
    """
    try:
        # What it tells of itself becomes folders and names as what a user asks for does.
        DatasetRef(manifest.canonical_id or manifest.dataset_id, manifest.resolved_config, manifest.commit)
        _ = manifest.ref
    except InvalidRefError as exc:
        raise UnsafeArchiveError(f"{where} names a dataset that is refused: {exc}") from exc
    if odd := [name for name in manifest.repository_configs if not name or _NOT_IN_CONFIG.search(name)]:
        raise IntegrityError(f"{where} names the config {odd[0]!r:.100}, which no builder can have")
    for name in ("features", "info", "written_by"):
        part = getattr(manifest, name)
        if not isinstance(part, dict) or not is_shallow(part, _MAX_DEPTH):
            raise IntegrityError(f"{where}: its {name} is not a JSON object, or is nested too deep")


def check_manifest(manifest: Manifest, where: str) -> None:
    """Check what a manifest says as :func:`check_fields` does, and its paths and shards.

    Raises:
        IntegrityError: it can't be right.
        UnsafeArchiveError: it names a path that leads outside the entry, or what can't name a dataset.
    """
    check_fields(manifest, where)
    paths = check_tree((file.path for file in manifest.files), where)
    for split in manifest.splits:
        if missing := [shard.path for shard in split.shards if shard.path not in paths]:
            raise IntegrityError(f"{where} names the shard {missing[0]}, which is not among its files")
        if not split.shards:
            raise IntegrityError(f"{where}: the split {split.name!r} has no shards")
        rows = [shard.rows for shard in split.shards]
        if None not in rows and sum(filter(None, rows)) != split.rows:
            raise IntegrityError(f"{where}: the shards of {split.name!r} don't have the rows that it has")
    if len(manifest.shard_paths()) < sum(len(split.shards) for split in manifest.splits):
        raise IntegrityError(f"{where} names a shard twice")


def read_manifest_in(folder: Path) -> Manifest | None:
    """Return the manifest in *folder*, or None where it has none.

    Raises:
        IntegrityError: as :func:`read_manifest`.
    """
    path = folder / MANIFEST_NAME
    try:
        data = read_whole(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return read_manifest(data, str(path))


def ref_at_head(head: bytes) -> DatasetRef | None:
    """Return the ref of the manifest that begins with *head*; None: only reading all of it can tell.

    It stands before ``canonical_id`` in every manifest that :func:`manifest_bytes` writes.
    """
    start, found, _ = head.partition(b',\n "canonical_id":')
    with contextlib.suppress(IntegrityError, KeyError, TypeError, InvalidRefError):
        document = parse_json(start + b"}", "the head") if found else {}
        if document["format_version"] == FORMAT_VERSION:
            return DatasetRef(document["dataset_id"], document["config_name"], document["revision"])
    return None


def declared(value: object, *, is_from_hub: bool) -> bool | None:
    """Return what JSON says of a restriction; None: nothing is known.

    Earlier releases wrote false for data of which they had not asked the Hub.
    """
    return True if value is True else False if value is False and is_from_hub else None


def _split_to_json(split: Split) -> dict[str, Any]:
    shards = [_shard_to_json(shard) for shard in split.shards]
    document = {"name": split.name, "rows": split.rows, "size_bytes": split.size_bytes, "shards": shards}
    if split.original_shard_rows is not None:
        document["original_shard_rows"] = list(split.original_shard_rows)
    return document


def _shard_to_json(shard: Shard) -> dict[str, Any]:
    points = {"seek_points": shard.seek_points} if shard.seek_points else {}
    return {"path": shard.path, "rows": shard.rows, **points}


def _shard_from_json(document: dict[str, Any]) -> Shard:
    rows = document.get("rows")
    points = document.get("seek_points", "")
    if points != "":
        check_points(_text(points))
    return Shard(_text(document["path"]), None if rows is None else count(rows), points)


def _from_json(document: dict[str, Any]) -> Manifest:
    """Return the manifest; each field is of its type, since other modules rely on that."""
    values: dict[str, Any] = {"dataset_id": _text(document["dataset_id"])}
    for name in _TEXTS & document.keys():
        values[name] = None if document[name] is None else _text(document[name])
    values["is_default_config"] = document.get("is_default_config") is True
    for name in ("features", "info", "written_by"):
        values[name] = document.get(name, {})
    values["origin"] = values.get("origin") or "registered"
    for name in ("gated", "private"):
        values[name] = declared(document.get(name), is_from_hub=values["origin"] == "hub")
    values["repository_configs"] = tuple(map(_text, _list(document.get("repository_configs") or [])))
    values["files"] = tuple(map(_file_from_json, _list(document["files"])))
    values["splits"] = tuple(map(_split_from_json, _list(document["splits"])))
    if len({split.name for split in values["splits"]}) < len(values["splits"]):
        raise ValueError("a split occurs twice")
    return Manifest(**values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is not text")
    if not value.isascii():
        value.encode()  # Half a surrogate pair can't be written again: UnicodeEncodeError is a ValueError.
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.100} is not a list")
    return value


def count(value: Any) -> int:
    """Return a number of JSON that counts rows or bytes; raises ValueError where it can't."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r:.100} is not a count")
    return int(value)


def is_shallow(value: Any, depth: int) -> bool:
    """Tell whether a JSON value is nested no deeper than *depth*."""
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(is_shallow(item, depth - 1) for item in inner)


def _file_from_json(document: dict[str, Any]) -> FileRecord:
    record = FileRecord(_text(document["path"]), count(document["size_bytes"]), _text(document["sha256"]))
    if not _SHA256.fullmatch(record.sha256):
        raise ValueError(f"file {record.path!r:.200} has no usable sha256")
    return record


def _split_from_json(document: dict[str, Any]) -> Split:
    original = document.get("original_shard_rows")
    split = Split(
        name=_text(document["name"]),
        rows=count(document["rows"]),
        size_bytes=count(document["size_bytes"]),
        shards=tuple(map(_shard_from_json, _list(document["shards"]))),
        original_shard_rows=None if original is None else tuple(map(count, _list(original))),
    )
    if not SPLIT_NAME.fullmatch(split.name):
        raise ValueError(f"{split.name!r:.100} is not a split name")
    if len(split.shards) > 1 and any(shard.rows is None for shard in split.shards):
        raise ValueError(f"the split {split.name!r} does not say how many rows each shard has")
    return split
