"""The files of an entry: which relative paths are accepted, which files a folder has, and their sha256."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from hf_localize.errors import HfLocalizeError, IntegrityError, StoreError, UnsafeArchiveError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.progress import counter

_CHUNK_BYTES = 1 << 20
#: Common file systems take names of 255 bytes; S3 takes keys of 1,024, the entry's folder with them.
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 900
#: What the system says of a folder, of links that lead in a circle, and of a socket.
_NOT_A_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
#: Characters of a path that has no more bytes than a name may have, in any script.
_SHORT = 63
#: What most paths look like; others are looked at more closely.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


def check_paths(paths: Iterable[str], where: str) -> set[str]:
    """Return *paths* as a set when each is a plain relative path inside an entry.

    Raises:
        UnsafeArchiveError: a path is absolute, has ``..``, a backslash, a drive or a control
            character, is too long, is the manifest's own, or stands twice (also when only case differs).
    """
    checked: set[str] = set()
    folded: set[str] = {MANIFEST_NAME}
    for path in paths:
        if not _PLAIN_PATH.fullmatch(path) and not _is_plain(path):
            raise UnsafeArchiveError(f"{where} names a path that is refused: {path[:200]!r}")
        if len(path) > _SHORT and _is_too_long(path):
            raise UnsafeArchiveError(f"{where} names a path that is too long: {path[:200]!r}…")
        name = path.casefold()
        if name in folded:
            raise UnsafeArchiveError(
                f"{where} names {path!r} twice (in any letter case), or in place of the manifest"
            )
        folded.add(name)
        checked.add(path)
    return checked


def check_tree(paths: Iterable[str], where: str) -> set[str]:
    """Return *paths* as :func:`check_paths` does when they can all be files of one folder.

    Raises:
        UnsafeArchiveError: also where a path is a folder of another.
    """
    checked = check_paths(paths, where)
    folders = {path.rpartition("/")[0] for path in checked}  # Few, where the files are many.
    every = {
        folder.casefold() for path in folders for folder in (path, *map(str, PurePosixPath(path).parents))
    }
    for path in checked:
        if path.casefold() in every:
            raise UnsafeArchiveError(f"{where} names {path[:200]!r} as a file and as a folder")
    return checked


def _is_too_long(path: str) -> bool:
    return len(path.encode()) > _MAX_PATH_BYTES or any(
        len(part.encode()) > _MAX_NAME_BYTES for part in path.split("/")
    )


def _is_plain(path: str) -> bool:
    pure = PurePosixPath(path)
    plain = path == str(pure) and not pure.is_absolute() and path != "."
    return plain and ".." not in pure.parts and not any(c in path for c in "\\:") and path.isprintable()


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative path of each file in *folder*, sorted, without dotfiles."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix()


def read_whole(path: Path) -> bytes:
    """Return the bytes of the file at *path*.

    Raises:
        IntegrityError: something else is there: a folder, as Docker makes one to mount a missing file on,
            links in a circle, or a pipe, which would be waited for.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except OSError as exc:
        if exc.errno not in _NOT_A_FILE or not os.path.lexists(path):  # Or its folder can't be reached.
            raise
    raise IntegrityError(f"{path} is not a file")


@contextlib.contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Lend a path beside *path*: what is written there takes the place of *path* by one rename.

    Args:
        folder: where it is, if not beside *path*. What a process that is killed leaves there is removed.
    """
    part = (folder or path.parent) / f".{uuid.uuid4().hex}.part"
    try:
        yield part
        replace_file(part, path)
    finally:
        part.unlink(missing_ok=True)


def replace_file(source: Path, path: Path) -> None:
    """Rename *source* to *path*. An empty folder there makes way, as another file does.

    Raises:
        IntegrityError: there is a folder that has files.
    """
    try:
        os.replace(source, path)
    except IsADirectoryError:
        _remove_empty(path)
        os.replace(source, path)


def remove_file(path: Path) -> None:
    """Remove the file at *path*, if there is one, or an empty folder there.

    Raises:
        IntegrityError: there is a folder that has files.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        _remove_empty(path)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as exc:
        raise IntegrityError(f"{folder} is a folder that has files: remove it") from exc


@contextlib.contextmanager
def telling_unwritable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise StoreError, which names *path*, where the system does not let a user's file be written there."""
    try:
        yield
    except HfLocalizeError:
        raise
    except OSError as exc:
        raise StoreError(f"{os.fspath(path)} can't be written: {exc.strerror or exc}") from exc


def hash_file(path: Path, name: str) -> FileRecord:
    """Return the record (size, sha256) of the file at *path*, under the name *name*.

    The time of its last access stays as it is where the system permits that: it tells when the
    dataset was used last.

    Raises:
        IntegrityError: there is no such file.
    """
    digest, size, note = hashlib.sha256(), 0, counter(name)
    try:
        with open(path, "rb", opener=_open_unnoticed) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                note(size)
    except FileNotFoundError as exc:
        raise IntegrityError(f"{path} is missing") from exc
    return FileRecord(name, size, digest.hexdigest())


def _open_unnoticed(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # The system grants it to the file's owner alone.
        return os.open(path, flags)
