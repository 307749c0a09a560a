"""An entry in the local store, as a value: its folder, its manifest, and what of it is here."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hf_localize.errors import IntegrityError
from hf_localize.format import save_to_disk
from hf_localize.format.arrow.media import require_bytes
from hf_localize.format.arrow.shards import link_or_copy
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.settings import SOURCE_NAMES
from hf_localize.store.integrity import verify_folder
from hf_localize.store.origins import Name
from hf_localize.store.places import identity_of


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """An entry in the local store."""

    folder: Path
    manifest: Manifest
    has_manifest: bool = True
    #: False: there is no manifest, and the id is the folder's name, in which ``_`` may stand for ``/``.
    is_named: bool = True
    #: Under which name, and with which content, a folder without manifest was published.
    published: Name | None = None
    source: str = SOURCE_NAMES["local"]
    #: Only some of the files that the manifest names are here; each of those is whole.
    is_partial: bool = False
    #: Device and inode of the folder when its manifest was read: another folder is another entry.
    identity: tuple[int, int] | None = None
    #: Of a partial entry: files that are here and damaged, which is as if they were not.
    damaged: frozenset[str] = frozenset()
    #: The inode of each file, where all were looked at when the entry was found.
    inodes: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def at(cls, place: Path, manifest: Manifest, *, is_partial: bool = False) -> LocalEntry:
        """Return the entry whose manifest was read, or written, at *place* just now."""
        return cls(place, manifest, is_partial=is_partial, identity=identity_of(place))

    @property
    def is_saved(self) -> bool:
        """Tell whether its files are shards, not data files (parquet, csv, …) that stock has to prepare.

        Those are original files that were kept, or a folder that a person put there.
        """
        return bool(self.manifest.splits)

    @property
    def digest(self) -> str:
        """Return the manifest's digest, or one by sizes and times where there is no manifest."""
        if self.has_manifest:
            return self.manifest.digest
        return save_to_disk.stat_signature(self.folder, self.manifest)

    @property
    def content_digest(self) -> str | None:
        """Return the digest of the content; None: a folder without manifest is not as it was published."""
        if self.has_manifest:
            return self.manifest.digest
        is_as_published = self.published is not None and self.published.signature == self.digest
        return self.published.digest if self.published is not None and is_as_published else None

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

    def link_into(self, folder: Path) -> None:
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
        return self.identity is not None and identity_of(self.folder) != self.identity

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Copy the files *paths* of the entry into *folder*, and return its manifest."""
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, folder / path)
        return self.manifest

    def fetch_into(self, folder: Path) -> Manifest:
        """Copy the entry's files into *folder* and return a manifest with their hashes."""
        manifest = self.hashed_manifest()
        self.fetch_some(folder, [file.path for file in manifest.files])
        verify_folder(folder, manifest)
        return manifest

    def publishable_manifest(self) -> Manifest:
        """Return the manifest as :meth:`hashed_manifest` does, if others can use what would be published.

        Raises:
            IntegrityError: nobody could read the manifest, or a media value has no bytes.
        """
        manifest = self.hashed_manifest()
        manifest_bytes(manifest)
        require_bytes((self.folder / path for path in sorted(manifest.shard_paths())), manifest.features)
        return manifest

    def hashed_manifest(self) -> Manifest:
        """Return the manifest; it is computed, which reads all data, where there is none."""
        if self.has_manifest:
            return self.manifest
        return save_to_disk.describe_folder(self.folder, self.manifest.ref, hashed=True)
