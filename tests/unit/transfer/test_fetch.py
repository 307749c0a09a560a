"""What a fetch holds in memory, and which parts it asks for."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from hf_localize.format.manifest import FileRecord
from hf_localize.transfer import workers
from hf_localize.transfer.fetch import fetch_files
from hf_localize.transfer.parts import MAX_SLABS, PART_BYTES, SLAB_BYTES, fetched_part_bytes
from tests.conftest import run_python

#: The server gives each request 25 MB/s, so that more of them move more, as over a link.
_FETCH = """
import hashlib, io, resource, time
from pathlib import Path
from hf_localize.format.manifest import FileRecord
from hf_localize.transfer.fetch import fetch_files

class Slow(io.RawIOBase):
    def __init__(self, size):
        self.left = size
    def readable(self):
        return True
    def readinto(self, buffer):
        time.sleep(0.01)
        got = min(self.left, len(buffer), 256 << 10)
        buffer[:got] = bytes(got)
        self.left -= got
        return got

count, size = shape
digest = hashlib.sha256()
for _ in range(0, size, 64 << 10):
    digest.update(bytes(64 << 10))
digest = digest.hexdigest()
files = [FileRecord(f"data-{n}", size, digest) for n in range(count)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fetch_files(files, lambda path, start, stop: Slow(stop - start), Path.cwd(), workers=64)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""
MIB = 1 << 20
#: Slabs, a chunk of 256 KiB for each thread, and what threads take themselves.
_MAX_AHEAD = MAX_SLABS * SLAB_BYTES
_MAX_HELD = _MAX_AHEAD + 12 * MIB


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "shape", [(1, 256 * MIB), (2, 128 * MIB), (8, 32 * MIB), (64, 4 * MIB), (1000, 64 << 10)]
)
def test_a_fetch_holds_little_whatever_its_files_are(shape: tuple[int, int], tmp_path: Path) -> None:
    ran = run_python(f"shape = {shape}\n{_FETCH}", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) <= _MAX_HELD


class _Server:
    """Serve zeros, and count what was read of parts while their files' first parts are held back."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int, int]] = []
        self.ahead_bytes = 0
        self.may_begin = threading.Event()
        self.is_ahead = threading.Event()
        self._lock = threading.Lock()

    def open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        assert stop is not None
        with self._lock:
            self.opened.append((path, start, stop))
        return _Body(self, start, stop)

    def read(self, start: int, size: int) -> None:
        if not start:
            self.may_begin.wait(60)
            return
        with self._lock:
            self.ahead_bytes += size
            if self.ahead_bytes >= PART_BYTES:
                self.is_ahead.set()


class _Body(io.RawIOBase):
    def __init__(self, server: _Server, start: int, stop: int) -> None:
        self._server, self._start, self._left = server, start, stop - start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = min(self._left, len(buffer))
        self._server.read(self._start, got)
        buffer[:got] = bytes(got)
        self._left -= got
        return got


@pytest.mark.sampled(2)
@pytest.mark.parametrize("threads", [8, 64])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_fetched_before_its_turn_is_bounded_for_all_files_together(
    count: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_LEAST_AT_START", threads)
    size = 48 * MIB
    server = _Server()
    record = FileRecord("", size, hashlib.sha256(bytes(size)).hexdigest())
    files = [FileRecord(f"data-{n}", size, record.sha256) for n in range(count)]
    fetch = threading.Thread(
        target=fetch_files, args=(files, server.open_range, tmp_path), kwargs={"workers": 64}
    )
    fetch.start()
    assert server.is_ahead.wait(60), "nearly nothing is fetched ahead"
    fetch.join(0.5)  # Whatever else would be fetched ahead comes from memory, and at once.
    ahead = server.ahead_bytes
    server.may_begin.set()
    fetch.join(60)
    assert not fetch.is_alive()
    assert ahead <= _MAX_AHEAD
    assert all((tmp_path / file.path).stat().st_size == size for file in files)


def test_parts_are_smaller_where_more_threads_share_the_memory() -> None:
    assert [fetched_part_bytes(threads) >> 20 for threads in (0, 1, 3, 4, 7, 8, 14, 15, 63)] == [
        *(8, 8, 8, 4, 4, 2, 2, 1, 1)
    ]
    assert fetched_part_bytes(0) == PART_BYTES


def test_a_file_that_is_not_divided_is_read_once(tmp_path: Path) -> None:
    size = 48 * MIB
    server = _Server()
    server.may_begin.set()
    file = FileRecord("data", size, hashlib.sha256(bytes(size)).hexdigest())
    fetch_files([file], server.open_range, tmp_path, workers=8, are_divided=False)
    assert server.opened == [("data", 0, size)]


def test_a_file_of_some_mib_is_divided_too(tmp_path: Path) -> None:
    """A single connection may be slow, as on a link that loses packets."""
    size = 8 * MIB
    server = _Server()
    server.may_begin.set()
    sha256 = hashlib.sha256(bytes(size)).hexdigest()
    files = [FileRecord(f"data-{number}", size, sha256) for number in range(8)]
    fetch_files(files, server.open_range, tmp_path, workers=8)
    parts = {(file.path, start, start + 2 * MIB) for file in files for start in range(0, size, 2 * MIB)}
    assert set(server.opened) == parts
