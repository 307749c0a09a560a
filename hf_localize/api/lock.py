"""The public functions for lock files: note exactly what is there, and bring exactly that again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_localize import settings
from hf_localize.api.batch import Download, Outcome, download_refs
from hf_localize.api.configs import configs_listed
from hf_localize.api.datasets import PlainHub
from hf_localize.errors import HfLocalizeError, LockError, NotLockedError, kind_of
from hf_localize.format.listfile import read_list
from hf_localize.format.lockfile import Lock, Locked, lock_of, locked, read_lock, read_record
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.base import CommittedEntry, Entry, StoredEntry
from hf_localize.sources.pinned import hashed_manifest
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry


def lock_datasets(
    dataset_ids: str | Iterable[str] = (),
    config_names: Iterable[str | None] = (None,),
    revision: str | None = None,
    *,
    from_record: str | os.PathLike[str] | None = None,
    from_file: str | os.PathLike[str] | None = None,
    by_commit: bool = False,
    trust_remote_code: bool = False,
) -> Lock:
    """Return the lock of what is named, as it is now, and of what a record says that was loaded.

    Sources are asked in the order of a load; that moves no data but where nothing else tells the
    digest. What only the Hub has is locked by its commit.

    Args:
        dataset_ids: names one or more datasets, each with every one of *config_names*.
        from_record: the file or folder that ``HGLOC_RECORD`` named.
        from_file: a list of datasets: lines ``id [config [revision]]``.
        by_commit: leave out the digest where there is a commit. Then what any release of `datasets`
            makes of that commit is taken, by whoever says that it is of that commit.
        trust_remote_code: as for :func:`download_dataset`.

    Raises:
        InvalidRefError: something can't name a dataset.
        LockError: nothing is named; the record can't be read; or nothing tells a content.
        ConflictError: the record has two contents of one dataset.
        DatasetNotFoundError: no source has a dataset that is named.
    """
    ids = (dataset_ids,) if isinstance(dataset_ids, str) else tuple(dataset_ids)
    refs = [DatasetRef(dataset_id, name, revision) for dataset_id in ids for name in config_names]
    refs += read_list(Path(from_file)) if from_file is not None else []
    items = read_record(Path(from_record)) if from_record is not None else []
    if not refs and from_record is None and from_file is None:
        raise LockError(
            "nothing is named that could be locked: give dataset ids, a list, or a record of loads"
        )
    session, hub = current_session(), PlainHub(trust_remote_code)
    items += [_locked_now(ref, session, hub) for ref in dict.fromkeys(refs)]
    return lock_of(item.by_commit() if by_commit else item for item in items)


@dataclass(frozen=True, slots=True)
class LockState(Outcome):
    """Whether a dataset is what a lock file names: what is ``locked``, and what there is ``now``, in words.

    ``state`` is ``same``, ``different``, ``not locked``, or ``missing``, where no source has it.
    """

    dataset_id: str
    config_name: str | None
    revision: str | None
    state: str | None = None
    locked: str | None = None
    now: str | None = None
    error: str | None = None
    error_kind: str | None = None


def check_lock(
    path: str | os.PathLike[str], refs: Iterable[DatasetRef] = (), *, trust_remote_code: bool = False
) -> list[LockState]:
    """Compare what the lock file *path* names with what a load without it would have now. Moves no data.

    Args:
        refs: what is looked at; none: all that the lock file names.

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

    return [look(ref) for ref in refs or [item.ref for item in lock.datasets]]


def download_locked(
    path: str | os.PathLike[str],
    dataset_ids: Collection[str] = (),
    *,
    trust_remote_code: bool = False,
    verification_mode: str | None = None,
) -> list[Download]:
    """Bring exactly what the lock file *path* names into the local store, several at a time.

    Nothing is published. What the store has of other content stays: what is locked lies beside it.

    Args:
        dataset_ids: those of the lock file's datasets that are wanted; none: all of them.
        verification_mode: as :func:`download_dataset` takes it.

    Returns:
        A :class:`Download` for each. One that could not be had exactly so is a failed one.

    Raises:
        LockError: the lock file can't be read, or does not have what is wanted.
    """
    with lock_in_force(path, dataset_ids) as refs:
        return download_refs(
            refs,
            skip_s3_upload=True,
            trust_remote_code=trust_remote_code,
            verification_mode=verification_mode,
        )


@contextlib.contextmanager
def lock_in_force(
    path: str | os.PathLike[str], dataset_ids: Collection[str] = ()
) -> Iterator[list[DatasetRef]]:
    """Have the lock file *path* in force meanwhile, and return what it names of *dataset_ids*; none: all."""
    lock = read_lock(Path(path).absolute())
    unknown = [i for i in dataset_ids if all(item.ref.dataset_id != i for item in lock.datasets)]
    if unknown:
        raise LockError(f"{', '.join(unknown)} is not in the lock file {lock.where}")
    before = settings.current_overrides()
    settings.restore({**before, "lock": Path(path).absolute()})
    try:
        yield [item.ref for item in lock.datasets if not dataset_ids or item.ref.dataset_id in dataset_ids]
    finally:
        settings.restore(before)


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
