"""What the store and the bucket have of repositories as they are on the Hub: lists, and removal."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
from collections.abc import Iterator
from typing import Literal
from urllib.parse import unquote

from hf_localize.api.values import DatasetName, Result, StoredDataset
from hf_localize.errors import DatasetNotFoundError, HfLocalizeError, InvalidRefError, SettingsError
from hf_localize.format.refs import FILES_CONFIG, DatasetRef, index_prefix, same_revision
from hf_localize.format.repository import PUBLIC_FOLDER, Repository, RepoType, Snapshot, terms_of
from hf_localize.sources.base import RepositorySource, arguments_of, files_option
from hf_localize.sources.session import Session, current_session

_log = logging.getLogger(__name__)


def list_repositories(
    repo_type: RepoType,
    *,
    place: Literal["local", "s3", "public"] = "local",
    pattern: str | None = None,
    details: bool = False,
) -> list[DatasetName]:
    """Return what names each snapshot in the local store or a bucket: its ``revision`` is the commit.

    Args:
        place: where to look. Listing ``public`` takes credentials that can list the bucket.
        pattern: of ids, such as ``openai/*``; None: all.
        details: return more, as :func:`~hf_localize.api.listing.list_local_datasets` does.

    Raises:
        SettingsError: there is no bucket, or there are no credentials.
    """
    session = current_session()
    if place == "public" and session.is_outsider:
        where = session.public_files.url(PUBLIC_FOLDER)
        raise SettingsError(
            f"without credentials, the files in {where} can be read, but not listed. To see whether those of "
            f"one {repo_type} are shared: hg-localize info ID {files_option(repo_type)}"
        )
    found = snapshots_at(place, repo_type, None, None, session)
    chosen = [item for item in found if pattern is None or fnmatch.fnmatch(item[0].repo_id, pattern)]
    if details:
        return [_described(repository, commit, session) for repository, commit in chosen]
    return [DatasetName(repository.repo_id, None, commit) for repository, commit in chosen]


def snapshots_at(
    place: str, repo_type: RepoType, repo_id: str | None, revision: str | None, session: Session
) -> list[tuple[Repository, str]]:
    """Return the repository and commit of the snapshots that ``local``, ``s3`` or ``public`` has.

    Args:
        repo_id: None: of all repositories of that type.

    Raises:
        DatasetNotFoundError: there is none of *repo_id*, at *revision* where that is not None.
    """
    named = None if repo_id is None else Repository(repo_type, repo_id)
    if place == "local":
        local = session.repositories.local
        own = [repository for repository in local.all() if repository.repo_type == repo_type]
        found = [(repo, commit) for repo in own for commit in local.commits(repo)]
        where = str(session.store.path)
    else:
        from hf_localize.publish.repositories import commits_in

        bucket = session.require_publisher()
        found, where = [], str(bucket.address)
        for name in commits_in(bucket, named, public=place == "public"):
            kind, quoted, commit = name.split("/")
            found += [(Repository(repo_type, unquote(quoted)), commit)] if kind == repo_type else []
    if named is None:
        return found
    found = [item for item in found if item[0] == named]
    if found and revision is not None:
        there = session.repositories_at(place)
        refs = there.refs(named) if there is not None else None
        found = [item for item in found if refs is not None and item[1] == refs.resolve(revision)]
    if not found:
        raise DatasetNotFoundError(f"{named}{f' at {revision}' if revision else ''} is not in {where}")
    return found


def snapshot_at(place: str, repository: Repository, commit: str, session: Session) -> Snapshot | None:
    """Return the snapshot that a place has: for a publisher, past any cache before the bucket."""
    if place == "local":
        return session.repositories.local.snapshot(repository, commit)
    from hf_localize.publish.repositories import snapshot_in

    return snapshot_in(session.bucket, repository, commit, public=place == "public")


def _described(repository: Repository, commit: str, session: Session) -> StoredDataset:
    snapshot = session.repositories.snapshot(repository, commit)
    known = terms_of(snapshot or Snapshot(repository, commit, ()))
    return StoredDataset(
        *(repository.repo_id, None, commit),
        place=str(session.repositories.local.place_of(repository, commit)),
        commit=commit,
        origin="hub",
        restriction=known.restriction,
        size_bytes=None if snapshot is None else sum(file.size_bytes for file in snapshot.files),
    )


def remove_repository(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    place: Literal["local", "s3", "public"] = "local",
) -> Result:
    """Remove what one place has of a repository: all of it, or one *revision*.

    Removing files from ``public`` leaves their private copy in the bucket.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        SettingsError: it is to be removed from the bucket, and there is none, or there are no credentials.
        DatasetNotFoundError: that place does not have it.
        PublishError: outsiders can still read public files, from a CDN or cache, or as a former version.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    if place == "public":
        return _withdraw(repository, revision, session)
    commits = tuple(commit for _, commit in snapshots_at(place, repo_type, repo_id, revision, session))
    if place == "local":
        session.repositories.local.remove(repository, commits)
        return Result(True, f"files of {repository}: removed from {session.store.path}")
    from hf_localize.publish.repositories import remove_repository as remove

    remove(repository, commits, session.bucket, workers=session.settings.max_concurrency)
    return Result(True, f"files of {repository}: removed from {session.bucket.address}")


def _withdraw(repository: Repository, revision: str | None, session: Session) -> Result:
    from hf_localize.publish import repositories as published
    from hf_localize.publish.shared_files import withdraw_original_files

    bucket, workers = session.require_publisher(), session.settings.max_concurrency
    readers = (session.public_files, session.public_bucket_files)
    gone = published.withdraw_files(bucket, workers)  # Left by an interrupted withdrawal.
    is_done = False
    if repository.repo_type == "dataset" and revision is None:
        is_done = withdraw_original_files(repository.repo_id, bucket, *readers)
    missing: DatasetNotFoundError | None = None
    try:
        names = (repository.repo_type, repository.repo_id, revision)
        commits = tuple(commit for _, commit in snapshots_at("public", *names, session))
    except DatasetNotFoundError as exc:
        missing = exc
    else:
        gone |= published.remove_repository(repository, commits, bucket, workers=workers, public=True)
    is_done |= published.close_files(gone, bucket, *readers)
    if missing is not None and not gone and not is_done:
        at = f" at {revision}" if revision else ""
        raise DatasetNotFoundError(
            f"the files of {repository}{at} are not shared publicly in {bucket.address}. To see which "
            f"are: hg-localize list-public --repo-type {repository.repo_type}"
        ) from missing
    return Result(True, f"files of {repository}: can no longer be read without credentials")


def withdraw_rest(dataset_id: str, session: Session) -> bool:
    """Remove public files that interrupted withdrawals have left; tell whether *dataset_id* has others."""
    from hf_localize.publish import repositories as published

    bucket = session.require_publisher()
    gone = published.withdraw_files(bucket, session.settings.max_concurrency)
    published.close_files(gone, bucket, session.public_files, session.public_bucket_files)
    left = any(bucket.list_keys(DatasetRef(dataset_id).files.zip_key))
    with contextlib.suppress(InvalidRefError):  # It is the id of own data.
        left = left or bool(published.commits_in(bucket, Repository("dataset", dataset_id), public=True))
    return left


def remove_files_of(ref: DatasetRef, place: Literal["local", "s3", "public"], session: Session) -> None:
    """Remove the files of the repository of *ref*, which was removed, if they go with it."""
    for name in files_removed_with(ref, place, session):
        with contextlib.suppress(DatasetNotFoundError):
            _log.info("%s", remove_repository(name.repo_id, place=place).message_or_path)


def tell_if_original_files_stay(ref: DatasetRef, place: Literal["local", "s3"], session: Session) -> None:
    """Warn of original files of *ref*, which was removed, if they are all that is left of its revision."""
    (source,) = session.resolver(only=(place,)).sources
    left: list[DatasetRef] = []
    with contextlib.suppress(HfLocalizeError):  # It was removed all the same.
        assert isinstance(source, RepositorySource)
        same = (one.ref for one in source.stored(ref) if one.has_id(ref.dataset_id))
        left = [one for one in same if same_revision(one.revision, ref.revision)]
    if left and {one.config_name for one in left} == {FILES_CONFIG}:
        at = "" if place == "local" else f" --in {place}"
        _log.warning(
            "the original files, %s, stay. To remove them: hg-localize remove %s%s",
            *(left[0], arguments_of(left[0]), at),
        )


def files_removed_with(ref: DatasetRef, place: str, session: Session) -> Iterator[Repository]:
    """Yield the repositories whose files go with *ref*: the last dataset made of them; if public, any one."""
    try:
        repository = Repository("dataset", ref.dataset_id)
    except InvalidRefError:  # It is the id of own data.
        return
    for name in _names_in(repository, place, session):
        if place == "local":
            is_needed = any(one.dataset_id == name.repo_id and one != ref for one in session.store.refs())
        else:
            # Beside commit marks there may be the mark of an id that the original tool has data of.
            marks = (mark.key for mark in session.bucket.list_keys(f"{index_prefix(name.repo_id)}/"))
            is_needed = place == "s3" and any(m.endswith(".json") and m != ref.index_key for m in marks)
        if not is_needed:
            yield name


def _names_in(repository: Repository, place: str, session: Session) -> tuple[Repository, ...]:
    """Return the names under which *place* has the repository; none: it does not have it."""
    if place == "local":
        local = session.repositories.local
        refs = local.refs(repository)
        found = local.snapshot(repository, refs.commits[0]) if refs is not None and refs.commits else None
    else:
        from hf_localize.publish.repositories import snapshots_in

        found = next(snapshots_in(session.bucket, repository, public=place == "public"), None)
    return () if found is None else names_of(repository, found)


def names_of(repository: Repository, snapshot: Snapshot) -> tuple[Repository, ...]:
    """Return *repository* and its current id on the Hub, if that differs: programs use both."""
    present = snapshot.info.get("id")
    if not isinstance(present, str):
        return (repository,)
    return tuple(dict.fromkeys((repository, Repository(repository.repo_type, present))))
