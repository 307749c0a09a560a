"""What changes the store's entries: each comes, is added to, mended and removed by renames.

So a reader sees a whole entry or none, and a file that is whole or none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.flushing import flush, flush_tree
from hf_localize.hashing import problems_in
from hf_localize.manifest import Manifest
from hf_localize.manifestjson import manifest_bytes, read_manifest_in
from hf_localize.refs import MANIFEST_NAME
from hf_localize.store.entry import LocalEntry
from hf_localize.store.finding import Store
from hf_localize.store.origins import record_origin
from hf_localize.store.places import TRIES
from hf_localize.store.pointers import point_at, remove_pointers
from hf_localize.store.staging import changing, lock, put_away, set_aside, writing

#: What the system says of a folder that somebody else has put there, or taken away.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})


def commit(store: Store, staging: Path, manifest: Manifest) -> LocalEntry:
    """Publish the verified folder *staging* as the entry for the manifest's ref.

    The folder is renamed, so a reader sees the whole entry or none. Losing a race to a
    writer of the same content is success; an older entry of other content is replaced.
    """
    (staging / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
    _remove_others(staging, manifest)
    flush_tree(staging)
    for folder in manifest.ref.folders:
        with changing(store, folder):
            present = store.manifest_at(folder)
            if present is not None and present.ref != manifest.ref:
                continue
            place = store.path / folder
            is_same = present is not None and present.digest == manifest.digest
            if present and is_same and present.says_as(manifest) and _is_whole(store, place, present):
                return LocalEntry.at(place, present)
            _take_place(store, staging, folder)
            flush(place.parent)
            put_away(store, folder)
            set_aside(store, store.places.partial_of(manifest.ref))
            point_at(store.path, manifest)
            return LocalEntry.at(place, manifest)
    raise AssertionError("the folder named by the hash of the whole ref belongs to another ref")


def commit_part(store: Store, staging: Path, manifest: Manifest, paths: Collection[str]) -> LocalEntry:
    """Add the verified files *paths* in *staging* to what is here of the manifest's entry.

    It lies out of sight in ``.hgloc/partial``: a folder that others see is a whole entry. Each
    file appears there by one rename, when it is on the disk. What was there of other content
    is set aside.
    """
    place = store.places.partial_of(manifest.ref)
    flush_tree(staging)
    with lock(store, f"{manifest.ref.suffix[1:]}-partial"):
        here = store.open_partial(place)
        if here is not None and here.digest != manifest.digest:
            set_aside(store, place)
            here = None
        place.mkdir(parents=True, exist_ok=True)
        if here is None:
            part = place / f".{uuid.uuid4().hex}"
            part.write_bytes(manifest_bytes(manifest))
            flush(part)
            os.replace(part, place / MANIFEST_NAME)
        _move_files(staging, place, paths)
        flush(place)
        return LocalEntry.at(place, manifest, is_partial=True)


def exchange(place: Path, staging: Path, paths: Collection[str]) -> None:
    """Put the verified files *paths* of *staging* in the place of those at *place*, each by a rename."""
    flush_tree(staging)
    _move_files(staging, place, paths)


def remove(store: Store, place: Path) -> None:
    """Remove the entry at *place*, one of the store's places, and the pointers to it.

    One rename takes it out of sight. A process that has its files open, or linked into the cache
    of `datasets`, keeps them.

    Raises:
        StoreError: the store can't be written.
    """
    folder = store.places.folder_of(place)
    with writing(store), changing(store, folder):
        if not store.places.is_partial(place):
            with contextlib.suppress(IntegrityError):
                if (manifest := read_manifest_in(place)) is not None:
                    remove_pointers(store.path, manifest)
                    record_origin(store.path, manifest, None)
            if (store.path / folder).exists():
                put_away(store, folder)  # Else it would be seen again.
        aside = store.places.work("set-aside") / uuid.uuid4().hex
        os.rename(place, aside)
        flush(place.parent)
        shutil.rmtree(aside, ignore_errors=True)  # What is left of it is gone after a day.
        with contextlib.suppress(OSError):  # The folders of its id and config, if they are empty.
            place.parent.rmdir()
            place.parent.parent.rmdir()


def _move_files(staging: Path, place: Path, paths: Collection[str]) -> None:
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / path, place / path)
    for folder in {(place / path).parent for path in paths}:
        flush(folder)


def _take_place(store: Store, staging: Path, folder: str) -> None:
    """Make *staging* the entry at *folder*; others may be at the same."""
    for attempt in range(TRIES):
        try:
            _make_way(store, folder)
            (store.path / folder).parent.mkdir(parents=True, exist_ok=True)
            os.rename(staging, store.path / folder)
        except OSError as exc:
            if exc.errno not in _TAKEN or not staging.exists() or attempt + 1 == TRIES:
                raise
        else:
            return


def _make_way(store: Store, folder: str) -> None:
    """Move the entry at *folder* to where a reader finds it until another one is in its place.

    A folder that has files can't be replaced by one rename; between the two a process may end.
    """
    if (store.path / folder).exists():
        put_away(store, folder)  # What a process left there that ended before it did this.
        former = store.places.former(folder)
        former.parent.mkdir(parents=True, exist_ok=True)
        os.rename(store.path / folder, former)


def _is_whole(store: Store, place: Path, manifest: Manifest) -> bool:
    return not problems_in(place, manifest.files, deep=store.is_wary)


def _remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not name, such as the locks that `datasets` leaves."""
    named = {MANIFEST_NAME, *(file.path for file in manifest.files)}
    for root, _, names in os.walk(folder):
        inside = Path(root).relative_to(folder).as_posix()
        for name in names:
            if (name if inside == "." else f"{inside}/{name}") not in named:
                os.unlink(os.path.join(root, name))
