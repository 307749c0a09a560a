"""Bringing repositories to the bucket: for the team, or for everybody."""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import logging
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, cast
from urllib.parse import unquote

from hf_localize.errors import ConflictError, IntegrityError, PreconditionFailedError, PublishError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.format.repository import (
    ALL_FILES,
    PRIVATE_FOLDER,
    PUBLIC_FOLDER,
    Patterns,
    Repository,
    RepositoryFile,
    RepoType,
    Snapshot,
    is_commit_sha,
    merge_refs,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.http.public_files import PublicFiles
from hf_localize.http.status import ARCHIVED
from hf_localize.progress import task
from hf_localize.publish.bucket import as_publish_error
from hf_localize.publish.catalog_pages import remove_pages
from hf_localize.publish.former_versions import close_versions
from hf_localize.publish.inspect import Sending, sha256_of, wrong_objects
from hf_localize.publish.public import is_public, not_public
from hf_localize.s3.bucket import Bucket, KeyInfo
from hf_localize.s3.conditions import put_over
from hf_localize.s3.errors import NotPermittedError
from hf_localize.s3.shared_json import update_json
from hf_localize.s3.upload import send_files
from hf_localize.store.repositories import LocalRepositories
from hf_localize.transfer.workers import filter_all, run_all

_log = logging.getLogger(__name__)
_TRIES = 10
#: How many objects a listing tells at once.
_PAGE = 1000
#: Snapshots that were removed, until nothing that is under way can need their files any more.
_REMOVED = "removed/"
_GRACE_SECONDS = 24 * 3600


def upload_repository(
    local: LocalRepositories,
    repository: Repository,
    commits: Collection[str],
    bucket: Bucket,
    *,
    workers: int,
    reads: bool = False,
    public_files: PublicFiles | None = None,
    patterns: Patterns = ALL_FILES,
) -> bool:
    """Bring snapshots of *repository* to the bucket: files, snapshots, then refs.

    If only some files of a snapshot are here, or chosen, the bucket gets a partial snapshot. Files that are
    in the bucket already stay.

    Args:
        patterns: of the files to bring, of those that are here.
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
    found = filter(None, (local.snapshot(repository, commit) for commit in commits))
    with as_publish_error(repository, bucket, "Run the command again to resume."):
        held = [_held(local, snapshot, patterns) for snapshot in found]
        for here in held:
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
            # What was there may be gone by now: snapshots, and files that no snapshot has named all along.
            for here in held:
                is_new = _write_snapshot(here, bucket, folder) or is_new
            if is_new and (public_files is not None or any(bucket.list_keys(f"{folder}/{_REMOVED}"))):
                for here in held:
                    _send(local, here, bucket, folder, workers=workers, reads=False)
            if public_files is not None and not is_public(public_files, key):
                raise not_public(bucket, key)
    return is_new


def commits_in(bucket: Bucket, repository: Repository | None, *, public: bool = False) -> dict[str, str]:
    """Return the key of each snapshot in the bucket, after ``<type>/<id, percent-encoded>/<commit>``."""
    folder = PUBLIC_FOLDER if public else PRIVATE_FOLDER
    below = f"{folder}/repositories/" if repository is None else f"{folder}/{repository.folder}/"
    named = {info.key[len(folder) + 14 : -5]: info.key for info in bucket.list_keys(below)}
    return {name: key for name, key in named.items() if is_commit_sha(name.rpartition("/")[2])}


def remove_repository(
    repository: Repository, commits: Collection[str], bucket: Bucket, *, workers: int, public: bool = False
) -> set[str]:
    """Remove snapshots of *repository* from the bucket: refs, snapshots, then files that no other names.

    The team's files go a day later, with the next removal: an upload under way may count on them. Public
    ones go at once. Returns the keys of the files that are gone.

    Raises:
        ConflictError: other writers kept changing the refs, or publishing files.
    """
    folder = PUBLIC_FOLDER if public else PRIVATE_FOLDER

    def drop(document: dict[str, Any]) -> bool:
        entries = document.get("entries", {})
        gone = [name for name, commit in entries.items() if commit in commits]
        for name in gone:
            del entries[name]
        return bool(gone)

    update_json(bucket, f"{folder}/{repository.refs_path}", drop, public=public)
    for commit in commits:
        path = repository.snapshot_path(commit)
        data = bucket.get(f"{folder}/{path}")
        if data is not None:
            bucket.put(f"{folder}/{_REMOVED}{path.removeprefix('repositories/')}", data)
            bucket.delete(f"{folder}/{path}")
    if public:
        return withdraw_files(bucket, workers)
    kind = FILES_CONFIG if repository.repo_type == "dataset" else repository.repo_type
    remove_pages((DatasetRef(repository.repo_id, kind, commit) for commit in commits), bucket, None)
    return _sweep(bucket, folder, _GRACE_SECONDS, workers) or set()


def withdraw_files(bucket: Bucket, workers: int) -> set[str]:
    """Remove the public files of snapshots that were removed; return their keys.

    Raises:
        ConflictError: other writers kept publishing files.
    """
    for _ in range(_TRIES):
        if (gone := _sweep(bucket, PUBLIC_FOLDER, 0.0, workers)) is not None:
            return gone
    raise ConflictError(f"files in {bucket.address} were shared while others were withdrawn; run it again")


def close_files(
    gone: Collection[str], bucket: Bucket, public_files: PublicFiles, itself: PublicFiles
) -> bool:
    """Make sure that outsiders can't read files that are *gone*, from a cache or as a former version.

    Former versions of files that earlier withdrawals have removed are closed too. Returns whether any
    former version was open.

    Args:
        public_files: reads the public files as an outsider does.
        itself: the bucket as an outsider reads it, where *public_files* goes through a CDN.

    Raises:
        PublishError: they can.
    """

    def is_gone(key: str) -> bool:
        return key in gone or bucket.head_of(key) is None

    was_open = close_versions(bucket, itself, f"{PUBLIC_FOLDER}/blobs/", is_gone)
    if public_files == itself:
        return was_open
    for key in gone:
        if public_files.is_readable(key) and bucket.head_of(key) is None:
            raise PublishError(
                f"the files are removed from {bucket.address}, but {public_files.url(key)} can still be "
                f"read: purge {public_files.url(PUBLIC_FOLDER)}/ from the CDN or cache"
            )
    return was_open


def _sweep(bucket: Bucket, folder: str, grace_seconds: float, workers: int) -> set[str] | None:
    """Remove the files of snapshots that were removed that long ago, unless other snapshots name them.

    Returns their keys; None: others have published in the meantime, so nothing was removed.
    """
    removed = f"{folder}/{_REMOVED}"
    old = [info.key for info in bucket.list_keys(removed) if info.age_seconds >= grace_seconds]
    if not old:
        return set()
    present = commits_in(bucket, None, public=folder == PUBLIC_FOLDER)

    def blobs(key: str) -> set[str]:
        snapshot = _snapshot_at(bucket, key)
        return set() if snapshot is None else {file.blob_path for file in snapshot.files}

    kept = set().union(*run_all(blobs, list(present.values()), workers=workers))
    gone = set().union(*run_all(blobs, old, workers=workers)) - kept
    if commits_in(bucket, None, public=folder == PUBLIC_FOLDER).keys() - present.keys():
        return None
    keys = {f"{folder}/{path}" for path in gone}
    bucket.delete_all(keys)
    bucket.delete_all(old)
    return keys


def snapshots_in(bucket: Bucket, repository: Repository, *, public: bool = False) -> Iterator[Snapshot]:
    """Yield the snapshots of *repository* in the bucket."""
    keys = commits_in(bucket, repository, public=public).values()
    return filter(None, (_snapshot_at(bucket, key) for key in keys))


def snapshot_in(
    bucket: Bucket, repository: Repository, commit: str, *, public: bool = False
) -> Snapshot | None:
    """Return the snapshot of *commit* in the bucket; None: there is none."""
    folder = PUBLIC_FOLDER if public else PRIVATE_FOLDER
    return _snapshot_at(bucket, f"{folder}/{repository.snapshot_path(commit)}")


def _snapshot_at(bucket: Bucket, key: str) -> Snapshot | None:
    repo_type, name, file = key.rsplit("/", 3)[1:]
    data = bucket.get(key)
    if data is None:
        return None
    repository = Repository(cast("RepoType", repo_type), unquote(name))
    return read_snapshot(data, key, repository, file.removesuffix(".json"))


def _held(local: LocalRepositories, snapshot: Snapshot, patterns: Patterns) -> Snapshot:
    """Return *snapshot* with those of its files that patterns choose and that are in the store."""
    chosen = snapshot.only(*patterns).files
    files = tuple(file for file in chosen if local.local_path(file) is not None)
    if len(files) == len(snapshot.files):
        return snapshot
    if len(files) == len(chosen) and snapshot.is_complete:
        return snapshot.only(*patterns)
    paths = tuple(glob.escape(file.path) for file in files)
    return replace(snapshot, files=files, allow_patterns=paths, ignore_patterns=())


def _send(
    local: LocalRepositories, snapshot: Snapshot, bucket: Bucket, folder: str, *, workers: int, reads: bool
) -> bool:
    """Bring the files that the bucket lacks, or has damaged; False: it has all of them.

    What becomes public is copied by the server from the team's files, which were checked just before.
    """
    files = {file.sha256: file for file in snapshot.files}.values()
    held = [(file, path) for file in files if (path := local.local_path(file)) is not None]
    items = [
        (FileRecord(file.path, file.size_bytes, file.sha256), path, f"{folder}/{file.blob_path}")
        for file, path in held
    ]
    wrong = _wrong(items, snapshot, bucket, folder, reads=reads, workers=workers)
    todo = [item for item in items if item[2] in wrong]
    is_public = folder == PUBLIC_FOLDER

    def is_left(item: Sending) -> bool:
        team = f"{PRIVATE_FOLDER}{item[2].removeprefix(PUBLIC_FOLDER)}"
        return not bucket.copy(team, item[2], public=True)

    with task("Uploading", snapshot.repository, [record for record, _, _ in todo]):
        left = todo
        if is_public and todo and not is_left(todo[0]):  # This server copies.
            left = filter_all(is_left, todo[1:], workers=workers)
        send_files(left, bucket, workers=workers, public=is_public)
    return bool(todo)


def _wrong(
    items: list[Sending], snapshot: Snapshot, bucket: Bucket, folder: str, *, reads: bool, workers: int
) -> set[str]:
    """Return the keys of those *items* of *snapshot* that the bucket lacks, or has damaged.

    A listing tells of 1,000 objects, but all repositories have their files in one folder: it is read only as
    far as it costs little beside a request for each file, which tells the rest.
    """
    keys, limit = bucket.list_keys(f"{folder}/blobs/"), _PAGE * max(1, len(items) // 16)
    listed: list[KeyInfo] | None = None
    with contextlib.suppress(NotPermittedError):
        listed = list(itertools.islice(keys, limit)) if len(items) > 1 else None
    there = {info.key for info in listed or ()}
    is_whole = listed is not None and len(listed) < limit
    told = [item for item in items if is_whole or item[2] in there]
    others = [item for item in items if not is_whole and item[2] not in there]
    mark = bucket.get_with_headers(f"{folder}/{snapshot.repository.snapshot_path(snapshot.commit)}")
    wrong = set(
        wrong_objects(told, mark or (b"", {}), bucket, listed=listed or [], reads=reads, workers=workers)
    )
    problems = _problems(bucket, [(key, file) for file, _, key in others], reads, workers)
    return wrong | {item[2] for item, text in zip(others, problems, strict=True) if text is not None}


def problems_in(
    bucket: Bucket, files: Collection[RepositoryFile], *, public: bool, reads: bool, workers: int
) -> dict[str, str]:
    """Return, by path, what is wrong with what the bucket has of *files*.

    Args:
        reads: compare the sha256 of all bytes, not only the recorded one.
    """
    folder = PUBLIC_FOLDER if public else PRIVATE_FOLDER
    keyed = [
        (f"{folder}/{file.blob_path}", FileRecord(file.path, file.size_bytes, file.sha256)) for file in files
    ]
    problems = _problems(bucket, keyed, reads, workers)
    return {file.path: text for file, text in zip(files, problems, strict=True) if text is not None}


def _problems(
    bucket: Bucket, files: list[tuple[str, FileRecord]], reads: bool, workers: int
) -> list[str | None]:
    def look(keyed: tuple[str, FileRecord]) -> str | None:
        key, file = keyed
        head = bucket.head_of(key)
        if head is None:
            return "is missing"
        if (head.size_bytes, head.metadata.get("sha256")) != (file.size_bytes, file.sha256):
            return f"has {head.size_bytes} bytes, not {file.size_bytes}, or another recorded sha256"
        if head.is_archived:
            return f"can't be read. {ARCHIVED}"
        if reads and sha256_of(key, lambda: bucket.open_range(key)) != file.sha256:
            return "has another sha256"
        return None

    return run_all(look, files, workers=workers)


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
                _log.warning("%s, and is written again", exc)
        merged = snapshot.merged(present)
        if merged == present or (present is not None and present.is_complete):
            return False
        with contextlib.suppress(PreconditionFailedError):  # Another publisher was faster.
            put_over(bucket, key, snapshot_bytes(merged), found[1].get("etag", "") if found else None, **how)
            return True
    raise ConflictError(f"{key} in {bucket.address} kept changing during {_TRIES} tries to update it")
