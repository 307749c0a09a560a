"""Where the store's writers work: staging folders, and what becomes of those left behind.

All of it lies in ``.hgloc``, on the store's own file system, so that an entry comes and goes by one rename.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from hf_localize.format.files import replacing
from hf_localize.store.locks import file_lock, last_change, lock, writing
from hf_localize.store.owners import Owner
from hf_localize.store.replacing import delete_discarded, discard_all_retired, move_folder, offered_of
from hf_localize.store.store import Store

_log = logging.getLogger(__name__)
_STALE_SECONDS = 24 * 3600
#: A fetch that is alive writes more often, also where the network makes it try again and again.
_QUIET = 600.0
#: A retired content is kept while programs read it that have symbolic links to it.
_UNREAD_SECONDS = 7 * 24 * 3600
#: The staging folders that are lent to this process now.
_in_use: set[str] = set()


@contextlib.contextmanager
def staging_folder(store: Store, key: str, *, fresh: bool = False) -> Iterator[Path]:
    """Lend a folder on the store's file system for building the entry *key*. No other process writes there.

    It outlives a failure, so that the next try resumes with the files that are there, unless it asks
    for a *fresh* one. Where file locks work, one process at a time builds the entry; that spares the
    others the work, and nothing else. What nobody has touched for a day is removed.

    Raises:
        StoreError: the store can't be written.
    """
    with contextlib.ExitStack() as held:
        with writing(store):
            root = store.places.work("staging")
            _remove_stale(store)
            held.enter_context(lock(store, key))
            folder = root / Owner.here().name_for(key)
            _in_use.add(folder.name)
            held.callback(_in_use.discard, folder.name)
            folder.mkdir()
            _take_over(root, key, folder, fresh=fresh)
        try:
            with writing(store):
                yield folder
        except Exception:  # All that wrote there has ended: whoever comes next may go on with it.
            with contextlib.suppress(OSError):
                folder.rename(root / Owner.nobody().name_for(key))
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def incoming_folder(store: Store, key: str) -> Iterator[Path]:
    """Lend a private folder for one file on its way to the entry *key*. Several may have one at once.

    Raises:
        StoreError: the store can't be written.
    """
    with writing(store):
        folder = store.places.work("staging") / Owner.here().name_for(f"{key}-incoming")
        _remove_stale(store)
        folder.mkdir()
    try:
        with writing(store):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(root: Path, key: str, folder: Path, *, fresh: bool) -> None:
    """Have in *folder* what others that have ended have left of *key*; or remove it, for a *fresh* start.

    A rename decides who has it. What its process could still write to is copied first: what is hashed
    must be what is committed.
    """
    for left in sorted(root.glob(f"{key}*"), key=last_change, reverse=True):
        owner = Owner.of(left.name, key)
        if owner is None or left.name in _in_use or not _is_of_same_user(left, folder):
            continue
        may_write = not owner.has_ended()
        if may_write and not owner.is_this_process() and last_change(folder) - last_change(left) < _QUIET:
            continue
        with contextlib.suppress(FileNotFoundError):  # Another process was faster.
            if fresh or any(folder.iterdir()):
                shutil.rmtree(left)
                continue
            move_folder(left, folder)
            for path in list(filter(Path.is_file, folder.rglob("*"))) if may_write else ():
                with replacing(path) as copy:
                    shutil.copyfile(path, copy)


def _is_of_same_user(left: Path, folder: Path) -> bool:
    """Tell whether the two belong to one user: another one could still change what was verified."""
    try:
        return left.stat().st_uid == folder.stat().st_uid
    except FileNotFoundError:
        return False


def _remove_stale(store: Store) -> None:
    from filelock import Timeout

    discard_all_retired(store)
    limit = time.time() - _STALE_SECONDS
    for path in store.places.left_behind():
        # A staging folder that a process holds is in use, however old it looks; what this user may not
        # remove, its owner does.
        locked = file_lock(store, Owner.key_of(path.name))
        with contextlib.suppress(FileNotFoundError, PermissionError, Timeout), locked.acquire(timeout=0):
            if path.stat().st_mtime < limit and not _is_in_use(store, path, limit):
                delete_discarded(store, path)


def _is_in_use(store: Store, path: Path, limit: float) -> bool:
    """Tell whether a process builds an entry in *path*, or programs read what was set aside there."""
    if path.parent.name == "staging":
        owner = Owner.of(path.name, Owner.key_of(path.name))
        return (owner is not None and owner.is_running()) or last_change(path) >= limit
    files = (file for offered in offered_of(store, path) for file in offered.rglob("*") if file.is_file())
    return any(time.time() - file.stat().st_atime < _UNREAD_SECONDS for file in files)
