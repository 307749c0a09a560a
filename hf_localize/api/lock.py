"""The public functions for lock files: note exactly what is there, and bring exactly that again."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from hf_localize import settings
from hf_localize.api.batch import Download, download_refs
from hf_localize.api.configs import configs_listed
from hf_localize.api.datasets import PlainHub
from hf_localize.errors import LockError
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
    lock = read_lock(Path(path).absolute())
    unknown = [i for i in dataset_ids if all(item.ref.dataset_id != i for item in lock.datasets)]
    if unknown:
        raise LockError(f"{', '.join(unknown)} is not in the lock file {lock.where}")
    refs = [item.ref for item in lock.datasets if not dataset_ids or item.ref.dataset_id in dataset_ids]
    before = settings.current_overrides()
    settings.restore({**before, "lock": Path(path).absolute()})
    try:
        return download_refs(
            refs,
            skip_s3_upload=True,
            trust_remote_code=trust_remote_code,
            verification_mode=verification_mode,
        )
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
