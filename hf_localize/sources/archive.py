"""A tar file of datasets and repositories, as `store.archive` writes it, or of a whole store, as a source."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
    read_refs,
    read_snapshot,
)
from hf_localize.format.sealed_json import MAX_JSON_BYTES
from hf_localize.format.streams import Window
from hf_localize.progress import counter, task
from hf_localize.store.archive import OF_REPOSITORY, OF_STORE, SEAL, is_document, seal_of
from hf_localize.transfer.fetch import fetch_files

_CHUNK = 1 << 20
#: What `tarfile` raises for malformed headers.
_NO_TAR = (tarfile.TarError, OSError, ValueError, LookupError, OverflowError, RecursionError, MemoryError)
#: How files begin that gzip, bzip2, xz or zstd has compressed.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class ArchiveFiles:
    """Files in a tar file, read in place, and checked like those of a bucket."""

    path: Path
    workers: int
    #: The first byte in the tar, and the size, of each file, by the path in its record.
    places: Mapping[str, tuple[int, int]] = field(repr=False)

    def fetch(self, what: object, records: Collection[FileRecord], folder: Path) -> None:
        """Write the files of *records*, of *what*, into *folder*; raises IntegrityError if one differs."""
        try:
            with task("Importing", what, records):
                fetch_files(records, self._open_range, folder, workers=self.workers)
        except IntegrityError as exc:
            raise _damaged(self.path, exc) from exc

    def check(self, what: object, records: Collection[FileRecord]) -> None:
        """Read the files of *records*, of *what*; raises IntegrityError if one differs."""
        with task("Checking", what, records):
            for record in records:
                digest, done, note = hashlib.sha256(), 0, counter(record.path)
                with self._open_range(record.path, 0, None) as source:
                    while chunk := source.read(_CHUNK):
                        digest.update(chunk)
                        done += len(chunk)
                        note(done)
                if (done, digest.hexdigest()) != (record.size_bytes, record.sha256):
                    raise _damaged(self.path, f"{record.path} differs from its checksum")

    def _open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        first, size_bytes = self.places[path]
        file = io.FileIO(self.path)
        file.seek(first + start)
        return Window(file, (size_bytes if stop is None else stop) - start)


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A dataset in a tar file."""

    manifest: Manifest
    files: ArchiveFiles


@dataclass(frozen=True, slots=True)
class ArchiveSnapshot:
    """The files of a repository at one commit in a tar file: those of its snapshot that are in it."""

    snapshot: Snapshot
    refs: RepositoryRefs | None
    files: ArchiveFiles

    @property
    def present(self) -> list[RepositoryFile]:
        """Return the files that are in the tar, one of each content."""
        return list({f.sha256: f for f in self.snapshot.files if f.sha256 in self.files.places}.values())

    def fetch(self, files: Collection[RepositoryFile], folder: Path) -> None:
        """Write *files* into *folder*, each under its sha256, verified."""
        self.files.fetch(self.snapshot.repository, _records(files), folder)

    def check(self, files: Collection[RepositoryFile]) -> None:
        """Read *files*, and write nothing; raises IntegrityError if one differs from its record."""
        self.files.check(self.snapshot.repository, _records(files))


def _records(files: Iterable[RepositoryFile]) -> list[FileRecord]:
    return [FileRecord(file.sha256, file.size_bytes, file.sha256) for file in files]


@dataclass(frozen=True, slots=True)
class Archive:
    """The datasets and snapshots in a tar file, and the names of all other files in it."""

    entries: list[ArchiveEntry]
    snapshots: list[ArchiveSnapshot]
    others: list[str]


def read_archive(path: Path, workers: int) -> Archive:
    """Return the content of the tar file *path*. Nothing is unpacked, and no name in it is used as a path.

    Raises:
        FileNotFoundError: there is no such file.
        IntegrityError: it is no tar file, is damaged or cut off, or lacks a file of a manifest.
    """
    with open(path, "rb") as file:
        is_compressed = file.peek(6).startswith(_COMPRESSED)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = _files_in(tar)
                _check_end(tar, file)
                documents = {name: _bytes(tar, members[name], path) for name in members if is_document(name)}
                is_sealed = _check_seal(tar, members, documents, path)
        except IntegrityError:
            raise
        except _NO_TAR as exc:
            if is_compressed:
                raise IntegrityError(
                    f"{path} is compressed. Decompress it, then import the tar file"
                ) from exc
            raise IntegrityError(
                f"{path} is not a tar file, or is damaged: {exc}. Copy the tar file again"
            ) from exc
    places = {name: (member.offset_data, member.size) for name, member in members.items()}
    if max((first + size for first, size in places.values()), default=0) > os.stat(path).st_size:
        raise _damaged(path, "it is cut off")
    entries, folders = [], set()
    for name, data in documents.items():
        if name.endswith(f"/{MANIFEST_NAME}"):
            with _reading(name, path, is_sealed):
                manifest = read_manifest(data, f"{name} in {path}")
            folder = name.removesuffix(MANIFEST_NAME)
            folders.add(folder)
            found = {f.path: places[n] for f in manifest.files if (n := f"{folder}{f.path}") in places}
            if len(found) < len(manifest.files):
                raise _damaged(path, f"it does not contain all files of {manifest.ref}")
            entries.append(ArchiveEntry(manifest, ArchiveFiles(path, workers, found)))
    snapshots = list(_snapshots(documents, places, path, workers, is_sealed))
    if not entries and not snapshots:
        raise IntegrityError(f"{path} contains no dataset. Name a file that hg-localize export has written")
    return Archive(entries, snapshots, [name for name in places if not _is_known(name, folders)])


def _damaged(path: Path, what: object) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {what}. Copy the tar file again")


@contextlib.contextmanager
def _reading(name: str, path: Path, is_sealed: bool) -> Iterator[None]:
    """Make errors of reading a document say that the tar is damaged, but where it is known to be whole."""
    try:
        yield
    except IntegrityError as exc:
        if is_sealed:
            raise
        raise _damaged(path, f"{name} can't be read" if exc.__cause__ else exc) from exc


def _files_in(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return the regular files of *tar*, by name; a hard link is the file to which it leads."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if member.size < 0:  # `tarfile` would go back, and read the same members for ever.
            raise tarfile.ReadError(f"the size of {member.name!r:.100} is negative")
        if member.isreg() and not member.issparse():
            found[member.name] = member
        elif member.islnk() and member.linkname in found:
            found[member.name] = found[member.linkname]
    return found


def _check_end(tar: tarfile.TarFile, file: io.BufferedReader) -> None:
    """Refuse a tar file without the mark of its end behind its members: `tarfile` accepts anything there."""
    file.seek(tar.offset)
    size_bytes = 0
    while chunk := file.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError(f"there is no valid header at byte {tar.offset}")
        size_bytes += len(chunk)
    if size_bytes < 2 * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the mark of its end is missing")


def _check_seal(
    tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], documents: Mapping[str, bytes], path: Path
) -> bool:
    """Tell whether `export` wrote a checksum into the tar; raises IntegrityError if it does not match."""
    comment = tar.pax_headers.get("comment", "")
    if not comment.startswith(SEAL):
        return False
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in documents.items()}
    if comment != seal_of({name: member.size for name, member in members.items()}, hashes):
        raise _damaged(path, "its list of files, or one of its JSON files, differs from the checksum")
    return True


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    file = tar.extractfile(member)
    if file is None or member.size > MAX_JSON_BYTES:
        raise _damaged(path, f"{member.name} is too large for a JSON document of a store")
    return file.read()


def _snapshots(
    documents: Mapping[str, bytes],
    places: Mapping[str, tuple[int, int]],
    path: Path,
    workers: int,
    is_sealed: bool,
) -> Iterator[ArchiveSnapshot]:
    for name, data in documents.items():
        match = OF_REPOSITORY.fullmatch(name)
        if match is None or match[4] == "refs":
            continue
        prefix, commit = f"{match[1] or ''}.hgloc/", match[4]
        try:
            repository = Repository(cast("RepoType", match[2]), unquote(match[3]))
        except InvalidRefError as exc:
            raise _damaged(path, f"{name}: {exc}") from exc
        with _reading(name, path, is_sealed):
            snapshot = read_snapshot(data, f"{name} in {path}", repository, commit)
        where, refs = f"{prefix}{repository.refs_path}", None
        if where in documents:
            with _reading(where, path, is_sealed):
                refs = read_refs(documents[where], f"{where} in {path}", repository)
        found = {f.sha256: places[n] for f in snapshot.files if (n := f"{prefix}{f.blob_path}") in places}
        yield ArchiveSnapshot(snapshot, refs, ArchiveFiles(path, workers, found))


def _is_known(name: str, folders: Collection[str]) -> bool:
    """Tell whether *name* is in one of *folders*, or the store's own, but not of a partial dataset."""
    if match := OF_STORE.fullmatch(name):
        return match[1] != "partial"
    while name := name.rpartition("/")[0]:
        if f"{name}/" in folders:
            return True
    return False
