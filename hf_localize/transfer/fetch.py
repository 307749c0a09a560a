"""Bringing the files of an entry here, many at once, each checked against its record while it moves."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from hf_localize.errors import IntegrityError, UnreachableError
from hf_localize.format.manifest import FileRecord
from hf_localize.progress import counter
from hf_localize.transfer.disk_space import require_room
from hf_localize.transfer.flushing import begin_flush
from hf_localize.transfer.parts import MAX_SLABS, SLAB_BYTES, Buffers, Slabs, fetched_part_bytes, fill, views
from hf_localize.transfer.workers import WorkerPool

#: How often a file is fetched that came whole and is not what its record says: it may be the way.
_MAX_FETCHES = 3
#: What is received, hashed and written at a time: it stays in the processor's cache meanwhile. (And ext4
#: takes several times as long for the same bytes in writes of 8 MiB.)
_CHUNK = 256 << 10

#: The least number of parts of a file, unless they would be smaller than a slab.
_LEAST_PARTS = 4

#: Opens the bytes of a file from an offset to before another (None: its end) for one reading.
OpenRange = Callable[[str, int, "int | None"], io.RawIOBase]


def fetch_files(
    files: Iterable[FileRecord],
    open_range: OpenRange,
    folder: Path,
    *,
    workers: int,
    are_divided: bool = True,
) -> list[FileRecord]:
    """Write *files* into *folder*, several at a time, and return their records with hashes.

    A file that is there already and matches is kept; what an interrupted run left of one is gone
    on with. A file without a recorded sha256 is taken as it comes. When this returns, every file
    is whole and right, and on its way to the disk; until then *folder* may hold parts of files.

    Args:
        open_range: is called from several threads.
        workers: the most requests that are under way at the same time.
        are_divided: large files are read in several parts at once; else each by one reading, for a source
            that reads all of a file up to where a part begins.

    Raises:
        StoreError: there is no room for what is missing. Nothing was asked for.
        IntegrityError: a file does not have the size or sha256 of its record.
        UnreachableError: a file could not be read to its end in several tries.
    """
    files = list(files)
    incoming = [_Incoming(record, os.path.join(folder, record.path)) for record in files]
    require_room(folder, sum(file.missing_bytes() for file in incoming))
    for inside in {record.path.rpartition("/")[0] for record in files}:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    _Fetch(incoming, open_range, workers, are_divided=are_divided).run()
    return [file.result() for file in incoming]


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


class _Incoming:
    """A file on its way here. Its parts may come in any order; they are hashed and written in theirs."""

    def __init__(self, record: FileRecord, path: str) -> None:
        self.record = record
        self.path = path
        self._hash = hashlib.sha256()
        self._sink: io.FileIO | None = None
        self._resumed = False
        self._fetches = 0
        self._flushed = 0
        self._turn = threading.Condition()
        self._note = counter(record.path)
        #: Bytes that workers were told to fetch, and those that are hashed and written.
        self.asked = self.done = 0
        self.under_way = 0

    @property
    def is_asked(self) -> bool:
        return self.asked >= self.record.size_bytes

    def missing_bytes(self) -> int:
        try:
            return max(0, self.record.size_bytes - os.stat(self.path).st_size)
        except OSError:
            return self.record.size_bytes

    def open(self, *, fresh: bool = False) -> bool:
        """Go on with what is there; True: it is whole already."""
        self._hash, self.done = hashlib.sha256(), 0
        self._sink = io.FileIO(self.path, "r+", opener=_open_or_create)
        if fresh or not self.record.sha256:
            self._sink.truncate(0)
        else:
            self._read_what_is_there()
        self._note(self.done)
        self._resumed = self.done > 0
        self.asked = self._flushed = self.done
        if not self.record.sha256:
            return False
        return self.done == self.record.size_bytes and self.finish()

    def _read_what_is_there(self) -> None:
        assert self._sink is not None
        there = os.fstat(self._sink.fileno()).st_size
        if not there:
            return
        chunk = memoryview(bytearray(min(_CHUNK, there)))
        while self.done < self.record.size_bytes and (got := self._sink.readinto(chunk)):
            got = min(got, self.record.size_bytes - self.done)
            self._hash.update(chunk[:got])
            self.done += got
        self._sink.truncate(self.done)
        self._sink.seek(self.done)

    def wait_for_turn(self, start: int, is_stopped: Callable[[], bool]) -> bool:
        """Wait until what begins at *start* comes next; False: everything was stopped."""
        with self._turn:
            while self.done != start and not is_stopped():
                self._turn.wait(0.2)
        return self.done == start

    def write(self, view: memoryview) -> None:
        """Hash and write what comes next."""
        for start in range(0, len(view), _CHUNK):
            self._write_chunk(view[start : start + _CHUNK])

    def _write_chunk(self, view: memoryview) -> None:
        assert self._sink is not None
        self._hash.update(view)
        rest = view
        while rest:
            rest = rest[self._sink.write(rest) :]
        self._flushed = begin_flush(self._sink.fileno(), self._flushed, self.done + len(view))
        with self._turn:
            self.done += len(view)
            self._note(self.done)
            self._turn.notify_all()

    def finish(self) -> bool:
        """Check the whole file. False: it is not right, and is to be fetched again.

        Raises:
            IntegrityError: it differs from its record each time.
        """
        self.close()
        got = self.result()
        if self.record.sha256 and got != self.record:
            os.unlink(self.path)
            self._fetches += not self._resumed
            if self._fetches < _MAX_FETCHES:
                return False
            raise IntegrityError(
                f"{got.path} differs from its manifest: {got.size_bytes} bytes, sha256 {got.sha256[:12]}…; "
                f"expected {self.record.size_bytes} bytes, sha256 {self.record.sha256[:12]}…"
            )
        return True

    def result(self) -> FileRecord:
        """Return the record of what was written."""
        return FileRecord(self.record.path, self.done, self._hash.hexdigest())

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()


class _Fetch:
    """One run of :func:`fetch_files`: which part of which file is fetched next, and by whom."""

    def __init__(
        self, files: list[_Incoming], open_range: OpenRange, workers: int, *, are_divided: bool
    ) -> None:
        self._files = files
        self._are_divided = are_divided
        self._open_range = open_range
        self._waiting = collections.deque(files)
        #: Files of which there are parts that nobody fetches yet.
        self._open: list[_Incoming] = []
        self._opening = 0
        self._changed = threading.Condition()
        mean_bytes = sum(file.record.size_bytes for file in files) // max(1, len(files))
        self._pool = WorkerPool(self._next_piece, workers, piece_bytes=mean_bytes)
        self._buffers = Buffers()
        #: A part whose turn it is is written as it comes; what comes before its turn is held in these.
        self._slabs = Slabs(MAX_SLABS)

    def run(self) -> None:
        try:
            self._pool.run()
        finally:
            for file in self._files:
                file.close()

    def _next_piece(self) -> Callable[[], int] | None:
        with self._changed:
            while not self._pool.is_stopped():
                # Whoever has a file alone waits for nobody; so a new file comes first, but no more
                # are open than there are threads.
                if self._waiting and len(self._open) + self._opening < self._pool.limit:
                    file = self._waiting.popleft()
                    self._opening += 1
                    return lambda: self._begin(file)
                if self._open:
                    file = min(self._open, key=lambda f: f.under_way)
                    if not file.under_way or self._slabs.free:
                        part = self._hand_out(file)
                        return lambda: self._fetch(file, *part)
                elif not self._opening:
                    return None
                self._changed.wait(0.2)
        return None

    def _hand_out(self, file: _Incoming) -> tuple[int, int, list[memoryview]]:
        """Return the next part of an open *file*, and memory if others come before it; the lock is held."""
        start = file.asked
        # Each file has a thread for the part whose turn it is; the others fetch ahead.
        size = fetched_part_bytes(self._pool.limit - len(self._open))
        stop = file.record.size_bytes
        if self._are_divided:
            # A file of some MiB has a few parts too: one connection may be slow where a link loses packets.
            size = min(size, max(1, stop // _LEAST_PARTS // SLAB_BYTES) * SLAB_BYTES)
            stop = min(stop, (start // size + 1) * size)
        slabs: list[memoryview] = []
        if file.under_way:
            stop = min(stop, start + self._slabs.free * SLAB_BYTES)
            slabs = self._slabs.take(stop - start)
        file.asked = stop
        file.under_way += 1
        if file.is_asked:
            self._open.remove(file)
        return start, stop, slabs

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
            part = self._hand_out(file)
        self._opened()
        return self._fetch(file, *part)

    def _opened(self) -> None:
        with self._changed:
            self._opening -= 1
            self._changed.notify_all()

    def _fetch(self, file: _Incoming, start: int, stop: int, slabs: list[memoryview]) -> int:
        path = file.record.path
        if file.done == start:
            self._pool.retrying(path, lambda: self._stream(file, stop))
        else:
            self._pool.retrying(path, lambda: fill(slabs, self._open_range(path, start, stop), path))
            if not file.wait_for_turn(start, self._pool.is_stopped):
                return 0
            for slab in slabs:
                file.write(slab)
        with self._changed:
            file.under_way -= 1
            self._slabs.give_back(slabs)
            self._changed.notify_all()
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
            for view in views(body, self._buffers.get("chunk", _CHUNK)):
                file.write(view[: stop - file.done])
        if file.done < stop:
            raise UnreachableError(f"{file.record.path}: ended {stop - file.done} bytes too early")

    def _fetch_unknown(self, file: _Incoming) -> int:
        """Fetch a file of which neither size nor sha256 is known."""

        def read() -> None:
            file.close()
            file.open(fresh=True)
            with self._open_range(file.record.path, 0, None) as body:
                for view in views(body, self._buffers.get("chunk", _CHUNK)):
                    file.write(view)

        self._pool.retrying(file.record.path, read)
        file.finish()
        return file.done
