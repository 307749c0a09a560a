"""A record batch of an Arrow stream file of which only some bytes are read."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from hf_localize.errors import IntegrityError
from hf_localize.format.arrow.seek import NotSeekableError

#: A smaller batch is read as a whole, by one request.
_WHOLE_BYTES = 256 << 10
#: Memory of this size is asked for, of which only what is read takes room.
_MAX_BATCH_BYTES = 4 << 30
#: Lists with more values, in the rows that are wanted, are not shown.
_MAX_OFFSETS_BYTES = 1 << 20
#: Of more columns the first are read.
MOST_COLUMNS = 60
_WITH_OFFSETS = (pa.types.is_binary, pa.types.is_string, pa.types.is_list, pa.types.is_map)
_WITH_LONG_OFFSETS = (pa.types.is_large_binary, pa.types.is_large_string, pa.types.is_large_list)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of known size, opened anew for each part of it that is read."""

    open_file: Callable[[], BinaryIO]
    size_bytes: int

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to before *stop*.

        Raises:
            IntegrityError: it has no such bytes.
        """
        if not 0 <= start <= stop <= self.size_bytes:
            raise IntegrityError("an Arrow stream names bytes that it does not have")
        with self.open_file() as file:
            file.seek(start)
            data = bytes(file.read(stop - start))
            while len(data) < stop - start and (more := bytes(file.read(stop - start - len(data)))):
                data += more
        if len(data) < stop - start:
            raise IntegrityError(f"an Arrow stream ended {stop - start - len(data)} bytes too early")
        return data


def rows_of(columns: list[pa.Array | None], count: int) -> list[tuple[Any, ...]]:
    """Return the first rows of *columns*; None stands in a column that is None."""
    return [
        tuple(None if column is None else value(column[row]) for column in columns) for row in range(count)
    ]


def value(scalar: pa.Scalar) -> Any:
    """Return a scalar as a Python value, or as text where there is none for it."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, ImportError, TypeError):  # Nanoseconds, say, or text that is no UTF-8.
        try:
            return str(scalar.cast(pa.string()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            return "(a value that can't be shown)"


class _TooManyError(Exception):
    """Only to tell how many bytes there are, too many would have to be read."""


class PartOfBatch:
    """A record batch of which only those bytes are here that somebody has asked for."""

    def __init__(self, source: Source, schema: bytes, offset: int, body: int, end: int) -> None:
        if not offset < body <= end <= source.size_bytes or end - offset > _MAX_BATCH_BYTES:
            raise IntegrityError("a record batch is not where it should be, or too large")
        self.fetched_bytes = 0
        self._here: list[tuple[int, int]] = []
        self._source = source
        self._memory = mmap.mmap(-1, len(schema) + end - offset)
        self._memory[: len(schema)] = schema
        #: Where a byte of the file is in memory, is so much less.
        self._shift = offset - len(schema)
        is_small = end - offset <= _WHOLE_BYTES
        self._fetch([(len(schema), (end if is_small else body) - self._shift)])
        self._is_whole = is_small
        buffer = pa.py_buffer(self._memory)
        self._base = buffer.address
        self._batch = pa.ipc.open_stream(buffer).read_next_batch()
        self._batch.validate()

    def affordable(self, count: int, most_bytes: int) -> tuple[int, frozenset[int]]:
        """Fetch what the first rows take.

        Returns:
            How many they are, at least one, and the columns that are left out even so.
        """
        if self._is_whole:
            count = min(count, self._batch.num_rows)
        if count > self._batch.num_rows:
            raise IntegrityError("a record batch has fewer rows than its metadata says")
        columns = range(min(MOST_COLUMNS, self._batch.num_columns))
        while True:
            needs = [self._needs(column, count) for column in columns]
            sizes = [sum(stop - start for start, stop in need) for need in needs]
            if sum(sizes) <= most_bytes or count == 1:
                break
            count = max(1, count // 2)
        without: set[int] = set()
        while sum(size for column, size in enumerate(sizes) if column not in without) > most_bytes:
            without.add(max(set(columns) - without, key=sizes.__getitem__))
        if not self._is_whole:
            self._fetch([part for c, need in enumerate(needs) if c not in without for part in need])
        return count, frozenset(without)

    def values(self, count: int, without: frozenset[int]) -> list[tuple[Any, ...]]:
        """Return the first rows; None stands in the columns that are left out."""
        numbers = range(min(MOST_COLUMNS, self._batch.num_columns))
        columns = [None if number in without else self._batch.column(number) for number in numbers]
        return rows_of(columns, count)

    def _needs(self, column: int, count: int) -> list[tuple[int, int]]:
        """Return which parts of memory the first rows of a column take; what tells that is fetched."""
        array = self._batch.column(column)
        try:
            return list(self._walk(array.type, iter(array.buffers()), 0, count))
        except _TooManyError:
            return [(0, _MAX_BATCH_BYTES)]

    def _walk(
        self, kind: pa.DataType, buffers: Iterator[pa.Buffer | None], start: int, stop: int
    ) -> Iterator[tuple[int, int]]:
        """Yield what the values from *start* to before *stop* take, of an array and of those inside it.

        *buffers* are those of the array, and then of those inside it, as ``Array.buffers`` has them.
        """
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        yield from self._place(next(buffers), start // 8, -(-stop // 8), may_lack=True)
        if pa.types.is_null(kind):
            return
        if pa.types.is_boolean(kind):
            yield from self._place(next(buffers), start // 8, -(-stop // 8))
        elif pa.types.is_struct(kind):
            for field in kind:
                yield from self._walk(field.type, buffers, start, stop)
        elif pa.types.is_fixed_size_list(kind):
            yield from self._walk(kind.value_type, buffers, start * kind.list_size, stop * kind.list_size)
        elif layout := _offset_format(kind):
            first, last = self._offsets(next(buffers), layout, start, stop)
            if pa.types.is_nested(kind):
                item = (
                    pa.struct([kind.key_field, kind.item_field]) if pa.types.is_map(kind) else kind.value_type
                )
                yield from self._walk(item, buffers, first, last)
            else:
                yield from self._place(next(buffers), first, last)
        elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
            width = kind.bit_width // 8
            yield from self._place(next(buffers), start * width, stop * width)
        else:
            raise NotSeekableError

    def _offsets(
        self, buffer: pa.Buffer | None, layout: Literal["i", "q"], start: int, stop: int
    ) -> tuple[int, int]:
        """Return where values begin and end, having fetched and checked their offsets."""
        if start == stop:
            return 0, 0
        width = struct.calcsize(layout)
        if (stop - start) * width > _MAX_OFFSETS_BYTES:
            raise _TooManyError
        parts = list(self._place(buffer, start * width, (stop + 1) * width))
        if not self._is_whole:
            self._fetch(parts)
        ((first, last),) = parts
        offsets = memoryview(self._memory)[first:last].cast(layout)
        if offsets[0] < 0 or any(offsets[n] > offsets[n + 1] for n in range(len(offsets) - 1)):
            raise IntegrityError("a record batch has offsets that are out of order")
        return offsets[0], offsets[-1]

    def _place(
        self, buffer: pa.Buffer | None, start: int, stop: int, *, may_lack: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Yield where in memory a part of *buffer* is, if it has any bytes."""
        if start == stop or (buffer is None and may_lack):
            return
        position = -1 if buffer is None else buffer.address - self._base
        if buffer is None or stop > buffer.size or not 0 <= position <= len(self._memory) - buffer.size:
            raise IntegrityError("a record batch has a buffer that is too short, or compressed")
        yield position + start, position + stop

    def _fetch(self, parts: list[tuple[int, int]]) -> None:
        """Fetch parts of memory that are not here; those that are near each other with one request."""
        together: list[list[int]] = []
        for start, stop in sorted(parts):
            if any(first <= start and stop <= last for first, last in self._here):
                continue
            if together and start - together[-1][1] < 4096:
                together[-1][1] = max(together[-1][1], stop)
            else:
                together.append([start, stop])
        for start, stop in together:
            self._memory[start:stop] = self._source.read(start + self._shift, stop + self._shift)
            self._here.append((start, stop))
            self.fetched_bytes += stop - start


def _offset_format(kind: pa.DataType) -> Literal["i", "q"] | None:
    """Return the `struct` format of the offsets of an array; None: it has none."""
    if any(is_kind(kind) for is_kind in _WITH_LONG_OFFSETS):
        return "q"
    return "i" if any(is_kind(kind) for is_kind in _WITH_OFFSETS) else None
