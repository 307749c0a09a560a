"""Where a ``.env`` file is looked for, and whose it must be so that it counts."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hf_localize.settings.secret import hidden

PREFIX = "HGLOC_"

#: More symbolic links than that, one after another, no system follows.
_MAX_LINKS = 40
#: As much of a refused file is searched for our variables.
_MAX_BYTES = 1 << 20
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class RefusedError(Exception):
    """A file or folder does not count, since another user owns it or may write to it; it says why."""


class EnvFile(NamedTuple):
    """The ``.env`` that is nearest to a folder: its ``HGLOC_*`` variables, or why it does not count."""

    path: Path
    values: Mapping[str, Any]
    refused: str | None = None
    malformed_lines: tuple[int, ...] = ()


def working_folder() -> str:
    """Return the working folder; nothing where it was removed, so that nothing is looked for."""
    try:
        return os.getcwd()  # noqa: PTH109  # Each load comes by here, and paths as text take a third.
    except FileNotFoundError:
        return ""


def searched_folders(here: str) -> Iterator[str]:
    """Yield *here* and the folders above it, up to the last in which something is looked for.

    That is the home folder, a folder that holds ``.git``, or the last one on the file system of *here*.
    """
    home, found = _status(os.path.expanduser("~")), _status(here)  # noqa: PTH111  # As text: each load asks.
    while found is not None:  # It is None where the working folder is removed, or a folder above it closed.
        yield here
        parent = os.path.split(here)[0]
        is_home = home is not None and os.path.samestat(home, found)
        if parent == here or is_home or os.path.lexists(os.path.join(here, ".git")):
            return
        above = _status(parent)
        if above is None or above.st_dev != found.st_dev:
            return
        here, found = parent, above


def nearest_env_file(here: str) -> EnvFile | None:
    """Return the ``.env`` file in *here* or the nearest searched folder above it; None: there is none.

    The search ends at the first one, even if it is refused: no file further up takes its place.
    """
    for folder in searched_folders(here):
        path = os.path.join(folder, ".env")
        if os.path.isfile(path):
            try:
                return _read(path)
            except RefusedError as exc:
                return EnvFile(Path(path), {}, str(exc) if _is_about_us(path) else None)
            except (OSError, UnicodeError) as exc:
                return EnvFile(Path(path), {}, str(exc))
    return None


def require_own(path: str) -> os.stat_result:
    """Return the status of *path*; it and its folder must belong to this user or root alone.

    Where *path* is a symbolic link, that holds for each link, for what it leads to, and for their folders.
    The bits for group and others include what an access control list grants (acl(5)).

    Raises:
        RefusedError: another user owns one of them, or may write to it.
        OSError: it can't be looked at.
    """
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        path = os.path.join(folder, name)
        _require_own(folder, os.stat(folder))
        found = os.lstat(path)
        _require_own(path, found)
        if not stat.S_ISLNK(found.st_mode):
            return found
        path = os.path.join(folder, str(Path(path).readlink()))
    raise RefusedError(f"{path} is a link that leads nowhere")


def _require_own(path: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise RefusedError(f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & _OTHERS_MAY_WRITE and not stat.S_ISLNK(found.st_mode):
        mode = stat.S_IMODE(found.st_mode)
        raise RefusedError(f"other users may write to {path} (mode {mode:o}; to end that: chmod go-w)")


def _read(path: str) -> EnvFile:
    """Return our variables in the file *path*, credentials as secrets. ``${...}`` stays as it is."""
    from dotenv.parser import parse_stream  # `dotenv_values` logs each malformed line, without its file.

    found = require_own(path)
    with open(path, encoding="utf-8") as file:
        if not os.path.samestat(found, os.fstat(file.fileno())):
            raise RefusedError(f"{path} was replaced while it was read")
        text = file.read().removeprefix("\ufeff")  # Some editors on Windows begin it with this mark.
    lines = list(parse_stream(io.StringIO(text)))
    pairs = {line.key: line.value for line in lines if line.key and line.key.startswith(PREFIX)}
    values = {name: hidden(name, value) for name, value in pairs.items() if value}
    return EnvFile(Path(path), values, None, tuple([line.original.line for line in lines if line.error]))


def _is_about_us(path: str) -> bool:
    """Tell whether the refused file names a variable of ours; many programs have a ``.env``."""
    try:
        with open(path, "rb") as file:
            return PREFIX.encode() in file.read(_MAX_BYTES)
    except OSError:
        return True


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
