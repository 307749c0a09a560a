"""Where entries lie in the folder of a store.

An entry's *folder* is ``<id>/<config>/<revision>``, relative to the store; its *place* is where that is.
Those of the original tool can lie one level or more below, on its *shelves*: ``by_bucket/<bucket>/<id>/…``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_localize.format.refs import MANIFEST_NAME, DatasetRef

_log = logging.getLogger(__name__)
_WORK = ".hgloc"
#: How often what others replace meanwhile is looked at again.
TRIES = 20


@dataclass(frozen=True, slots=True)
class Places:
    """The places in a store: of whole entries, of those that make way for another, of those here in part."""

    root: Path

    def all(self) -> list[Path]:
        """Return the places in which entries can be, of whole ones first, then of partial ones."""
        return [*map(self.of, self.folders()), *self.partial()]

    def of(self, folder: str) -> Path:
        """Return where the entry at *folder* is: there, or where it has made way for another."""
        there = self.root / folder
        if (there / MANIFEST_NAME).exists():
            return there
        retired_at = self.retired_at(folder)
        if there.exists():  # In an image layer it makes way file by file, the manifest first.
            retired_at = [retired for retired in retired_at if (retired / MANIFEST_NAME).exists()]
        return next(iter(retired_at), there)

    def new_retired(self, folder: str) -> Path:
        """Return a new place to which the entry at *folder* makes way for another, until that is there."""
        return self.retired_root / f".{uuid.uuid4().hex}" / folder

    def retired_at(self, folder: str) -> list[Path]:
        """Return the places to which entries at *folder* have made way."""
        return [place for root in self._retired_roots() if (place := Path(root, folder)).is_dir()]

    def all_retired(self) -> list[Path]:
        """Return the places to which entries have made way."""
        return [Path(root, folder) for root in self._retired_roots() for folder in _folders_in(root)]

    @property
    def retired_root(self) -> Path:
        """Return the folder that has another time of change before anything below it is put away."""
        return self.root / _WORK / "former"

    def last_change_of_retired(self) -> int | None:
        """Return what is another as soon as an entry that had made way is put away."""
        with contextlib.suppress(OSError):
            return os.stat(self.retired_root).st_mtime_ns
        return None

    def _retired_roots(self) -> list[str]:
        """Return the folders below which entries make way: each writer's own, and one of older versions."""
        root = str(self.retired_root)
        try:
            with os.scandir(root) as items:
                return [root, *(item.path for item in items if item.name.startswith("."))]
        except OSError:
            return []

    def by_digest(self, place: Path, digest: str) -> Path:
        """Return the folder with links to the shards of the entry at *place*, each named by its sha256."""
        return self.root / _WORK / "by-digest" / self.folder_of(place) / digest

    def partial(self) -> Iterator[Path]:
        """Yield the places of entries of which only a part is here."""
        root = self.root / _WORK / "partial"
        return (root / folder for folder in _folders_in(root))

    def partial_of(self, ref: DatasetRef, digest: str) -> Path:
        """Return the place for the entry of *ref* with that *digest* while only a part of it is here."""
        name, _, revision = ref.folders[-1].split("/")
        return self.root / _WORK / "partial" / name / digest / revision

    def partials_of(self, ref: DatasetRef) -> list[Path]:
        """Return the places of what is here of *ref* in part: of one content, but for a moment."""
        root = self.root / _WORK / "partial"
        return [root / folder for folder in _folders_below(ref.folders[-1].partition("/")[0], root)]

    def folder_of(self, place: Path) -> str:
        """Return the folder of the entry at *place*: relative to the store, wherever it is just now."""
        for root in (self.retired_root, self.root / _WORK / "partial", self.root):
            if place.is_relative_to(root):
                # A writer makes way to a folder of its own in `former`, whose name begins with a dot.
                parts = place.relative_to(root).parts
                return "/".join(parts[1:] if parts[0].startswith(".") else parts)
        raise ValueError(f"{place} is not in {self.root}")

    def shelves(self) -> Iterator[str]:
        """Yield where the original tool keeps datasets below the root, in the order in which it looks."""
        for parent in ("public/by_bucket", "by_bucket"):
            yield from (f"{parent}/{name}" for name in _subfolders(self.root / parent))
        yield "public"

    def is_partial(self, place: Path) -> bool:
        """Tell whether *place* is of an entry that is here in part."""
        return place.is_relative_to(self.root / _WORK / "partial")

    def work(self, kind: str, *, is_private: bool = True) -> Path:
        """Return the folder for what is no entry yet, or none any more, such as ``staging``; make it.

        Whoever may write to the store may write there too, and its sticky bit, if it has one, holds there.
        """
        folder = self.root / _WORK / kind
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700 if is_private else 0o777, exist_ok=True)
        if shared := self.shared_mode:
            sticky = self.root.stat().st_mode & stat.S_ISVTX
            for made in (folder.parent, *filter(Path.is_dir, folder.parent.iterdir())):
                # The files of locks are everybody's; Linux opens none of another user in a sticky folder.
                missing = shared | (sticky if made.name != "locks" else 0)
                mode = stat.S_IMODE(made.stat().st_mode)
                if mode | missing != mode:
                    with contextlib.suppress(PermissionError):  # It is another user's.
                        made.chmod(mode | missing)
        return folder

    @property
    def shared_mode(self) -> int:
        """Return the permissions of a store to which others than its owner may write; 0: it is not one."""
        mode = self.root.stat().st_mode
        return mode & 0o777 if mode & (stat.S_IWGRP | stat.S_IWOTH) else 0

    def left_behind(self) -> Iterator[Path]:
        """Yield the staging folders, and what was set aside: what of it is old, nobody needs."""
        for kind in ("staging", "set-aside"):
            yield from (self.root / _WORK / kind).glob("*")

    def folders_of_id(self, ref: DatasetRef) -> list[str]:
        """Return the folders of entries that can have the dataset id of *ref*, sorted."""
        prefix = ref.id_folder_prefix.lower()
        return self._folders_named(lambda name: name == prefix or name.startswith(f"{prefix}~"))

    def folders(self) -> list[str]:
        """Return the folders in which there can be entries, sorted; then those on the shelves."""
        shelved = [f"{shelf}/{name}" for shelf in self.shelves() for name in _folders_in(self.root / shelf)]
        return [*self._folders_named(lambda _: True), *shelved]

    def _folders_named(self, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the entries' folders, sorted, in which *is_wanted* wants the first name, in small letters.

        What makes way for another is where it was or in ``retired``; if anything went in or out there
        meanwhile, it may have been seen at neither.
        """
        found: set[str] = set()
        state = self.last_change_of_retired()
        for _ in range(TRIES):
            for roots in (self._retired_roots(), [str(self.root)], self._retired_roots()):
                for root in roots:
                    names = [name for name in _subfolders(root) if is_wanted(name.lower())]
                    found.update(folder for name in names for folder in _folders_below(name, root))
            before, state = state, self.last_change_of_retired()
            if before == state:
                break
        return sorted(found)


def shelf_of(folder: str) -> str:
    """Return the shelf on which *folder* lies; the root is ``""``."""
    return folder.rsplit("/", 3)[0] if folder.count("/") > 2 else ""


def identity_of(place: Path) -> tuple[int, int] | None:
    """Return the device and inode of a folder: another one is another entry. None: there is none."""
    try:
        stat = place.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _folders_in(root: Path | str) -> Iterator[str]:
    for name in _subfolders(root):
        yield from _folders_below(name, root)


def _folders_below(first: str, root: Path | str) -> Iterator[str]:
    for second in _subfolders(f"{root}/{first}"):
        for third in _subfolders(f"{root}/{first}/{second}"):
            yield f"{first}/{second}/{third}"


def _subfolders(path: Path | str) -> Iterator[str]:
    try:
        with os.scandir(path) as items:
            yield from sorted([item.name for item in items if item.name[0] != "." and item.is_dir()])
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        _tell_unreadable(f"{path}")


@functools.cache
def _tell_unreadable(folder: str) -> None:
    """Log, once, that *folder* is another user's; if it can hold whole entries, as a warning."""
    level = logging.DEBUG if f"/{_WORK}/" in f"{folder}/" else logging.WARNING
    _log.log(level, "%s can't be read by this user, so the datasets in it are left out", folder)
