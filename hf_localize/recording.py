"""What a run has really loaded, appended to ``HGLOC_RECORD``. It never stops a load."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from hf_localize.lockfile import Locked, as_json
from hf_localize.refs import DatasetRef

_log = logging.getLogger(__name__)
#: What this process, or the one from which it was forked, has written already.
_written: set[tuple[Path, Locked]] = set()


def record(path: Path | None, ref: DatasetRef, tell: Callable[[], Locked], source: str) -> None:
    """Append what *tell* says was loaded as *ref* to *path*, once for each process; None: to nothing.

    A line is one write at the end of the file, so many processes may share it. Where that does not
    hold, as on NFS, *path* may be a folder: each process has a file of its own there then.
    """
    if path is None:
        return
    try:
        loaded = tell()
        if (path, loaded) in _written:
            return
        _written.add((path, loaded))
        line = json.dumps({**as_json(loaded), "source": source}, ensure_ascii=False)
        file = path / f"{socket.gethostname()}-{os.getpid()}.jsonl" if path.is_dir() else path
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)
    except (OSError, ValueError) as exc:
        _log.warning("%s was loaded, but could not be recorded in %s: %s", ref, path, exc)
