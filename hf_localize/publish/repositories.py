"""Bringing repositories to the bucket: for the team, or for everybody."""

from __future__ import annotations

import contextlib
import functools
import glob
import logging
from collections.abc import Collection, Iterator
from dataclasses import replace

from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    IntegrityError,
    PreconditionFailedError,
    PublishError,
    UnreachableError,
)
from hf_localize.format.manifest import FileRecord
from hf_localize.format.repository import (
    PRIVATE_FOLDER,
    PUBLIC_FOLDER,
    Repository,
    RepositoryFile,
    Snapshot,
    merge_refs,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.http.public_files import PublicFiles
from hf_localize.progress import task
from hf_localize.publish.inspect import sha256_of
from hf_localize.publish.public import is_public, not_public
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.conditions import put_over
from hf_localize.s3.shared_json import update_json
from hf_localize.s3.upload import send_files
from hf_localize.store.repositories import LocalRepositories
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
_TRIES = 10


def upload_repository(
    local: LocalRepositories,
    repository: Repository,
    commits: Collection[str],
    bucket: Bucket,
    *,
    workers: int,
    reads: bool = False,
    public_files: PublicFiles | None = None,
) -> bool:
    """Bring snapshots of *repository* to the bucket: files, snapshots, then refs.

    A snapshot of which only some files are here becomes a partial one there. What is there already stays.

    Args:
        reads: read the files that are there already, to compare their sha256.
        public_files: share it with everybody; this reads as an outsider does. None: for the team.

    Returns:
        False where all of it was there already.

    Raises:
        PublishError: something could not be uploaded, or outsiders can't read it.
        IntegrityError: a file in the store is damaged.
    """
    folder = PRIVATE_FOLDER if public_files is None else PUBLIC_FOLDER
    refs, is_new = local.refs(repository), False
    with _as_publish_error(repository, bucket):
        for commit in commits:
            snapshot = local.snapshot(repository, commit)
            if snapshot is not None:
                here = _held(local, snapshot)
                sent = _send(local, here, bucket, folder, workers=workers, reads=reads)
                if public_files is not None and here.files:
                    blob = f"{folder}/{here.files[0].blob_path}"
                    if not is_public(public_files, blob):
                        raise not_public(bucket, blob)
                is_new = _write_snapshot(here, bucket, folder) or sent or is_new
        if refs is not None:
            key = f"{folder}/{repository.refs_path}"
            known = replace(refs, commits=tuple(commits))
            change = functools.partial(merge_refs, refs=known, where=f"{key} in {bucket.address}")
            update_json(bucket, key, change, public=public_files is not None)
            if public_files is not None and not is_public(public_files, key):
                raise not_public(bucket, key)
    return is_new


def _held(local: LocalRepositories, snapshot: Snapshot) -> Snapshot:
    """Return *snapshot* with the files that are in the store."""
    files = tuple(file for file in snapshot.files if local.local_path(file) is not None)
    if len(files) == len(snapshot.files):
        return snapshot
    patterns = tuple(glob.escape(file.path) for file in files)
    return replace(snapshot, files=files, allow_patterns=patterns, ignore_patterns=())


def _send(
    local: LocalRepositories, snapshot: Snapshot, bucket: Bucket, folder: str, *, workers: int, reads: bool
) -> bool:
    """Send the files that the bucket lacks, or has damaged; False: it has all of them."""

    def is_missing(file: RepositoryFile) -> bool:
        key = f"{folder}/{file.blob_path}"
        head = bucket.head_of(key)
        if head is None or (head.size_bytes, head.metadata.get("sha256")) != (file.size_bytes, file.sha256):
            return True
        return reads and sha256_of(key, lambda: bucket.open_range(key)) != file.sha256

    files = list({file.sha256: file for file in snapshot.files}.values())
    missing = run_all(is_missing, files, workers=workers)
    todo = [
        (FileRecord(file.path, file.size_bytes, file.sha256), path, f"{folder}/{file.blob_path}")
        for file, is_wanted in zip(files, missing, strict=True)
        if is_wanted and (path := local.local_path(file)) is not None
    ]
    with task("Uploading", snapshot.repository, [record for record, _, _ in todo]):
        send_files(todo, bucket, workers=workers, public=folder == PUBLIC_FOLDER)
    return bool(todo)


def _write_snapshot(snapshot: Snapshot, bucket: Bucket, folder: str) -> bool:
    """Write *snapshot* together with what the bucket has of that commit; False: it has all of it."""
    key = f"{folder}/{snapshot.repository.snapshot_path(snapshot.commit)}"
    how = {"public": True, "CacheControl": "no-cache"} if folder == PUBLIC_FOLDER else {}
    for _ in range(_TRIES):
        found = bucket.get_with_headers(key)
        present = None
        if found is not None:
            try:
                present = read_snapshot(found[0], key, snapshot.repository, snapshot.commit)
            except IntegrityError as exc:
                _log.warning("%s, and is written anew", exc)
        merged = snapshot.merged(present)
        if merged == present or (present is not None and present.is_complete):
            return False
        with contextlib.suppress(PreconditionFailedError):  # Another publisher was faster.
            put_over(bucket, key, snapshot_bytes(merged), found[1].get("etag", "") if found else None, **how)
            return True
    raise ConflictError(f"{key} in {bucket.address} kept changing under {_TRIES} tries to update it")


@contextlib.contextmanager
def _as_publish_error(repository: Repository, bucket: Bucket) -> Iterator[None]:
    try:
        yield
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(
            f"{repository} was not published to {bucket.address}: {exc}. Run the command again to resume."
        ) from exc
