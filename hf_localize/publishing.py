"""Bringing entries to others: register, upload to the bucket, share publicly, sync."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_localize import archive, layout
from hf_localize.bucket import AclsDisabledError, Bucket, NotPermittedError
from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    PreconditionFailedError,
    PublishError,
    UnreachableError,
)
from hf_localize.manifest import FileRecord, Manifest, hash_file, pointer_document, read_manifest
from hf_localize.refs import MANIFEST_NAME, PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.sources.private import data_folders, index_document, read_index
from hf_localize.sources.public import record_ref
from hf_localize.store import LocalEntry
from hf_localize.transfer import run_all, send_files
from hf_localize.web import PublicFiles

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


def make_public(entry: LocalEntry, bucket: Bucket, outside: PublicFiles, scratch: Path) -> bool:
    """Share *entry* with everybody: its ZIP, then its record in ``public_datasets.json``.

    Args:
        outside: reads the public files as an outsider does; it tells whether they are public.
        scratch: a folder with room for the ZIP.

    Returns:
        False where the same content is shared already.

    Raises:
        PublishError: outsiders could not read it. The message has the bucket policy that helps.
    """
    manifest = entry.hashed_manifest()
    records, _ = bucket.read_json(PUBLIC_RECORDS_KEY)
    key, zip_key = _free_names(records, manifest.ref)
    same = records.get(key, {}).get("digest") == manifest.digest
    if same and all(map(outside.is_readable, (zip_key, PUBLIC_RECORDS_KEY))):
        return False
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "public.zip"
        with open(path, "wb") as target:
            archive.pack(entry.folder, manifest, target)
        made = hash_file(path, zip_key)
        _upload_public(bucket, outside, path, made)
    record = _record(manifest, made, bucket)
    bucket.update_json(
        PUBLIC_RECORDS_KEY, lambda document: _put_record(document, manifest.ref, record), public=True
    )
    if not outside.is_readable(PUBLIC_RECORDS_KEY):
        raise _not_public(bucket, PUBLIC_RECORDS_KEY)
    return True


def public_policy(bucket: Bucket) -> str:
    """Return the bucket policy (JSON) that opens exactly the two public places to everybody."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
    places = (PUBLIC_RECORDS_KEY, f"{PUBLIC_ZIP_FOLDER}/*")
    arn = f"arn:aws:s3:::{bucket.address.name}"
    statement = {
        "Sid": "HfLocalizePublicDatasets",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": [f"{arn}/{bucket.address.key(place)}" for place in places],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


def _upload_public(bucket: Bucket, outside: PublicFiles, path: Path, made: FileRecord) -> None:
    try:
        bucket.upload(path, made.path, sha256=made.sha256, public=True)
    except AclsDisabledError:
        bucket.upload(path, made.path, sha256=made.sha256)  # A bucket policy may open it.
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(f"the public ZIP could not be uploaded: {exc}") from exc
    if not outside.is_readable(made.path):
        bucket.delete(made.path)
        raise _not_public(bucket, made.path)


def _not_public(bucket: Bucket, key: str) -> PublishError:
    return PublishError(
        f"{key} in {bucket.address} can't be read without credentials: the bucket does not honour the "
        "public-read ACL. Nothing was shared. Add this bucket policy, and allow public policies for the "
        f"bucket (Block Public Access), then run the command again:\n{public_policy(bucket)}"
    )


def _free_names(records: Mapping[str, Any], ref: DatasetRef) -> tuple[str, str]:
    """Return the record key and the ZIP key for *ref*: its own, or the first that nobody has."""
    own = [k for k, v in records.items() if record_ref(v) == ref and isinstance(v.get("s3_zip_key"), str)]
    if own:
        return own[0], records[own[0]]["s3_zip_key"]
    zips = {value.get("s3_zip_key") for value in records.values() if isinstance(value, dict)}
    key, zip_key = ref.record_key, ref.zip_key
    if key in records:
        key += ref.suffix
    if zip_key in zips:
        zip_key = f"{zip_key.removesuffix('.zip')}{ref.suffix}.zip"
    return key, zip_key


def _record(manifest: Manifest, made: FileRecord, bucket: Bucket) -> dict[str, Any]:
    return {
        "dataset_id": manifest.dataset_id,
        "config_name": manifest.config_name,
        "revision": manifest.revision,
        "s3_zip_key": made.path,
        "s3_bucket": bucket.address.name,
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "digest": manifest.digest,
        "canonical_id": manifest.canonical_id,
        "resolved_config": manifest.resolved_config,
        "is_default_config": manifest.is_default_config,
        "commit": manifest.commit,
        "license": manifest.license,
        "splits": {split.name: split.rows for split in manifest.splits},
        "features": manifest.features,
    }


def _put_record(document: dict[str, Any], ref: DatasetRef, record: dict[str, Any]) -> bool:
    """Set *ref*'s record; keep fields of it that are not known here. False: nothing to change."""
    key, zip_key = _free_names(document, ref)
    if zip_key != record["s3_zip_key"]:
        raise ConflictError(f"another publisher took {record['s3_zip_key']} meanwhile; run the command again")
    merged = {**document.get(key, {}), **record}
    if document.get(key) == merged:  # Both are plain JSON: a manifest's parts are.
        return False
    document[key] = merged
    return True
