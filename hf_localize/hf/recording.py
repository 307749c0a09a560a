"""What a run has really loaded, appended to ``HGLOC_RECORD``. It never stops a load."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from hf_localize.errors import HfLocalizeError, LockError, bookkeeping
from hf_localize.format.lockfile import Locked, LockedRepository, as_json, from_json
from hf_localize.format.sealed_json import parse_json

_MAX_LINE_BYTES = 64 << 10
#: Shells and make expand these even between quotes, and a record's place may be somebody else's choice.
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "$`!@#"}
#: What this process, or the one from which it was forked, has written already.
_written: set[tuple[Path, Locked | LockedRepository]] = set()


def record(
    path: Path | None, ref: object, tell: Callable[[], Locked | LockedRepository], source: str
) -> None:
    """Append what *tell* says was read as *ref* to *path*, once for each process; None: to nothing.

    A line is one write at the end of the file, so many processes may share it. Where that does not
    hold, as on NFS, *path* may be a folder: each process has a file of its own there then.
    """
    if path is None:
        return
    with bookkeeping(f"{ref} was loaded, but could not be recorded in {path}"):
        loaded = tell()
        if (path, loaded) in _written:
            return
        _written.add((path, loaded))
        line = json.dumps({**as_json(loaded), "source": source}, ensure_ascii=False).translate(_ESCAPES)
        file = path / f"{socket.gethostname()}-{os.getpid()}.jsonl" if path.is_dir() else path
        with open(_require_record(file), "ab", buffering=0) as record_file:
            record_file.write(f"{line}\n".encode())


def _require_record(file: Path) -> Path:
    """Return *file*, links followed, if it is a record or can become one: a ``.env`` may name any file.

    Raises:
        LockError: it holds something else; or it is empty and has a hidden file's name.
    """
    file = Path(os.path.realpath(file))
    is_new = not file.exists() or (file.is_file() and not file.stat().st_size)
    if file.name.startswith(".") if is_new else not _is_record(file):
        raise LockError(f"nothing is appended to {file}, which is not a record of loads")
    return file


def _is_record(file: Path) -> bool:
    if not file.is_file():
        return False
    with open(file, "rb") as there:
        first = there.readline(_MAX_LINE_BYTES)
    try:
        from_json(parse_json(first, str(file)))
    except (TypeError, KeyError, AttributeError, HfLocalizeError):
        return False
    return True
