"""Writing entries of the local store into a tar file, for a machine that no network reaches."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.progress import counter, task
from hf_localize.store.entry import LocalEntry

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of the tar: its name there, its size and sha256, and how its bytes are opened."""

    name: str
    record: FileRecord
    open: Callable[[], BinaryIO]

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


def write_archive(entries: Sequence[LocalEntry], path: Path) -> None:
    """Write *entries* into the tar file *path*, each file checked against its manifest.

    Its folders are those of a store, so a tar that is unpacked into a store is right too. What an
    interrupted run has left in ``<path>.part`` is checked, and resumed.

    Raises:
        IntegrityError: a file is not what its manifest says.
    """
    part = path.with_name(f"{path.name}.part")
    folders: set[str] = set()
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as sink:
        is_there = True
        for entry in entries:
            manifest = entry.publishable_manifest()
            first, *_, last = manifest.ref.folders
            folder = last if first in folders else first
            folders.add(folder)
            with task("Exporting", manifest.ref, manifest.files):
                for member in _members(entry, manifest, folder):
                    start = sink.tell()
                    if is_there and not _has(sink, member):
                        is_there = False
                        sink.seek(start)
                        sink.truncate()
                    if not is_there:
                        _write(sink, member)
                    counter(member.record.path)(member.record.size_bytes)
        sink.truncate()
        sink.write(bytes(2 * tarfile.BLOCKSIZE))
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(part, path)


def _members(entry: LocalEntry, manifest: Manifest, folder: str) -> Iterator[_Member]:
    data = manifest_bytes(manifest)
    record = FileRecord(MANIFEST_NAME, len(data), hashlib.sha256(data).hexdigest())
    yield _Member(f"{folder}/{MANIFEST_NAME}", record, lambda: io.BytesIO(data))
    for file in manifest.files:
        yield _Member(f"{folder}/{file.path}", file, functools.partial(entry.open, file.path))


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
                f"{member.name} in the local store is not what its manifest says. To repair it: "
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
