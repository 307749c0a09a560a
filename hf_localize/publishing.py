"""Bringing entries to the team's bucket."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hf_localize import layout
from hf_localize.bucket import Bucket, NotPermittedError
from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    PreconditionFailedError,
    PublishError,
    UnreachableError,
)
from hf_localize.manifest import FileRecord, Manifest, pointer_document, read_manifest
from hf_localize.refs import MANIFEST_NAME
from hf_localize.sources.private import data_folders, index_document, read_index
from hf_localize.store import LocalEntry
from hf_localize.transfer import run_all, send_files

#: By these files the original tool finds a dataset, so they are written after the data.
_LEGACY_MARKS = frozenset({layout.DICT_FILE, layout.INFO_FILE, layout.STATE_FILE})


def upload(entry: LocalEntry, bucket: Bucket, *, replace: bool, workers: int) -> bool:
    """Bring *entry* to the team's bucket. Returns False where the same content is there already.

    Order: the manifest beside the data, which claims the folder; data; the original tool's mark;
    the index key. No reader sees the dataset before the last one is there, and until then the
    former content under this ref stays whole. Files that an interrupted upload left are kept.

    Args:
        replace: take the place of a copy of other content; else that is a conflict.

    Raises:
        ConflictError: the bucket has other content under this ref, and *replace* is False; or
            another publisher of other content was faster.
        PublishError: something could not be uploaded; no reader sees it.
    """
    manifest = entry.hashed_manifest()
    key = manifest.ref.index_key
    found = bucket.get_with_etag(key)
    present = read_index(found[0], key) if found else None
    if present is not None and present[0].digest == manifest.digest:
        return False
    if present is not None and not replace:
        raise ConflictError(
            f"{manifest.ref} in {bucket.address} differs from the local copy "
            f"(digest {present[0].digest[:12]}…, local {manifest.digest[:12]}…). "
            f"To replace the bucket's: hg-localize sync-local-to-s3 {manifest.dataset_id}"
        )
    try:
        folder = _claim_folder(bucket, manifest)
        _upload_files(entry.folder, manifest, bucket, folder, workers)
        _commit(bucket, manifest, folder, found[1] if found else None)
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(
            f"{manifest.ref} was not published to {bucket.address}: {exc}. No reader sees it there; "
            "run the command again to go on."
        ) from exc
    if present is not None:
        _remove_replaced(bucket, *present)
    return True


def _commit(bucket: Bucket, manifest: Manifest, folder: str, etag: str | None) -> None:
    """Write the index key, if it is still as it was read, and the pointers to it."""
    key = manifest.ref.index_key
    try:
        bucket.put_over(key, index_document(manifest, folder), etag)
    except PreconditionFailedError as exc:
        # Of the same content, or our own write whose answer was lost: that is success.
        if read_index(bucket.get(key) or b"", key)[0].digest != manifest.digest:
            raise ConflictError(
                f"another publisher changed {manifest.ref} meanwhile; run the command again"
            ) from exc
    refs = manifest.equivalents()
    keys = {ref.alias_key for ref in refs}
    if manifest.repository_configs:
        keys |= {ref.repository_key for ref in refs}
    for key in sorted(keys):
        bucket.put(key, pointer_document(manifest.ref))


def _claim_folder(bucket: Bucket, manifest: Manifest) -> str:
    """Return a folder that is this entry's alone: its manifest is there, put before any data.

    Raises:
        ConflictError: every folder that it may have belongs to another entry.
    """
    data = manifest.to_bytes()
    for folder in data_folders(manifest):
        mark = f"{folder}/{MANIFEST_NAME}"
        with contextlib.suppress(PreconditionFailedError):
            if bucket.get(mark) is None:
                bucket.put_over(mark, data, None)
        # An endpoint may ignore the condition, so what is there now decides.
        if read_manifest(bucket.get(mark) or b"", mark).digest == manifest.digest:
            return folder
    raise ConflictError(
        f"every folder that {manifest.ref} may have in {bucket.address} belongs to another entry"
    )


def _remove_replaced(bucket: Bucket, manifest: Manifest, folder: str) -> None:
    """Remove the files of an entry that no index names any more, its manifest last."""
    for file in manifest.files:
        bucket.delete(f"{folder}/{file.path}")
    bucket.delete(f"{folder}/{MANIFEST_NAME}")


def _upload_files(source: Path, manifest: Manifest, bucket: Bucket, folder: str, workers: int) -> None:
    there = {info.key: info.size_bytes for info in _listed(bucket, f"{folder}/")}

    def is_missing(record: FileRecord) -> bool:
        key = f"{folder}/{record.path}"
        return there.get(key) != record.size_bytes or bucket.sha256_of(key) != record.sha256

    missing = run_all(is_missing, manifest.files, workers=workers)
    todo = [
        (record, source / record.path, f"{folder}/{record.path}")
        for record, is_wanted in zip(manifest.files, missing, strict=True)
        if is_wanted
    ]
    send_files([item for item in todo if item[0].path not in _LEGACY_MARKS], bucket, workers=workers)
    send_files([item for item in todo if item[0].path in _LEGACY_MARKS], bucket, workers=workers)


def _listed(bucket: Bucket, prefix: str) -> list[Any]:
    try:
        return list(bucket.list_keys(prefix))
    except NotPermittedError:
        return []  # Without the right to list, everything is uploaded anew.
