"""Bringing what is written to the disk, so that it outlives a loss of power."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from hf_localize.crew import run_all

#: So much is left to the system before it is told to begin.
_STEP_BYTES = 8 << 20
_WORKERS = 16
#: How often what others write is looked at, and how much of a file is worth a flush.
_LOOK_SECONDS = 0.1
_GROWN_BYTES = 32 << 20


def begin_flush(file: int, flushed: int, written: int) -> int:
    """Have the system begin to bring each part of *file* to the disk when it is written.

    Then little is left to wait for at the end. Linux does so when it is told that the pages are
    not needed, and drops none that are not on the disk yet.

    Args:
        flushed: how much of it the system was told of before.

    Returns:
        How much of it the system was told of by now.
    """
    if sys.platform != "linux" or written - flushed < _STEP_BYTES:
        return flushed
    os.posix_fadvise(file, flushed, written - flushed, os.POSIX_FADV_DONTNEED)
    return written


@contextlib.contextmanager
def flushing(folder: Path) -> Iterator[None]:
    """Meanwhile bring to the disk what others write below *folder*, so that little is left to do at the end.

    Raises:
        OSError: the disk did not take it: who flushes next would not be told again.
    """
    has_ended = threading.Event()
    failures: list[OSError] = []

    def work() -> None:
        flushed: dict[int, int] = {}
        while not has_ended.wait(_LOOK_SECONDS):
            try:
                _flush_grown(folder, flushed)
            except FileNotFoundError:
                continue  # It has another name now.
            except OSError as exc:
                failures.append(exc)
                return

    thread = threading.Thread(target=work, name="hf_localize-flushing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
    for failure in failures:
        raise failure


def _flush_grown(folder: Path, flushed: dict[int, int]) -> None:
    """Flush the files below *folder* that have grown much; *flushed* has, by inode, how much of each was."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            stat = os.stat(path)
            if stat.st_size - flushed.get(stat.st_ino, 0) >= _GROWN_BYTES:
                flush(path)
                flushed[stat.st_ino] = stat.st_size


def flush_tree(folder: Path) -> None:
    """Bring everything in *folder* to the disk: files several at a time, which share the disk's turns."""
    files = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    run_all(flush, files, workers=_WORKERS)
    for root, _, _ in os.walk(folder):
        flush(root)


def flush(path: str | os.PathLike[str]) -> None:
    """Bring to the disk the bytes of a file; or which names a folder has, as after a rename into it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
