"""Bringing what is written to the disk, so that it outlives a loss of power."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hf_localize.crew import run_all

#: So much is left to the system before it is told to begin.
_STEP_BYTES = 8 << 20
_WORKERS = 16


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
