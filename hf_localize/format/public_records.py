"""The records of ``public_datasets.json``: what is shared with everybody, and under which ZIP.

The original tool reads and writes them too, so fields that are not known here are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from hf_localize.errors import ConflictError, IntegrityError, InvalidRefError, UnsafeArchiveError
from hf_localize.format.equivalence import Identity, identity_fields
from hf_localize.format.files import check_paths
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.format.sealed_json import parse_json

#: Where a record does not say how much of a ZIP's end tells what it holds; and the most it may say.
_TAIL_BYTES, _MAX_TAIL_BYTES = 64 << 10, 256 << 20


@dataclass(frozen=True, slots=True)
class PublicRecord(Identity):
    """One record of ``public_datasets.json``; sizes and hashes are absent in the original tool's."""

    zip_key: str = field(kw_only=True)
    size_bytes: int | None = None
    sha256: str | None = None
    tail_bytes: int = _TAIL_BYTES
    digest: str | None = None


def read_records(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in ``public_datasets.json``.

    Raises:
        IntegrityError: it is none.
    """
    document = parse_json(data, where)
    if not isinstance(document, dict):
        raise IntegrityError(f"{where} is not a JSON object")
    return document


def usable_records(document: Mapping[str, Any]) -> list[PublicRecord]:
    """Return the records of *document*; one that can't be used can't keep others from being found."""
    found = (read_record(value) for value in document.values())
    return [record for record in found if record is not None]


def record_ref(value: Any) -> DatasetRef | None:
    """Return the ref that a record's fields name, or None where they name none."""
    try:
        return DatasetRef(value["dataset_id"], value.get("config_name"), value.get("revision"))
    except (TypeError, KeyError, AttributeError, InvalidRefError):
        return None


def read_record(value: Any) -> PublicRecord | None:
    """Return a record of ``public_datasets.json``, or None where it can't be used."""
    ref = record_ref(value)
    key = value.get("s3_zip_key") if ref else None
    return _usable_record(value, ref, key) if ref is not None and is_zip_key(key) else None


def require_readable(described: Mapping[str, Any], ref: DatasetRef) -> None:
    """Check that readers will take a record of *ref* that says what is *described* and where its ZIP is.

    Raises:
        IntegrityError: they would pass it over.
    """
    longest = f"{ref.zip_key.removesuffix('.zip')}{ref.suffix}.zip"
    record = read_record({**described, "s3_zip_key": longest})
    if record is None or record.ref != ref:
        raise IntegrityError(
            f"{ref} is not shared, since no reader could use a record of the ZIP {longest!r}"
        )


def is_zip_key(key: Any) -> TypeGuard[str]:
    """Tell whether a record's word for its ZIP may be followed: it lies in the folder of public ZIPs."""
    if not isinstance(key, str) or not key.startswith(f"{PUBLIC_ZIP_FOLDER}/"):
        return False
    with contextlib.suppress(UnsafeArchiveError):
        return bool(check_paths([key], PUBLIC_RECORDS_KEY))
    return False


def is_shared_as(value: Any, ref: DatasetRef) -> bool:
    """Tell whether a record is that of *ref*, or of what *ref* names."""
    record = read_record(value)
    return record_ref(value) == ref or (record is not None and record.answers(ref))


def own_record(records: Mapping[str, Any], ref: DatasetRef) -> tuple[str, str] | None:
    """Return the key of the record of *ref*, and that of the ZIP that it names; None: there is none."""
    own = [k for k, v in records.items() if record_ref(v) == ref and is_zip_key(v.get("s3_zip_key"))]
    return (own[0], records[own[0]]["s3_zip_key"]) if own else None


def described(manifest: Manifest) -> dict[str, Any]:
    """Return what a public record tells of an entry, but where its ZIP is."""
    return {
        **manifest.ref.as_dict(),
        "digest": manifest.digest,
        **manifest.identity.identity_json(),
        "license": manifest.license,
        "gated": manifest.gated,
        "private": manifest.private,
        "splits": {split.name: split.rows for split in manifest.splits},
        "features": manifest.features,
    }


def put_record(document: dict[str, Any], ref: DatasetRef, record: dict[str, Any]) -> bool:
    """Set *ref*'s record; keep fields of it that are not known here. False: nothing to change."""
    zip_key = record["s3_zip_key"]
    if any(_names(value, zip_key) and record_ref(value) != ref for value in document.values()):
        raise ConflictError(f"another publisher took {zip_key} in the meantime; run the command again")
    own = own_record(document, ref)
    key = own[0] if own else ref.record_key
    if own is None and key in document:
        key += ref.suffix
    retired = document.get(key)
    merged = {**(retired if isinstance(retired, dict) else {}), **record}
    if document.get(key) == merged:  # Both are plain JSON: a manifest's parts are.
        return False
    document[key] = merged
    return True


def drop_record(document: dict[str, Any], record: Mapping[str, Any]) -> bool:
    """Take a record out whose ZIP is not what it says. False: it is not there."""
    zip_key, digest = record["s3_zip_key"], record["digest"]
    keys = [k for k, v in document.items() if _names(v, zip_key) and v.get("digest") == digest]
    return bool([document.pop(key) for key in keys])


def _names(value: Any, zip_key: str) -> bool:
    return isinstance(value, dict) and value.get("s3_zip_key") == zip_key


def _usable_record(value: dict[str, Any], ref: DatasetRef, key: str) -> PublicRecord:
    def text(name: str) -> str | None:
        told = value.get(name)
        return told if isinstance(told, str) else None

    size, digest, tail = value.get("size_bytes"), value.get("digest"), value.get("tail_bytes")
    return PublicRecord(
        ref,
        zip_key=key,
        size_bytes=size if isinstance(size, int) and 0 <= size < 1 << 63 else None,
        sha256=text("sha256"),
        tail_bytes=tail if isinstance(tail, int) and 0 < tail <= _MAX_TAIL_BYTES else _TAIL_BYTES,
        digest=digest if isinstance(digest, str) and len(digest) == 64 else None,
        **identity_fields(value, text),
    )
