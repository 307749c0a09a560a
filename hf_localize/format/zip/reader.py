"""Reading public ZIPs, which may be hostile: ours by ranges, others as a whole."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip_lib, isal_zlib

from hf_localize.errors import (
    GarbledError,
    IntegrityError,
    UnreachableError,
    UnsafeArchiveError,
)
from hf_localize.format.files import check_paths, check_tree
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.format.sealed_json import MAX_JSON_BYTES
from hf_localize.format.streams import ReadOnlyStream, SeekableStream, read_exactly
from hf_localize.format.zip.layout import DEFLATED, FLUSHED, STORED, Member, member_of

#: Opens the ZIP's bytes from an offset to before another for one reading.
OpenRange = Callable[[int, int], io.RawIOBase]
#: Returns the ZIP's bytes from an offset to before another.
ReadRange = Callable[[int, int], "bytes | memoryview"]

_READ_AHEAD = 1 << 20
#: What zipfile raises for what is not a ZIP, or not a whole one.
_NOT_A_ZIP = (
    *(zipfile.BadZipFile, LookupError, ValueError, OverflowError, EOFError, RuntimeError),
    *(struct.error, zlib.error, MemoryError),
)
#: Of a ZIP's directory, which zipfile reads by one read and makes an object for each entry of.
_MAX_DIRECTORY_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What the end of a ZIP says of it: its manifest, and where its files lie.

    ``members`` is None for a ZIP that was not packed here: its files can't be read by ranges.
    """

    manifest: Manifest
    members: Mapping[str, Member] | None


def read_contents(file: TailedFile, where: str) -> Contents | None:
    """Return what a ZIP holds, or None for a ZIP without a manifest (the original tool's).

    Raises:
        UnsafeArchiveError: a member is refused, or the index can't be right.
        IntegrityError: it is not a ZIP.
    """
    with open_zip(io.BufferedReader(file, _READ_AHEAD), where) as opened:
        manifest = manifest_in(opened, where)
        if manifest is None:
            return None
        members = _indexed(opened, where)
        if members is not None:
            require_sizes(manifest.files, {name: m.size_bytes for name, m in members.items()}, where)
        return Contents(manifest, members)


def require_sizes(records: Iterable[FileRecord], sizes: Mapping[str, int], where: str) -> None:
    """Check that a ZIP whose members have *sizes* has the files *records*: room is looked for by their sizes.

    Raises:
        IntegrityError: it has not.
    """
    for record in records:
        if sizes.get(record.path) != record.size_bytes:
            raise IntegrityError(f"{where} does not hold {record.path!r} as its manifest describes it")


def manifest_of(path: Path, where: str) -> Manifest | None:
    """Return the manifest in the ZIP at *path*, as :func:`read_contents` does."""
    with open(path, "rb") as file, open_zip(file, where) as opened:
        return manifest_in(opened, where)


@contextlib.contextmanager
def open_zip(file: BinaryIO, where: str) -> Iterator[zipfile.ZipFile]:
    """Lend *file* as a ZIP; what is raised of it while it is lent is an IntegrityError."""
    try:
        with zipfile.ZipFile(cast("Any", _Cautious(file, where))) as opened:
            yield opened
    except _NOT_A_ZIP as exc:
        raise IntegrityError(f"{where} is not a ZIP, or damaged: {exc!r:.300}") from exc


class _Cautious:
    """A ZIP's bytes, of which no more are read at once than a directory may have."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        most = _MAX_DIRECTORY_BYTES + 1
        data = self._file.read(most if size < 0 else min(size, most))
        if len(data) > _MAX_DIRECTORY_BYTES:
            raise UnsafeArchiveError(
                f"{self._where} has a directory of more than {_MAX_DIRECTORY_BYTES} bytes"
            )
        return data


def open_member(member: Member, open_range: OpenRange, start: int, stop: int) -> io.RawIOBase:
    """Return the bytes of a member from *start* to before *stop* for one reading.

    It is one range of the ZIP: of what is deflated, the blocks that hold those bytes.

    Raises:
        GarbledError: from a read, where a block is not as its index says.
    """
    if not member.block_bytes:
        return open_range(member.data_offset + start, member.data_offset + stop)
    blocks = member.blocks(start, stop)
    first, last = (member.data_offset + member.block_starts[n] for n in (blocks.start, blocks.stop))
    return _Inflating(member, open_range(first, last), start, stop)


class TailedFile(SeekableStream):
    """A remote ZIP of which the end is at hand; what lies before it is read by ranges."""

    def __init__(self, size_bytes: int, tail_bytes: int, read_range: ReadRange) -> None:
        self._size_bytes = size_bytes
        self._tail_start = max(0, size_bytes - tail_bytes)
        self._read_range = read_range
        self._tail = read_range(self._tail_start, size_bytes)
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset*."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("a place before the first byte")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end."""
        stop = min(self._position + len(buffer), self._size_bytes)
        if stop <= self._position:
            return 0
        offset = self._position - self._tail_start
        if offset >= 0:
            data = self._tail[offset : offset + stop - self._position]
        else:
            stop = min(stop, self._tail_start)
            data = self._read_range(self._position, stop)
        buffer[: len(data)] = data
        self._position = stop
        return len(data)


def manifest_in(archive: zipfile.ZipFile, where: str) -> Manifest | None:
    """Return the manifest that a ZIP holds, or None for a ZIP of the original tool.

    Raises:
        UnsafeArchiveError: a member's name, type or size is refused.
    """
    members = members_of(archive, where)
    if MANIFEST_NAME not in archive.namelist():
        return None
    size = archive.getinfo(MANIFEST_NAME).file_size
    if size > MAX_JSON_BYTES:
        raise UnsafeArchiveError(f"the manifest in {where} is larger than {MAX_JSON_BYTES} bytes")
    with archive.open(MANIFEST_NAME) as opened:
        data = opened.read(size)  # Not all: then zlib would inflate whatever there is.
    manifest = read_manifest(data, f"{MANIFEST_NAME} in {where}")
    sizes = {name: info.file_size for name, info in members.items()}
    if sizes != {file.path: file.size_bytes for file in manifest.files}:
        raise UnsafeArchiveError(f"the members of {where} are not the files that its manifest names")
    return manifest


def members_of(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the ZIP's file members by path, without folders and the manifest.

    Raises:
        UnsafeArchiveError: a name leads outside, stands twice, or is no regular file; members share
            bytes; or one is compressed by a method that inflates to any size at once.
    """
    others = [info for info in archive.infolist() if info.filename != MANIFEST_NAME]
    check_paths((info.filename.removesuffix("/") for info in others), where)
    infos = [info for info in others if not info.is_dir()]
    check_tree((info.filename for info in infos), where)
    if len(archive.infolist()) > len(others) + 1:
        raise UnsafeArchiveError(f"{where} holds {MANIFEST_NAME} twice")
    for info in infos:
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise UnsafeArchiveError(f"{where} holds {info.filename!r}, which is not a regular file")
        if info.flag_bits & 1:
            raise UnsafeArchiveError(f"{where} holds {info.filename!r}, which is encrypted")
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.compress_type not in (STORED, DEFLATED):
            # zipfile inflates all that it has read of these, and lzma's dictionary is as large as it says.
            raise UnsafeArchiveError(
                f"{where} holds {info.filename!r}, compressed by method {info.compress_type}: only stored "
                "(0) and deflated (8) members are read"
            )
        if info.header_offset < end:
            raise UnsafeArchiveError(f"{where} holds {info.filename!r}, which overlaps another member")
        end = info.header_offset + info.compress_size
    return {info.filename: info for info in infos}


class _Inflating(ReadOnlyStream):
    """A member's bytes from its compressed blocks, one after another."""

    def __init__(self, member: Member, body: io.RawIOBase, start: int, stop: int) -> None:
        self._member = member
        self._body = body
        self._blocks = iter(member.blocks(start, stop))
        self._start = start
        self._stop = stop
        self._rest = memoryview(b"")

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            number = next(self._blocks, None)
            if number is None:
                return 0
            self._rest = self._inflate(number)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._body.close()
        super().close()

    def _inflate(self, number: int) -> memoryview:
        """Return what is wanted of a block."""
        member = self._member
        packed = memoryview(bytearray(member.block_starts[number + 1] - member.block_starts[number]))
        if missing := read_exactly(self._body, packed):
            raise UnreachableError(f"{member.path}: ended {missing} bytes too early")
        begin = number * member.block_bytes
        size = min(member.block_bytes, member.size_bytes - begin)
        return memoryview(_inflated(packed, size, member.path))[
            max(0, self._start - begin) : min(size, self._stop - begin)
        ]


def _indexed(archive: zipfile.ZipFile, where: str) -> dict[str, Member] | None:
    """Return the members of a ZIP of ours by path, the manifest among them; None: it is not one.

    In ours nothing lies between the members, so an offset that leads elsewhere is seen here.
    """
    members: dict[str, Member] = {}
    for info in archive.infolist():
        try:
            member = member_of(info)
        except ValueError as exc:
            raise UnsafeArchiveError(f"{where}: {info.filename!r} has {exc}") from exc
        if member is None:
            return None
        members[member.path] = member
    end = 0
    for member in members.values():
        if member.offset != end:
            raise UnsafeArchiveError(f"{where} holds {member.path!r} at another place than its sizes say")
        end = member.end
    return members


def _inflated(packed: memoryview, size_bytes: int, path: str) -> bytes:
    """Return what one block holds; it is never more than a byte too much that is inflated."""
    inflater = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, size_bytes + 1)
    except igzip_lib.IsalError as exc:  # type: ignore[misc]  # isal's stubs call the class an instance.
        raise GarbledError(f"{path}: a block of the ZIP is damaged: {exc}") from exc
    is_whole = not inflater.eof and not inflater.unconsumed_tail and packed[-len(FLUSHED) :] == FLUSHED
    if len(data) != size_bytes or not is_whole:
        raise GarbledError(f"{path}: a block of the ZIP does not hold what its index says")
    return data
