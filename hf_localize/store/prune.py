"""Making room in the local store: what was used longest ago goes first, and nothing that is in use.

A load writes nothing to the store, so the file system's own times tell when a dataset was used: the
newest access or change of its data files, to which loads through the cache of `datasets` count too.
"""

from __future__ import annotations

import collections
import contextlib
import fnmatch
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_localize import text
from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository, RepoType
from hf_localize.store.commit import remove
from hf_localize.store.entry import LocalEntry
from hf_localize.store.places import shelf_of
from hf_localize.store.repositories import LocalRepositories
from hf_localize.store.store import Store

_log = logging.getLogger(__name__)
#: What was used so short a time ago may be in use where it can't be seen: on another machine.
_RECENT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Pruned:
    """An entry, or the snapshot of a repository, that was, or would be, removed."""

    ref: DatasetRef
    place: str
    size_bytes: int
    #: Seconds since the epoch.
    last_used: float
    #: Of a snapshot: the type of its repository; the revision of *ref* is its commit.
    repo_type: RepoType | None = None


def prune(
    store: Store,
    *,
    most_bytes: int | None = None,
    unused_seconds: float | None = None,
    keep: Collection[str] = (),
    can_be_had_again: Callable[[LocalEntry], bool],
    dry_run: bool = False,
) -> list[Pruned]:
    """Remove entries and snapshots of repositories, those used longest ago first, and return them.

    Args:
        most_bytes: go on until all of them have no more than this together.
        unused_seconds: remove all that nobody has used for so long.
        keep: patterns of ids that stay, as a shell has them (``openai/*``).
        can_be_had_again: tells whether a source has the entry that would be removed; else it stays.
        dry_run: remove nothing.
    """
    if store.path.exists() and os.statvfs(store.path).f_flag & getattr(os, "ST_NOATIME", 0):
        _log.warning(
            "%s does not record when a file was read, so the time when a dataset was stored counts",
            store.path,
        )
    items = (found for entry in _entries(store) if (found := _looked_at(entry)))
    entries = sorted([*items, *_snapshots(LocalRepositories(store))], key=lambda item: item.last_used)
    held = collections.Counter(inode for item in entries for inode in item.inodes)
    sizes = {inode: size for item in entries for inode, size in item.inodes.items()}
    total, now = sum(sizes.values()), time.time()
    in_use = _files_in_use()
    removed: list[Pruned] = []
    for item in entries:
        is_old = unused_seconds is not None and now - item.last_used > unused_seconds
        if not is_old and (most_bytes is None or total <= most_bytes):
            continue
        ref, name = item.ref, f"{'files of ' if item.repository else ''}{item.ref}"
        if item.entry is not None and shelf_of(store.places.folder_of(item.entry.folder)):
            _log.info("%s is kept: the original tool has put it there", name)
            continue
        if why := _why_kept(item, keep, now, in_use, can_be_had_again):
            _log.info("%s is kept: %s", name, why)
            continue
        try:
            if not dry_run and item.entry is not None:
                remove(store, item.entry.folder)
            elif not dry_run and item.repository is not None:
                LocalRepositories(store).remove(item.repository, (str(ref.revision),))
        except IntegrityError as exc:
            _log.warning("%s is kept: %s", name, exc)
            continue
        freed = [inode for inode in item.inodes if held[inode] == 1]
        held.subtract(item.inodes.keys())
        total -= sum(sizes[inode] for inode in freed)
        repo_type = None if item.repository is None else item.repository.repo_type
        size_bytes = sum(item.inodes.values())
        removed.append(Pruned(ref, item.place, size_bytes, item.last_used, repo_type))
    if most_bytes is not None and total > most_bytes:
        _log.warning(
            "the store still has %s, more than %s, because everything that is left must be kept",
            text.size(total),
            text.size(most_bytes),
        )
    return removed


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry or a snapshot of a repository, its files by inode, and when it was used last."""

    ref: DatasetRef
    place: str
    inodes: dict[tuple[int, int], int]
    last_used: float
    entry: LocalEntry | None = None
    repository: Repository | None = None


def _entries(store: Store) -> Sequence[LocalEntry]:
    found = []
    for place in store.places.all():
        with contextlib.suppress(IntegrityError, InvalidRefError, PermissionError):
            if (entry := store.open_place(place)) is not None:
                found.append(entry)
    return found


def _looked_at(entry: LocalEntry) -> _Item | None:
    inodes: dict[tuple[int, int], int] = {}
    times = [0.0]
    shards = entry.manifest.shard_paths()
    for path in entry.paths():
        try:
            stat = os.stat(entry.folder / path)
        except OSError:
            continue
        inodes[stat.st_dev, stat.st_ino] = stat.st_size
        if path in shards or not shards:  # Lists and checks read the others.
            times += [stat.st_atime, stat.st_mtime]
    with contextlib.suppress(OSError):  # Files that were linked from elsewhere may be older than it.
        times.append(os.stat(entry.folder).st_mtime)
        return _Item(entry.manifest.ref, str(entry.folder), inodes, max(times), entry)
    return None


def _snapshots(local: LocalRepositories) -> Iterator[_Item]:
    for repository in local.all():
        for commit in local.commits(repository):
            with contextlib.suppress(IntegrityError, OSError):
                snapshot, place = local.snapshot(repository, commit), local.place_of(repository, commit)
                times, inodes = [place.stat().st_mtime], {}
                for file in snapshot.files if snapshot is not None else ():
                    with contextlib.suppress(OSError):  # Not all need be here.
                        stat = local.place_of_file(file).stat()
                        inodes[stat.st_dev, stat.st_ino] = stat.st_size
                        times += [stat.st_atime, stat.st_mtime]
                ref = DatasetRef(repository.repo_id, None, commit)
                yield _Item(ref, str(place), inodes, max(times), repository=repository)


def _why_kept(
    item: _Item,
    keep: Collection[str],
    now: float,
    in_use: Mapping[int, Collection[int | None]],
    can_be_had_again: Callable[[LocalEntry], bool],
) -> str | None:
    if any(fnmatch.fnmatchcase(item.ref.dataset_id, pattern) for pattern in keep):
        return "as asked"
    if now - item.last_used < _RECENT_SECONDS:
        return "it was used less than an hour ago"
    if any({None, device}.intersection(in_use.get(inode, ())) for device, inode in item.inodes):
        return "a process uses it"
    if item.entry is not None and not can_be_had_again(item.entry):
        return "no other copy is known"
    return None


def _files_in_use() -> dict[int, set[int | None]]:
    """Return the files that processes of this machine have open or mapped: the devices of each inode.

    A device is None where Linux does not tell it: a mapped file may have been removed, and on overlayfs and
    btrfs a map names another device than ``stat``. Of other users' processes it tells only root.
    """
    found: dict[int, set[int | None]] = collections.defaultdict(set)
    mapped: set[tuple[int, str]] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            for line in (process / "maps").read_text(errors="replace").splitlines():
                inode, *path = line.split(maxsplit=5)[4:]
                mapped.add((int(inode), path[0] if path else ""))
        with contextlib.suppress(OSError):
            for handle in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    stat = handle.stat()
                    found[stat.st_ino].add(stat.st_dev)
    for number, name in mapped:
        try:
            stat = os.stat(name)
        except OSError:
            found[number].add(None)
        else:
            found[number].add(stat.st_dev if stat.st_ino == number else None)
    found.pop(0, None)  # Memory without a file.
    return found
