"""The public functions that bring repositories as they are on the Hub, and publish them."""

from __future__ import annotations

import contextlib
import glob
import logging
import shlex
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_localize.api.publishing import Sharing, after_storing, may_share_files, publish_files
from hf_localize.api.stored_repositories import names_of, snapshots_at
from hf_localize.api.values import RepositoryFiles, Result, ids_of
from hf_localize.errors import (
    DatasetCorruptError,
    DatasetDeniedError,
    DatasetNotFoundError,
    DatasetUnreachableError,
    HfLocalizeError,
    UnreachableError,
    kind_of,
)
from hf_localize.format.equivalence import Identity
from hf_localize.format.lockfile import LockedRepository
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import (
    ALL_FILES,
    Patterns,
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
)
from hf_localize.http.retry import one_load
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import download_command, files_option
from hf_localize.sources.resolver import log_answer
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry

if TYPE_CHECKING:
    from hf_localize.sources.repositories import RepositoryTiers

_log = logging.getLogger(__name__)
#: The files of a larger dataset are kept as they are only where that is asked for.
MAX_KEPT_BYTES = 5_000_000_000
#: What to do about damaged files that no source can replace.
FROM_TAR = "To repair them from a tar file that has them: hg-localize import FILE"
#: A snapshot with more patterns takes long to match.
_MAX_PATTERNS = 1000
#: More make no command that people type.
_MAX_SHOWN_PATTERNS = 10
#: The error for what no place has, by the kind of a failure; the first counts.
_FAILURES: dict[str, type[DatasetNotFoundError]] = {
    "corrupt": DatasetCorruptError,
    "denied": DatasetDeniedError,
    "unreachable": DatasetUnreachableError,
}


def download_repository(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    make_public: bool = False,
    skip_s3_upload: bool = False,
    share_restricted: str | Collection[str] = (),
    update: bool = False,
) -> Result:
    """Download the files of a repository into the local store as they are, and publish them.

    Takes them from the first source that has them: local store, private bucket, public files, Hub.

    Args:
        repo_type: ``dataset``, ``model`` or ``space``.
        revision: a branch, tag or commit SHA; None is ``main``.
        include: patterns of files, as in ``hf download``; empty: all.
        exclude: patterns of files to leave out.
        make_public: share these files with everybody too. Those of a dataset hold all of its configs.
        skip_s3_upload: only download; overrides *make_public*.
        share_restricted: as for :func:`~hf_localize.api.datasets.download_dataset`.
        update: download the commit that the Hub has now, or if the Hub is not a source, that of the next
            source. Without *include* and *exclude*, the patterns of the stored files apply.

    Returns:
        ``(True, path of the snapshot in the local store)``, a JSON file that names its files.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        SettingsError: *make_public* without a bucket or credentials.
        DatasetNotFoundError: no source has it.
        RestrictedError: it is, or may be, gated or private, so *make_public* needs *share_restricted*.
        PublishError: it is in the local store (the error's ``path``), but could not be published.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    patterns = Patterns(ids_of(include) or None, ids_of(exclude))
    publishes_publicly = make_public and not skip_s3_upload
    if publishes_publicly:
        session.require_publisher()
    with one_load():
        snapshot = _localize(repository, revision, patterns, session, update=update)
    if patterns != ALL_FILES and not snapshot.only(*patterns).files:
        _log.warning("the patterns leave no file of %s, so no file was downloaded", repository)
    path = path_of(snapshot, session)
    if not skip_s3_upload:
        sharing = Sharing(make_public, ids_of(share_restricted), is_named=True)
        _publish_if_possible(snapshot, session, sharing, path, patterns)
    return Result(True, path)


def keep_files(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    share_restricted: str | Collection[str] = (),
) -> Result:
    """Bring the files of the repository of a dataset that is in the local store, unless they are large.

    Arguments are as for :func:`~hf_localize.api.datasets.download_dataset`.
    """
    session = current_session()
    entry = session.local_entry(DatasetRef(dataset_id, config_name, revision))
    sharing = None if skip_s3_upload else Sharing(make_public, ids_of(share_restricted), is_named=False)
    keep_files_of(entry, session, sharing, is_required=False)
    return Result(True, str(entry.folder))


def keep_files_of(entry: LocalEntry, session: Session, sharing: Sharing | None, *, is_required: bool) -> None:
    """Bring the files of the repository from which *entry* came, too, and publish them.

    Args:
        sharing: None: they are not published.
        is_required: bring them whatever their size, and raise where they can't be had.

    Raises:
        PublishError: they could not be published.
    """
    manifest = entry.manifest
    if manifest.origin != "hub":
        return
    repository = Repository("dataset", manifest.dataset_id)
    try:
        with one_load():
            snapshot, problem = _from_places(repository, manifest.commit, ALL_FILES, session.repositories)
            if snapshot is None:
                found, refs = find_on_hub(repository, manifest.commit, session, problem)
                size_bytes = sum(file.size_bytes for file in found.files)
                if size_bytes > MAX_KEPT_BYTES and not is_required:
                    command = f"{download_command(manifest.ref)} --keep-files"
                    _log.info(
                        "the files of %s have %s, so they are not stored as they are. To store them: %s",
                        *(repository, f"{size_bytes / 1e9:.1f} GB", command),
                    )
                    return
                snapshot = _from_hub(found, _as_prepared(refs, manifest), ALL_FILES, session)
    except HfLocalizeError as exc:
        if is_required:
            raise
        _log.info("the files of %s are not stored as they are: %s", repository, exc)
        return
    if sharing is not None:
        _publish_if_possible(snapshot, session, sharing, str(entry.folder))


def describe_files(
    repository: Repository,
    revision: str | None,
    session: Session,
    *,
    asks_hub: bool,
    patterns: Patterns = ALL_FILES,
) -> RepositoryFiles:
    """Return number and sizes of the files of a repository, and whether a download of the dataset keeps them.

    Raises:
        DatasetNotFoundError: no source has it.
        AccessDeniedError, UnreachableError: a source can't tell.
    """
    snapshot, _ = _find(repository, revision, session, asks_hub=asks_hub)
    files = snapshot.only(*patterns).files
    size_bytes = sum(file.size_bytes for file in files)
    _, transfer_bytes = to_transfer(files, session)
    return RepositoryFiles(len(files), size_bytes, transfer_bytes, size_bytes <= MAX_KEPT_BYTES)


def to_transfer(files: Iterable[RepositoryFile], session: Session) -> tuple[int, int]:
    """Return how many of *files*, and bytes, are not in the local store."""
    local = session.repositories.local
    missing = [file for file in files if not file.sha256 or local.local_path(file) is None]
    return len(missing), sum(file.size_bytes for file in missing)


def _find(
    repository: Repository, revision: str | None, session: Session, *, asks_hub: bool
) -> tuple[Snapshot, bool]:
    """Return a snapshot, and whether the store or a bucket has it; raises as :func:`describe_files`."""
    snapshot = session.repositories.find(repository, revision)
    if snapshot is not None:
        return snapshot, True
    if not asks_hub:
        places = f"Looked in: {session.places_of_files()}"
        raise files_not_found(repository, revision, session, places, (), has_answered=False)
    return _find_with_advice(repository, revision, session)[0], False


def files_to_share(
    repository: Repository,
    revision: str | None,
    session: Session,
    *,
    is_named: bool,
    planned: Collection[Identity] = (),
    patterns: Patterns = ALL_FILES,
) -> tuple[str, int] | None:
    """Return commit and bytes of the files of a repository that would become public; None: none would.

    Args:
        is_named: the files themselves are named.
        planned: the datasets that would be shared too.

    Raises:
        DatasetNotFoundError, AccessDeniedError, UnreachableError: as for :func:`describe_files`.
    """
    from hf_localize.publish.repositories import snapshot_in

    snapshot, is_stored = _find(repository, revision, session, asks_hub=session.asks("hub"))
    files = snapshot.only(*patterns).files
    if not is_named:
        if not is_stored and sum(file.size_bytes for file in files) > MAX_KEPT_BYTES:
            return None
        if not may_share_files(repository.repo_id, snapshot.commit, session, planned=planned):
            return None
    there = snapshot_in(session.require_publisher(), repository, snapshot.commit, public=True)
    paths = set() if there is None else {file.path for file in there.files}
    return snapshot.commit, sum(file.size_bytes for file in files if file.path not in paths)


def describe_files_of(ref: DatasetRef, session: Session, *, asks_hub: bool) -> RepositoryFiles | None:
    """Return what :func:`describe_files` tells of the repository of a dataset; None: no source tells."""
    with contextlib.suppress(HfLocalizeError):
        return describe_files(Repository("dataset", ref.dataset_id), ref.revision, session, asks_hub=asks_hub)
    return None


def lock_repository(
    repo_id: str, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> LockedRepository:
    """Return the commit that *revision* of a repository has now, in the first source that has it, as locked.

    Raises:
        InvalidRefError, DatasetNotFoundError: as for :func:`download_repository`.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    refs = session.repositories.refs(repository, revision)
    commit = refs.resolve(revision) if refs is not None else None
    if commit is None:
        commit = _find_with_advice(repository, revision, session)[0].commit
    return LockedRepository(repository, revision or "main", commit)


def download_locked_files(
    repository: Repository, commit: str, files: Collection[str] | None, *, asks_hub: bool = True
) -> str | None:
    """Bring those *files* of a repository that are in LFS, and all others; return where the snapshot is.

    Args:
        files: None: all.
        asks_hub: None is returned where only the Hub may have it, and it shall not be asked.
    """
    session = current_session()
    tiers = session.repositories
    with one_load():
        snapshot = tiers.snapshot(repository, commit)
        if snapshot is not None:
            chosen = [file.path for file in snapshot.files if _is_chosen(file, files)]
            if snapshot.is_complete or (files is not None and set(files) <= set(chosen)):
                tiers.localize(snapshot, chosen)
                return path_of(snapshot, session)
        if not asks_hub:
            return None
        found, refs = find_on_hub(repository, commit, session)
        chosen = [file.path for file in found.files if _is_chosen(file, files)]
        others = [file.path for file in found.files if not _is_chosen(file, files)]
        patterns = Patterns(None, tuple(map(glob.escape, others)))
        if len(others) > _MAX_PATTERNS:
            patterns = Patterns(tuple(map(glob.escape, chosen)))
        return path_of(_from_hub(found, refs, patterns, session), session)


def _is_chosen(file: RepositoryFile, files: Collection[str] | None) -> bool:
    return files is None or not file.is_lfs or file.path in files


def path_of(snapshot: Snapshot, session: Session) -> str:
    """Return where a snapshot is in the local store, or would be."""
    return str(session.repositories.local.place_of(snapshot.repository, snapshot.commit))


def _as_prepared(refs: RepositoryRefs, manifest: Manifest) -> RepositoryRefs:
    """Return *refs* with the branch of an entry at the entry's commit, which may not be the newest."""
    name = manifest.revision or "main"
    if manifest.commit is None or name not in refs.branches:
        return refs if manifest.commit is None else refs.with_pull(name, manifest.commit)
    return replace(refs, branches={**refs.branches, name: manifest.commit})


def _publish_if_possible(
    snapshot: Snapshot, session: Session, sharing: Sharing, path: str, patterns: Patterns = ALL_FILES
) -> None:
    if session.lock is not None or not session.can_publish():
        return
    with after_storing(path, f"the files are in the local store at {path}; publishing them failed"):
        for name in names_of(snapshot.repository, snapshot):
            if session.repositories.local.refs(name) is not None:
                done = publish_files(name, (snapshot.commit,), session, sharing, patterns)
                _log.info("files of %s: %s", name, "; ".join(done))


def sync_local_repository_to_s3(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    make_public: bool = False,
    share_restricted: str | Collection[str] = (),
) -> Result:
    """Upload what the local store has of a repository to the bucket: all of it, or one *revision*.

    Raises:
        InvalidRefError, SettingsError, RestrictedError, PublishError: as for :func:`download_repository`.
        DatasetNotFoundError: the local store does not have it.
    """
    repository, session = Repository(repo_type, repo_id), current_session()
    session.require_publisher()
    commits = tuple(commit for _, commit in snapshots_at("local", repo_type, repo_id, revision, session))
    sharing = Sharing(make_public, ids_of(share_restricted), is_named=True)
    return Result(True, sync_files(repository, commits, session, sharing))


def sync_files(repository: Repository, commits: Sequence[str], session: Session, sharing: Sharing) -> str:
    """Upload snapshots of the local store; return what was done, in words."""
    done = publish_files(repository, commits, session, sharing)
    return f"files of {repository}: {'; '.join(done)}"


def _localize(
    repository: Repository, revision: str | None, patterns: Patterns, session: Session, *, update: bool
) -> Snapshot:
    """Return the snapshot of *revision* once the files that patterns choose are in the store.

    Args:
        update: take what the Hub has now; if it is not a source, what the next place has.
    """
    tiers = session.repositories
    if update and session.lock is None:
        patterns, tiers = _stored_patterns(repository, revision, patterns, session), tiers.elsewhere
        if session.asks("hub"):
            require_hub(session, f"pull {repository.repo_id} {files_option(repository.repo_type)} --update")
            return _from_hub(*_find_with_advice(repository, revision, session), patterns, session)
    snapshot, problem = _from_places(repository, revision, patterns, tiers)
    if snapshot is not None:
        return snapshot
    found, refs = _find_with_advice(repository, revision, session, problem)
    return _from_hub(found, refs, patterns, session)


def _stored_patterns(
    repository: Repository, revision: str | None, patterns: Patterns, session: Session
) -> Patterns:
    """Return *patterns*; if they choose all files, those by which the stored files were chosen."""
    if patterns != ALL_FILES:
        return patterns
    local = session.repositories.local
    refs = local.refs(repository)
    commit = None if refs is None else refs.resolve(revision)
    stored = None if commit is None else local.readable_snapshot(repository, commit)
    return ALL_FILES if stored is None else Patterns(stored.allow_patterns, stored.ignore_patterns)


def _find_with_advice(
    repository: Repository, revision: str | None, session: Session, problem: UnreachableError | None = None
) -> tuple[Snapshot, RepositoryRefs]:
    """Return what :func:`find_on_hub` does; its errors also say where else was looked, and what to do."""
    try:
        return find_on_hub(repository, revision, session, problem)
    except (DatasetNotFoundError, UnreachableError) as exc:
        said = [one for one in (problem, exc if session.asks("hub") else None) if one is not None]
        looked, held = f"Looked in: {session.places_of_files()}", _in_part(repository, revision, session)
        answers = ". ".join([looked, *map(str, said), *held])
        has_answered = session.asks("hub") and not isinstance(exc, UnreachableError)
        raise files_not_found(
            repository, revision, session, answers, map(kind_of, said), has_answered=has_answered
        ) from exc


def _in_part(repository: Repository, revision: str | None, session: Session) -> Iterator[str]:
    """Yield, if files of a repository that could not be found are held, how to have these."""
    with contextlib.suppress(HfLocalizeError):
        snapshot = session.repositories.find(repository, revision)
        if snapshot is not None:
            named = f"{repository.repo_id} {files_option(repository.repo_type)}"
            patterns = [("include", one) for one in snapshot.allow_patterns or ()]
            patterns += [("exclude", one) for one in snapshot.ignore_patterns]
            if not patterns:
                yield f"To bring the commit that another source has: hg-localize pull {named} --update"
            elif len(patterns) <= _MAX_SHOWN_PATTERNS:
                chosen = " ".join(f"--{name} {shlex.quote(one)}" for name, one in patterns)
                yield f"Some files are there. To have these: hg-localize download {named} {chosen}"


def files_not_found(
    repository: Repository,
    revision: str | None,
    session: Session,
    answers: str,
    kinds: Iterable[str],
    *,
    has_answered: bool,
) -> DatasetNotFoundError:
    """Return the error for files that no place has.

    Args:
        answers: what the places answered, in words.
        kinds: those of the answers.
        has_answered: the Hub said that it has none.
    """
    failed = {*kinds}
    kind = next((error for name, error in _FAILURES.items() if name in failed), DatasetNotFoundError)
    named = f" --revision '{revision}'" if revision else ""
    command = f"hg-localize download {repository.repo_id} {files_option(repository.repo_type)}{named}"
    if has_answered:
        mend = "" if kind is DatasetNotFoundError else "Fix what failed above. "
        advice = f"{mend}The Hub has answered: check the id, the revision and the type of the repository. "
        advice += "If it is private, set HF_TOKEN"
    elif session.asks("public") and (session.is_outsider or not session.asks("s3")):
        advice = (
            "Without credentials, only files that are shared publicly can be read. To share these, their "
            f"publisher runs: {command} --make-public (files hold all configs)"
        )
    else:
        advice = f"To publish them, run this where the Hub and the bucket are reachable: {command}"
    near = session.did_you_mean(repository)
    return kind(
        f"The files of {repository} at {revision or 'main'} could not be found.\n{answers}\n{advice}{near}"
    )


def _from_places(
    repository: Repository, revision: str | None, patterns: Patterns, tiers: RepositoryTiers
) -> tuple[Snapshot | None, UnreachableError | None]:
    """Return the snapshot, brought from the store or a bucket; else None, and the place's failure, if any."""
    try:
        snapshot = tiers.find(repository, revision)
        if snapshot is not None and snapshot.covers(*patterns):
            started, files = time.monotonic(), snapshot.only(*patterns).files
            sources = tiers.bring(snapshot, [file.path for file in files])
            if "local" not in dict(tiers.places):
                tiers.local.keep(snapshot, tiers.refs_elsewhere(snapshot))
            how = f"{time.monotonic() - started:.1f} s" if sources else "nothing to fetch"
            _log_files(repository, " and ".join(sources) or SOURCE_NAMES["local"], files, how)
            return snapshot, None
    except UnreachableError as exc:
        _log.debug("%s is not taken from the store or a bucket: %s", repository, exc)
        return None, exc
    return None, None


def require_hub(session: Session, command: str) -> None:
    """Check that the Hub can be asked; the error names what *command* does without it.

    Raises:
        UnreachableError: it can't be reached, or is turned off.
    """
    from hf_localize.hf.hub import unreachable

    settings = session.settings
    if settings.hub_offline or settings.offline:
        problem = "the Hub can't be asked: HF_HUB_OFFLINE, HF_DATASETS_OFFLINE or HGLOC_OFFLINE is set"
    elif not (problem := unreachable(settings.timeout_seconds) or ""):
        return
    if session.asks("s3"):
        problem += f". To leave out the Hub: HGLOC_SOURCES=local,s3 hg-localize {command}"
    raise UnreachableError(problem)


def find_on_hub(
    repository: Repository, revision: str | None, session: Session, problem: UnreachableError | None = None
) -> tuple[Snapshot, RepositoryRefs]:
    """Return what the Hub has of *repository* at *revision*; *problem* kept a place before from answering."""
    settings = session.settings
    if not session.asks("hub"):
        kind = DatasetUnreachableError if problem is not None else DatasetNotFoundError
        why = f": {problem}" if problem is not None else ""
        raise kind(f"{repository} at {revision or 'main'} is in no enabled source{why}") from problem
    if settings.hub_offline:
        raise DatasetUnreachableError(
            f"{repository} is in no bucket, and the Hub can't be asked: HF_HUB_OFFLINE or "
            "HF_DATASETS_OFFLINE is set"
        )
    from hf_localize.hf import hub_repository

    return hub_repository.find_on_hub(repository, revision, settings.timeout_seconds)


def _from_hub(found: Snapshot, refs: RepositoryRefs, patterns: Patterns, session: Session) -> Snapshot:
    from hf_localize.hf.hub_repository import download_from_hub

    local, started = session.repositories.local, time.monotonic()
    snapshot = download_from_hub(found, local, *patterns)
    _log_files(found.repository, SOURCE_NAMES["hub"], snapshot.files, f"{time.monotonic() - started:.1f} s")
    for name in names_of(found.repository, snapshot):
        local.keep(replace(snapshot, repository=name), replace(refs, repository=name))
    return snapshot


def _log_files(repository: Repository, source: str, files: Collection[RepositoryFile], how: str) -> None:
    """Log, as for a dataset, the source that answered, what it gave, and *how* long that took."""
    size_bytes = sum(file.size_bytes for file in files)
    log_answer(f"files of {repository}", source, str(len(files)), size_bytes, how)
