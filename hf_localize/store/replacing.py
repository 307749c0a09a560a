"""How one entry of the store takes the place of another, or leaves, while readers use it.

No rename replaces a folder that has files, so a writer moves the old entry to ``.hgloc/former`` (*retires*
it), renames the new one into its place, and discards the old one. A reader looks at the place and then
among the retired (`Places.of`), so it finds one of the two. Where it finds neither, it looks again if the
folder ``former`` has changed meanwhile (`Store._open`). Therefore:

- one writer at a time changes what is at a place (`locks.changing`);
- a retired entry is discarded only when that changes the time of ``former`` (`_let_time_pass`);
- where a folder can't be renamed (a lower layer of overlayfs) it is copied and then removed, the manifest
  first: without a manifest it is no entry, and readers go on to the retired one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest_json import read_manifest_in
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.store.store import Store

_log = logging.getLogger(__name__)
_COARSEST_CLOCK_SECONDS = 2.5


def retire(store: Store, folder: str) -> Path:
    """Move the entry at *folder* to where readers find it until another one is in its place."""
    retired = store.places.new_retired(folder)
    retired.parent.mkdir(parents=True, exist_ok=True)
    try:
        move_folder(store.path / folder, retired)
    except OSError:
        remove_empty_folders(retired)
        raise
    return retired


def discard_retired(store: Store, retired: Path) -> None:
    """Set aside what another entry has taken the place of, at *retired*, where readers found it meanwhile.

    A folder without manifest is somebody's own: it is kept in ``.hgloc/kept``, which is never emptied.
    """
    _let_time_pass(store.places.retired_root)
    kind = "set-aside" if (retired / MANIFEST_NAME).exists() else "kept"
    if (aside := discard(store, retired, kind)) is not None:
        _log.info(
            "the old content of %s was set aside as %s", store.path / store.places.folder_of(retired), aside
        )
    remove_empty_folders(retired)


def discard_all_retired(store: Store) -> None:
    """Put away what processes have left that ended while an entry made way for another.

    What is listed first and then has an entry in its place is older than that, whatever others do meanwhile.
    """
    for retired in store.places.all_retired():
        there = store.path / store.places.folder_of(retired)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _opened(there) as folder:
            if not (retired / MANIFEST_NAME).exists() or os.access(MANIFEST_NAME, os.F_OK, dir_fd=folder):
                discard_retired(store, retired)
            else:
                _remove_moved(there, folder, retired)


def discard(store: Store, place: Path, kind: str = "set-aside") -> Path | None:
    """Move *place* out of sight, into a folder of .hgloc that is emptied after a day; None: it is gone."""
    aside = store.places.work(kind) / uuid.uuid4().hex
    try:
        _move_out(store, place, aside)
        os.utime(aside)
    except FileNotFoundError:
        return None
    return aside


def delete_discarded(store: Store, aside: Path) -> None:
    """Remove an entry that was set aside, and what it offers to symbolic links."""
    for offered in offered_of(store, aside):
        shutil.rmtree(offered, ignore_errors=True)
        remove_empty_folders(offered)
    shutil.rmtree(aside, ignore_errors=True)


def offered_of(store: Store, aside: Path) -> list[Path]:
    """Return where the shards of an entry that was set aside are offered by its digest, and of no other."""
    with contextlib.suppress(IntegrityError, OSError):
        manifest = read_manifest_in(aside)
        if manifest is not None:
            present = {folder: store.manifest_at(folder) for folder in manifest.ref.folders}
            places = [
                store.path / folder
                for folder, other in present.items()
                if other is None or other.digest != manifest.digest
            ]
            if not store.partial_with(manifest):
                places.append(store.places.partial_of(manifest.ref, manifest.digest))
            offered = (store.places.by_digest(place, manifest.digest) for place in places)
            return [folder for folder in offered if folder.is_dir()]
    return []


def remove_empty_folders(place: Path) -> None:
    """Remove the three folders above *place*, as far as there is nothing in them."""
    with contextlib.suppress(OSError):
        for folder in list(place.parents)[:3]:
            folder.rmdir()


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
            move_folder(place, aside)


def move_folder(place: Path, target: Path) -> None:
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
        with _opened(place) as folder:
            try:
                shutil.copytree(place, copy, symlinks=True)
                os.rename(copy, target)
            except OSError:
                shutil.rmtree(copy, ignore_errors=True)
                raise
            _remove_moved(place, folder, target)


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[int]:
    """Open the folder at *place*: the descriptor stays that folder's when another one takes its place."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _remove_moved(place: Path, folder: int, target: Path) -> None:
    """Remove the files of *folder* that *target* has too, the manifest first, and the folders left empty.

    Args:
        place: where the folder is, unless another one has taken its place by now.
        folder: its descriptor.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(MANIFEST_NAME, dir_fd=folder)
    for root, _, names, parent in os.fwalk(".", topdown=False, dir_fd=folder):
        for name in names:
            copy = target / root / name
            with contextlib.suppress(FileNotFoundError):  # Another process removes it too.
                if copy.is_file() and copy.stat().st_size == os.stat(name, dir_fd=parent).st_size:
                    os.unlink(name, dir_fd=parent)
        if root != ".":
            with contextlib.suppress(OSError):  # There is something that was not moved.
                os.rmdir(root, dir_fd=folder)
    with contextlib.suppress(OSError):  # So there is; or another entry is in its place.
        place.rmdir()


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
