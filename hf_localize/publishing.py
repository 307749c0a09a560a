"""Bringing entries to others: register, upload to the bucket, share publicly, sync."""

from __future__ import annotations

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
    IntegrityError,
    PublishError,
    UnreachableError,
)
from hf_localize.manifest import FileRecord, Manifest, hash_file, parse_json, read_manifest
from hf_localize.refs import MANIFEST_NAME, PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.sources.private import find_indexed, index_document, pointer_document
from hf_localize.sources.public import record_ref
from hf_localize.store import LocalEntry
from hf_localize.transfer import run_all
from hf_localize.web import PublicFiles

#: By these files the original tool finds a dataset, so they are written after the data.
_LEGACY_MARKS = frozenset({layout.DICT_FILE, layout.INFO_FILE, layout.STATE_FILE})


def upload(entry: LocalEntry, bucket: Bucket, *, replace: bool, workers: int) -> bool:
    """Bring *entry* to the team's bucket. Returns False where the same content is there already.

    Order: data, the original tool's marks, the manifest, the index key. No reader sees the
    dataset before the last one is there. Files that an interrupted upload left are kept.

    Args:
        replace: overwrite a copy of other content; else it is a conflict.

    Raises:
        ConflictError: the bucket has other content under this ref, and *replace* is False.
        PublishError: something could not be uploaded; no reader sees the dataset.
    """
    manifest = entry.hashed_manifest()
    present = find_indexed(bucket, manifest.ref, workers)
    if present is not None and present.digest == manifest.digest:
        return False
    if present is not None and not replace:
        raise ConflictError(
            f"{manifest.ref} in {bucket.address} differs from the local copy "
            f"(digest {present.digest[:12]}…, local {manifest.digest[:12]}…). "
            f"To replace the bucket's: hg-localize sync-local-to-s3 {manifest.dataset_id}"
        )
    folder = present.folder if present else _free_folder(bucket, manifest.ref)
    try:
        if present is not None:
            _withdraw(bucket, manifest.ref, folder)
        _upload_files(entry.folder, manifest, bucket, folder, workers)
        bucket.put(f"{folder}/{MANIFEST_NAME}", manifest.to_bytes())
        bucket.put(manifest.ref.index_key, index_document(manifest, folder))
        for ref in manifest.equivalents():
            bucket.put(ref.alias_key, pointer_document(manifest.ref))
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(
            f"{manifest.ref} was not published to {bucket.address}: {exc}. No reader sees it there; "
            "run the command again to go on."
        ) from exc
    return True


def _free_folder(bucket: Bucket, ref: DatasetRef) -> str:
    for folder in ref.folders:
        data = bucket.get(f"{folder}/{MANIFEST_NAME}")
        if data is None or read_manifest(data, f"{folder}/{MANIFEST_NAME}").ref == ref:
            return folder
    raise ConflictError(f"every folder that {ref} may have in {bucket.address} belongs to another dataset")


def _withdraw(bucket: Bucket, ref: DatasetRef, folder: str) -> None:
    for key in (
        ref.index_key,
        f"{folder}/{MANIFEST_NAME}",
        *(f"{folder}/{m}" for m in sorted(_LEGACY_MARKS)),
    ):
        bucket.delete(key)


def _upload_files(source: Path, manifest: Manifest, bucket: Bucket, folder: str, workers: int) -> None:
    there = {info.key: info.size_bytes for info in _listed(bucket, f"{folder}/")}

    def send(record: FileRecord) -> None:
        key = f"{folder}/{record.path}"
        if there.get(key) == record.size_bytes and bucket.sha256_of(key) == record.sha256:
            return
        if hash_file(source / record.path, record.path) != record:
            raise IntegrityError(
                f"{source / record.path} differs from the entry's manifest; nothing was published. "
                "Register the dataset again, or download it again."
            )
        bucket.upload(source / record.path, key, sha256=record.sha256)

    run_all(send, [f for f in manifest.files if f.path not in _LEGACY_MARKS], workers=workers)
    run_all(send, [f for f in manifest.files if f.path in _LEGACY_MARKS], workers=workers)


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
    records = _records(bucket)
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


def _records(bucket: Bucket) -> dict[str, Any]:
    where = f"{PUBLIC_RECORDS_KEY} in {bucket.address}"
    document = parse_json(bucket.get(PUBLIC_RECORDS_KEY) or b"{}", where)
    if not isinstance(document, dict):
        raise IntegrityError(f"{where} is not a JSON object; it is left as it is. Mend or remove it.")
    return document


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
    if document.get(key) == merged:
        return False
    document[key] = merged
    return True
