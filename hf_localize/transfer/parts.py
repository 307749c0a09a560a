"""Bytes in parts: how large a request is, and memory for what it brings."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence

from hf_localize.errors import UnreachableError
from hf_localize.format.streams import read_exactly

#: Bytes of one request: a file that is larger moves in several at once.
PART_BYTES = 8 << 20

#: Bytes of one request of an upload: the least that S3 takes for a part, unless it is the last:
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
#: On a link that loses packets the number of connections limits the rate; small parts use more of them.
SENT_PART_BYTES = 5 << 20

#: What all that is sent at the same time may hold.
MAX_BYTES = 128 << 20

#: What a fetch holds of parts that come before their turn: so many slabs of one size, whatever is fetched.
SLAB_BYTES = 1 << 20
MAX_SLABS = 28


def fetched_part_bytes(workers: int) -> int:
    """Return how large the parts are which so many *workers* may hold at once: a power of two, in MiB."""
    slabs = max(1, MAX_SLABS // max(1, workers))
    return int(min(PART_BYTES, SLAB_BYTES << slabs.bit_length() - 1))


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


class Slabs:
    """Memory for what comes before its turn: slabs of one size, a fixed number of them, used again.

    The caller has the lock.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._spare: list[memoryview] = []

    def take(self, size_bytes: int) -> list[memoryview]:
        """Return slabs that hold *size_bytes* together, the last cut to fit; as many are less free."""
        slabs = []
        for start in range(0, size_bytes, SLAB_BYTES):
            slab = self._spare.pop() if self._spare else memoryview(bytearray(SLAB_BYTES))
            slabs.append(slab[: size_bytes - start])
        self.free -= len(slabs)
        return slabs

    def give_back(self, slabs: Sequence[memoryview]) -> None:
        """Have *slabs* free again."""
        self.free += len(slabs)
        self._spare += [memoryview(slab.obj) for slab in slabs]


def fill(buffers: Sequence[memoryview], body: io.RawIOBase, what: str) -> None:
    """Read *body* until all *buffers* are full, and close it.

    Raises:
        UnreachableError: it ended too early.
    """
    with body:
        for number, buffer in enumerate(buffers):
            if missing := read_exactly(body, buffer):
                missing += sum(map(len, buffers[number + 1 :]))
                raise UnreachableError(f"{what}: ended {missing} bytes too early")


def views(body: io.RawIOBase, buffer: memoryview) -> Iterator[memoryview]:
    """Yield what *body* has; each view is as full as *buffer*, and valid until the next."""
    while not (missing := read_exactly(body, buffer)):
        yield buffer
    if missing < len(buffer):
        yield buffer[: len(buffer) - missing]
