"""The public functions that carry the local store in a tar file, where no bucket and no Hub is in reach."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.api.batch import Download, attempt
from hf_localize.api.configs import ref_of, stored_instead, with_configs
from hf_localize.api.datasets import may_travel
from hf_localize.api.stored_repositories import names_of, snapshots_at
from hf_localize.api.values import ids_of
from hf_localize.errors import (
    ConflictError,
    DatasetNotFoundError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    UnusableDataError,
)
from hf_localize.format.arrow.shards import check_shards
from hf_localize.format.files import telling_unwritable
from hf_localize.format.listfile import RepositoryRef
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository
from hf_localize.sources.base import download_command, files_option
from hf_localize.sources.session import Session, current_session
from hf_localize.store.archive import write_archive
from hf_localize.store.commit import commit
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problems_in
from hf_localize.store.repositories import LocalRepositories
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store
from hf_localize.store.verify import check_store

if TYPE_CHECKING:
    from hf_localize.sources.archive import ArchiveEntry, ArchiveSnapshot

_log = logging.getLogger(__name__)


def export_datasets(
    dataset_ids: str | Iterable[str] | None,
    path: str | os.PathLike[str],
    config_names: str | Iterable[str | None] = (None,),
    revision: str | None = None,
) -> list[DatasetRef]:
    """Write datasets of the local store, and the stored files of their repositories, into a tar file.

    Each file is checked against its sha256. To resume an interrupted call, make the same call again.

    Args:
        dataset_ids: one or more ids; None: everything in the store, models and Spaces too.
        config_names: configs of each id; by default all that are stored.
        revision: of each id; by default all that are stored.

    Returns:
        The datasets in the tar file.

    Raises:
        InvalidRefError: something can't name a dataset.
        DatasetNotFoundError: the local store does not have it.
        IntegrityError: a file is damaged.
        UnusableDataError: a folder that a person put into the store names files of this machine.
        StoreError: the tar file can't be written.
    """
    if dataset_ids is None:
        return export_all(path)[0]
    ids, names = ids_of(dataset_ids), ids_of(config_names)
    return export_refs([ref_of(one, name, revision) for one in ids for name in names], path)[0]


def export_refs(
    refs: Iterable[DatasetRef | RepositoryRef], path: str | os.PathLike[str]
) -> tuple[list[DatasetRef], list[RepositoryRef]]:
    """Write *refs* into a tar file, as :func:`export_datasets` does; return what is in it.

    A config or revision that a ref does not name stands for all that are stored.
    """
    session = current_session()
    entries: dict[DatasetRef, LocalEntry] = {}
    snapshots: dict[tuple[Repository, str], None] = {}
    for ref in refs:
        if isinstance(ref, RepositoryRef):
            snapshots |= dict.fromkeys(_snapshots(ref.repository, ref.revision, session))
            continue
        found = _entries(ref, session)
        files = _files_of(ref, found, session)
        if not found and not files:
            where = f"{session.store.path}{stored_instead(ref, session)}"
            raise DatasetNotFoundError(f"{ref} is not in {where}. To download it: {download_command(ref)}")
        for entry in found:
            if (problem := _why_not(entry)) is not None:
                raise UnusableDataError(problem)
        entries |= {entry.manifest.ref: entry for entry in found}
        snapshots |= dict.fromkeys(files)
    return _write(entries, list(snapshots), Path(path), session)


def export_all(path: str | os.PathLike[str]) -> tuple[list[DatasetRef], list[RepositoryRef]]:
    """Write all that is in the local store into a tar file; return what is in it.

    Raises:
        DatasetNotFoundError: the local store is empty.
    """
    session = current_session()
    for checked in check_store(session.store, None, deep=False):
        for damage in checked.damages:
            raise IntegrityError(
                f"{checked.ref} in {checked.place}: {damage}. To repair it: hg-localize repair"
            )
    for part in session.store.partials():
        ref = part.manifest.ref
        _log.warning(
            "%s is not exported: only a part of it is stored. To download all: %s", ref, download_command(ref)
        )
    entries: dict[DatasetRef, LocalEntry] = {}
    for entry in session.store.entries():
        problem = _why_not(entry)
        if problem is None and not entry.is_named:
            problem = (
                f"its id is not known: _ may stand for / in the name of {entry.folder}. To export it, name "
                "the id: hg-localize export ID"
            )
        if problem is None:
            entries.setdefault(entry.manifest.ref, entry)
        else:
            _log.warning("%s is not exported: %s", entry.manifest.ref, problem)
    local = session.repositories.local
    snapshots = [
        (repo, commit) for repo in local.all() if (refs := local.refs(repo)) for commit in refs.commits
    ]
    return _write(entries, snapshots, Path(path), session)


def _entries(ref: DatasetRef, session: Session) -> list[LocalEntry]:
    """Return what is stored of *ref*: all configs and revisions that it does not exclude."""
    store, revisions = session.store, [ref.revision]
    if ref.revision is None:
        revisions += [manifest.ref.revision for manifest in store.manifests_of(ref)]
        for folder in store.places.folders_of_id(ref):  # `manifests_of` skips damaged entries; this raises.
            with contextlib.suppress(InvalidRefError):
                store.open_place(store.places.of(folder))
    named = [dataclasses.replace(ref, revision=revision) for revision in dict.fromkeys(revisions)]
    found = [store.find(one) for own in named for one in with_configs(own, session, "local")]
    return [entry for entry in found if entry is not None]


def _files_of(
    ref: DatasetRef, entries: Sequence[LocalEntry], session: Session
) -> list[tuple[Repository, str]]:
    """Return the stored snapshots of the repository of *ref*: of its revision, or of *entries*."""
    try:
        found = _snapshots(Repository("dataset", ref.dataset_id), None, session)
    except (DatasetNotFoundError, InvalidRefError):  # Not stored, or registered under an id of no repository.
        return []
    if ref.revision is None and ref.config_name is None:
        return found
    commits = {entry.manifest.commit for entry in entries}
    if ref.revision is not None:
        refs = (session.repositories.local.refs(repository) for repository, _ in found)
        commits |= {known.resolve(ref.revision) for known in refs if known is not None}
    return [(repository, commit) for repository, commit in found if commit in commits]


def _snapshots(
    repository: Repository, revision: str | None, session: Session
) -> list[tuple[Repository, str]]:
    """Return the stored snapshots of *repository*, also those under its current id on the Hub."""
    local = session.repositories.local
    try:
        found = snapshots_at("local", repository.repo_type, repository.repo_id, revision, session)
    except DatasetNotFoundError as exc:
        options = files_option(repository.repo_type) + (f" --revision '{revision}'" if revision else "")
        raise DatasetNotFoundError(
            f"{exc}. To download it: hg-localize download {repository.repo_id} {options}"
        ) from exc
    snapshots = ((local.snapshot(repository, commit), commit) for _, commit in found)
    both = ((name, c) for snapshot, c in snapshots if snapshot for name in names_of(repository, snapshot))
    return [(name, c) for name, c in both if name == repository or local.snapshot(name, c) is not None]


def _why_not(entry: LocalEntry) -> str | None:
    """Return, in words, why *entry* would be useless on another machine; None: it would not."""
    if entry.has_manifest or not entry.is_saved or may_travel(entry):
        return None
    return (
        f"{entry.folder} names files of this machine. To make a portable dataset of it: "
        f"hg-localize register {entry.folder} {entry.manifest.dataset_id}"
    )


def _write(
    entries: dict[DatasetRef, LocalEntry],
    snapshots: Sequence[tuple[Repository, str]],
    path: Path,
    session: Session,
) -> tuple[list[DatasetRef], list[RepositoryRef]]:
    if not entries and not snapshots:
        raise DatasetNotFoundError(f"there is nothing to export from {session.store.path}")
    repositories: dict[Repository, list[str]] = {}
    for repository, commit_sha in snapshots:
        repositories.setdefault(repository, []).append(commit_sha)
    with telling_unwritable(path):
        write_archive(list(entries.values()), list(repositories.items()), session.repositories.local, path)
    return list(entries), [RepositoryRef(*item) for item in snapshots]


def import_datasets(path: str | os.PathLike[str], *, replace: bool = False) -> list[Download]:
    """Read what is in a tar file into the local store: one of :func:`export_datasets`, or of a whole store.

    Each file in the tar file is checked. Datasets that are already stored are checked too, and replaced if
    damaged. A failure does not stop the others. To resume an interrupted call, make the same call again.

    Args:
        replace: replace datasets that are stored under the same name with other content.

    Returns:
        A :class:`Download` for each dataset, and for the files of each repository at each commit.

    Raises:
        FileNotFoundError: there is no such file.
        IntegrityError: it is not such a tar file, or is incomplete.
    """
    from hf_localize.sources.archive import read_archive

    session = current_session()
    archive = read_archive(Path(path), session.settings.max_concurrency)
    store = dataclasses.replace(session.store, verifies_hashes=True)  # Nothing stored is taken on trust.
    local, checked = LocalRepositories(store), set[str]()

    done = [
        attempt(Download, entry.manifest.ref, functools.partial(_import, entry, store, replace))
        for entry in archive.entries
    ]
    for found in archive.snapshots:
        ref = DatasetRef(found.snapshot.repository.repo_id, None, found.snapshot.commit)
        done.append(attempt(Download, ref, functools.partial(_import_files, found, local, checked)))
    if archive.others:
        _log.warning(
            "not imported, because they belong to no complete dataset or repository: %d file%s of %s, such "
            "as %s. To have them too, unpack the tar file into a local store",
            *(len(archive.others), "s" * (len(archive.others) != 1), path, archive.others[0]),
        )
    return done


def _import(entry: ArchiveEntry, store: Store, replaces: bool) -> str:
    manifest, ref, there = entry.manifest, entry.manifest.ref, None
    try:
        there = store.find_unchecked(ref)
    except IntegrityError as exc:
        _log.info("%s is damaged, and is replaced: %s", ref, exc)
    if there is not None and there.manifest.ref == ref:
        if there.content_digest == manifest.digest:
            if not problems_in(there.folder, manifest.files, deep=True):
                entry.files.check(ref, manifest.files)
                _log.info("%s is in the local store already", ref)
                return str(there.folder)
            _log.info("%s is damaged in %s, and is replaced", ref, there.folder)
        elif not replaces:
            raise ConflictError(
                f"{there.folder} has different content under this name. To replace it with that of the tar "
                f"file: hg-localize import {shlex.quote(str(entry.files.path))} --replace"
            )
    with staging_folder(store, f"{manifest.digest}-import") as folder:
        entry.files.fetch(ref, manifest.files, folder)
        try:
            check_shards(folder, manifest.splits, None)
        except HfLocalizeError:
            shutil.rmtree(folder)  # Nothing of it is of use to another try.
            raise
        return str(commit(store, folder, manifest).folder)


def _import_files(found: ArchiveSnapshot, local: LocalRepositories, checked: set[str]) -> str:
    """Bring the files of a snapshot into the store; *checked* has the sha256 of those that were read."""
    unread = [file for file in found.present if file.sha256 not in checked]
    missing = local.missing(unread)
    snapshot = found.snapshot
    if not missing and local.readable_snapshot(snapshot.repository, snapshot.commit) is not None:
        _log.info(
            "the files of %s at %s are in the local store already", snapshot.repository, snapshot.commit
        )
    local.bring(missing, found.fetch)
    found.check([file for file in unread if file not in missing])
    checked.update(file.sha256 for file in unread)
    refs = found.refs
    if refs is not None:
        refs = dataclasses.replace(refs, commits=(found.snapshot.commit,))
    return str(local.keep(found.snapshot, refs))
