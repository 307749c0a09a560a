"""Writing the local store into a tar file, for a machine without a network."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.repository import Repository, merge_refs, snapshot_bytes
from hf_localize.format.sealed_json import json_bytes
from hf_localize.progress import counter, task
from hf_localize.store.entry import LocalEntry
from hf_localize.store.repositories import LocalRepositories

_CHUNK = 1 << 20
#: The snapshots of a repository, and its refs.
OF_REPOSITORY = re.compile(
    r"(.*/)?\.hgloc/repositories/(dataset|model|space)/([^/]+)/([0-9a-f]{40}|refs)\.json"
)
#: What is below the store's own folder, and in which folder there.
OF_STORE = re.compile(r"(?:.*/)?\.hgloc/(\w*).*")
#: How the comment in a tar file begins that has the checksum of what no other checksum covers.
SEAL = "hg-localize sha256:"


def is_document(name: str) -> bool:
    """Tell whether the file *name* of a tar is JSON that tells what other files are."""
    is_manifest = name.endswith(f"/{MANIFEST_NAME}") and not OF_STORE.fullmatch(name)
    return is_manifest or OF_REPOSITORY.fullmatch(name) is not None


def seal_of(sizes: Mapping[str, int], documents: Mapping[str, str]) -> str:
    """Return the comment for a tar: a checksum of its names and sizes, and of the sha256 of *documents*."""
    lines = (f"{name}\n{size}\n{documents.get(name, '')}\n" for name, size in sizes.items())
    return SEAL + hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of the tar: its name there, its size and sha256, and how its bytes are opened."""

    name: str
    record: FileRecord
    open: Callable[[], BinaryIO]

    @classmethod
    def of(cls, name: str, data: bytes) -> _Member:
        """Return a file that is in memory."""
        record = FileRecord(name, len(data), hashlib.sha256(data).hexdigest())
        return cls(name, record, lambda: io.BytesIO(data))

    @property
    def header(self) -> bytes:
        """Return what stands before the bytes: the same for the same file, so that a run can be resumed."""
        info = tarfile.TarInfo(self.name)
        info.size = self.record.size_bytes
        return info.tobuf(tarfile.PAX_FORMAT)

    @property
    def padding(self) -> bytes:
        """Return the zeros that follow the bytes."""
        return bytes(-self.record.size_bytes % tarfile.BLOCKSIZE)


def write_archive(
    entries: Sequence[LocalEntry],
    repositories: Sequence[tuple[Repository, Sequence[str]]],
    local: LocalRepositories,
    path: Path,
) -> None:
    """Write *entries*, and the commits of *repositories*, into the tar file *path*, each file checked.

    Its folders are those of a store, so a tar that is unpacked into a store is right too. What an
    interrupted run has left in ``<path>.part`` is checked, and resumed.

    Raises:
        IntegrityError: a file is not what its manifest says.
    """
    part = path.with_name(f"{path.name}.part")
    groups: list[tuple[DatasetRef | Repository, list[_Member]]] = []
    folders: set[str] = set()
    for entry in entries:
        manifest = entry.publishable_manifest()
        first, *_, last = manifest.ref.folders
        folder = last if first in folders else first
        folders.add(folder)
        groups.append((manifest.ref, list(_members(entry, manifest, folder))))
    blobs: set[str] = set()
    for repository, commits in repositories:
        groups.append((repository, list(_members_of(local, repository, commits, blobs))))
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as sink:
        written = _Written(sink, _seal_header(member for _, members in groups for member in members))
        for title, members in groups:
            written.add(title, members)
        sink.truncate()
        sink.write(bytes(2 * tarfile.BLOCKSIZE))
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(part, path)


class _Written:
    """A tar file being written: members that an interrupted run has written are kept if they are the same."""

    def __init__(self, sink: BinaryIO, header: bytes) -> None:
        self._sink, self._is_there = sink, sink.read(len(header)) == header
        if not self._is_there:
            sink.seek(0)
            sink.truncate()
            sink.write(header)

    def add(self, title: DatasetRef | Repository, members: Sequence[_Member]) -> None:
        """Write those of *members* that are not there already."""
        with task("Exporting", title, [member.record for member in members]):
            for member in members:
                start = self._sink.tell()
                if self._is_there and not _has(self._sink, member):
                    self._is_there = False
                    self._sink.seek(start)
                    self._sink.truncate()
                if not self._is_there:
                    _write(self._sink, member)
                counter(member.record.path)(member.record.size_bytes)


def _seal_header(members: Iterable[_Member]) -> bytes:
    records = {member.name: member.record for member in members}
    sizes = {name: record.size_bytes for name, record in records.items()}
    seal = seal_of(sizes, {name: record.sha256 for name, record in records.items() if is_document(name)})
    return tarfile.TarInfo.create_pax_global_header({"comment": seal})


def _members(entry: LocalEntry, manifest: Manifest, folder: str) -> Iterator[_Member]:
    yield _Member.of(f"{folder}/{MANIFEST_NAME}", manifest_bytes(manifest))
    for file in manifest.files:
        yield _Member(f"{folder}/{file.path}", file, functools.partial(entry.open, file.path))


def _members_of(
    local: LocalRepositories, repository: Repository, commits: Sequence[str], blobs: set[str]
) -> Iterator[_Member]:
    """Yield the files of *repository* that are not in *blobs*, and add them; then its snapshots and refs.

    The store may lack files that a snapshot names, because no load needed them.
    """
    snapshots = [found for commit in commits if (found := local.snapshot(repository, commit)) is not None]
    for file in (file for snapshot in snapshots for file in snapshot.files):
        place = local.place_of_file(file)
        if file.sha256 not in blobs and place.exists():
            blobs.add(file.sha256)
            name = f".hgloc/{file.blob_path}"
            record = FileRecord(name, file.size_bytes, file.sha256)
            yield _Member(name, record, functools.partial(_open, place))
    for snapshot in snapshots:
        path = repository.snapshot_path(snapshot.commit)
        yield _Member.of(f".hgloc/{path}", snapshot_bytes(snapshot))
    if (refs := local.refs(repository)) is not None:
        document: dict[str, Any] = {}
        merge_refs(document, replace(refs, commits=tuple(commits)), repository.refs_path)
        yield _Member.of(f".hgloc/{repository.refs_path}", json_bytes(document))


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise IntegrityError(f"{path} is not a file. To repair it: hg-localize repair")
    return open(path, "rb")


def _has(sink: BinaryIO, member: _Member) -> bool:
    """Tell whether *member* follows in what an interrupted run has left, whole and right."""
    header, padding, record = member.header, member.padding, member.record
    is_same = sink.read(len(header)) == header
    return is_same and _pass(sink, None, record) == record.sha256 and sink.read(len(padding)) == padding


def _write(sink: BinaryIO, member: _Member) -> None:
    sink.write(member.header)
    with member.open() as source:
        if _pass(source, sink, member.record) != member.record.sha256 or source.read(1):
            raise IntegrityError(
                f"{member.name} in the local store is damaged: it differs from its checksum. To repair it: "
                "hg-localize repair"
            )
    sink.write(member.padding)


def _pass(source: BinaryIO, sink: BinaryIO | None, record: FileRecord) -> str:
    """Read the bytes of a file, write them to *sink* if there is one, and return their sha256."""
    digest, left = hashlib.sha256(), record.size_bytes
    while left and (chunk := source.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
        if sink is not None:
            sink.write(chunk)
    return digest.hexdigest()
