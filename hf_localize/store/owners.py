"""Which process a folder belongs to, in the folder's name: file locks may not reach other machines."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
import uuid
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(?P<key>[^.]+)(\.(?P<host>[^.]+)\.(?P<process>[^.]+)\.[0-9a-f]{32})?")
_NOBODY = "nobody"


class Owner(NamedTuple):
    """A process of a machine; or nobody, if what it did has ended."""

    host: str
    process: str

    @classmethod
    def here(cls) -> Owner:
        """Return this process."""
        return cls(_host(), f"{os.getpid()}-{_state_of(os.getpid())[1]}")

    @classmethod
    def nobody(cls) -> Owner:
        """Return the owner of what no process writes to any more."""
        return cls(_NOBODY, "0")

    @classmethod
    def of(cls, name: str, key: str) -> Owner | None:
        """Return whose folder *name* is; None: it is not one for *key*."""
        match = _NAME.fullmatch(name)
        if match is None or match["key"] != key:
            return None
        return cls(match["host"] or "?", match["process"] or "?")  # Older versions named no owner.

    @staticmethod
    def key_of(name: str) -> str:
        """Return what the folder *name* is for."""
        return name.partition(".")[0]

    def name_for(self, key: str) -> str:
        """Return a new name for a folder of this owner."""
        return f"{key}.{self.host}.{self.process}.{uuid.uuid4().hex}"

    def __str__(self) -> str:
        return f"process {self.process.partition('-')[0]} of {self.host}"

    def is_this_process(self) -> bool:
        """Tell whether it is the process that asks."""
        return self == Owner.here()

    def is_running(self) -> bool:
        """Tell whether it is known to be running, which it is of this machine's processes alone."""
        return self.host == _host() and not self.has_ended()

    def has_ended(self) -> bool:
        """Tell whether it is known to have ended."""
        if self.host == _NOBODY:
            return True
        pid, _, started = self.process.partition("-")
        if self.host != _host() or os.name != "posix":
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # It is another user's.
            return False
        state, start = _state_of(int(pid))
        return state in ("Z", "X") or start != started  # Another process has its number now.


@functools.cache
def _host() -> str:
    """Return the name of this machine, as it was started, and of the numbering of its processes."""
    name = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64]
    try:
        boot, numbering = (
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            Path("/proc/self/ns/pid").readlink(),
        )
    except OSError:  # Not on Linux.
        return name
    return f"{name}-{hashlib.sha256(f'{boot} {numbering}'.encode()).hexdigest()[:8]}"


def _state_of(pid: int) -> tuple[str, str]:
    """Return the state of a process and when it began, as far as the system tells it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]


def holder_of(lock: Path) -> str | None:
    """Return, in words, which process of this machine holds the file lock *lock*; None: it is not known."""
    try:
        held = lock.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:  # Not on Linux.
        return None
    place = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
    pids = [int(words[4]) for words in map(str.split, lines) if words[1:2] == ["FLOCK"] and place in words]
    return next((_in_words(pid) for pid in pids if pid > 0), None)  # 0 or -1: outside of this container.


def _in_words(pid: int) -> str:
    return f"process {pid} of this machine" + (", which is stopped" if _state_of(pid)[0] in "Tt" else "")
