"""The local store: find, stage, commit, list and remove entries.

A reader takes no lock and writes nothing. A writer stages a whole entry in ``.hgloc/staging``
and publishes it by one rename.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hf_localize import layout
from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    StoreError,
)
from hf_localize.manifest import (
    FileRecord,
    Manifest,
    hash_file,
    is_same_id,
    pointer_document,
    problem_with,
    read_manifest,
    read_pointer,
    ref_at_head,
)
from hf_localize.refs import MANIFEST_NAME, DatasetRef, ref_of_folder
from hf_localize.room import NO_ROOM
from hf_localize.shards import link_or_copy
from hf_localize.transfer import run_all

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_WORK = ".hgloc"
#: How often what others replace meanwhile is looked at, or replaced, again.
_TRIES = 20
#: What the system says of a folder that somebody else has put there, or taken away.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})
_STALE_SECONDS = 24 * 3600
_SYNC_WORKERS = 16
#: What of a manifest tells whose it is: ids, config and revision have 246 bytes each, escaped or not.
_HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """An entry in the local store.

    ``is_saved`` is False for a folder of data files (parquet, csv, …), which stock `datasets` has
    to prepare: original files that were kept, or a folder that a person put there. Its manifest
    has no splits and no features.
    """

    folder: Path
    manifest: Manifest
    has_manifest: bool = True
    is_saved: bool = True
    source: str = "local store"
    #: Only some of the files that the manifest names are here; each of those is whole.
    is_partial: bool = False
    #: Device and inode of the folder when its manifest was read: another folder is another entry.
    identity: tuple[int, int] | None = None
    #: Of a partial entry: files that are here and damaged, which is as if they were not.
    damaged: frozenset[str] = frozenset()
    #: The inode of each file, where all were looked at when the entry was found.
    inodes: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Return the manifest's digest, or one by sizes and times where there is no manifest."""
        if self.has_manifest:
            return self.manifest.digest
        return layout.stat_signature(self.folder, self.manifest)

    def open(self, path: str) -> BinaryIO:
        """Return the entry's file at *path*, opened for reading.

        Raises:
            IntegrityError: another entry has taken this one's place meanwhile.
        """
        try:
            file = open(self.folder / path, "rb")  # noqa: SIM115  # The caller closes it.
        except FileNotFoundError as exc:
            raise IntegrityError(f"{self.folder / path} is gone") from exc
        if self.was_replaced():
            file.close()
            raise IntegrityError(f"{self.folder} was replaced while it was read; load the dataset again")
        return file

    def paths(self) -> frozenset[str]:
        """Return the paths of the files that are here."""
        files = self.manifest.files
        return frozenset(f.path for f in files if not self.is_partial or self.has_file(f)) - self.damaged

    def has(self, paths: Collection[str] | None) -> bool:
        """Tell whether all of *paths* are here; None stands for all that there are."""
        return not self.is_partial or (paths is not None and set(paths) <= self.paths())

    def summary(self) -> str:
        """Return, in words, which shards of which splits are here, and of which splits there is none."""
        here = self.paths()
        counts = {
            s.name: (sum(h.path in here for h in s.shards), len(s.shards)) for s in self.manifest.splits
        }
        some = ", ".join(f"{name} ({n} of {of} shards)" for name, (n, of) in counts.items() if n)
        none = ", ".join(name for name, (n, _) in counts.items() if not n)
        return f"{some or 'no shard'}{f'; nothing of {none}' if some and none else ''}"

    def lend(self, folder: Path) -> None:
        """Link the files that are here into *folder*, so that they need not be fetched again."""
        for path in self.paths():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                link_or_copy(self.folder / path, target)

    def has_file(self, file: FileRecord) -> bool:
        """Tell whether the entry's file *file* is here, of the recorded size."""
        try:
            return (self.folder / file.path).stat().st_size == file.size_bytes
        except FileNotFoundError:
            return False

    def was_replaced(self) -> bool:
        """Tell whether another entry has taken this one's place since it was found."""
        return self.identity is not None and _identity(self.folder) != self.identity

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Copy the files *paths* of the entry into *folder*, and return its manifest."""
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, folder / path)
        return self.manifest

    def fetch_into(self, folder: Path) -> Manifest:
        """Copy the entry's files into *folder* and return a manifest with their hashes."""
        manifest = self.hashed_manifest()
        for file in manifest.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / file.path, target)
        manifest.verify_folder(folder)
        return manifest

    def hashed_manifest(self) -> Manifest:
        """Return the manifest; it is computed, which reads all data, where there is none."""
        if self.has_manifest:
            return self.manifest
        return layout.describe_folder(self.folder, self.manifest.ref, hashed=True)


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds this machine's localized datasets."""

    path: Path
    #: Check the sha256 of an entry's files before it is used (``HGLOC_VERIFY=always``), not their sizes.
    is_wary: bool = False

    def find(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry for *ref*, or None.

        Raises:
            IntegrityError: the entry is damaged: its manifest can't be read, or a file is
                absent, has another size, or, where the store is wary, another sha256.
        """
        for _ in range(_TRIES):
            entry = self.find_unchecked(ref)
            try:
                return None if entry is None else self._checked(entry)
            except IntegrityError:
                if entry is None or not entry.was_replaced():
                    raise
        raise IntegrityError(f"{ref} in {self.path} was replaced again and again while it was looked at")

    def find_unchecked(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry for *ref*, whatever its files are like, or None.

        Raises:
            IntegrityError: its manifest can't be read.
        """
        for folder in ref.folders:
            entry = self._open(folder, ref)
            if entry is not None and entry.manifest.answers(ref):
                return entry
        for folder in self._folders_of_id(ref):
            with contextlib.suppress(IntegrityError):
                entry = self._open(folder, None)
                if entry is not None and entry.has_manifest and entry.manifest.answers(ref):
                    return entry
        return self._find_by_alias(ref)

    def find_partial(self, ref: DatasetRef) -> LocalEntry | None:
        """Return what is here of an entry for *ref* of which a load has needed only a part, or None."""
        usual = self._partial_folder(ref)
        for entry in (self._open_partial(folder) for folder in (usual, *self._partial_folders())):
            if entry is not None and entry.manifest.answers(ref):
                return replace(entry, damaged=_damaged(entry)) if self.is_wary else entry
        return None

    def holding(self, manifest: Manifest) -> LocalEntry | None:
        """Return what is here, be it all or a part, of exactly the content of *manifest*, or None."""
        for folder in manifest.ref.folders:
            present = self._read_present(folder)
            if present is not None and present.ref == manifest.ref and present.digest == manifest.digest:
                return _committed(self.path / folder, present)
        part = self._open_partial(self._partial_folder(manifest.ref))
        return part if part is not None and part.digest == manifest.digest else None

    def partials(self) -> list[LocalEntry]:
        """Return what is here of entries of which loads have needed only a part."""
        return [entry for folder in self._partial_folders() if (entry := self._open_partial(folder))]

    def places(self) -> list[Path]:
        """Return the folders in which entries can be, of whole ones first, then of partial ones."""
        return [*map(self._place, self._all_folders()), *self._partial_folders()]

    def places_of(self, ref: DatasetRef) -> list[Path]:
        """Return the folders of what is here of *ref*, also where a manifest can't be read."""
        try:
            entry = self.find_unchecked(ref)
            found = [entry.folder] if entry is not None else []
        except IntegrityError:
            found = [self._place(folder) for folder in ref.folders if not self._is_readable(folder)]
        partial, usual = self.find_partial(ref), self._partial_folder(ref)
        if partial is not None:
            found.append(partial.folder)
        elif (usual / MANIFEST_NAME).exists():
            found.append(usual)
        return found

    def open_place(self, folder: Path) -> LocalEntry | None:
        """Return the entry in *folder*, one of :meth:`places`, whatever its files are like.

        Raises:
            IntegrityError: its manifest can't be read.
            InvalidRefError: no dataset can have that folder.
        """
        if not self.is_partial(folder):
            return self._open(_name_of(folder), None)
        identity = _identity(folder)
        manifest = _read_manifest_in(folder)
        return None if manifest is None else LocalEntry(folder, manifest, is_partial=True, identity=identity)

    def is_partial(self, folder: Path) -> bool:
        """Tell whether *folder*, one of :meth:`places`, is of an entry that is here in part."""
        return folder.is_relative_to(self.path / _WORK / "partial")

    def ref_of_damaged(self, folder: Path) -> DatasetRef:
        """Return the ref that a manifest that can't be read names, else the one of the folder's name."""
        with contextlib.suppress(OSError):
            ref = ref_at_head((folder / MANIFEST_NAME).read_bytes()[:_HEAD_BYTES])
            if ref is not None:
                return ref
        return ref_of_folder(_name_of(folder))

    def exchange(self, folder: Path, staging: Path, paths: Collection[str]) -> None:
        """Put the verified files *paths* of *staging* in the place of those in *folder*, each by a rename."""
        _sync_tree(staging)
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, folder / path)
            _sync_folder((folder / path).parent)

    def _is_readable(self, folder: str) -> bool:
        try:
            self._open(folder, None)
        except IntegrityError:
            return False
        return True

    def manifests_of(self, ref: DatasetRef) -> list[Manifest]:
        """Return the manifests of all entries whose dataset id *ref* names."""
        manifests = [self._read_present(folder) for folder in self._folders_of_id(ref)]
        found = {m.ref: m for m in manifests if m is not None and is_same_id(m, ref.dataset_id)}
        with contextlib.suppress(IntegrityError):
            if (entry := self._find_by_alias(ref)) is not None:
                found[entry.manifest.ref] = entry.manifest
        return list(found.values())

    def lend_same_content(self, manifest: Manifest, paths: Collection[str], staging: Path) -> None:
        """Link into *staging* those files *paths* of which other entries of the dataset id have the bytes.

        Each is checked first: the hash in its own manifest may be that of what it once was.
        """
        wanted = {(f.size_bytes, f.sha256): f for f in manifest.files if f.path in set(paths) and f.sha256}
        for folder in self._folders_of_id(manifest.ref) if wanted else ():
            present = self._read_present(folder)
            for file in present.files if present is not None else ():
                record = wanted.get((file.size_bytes, file.sha256))
                if record is None or (staging / record.path).exists():
                    continue
                with contextlib.suppress(IntegrityError, OSError):  # Then it is fetched.
                    source = self._place(folder) / file.path
                    if hash_file(source, file.path) == file:
                        (staging / record.path).parent.mkdir(parents=True, exist_ok=True)
                        link_or_copy(source, staging / record.path)

    def entries(self) -> list[LocalEntry]:
        """Return all entries, sorted by folder. Damaged ones are logged and left out.

        Where a folder has no manifest, its id is the folder's name: the true one is not known.
        """
        return [entry for folder in self._all_folders() for entry in self._readable(folder)]

    def _readable(self, folder: str) -> Iterator[LocalEntry]:
        """Yield the entry at *folder*, if there is one that can be read."""
        try:
            entry = self._open(folder, None)
        except (IntegrityError, InvalidRefError, AccessDeniedError) as exc:
            _log.warning("%s is left out of the list: %s", self.path / folder, exc)
        else:
            if entry is not None:
                yield entry

    def refs(self) -> list[DatasetRef]:
        """Return the refs of :meth:`entries`, of which only the head of each manifest is read."""
        refs = []
        for folder in self._all_folders():
            ref = ref_at_head(_head_of(f"{self.path}/{folder}/{MANIFEST_NAME}"))
            refs += [ref] if ref is not None else [e.manifest.ref for e in self._readable(folder)]
        return refs

    @contextlib.contextmanager
    def staging(self, key: str, *, fresh: bool = False) -> Iterator[Path]:
        """Lend a private folder on the store's file system for building the entry *key*.

        One process at a time has it. It outlives a failure, so that the next try resumes with
        the files that are there, unless it asks for a *fresh* one. What nobody has touched for
        a day is removed.

        Raises:
            StoreError: the store can't be written.
        """
        with contextlib.ExitStack() as held:
            with self._writing():
                folder = self.scratch() / key
                self._remove_stale()
                held.enter_context(self._lock(key))
                if fresh:
                    shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(exist_ok=True)
            with self._writing():
                yield folder
            shutil.rmtree(folder, ignore_errors=True)

    def scratch(self) -> Path:
        """Return a private folder on the store's file system for temporary files."""
        folder = self._work() / "staging"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def incoming(self, key: str) -> Iterator[Path]:
        """Lend a private folder for one file on its way to the entry *key*. Several may have one at once.

        Raises:
            StoreError: the store can't be written.
        """
        with self._writing():
            self._work()
            folder = self.scratch() / f"{key}-incoming" / uuid.uuid4().hex
            self._remove_stale()
            folder.mkdir(parents=True)
        try:
            with self._writing():
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staging: Path, manifest: Manifest) -> LocalEntry:
        """Publish the verified folder *staging* as the entry for the manifest's ref.

        The folder is renamed, so a reader sees the whole entry or none. Losing a race to a
        writer of the same content is success; an older entry of other content is replaced.
        """
        (staging / MANIFEST_NAME).write_bytes(manifest.to_bytes())
        _remove_others(staging, manifest)
        _sync_tree(staging)
        for folder in manifest.ref.folders:
            target = self.path / folder
            present = self._read_present(folder)
            if present is not None and present.ref != manifest.ref:
                continue
            if present is not None and present.digest == manifest.digest and self._is_whole(target, present):
                return _committed(target, present)
            self._take_place(staging, folder)
            _sync_folder(target.parent)
            self._put_away(folder)
            self._set_partial_aside(self._partial_folder(manifest.ref))
            self._point_at(manifest)
            return _committed(target, manifest)
        raise AssertionError("the folder named by the hash of the whole ref belongs to another ref")

    def commit_part(self, staging: Path, manifest: Manifest, paths: Collection[str]) -> LocalEntry:
        """Add the verified files *paths* in *staging* to what is here of the manifest's entry.

        It lies out of sight in ``.hgloc/partial``: a folder that others see is a whole entry. Each
        file appears there by one rename, when it is on the disk. What was there of other content
        is set aside.
        """
        folder = self._partial_folder(manifest.ref)
        _sync_tree(staging)
        with self._lock(f"{manifest.ref.suffix[1:]}-partial"):
            here = self._open_partial(folder)
            if here is not None and here.digest != manifest.digest:
                self._set_partial_aside(folder)
            folder.mkdir(parents=True, exist_ok=True)
            if here is None or here.digest != manifest.digest:
                part = folder / f".{uuid.uuid4().hex}"
                part.write_bytes(manifest.to_bytes())
                _sync_file(part)
                os.replace(part, folder / MANIFEST_NAME)
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / path, folder / path)
            for changed in {folder, *((folder / path).parent for path in paths)}:
                _sync_folder(changed)
            return LocalEntry(folder, manifest, is_partial=True, identity=_identity(folder))

    def _partial_folder(self, ref: DatasetRef) -> Path:
        return self.path / _WORK / "partial" / ref.folders[-1]

    def _partial_folders(self) -> Iterator[Path]:
        root = self.path / _WORK / "partial"
        return (root / folder for folder in self._folders_in(root))

    def _open_partial(self, folder: Path) -> LocalEntry | None:
        try:
            return self.open_place(folder)
        except (OSError, IntegrityError):  # It is of no use: it is fetched again.
            return None

    def _set_partial_aside(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            aside = self._work() / "set-aside" / uuid.uuid4().hex
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(folder, aside)
            os.utime(aside)

    def remove(self, entry_folder: Path) -> None:
        """Remove the entry in *entry_folder*, one of :meth:`places`, and the pointers to it.

        One rename takes it out of sight. A process that has its files open, or linked into the cache
        of `datasets`, keeps them.

        Raises:
            StoreError: the store can't be written.
        """
        with self._writing():
            if not self.is_partial(entry_folder):
                self._remove_pointers(entry_folder)
                if (self.path / _name_of(entry_folder)).exists():
                    self._put_away(_name_of(entry_folder))  # Else it would be seen again.
            aside = self._work() / "set-aside" / uuid.uuid4().hex
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(entry_folder, aside)
            _sync_folder(entry_folder.parent)
            shutil.rmtree(aside, ignore_errors=True)  # What is left of it is gone after a day.
            with contextlib.suppress(OSError):  # The folders of its id and config, if they are empty.
                entry_folder.parent.rmdir()
                entry_folder.parent.parent.rmdir()

    def _remove_pointers(self, folder: Path) -> None:
        with contextlib.suppress(IntegrityError):
            manifest = _read_manifest_in(folder)
            for ref in manifest.equivalents() if manifest is not None else ():
                pointer = self.path / ref.alias_key
                with contextlib.suppress(OSError):
                    if manifest is not None and read_pointer(pointer.read_bytes(), "") == manifest.ref:
                        pointer.unlink()

    def _take_place(self, staging: Path, folder: str) -> None:
        """Make *staging* the entry at *folder*; others may be at the same."""
        for attempt in range(_TRIES):
            try:
                self._make_way(folder)
                (self.path / folder).parent.mkdir(parents=True, exist_ok=True)
                os.rename(staging, self.path / folder)
            except OSError as exc:
                if exc.errno not in _TAKEN or not staging.exists() or attempt + 1 == _TRIES:
                    raise
            else:
                return

    def _make_way(self, folder: str) -> None:
        """Move the entry at *folder* to where a reader finds it until another one is in its place.

        A folder that has files can't be replaced by one rename; between the two a process may end.
        """
        if (self.path / folder).exists():
            self._put_away(folder)  # What a process left there that ended before it did this.
            former = self._former(folder)
            former.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.path / folder, former)

    def _put_away(self, folder: str) -> None:
        """Move what another entry has taken the place of at *folder* out of sight.

        An entry goes to ``.hgloc/set-aside``, which is emptied after a day. A folder without
        manifest is somebody's own: it goes to ``.hgloc/kept``, which is never emptied.
        """
        former = self._former(folder)
        kind = "set-aside" if (former / MANIFEST_NAME).exists() else "kept"
        aside = self._work() / kind / uuid.uuid4().hex
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(former, aside)
            os.utime(aside)
            _log.info("%s, as it was, was set aside as %s", self.path / folder, aside)

    def _former(self, folder: str) -> Path:
        return self.path / _WORK / "former" / folder

    def _place(self, folder: str) -> Path:
        """Return where the entry at *folder* is: there, or where it has made way for another."""
        there, former = self.path / folder, self._former(folder)
        return there if there.exists() or not former.exists() else former

    def _find_by_alias(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry that is stored under another id of the same repository."""
        for key in ref.alias_keys:
            try:
                target = read_pointer((self.path / key).read_bytes(), key)
            except OSError:  # Also where its name, quoted, is longer than a file's may be.
                continue
            for folder in target.folders:
                entry = self._open(folder, target)
                if entry is not None and entry.has_manifest and entry.manifest.answers(ref):
                    return entry
        return None

    def _checked(self, entry: LocalEntry) -> LocalEntry:
        if not entry.has_manifest:
            return entry
        if self.is_wary:
            for path, problem in problems_in(entry.folder, entry.manifest.files, deep=True).items():
                raise IntegrityError(f"{entry.folder / path} {problem}")
        folder, inodes = str(entry.folder), {}
        for file in entry.manifest.files:  # Written out: a load of many shards waits for it.
            try:
                stat = os.stat(f"{folder}/{file.path}")
            except FileNotFoundError as exc:
                raise IntegrityError(f"{entry.folder / file.path} is missing") from exc
            if stat.st_size != file.size_bytes:
                raise IntegrityError(
                    f"{folder}/{file.path} has {stat.st_size} bytes; its manifest says {file.size_bytes}"
                )
            inodes[file.path] = stat.st_ino
        return replace(entry, inodes=inodes)

    def _is_whole(self, folder: Path, manifest: Manifest) -> bool:
        try:
            self._checked(LocalEntry(folder, manifest))
        except IntegrityError:
            return False
        return True

    def _point_at(self, manifest: Manifest) -> None:
        """Make the entry findable by other ids than the one by which it is stored."""
        for ref in manifest.equivalents():
            if ref.id_folder_prefix.lower() != manifest.ref.id_folder_prefix.lower():
                path = self.path / ref.alias_key
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
                part.write_bytes(pointer_document(manifest.ref))
                os.replace(part, path)

    def _open(self, folder: str, ref: DatasetRef | None) -> LocalEntry | None:
        moved: int | None = None
        for _ in range(_TRIES):
            path = self._place(folder)
            identity = _identity(path)
            try:
                manifest = _read_manifest_in(path)
            except PermissionError as exc:
                raise AccessDeniedError(f"{path} can't be read: {exc}") from exc
            if manifest is not None and identity is not None:
                return LocalEntry(path, manifest, is_saved=bool(manifest.splits), identity=identity)
            # Nothing, or a folder of a person; unless others replace it just now.
            before, moved = moved, _changed(self._former(folder).parent)
            if before == moved and manifest is None and self._is_there_still(folder, path, identity):
                return self._open_without_manifest(path, folder, ref or ref_of_folder(folder))
        return None  # Others keep replacing it.

    def _is_there_still(self, folder: str, path: Path, identity: tuple[int, int] | None) -> bool:
        return (self._place(folder), _identity(path)) == (path, identity)

    def _open_without_manifest(self, path: Path, folder: str, ref: DatasetRef) -> LocalEntry | None:
        if not path.is_dir() or folder != ref.folders[0]:
            return None
        if layout.is_saved_dataset(path):
            manifest = layout.describe_folder(path, ref, hashed=False)
            return LocalEntry(path, manifest, has_manifest=False) if _may_be(manifest, ref) else None
        if not any(child.is_file() and not child.name.startswith(".") for child in path.rglob("*")):
            return None
        manifest = Manifest(dataset_id=ref.dataset_id, config_name=ref.config_name, revision=ref.revision)
        return LocalEntry(path, manifest, has_manifest=False, is_saved=False)

    def _read_present(self, folder: str) -> Manifest | None:
        try:
            entry = self._open(folder, None)
        except (IntegrityError, AccessDeniedError):
            return None
        return entry.manifest if entry is not None and entry.has_manifest else None

    def _folders_of_id(self, ref: DatasetRef) -> list[str]:
        prefix = ref.id_folder_prefix.lower()
        return self._folders_named(lambda name: name == prefix or name.startswith(f"{prefix}~"))

    def _all_folders(self) -> list[str]:
        return self._folders_named(lambda _: True)

    def _folders_named(self, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the entries' folders, sorted, in which *is_wanted* wants the first name, in small letters.

        What makes way for another is where it was or in ``former``; if anything went in or out there
        meanwhile, it may have been seen at neither.
        """
        found: set[str] = set()
        state = self._state_of_former()
        for _ in range(_TRIES):
            for root in (self._former(""), self.path, self._former("")):
                names = [name for name in _subfolders(root) if is_wanted(name.lower())]
                found.update(folder for name in names for folder in self._folders_below(name, root))
            before, state = state, self._state_of_former()
            if before == state:
                break
        return sorted(found)

    def _state_of_former(self) -> list[tuple[str, int | None]]:
        """Return what changes when an entry goes into ``former`` or out of it: usually there is little."""
        root = self._former("")
        folders = [
            f"{root}/{first}/{second}" for first in _subfolders(root) for second in _subfolders(root / first)
        ]
        return [(folder, _changed(folder)) for folder in folders]

    def _folders_in(self, root: Path) -> Iterator[str]:
        for name in _subfolders(root):
            yield from self._folders_below(name, root)

    def _folders_below(self, first: str, root: Path) -> Iterator[str]:
        for second in _subfolders(f"{root}/{first}"):
            for third in _subfolders(f"{root}/{first}/{second}"):
                yield f"{first}/{second}/{third}"

    def _work(self) -> Path:
        work = self.path / _WORK
        work.mkdir(parents=True, exist_ok=True)
        return work

    def _lock(self, key: str, timeout_seconds: float = -1) -> FileLock:
        from filelock import FileLock  # Only writers wait for its import.

        folder = self._work() / "locks"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / f"{key}.lock", timeout=timeout_seconds)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise what the operating system refuses as StoreError."""
        try:
            yield
        except HfLocalizeError:
            raise
        except OSError as exc:
            free = ""
            if exc.errno in NO_ROOM:
                with contextlib.suppress(OSError):
                    free = f" ({shutil.disk_usage(self.path).free} bytes are free)"
            raise StoreError(
                f"the local store {self.path} can't be written: {exc}{free}. Give it room and permission, "
                "or set HGLOC_DATASETS_STORE_PATH"
            ) from exc

    def _remove_stale(self) -> None:
        from filelock import Timeout

        for name in self._folders_in(self._former("")):
            if (self.path / name).exists():  # Whoever put it there ended before this was put away.
                self._put_away(name)
        limit = time.time() - _STALE_SECONDS
        for kind in ("staging", "set-aside"):
            for folder in (self.path / _WORK / kind).glob("*"):
                # A staging folder that somebody holds is in use, however old it looks.
                with contextlib.suppress(FileNotFoundError, Timeout), self._lock(folder.name, 0):
                    if folder.stat().st_mtime < limit:
                        shutil.rmtree(folder, ignore_errors=True)


def _name_of(place: Path) -> str:
    """Return ``<id>/<config>/<revision>``, by which an entry's place is known."""
    return "/".join(place.parts[-3:])


def problems_in(folder: Path, files: Sequence[FileRecord], *, deep: bool) -> dict[str, str]:
    """Return, by path, how those of *files* in *folder* that differ from their records do.

    Args:
        deep: compare the sha256 too; it reads all bytes, with as many threads as there are processors.
    """

    def look(file: FileRecord) -> str | None:
        return problem_with(folder / file.path, file, deep=deep)

    found = run_all(look, files, workers=os.cpu_count() or 1) if deep else map(look, files)
    return {file.path: problem for file, problem in zip(files, found, strict=True) if problem}


def _may_be(manifest: Manifest, ref: DatasetRef) -> bool:
    """Tell whether a folder without manifest can be *ref* by the dataset name it recorded.

    ``a/b_c`` and ``a_b/c`` share the folder ``a_b_c``; stock records ``b_c`` or ``c``.
    """
    recorded = manifest.info.get("dataset_name")
    words = ref.id_folder_prefix.split("_")
    readings = {"_".join(words[start:]) for start in range(len(words))}
    own = ref.dataset_id.rsplit("/", 1)[-1]
    return "/" not in ref.dataset_id or recorded not in readings or recorded == own


def _read_manifest_in(folder: Path) -> Manifest | None:
    path = folder / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return read_manifest(data, str(path))


def _damaged(entry: LocalEntry) -> frozenset[str]:
    """Return the paths of the files of a partial entry that are here and not as its manifest says."""
    here = entry.paths()
    files = [file for file in entry.manifest.files if file.path in here]
    return frozenset(problems_in(entry.folder, files, deep=True))


def _committed(folder: Path, manifest: Manifest) -> LocalEntry:
    return LocalEntry(folder, manifest, is_saved=bool(manifest.splits), identity=_identity(folder))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _changed(folder: Path | str) -> int | None:
    """Return when something went into *folder* or out of it last; None: there is no such folder."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _subfolders(path: Path | str) -> Iterator[str]:
    try:
        with os.scandir(path) as items:
            yield from sorted(i.name for i in items if not i.name.startswith(".") and i.is_dir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return


def _remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not name, such as the locks that `datasets` leaves."""
    named = {MANIFEST_NAME, *(file.path for file in manifest.files)}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            if path.relative_to(folder).as_posix() not in named:
                path.unlink()


def _head_of(path: str) -> bytes:
    """Return the first bytes of a file; nothing where it can't be read. A listing reads thousands."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(handle, _HEAD_BYTES)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Bring everything in *folder* to the disk: files several at a time, which share the disk's turns."""
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    run_all(_sync_file, files, workers=_SYNC_WORKERS)
    _sync_folders(folder)


def _sync_folders(folder: Path) -> None:
    for root, _, _ in os.walk(folder):
        _sync_folder(Path(root))


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
