"""Which of a source's answers is exactly what a lock file names."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hf_localize.errors import ConflictError, IntegrityError
from hf_localize.format.files import files_below, hash_file
from hf_localize.format.lockfile import Locked, content_in_words
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.base import CommittedEntry, Entry, NotHere, Source, StoredEntry
from hf_localize.store.entry import LocalEntry
from hf_localize.store.store import Store


class PinnedFetch(NamedTuple):
    """What a source has, of which only its bytes tell whether it is what is locked: a ZIP, the Hub."""

    entry: Entry
    locked: Locked
    store: Store

    @property
    def source(self) -> str:
        """Return the source's name."""
        return self.entry.source

    def fetch_into(self, folder: Path) -> Manifest:
        """Fetch it into *folder*, and return its manifest.

        Raises:
            ConflictError: it is not what is locked.
        """
        manifest = self.entry.fetch_into(folder)
        if not self.locked.is_met_by(manifest):
            raise ConflictError(_other(manifest, self.locked))
        # What the Hub has at the locked commit is stored as it is locked: calls name no commit.
        return _beside(replace(manifest, revision=self.locked.ref.revision), self.store)


class PinnedEntry(NamedTuple):
    """A source's entry that is what is locked; *manifest* has the ref under which the store takes it."""

    entry: StoredEntry
    manifest: Manifest

    @property
    def source(self) -> str:
        """Return the source's name."""
        return self.entry.source

    @property
    def digest(self) -> str:
        """Return the digest."""
        return self.manifest.digest

    def open(self, path: str) -> BinaryIO:
        """Return a stream over the file at *path*."""
        return self.entry.open(path)

    def fetch_into(self, folder: Path) -> Manifest:
        """Write every file into *folder*, verified.

        Raises:
            IntegrityError: somebody has replaced it meanwhile.
        """
        if self.entry.fetch_into(folder).digest != self.digest:
            raise IntegrityError(f"{self.manifest.ref} was replaced while it was fetched")
        return self.manifest

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Write the files *paths* into *folder*, verified."""
        self.entry.fetch_some(folder, paths)
        return self.manifest


def hashed_manifest(entry: LocalEntry) -> Manifest:
    """Return the manifest of *entry* with the sha256 of every file, which are read if it has none.

    Of data files that a person put there it names all, and nothing else.
    """
    if entry.has_manifest or entry.is_saved:
        return entry.hashed_manifest()
    paths = sorted(files_below(entry.folder))
    return replace(entry.manifest, files=tuple(hash_file(entry.folder / path, path) for path in paths))


def find_pinned(source: Source, ref: DatasetRef, locked: Locked | None, store: Store) -> Entry | NotHere:
    """Return what *source* has of *ref* that is exactly *locked*; else why not, and what it has instead.

    Where nothing is *locked*, whatever it has will do.

    Raises:
        AccessDeniedError, UnreachableError, IntegrityError: the source can't tell.
    """
    if locked is None:
        return source.find(ref)
    if source.kind == "hub":
        return _find_on_hub(source, ref, locked, store)
    reasons: list[str] = []
    differing: dict[str, None] = {}
    for candidate in _candidates(ref, locked):
        found = source.find(candidate)
        if isinstance(found, NotHere):
            reasons.append(found.reason)
            continue
        manifest = _hashed(found)
        if manifest is None:
            return PinnedFetch(found, locked, store)
        if locked.is_met_by(manifest):
            if isinstance(found, LocalEntry) or not isinstance(found, StoredEntry):
                return found
            return PinnedEntry(found, _beside(manifest, store))
        differing[f"{manifest.ref} there has {content_in_words(manifest.digest, manifest.commit)}"] = None
    if not differing:
        return NotHere(reasons[0])
    return NotHere("; ".join(differing), ConflictError(f"it is not {locked}"))


def _candidates(ref: DatasetRef, locked: Locked) -> Iterator[DatasetRef]:
    """Yield the refs under which a source may have what is locked: as asked, and set beside other content."""
    yield ref
    if locked.commit is not None and ref.revision != locked.commit:
        yield replace(ref, revision=locked.commit)
    if locked.commit is None and locked.digest is not None:
        yield replace(ref, revision=_name_of(ref.revision, locked.digest))


def _hashed(found: Entry) -> Manifest | None:
    """Return the manifest of *found* where it tells the bytes of every file."""
    if isinstance(found, LocalEntry):
        return hashed_manifest(found)
    if not isinstance(found, StoredEntry) or not all(file.sha256 for file in found.manifest.files):
        return None
    return found.manifest


def _find_on_hub(source: Source, ref: DatasetRef, locked: Locked, store: Store) -> Entry | NotHere:
    """Return what the Hub has at the commit that is locked."""
    if locked.commit is None:
        return NotHere("not asked: the locked content did not come from there, or its commit is not known")
    found = source.find(replace(ref, revision=locked.commit))
    if isinstance(found, NotHere):
        return found
    if locked.digest is None and isinstance(found, CommittedEntry) and found.commit == locked.commit:
        return found
    return PinnedFetch(found, locked, store)


def _beside(manifest: Manifest, store: Store) -> Manifest:
    """Return *manifest* with a revision of its own, if the store has other content under its ref.

    That may be somebody's only copy, and another program's own.
    """
    with contextlib.suppress(OSError):  # Damaged, or a store that can't be read, which takes nothing either.
        here = store.find_unchecked(manifest.ref)
        if here is None or here.manifest.ref != manifest.ref or here.digest == manifest.digest:
            return manifest
        return replace(manifest, revision=manifest.commit or _name_of(manifest.revision, manifest.digest))
    return manifest


def _name_of(revision: str | None, digest: str) -> str:
    return f"{revision or 'main'}~{digest[:12]}"


def _other(manifest: Manifest, locked: Locked) -> str:
    has = content_in_words(manifest.digest, manifest.commit)
    if manifest.commit is not None and manifest.commit == locked.commit:
        return (
            f"it has the locked commit, but this release of datasets makes other bytes of it ({has}). "
            "To lock commits only: hg-localize lock --by-commit"
        )
    return f"it has other content: {has}"
