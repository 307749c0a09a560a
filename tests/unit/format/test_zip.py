"""The ZIP form: where each member lies, and which bytes it has."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from pathlib import Path

import pytest

from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.zip import layout
from hf_localize.format.zip.layout import STORED, Member, descriptor, directory, local_header
from hf_localize.format.zip.writer import PackedZip


def test_a_block_that_is_too_large_to_be_inflated_at_once_is_refused() -> None:
    info = zipfile.ZipInfo("a")
    info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, 15_000 * (1 << 27)
    block = layout.block_bytes_of(info.file_size)
    lengths = [1 << 10] * -(-info.file_size // block)
    info.compress_size, info.CRC, info.header_offset = sum(lengths) + 2, 0, 0
    words = b"".join(number.to_bytes(4, "little") for number in (block, *lengths))
    info.extra = b"HL" + len(words).to_bytes(2, "little") + words
    with pytest.raises(ValueError, match="does not fit"):
        layout.member_of(info)


GIB = 1 << 30


class Sparse(io.RawIOBase):
    """A file of *size_bytes*, most of which is zeros: it holds only the pieces written into it."""

    def __init__(self, size_bytes: int, pieces: dict[int, bytes]) -> None:
        self.size_bytes = size_bytes
        self.pieces = pieces
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {0: 0, 1: self._position, 2: self.size_bytes}[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self.size_bytes - self._position))
        buffer[:count] = bytes(count)
        for start, data in self.pieces.items():
            first, last = max(start, self._position), min(start + len(data), self._position + count)
            if first < last:
                buffer[first - self._position : last - self._position] = data[first - start : last - start]
        self._position += count
        return count


def _sparse_zip(sizes: dict[str, int]) -> tuple[Sparse, list[Member]]:
    """Return a ZIP of stored members full of zeros, of these sizes, of which only the rest is held."""
    members: list[Member] = []
    pieces: dict[int, bytes] = {}
    end = 0
    for path, size in sizes.items():
        crc32 = zlib.crc32(bytes(size)) if size < 1 << 20 else 0  # Of a large one only the start is read.
        member = Member(path, size, size, crc32, end)
        pieces[end] = local_header(path, size, STORED, end)
        pieces[member.data_offset + size] = descriptor(member)
        members.append(member)
        end = member.end
    tail = b"".join(directory(members, end))
    pieces[end] = tail
    return Sparse(end + len(tail), pieces), members


@pytest.mark.parametrize(
    "sizes",
    [
        {"a": 5 * GIB, "b": 3},
        {"a": 3 * GIB, "b": 3 * GIB, "c": 3},
        {"a": 4 * GIB - 1},
        {"a": 4 * GIB},
        {"a": 4 * GIB + 1, "b": 4 * GIB + 1},
        {"a": 12 * GIB, "b": 0},
    ],
)
def test_a_zip_of_more_than_4_gib_has_each_member_where_its_directory_says(sizes: dict[str, int]) -> None:
    file, members = _sparse_zip(sizes)
    with zipfile.ZipFile(io.BufferedReader(file)) as archive:  # type: ignore[arg-type]
        assert {info.filename: info.file_size for info in archive.infolist()} == sizes
        for info, member in zip(archive.infolist(), members, strict=True):
            assert info.header_offset == member.offset
            with archive.open(info) as opened:
                assert opened.read(1) == b"\0" * min(1, info.file_size)
            file.seek(info.header_offset + 26)  # What a reader that begins at the header goes by.
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
            assert info.header_offset + 30 + name + extra == member.data_offset


def test_a_zip_is_the_same_bytes_each_time_and_each_byte_of_the_entry_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    folder.mkdir()
    records = []
    for name, data in (("noise", os.urandom(8 << 20)), ("text", b"some words, " * (1 << 20))):
        (folder / name).write_bytes(data)
        records.append(FileRecord(name, len(data), hashlib.sha256(data).hexdigest()))
    manifest = Manifest(dataset_id="made/both", files=tuple(records))
    total = sum(record.size_bytes for record in records)
    digests, spent = [], []
    for _ in range(2):
        before = _read_bytes()
        digests.append(hashlib.sha256(b"".join(PackedZip(folder, manifest).pieces())).hexdigest())
        spent.append(_read_bytes() - before)
    assert digests[0] == digests[1]
    assert all(total <= read <= total + (2 << 20) for read in spent), spent  # Samples besides.
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["entry", "noise", "text"]  # No copy.


def _read_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])
