"""A file that lies elsewhere, read from here as if it were a local one: by ranges, and ahead."""

from __future__ import annotations

import collections
import hashlib
import io
import threading
from collections.abc import Callable
from typing import Any

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.streams import SeekableStream
from hf_localize.http.retry import retrying
from hf_localize.transfer.background import background
from hf_localize.transfer.parts import fill

#: Bytes of the first request of a file. The first record batch of most text datasets, 1,000 rows, is smaller,
#: and on a distant link a second request takes longer than these bytes.
_BEGINNING_BYTES = 768 << 10
#: A read that begins beyond these bytes is not one of the first rows: the reader goes on.
_FIRST_ROWS_BYTES = 320 << 10
#: Bytes of the first request after a seek, since one row may be all that is wanted. Each next one is larger.
_FIRST_BYTES = 64 << 10
_GROWTH = 4
#: The most is what a part has that was uploaded: some servers read a whole part for each range of it.
_MAX_BYTES = 8 << 20
#: Somebody whose next request is as large goes on reading: then so many are under way ahead of him.
_READ_ON_BYTES = 1 << 20
_AHEAD = 3

#: Fills a buffer with the bytes of the file from an offset on.
ReadRange = Callable[[int, memoryview], None]


def range_reader(open_range: Callable[[str, int, int], io.RawIOBase], path: str) -> ReadRange:
    """Return what reads ranges of the file at *path* by *open_range*, each with a few tries.

    They are two where the server does not respond and has sent nothing of the file yet.
    """
    has_begun = threading.Event()

    def read_range(start: int, buffer: memoryview) -> None:
        def read() -> None:
            fill([buffer], open_range(path, start, start + len(buffer)), path)
            has_begun.set()

        retrying(path, read, is_silent=lambda: not has_begun.is_set())

    return read_range


def remote_of(stream: Any) -> RemoteFile | None:
    """Return the remote file that *stream* is, or copies; None: it is of another kind."""
    return getattr(stream, "remote", None)


class RemoteFile(SeekableStream):
    """A file of known size and sha256, read by ranges.

    While it is read on, ranges are fetched ahead and hashed, in threads. Where it is read from its
    first byte to its last, the read that meets the end checks all of it.
    """

    def __init__(self, record: FileRecord, read_range: ReadRange, where: str) -> None:
        """Describe the file; nothing is read yet.

        Args:
            read_range: is called from several threads.
            where: names the place in errors.
        """
        self._record = record
        self._size_bytes = record.size_bytes
        self._read_range = read_range
        self._where = where
        self._position = 0
        self._windows: collections.deque[_Window] = collections.deque()
        self._next_bytes = _BEGINNING_BYTES
        self._is_ahead = False
        self._hash = _RunningHash()
        #: So many bytes from the first on are fetched in order, and so are hashed by now or soon.
        self._in_order = 0
        #: Is called, whenever there is room for more, once all is asked for of a file that is read on.
        self.when_asked_for: Callable[[], None] | None = None

    @property
    def remote(self) -> RemoteFile:
        """Return this; what copies a remote file while it is read has it under the same name."""
        return self

    @property
    def bytes_ahead(self) -> int:
        """Return how many bytes are fetched, or on their way, that were not read."""
        return sum(window.stop - window.start for window in self._windows)

    def read_on(self) -> None:
        """Fetch ahead at once, as for somebody who was seen to read on."""
        self._next_bytes = _MAX_BYTES
        self._look_ahead(0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset*. What is fetched ahead is kept as far as it is of use there."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base + offset)
        while self._windows and not self._windows[0].start <= self._position < self._windows[0].stop:
            self._windows.popleft()
        if not self._windows:
            self._next_bytes, self._is_ahead = _FIRST_BYTES, False
        return self._position

    def tell(self) -> int:
        """Return the offset of the byte that is read next."""
        return self._position

    def read(self, size: int | None = -1) -> Any:
        """Return up to *size* bytes as a buffer; an empty one is the end.

        Raises:
            IntegrityError: the whole file was read, and differs from its record.
            UnreachableError: it could not be read in several tries.
        """
        left = self._size_bytes - self._position
        needed = left if size is None or size < 0 else min(size, left)
        if needed <= 0:
            self._check()
            return b""
        if self._windows and self._windows[0].start == 0 and self._position >= _FIRST_ROWS_BYTES:
            self._go_on()
        view = self._view(needed)
        if len(view) < needed:
            parts = [view]
            while (missing := needed - sum(map(len, parts))) > 0:
                parts.append(self._view(missing))
            view = memoryview(b"".join(parts))
        if self._position == self._size_bytes:
            self._check()
        return view

    def close(self) -> None:
        """Forget what was fetched."""
        self.when_asked_for = None
        self._windows.clear()
        super().close()

    def _go_on(self) -> None:
        """Fetch ahead before all of the first request was read."""
        if not self._is_ahead:
            self._next_bytes = _READ_ON_BYTES
            self._look_ahead(0)

    def _view(self, needed: int) -> memoryview:
        """Return some of the *needed* bytes that come next, and go on."""
        if not self._windows:
            self._look_ahead(needed)
        window = self._windows[0]
        data = window.data()
        offset = self._position - window.start
        view = data[offset : offset + needed]
        self._position += len(view)
        if self._position >= window.stop:
            self._windows.popleft()
            if self._is_ahead:
                self._look_ahead(0)
        return view

    def _look_ahead(self, needed: int) -> None:
        """Begin to fetch what is read now and, if it is being read on, what comes after.

        Who has read all that was fetched, as who wanted the first rows, is not taken to read on
        before he wants more.
        """
        self._is_ahead = self._next_bytes >= _READ_ON_BYTES
        while len(self._windows) < (_AHEAD if self._is_ahead else 1) and self._asked_to < self._size_bytes:
            start = self._asked_to
            stop = start + max(self._next_bytes, min(needed, _MAX_BYTES))
            if stop - start >= _MAX_BYTES:  # Where a part ends that was uploaded, if there are parts.
                stop -= stop % _MAX_BYTES
            stop = min(self._size_bytes, stop)
            running = self._hash if self._record.sha256 and start == self._in_order else None
            if running is not None:
                self._in_order = stop
            self._windows.append(_Window(start, stop, self._read_range, running, in_thread=self._is_ahead))
            before = _FIRST_BYTES if self._next_bytes == _BEGINNING_BYTES else self._next_bytes
            self._next_bytes = min(_MAX_BYTES, before * _GROWTH)
        if self._is_ahead and self._asked_to == self._size_bytes and self.when_asked_for is not None:
            self.when_asked_for()

    @property
    def _asked_to(self) -> int:
        return self._windows[-1].stop if self._windows else self._position

    def _check(self) -> None:
        """Compare what was read with the record, if it was read from the first byte to the last."""
        is_read = self._record.sha256 and self._in_order == self._size_bytes
        if is_read and self._hash.result(self._size_bytes) != self._record.sha256:
            raise IntegrityError(f"{self._record.path} of {self._where} differs from its manifest")


class _RunningHash:
    """The sha256 of bytes that come in pieces, in several threads, each when it is its turn."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._turn = threading.Condition()
        self._done_bytes = 0
        self._is_broken = False

    def update(self, start: int, data: memoryview) -> None:
        """Add *data*, which begins at *start*, once all before it is added."""
        with self._turn:
            self._turn.wait_for(lambda: self._is_broken or self._done_bytes == start)
        if not self._is_broken:
            self._hash.update(data)
            with self._turn:
                self._done_bytes += len(data)
                self._turn.notify_all()

    def give_up(self) -> None:
        """Have nobody wait for what will not come."""
        with self._turn:
            self._is_broken = True
            self._turn.notify_all()

    def result(self, size_bytes: int) -> str | None:
        """Return the sha256 (hex) once *size_bytes* are added; None: they will never be."""
        with self._turn:
            self._turn.wait_for(lambda: self._is_broken or self._done_bytes == size_bytes)
            return None if self._is_broken else self._hash.hexdigest()


class _Window:
    """One range on its way here."""

    def __init__(
        self, start: int, stop: int, read_range: ReadRange, running: _RunningHash | None, *, in_thread: bool
    ) -> None:
        self.start = start
        self.stop = stop
        self._read_range = read_range
        self._running = running
        self._data: memoryview | None = None
        self._failure: BaseException | None = None
        self._is_here = threading.Event()
        self._in_thread = in_thread
        if in_thread:
            background.run(self._fetch)

    def data(self) -> memoryview:
        """Return the bytes; waits for them."""
        if not self._in_thread and not self._is_here.is_set():
            self._fetch()
        self._is_here.wait()
        if self._failure is not None:
            raise self._failure
        assert self._data is not None
        return self._data

    def _fetch(self) -> None:
        import pyarrow as pa

        try:
            # From a pool, and not filled with zeros first, while which nothing else runs.
            data = memoryview(pa.allocate_buffer(self.stop - self.start)).cast("B")
            self._read_range(self.start, data)
            self._data = data
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the reading thread.
            self._failure = exc
            if self._running is not None:
                self._running.give_up()
        self._is_here.set()
        if self._running is not None and self._data is not None:
            self._running.update(self.start, self._data)
