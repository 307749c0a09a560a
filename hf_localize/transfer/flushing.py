"""Bringing what is written to the disk, so that it outlives a loss of power."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hf_localize.transfer.workers import run_all

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
    with ThreadPoolExecutor(1, thread_name_prefix="hf_localize-flushing") as pool:
        work = pool.submit(_flush_grown, folder, has_ended)
        try:
            yield
        finally:
            has_ended.set()
        work.result()


def _flush_grown(folder: Path, has_ended: threading.Event) -> None:
    """Flush each file below *folder* whenever it has grown much."""
    flushed: dict[int, int] = {}  # By inode, since a file gets its name when it is whole.
    while not has_ended.wait(_LOOK_SECONDS):
        with contextlib.suppress(FileNotFoundError):  # It has another name now.
            for path in _files_below(folder):
                stat = os.stat(path)
                if stat.st_size - flushed.get(stat.st_ino, 0) >= _GROWN_BYTES:
                    flush(path)
                    flushed[stat.st_ino] = stat.st_size


def flush_tree(folder: Path) -> None:
    """Bring everything in *folder* to the disk: files several at a time, which share the disk's turns."""
    run_all(flush, _files_below(folder), workers=_WORKERS)
    for root, _, _ in os.walk(folder):
        flush(root)


def flush(path: str | os.PathLike[str]) -> None:
    """Bring to the disk the bytes of a file; or which names a folder has, as after a rename into it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files_below(folder: Path) -> list[str]:
    return [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
