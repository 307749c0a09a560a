"""The parts of a ZIP file as bytes, and our index of compressed blocks in its directory.

Source: APPNOTE.TXT 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT; sections
are named where they are used. ``docs/format.md`` has what is our own.
"""

from __future__ import annotations

import array
import itertools
import stat
import struct
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
#: What ends a deflated member after its blocks, which are all of one form: an empty last block.
DEFLATE_END = b"\x03\x00"
#: What ends each block: the empty stored block of a full flush (RFC 1951, 3.2.4).
FLUSHED = b"\x00\x00\xff\xff"
#: Bytes of a member that are compressed by themselves, so that a reader can begin at each.
BLOCK_BYTES = 256 << 10

_MAX_32 = 0xFFFFFFFF
_MAX_16 = 0xFFFF
#: An extra field has at most 65,535 bytes (4.4.28), here with room for others beside it.
_MAX_BLOCKS = 15_000
#: A reader inflates a block at once. So a file of more than 960 GB has no index.
_MAX_BLOCK_BYTES = 64 << 20
#: Sizes and CRC follow the data (bit 3); the name is UTF-8 (bit 11). 4.4.4
_FLAGS = 1 << 3 | 1 << 11
#: Midnight of 1980-01-01, the earliest time that fits, so that the same entry gives the same bytes.
_TIME, _DATE = 0, 1 << 5 | 1
_ON_UNIX = 3 << 8
_ZIP64_FIELD, _INDEX_FIELD = 1, int.from_bytes(b"HL", "little")
_ZIP64_LOCAL = struct.Struct("<HHQQ")


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a ZIP of ours, and where its bytes are.

    ``block_starts`` are the offsets of the compressed blocks after the first byte of the data, and
    the end of the last; empty where the file is stored as it is. A block holds ``block_bytes`` of
    the file, the last one what is left.
    """

    path: str
    size_bytes: int
    packed_bytes: int
    crc32: int
    offset: int
    block_bytes: int = 0
    block_starts: Sequence[int] = ()

    @property
    def data_offset(self) -> int:
        """Return where the data begins, after the member's header."""
        return self.offset + len(local_header(self.path, self.size_bytes, 0, self.offset))

    @property
    def end(self) -> int:
        """Return where the next member begins."""
        return self.data_offset + self.packed_bytes + len(descriptor(self))

    def blocks(self, start: int, stop: int) -> range:
        """Return the numbers of the blocks that hold the file's bytes from *start* to before *stop*."""
        return range(start // self.block_bytes, -(-stop // self.block_bytes))


def block_bytes_of(size_bytes: int) -> int:
    """Return the size of the blocks of a file: larger where its index would not fit."""
    block = BLOCK_BYTES
    while size_bytes > block * _MAX_BLOCKS:
        block *= 2
    return block


def local_header(path: str, size_bytes: int, method: int, offset: int) -> bytes:
    """Return what stands before a member's data (4.3.7); its sizes and CRC come after it."""
    name = path.encode()
    extra, size = b"", 0
    if _is_large(size_bytes):  # 4.5.3: both sizes must be in a local header's field.
        extra, size = _ZIP64_LOCAL.pack(_ZIP64_FIELD, 16, 0, 0), _MAX_32
    version = _version(size_bytes, offset)
    head = struct.pack(
        "<4s5H3L2H",
        *(b"PK\3\4", version, _FLAGS, method, _TIME, _DATE),
        *(0, size, size, len(name), len(extra)),
    )
    return head + name + extra


def descriptor(member: Member) -> bytes:
    """Return what stands after a member's data (4.3.9)."""
    form = "<4sL2Q" if _is_large(member.size_bytes) else "<4s3L"
    return struct.pack(form, b"PK\7\10", member.crc32, member.packed_bytes, member.size_bytes)


def directory(members: Iterable[Member], offset: int) -> Iterator[bytes]:
    """Yield the central directory (4.3.12) and the end records of a ZIP in which it has *offset*."""
    size = count = 0
    for member in members:
        entry = _directory_entry(member)
        size += len(entry)
        count += 1
        yield entry
    if count >= _MAX_16 or size >= _MAX_32 or offset >= _MAX_32:
        end = (b"PK\6\6", 44, 45 | _ON_UNIX, 45, 0, 0, count, count, size, offset)
        yield struct.pack("<4sQ2H2L4Q", *end)  # 4.3.14
        yield struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)  # 4.3.15
    few = min(count, _MAX_16)
    yield struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, few, few, min(size, _MAX_32), min(offset, _MAX_32), 0
    )  # 4.3.16


def member_of(info: zipfile.ZipInfo) -> Member | None:
    """Return the member that an entry of a directory describes, or None where it is not one of ours.

    Raises:
        ValueError: its index can't be right.
    """
    index = dict(_extra_fields(info.extra)).get(_INDEX_FIELD)
    if index is None:
        return None
    if len(index) < 4 or len(index) % 4 or info.compress_type not in (STORED, DEFLATED):
        raise ValueError("an index of another form")
    sizes = array.array("I", index)
    if sys.byteorder == "big":
        sizes.byteswap()
    block_bytes, lengths = sizes[0], sizes[1:]
    starts: Sequence[int] = ()
    if block_bytes:
        starts = array.array("Q", itertools.accumulate(lengths, initial=0))
    if info.compress_type == STORED:
        is_right = not block_bytes and not lengths and info.compress_size == info.file_size
    else:
        is_right = (
            BLOCK_BYTES <= block_bytes == block_bytes_of(info.file_size) <= _MAX_BLOCK_BYTES
            and len(lengths) == -(-info.file_size // block_bytes)
            # Deflate can't grow a block by more, nor shrink it to less.
            and all(len(FLUSHED) < length <= block_bytes + block_bytes // 8 for length in lengths)
            and starts[-1] + len(DEFLATE_END) == info.compress_size
        )
    if not is_right:
        raise ValueError("an index that does not fit its sizes")
    return Member(
        info.filename,
        info.file_size,
        info.compress_size,
        info.CRC,
        info.header_offset,
        block_bytes,
        starts,
    )


def _directory_entry(member: Member) -> bytes:
    name = member.path.encode()
    # 4.5.3: only those that don't fit, in this order.
    values = (member.size_bytes, member.packed_bytes, member.offset)
    large = [value for value in values if value >= _MAX_32]
    extra = struct.pack(f"<HH{len(large)}Q", _ZIP64_FIELD, 8 * len(large), *large) if large else b""
    lengths = [b - a for a, b in itertools.pairwise(member.block_starts)]
    extra += struct.pack(
        f"<HHL{len(lengths)}L", _INDEX_FIELD, 4 + 4 * len(lengths), member.block_bytes, *lengths
    )
    version = _version(member.size_bytes, member.offset)
    method = DEFLATED if member.block_bytes else STORED
    size, packed, offset = (min(value, _MAX_32) for value in values)
    head = struct.pack(
        "<4s6H3L5H2L",
        *(b"PK\1\2", version | _ON_UNIX, version, _FLAGS, method, _TIME, _DATE),
        *(member.crc32, packed, size, len(name), len(extra), 0, 0, 0),
        *((stat.S_IFREG | 0o644) << 16, offset),
    )
    return head + name + extra


def _is_large(size_bytes: int) -> bool:
    # What it will have compressed is not known before; deflate adds at most some bytes per block.
    return size_bytes + size_bytes // 64 + 1024 >= _MAX_32


def _version(size_bytes: int, offset: int) -> int:
    return 45 if _is_large(size_bytes) or offset >= _MAX_32 else 20  # 4.4.3


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        number, length = struct.unpack_from("<HH", extra)
        yield number, extra[4 : 4 + length]
        extra = extra[4 + length :]
