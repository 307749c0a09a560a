"""Moving the files of an entry, many at once, each checked against the manifest while it moves."""

from __future__ import annotations

import collections
import contextvars
import hashlib
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hf_localize.crew import Crew
from hf_localize.errors import HfLocalizeError, IntegrityError, UnreachableError
from hf_localize.manifest import FileRecord
from hf_localize.room import require_room

_log = logging.getLogger(__name__)
#: Bytes of one request: a file that is larger moves in several at once.
PART_BYTES = 8 << 20
#: A multipart upload has at most 10,000 parts.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MOST_PARTS = 10_000
#: How often a file is fetched that came whole and is not what its record says: it may be the way.
_MOST_FETCHES = 3
#: What is received, hashed and written at a time: it stays in the processor's cache meanwhile.
_CHUNK = 256 << 10
_T = TypeVar("_T")

#: Opens the bytes of a file from an offset to before another (None: its end) for one reading.
OpenRange = Callable[[str, int, "int | None"], io.RawIOBase]


def fetch_files(
    files: Iterable[FileRecord], open_range: OpenRange, folder: Path, *, workers: int
) -> list[FileRecord]:
    """Write *files* into *folder*, several at a time, and return their records with hashes.

    A file that is there already and matches is kept; what an interrupted run left of one is gone
    on with. A file without a recorded sha256 is taken as it comes. When this returns, every file
    is whole and right, and on its way to the disk; until then *folder* may hold parts of files.

    Args:
        open_range: is called from several threads.
        workers: the most requests that are under way at the same time.

    Raises:
        StoreError: there is no room for what is missing. Nothing was asked for.
        IntegrityError: a file does not have the size or sha256 of its record.
        UnreachableError: a file could not be read to its end in several tries.
    """
    files = list(files)
    require_room(folder, sum(_missing_bytes(record, folder / record.path) for record in files))
    incoming = [_Incoming(record, folder / record.path) for record in files]
    _Fetch(incoming, open_range, workers).run()
    return [file.result() for file in incoming]


def _missing_bytes(record: FileRecord, path: Path) -> int:
    try:
        return max(0, record.size_bytes - os.stat(path).st_size)
    except OSError:
        return record.size_bytes


class Upload(Protocol):
    """One large object on its way into a bucket, part by part."""

    @property
    def parts_there(self) -> Mapping[int, str]:
        """Return the MD5 (hex) of each part that an interrupted run has sent, by its number."""

    def send(self, number: int, data: Any) -> None:
        """Send the part *number*, counted from 1."""

    def complete(self, count: int) -> None:
        """Make the object of its first *count* parts."""

    def abort(self) -> None:
        """Remove the parts."""


class Target(Protocol):
    """What files can be sent to."""

    def put_file(self, key: str, data: Any, sha256: str) -> None:
        """Write one small object."""

    def resume_upload(self, key: str, part_bytes: int, *, metadata: Mapping[str, str]) -> Upload:
        """Begin a large object, or go on with one of which parts of that size are there."""


def send_files(files: Iterable[tuple[FileRecord, Path, str]], target: Target, *, workers: int) -> None:
    """Send each file to its key, several at a time. Only what matches its record is published.

    Args:
        files: record, file and key of each.
        workers: the most requests that are under way at the same time.

    Raises:
        IntegrityError: a file differs from its record. The object is not made.
        UnreachableError: the target did not take it in several tries.
    """
    lock = threading.Lock()

    def next_piece() -> Callable[[], int] | None:
        with lock:
            return next(pieces, None)

    crew, buffers = Crew(next_piece, workers), _Buffers()
    pieces = _send_pieces([_Outgoing(*file, target, crew, buffers) for file in files])
    crew.run()


def run_all(work: Callable[[Any], Any], items: Iterable[Any], *, workers: int) -> list[Any]:
    """Return ``work(item)`` for each item in order, run in up to *workers* threads.

    The first error is raised once the work under way has ended; the rest is not started.
    """
    todo = list(enumerate(items))[::-1]
    results: list[Any] = [None] * len(todo)

    def next_piece() -> Callable[[], int] | None:
        try:
            index, item = todo.pop()
        except IndexError:
            return None

        def run() -> int:
            results[index] = work(item)
            return 0

        return run

    Crew(next_piece, min(workers, len(todo)), is_adaptive=False).run()
    return results


def begin_flush(file: int, flushed: int, written: int) -> int:
    """Have the system begin to bring each part of *file* to the disk when it is written.

    Then little is left to wait for at the end. Linux does so when it is told that the pages are
    not needed, and drops none that are not on the disk yet.

    Args:
        flushed: how much of it the system was told of before.

    Returns:
        How much of it the system was told of by now.
    """
    if sys.platform != "linux" or written - flushed < PART_BYTES:
        return flushed
    os.posix_fadvise(file, flushed, written - flushed, os.POSIX_FADV_DONTNEED)
    return written


class _Incoming:
    """A file on its way here. Its parts may come in any order; they are hashed and written in theirs."""

    def __init__(self, record: FileRecord, path: Path) -> None:
        self.record = record
        self._path = path
        self._hash = hashlib.sha256()
        self._sink: io.FileIO | None = None
        self._resumed = False
        self._fetches = 0
        self._flushed = 0
        self._turn = threading.Condition()
        #: Bytes that workers were told to fetch, and those that are hashed and written.
        self.asked = self.done = 0
        self.under_way = 0

    @property
    def is_asked(self) -> bool:
        return self.asked >= self.record.size_bytes

    def open(self, *, fresh: bool = False) -> bool:
        """Go on with what is there; True: it is whole already."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._hash, self.done = hashlib.sha256(), 0
        self._sink = open(self._path, "rb+" if self._path.exists() else "wb+", buffering=0)  # noqa: SIM115
        if fresh or not self.record.sha256:
            self._sink.truncate(0)
        else:
            self._read_what_is_there()
        self._resumed = self.done > 0
        self.asked = self._flushed = self.done
        if not self.record.sha256:
            return False
        return self.done == self.record.size_bytes and self.finish()

    def _read_what_is_there(self) -> None:
        assert self._sink is not None
        chunk = bytearray(min(_CHUNK, os.fstat(self._sink.fileno()).st_size))
        while self.done < self.record.size_bytes and (got := self._sink.readinto(chunk)):
            got = min(got, self.record.size_bytes - self.done)
            self._hash.update(memoryview(chunk)[:got])
            self.done += got
        self._sink.truncate(self.done)
        self._sink.seek(self.done)

    def has_turn(self, start: int) -> bool:
        return self.done == start

    def wait_for_turn(self, start: int, is_stopped: Callable[[], bool]) -> bool:
        """Wait until what begins at *start* comes next; False: everything was stopped."""
        with self._turn:
            while self.done != start and not is_stopped():
                self._turn.wait(0.2)
        return self.done == start

    def write(self, view: memoryview) -> None:
        """Hash and write what comes next."""
        assert self._sink is not None
        self._hash.update(view)
        rest = view
        while rest:
            rest = rest[self._sink.write(rest) :]
        self._flushed = begin_flush(self._sink.fileno(), self._flushed, self.done + len(view))
        with self._turn:
            self.done += len(view)
            self._turn.notify_all()

    def finish(self) -> bool:
        """Check the whole file. False: it is not right, and is to be fetched again.

        Raises:
            IntegrityError: it differs from its record each time.
        """
        assert self._sink is not None
        got = self.result()
        if self.record.sha256 and got != self.record:
            self._sink.close()
            os.unlink(self._path)
            self._fetches += not self._resumed
            if self._fetches < _MOST_FETCHES:
                return False
            raise IntegrityError(
                f"{got.path} differs from its manifest: {got.size_bytes} bytes, sha256 {got.sha256[:12]}…; "
                f"expected {self.record.size_bytes} bytes, sha256 {self.record.sha256[:12]}…"
            )
        self._sink.close()
        return True

    def result(self) -> FileRecord:
        """Return the record of what was written."""
        return FileRecord(self.record.path, self.done, self._hash.hexdigest())

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()


class _Fetch:
    """One run of :func:`fetch_files`: which part of which file is fetched next, and by whom."""

    def __init__(self, files: list[_Incoming], open_range: OpenRange, workers: int) -> None:
        self._files = files
        self._open_range = open_range
        self._waiting = collections.deque(files)
        #: Files of which there are parts that nobody fetches yet.
        self._open: list[_Incoming] = []
        self._opening = 0
        self._changed = threading.Condition()
        self._workers = workers
        self._crew = Crew(self._next_piece, workers)
        self._buffers = _Buffers()

    def run(self) -> None:
        try:
            self._crew.run()
        finally:
            for file in self._files:
                file.close()

    def _next_piece(self) -> Callable[[], int] | None:
        with self._changed:
            while not self._crew.is_stopped():
                # Whoever has a file alone waits for nobody; so a new file comes first, but no more
                # are open than there are threads.
                if self._waiting and len(self._open) + self._opening < self._workers:
                    file = self._waiting.popleft()
                    self._opening += 1
                    return lambda: self._begin(file)
                if self._open:
                    file = min(self._open, key=lambda f: f.under_way)
                    start, stop = self._hand_out(file)
                    return lambda: self._fetch(file, start, stop)
                if not self._opening:
                    return None
                self._changed.wait(0.2)
        return None

    def _hand_out(self, file: _Incoming) -> tuple[int, int]:
        """Return the next part of an open *file*; the lock is held."""
        start = file.asked
        stop = min(file.record.size_bytes, (start // PART_BYTES + 1) * PART_BYTES)
        file.asked = stop
        file.under_way += 1
        if file.is_asked:
            self._open.remove(file)
        return start, stop

    def _begin(self, file: _Incoming, *, fresh: bool = False) -> int:
        """Open *file* and fetch its first part; the others are then for everybody."""
        try:
            is_whole = file.open(fresh=fresh)
        except BaseException:
            self._opened()
            raise
        if is_whole or not file.record.sha256:
            self._opened()
            return 0 if is_whole else self._fetch_unknown(file)
        with self._changed:
            self._open.append(file)
            start, stop = self._hand_out(file)
        self._opened()
        return self._fetch(file, start, stop)

    def _opened(self) -> None:
        with self._changed:
            self._opening -= 1
            self._changed.notify_all()

    def _fetch(self, file: _Incoming, start: int, stop: int) -> int:
        path = file.record.path
        if file.has_turn(start):
            self._crew.trying(path, lambda: self._stream(file, stop))
        else:
            buffer = self._buffers.get("part", PART_BYTES)[: stop - start]
            self._crew.trying(path, lambda: fill(buffer, self._open_range(path, start, stop), path))
            if not file.wait_for_turn(start, self._crew.is_stopped):
                return 0
            file.write(buffer)
        with self._changed:
            file.under_way -= 1
        if stop == file.record.size_bytes and not file.finish():
            with self._changed:
                self._opening += 1
            self._begin(file, fresh=True)
        return stop - start

    def _stream(self, file: _Incoming, stop: int) -> None:
        """Write what comes of a part at once; a second try goes on where the first broke off."""
        if file.done >= stop:
            return
        with self._open_range(file.record.path, file.done, stop) as body:
            for view in _views(body, self._buffers.get("chunk", _CHUNK)):
                file.write(view[: stop - file.done])
        if file.done < stop:
            raise UnreachableError(f"{file.record.path}: ended {stop - file.done} bytes too early")

    def _fetch_unknown(self, file: _Incoming) -> int:
        """Fetch a file of which neither size nor sha256 is known."""

        def read() -> None:
            file.close()
            file.open(fresh=True)
            with self._open_range(file.record.path, 0, None) as body:
                for view in _views(body, self._buffers.get("chunk", _CHUNK)):
                    file.write(view)

        self._crew.trying(file.record.path, read)
        file.finish()
        return file.done


class _Buffers:
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


class _Outgoing:
    """A file on its way into a bucket. Its parts are read and hashed in order, and sent in any."""

    def __init__(
        self, record: FileRecord, path: Path, key: str, target: Target, crew: Crew, buffers: _Buffers
    ) -> None:
        self.record = record
        self._path = path
        self._key = key
        self._target = target
        self._crew = crew
        self._buffers = buffers
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._source: io.FileIO | None = None
        self._upload: Upload | None = None
        self._read_bytes = 0
        self._parts = self._parts_left = 0

    def pieces(self) -> Iterator[Callable[[], int]]:
        """Yield what is to be done, in order; several threads may do it at the same time."""
        size = self.record.size_bytes
        if size <= PART_BYTES:
            yield self._send_whole
            return
        part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
        self._parts = self._parts_left = -(-size // part_bytes)
        for _ in range(self._parts):
            yield lambda: self._send_part(part_bytes)

    def _send_whole(self) -> int:
        data = self._path.read_bytes() if self._path.exists() else b""
        self._hash.update(data)
        if self._hash.hexdigest() != self.record.sha256:
            raise self._differs()
        self._crew.trying(self._key, lambda: self._target.put_file(self._key, data, self.record.sha256))
        return len(data)

    def _send_part(self, part_bytes: int) -> int:
        with self._lock:
            if self._upload is None:
                self._source = open(self._path, "rb", buffering=0)  # noqa: SIM115  # Closed with the last part.
                self._upload = self._target.resume_upload(
                    self._key, part_bytes, metadata={"sha256": self.record.sha256}
                )
            assert self._source is not None
            upload = self._upload
            number = self._read_bytes // part_bytes + 1
            left = self.record.size_bytes - self._read_bytes
            data = self._buffers.get("part", part_bytes)[: min(part_bytes, left)]
            filled = 0
            while filled < len(data) and (got := self._source.readinto(data[filled:])):
                filled += got
            self._read_bytes += filled
            self._hash.update(data[:filled])
            is_last = self._read_bytes == self.record.size_bytes
            if filled < len(data) or (is_last and self._source.read(1)):
                self._source.close()
                _give_up(upload, self._key)
                raise self._differs()
        there = upload.parts_there.get(number)
        if there is None or there != hashlib.md5(data, usedforsecurity=False).hexdigest():
            self._crew.trying(self._key, lambda: upload.send(number, data))
        with self._lock:
            self._parts_left -= 1
            is_done = self._parts_left == 0
        if is_done:
            self._source.close()
            if self._hash.hexdigest() != self.record.sha256:
                _give_up(upload, self._key)
                raise self._differs()
            self._crew.trying(self._key, lambda: upload.complete(self._parts))
        return len(data)

    def _differs(self) -> IntegrityError:
        return IntegrityError(
            f"{self._path} differs from the entry's manifest; nothing was published. "
            "Register the dataset again, or download it again."
        )


def _give_up(upload: Upload, key: str) -> None:
    """Remove the parts of an upload that is not to be completed, if that is permitted."""
    try:
        upload.abort()
    except HfLocalizeError as exc:
        _log.warning("%s: parts of an upload that was given up stay: %s", key, exc)


def _send_pieces(files: list[_Outgoing]) -> Iterator[Callable[[], int]]:
    """Yield the pieces of all *files*, those of several large ones in turns: each reads in order."""
    large = [file.pieces() for file in files if file.record.size_bytes > PART_BYTES]
    for first in range(0, len(large), 4):
        group = large[first : first + 4]
        while group:
            for pieces in list(group):
                piece = next(pieces, None)
                if piece is None:
                    group.remove(pieces)
                else:
                    yield piece
    for file in files:
        if file.record.size_bytes <= PART_BYTES:
            yield from file.pieces()


def fill(buffer: memoryview, body: io.RawIOBase, what: str) -> None:
    """Read *body* until *buffer* is full, and close it.

    Raises:
        UnreachableError: it ended too early.
    """
    filled = 0
    with body:
        while filled < len(buffer) and (got := body.readinto(buffer[filled:])):
            filled += got
    if filled < len(buffer):
        raise UnreachableError(f"{what}: ended {len(buffer) - filled} bytes too early")


def _views(body: io.RawIOBase, buffer: memoryview) -> Iterator[memoryview]:
    """Yield what *body* has; each view is as full as *buffer*, and valid until the next."""
    filled = 0
    while got := body.readinto(buffer[filled:]):
        filled += got
        if filled == len(buffer):
            yield buffer
            filled = 0
    if filled:
        yield buffer[:filled]


def within(seconds: float, question: Callable[[], _T]) -> _T:
    """Return the answer to *question*, if it comes within *seconds*.

    The time-outs of HTTP clients don't bound that: they begin anew for each address of a host,
    and leave out the resolution of its name.

    Raises:
        UnreachableError: it took longer. The question goes on in a daemon thread then, until its
            own time-outs end it: a thread can't be ended from outside, and a process must be able
            to exit while one hangs.
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(question())
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
            failure.append(exc)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="hf_localize-ask", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failure:
        raise failure[0]
    if not result:
        raise UnreachableError("no answer within the time budget (HGLOC_TIMEOUT_SECONDS)")
    return result[0]
