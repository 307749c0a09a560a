"""File locks of a store: one writer at a time, as far as its file system can tell.

Nothing relies on a lock: it spares work. What a reader sees is whole without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.errors import HfLocalizeError, StoreError
from hf_localize.store.owners import Owner, holder_of
from hf_localize.store.store import Store
from hf_localize.transfer.disk_space import NO_ROOM

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
#: After so long a wait for a lock is told, and so long its holder may be idle.
_TELL_SECONDS = 5.0
_IDLE_SECONDS = 60.0


@contextlib.contextmanager
def lock(store: Store, key: str) -> Iterator[None]:
    """Hold meanwhile the lock *key*, which one process of those that use the store holds at a time.

    Nothing relies on it, so a lock is given up whose holder has been idle for a minute: he may be stopped,
    or on a machine that has died. Who writes in a staging folder for *key* is not idle.
    """
    with contextlib.ExitStack() as held:
        _acquire(file_lock(store, key), held, store, key)
        yield


def changing(store: Store, folder: str) -> contextlib.AbstractContextManager[None]:
    """Return the lock under which one writer at a time changes which entry is at *folder*.

    Without it, one who puts away what made way for his entry could take what makes way for another's,
    and for a moment there would be neither.
    """
    return lock(store, f"place-{hashlib.sha256(folder.encode()).hexdigest()[:16]}")


def file_lock(store: Store, key: str) -> FileLock:
    """Return the lock *key* of the store, which is not held yet, with the permissions of a shared store."""
    from filelock import FileLock  # Only writers wait for its import.

    path = store.places.work("locks", is_private=False) / f"{key}.lock"
    shared = store.places.shared_mode & 0o666
    return FileLock(path, mode=shared | 0o600) if shared else FileLock(path)


def _acquire(file_lock: FileLock, held: contextlib.ExitStack, store: Store, key: str) -> None:
    from filelock import Timeout

    idle_since, change, is_told = time.monotonic(), None, False
    while True:
        try:
            held.enter_context(file_lock.acquire(timeout=_TELL_SECONDS))
        except PermissionError as exc:  # Its file is another user's, who shares nothing.
            _log.debug("continuing without the lock %s: %s", file_lock.lock_file, exc)
        except Timeout:
            work = {path: last_change(path) for path in store.places.work("staging").glob(f"{key}.*")}
            idle_since = idle_since if change in (None, work) else time.monotonic()
            change = work
            holder = holder_of(Path(file_lock.lock_file)) or _owners(work, key) or "an unknown process"
            if time.monotonic() - idle_since < _IDLE_SECONDS:
                if not is_told:
                    text = (
                        "waiting for the lock %s, which is held by %s, until its holder has been idle "
                        "for %g seconds"
                    )
                    _log.warning(text, file_lock.lock_file, holder, _IDLE_SECONDS)
                is_told = True
                continue
            text = (
                "continuing without the lock %s, which is held by %s: its holder has been idle for %g seconds"
            )
            _log.warning(text, file_lock.lock_file, holder, _IDLE_SECONDS)
        return


def _owners(folders: Iterable[Path], key: str) -> str:
    """Return, in words, the processes that have the staging folders *folders*, of whatever machines."""
    owners = (Owner.of(folder.name, key) for folder in folders)
    return ", ".join(sorted({str(owner) for owner in owners if owner is not None and not owner.has_ended()}))


@contextlib.contextmanager
def writing(store: Store) -> Iterator[None]:
    """Raise what the operating system refuses as StoreError."""
    try:
        yield
    except HfLocalizeError:
        raise
    except OSError as exc:
        free = ""
        if exc.errno in NO_ROOM:
            with contextlib.suppress(OSError):
                free = f" ({shutil.disk_usage(store.path).free} bytes are free)"
        raise StoreError(
            f"the local store {store.path} can't be written: {exc}{free}. Free space, grant write "
            "permission, or set HGLOC_DATASETS_STORE_PATH"
        ) from exc


def last_change(folder: Path) -> float:
    """Return when *folder*, or anything in it, was changed last, by the clock of its file system."""
    last = 0.0
    for root, _, names in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                last = max(last, os.stat(path).st_mtime)
    return last
