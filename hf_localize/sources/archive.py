"""A tar file of entries, as `store.archive` writes it, as a source."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import Manifest
from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.format.sealed_json import MAX_JSON_BYTES
from hf_localize.progress import task
from hf_localize.transfer.fetch import fetch_files
from hf_localize.transfer.remote_file import RemoteFile, range_reader

#: What `tarfile` raises of headers that lie.
_NO_TAR = (tarfile.TarError, OSError, ValueError, LookupError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """An entry in a tar file. Its files are read where they lie, and checked as those of a bucket are."""

    path: Path
    manifest: Manifest
    workers: int
    #: The first byte in the tar, and the size, of each file of the entry.
    places: Mapping[str, tuple[int, int]] = field(repr=False)

    @property
    def source(self) -> str:
        """Return the source's name as users read it."""
        return str(self.path)

    @property
    def digest(self) -> str:
        """Return the digest of the manifest."""
        return self.manifest.digest

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over one file; the read of its end raises if it was not as recorded."""
        record = self.manifest.file(path)
        return cast("BinaryIO", RemoteFile(record, range_reader(self._open_range, path), self.source))

    def fetch_into(self, folder: Path) -> Manifest:
        """Write every file into *folder*, verified, and return the manifest."""
        return self.fetch_some(folder, [file.path for file in self.manifest.files])

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Write the files *paths* into *folder*, verified, and return the manifest."""
        files = [self.manifest.file(path) for path in paths]
        with task("Importing", self.manifest.ref, files):
            fetch_files(files, self._open_range, folder, workers=self.workers)
        return self.manifest

    def _open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        first, size_bytes = self.places[path]
        file = io.FileIO(self.path)
        file.seek(first + start)
        return _Window(file, (size_bytes if stop is None else stop) - start)


class _Window(io.RawIOBase):
    """A number of bytes of a file, from where it stands."""

    def __init__(self, file: io.FileIO, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))[: self._left]
        count = self._file.readinto(view)
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def entries_of(path: Path, workers: int) -> list[ArchiveEntry]:
    """Return the entries in the tar file *path*. Nothing is unpacked, and no name in it is a path here.

    Raises:
        FileNotFoundError: there is no such file.
        IntegrityError: it is no tar file, is cut off, or lacks a file of a manifest.
    """
    with open(path, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = {m.name: m for m in _members(tar) if m.isreg() and not m.issparse()}
                names = [name for name in members if name.endswith(f"/{MANIFEST_NAME}")]
                manifests = {name: _manifest(tar, members[name], path) for name in names}
        except IntegrityError:
            raise
        except _NO_TAR as exc:
            raise IntegrityError(f"{path} is not a tar file, or is cut off: {exc}") from exc
    size_bytes, found = os.stat(path).st_size, []
    for name, manifest in manifests.items():
        folder = name.removesuffix(f"/{MANIFEST_NAME}")
        files = {file.path: members.get(f"{folder}/{file.path}") for file in manifest.files}
        places = {file: (m.offset_data, m.size) for file, m in files.items() if m is not None}
        ends = [first + size for first, size in places.values()]
        if len(places) < len(files) or max(ends, default=0) > size_bytes:
            raise IntegrityError(
                f"{path} does not contain all files of {manifest.ref}: it is cut off, or damaged"
            )
        found.append(ArchiveEntry(path, manifest, workers, places))
    if not found:
        raise IntegrityError(f"{path} contains no dataset. Name a file that hg-localize export has written")
    return found


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if member.size < 0:  # `tarfile` would go back, and read the same members for ever.
            raise tarfile.ReadError(f"the size of {member.name!r:.100} is negative")
        yield member


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Manifest:
    file = tar.extractfile(member)
    if file is None or member.size > MAX_JSON_BYTES:
        raise IntegrityError(f"{member.name} in {path} is no manifest")
    return read_manifest(file.read(), f"{member.name} in {path}")
