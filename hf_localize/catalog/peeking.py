"""The first rows of an Arrow stream file, by as few of its bytes as that takes.

A record batch of images may have hundreds of megabytes, and ten rows of it a few. So of a large batch
only the parts of its buffers are read that these rows have: by the layout of
https://arrow.apache.org/docs/format/Columnar.html . The rest stays zero, and is never looked at.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from hf_localize.catalog.somebytes import MOST_COLUMNS, PartOfBatch, Source, rows_of
from hf_localize.errors import HfLocalizeError, IntegrityError
from hf_localize.format.arrow.seek import NotSeekableError, Uncompressed, messages

_MAX_BATCHES = 32
_TOO_MANY = f"the others are not in the first {_MAX_BATCHES} record batches"
_TOO_LARGE = "the next row is too large to be shown here"
#: What Arrow, and Python, raise where bytes make no sense.
_DAMAGED = (pa.ArrowException, struct.error, OSError, ValueError, OverflowError, MemoryError, StopIteration)
#: No schema with its metadata has more.
_MAX_SCHEMA_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first rows, as values by column; ``skipped`` are columns of which one value has too many bytes.

    ``reason`` says, in words, why there are fewer rows than were asked for, if the file has more.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    skipped: frozenset[str] = frozenset()
    reason: str = ""


def first_rows(open_file: Callable[[], BinaryIO], size_bytes: int, count: int, most_bytes: int) -> FirstRows:
    """Return up to *count* rows of the Arrow stream file that *open_file* opens; fewer if they are large.

    Args:
        open_file: is called for each part that is read.
        size_bytes: the file's size.
        most_bytes: of values, to be read at most; as much again may be read besides.

    Raises:
        IntegrityError: it is no Arrow stream, or can't be read in parts and is too large.
        UnreachableError: it can't be read.
    """
    try:
        try:
            return _read(Source(open_file, size_bytes), count, most_bytes)
        except NotSeekableError:
            return _read_whole(open_file, size_bytes, count, most_bytes)
    except HfLocalizeError:
        raise
    except _DAMAGED as exc:
        raise IntegrityError(f"its first rows can't be read: {exc!s:.200}") from exc


def _read(source: Source, count: int, most_bytes: int) -> FirstRows:
    with source.open_file() as file:
        found = messages(file)
        _, _, head, _ = next(found)
        if head > _MAX_SCHEMA_BYTES:
            raise IntegrityError(f"its schema has {head} bytes")
        schema = source.read(0, head)
        names = tuple(pa.ipc.open_stream(pa.py_buffer(schema)).schema.names)[:MOST_COLUMNS]
        rows: list[tuple[Any, ...]] = []
        skipped: set[str] = set()
        reason = ""
        for number, (offset, body, end, rows_there) in enumerate(found):
            if len(rows) >= count:
                break
            if number == _MAX_BATCHES or most_bytes <= 0:
                reason = _TOO_LARGE if most_bytes <= 0 else _TOO_MANY
                break
            if not rows_there:
                continue
            part = PartOfBatch(source, schema, offset, body, end)
            asked = min(count - len(rows), rows_there)
            needed, without = part.affordable(asked, most_bytes)
            if without and rows:
                reason = _TOO_LARGE
                break
            skipped |= {names[column] for column in without}
            rows += part.values(needed, without)
            most_bytes -= part.fetched_bytes
            if needed < asked:
                reason = _TOO_LARGE
                break
    return FirstRows(names, tuple(rows), frozenset(skipped), reason)


def _read_whole(open_file: Callable[[], BinaryIO], size_bytes: int, count: int, most_bytes: int) -> FirstRows:
    if size_bytes > most_bytes:
        raise IntegrityError("it can only be read as a whole, and is too large for that")
    rows: list[tuple[Any, ...]] = []
    with open_file() as file, pa.ipc.open_stream(Uncompressed(io.BytesIO(file.read()))) as reader:
        for batch in reader:
            batch.validate(full=True)
            some = batch.slice(0, count - len(rows))
            rows += rows_of(some.columns[:MOST_COLUMNS], some.num_rows)
            if len(rows) >= count:
                break
        return FirstRows(tuple(reader.schema.names)[:MOST_COLUMNS], tuple(rows))
