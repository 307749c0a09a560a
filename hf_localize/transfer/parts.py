"""Bytes in parts: how large a request is, and memory for what it brings."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

from hf_localize.errors import UnreachableError
from hf_localize.format.streams import read_exactly

#: Bytes of one request: a file that is larger moves in several at once.
PART_BYTES = 8 << 20

#: What all that is under way may hold.
MAX_BYTES = 128 << 20


def most_at_once(workers: int, part_bytes: int) -> int:
    """Return how many of *workers* may be at work at once, each of which holds up to *part_bytes*."""
    return max(1, min(workers, MAX_BYTES // max(1, part_bytes)))


class Buffers:
    """Memory that each thread has for itself and uses again: what is freed may stay the process's."""

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self, name: str, size_bytes: int) -> memoryview:
        """Return this thread's buffer of that name, which has *size_bytes* at least."""
        buffer: memoryview | None = getattr(self._local, name, None)
        if buffer is None or len(buffer) < size_bytes:
            buffer = memoryview(bytearray(size_bytes))
            setattr(self._local, name, buffer)
        return buffer


def fill(buffer: memoryview, body: io.RawIOBase, what: str) -> None:
    """Read *body* until *buffer* is full, and close it.

    Raises:
        UnreachableError: it ended too early.
    """
    with body:
        missing = read_exactly(body, buffer)
    if missing:
        raise UnreachableError(f"{what}: ended {missing} bytes too early")


def views(body: io.RawIOBase, buffer: memoryview) -> Iterator[memoryview]:
    """Yield what *body* has; each view is as full as *buffer*, and valid until the next."""
    while not (missing := read_exactly(body, buffer)):
        yield buffer
    if missing < len(buffer):
        yield buffer[: len(buffer) - missing]
