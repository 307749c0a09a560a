"""Repositories in the local store: ``.hgloc/blobs`` has their files, ``.hgloc/repositories`` the rest.

A snapshot can name files that are not here yet: which are here tells the folder of blobs alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from hf_localize.errors import HfLocalizeError, IntegrityError, InvalidRefError
from hf_localize.format.files import read_whole, remove_file, replace_file, replacing
from hf_localize.format.index import is_of_other_release
from hf_localize.format.manifest import FileRecord
from hf_localize.format.repository import (
    REPO_TYPES,
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
    is_commit_sha,
    merge_refs,
    read_refs,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.format.sealed_json import json_bytes, parse_json
from hf_localize.store.integrity import problem_with, problems_in
from hf_localize.store.locks import lock, writing
from hf_localize.store.staging import incoming_folder, staging_folder
from hf_localize.store.store import Store, reading
from hf_localize.transfer.flushing import flush, flush_tree
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
_STALE_SECONDS = 24 * 3600
#: What is fetched in moments is not worth a lock and what resumes it.
_SMALL_BYTES = 16 << 20
_WORKERS = 16
#: Brings files into a folder, each under its sha256, verified.
Fetch = Callable[[Collection[RepositoryFile], Path], None]


@dataclass(frozen=True, slots=True)
class LocalRepositories:
    """The repositories in a store. Reading takes no lock and writes nothing."""

    store: Store
    name: str = "local store"

    def refs(self, repository: Repository) -> RepositoryRefs | None:
        """Return the refs of *repository*, with the commits of which there are snapshots; None: none."""
        with reading(self.store.path):
            commits = self.commits(repository)
            path = self._path(repository.refs_path)
            try:
                refs = read_refs(read_whole(path), str(path), repository)
            except FileNotFoundError:
                return RepositoryRefs(repository, commits=commits) if commits else None
            return replace(refs, commits=commits)

    def commits(self, repository: Repository) -> tuple[str, ...]:
        """Return the commits of which there are snapshots, damaged or not."""
        names = _names(self._path(repository.folder))
        return tuple(commit for name in names if is_commit_sha(commit := name.removesuffix(".json")))

    def readable_snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        """Return the snapshot of *commit*; None: it is not here, or is damaged and may be replaced."""
        try:
            return self.snapshot(repository, commit)
        except IntegrityError as exc:
            _refuse_other_release(self.place_of(repository, commit))
            _log.warning("the stored list of the files of %s is damaged: %s", repository, exc)
            return None

    def lists_all(self, snapshot: Snapshot) -> bool:
        """Tell whether the refs, and the whole list of the files of *snapshot*, are here and can be read."""
        present = self.readable_snapshot(snapshot.repository, snapshot.commit)
        try:
            self.refs(snapshot.repository)
        except IntegrityError:
            return False
        return present is not None and present.is_complete

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        """Return the snapshot of *commit*; None: it is not here."""
        path = self._path(repository.snapshot_path(commit))
        with reading(self.store.path):
            try:
                data = read_whole(path)
            except FileNotFoundError:
                return None
        return read_snapshot(data, str(path), repository, commit)

    def place_of(self, repository: Repository, commit: str) -> Path:
        """Return where the snapshot of *commit* is, or would be."""
        return self._path(repository.snapshot_path(commit))

    def place_of_file(self, file: RepositoryFile) -> Path:
        """Return where *file* is, or would be, damaged or not."""
        return self._path(file.blob_path)

    def all(self) -> list[Repository]:
        """Return the repositories that are here, sorted."""
        found = []
        with reading(self.store.path):
            for repo_type in REPO_TYPES:
                for name in _names(self._path(f"repositories/{repo_type}")):
                    with contextlib.suppress(InvalidRefError):  # Somebody else's folder.
                        found.append(Repository(repo_type, unquote(name)))
            return [one for one in found if self.commits(one) or self._path(one.refs_path).exists()]

    def known_ids(self, repo_type: RepoType) -> Collection[str]:
        """Return the ids of repositories of that type that are or were stored; no file is read."""
        with contextlib.suppress(HfLocalizeError), reading(self.store.path):
            return {unquote(name) for name in _names(self._path(f"repositories/{repo_type}"))}
        return ()

    def in_other_case(self, repository: Repository) -> list[Repository]:
        """Return, where *repository* is not stored, those whose ids differ from its in letter case only."""
        if os.path.exists(self._path(repository.folder)):  # False, too, where it can't be read.
            return []
        return repository.in_other_case(self.known_ids(repository.repo_type))

    def local_path(self, file: RepositoryFile) -> Path | None:
        """Return where *file* lies; None: it is not here, or not whole."""
        path = self._path(file.blob_path)
        record = FileRecord(file.path, file.size_bytes, file.sha256)
        return None if problem_with(path, record, deep=self.store.verifies_hashes) else path

    def problems(self, files: Collection[RepositoryFile], *, deep: bool = True) -> dict[str, str]:
        """Return, by path, how *files* differ from their records; *deep*: all bytes are read."""
        records = [FileRecord(file.blob_path, file.size_bytes, file.sha256) for file in files]
        found = problems_in(self._path(""), records, deep=deep)
        return {file.path: found[file.blob_path] for file in files if file.blob_path in found}

    def missing(self, files: Collection[RepositoryFile]) -> list[RepositoryFile]:
        """Return those of *files* that are not here, one of each content."""
        unique = {file.sha256: file for file in files}
        return [file for file in unique.values() if self.local_path(file) is None]

    def bring(self, files: Collection[RepositoryFile], fetch: Fetch) -> None:
        """Have *fetch* bring those of *files* that are missing. What was interrupted is resumed."""
        files = self.missing(files)
        if not files:
            return
        if sum(file.size_bytes for file in files) < _SMALL_BYTES:
            folders = incoming_folder(self.store, "blobs")
        else:
            names = "".join(sorted(file.sha256 for file in files))
            folders = staging_folder(self.store, f"blobs-{hashlib.sha256(names.encode()).hexdigest()[:16]}")
        with folders as folder:
            missing = self.missing(files)  # Another process may have had the lock before.
            fetch(missing, folder)
            self.take(folder, missing)

    def take(self, folder: Path, files: Collection[RepositoryFile]) -> None:
        """Make the verified *files* of *folder*, each named by its sha256, blobs: flush and rename them."""
        flush_tree(folder)
        with writing(self.store):
            parents = {self._made(Path(file.blob_path).parent.as_posix()) for file in files}
            for file in files:
                # It takes the place of the same bytes, or of what is damaged.
                replace_file(folder / file.sha256, self._path(file.blob_path))
            run_all(flush, sorted(parents), workers=_WORKERS)

    def keep(self, snapshot: Snapshot, refs: RepositoryRefs | None) -> Path:
        """Write *snapshot*, with what is here of it, and then the refs; return where the snapshot is."""
        repository, path = snapshot.repository, self._path(snapshot.repository.snapshot_path(snapshot.commit))
        with writing(self.store), self._changing(repository):
            folder = self._made(repository.folder)
            present = self.readable_snapshot(repository, snapshot.commit)
            merged = snapshot.merged(present)
            if merged != present:
                self._write(path, snapshot_bytes(merged))
            if refs is not None:
                self._update_refs(refs)
            flush(folder)
        self._remove_stale()
        return path

    def remove(self, repository: Repository, commits: Collection[str]) -> None:
        """Remove the refs if no other commit is here, the snapshots, then the blobs that no other names."""
        with writing(self.store), self._changing(repository):
            snapshots = [self.readable_snapshot(repository, commit) for commit in commits]
            gone = {file.sha256: file for snapshot in snapshots if snapshot for file in snapshot.files}
            path = self._path(repository.refs_path)
            if set(commits) >= set(self.commits(repository)):
                remove_file(path)
            for commit in commits:
                remove_file(self._path(repository.snapshot_path(commit)))
            with contextlib.suppress(OSError):  # It is not empty.
                path.parent.rmdir()
        try:
            unnamed = gone.keys() - self._named()
        except IntegrityError as exc:  # Of another snapshot, whose files these may be.
            _log.warning("the files of %s stay, since another repository is damaged: %s", repository, exc)
            unnamed = set()
        for blob in unnamed:
            remove_file(self._path(gone[blob].blob_path))
        self._remove_stale()

    def _remove_stale(self) -> None:
        """Once a day, remove what a killed process has left: blobs that no snapshot names, and parts.

        A blob stays if its folder has changed during the last day: a process that has just put it there
        writes its snapshot next.
        """
        stamp, limit = self._path("blobs/.looked-through"), time.time() - _STALE_SECONDS
        with contextlib.suppress(OSError):
            if stamp.stat().st_mtime > limit:
                return
        self._made("blobs")
        try:
            stamp.touch()
            named = self._named()
        except (HfLocalizeError, OSError) as exc:  # Another user's stamp, or a damaged snapshot.
            _log.debug("blobs that no snapshot names stay: %s", exc)
            return
        for pattern in ("blobs/*/*", "repositories/*/*/.*"):
            for path in self._path("").glob(pattern):
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    old = max(path.stat().st_mtime, path.parent.stat().st_mtime) < limit
                    if old and path.name not in named:
                        path.unlink()

    def _named(self) -> set[str]:
        """Return the sha256 of all files that snapshots name."""
        return {
            file.sha256
            for repository in self.all()
            for commit in self.commits(repository)
            for file in self._files(repository, commit)
        }

    def _files(self, repository: Repository, commit: str) -> tuple[RepositoryFile, ...]:
        snapshot = self.snapshot(repository, commit)
        return () if snapshot is None else snapshot.files

    def _update_refs(self, refs: RepositoryRefs) -> None:
        path = self._path(refs.repository.refs_path)
        document = {}
        with contextlib.suppress(FileNotFoundError):
            try:
                document = parse_json(read_whole(path), str(path))
                read_refs(document, str(path), refs.repository)
            except IntegrityError as exc:
                _refuse_other_release(path)
                _log.warning("the refs of %s are replaced: %s", refs.repository, exc)
                document = {}
        if merge_refs(document, refs, str(path)):
            self._write(path, json_bytes(document))

    def _write(self, path: Path, data: bytes) -> None:
        """Have *data* appear at *path* as a whole."""
        with incoming_folder(self.store, "repository") as folder, replacing(path, folder) as part:
            part.write_bytes(data)
            flush(part)

    def _path(self, path: str) -> Path:
        return self.store.path / ".hgloc" / path

    def _made(self, path: str) -> Path:
        """Make a folder below ``.hgloc``, for all who may write to the store."""
        kind, *names = path.split("/")
        folder = self.store.places.work(kind, is_private=False)
        shared = self.store.places.shared_mode
        for name in names:
            folder /= name
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                if shared:
                    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | shared)
        return folder

    def _changing(self, repository: Repository) -> contextlib.AbstractContextManager[None]:
        name = hashlib.sha256(repository.folder.encode()).hexdigest()[:16]
        return lock(self.store, f"repository-{name}")


def _refuse_other_release(path: Path) -> None:
    """Raise IntegrityError where *path* is not damaged, but in a format that this release does not read."""
    data = b""
    with contextlib.suppress(IntegrityError):  # It is not a file.
        data = read_whole(path)
    if is_of_other_release(data, str(path)):
        raise IntegrityError(f"{path} is in the format of another release of hf_localize: upgrade it")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
