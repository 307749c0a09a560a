"""An entry as one ZIP, made while it is sent: what is read once is hashed, compressed and gone."""

from __future__ import annotations

import collections
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from isal import isal_zlib

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.format.zip.layout import (
    BLOCK_BYTES,
    DEFLATE_END,
    DEFLATED,
    STORED,
    Member,
    block_bytes_of,
    descriptor,
    directory,
    local_header,
)
from hf_localize.progress import counter

#: isal's fastest: 90 % of what zlib's level 6 saves, in a fifteenth of its time.
_LEVEL = 1
#: A file is deflated where that makes its sample this much smaller.
_WORTH_IT = 0.9
_SAMPLES, _SAMPLE_BYTES = 8, 32 << 10
#: Blocks that are compressed or wait to be taken, for each thread that compresses.
_AHEAD = 4


class PackedZip:
    """The ZIP of the entry in *folder*: its files sorted by path, then the manifest, then the directory.

    The same entry gives the same bytes, also with another number of threads.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self.manifest = manifest
        #: Bytes from the manifest's header to the end; known when all pieces were made.
        self.tail_bytes = 0

    @property
    def most_bytes(self) -> int:
        """Return what the ZIP has at most, roughly."""
        return self.manifest.size_bytes + self.manifest.size_bytes // 64 + (1 << 20)

    def pieces(self) -> Generator[memoryview, None, None]:
        """Yield the ZIP's bytes, in pieces that are valid until the next one.

        Raises:
            IntegrityError: a file differs from the manifest.
        """
        members: list[Member] = []
        with ThreadPoolExecutor(os.cpu_count(), "hf_localize-deflate") as pool:
            for record in sorted(self.manifest.files, key=lambda file: file.path):
                with _open(self._folder / record.path) as source:
                    is_deflated = _is_worth_deflating(source, record.size_bytes)
                    yield from _member(_Reading(record, source), is_deflated, members, pool)
            data = manifest_bytes(self.manifest)
            own = FileRecord(MANIFEST_NAME, len(data), hashlib.sha256(data).hexdigest())
            tail_start = _end(members)
            yield from _member(_Reading(own, io.BytesIO(data)), True, members, pool)
        end = _end(members)
        for piece in directory(members, _end(members)):
            end += len(piece)
            yield memoryview(piece)
        self.tail_bytes = end - tail_start


class _Reading:
    """A file that is read once, from its beginning: hashed, and compared with its record at its end."""

    def __init__(self, record: FileRecord, source: BinaryIO) -> None:
        self.record = record
        self.crc32 = 0
        self._source = source

    def pieces(self, size_bytes: int, new_buffer: Callable[[int], memoryview]) -> Iterator[memoryview]:
        """Yield the file in pieces of *size_bytes*, each in a buffer that *new_buffer* gives.

        Raises:
            IntegrityError: the file differs from its record.
        """
        digest, read_bytes, note = hashlib.sha256(), 0, counter(self.record.path)
        source: Any = self._source  # typeshed: a BinaryIO need not have readinto; both of ours have.
        while got := source.readinto(buffer := new_buffer(size_bytes)):  # Full, but at the end.
            piece = buffer[:got]
            digest.update(piece)
            self.crc32 = isal_zlib.crc32(piece, self.crc32)
            read_bytes += got
            note(read_bytes)
            yield piece
        if FileRecord(self.record.path, read_bytes, digest.hexdigest()) != self.record:
            raise IntegrityError(
                f"{self.record.path} differs from the entry's manifest; register the dataset again"
            )


def _member(
    file: _Reading, is_deflated: bool, members: list[Member], pool: ThreadPoolExecutor
) -> Iterator[memoryview]:
    """Yield one member, and add it to *members*."""
    record, offset = file.record, _end(members)
    yield memoryview(
        local_header(record.path, record.size_bytes, DEFLATED if is_deflated else STORED, offset)
    )
    block_bytes, lengths, packed_bytes = 0, [], record.size_bytes
    if is_deflated:
        block_bytes = block_bytes_of(record.size_bytes)
        for block in _deflated(file, block_bytes, pool):
            lengths.append(len(block))
            yield memoryview(block)
        yield memoryview(DEFLATE_END)
        packed_bytes = sum(lengths) + len(DEFLATE_END)
    else:
        buffer = memoryview(bytearray(BLOCK_BYTES))
        yield from file.pieces(BLOCK_BYTES, lambda _: buffer)
    starts = tuple(itertools.accumulate(lengths, initial=0)) if is_deflated else ()
    member = Member(record.path, record.size_bytes, packed_bytes, file.crc32, offset, block_bytes, starts)
    members.append(member)
    yield memoryview(descriptor(member))


def _deflated(file: _Reading, block_bytes: int, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """Yield the compressed blocks in order, while others are compressed."""
    waiting: collections.deque[Future[bytes]] = collections.deque()
    for piece in file.pieces(block_bytes, lambda size: memoryview(bytearray(size))):
        waiting.append(pool.submit(_deflate, piece))
        if len(waiting) > _AHEAD * (os.cpu_count() or 1):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _deflate(data: memoryview | bytes) -> bytes:
    """Return *data* as deflate blocks that need nothing before them, with a full flush at the end."""
    squeeze = isal_zlib.compressobj(_LEVEL, wbits=-isal_zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush(isal_zlib.Z_FULL_FLUSH)


def _is_worth_deflating(source: BinaryIO, size_bytes: int) -> bool:
    """Tell whether samples spread over *source* become smaller; leave it at its beginning."""
    before = after = 0
    step = max(_SAMPLE_BYTES, size_bytes // _SAMPLES)
    for start in range(0, size_bytes, step):
        source.seek(start)
        sample = source.read(_SAMPLE_BYTES)
        before += len(sample)
        after += len(_deflate(sample))
    source.seek(0)
    return before > 0 and after <= before * _WORTH_IT


def _end(members: list[Member]) -> int:
    return members[-1].end if members else 0


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as exc:
        raise IntegrityError(f"{path} is missing") from exc
