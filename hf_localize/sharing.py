"""Sharing an entry with everybody: its ZIP in the bucket, and its public record."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_localize import archive
from hf_localize.bucket import AclsDisabledError, Bucket
from hf_localize.errors import AccessDeniedError, ConflictError, PublishError, UnreachableError
from hf_localize.manifest import FileRecord, Manifest, hash_file
from hf_localize.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.sources.public import record_ref
from hf_localize.store import LocalEntry
from hf_localize.web import PublicFiles


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
