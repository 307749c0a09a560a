"""The local store: finding and listing its entries.

A reader takes no lock and writes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    UnreachableError,
)
from hf_localize.format import save_to_disk
from hf_localize.format.arrow.shards import link_or_copy
from hf_localize.format.files import hash_file, read_whole
from hf_localize.format.manifest import Manifest
from hf_localize.format.manifest_json import read_manifest_in, ref_at_head
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef, ref_of_folder
from hf_localize.store.aliases import targets_of
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problems_in, verify_folder
from hf_localize.store.origins import Origin, name_of, origin_by_original, origin_of
from hf_localize.store.places import TRIES, Places, identity_of, shelf_of
from hf_localize.transfer.disk_space import PAST_SECONDS, may_show_the_past

_log = logging.getLogger(__name__)
#: What of a manifest tells whose it is: ids, config and revision have 246 bytes each, escaped or not.
_HEAD_BYTES = 8192


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Raise what the operating system refuses of the store in *folder*, as on a dead mount, as our errors.

    A folder that can't be entered is not taken for an empty one; one that nobody has made yet is.

    Raises:
        AccessDeniedError, UnreachableError: the store can't be read.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.scandir(folder).close()
        yield
    except HfLocalizeError:
        raise
    except OSError as exc:
        kind = AccessDeniedError if isinstance(exc, PermissionError) else UnreachableError
        raise kind(f"{exc.filename or folder} can't be read: {exc.strerror or exc}") from exc


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds this machine's localized datasets."""

    path: Path
    #: Check the sha256 of an entry's files before it is used (``HGLOC_VERIFY=always``), not their sizes.
    verifies_hashes: bool = False
    #: The bucket that is configured: what the original tool keeps of others is not for its loads.
    bucket: Origin | None = None

    @property
    def places(self) -> Places:
        """Return where its entries lie."""
        return Places(self.path)

    def find(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry for *ref*, or None.

        Raises:
            IntegrityError: the entry is damaged: its manifest can't be read, or a file is
                absent, has another size, or, where the store is wary, another sha256.
        """
        for attempt in range(TRIES):
            entry = None
            try:
                entry = self.find_unchecked(ref)
                return None if entry is None else self._checked(entry)
            except IntegrityError:
                if entry is None or not entry.was_replaced():
                    if attempt + 1 == TRIES or not may_show_the_past(self.path):
                        raise
                    time.sleep(PAST_SECONDS / TRIES)
        raise IntegrityError(f"{ref} in {self.path} was replaced repeatedly while it was read")

    def find_unchecked(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry for *ref*, whatever its files are like, or None.

        Raises:
            IntegrityError: its manifest can't be read.
        """
        for folder in ref.folders:
            entry = self._open(folder, ref)
            if entry is not None and (entry.manifest.answers(ref) or not entry.has_manifest):
                return entry
        damage: IntegrityError | None = None
        for folder in self.places.folders_of_id(ref):
            try:
                entry = self._open(folder, None)
            except IntegrityError as exc:
                # Without a config's name, an entry could be the one that is asked for.
                if ref.config_name and self.ref_of_damaged(self.path / folder).config_name is None:
                    damage = exc
                continue
            if entry is not None and entry.has_manifest and entry.manifest.answers(ref):
                return entry
        own = (entry for entry in self._without_manifest(ref) if entry.manifest.answers(ref))
        found = next(own, None) or self._find_by_alias(ref) or self._find_on_shelves(ref)
        if found is None and damage is not None:
            raise damage
        return found

    def find_partial(self, ref: DatasetRef) -> LocalEntry | None:
        """Return what is here of an entry for *ref* of which a load has needed only a part, or None."""
        for entry in map(self.open_partial, (*self.places.partials_of(ref), *self.places.partial())):
            if entry is not None and entry.manifest.answers(ref):
                return replace(entry, damaged=_damaged(entry)) if self.verifies_hashes else entry
        return None

    def holding(self, manifest: Manifest) -> LocalEntry | None:
        """Return what is here, be it all or a part, of exactly the content of *manifest*, or None."""
        for folder in manifest.ref.folders:
            present = self.manifest_at(folder)
            if present is not None and present.ref == manifest.ref and present.digest == manifest.digest:
                return LocalEntry.at(self.path / folder, present)
        return self.partial_with(manifest)

    def partial_with(self, manifest: Manifest) -> LocalEntry | None:
        """Return what is here in part of exactly the content of *manifest*, or None."""
        parts = map(self.open_partial, self.places.partials_of(manifest.ref))
        return next((part for part in parts if part is not None and part.digest == manifest.digest), None)

    def partials(self) -> list[LocalEntry]:
        """Return what is here of entries of which loads have needed only a part."""
        return [entry for folder in self.places.partial() if (entry := self.open_partial(folder))]

    def places_of(self, ref: DatasetRef) -> list[Path]:
        """Return the folders of what is here of *ref*, also where a manifest can't be read."""
        try:
            entry = self.find_unchecked(ref)
            found = [entry.folder] if entry is not None else []
        except IntegrityError:
            found = [self.places.of(folder) for folder in ref.folders if not self._is_readable(folder)]
        shelved = (place for folder in self._shelved(ref) if (place := self.places.of(folder)).is_dir())
        found += [place for place in shelved if place not in found]
        partial = self.find_partial(ref)
        usual = [place for place in self.places.partials_of(ref) if (place / MANIFEST_NAME).exists()]
        if partial is not None and partial.folder not in usual:
            found.append(partial.folder)
        return found + usual

    def open_place(self, folder: Path, ref: DatasetRef | None = None) -> LocalEntry | None:
        """Return the entry in *folder*, one of :attr:`places`, whatever its files are like.

        Args:
            ref: what it was found by; without it, data files that a person put there are no entry.

        Raises:
            IntegrityError: its manifest can't be read.
            InvalidRefError: no dataset can have that folder.
        """
        if not self.places.is_partial(folder):
            return self._open(self.places.folder_of(folder), ref)
        identity = identity_of(folder)
        manifest = read_manifest_in(folder)
        return None if manifest is None else LocalEntry(folder, manifest, is_partial=True, identity=identity)

    def manifest_at(self, folder: str) -> Manifest | None:
        """Return the manifest of the entry at *folder*; None: there is none that can be read."""
        try:
            entry = self._open(folder, None)
        except (IntegrityError, AccessDeniedError):
            return None
        return entry.manifest if entry is not None and entry.has_manifest else None

    def open_partial(self, place: Path) -> LocalEntry | None:
        """Return what is at *place* of an entry that is here in part; None where that is of no use."""
        try:
            return self.open_place(place)
        except (OSError, IntegrityError):  # It is fetched again.
            return None

    def ref_of_damaged(self, folder: Path) -> DatasetRef:
        """Return the ref that a manifest that can't be read names, else the one of the folder's name."""
        with contextlib.suppress(OSError):
            ref = ref_at_head(read_whole(folder / MANIFEST_NAME)[:_HEAD_BYTES])
            if ref is not None:
                return ref
        return ref_of_folder("/".join(folder.parts[-3:]))

    def manifests_of(self, ref: DatasetRef) -> list[Manifest]:
        """Return the manifests of all entries whose dataset id *ref* names."""
        manifests = [self.manifest_at(folder) for folder in self.places.folders_of_id(ref)]
        found = {m.ref: m for m in manifests if m is not None and m.identity.has_id(ref.dataset_id)}
        found |= {entry.manifest.ref: entry.manifest for entry in self._without_manifest(ref)}
        with contextlib.suppress(IntegrityError):
            if (entry := self._find_by_alias(ref)) is not None:
                found[entry.manifest.ref] = entry.manifest
        return list(found.values())

    def link_same_content(self, manifest: Manifest, paths: Collection[str], staging: Path) -> None:
        """Link into *staging* those files *paths* of which other entries of the dataset id have the bytes.

        Each is checked first: the hash in its own manifest may be that of what it once was.
        """
        chosen = set(paths)
        needed = {(f.size_bytes, f.sha256): f for f in manifest.files if f.path in chosen and f.sha256}
        for folder in self.places.folders_of_id(manifest.ref) if needed else ():
            present = self.manifest_at(folder)
            for file in present.files if present is not None else ():
                record = needed.get((file.size_bytes, file.sha256))
                if record is None or (staging / record.path).exists():
                    continue
                with contextlib.suppress(IntegrityError, OSError):  # Then it is fetched.
                    (staging / record.path).parent.mkdir(parents=True, exist_ok=True)
                    lent = staging / f".{uuid.uuid4().hex}"  # What is hashed is what is lent.
                    link_or_copy(self.places.of(folder) / file.path, lent)
                    if hash_file(lent, file.path) == file:
                        lent.rename(staging / record.path)
                    else:
                        lent.unlink()

    def origin_of(self, entry: LocalEntry) -> Origin | None:
        """Return the bucket from which *entry* came; None: from none, or it is not known."""
        folder = self.places.folder_of(entry.folder)
        if entry.has_manifest and not shelf_of(folder):
            return origin_of(self.path, entry.manifest)
        return origin_by_original(entry.folder, shelf_of(folder), self.bucket)

    def of_other_buckets(self) -> list[LocalEntry]:
        """Return what the original tool keeps of other buckets than the configured one."""
        if self.bucket is None:
            return []
        with reading(self.path):
            # What has a manifest of ours at its own place is of no bucket; most of a store is that.
            foreign = [
                folder
                for folder in self.places.folders()
                if (shelf_of(folder) or not os.path.exists(f"{self.path}/{folder}/{MANIFEST_NAME}"))
                and self._is_of_another_bucket(folder)
            ]
            return replace(self, bucket=None)._entries_at(foreign)

    def buckets_with(self, ref: DatasetRef) -> list[Origin]:
        """Return the buckets, be they configured or not, of which the original tool keeps a copy of *ref*."""
        every = replace(self, bucket=None)
        found = (every._open(folder, ref) for folder in (ref.folders[0], *every._shelved(ref)))
        return list(dict.fromkeys(origin for e in found if e and (origin := self.origin_of(e))))

    def entries(self) -> list[LocalEntry]:
        """Return all entries, sorted by folder. Damaged ones are logged and left out.

        Where a folder has no manifest, its id can be the folder's name: see ``LocalEntry.is_named``.
        Data files without manifest are no entry before somebody names them.
        """
        with reading(self.path):
            return self._entries_at(self.places.folders())

    def _entries_at(self, folders: Iterable[str]) -> list[LocalEntry]:
        found: dict[tuple[DatasetRef, Origin | None], LocalEntry] = {}
        for folder in folders:
            for entry in self._readable(folder):
                origin = self.origin_of(entry) if shelf_of(folder) else None
                found.setdefault((entry.manifest.ref, origin), entry)
        return list(found.values())

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
        with reading(self.path):
            for folder in self.places.folders():
                ref = None
                if not shelf_of(folder):
                    ref = ref_at_head(_head_of(f"{self.path}/{folder}/{MANIFEST_NAME}"))
                refs += [ref] if ref is not None else [e.manifest.ref for e in self._readable(folder)]
        return list(dict.fromkeys(refs))

    def _is_readable(self, folder: str) -> bool:
        try:
            self._open(folder, None)
        except IntegrityError:
            return False
        return True

    def _find_by_alias(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the entry that is stored under another id of the same repository."""
        for target in targets_of(self.path, ref):
            for folder in target.folders:
                entry = self._open(folder, target)
                if entry is not None and entry.has_manifest and entry.manifest.answers(ref):
                    return entry
        return None

    def _without_manifest(self, ref: DatasetRef) -> Iterator[LocalEntry]:
        """Yield what a person or the original tool has put at a folder that the id of *ref* can have."""
        for folder in self.places.folders_of_id(ref):
            with contextlib.suppress(IntegrityError, InvalidRefError):
                named = replace(ref_of_folder(folder), dataset_id=ref.dataset_id)
                entry = self._open(folder, named)
                if entry is not None and not entry.has_manifest:
                    yield entry

    def _find_on_shelves(self, ref: DatasetRef) -> LocalEntry | None:
        """Return the original tool's copy of *ref*; None also where it has some of several buckets."""
        found = [e for named in ref.spellings for f in self._shelved(named) if (e := self._open(f, named))]
        found = [entry for entry in found if entry.manifest.answers(ref) or not entry.has_manifest]
        buckets = {self.origin_of(entry) for entry in found} - {None}
        return found[0] if found and len(buckets) <= 1 else None

    def _shelved(self, ref: DatasetRef) -> Iterator[str]:
        """Yield the folders that *ref* has on the original tool's shelves, but for those of other buckets."""
        for shelf in self.places.shelves():
            folder = f"{shelf}/{ref.folders[0]}"
            if not self._is_of_another_bucket(folder):
                yield folder

    def _is_of_another_bucket(self, folder: str) -> bool:
        if self.bucket is None:
            return False
        origin = origin_by_original(self.path / folder, shelf_of(folder), self.bucket)
        return origin is not None and not origin.is_same(self.bucket)

    def _checked(self, entry: LocalEntry) -> LocalEntry:
        if not entry.has_manifest:
            return entry
        if self.verifies_hashes:
            verify_folder(entry.folder, entry.manifest)
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

    def _open(self, folder: str, ref: DatasetRef | None) -> LocalEntry | None:
        moved: int | None = None
        if shelf_of(folder) and self._is_of_another_bucket(folder):
            return None
        for _ in range(TRIES):
            path = self.places.of(folder)
            identity = identity_of(path)
            try:
                manifest = read_manifest_in(path)
            except PermissionError as exc:
                raise AccessDeniedError(f"{path} can't be read: {exc}") from exc
            if manifest is not None and identity is not None:
                return LocalEntry(path, manifest, identity=identity)
            # Nothing, or a folder of a person; unless others replace it just now.
            before, moved = moved, self.places.last_change_of_retired()
            if before != moved or manifest is not None or not self._is_there_still(folder, path, identity):
                continue
            if identity is None:
                return None
            try:
                found = self._open_without_manifest(path, folder, ref)
            except IntegrityError:
                if self._is_there_still(folder, path, identity):
                    raise
                continue
            if self._is_there_still(folder, path, identity):
                return found
        return None  # Others keep replacing it.

    def _is_there_still(self, folder: str, path: Path, identity: tuple[int, int] | None) -> bool:
        return (self.places.of(folder), identity_of(path)) == (path, identity)

    def _open_without_manifest(self, path: Path, folder: str, asked: DatasetRef | None) -> LocalEntry | None:
        """Return what the original tool or a person has put at *folder*, if it is *asked* for, or None.

        Without a name that is what `save_to_disk` wrote, unless it is a part of another dataset: any folder
        three levels deep could be data files.
        """
        is_saved = save_to_disk.is_saved_dataset(path)
        if not is_saved and (asked is None or shelf_of(folder) or not path.is_dir()):
            return None
        if self._is_of_another_bucket(folder) or self._is_inside_another(path):
            return None
        usual = folder.removeprefix(f"{shelf_of(folder)}/")
        named, by_folder = name_of(self.path, folder), ref_of_folder(usual)
        ref = asked
        if asked is None or (named is not None and asked == by_folder):
            ref = named.ref if named is not None else _recorded(path, by_folder) or by_folder
        if ref is None or usual != ref.folders[0] or (named is not None and ref != named.ref):
            return None
        is_named = asked is not None or ref != by_folder or "_" not in ref.dataset_id
        if is_saved:
            manifest = save_to_disk.describe_folder(path, ref, hashed=False)
            found = LocalEntry(path, manifest, has_manifest=False, is_named=is_named, published=named)
            return found if _may_be(manifest, ref) else None
        if all(name.startswith(".") for _, _, names in os.walk(path) for name in names):
            return None
        if any(_is_entry(child) for child in path.rglob("*") if child.is_dir()):
            return None  # A folder of datasets.
        manifest = Manifest(
            dataset_id=ref.dataset_id,
            config_name=ref.config_name,
            revision=ref.revision,
            is_default_config=ref.config_name in (None, "default"),
        )
        return LocalEntry(path, manifest, has_manifest=False)

    def _is_inside_another(self, path: Path) -> bool:
        """Tell whether *path* is a part, such as a split, of a dataset in a folder above it."""
        parents = path.relative_to(self.path).parents if path.is_relative_to(self.path) else ()
        return any(_is_entry(self.path / parent) for parent in parents if parent.name)


def _is_entry(path: Path) -> bool:
    return (path / MANIFEST_NAME).is_file() or save_to_disk.is_saved_dataset(path)


def _recorded(path: Path, by_folder: DatasetRef) -> DatasetRef | None:
    """Return the ref of a folder without manifest by the id that its checksums name; None: they name none."""
    with contextlib.suppress(InvalidRefError):
        recorded = save_to_disk.recorded_id(path)
        if recorded is not None and DatasetRef(recorded).id_folder_prefix == by_folder.dataset_id:
            return replace(by_folder, dataset_id=recorded)
    return None


def _may_be(manifest: Manifest, ref: DatasetRef) -> bool:
    """Tell whether a folder without manifest can be *ref* by the dataset name it recorded.

    ``a/b_c`` and ``a_b/c`` share the folder ``a_b_c``; stock records ``b_c`` or ``c``.
    """
    recorded = manifest.info.get("dataset_name")
    words = ref.id_folder_prefix.split("_")
    readings = {"_".join(words[start:]) for start in range(len(words))}
    own = ref.dataset_id.rsplit("/", 1)[-1]
    return "/" not in ref.dataset_id or recorded not in readings or recorded == own


def _damaged(entry: LocalEntry) -> frozenset[str]:
    """Return the paths of the files of a partial entry that are here and not as its manifest says."""
    here = entry.paths()
    files = [file for file in entry.manifest.files if file.path in here]
    return frozenset(problems_in(entry.folder, files, deep=True))


def _head_of(path: str) -> bytes:
    """Return the first bytes of a file; nothing where it can't be read. A listing reads thousands."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(handle, _HEAD_BYTES)
    except OSError:
        return b""
    finally:
        os.close(handle)
