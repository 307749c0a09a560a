"""How the files of a folder differ from what a manifest records of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.files import hash_file
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.progress import task
from hf_localize.transfer.workers import run_all

_SECOND_NS = 1_000_000_000


def problem_with(path: Path, record: FileRecord, *, deep: bool) -> str | None:
    """Return, in words, how the file at *path* differs from *record*; None: it does not.

    Args:
        deep: compare the sha256 too, where one is recorded; it reads all bytes. It is also compared if the
            file is linked into a user's cache and was written to since.
    """
    try:
        told = os.stat(path)
        if not stat.S_ISREG(told.st_mode):
            return "is not a file"
        if told.st_size != record.size_bytes:
            return f"has {told.st_size} bytes; its manifest says {record.size_bytes}"
        if (deep or _may_be_edited(told)) and record.sha256 and hash_file(path, record.path) != record:
            return "differs from the entry's manifest: its sha256 is different"
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return "is missing"
    except OSError as exc:
        return f"can't be read: {exc.strerror}"
    return None


def seal(path: Path) -> bool:
    """Mark the verified file at *path*, so that a later write into it is noticed; False: that can't be done.

    The sticky bit stays when a file is written to; a time of change in whole seconds does not.
    """
    try:
        told = os.stat(path)
        path.chmod(stat.S_IMODE(told.st_mode) | stat.S_ISVTX)
        os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns // _SECOND_NS * _SECOND_NS))
    except OSError:
        return False
    return True


def _may_be_edited(told: os.stat_result) -> bool:
    return bool(told.st_mode & stat.S_ISVTX and told.st_mtime_ns % _SECOND_NS)


def problems_in(folder: Path, files: Sequence[FileRecord], *, deep: bool) -> dict[str, str]:
    """Return, by path, how those of *files* in *folder* that differ from their records do.

    Args:
        deep: compare the sha256 too; it reads all bytes, with as many threads as there are processors.
    """

    def look(file: FileRecord) -> str | None:
        return problem_with(folder / file.path, file, deep=deep)

    found = run_all(look, files, workers=os.cpu_count() or 1) if deep else map(look, files)
    return {file.path: problem for file, problem in zip(files, found, strict=True) if problem}


def verify_folder(folder: Path, manifest: Manifest) -> None:
    """Check every file of *folder* against *manifest* by size and sha256.

    Raises:
        IntegrityError: a file is absent or differs.
    """
    with task("Checking", manifest.ref, manifest.files):
        problems = problems_in(folder, manifest.files, deep=True)
    for path, problem in problems.items():
        raise IntegrityError(f"{folder / path} {problem}")
