"""The public functions for lock files: note exactly what is there, and bring exactly that again."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_localize import settings
from hf_localize.api.batch import Download, Outcome, attempt, download_refs
from hf_localize.api.configs import configs_listed
from hf_localize.api.datasets import PlainHub
from hf_localize.api.repositories import download_locked_files, lock_repository
from hf_localize.api.values import ids_of
from hf_localize.errors import (
    HfLocalizeError,
    InvalidRefError,
    LockError,
    NotLockedError,
    UnreachableError,
    kind_of,
)
from hf_localize.format.listfile import RepositoryRef, read_list
from hf_localize.format.lockfile import (
    Lock,
    Locked,
    LockedRepository,
    content_in_words,
    lock_of,
    locked,
    read_lock,
    read_record,
)
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository, RepoType
from hf_localize.sources.base import (
    CommittedEntry,
    Entry,
    NotHere,
    StoredEntry,
    arguments_of,
    download_command,
)
from hf_localize.sources.pinned import hashed_manifest
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)


def lock_datasets(
    dataset_ids: str | Iterable[str] = (),
    config_names: str | Iterable[str | None] = (None,),
    revision: str | None = None,
    *,
    from_record: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    by_commit: bool = False,
    trust_remote_code: bool = False,
    repo_type: RepoType | None = None,
) -> Lock:
    """Return a lock of the current content of datasets, or of the content that a recorded run loaded.

    Asks the sources in the order of a load. Data is downloaded only if nothing else tells the digest. A
    dataset that only the Hub has is locked by its commit. A warning names what the bucket lacks, or has with
    other content.

    Args:
        dataset_ids: one or more ids; of each, every one of *config_names* is locked.
        from_record: the file or folder that ``HGLOC_RECORD`` named during the run.
        from_file: a list of datasets and repositories, as for ``hg-localize download --from-file``.
        by_commit: leave out the digest if there is a commit. Then every copy that is said to be of that
            commit is accepted, whichever release of `datasets` prepared it.
        trust_remote_code: as for :func:`download_dataset`.
        repo_type: *dataset_ids* name repositories of this type, whose files are locked.

    Example:
        >>> hf_localize.lock_datasets("openai/gsm8k", ["main"]).write("datasets.lock")

    Raises:
        InvalidRefError: something can't name a dataset.
        LockError: nothing is named, the record can't be read, or the content of a dataset is not known.
        ConflictError: the record has two contents of one dataset.
        DatasetNotFoundError: no source has one of the datasets.
    """
    refs = refs_named(dataset_ids, config_names, revision, repo_type, from_file)
    items = read_record(Path(from_record)) if from_record is not None else []
    if not refs and from_record is None and from_file is None:
        raise LockError("nothing to lock: give dataset ids, a list, or a record of loads")
    session, hub = current_session(), PlainHub(trust_remote_code)
    for ref in dict.fromkeys(refs):
        if isinstance(ref, RepositoryRef):
            named = ref.repository
            items.append(lock_repository(named.repo_id, repo_type=named.repo_type, revision=ref.revision))
        else:
            items.append(_locked_now(ref, session, hub))
    made = lock_of(i.by_commit() if by_commit and isinstance(i, Locked) else i for i in items)
    _warn_of_bucket(made, session)
    return made


def _warn_of_bucket(made: Lock, session: Session) -> None:
    """Warn of locked content that other machines can't fetch from the bucket."""
    if not session.asks("s3"):
        return
    (source,) = session.resolver(only=("s3",)).sources
    items = [item for item in made.datasets if item.digest is not None]
    try:
        if not session.can_publish():
            return
        found = run_all(lambda item: source.find(item.ref), items, workers=session.settings.max_concurrency)
    except HfLocalizeError as exc:
        _log.debug("can't tell whether the bucket has what is locked: %s", exc)
        return
    for item, there in zip(items, found, strict=True):
        named, where = arguments_of(item.ref), session.bucket.address
        if isinstance(there, NotHere):
            _log.warning(
                "%s: %s lacks it, so other machines can't download it from there. To publish it: %s",
                *(item.ref, where, download_command(item.ref)),
            )
        elif isinstance(there, StoredEntry) and not item.is_met_by(there.manifest):
            _log.warning(
                "%s: %s has other content than is locked, so other machines can't download this from "
                "there. To lock the bucket's: hg-localize pull %s --update, then hg-localize lock %s. To "
                "publish this: hg-localize sync-local-to-s3 %s --force",
                *(item.ref, where, named, named, named),
            )


def refs_named(
    ids: str | Iterable[str],
    config_names: str | Iterable[str | None],
    revision: str | None,
    repo_type: RepoType | None,
    from_file: str | os.PathLike[str] | None,
) -> list[DatasetRef | RepositoryRef]:
    """Return what the arguments of :func:`lock_datasets` name."""
    listed = read_list(Path(from_file)) if from_file is not None else []
    if from_file is not None and not listed:
        raise LockError(f"the list {os.fspath(from_file)} names nothing, so there is nothing to lock")
    ids = ids_of(ids)
    if repo_type is not None:
        return [*(RepositoryRef(Repository(repo_type, repo_id), revision) for repo_id in ids), *listed]
    names = ids_of(config_names)
    return [*(DatasetRef(dataset_id, name, revision) for dataset_id in ids for name in names), *listed]


@dataclass(frozen=True, slots=True)
class LockState(Outcome):
    """A dataset compared with a lock file: the content that is ``locked``, and that of ``now``, in words.

    ``state`` is ``same``, ``different``, ``not locked``, or ``missing`` (no source has it).
    """

    state: str | None = None
    locked: str | None = None
    now: str | None = None
    error: str | None = None
    error_kind: str | None = None


def check_lock(
    path: str | os.PathLike[str],
    refs: Iterable[DatasetRef | RepositoryRef] = (),
    *,
    trust_remote_code: bool = False,
) -> list[LockState]:
    """Compare the lock file *path* with what a load without it would get now. Downloads no data.

    Args:
        refs: the datasets to compare; none: all that the lock file names.

    Raises:
        LockError: the lock file can't be read.
    """
    lock, session, hub = read_lock(Path(path).absolute()), current_session(), PlainHub(trust_remote_code)

    def look(ref: DatasetRef) -> LockState:
        names = ref.parts
        try:
            item = lock.of(ref)
        except NotLockedError:
            return LockState(*names, "not locked")
        try:
            now = _locked_now(ref, session, hub)
        except HfLocalizeError as exc:
            if kind_of(exc) == "not found":
                return LockState(*names, "missing", item.content)
            return LockState(*names, locked=item.content, error=str(exc), error_kind=kind_of(exc))
        return LockState(*names, "same" if now.is_same(item) else "different", item.content, now.content)

    named = [RepositoryRef(item.repository, item.revision) for item in lock.repositories]
    chosen = list(refs) or [*(item.ref for item in lock.datasets), *named]
    return [_compared(ref, lock) if isinstance(ref, RepositoryRef) else look(ref) for ref in chosen]


def _compared(ref: RepositoryRef, lock: Lock) -> LockState:
    repository, revision = ref.repository, ref.revision or "main"
    names, commit = (repository.repo_id, None, revision), lock.commit_of(repository, revision)
    if commit is None:
        return LockState(*names, "not locked")
    content = content_in_words(None, commit)
    try:
        now = lock_repository(repository.repo_id, repo_type=repository.repo_type, revision=revision)
    except HfLocalizeError as exc:
        if kind_of(exc) == "not found":
            return LockState(*names, "missing", content)
        return LockState(*names, locked=content, error=str(exc), error_kind=kind_of(exc))
    state = "same" if now.commit == commit else "different"
    return LockState(*names, state, content, content_in_words(None, now.commit))


def download_locked(
    path: str | os.PathLike[str],
    dataset_ids: str | Collection[str] = (),
    *,
    trust_remote_code: bool = False,
    verification_mode: str | None = None,
) -> list[Download]:
    """Download exactly the content that the lock file *path* names into the local store, in parallel.

    Publishes nothing. Other content that the store has of a dataset stays, and the locked content is stored
    beside it.

    Args:
        dataset_ids: datasets of the lock file; none: all of them.
        verification_mode: as for :func:`download_dataset`.

    Returns:
        A :class:`Download` for each. If no source has exactly this content, it is a failed one.

    Example:
        >>> hf_localize.lock_datasets("openai/gsm8k", ["main"]).write("datasets.lock")
        >>> [done.success for done in hf_localize.download_locked("datasets.lock")]
        [True]

    Raises:
        LockError: the lock file can't be read, or does not name one of *dataset_ids*.
    """
    dataset_ids = ids_of(dataset_ids)
    with lock_in_force(path, dataset_ids) as refs:
        lock = read_lock(Path(path).absolute())
        wanted = set(dataset_ids) or {item.repository.repo_id for item in lock.repositories}
        done = [_bring(item) for item in lock.repositories if item.repository.repo_id in wanted]
        items = [item for item in lock.datasets if item.ref in refs]
        files = {item.ref: kept for item in items if (kept := _bring_original_files(item))}
        brought = download_refs(
            [ref for ref in refs if ref not in files],
            skip_s3_upload=True,
            trust_remote_code=trust_remote_code,
            verification_mode=verification_mode,
        )
        return [*brought, *files.values(), *done]


@contextlib.contextmanager
def lock_in_force(
    path: str | os.PathLike[str], dataset_ids: Collection[str] = ()
) -> Iterator[list[DatasetRef]]:
    """Have the lock file *path* in force meanwhile, and return what it names of *dataset_ids*; none: all."""
    lock = read_lock(Path(path).absolute())
    named = {item.ref.dataset_id for item in lock.datasets}
    named |= {item.repository.repo_id for item in lock.repositories}
    if unknown := [name for name in dataset_ids if name not in named]:
        raise LockError(f"{', '.join(unknown)} is not in the lock file {lock.where}")
    before = settings.current_overrides()
    settings.restore({**before, "lock": Path(path).absolute()})
    try:
        yield [item.ref for item in lock.datasets if not dataset_ids or item.ref.dataset_id in dataset_ids]
    finally:
        settings.restore(before)


def _bring(item: LockedRepository) -> Download:
    ref = DatasetRef(item.repository.repo_id, None, item.revision)
    bring = functools.partial(download_locked_files, item.repository, item.commit, item.files)
    return attempt(Download, ref, bring)


def _bring_original_files(item: Locked) -> Download | None:
    """Bring original files where a source has the repository of which they are; None: none has."""
    ref = item.ref
    if ref != ref.files or item.commit is None:
        return None
    with contextlib.suppress(InvalidRefError, UnreachableError):
        path = download_locked_files(Repository("dataset", ref.dataset_id), item.commit, None, asks_hub=False)
        return None if path is None else Download(*ref.parts, path)
    return None


def _locked_now(ref: DatasetRef, session: Session, hub: PlainHub) -> Locked:
    """Return what the first source has of *ref*."""
    resolver = session.resolver(hub)
    with configs_listed(ref):
        entry: Entry = resolver.find(ref)
    if isinstance(entry, CommittedEntry) and entry.commit is not None:
        return Locked(ref, commit=entry.commit)
    is_local = isinstance(entry, LocalEntry)  # What has no manifest is hashed.
    tells_digest = isinstance(entry, StoredEntry) and all(file.sha256 for file in entry.manifest.files)
    if not is_local and not tells_digest:
        entry = resolver.localize_entry(entry, ref)
    assert isinstance(entry, StoredEntry)
    return locked(ref, hashed_manifest(entry) if isinstance(entry, LocalEntry) else entry.manifest)
