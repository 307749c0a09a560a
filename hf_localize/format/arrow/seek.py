"""Where the record batches of an Arrow stream file lie, so that reading may begin at any of them.

Only the metadata of messages is read here, by the layout of
https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format and of
https://github.com/apache/arrow/blob/main/format/Message.fbs .
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hf_localize.errors import IntegrityError
from hf_localize.format.streams import ReadOnlyStream

if TYPE_CHECKING:
    import pyarrow as pa

_CONTINUATION = 0xFFFFFFFF
#: Values of ``MessageHeader``.
_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3
#: How compression is announced in metadata of 2020.
_OLD_COMPRESSION = b"ARROW:experimental_compression"
#: A manifest names at most so many batches of a shard, evenly spread, and of all shards together
#: (but one of each); the others are walked to. A reader of one row reads the whole manifest.
_MAX_POINTS, _MAX_POINTS_OF_ENTRY = 256, 8192
_MAX_METADATA_BYTES = 64 << 20
_MAX_OFFSET = 1 << 62
#: A pair of a seek point, of numbers that fit an offset.
_POINT = re.compile(r"[0-9]{1,18}:[0-9]{1,18}(?: [0-9]{1,18}:[0-9]{1,18})*")


def seek_points(shard: Path, *, shards: int = 1) -> tuple[tuple[int, int], ...]:
    """Return (rows before it, offset in bytes) of batches of an Arrow stream file, in order.

    The more *shards* an entry has, the fewer.

    The first batch, which needs no point, is left out. A file that can only be read from its
    beginning (it has dictionaries, or the old format) has none.
    """
    with open(shard, "rb") as file:
        try:
            found = [(rows, offset) for rows, offset, _ in _batches(file)][1:]
        except NotSeekableError:
            return ()
    most = min(_MAX_POINTS, max(1, _MAX_POINTS_OF_ENTRY // shards), len(found))
    return tuple(found[(2 * number + 1) * len(found) // (2 * most)] for number in range(most))


def packed(points: Iterable[tuple[int, int]]) -> str:
    """Return what :func:`seek_points` gave as text, for a manifest."""
    return " ".join(f"{rows}:{offset}" for rows, offset in points)


def unpacked(text: str) -> list[tuple[int, int]]:
    """Return the seek points that *text* holds.

    Raises:
        IntegrityError: it is not what :func:`packed` writes.
    """
    check_points(text)
    return [(int(rows), int(offset)) for rows, offset in (pair.split(":") for pair in text.split())]


def check_points(text: str) -> None:
    """Raise IntegrityError where *text* is not what :func:`packed` writes."""
    if text and not _POINT.fullmatch(text):
        raise IntegrityError(f"{text[:200]!r} does not tell where record batches lie")


def check_shard(file: BinaryIO, rows: int | None = None, points: str = "") -> int:
    """Return the rows of an Arrow stream file; of its batches only the headers are read.

    Args:
        rows: how many it should have; None: that is not known.
        points: where some batches should lie, as :func:`packed` has it.

    Raises:
        IntegrityError: it is not a whole Arrow stream as `datasets` writes it, or not as it should be.
    """
    found, places = 0, set()
    size = file.seek(0, io.SEEK_END)
    try:
        for kind, count, offset, _, end in _all_messages(file):
            if end > size:
                raise IntegrityError(f"an Arrow stream ended {end - size} bytes too early")
            if kind == _RECORD_BATCH:
                places.add((found, offset))
                found += count
    except NotSeekableError as exc:
        raise IntegrityError("it is not an Arrow stream as datasets writes it") from exc
    if rows is not None and rows != found:
        raise IntegrityError(f"it has {found} rows; its manifest says {rows}")
    if not places.issuperset(unpacked(points)):
        raise IntegrityError("its record batches are not where its manifest says")
    return found


def open_at(
    stream: BinaryIO, row: int, points: Sequence[tuple[int, int]]
) -> tuple[int, pa.RecordBatchReader]:
    """Open an Arrow stream file at the batch that has *row*.

    Args:
        stream: the file, seekable.
        row: 0 is the first.
        points: what :func:`seek_points` gave, or less.

    Returns:
        The number of rows before that batch, and the reader of it and what follows.

    Raises:
        IntegrityError, pyarrow.ArrowInvalid: it is not an Arrow stream.
    """
    import pyarrow as pa

    try:
        if not row:
            return 0, pa.ipc.open_stream(Uncompressed(stream))
        kind, _, _, end = _message(stream, 0)
        if kind != _SCHEMA:
            raise NotSeekableError
        stream.seek(0)
        schema = _read(stream, end)
        stop_row = 0
        for rows, offset, stop_row in _batches(stream, [p for p in points if p[0] <= row][-1:]):
            if stop_row > row:
                stream.seek(offset)
                return rows, pa.ipc.open_stream(Uncompressed(_Joined(schema, stream)))
        return stop_row, pa.RecordBatchReader.from_batches(pa.schema([]), [])
    except NotSeekableError:
        stream.seek(0)
        return 0, pa.ipc.open_stream(Uncompressed(stream))


def messages(stream: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Yield where the schema of an Arrow stream file lies, and then each record batch.

    Returns:
        Of each the offset, where its body begins, where it ends, and its rows.

    Raises:
        NotSeekableError: it has dictionaries, or is not of the format that is known here.
        IntegrityError: it is damaged.
    """
    for kind, rows, offset, body, end in _all_messages(stream):
        if kind == _DICTIONARY:
            raise NotSeekableError
        yield offset, body, end, rows


def _batches(stream: BinaryIO, from_point: Sequence[tuple[int, int]] = ()) -> Iterator[tuple[int, int, int]]:
    """Yield (rows before, offset, rows with it) of each batch, from a point on or from the first."""
    rows, start = from_point[0] if from_point else (0, 0)
    for kind, count, offset, _, _ in _all_messages(stream, start):
        if kind == _DICTIONARY or (from_point and kind == _SCHEMA):
            raise NotSeekableError
        if kind == _RECORD_BATCH:
            yield rows, offset, rows + count
            rows += count


def _all_messages(stream: BinaryIO, offset: int = 0) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (kind, rows, offset, start of the body, end) of each message; the first is the schema."""
    while True:
        kind, rows, body, end = _message(stream, offset)
        if kind is None and offset:
            return
        if kind is None or kind not in ((_DICTIONARY, _RECORD_BATCH) if offset else (_SCHEMA,)):
            raise NotSeekableError
        yield kind, rows, offset, body, end
        offset = end


def _message(stream: BinaryIO, offset: int) -> tuple[int | None, int, int, int]:
    """Return kind (None: the end), rows, where the body begins, and where the message ends."""
    stream.seek(offset)
    prefix = _read(stream, 8, at_end=True)
    if not prefix:
        return None, 0, offset, offset
    mark, size = struct.unpack("<II", prefix)
    if mark != _CONTINUATION or size > _MAX_METADATA_BYTES:
        raise NotSeekableError
    if size == 0:
        return None, 0, offset + 8, offset + 8
    kind, rows, length = _head(_read(stream, size))
    body = offset + 8 + size
    return kind, rows, body, body + length


def _head(metadata: bytes) -> tuple[int, int, int]:
    """Return the kind of a message, its rows, and how long its body is.

    Raises:
        IntegrityError: it makes no sense, or is compressed: then it could inflate to any size.
    """
    table = _Table.root(metadata)
    kind, length = table.number(1, "<B"), table.number(3, "<q")
    header = table.table(2)
    batch = header.table(1) if header is not None and kind == _DICTIONARY else header
    rows = header.number(0, "<q") if header is not None and kind == _RECORD_BATCH else 0
    if not 0 <= length < _MAX_OFFSET or not 0 <= rows < _MAX_OFFSET:
        raise IntegrityError("an Arrow message has a negative or impossible length")
    if kind not in (_DICTIONARY, _RECORD_BATCH) or batch is None:
        return kind, 0, length
    if batch.table(3) is not None or _OLD_COMPRESSION in metadata:
        raise IntegrityError("it has compressed record batches, which datasets never writes")
    return kind, rows, length


def _read(stream: BinaryIO, size: int, *, at_end: bool = False) -> bytes:
    data = bytes(stream.read(size))
    while data and len(data) < size and (more := bytes(stream.read(size - len(data)))):
        data += more
    if len(data) < size and not (at_end and not data):
        raise IntegrityError(f"an Arrow stream ended {size - len(data)} bytes too early")
    return data


class Uncompressed(ReadOnlyStream):
    """A stream of Arrow messages for pyarrow to read, which raises where one is compressed.

    pyarrow would inflate a message of a few kilobytes to whatever size it has or claims.
    """

    def __init__(self, stream: BinaryIO | io.RawIOBase) -> None:
        self._stream = stream
        self._head = bytearray()
        self._needed, self._body = 8, 0

    def read(self, size: int | None = -1) -> Any:
        """Return up to *size* bytes as a buffer; fewer only at the end."""
        data = self._stream.read(-1 if size is None else size)
        left = memoryview(data or b"")
        while left:
            skipped = min(self._body, len(left))
            self._body, left = self._body - skipped, left[skipped:]
            taken = left[: self._needed - len(self._head)]
            self._head += taken
            left = left[len(taken) :]
            if len(self._head) == self._needed:
                self._step()
        return data

    def _step(self) -> None:
        mark, size = struct.unpack_from("<II", self._head)
        if self._needed > 8:
            _, _, self._body = _head(bytes(self._head[8:]))
            self._head.clear()
            self._needed = 8
        elif mark != _CONTINUATION or size > _MAX_METADATA_BYTES:
            raise IntegrityError("it is not an Arrow stream as datasets writes it")
        elif size:
            self._needed = 8 + size
        else:  # The end; pyarrow reads no more.
            self._body = _MAX_OFFSET


class NotSeekableError(Exception):
    """The stream can only be read from its beginning."""


class _Table:
    """One table of a FlatBuffer: https://flatbuffers.dev/internals/ ."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - self._get("<i", position)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        try:
            return cls(data, struct.unpack_from("<I", data)[0])
        except struct.error as exc:
            raise IntegrityError(f"the metadata of an Arrow message is damaged: {exc}") from exc

    def number(self, field: int, layout: str) -> int:
        """Return an integer field; 0 where it is not set."""
        offset = self._offset(field)
        return self._get(layout, self._position + offset) if offset else 0

    def table(self, field: int) -> _Table | None:
        offset = self._offset(field)
        if not offset:
            return None
        place = self._position + offset
        return _Table(self._data, place + self._get("<I", place))

    def _offset(self, field: int) -> int:
        at = 4 + 2 * field
        return self._get("<H", self._fields + at) if at < self._get("<H", self._fields) else 0

    def _get(self, layout: str, position: int) -> int:
        try:
            value: int = struct.unpack_from(layout, self._data, position)[0]
        except struct.error as exc:
            raise IntegrityError(f"the metadata of an Arrow message is damaged: {exc}") from exc
        return value


class _Joined(ReadOnlyStream):
    """Some bytes, and then what a stream has."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def read(self, size: int | None = -1) -> Any:
        """Return up to *size* bytes as a buffer; fewer only at the end."""
        if not self._head:
            return self._stream.read(-1 if size is None else size)
        needed = len(self._head) if size is None or size < 0 else size
        part, self._head = self._head[:needed], self._head[needed:]
        if size is None or size < 0 or len(part) < size:
            rest = self._stream.read(-1 if size is None or size < 0 else size - len(part))
            return bytes(part) + bytes(rest)
        return part
