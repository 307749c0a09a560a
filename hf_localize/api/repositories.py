"""The public functions for repositories as they are on the Hub: datasets, models and Spaces."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import unquote

from hf_localize.api.datasets import Result, ids_of, terms_on_hub
from hf_localize.api.listing import Described
from hf_localize.errors import (
    DatasetNotFoundError,
    DatasetUnreachableError,
    HfLocalizeError,
    UnreachableError,
)
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository, RepoType, Snapshot
from hf_localize.http.retry import one_load
from hf_localize.sources.session import Session, current_session

_log = logging.getLogger(__name__)


def download_repository(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    make_public: bool = False,
    skip_s3_upload: bool = False,
    share_restricted: str | Collection[str] = (),
) -> Result:
    """Bring the files of a repository into the local store as they are, and publish them.

    Asked in order: local store, private bucket, public files, Hub.

    Args:
        repo_type: ``dataset``, ``model`` or ``space``.
        revision: a branch, tag or commit SHA; None is ``main``.
        include: patterns of files, as ``hf download`` takes them; empty: all.
        exclude: patterns of files that are left out.
        make_public: share it with everybody too.
        skip_s3_upload: only fetch; it wins over *make_public*.
        share_restricted: as for :func:`~hf_localize.api.datasets.download_dataset`.

    Returns:
        ``(True, path of the snapshot in the local store)``, a JSON file that names its files.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        SettingsError: *make_public* without a bucket or credentials.
        DatasetNotFoundError: no source has it.
        RestrictedError: it is gated or private, or may be, so *make_public* needs *share_restricted*.
        PublishError: it is in the local store, as the error's ``path``, but could not be published.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    publishes_publicly = make_public and not skip_s3_upload
    if publishes_publicly:
        session.require_publisher()
    with one_load():
        snapshot = _localize(repository, revision, tuple(include) or None, tuple(exclude), session)
    path = session.store.path / ".hgloc" / snapshot.repository.snapshot_path(snapshot.commit)
    if skip_s3_upload or session.lock is not None or not session.can_publish():
        return Result(True, str(path))
    try:
        for name in _names(repository, snapshot):
            if session.repositories.local.refs(name) is not None:
                done = _publish(name, (snapshot.commit,), session, make_public, ids_of(share_restricted))
                _log.info("%s: %s", name, "; ".join(done))
    except HfLocalizeError as exc:
        exc.path = str(path)
        exc.comes_after(f"the files are in the local store at {exc.path}; publishing them failed")
        raise
    return Result(True, str(path))


def sync_local_repository_to_s3(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    make_public: bool = False,
    share_restricted: str | Collection[str] = (),
) -> Result:
    """Bring what the local store has of a repository to the bucket: all of it, or one *revision*.

    Raises:
        InvalidRefError, SettingsError, RestrictedError, PublishError: as for :func:`download_repository`.
        DatasetNotFoundError: the local store does not have it.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    session.require_publisher()
    commits = _local_commits(repository, revision, session)
    done = _publish(repository, commits, session, make_public, ids_of(share_restricted))
    return Result(True, f"{repository}: {'; '.join(done)}")


def list_repositories(
    repo_type: RepoType, *, s3: bool = False, pattern: str | None = None, details: bool = False
) -> list[dict[str, Any]]:
    """Return a dict for each snapshot in the local store, or in the bucket: its ``revision`` is the commit.

    Args:
        s3: those in the bucket.
        pattern: of ids, such as ``openai/*``; None: all.
        details: return more, as :func:`~hf_localize.api.listing.list_local_datasets` does.
    """
    session = current_session()
    found: list[tuple[Repository, str]] = []
    if s3:
        from hf_localize.publish.repositories import commits_in

        for name in commits_in(session.require_publisher(), None):
            kind, quoted, commit = name.split("/")
            found += [(Repository(repo_type, unquote(quoted)), commit)] if kind == repo_type else []
    else:
        local = session.repositories.local
        own = [repository for repository in local.all() if repository.repo_type == repo_type]
        found = [(repo, commit) for repo in own if (refs := local.refs(repo)) for commit in refs.commits]
    chosen = [item for item in found if pattern is None or fnmatch.fnmatch(item[0].repo_id, pattern)]
    listed = []
    for repository, commit in chosen:
        ref = DatasetRef(repository.repo_id, None, commit)
        listed.append(_described(repository, commit, session).as_dict() if details else ref.as_dict())
    return listed


def _described(repository: Repository, commit: str, session: Session) -> Described:
    snapshot, known = session.repositories.snapshot(repository, commit), _terms(repository, commit, session)
    return Described(
        ref=DatasetRef(repository.repo_id, None, commit),
        place=f"{session.store.path}/.hgloc/{repository.snapshot_path(commit)}",
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

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        SettingsError: it is to be removed from the bucket, and there is none, or there are no credentials.
        DatasetNotFoundError: that place does not have it.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    if place == "local":
        commits = _local_commits(repository, revision, session)
        session.repositories.local.remove(repository, commits)
        return Result(True, f"removed {repository} from {session.store.path}")
    from hf_localize.publish.repositories import commits_in
    from hf_localize.publish.repositories import remove_repository as remove

    bucket, is_public = session.require_publisher(), place == "public"
    commits = tuple(name.rpartition("/")[2] for name in commits_in(bucket, repository, public=is_public))
    if revision is not None:
        refs = session.repositories.refs(repository, revision)
        commits = tuple(commit for commit in commits if refs and commit == refs.resolve(revision))
    if not commits:
        raise DatasetNotFoundError(f"{repository} is not in {bucket.address}")
    remove(repository, commits, bucket, workers=session.settings.max_concurrency, public=is_public)
    return Result(True, f"removed {repository} from {bucket.address}")


def verify_repository(
    repo_id: str, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> list[dict[str, Any]]:
    """Check the files of a repository in the local store; return a dict for each snapshot.

    All bytes are read. A file that was never brought here is not damaged.

    Raises:
        InvalidRefError, DatasetNotFoundError: as for :func:`remove_repository`.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    local, found = session.repositories.local, []
    for commit in _local_commits(repository, revision, session):
        snapshot = local.snapshot(repository, commit)
        if snapshot is None:  # Somebody has removed it meanwhile.
            continue
        files = [file for file in snapshot.files if local.has(file)]
        problems = local.problems(files)
        place = f"{session.store.path}/.hgloc/{repository.snapshot_path(commit)}"
        damaged = [f"{path} {problem}" for path, problem in problems.items()]
        named = DatasetRef(repo_id, None, commit).as_dict()
        told = {"files": len(files), "size_bytes": sum(file.size_bytes for file in files), "is_hashed": True}
        is_partial = not snapshot.is_complete or len(files) < len(snapshot.files)
        found.append({**named, "place": place, **told, "is_partial": is_partial, "damaged": damaged})
    return found


def _local_commits(repository: Repository, revision: str | None, session: Session) -> tuple[str, ...]:
    refs = session.repositories.local.refs(repository)
    commits = refs.commits if refs is not None else ()
    if refs is not None and revision is not None:
        commits = tuple(commit for commit in commits if commit == refs.resolve(revision))
    if not commits:
        at = f" at {revision}" if revision else ""
        raise DatasetNotFoundError(f"{repository}{at} is not in {session.store.path}")
    return commits


def _localize(
    repository: Repository,
    revision: str | None,
    allow: tuple[str, ...] | None,
    ignore: tuple[str, ...],
    session: Session,
) -> Snapshot:
    """Return the snapshot of *revision* once the files that patterns choose are in the store."""
    tiers, problem = session.repositories, None
    try:
        refs = tiers.refs(repository, revision)
        commit = refs.resolve(revision) if refs is not None else None
        snapshot = tiers.snapshot(repository, commit) if commit is not None else None
        if snapshot is not None and snapshot.covers(allow, ignore):
            tiers.localize(snapshot, [file.path for file in snapshot.only(allow, ignore).files])
            return snapshot
    except UnreachableError as exc:
        problem = exc
        _log.debug("%s is not taken from the store or a bucket: %s", repository, exc)
    if not session.hub_enabled():
        kind = DatasetUnreachableError if problem is not None else DatasetNotFoundError
        why = f": {problem}" if problem is not None else ""
        raise kind(f"{repository} at {revision or 'main'} is in no enabled source{why}") from problem
    return _from_hub(repository, revision, allow, ignore, session)


def _from_hub(
    repository: Repository,
    revision: str | None,
    allow: tuple[str, ...] | None,
    ignore: tuple[str, ...],
    session: Session,
) -> Snapshot:
    from hf_localize.hf.hub_repository import download_from_hub, find_on_hub

    settings, local = session.settings, session.repositories.local
    if settings.hub_offline:
        raise DatasetUnreachableError(
            f"{repository} is in no bucket, and the Hub can't be asked: HF_HUB_OFFLINE or "
            "HF_DATASETS_OFFLINE is set"
        )
    found, refs = find_on_hub(repository, revision, settings.timeout_seconds)
    snapshot = download_from_hub(found, local, allow, ignore)
    for name in _names(repository, snapshot):
        local.keep(replace(snapshot, repository=name), replace(refs, repository=name))
    return snapshot


def _names(repository: Repository, snapshot: Snapshot) -> tuple[Repository, ...]:
    """Return *repository* and, where the Hub calls it otherwise by now, that too: programs use both names."""
    present = snapshot.info.get("id")
    if not isinstance(present, str):
        return (repository,)
    return tuple(dict.fromkeys((repository, Repository(repository.repo_type, present))))


def _publish(
    repository: Repository,
    commits: Sequence[str],
    session: Session,
    make_public: bool,
    share_restricted: Collection[str],
) -> list[str]:
    """Upload snapshots and, where asked, share them publicly; return what was done, in words."""
    from hf_localize.publish.public import check_may_share
    from hf_localize.publish.repositories import upload_repository

    bucket, local, settings = session.require_publisher(), session.repositories.local, session.settings
    terms = [_terms(repository, commit, session) for commit in commits]
    if make_public:  # Before anything is sent.
        for manifest in terms:
            check_may_share(manifest, share_restricted, terms_on_hub(settings, repository.repo_type))
    if restricted := next((known for known in terms if known.gated or known.private), None):
        _log.warning(
            "%s is %s on the Hub: whoever may read %s can read the copy there, and its terms bind them too",
            repository,
            restricted.restriction,
            bucket.address,
        )
    workers, reads = settings.max_concurrency, settings.verify == "always"
    with one_load():
        sent = upload_repository(local, repository, commits, bucket, workers=workers, reads=reads)
        done = [f"uploaded to {bucket.address}" if sent else f"{bucket.address} has it already"]
        if make_public:
            files = session.public_files
            shared = upload_repository(
                local, repository, commits, bucket, workers=workers, reads=reads, public_files=files
            )
            done.append("shared publicly" if shared else "shared publicly already")
    return done


def _terms(repository: Repository, commit: str, session: Session) -> Manifest:
    """Return what is known of who may have a snapshot, as a manifest without files."""
    snapshot = session.repositories.local.snapshot(repository, commit)
    info = snapshot.info if snapshot is not None else {}
    gated, private = (None if info.get(name) is None else bool(info[name]) for name in ("gated", "private"))
    return Manifest(
        dataset_id=repository.repo_id,
        revision=commit,
        origin="hub",
        commit=commit,
        gated=gated,
        private=private,
    )
