"""Files of an entry in another folder, such as the cache of `datasets`: links, or copies.

Such a folder is named by the entry's digest and must hold that content whatever becomes of the store.
A hard link does. A symbolic link does where it leads into ``.hgloc/by-digest/<folder>/<digest>``: there
the store has hard links to the entry's shards, which no other content takes the place of. A copy does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.arrow.shards import link_or_copy
from hf_localize.format.files import replacing
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problem_with, seal
from hf_localize.store.store import Store
from hf_localize.transfer.disk_space import file_system_of, require_room

_log = logging.getLogger(__name__)


def offer(store: Store, folder: Path, place: Path, manifest: Manifest, paths: Collection[str]) -> None:
    """Offer those of the verified files *paths* of *folder*, which this process alone has, as *place*'s.

    It is a convenience: where the store's file system has no hard links, readers copy.
    """
    offered, shards = store.places.by_digest(place, manifest.digest), manifest.shard_paths()
    try:
        offered.mkdir(parents=True, exist_ok=True)
        for file in manifest.files:
            if file.path in paths and (not shards or file.path in shards):
                try:
                    os.link(folder / file.path, offered / file.sha256)
                except FileExistsError:  # Of the same content, but maybe damaged since.
                    with replacing(offered / file.sha256, folder) as fresh:
                        os.link(folder / file.path, fresh)
    except OSError as exc:
        _log.debug("%s is not offered to symbolic links: %s", folder, exc)


def link_into(store: Store, entry: LocalEntry, record: FileRecord, target: Path) -> None:
    """Have *target* be the file *record* of *entry*: link it, or copy it where no link is safe.

    What is at *target* already, and leads where another content may come, is replaced. Where the store
    verifies hashes, the sha256 of a copy that is there already is checked, too.

    Raises:
        FileNotFoundError: the store does not have the file any more.
        IntegrityError: the file, which had to be copied, is damaged.
        StoreError: there is no room for a copy.
    """
    offered = (
        store.places.by_digest(entry.folder, entry.digest) / record.sha256 if entry.has_manifest else None
    )
    there = os.path.lexists(target)
    own = entry.folder / record.path
    if there and _is_same(target, own, offered):
        return
    fresh = target.with_name(f".{uuid.uuid4().hex}") if there else target
    is_free = links_are_free(store.path)
    if not (is_free and _has_linked(entry, record, offered, fresh)):
        if there and not target.is_symlink() and not problem_with(target, record, deep=store.verifies_hashes):
            return  # A copy.
        if offered is not None and is_free and not _is_link(offered, own):
            _offer_late(entry, record, offered)
        is_checked = there and offered is not None and _is_checked(target, offered)
        if not _has_symlinked(offered, own, record, fresh, deep=store.verifies_hashes or not is_checked):
            _copy(entry, record, fresh)
    if there:
        fresh.replace(target)


def link_from_cache(source: Path, target: Path) -> None:
    """Link *source*, which its user may write into later, at *target*; copy it where that is not safe."""
    if seal(source):
        link_or_copy(source, target)
    else:
        shutil.copyfile(source, target)


def links_are_free(path: Path) -> bool:
    """Tell whether a hard link to *path* takes no room. On overlay, it copies what is in a lower layer."""
    return file_system_of(path) != "overlay"


def _is_same(target: Path, source: Path, offered: Path | None) -> bool:
    """Tell whether *target* is a link to *source* that another content can't show through.

    In a store that was copied, *offered* may be a second copy of the file, which no check of the store reads.
    """
    if target.is_symlink():
        return offered is not None and target.readlink() == offered and _is_link(offered, source)
    return target.samefile(source)


def _is_link(offered: Path, source: Path) -> bool:
    """Tell whether the two are one file. In a store that was copied, they may be two."""
    try:
        return offered.samefile(source)
    except OSError:  # It is not there, or in a folder that another user has made for himself alone.
        return False


def _is_checked(target: Path, offered: Path) -> bool:
    """Tell whether *target* is a link to *offered* from after its last change. It was checked then."""
    try:
        is_link = target.is_symlink() and target.readlink() == offered
        return is_link and target.lstat().st_ctime_ns > offered.stat().st_ctime_ns
    except OSError:
        return False


def _has_linked(entry: LocalEntry, record: FileRecord, offered: Path | None, target: Path) -> bool:
    """Hard-link *offered*, else the entry's own file, at *target*; False: that can't be done."""
    own = entry.folder / record.path
    try:
        if offered is not None and (_is_link(offered, own) or entry.was_replaced()):
            with contextlib.suppress(FileNotFoundError):
                os.link(offered, target)
                return True
        os.link(own, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    _require_same_entry(entry, target)
    return True


def _has_symlinked(
    offered: Path | None, source: Path, record: FileRecord, target: Path, *, deep: bool
) -> bool:
    """Point a symbolic link at *offered*; False: that can't be done, or it is not there."""
    try:
        if offered is None:
            return False
        # *source* is checked; what is not linked with it has to pass the same check.
        if not _is_link(offered, source) and problem_with(offered, record, deep=deep):
            return False
        target.symlink_to(offered)
    except OSError:
        return False
    return True


def _copy(entry: LocalEntry, record: FileRecord, target: Path) -> None:
    """Copy the entry's file to *target*, and check it: no repair of the store would reach the copy."""
    require_room(target.parent, record.size_bytes)
    try:
        shutil.copyfile(entry.folder / record.path, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    _require_same_entry(entry, target)
    if problem := problem_with(target, record, deep=True):
        target.unlink()
        raise IntegrityError(f"{entry.folder / record.path} {problem}")


def _require_same_entry(entry: LocalEntry, target: Path) -> None:
    if entry.was_replaced():
        target.unlink()
        raise FileNotFoundError(f"{entry.folder} was replaced while it was read")


def _offer_late(entry: LocalEntry, record: FileRecord, offered: Path) -> None:
    """Offer a file of an entry that an older version has stored, if it still is that entry's."""
    fresh = offered.with_name(f".{uuid.uuid4().hex}")
    try:
        offered.parent.mkdir(parents=True, exist_ok=True)
        os.link(entry.folder / record.path, fresh)
    except OSError as exc:
        _log.debug("%s is not offered to symbolic links: %s", offered, exc)
        return
    _require_same_entry(entry, fresh)
    fresh.replace(offered)
