"""Whether the local store's entries are still what was stored.

The quick level reads an entry's manifest and the sizes of its files; the deep one all bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.files import read_whole
from hf_localize.format.manifest_json import manifest_document
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.sealed_json import is_as_written
from hf_localize.progress import task
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problems_in
from hf_localize.store.places import TRIES
from hf_localize.store.store import Store
from hf_localize.transfer.disk_space import PAST_SECONDS, may_show_the_past

UNSEALED = "was changed since it was written: it has no checksum"


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not as it was stored: its path in the entry, or its key, and what is wrong."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"

    @classmethod
    def of(cls, path: str, exc: Exception) -> Damage:
        """Return the damage that *exc* tells of."""
        return cls(path, f"can't be used: {exc}")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one entry found.

    ``place`` is a folder, a bucket or a URL; ``files`` and ``size_bytes`` tell how much was looked
    at. ``is_hashed`` is False where only sizes were compared, or where no sha256 is recorded.
    """

    ref: DatasetRef
    place: str
    files: int = 0
    size_bytes: int = 0
    damages: tuple[Damage, ...] = ()
    is_hashed: bool = False
    is_partial: bool = False


def check_store(store: Store, ref: DatasetRef | None, *, deep: bool) -> list[Checked]:
    """Check what is here of *ref*, a whole entry or a part; None: all entries."""
    places = store.places.all() if ref is None else store.places_of(ref)
    found = (_check_place(store, place, ref, deep) for place in places)
    return [checked for checked in found if checked is not None]


def check_entry(entry: LocalEntry, *, deep: bool) -> Checked:
    """Check the files of *entry*; of a partial one, those that are here."""
    files = entry.manifest.files if entry.has_manifest else ()
    if entry.is_partial:
        files = tuple(file for file in files if (entry.folder / file.path).exists())
    with task("Checking", entry.manifest.ref, files if deep else ()):
        damages = [Damage(*found) for found in problems_in(entry.folder, files, deep=deep).items()]
    if entry.has_manifest:
        try:
            data = read_whole(entry.folder / MANIFEST_NAME)
            if not is_as_written(data, manifest_document(entry.manifest)):
                damages.append(Damage(MANIFEST_NAME, UNSEALED))
        except FileNotFoundError:
            damages.append(Damage(MANIFEST_NAME, "is missing"))
    return Checked(
        entry.manifest.ref,
        str(entry.folder),
        len(files),
        sum(file.size_bytes for file in files),
        tuple(damages),
        is_hashed=deep and entry.has_manifest,
        is_partial=entry.is_partial,
    )


def _check_place(store: Store, folder: Path, ref: DatasetRef | None, deep: bool) -> Checked | None:
    for attempt in range(TRIES):
        try:
            entry = store.open_place(folder, ref)
        except InvalidRefError:  # No load ever looks there.
            return None
        except IntegrityError as exc:
            name = ref or store.ref_of_damaged(folder)
            return Checked(name, str(folder), damages=(Damage.of(MANIFEST_NAME, exc),))
        if entry is None:
            return None
        checked = check_entry(entry, deep=deep)
        if not checked.damages:
            break
        if attempt == 0 and may_show_the_past(store.path):
            time.sleep(PAST_SECONDS)
        elif not entry.was_replaced():
            break
    return checked
