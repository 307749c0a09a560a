"""The file lock of the store."""

from __future__ import annotations


def test_the_lock_is_released_by_the_system() -> None:
    import filelock

    assert filelock.FileLock in (filelock.UnixFileLock, filelock.WindowsFileLock)
