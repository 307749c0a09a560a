"""Where the store's writers work: staging folders, their locks, and what was set aside.

All of it lies in ``.hgloc``, on the store's own file system, so that an entry comes and goes by one rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.errors import HfLocalizeError, IntegrityError, StoreError
from hf_localize.format.files import replacing
from hf_localize.format.manifest_json import read_manifest_in
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.store.owners import Owner, holder_of
from hf_localize.store.store import Store
from hf_localize.transfer.disk_space import NO_ROOM

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_STALE_SECONDS = 24 * 3600
#: A fetch that is alive writes more often, also where the network makes it try again and again.
_QUIET = 600.0
#: A retired content is kept while programs read it that have symbolic links to it.
_UNREAD_SECONDS = 7 * 24 * 3600
#: After so long a wait for a lock is told, and so long its holder may be idle.
_TELL_SECONDS = 5.0
_IDLE_SECONDS = 60.0
#: The staging folders that are lent to this process now.
_in_use: set[str] = set()
_COARSEST_CLOCK_SECONDS = 2.5


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
    for left in sorted(root.glob(f"{key}*"), key=_last_change, reverse=True):
        owner = Owner.of(left.name, key)
        if owner is None or left.name in _in_use or not _is_of_same_user(left, folder):
            continue
        may_write = not owner.has_ended()
        if may_write and not owner.is_this_process() and _last_change(folder) - _last_change(left) < _QUIET:
            continue
        with contextlib.suppress(FileNotFoundError):  # Another process was faster.
            if fresh or any(folder.iterdir()):
                shutil.rmtree(left)
                continue
            _rename(left, folder)
            for path in list(filter(Path.is_file, folder.rglob("*"))) if may_write else ():
                with replacing(path) as copy:
                    shutil.copyfile(path, copy)


def _is_of_same_user(left: Path, folder: Path) -> bool:
    """Tell whether the two belong to one user: another one could still change what was verified."""
    try:
        return left.stat().st_uid == folder.stat().st_uid
    except FileNotFoundError:
        return False


def _last_change(folder: Path) -> float:
    """Return when *folder*, or anything in it, was changed last, by the clock of its file system."""
    last = 0.0
    for root, _, names in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                last = max(last, os.stat(path).st_mtime)
    return last


@contextlib.contextmanager
def lock(store: Store, key: str) -> Iterator[None]:
    """Hold meanwhile the lock *key*, which one process of those that use the store holds at a time.

    Nothing relies on it, so a lock is given up whose holder has been idle for a minute: he may be stopped,
    or on a machine that has died. Who writes in a staging folder for *key* is not idle.
    """
    with contextlib.ExitStack() as held:
        _acquire(_file_lock(store, key), held, store, key)
        yield


def _file_lock(store: Store, key: str) -> FileLock:
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
            _log.debug("going on without the lock %s: %s", file_lock.lock_file, exc)
        except Timeout:
            work = {path: _last_change(path) for path in store.places.work("staging").glob(f"{key}.*")}
            idle_since = idle_since if change in (None, work) else time.monotonic()
            change = work
            holder = holder_of(Path(file_lock.lock_file)) or _owners(work, key) or "an unknown process"
            if time.monotonic() - idle_since < _IDLE_SECONDS:
                if not is_told:
                    text = "waiting for the lock %s, which is held by %s, until that is idle for %g seconds"
                    _log.warning(text, file_lock.lock_file, holder, _IDLE_SECONDS)
                is_told = True
                continue
            text = "going on without the lock %s, which is held by %s: it has been idle for %g seconds"
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
            f"the local store {store.path} can't be written: {exc}{free}. Give it room and permission, "
            "or set HGLOC_DATASETS_STORE_PATH"
        ) from exc


def changing(store: Store, folder: str) -> contextlib.AbstractContextManager[None]:
    """Return the lock under which one writer at a time changes which entry is at *folder*.

    Without it, one who puts away what made way for his entry could take what makes way for another's,
    and for a moment there would be neither.
    """
    return lock(store, f"place-{hashlib.sha256(folder.encode()).hexdigest()[:16]}")


def discard_retired(store: Store, retired: Path) -> None:
    """Set aside what another entry has taken the place of, at *retired*, where readers found it meanwhile.

    A folder without manifest is somebody's own: it is kept in ``.hgloc/kept``, which is never emptied.
    """
    _let_time_pass(store.places.retired_root)
    kind = "set-aside" if (retired / MANIFEST_NAME).exists() else "kept"
    if (aside := discard(store, retired, kind)) is not None:
        _log.info("%s, as it was, was set aside as %s", store.path / store.places.folder_of(retired), aside)
    remove_empty_folders(retired)


def remove_empty_folders(place: Path) -> None:
    """Remove the three folders above *place*, as far as there is nothing in them."""
    with contextlib.suppress(OSError):
        for folder in list(place.parents)[:3]:
            folder.rmdir()


def discard(store: Store, place: Path, kind: str = "set-aside") -> Path | None:
    """Move *place* out of sight, into a folder of .hgloc that is emptied after a day; None: it is gone."""
    aside = store.places.work(kind) / uuid.uuid4().hex
    try:
        _move_out(store, place, aside)
        os.utime(aside)
    except FileNotFoundError:
        return None
    return aside


def retire(store: Store, folder: str) -> Path:
    """Move the entry at *folder* to where readers find it until another one is in its place."""
    retired = store.places.new_retired(folder)
    retired.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename(store.path / folder, retired)
    except OSError:
        remove_empty_folders(retired)
        raise
    return retired


def _move_out(store: Store, place: Path, aside: Path) -> None:
    try:
        os.rename(place, aside)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        if not store.places.is_partial(place) and not place.is_relative_to(store.places.retired_root):
            retired = retire(store, store.places.folder_of(place))
            os.rename(retired, aside)
            remove_empty_folders(retired)
        else:
            _rename(place, aside)


def _rename(place: Path, target: Path) -> None:
    """Move the folder *place* to *target*, also where it lies in a lower layer of overlayfs.

    No rename moves a folder from there: it is copied, and appears at *target* by a rename. Then what is at
    *place* goes, the manifest first: from then on readers find the entry at *target*.
    """
    try:
        os.rename(place, target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{uuid.uuid4().hex}")
        try:
            shutil.copytree(place, copy, symlinks=True)
            os.rename(copy, target)
        except OSError:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        _remove_moved(place, target)


def _remove_moved(place: Path, target: Path) -> None:
    """Remove the files of *place* that *target* has too, the manifest first, and the folders left empty."""
    (place / MANIFEST_NAME).unlink(missing_ok=True)
    for root, _, names in os.walk(place, topdown=False):
        for name in names:
            path = Path(root, name)
            copy = target / path.relative_to(place)
            with contextlib.suppress(FileNotFoundError):  # Another process removes it too.
                if copy.is_file() and copy.stat().st_size == path.stat().st_size:
                    path.unlink()
        with contextlib.suppress(OSError):  # There is something that was not moved.
            Path(root).rmdir()


def delete_discarded(store: Store, aside: Path) -> None:
    """Remove an entry that was set aside, and what it offers to symbolic links."""
    for offered in _offered_of(store, aside):
        shutil.rmtree(offered, ignore_errors=True)
        remove_empty_folders(offered)
    shutil.rmtree(aside, ignore_errors=True)


def _offered_of(store: Store, aside: Path) -> list[Path]:
    """Return where the shards of an entry that was set aside are offered by its digest, and of no other."""
    with contextlib.suppress(IntegrityError, OSError):
        manifest = read_manifest_in(aside)
        if manifest is not None:
            present = {folder: store.manifest_at(folder) for folder in manifest.ref.folders}
            whole = [f for f, other in present.items() if other is None or other.digest != manifest.digest]
            part = (
                []
                if store.partial_with(manifest)
                else [store.places.partial_of(manifest.ref, manifest.digest)]
            )
            places = (
                store.places.by_digest(p, manifest.digest) for p in (*(store.path / f for f in whole), *part)
            )
            return [place for place in places if place.is_dir()]
    return []


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


def discard_all_retired(store: Store) -> None:
    """Put away what processes have left that ended while an entry made way for another.

    What is listed first and then has an entry in its place is older than that, whatever others do meanwhile.
    """
    for retired in store.places.all_retired():
        there = store.path / store.places.folder_of(retired)
        if (there / MANIFEST_NAME).exists() or (there.exists() and not (retired / MANIFEST_NAME).exists()):
            discard_retired(store, retired)
        elif there.exists():
            _remove_moved(there, retired)


def _remove_stale(store: Store) -> None:
    from filelock import Timeout

    discard_all_retired(store)
    limit = time.time() - _STALE_SECONDS
    for path in store.places.left_behind():
        # A staging folder that a process holds is in use, however old it looks; what this user may not
        # remove, its owner does.
        locked = _file_lock(store, Owner.key_of(path.name))
        with contextlib.suppress(FileNotFoundError, PermissionError, Timeout), locked.acquire(timeout=0):
            if path.stat().st_mtime < limit and not _is_in_use(store, path, limit):
                delete_discarded(store, path)


def _is_in_use(store: Store, path: Path, limit: float) -> bool:
    """Tell whether a process builds an entry in *path*, or programs read what was set aside there."""
    if path.parent.name == "staging":
        owner = Owner.of(path.name, Owner.key_of(path.name))
        return (owner is not None and owner.is_running()) or _last_change(path) >= limit
    files = (file for offered in _offered_of(store, path) for file in offered.rglob("*") if file.is_file())
    return any(time.time() - file.stat().st_atime < _UNREAD_SECONDS for file in files)
