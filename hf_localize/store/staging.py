"""Where the store's writers work: staging folders, their locks, and what was set aside.

All of it lies in ``.hgloc``, on the store's own file system, so that an entry comes and goes by one rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.errors import HfLocalizeError, StoreError
from hf_localize.refs import MANIFEST_NAME
from hf_localize.room import NO_ROOM
from hf_localize.store.finding import Store

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_STALE_SECONDS = 24 * 3600
_COARSEST_CLOCK_SECONDS = 2.5


@contextlib.contextmanager
def staging_folder(store: Store, key: str, *, fresh: bool = False) -> Iterator[Path]:
    """Lend a private folder on the store's file system for building the entry *key*.

    One process at a time has it. It outlives a failure, so that the next try resumes with
    the files that are there, unless it asks for a *fresh* one. What nobody has touched for
    a day is removed.

    Raises:
        StoreError: the store can't be written.
    """
    with contextlib.ExitStack() as held:
        with writing(store):
            folder = store.places.work("staging") / key
            _remove_stale(store)
            held.enter_context(lock(store, key))
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)
        with writing(store):
            yield folder
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def incoming_folder(store: Store, key: str) -> Iterator[Path]:
    """Lend a private folder for one file on its way to the entry *key*. Several may have one at once.

    Raises:
        StoreError: the store can't be written.
    """
    with writing(store):
        folder = store.places.work("staging") / f"{key}-incoming" / uuid.uuid4().hex
        _remove_stale(store)
        folder.mkdir(parents=True)
    try:
        with writing(store):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lock(store: Store, key: str, timeout_seconds: float = -1) -> FileLock:
    """Return a lock that one process of those that use the store holds at a time."""
    from filelock import FileLock  # Only writers wait for its import.

    return FileLock(store.places.work("locks", is_private=False) / f"{key}.lock", timeout=timeout_seconds)


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
            f"the local store {store.path} can't be written: {exc}{free}. Give it room and permission, "
            "or set HGLOC_DATASETS_STORE_PATH"
        ) from exc


def changing(store: Store, folder: str, timeout_seconds: float = -1) -> FileLock:
    """Return the lock under which one writer at a time changes which entry is at *folder*.

    Without it, one who puts away what made way for his entry could take what makes way for another's,
    and for a moment there would be neither.
    """
    return lock(store, f"place-{hashlib.sha256(folder.encode()).hexdigest()[:16]}", timeout_seconds)


def put_away(store: Store, folder: str) -> None:
    """Set aside what another entry has taken the place of at *folder*; the caller holds :func:`changing`.

    A folder without manifest is somebody's own: it is kept in ``.hgloc/kept``, which is never emptied.
    """
    former = store.places.former(folder)
    if former.exists():
        _let_time_pass(former.parent)
    kind = "set-aside" if (former / MANIFEST_NAME).exists() else "kept"
    if (aside := set_aside(store, former, kind)) is not None:
        _log.info("%s, as it was, was set aside as %s", store.path / folder, aside)


def set_aside(store: Store, place: Path, kind: str = "set-aside") -> Path | None:
    """Move *place* out of sight, into a folder of .hgloc that is emptied after a day; None: it is gone."""
    aside = store.places.work(kind) / uuid.uuid4().hex
    try:
        os.rename(place, aside)
        os.utime(aside)
    except FileNotFoundError:
        return None
    return aside


def _let_time_pass(folder: Path) -> None:
    """Wait until the next change of *folder* has another time than its last.

    By that time a reader sees that something went in and out again while it looked elsewhere. A file
    system's clock can stand still for milliseconds, the coarsest (FAT) for two seconds.
    """
    last = folder.stat().st_mtime_ns
    deadline = time.monotonic() + _COARSEST_CLOCK_SECONDS
    while folder.stat().st_mtime_ns == last and time.monotonic() < deadline:
        time.sleep(0.001)
        os.utime(folder)


def _remove_stale(store: Store) -> None:
    from filelock import Timeout

    for folder in store.places.formers():
        # Whoever put it there ended before this was put away; or is at it just now.
        with contextlib.suppress(Timeout), changing(store, folder, 0):
            if (store.path / folder).exists():
                put_away(store, folder)
    limit = time.time() - _STALE_SECONDS
    for path in store.places.left_behind():
        # A staging folder that somebody holds is in use, however old it looks.
        with contextlib.suppress(FileNotFoundError, Timeout), lock(store, path.name, 0):
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
