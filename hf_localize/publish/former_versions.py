"""Former versions of public files: in a bucket with versioning, anyone who knows their ids can read them."""

from __future__ import annotations

from collections.abc import Callable

from hf_localize.errors import AccessDeniedError, PublishError, RefusedError
from hf_localize.http.public_files import PublicFiles
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.errors import AclsDisabledError, MissingKeyError


def close_versions(bucket: Bucket, itself: PublicFiles, prefix: str, is_gone: Callable[[str], bool]) -> bool:
    """Close former versions of removed objects under *prefix* to outsiders; tell whether any was open.

    People who may read the bucket can still read them.

    Args:
        itself: the bucket as an outsider reads it.
        is_gone: tells whether the object with a key was removed.

    Raises:
        PublishError: outsiders can still read one.
    """
    try:
        versions = list(bucket.former_versions(prefix))
    except (AccessDeniedError, RefusedError, MissingKeyError) as exc:
        if not bucket.keeps_versions:
            return False  # There are no versions that could be listed.
        raise _still_open(bucket, exc) from exc
    was_open = False
    for key, version_id in versions:
        if is_gone(key) and itself.is_readable(key, version_id):
            _close_version(bucket, itself, key, version_id)
            was_open = True
    return was_open


def _close_version(bucket: Bucket, itself: PublicFiles, key: str, version_id: str) -> None:
    """Remove the public ACL of a version; if it stays open, remove the version."""
    failures: list[Exception] = []
    for close in (bucket.close_version, bucket.delete_version):
        try:
            close(key, version_id)
        except (AccessDeniedError, RefusedError, AclsDisabledError, MissingKeyError) as exc:
            failures.append(exc)
        if not itself.is_readable(key, version_id):
            return
    raise _still_open(
        bucket, failures[0] if failures else PublishError(f"version {version_id} of {key} is open")
    )


def _still_open(bucket: Bucket, cause: Exception) -> PublishError:
    return PublishError(
        f"what was shared is removed, but {bucket.address} keeps former versions, which everyone who knows "
        f"their ids can read: {cause}. Run the command again with the permissions s3:ListBucketVersions and "
        "s3:PutObjectVersionAcl, or have the bucket's owner remove the versions"
    )
