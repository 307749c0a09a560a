"""What changes the store's entries: each comes, is added to, mended and removed by renames.

So a reader sees a whole entry or none, and a file that is whole or none.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.files import replace_file, replacing
from hf_localize.format.manifest import Manifest
from hf_localize.format.manifest_json import manifest_bytes, read_manifest_in
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.store.aliases import other_ids, point_at, remove_pointers
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problems_in
from hf_localize.store.linking import offer
from hf_localize.store.locks import changing, lock, writing
from hf_localize.store.origins import record_origin
from hf_localize.store.places import TRIES, identity_of
from hf_localize.store.replacing import delete_discarded, discard, discard_retired, retire
from hf_localize.store.staging import incoming_folder
from hf_localize.store.store import Store
from hf_localize.transfer.flushing import flush, flush_tree

#: What the system says of a folder that somebody else has put there, or taken away.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})


def commit(store: Store, staging: Path, manifest: Manifest) -> LocalEntry:
    """Publish the verified folder *staging* as the entry for the manifest's ref.

    The folder is renamed, so a reader sees the whole entry or none. Losing a race to a
    writer of the same content is success; an older entry of other content is replaced.

    Raises:
        IntegrityError: a file is missing, or has not the size that was verified.
    """
    for path, problem in problems_in(staging, manifest.files, deep=False).items():
        raise IntegrityError(f"{staging / path} {problem}")
    (staging / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
    _remove_others(staging, manifest)
    flush_tree(staging)
    for folder in _own_first(store, manifest.ref):
        with changing(store, folder):
            entry = _take_place(store, staging, folder, manifest)
            if entry is not None:
                for part in store.places.partials_of(manifest.ref):
                    discard(store, part)
                if refs := other_ids(manifest):
                    with incoming_folder(store, "alias") as written:
                        point_at(store.path, manifest, refs, written)
                return entry
    raise AssertionError("the folder named by the hash of the whole ref belongs to another ref")


def _own_first(store: Store, ref: DatasetRef) -> list[str]:
    """Return the folders of *ref*, first the one that it has.

    One that comes before may be free again. There, the new content would only hide the old, which would be
    seen again once the new is removed.
    """
    present = {folder: _manifest_in(store.path / folder) for folder in ref.folders}
    return sorted(ref.folders, key=lambda f: (there := present[f]) is None or there.ref != ref)


def commit_part(store: Store, staging: Path, manifest: Manifest, paths: Collection[str]) -> LocalEntry:
    """Add the verified files *paths* in *staging* to what is here of the manifest's entry.

    It lies out of sight in ``.hgloc/partial``: a folder that others see is a whole entry. Each
    file appears there by one rename, when it is on the disk, in a folder of this content alone.
    What was there of other content is set aside.
    """
    place = store.places.partial_of(manifest.ref, manifest.digest)
    flush_tree(staging)
    with lock(store, f"{manifest.ref.suffix[1:]}-partial"):
        for other in store.places.partials_of(manifest.ref):
            if other != place:
                discard(store, other)
        place.mkdir(parents=True, exist_ok=True)
        if store.open_partial(place) is None:
            with replacing(place / MANIFEST_NAME) as part:
                part.write_bytes(manifest_bytes(manifest))
                flush(part)
        _move_files(store, staging, place, manifest, paths)
        flush(place)
        return LocalEntry.at(place, manifest, is_partial=True)


def exchange(store: Store, entry: LocalEntry, staging: Path, paths: Collection[str]) -> None:
    """Put the verified files *paths* of *staging* in the place of those of *entry*, each by a rename.

    Raises:
        IntegrityError: another entry has taken its place.
    """
    flush_tree(staging)
    with changing(store, store.places.folder_of(entry.folder)):
        if entry.was_replaced():
            raise IntegrityError(f"{entry.folder} was replaced while it was mended")
        _move_files(store, staging, entry.folder, entry.manifest, paths)


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
            for retired in store.places.retired_at(store.places.folder_of(place)):
                if retired != place:
                    discard_retired(store, retired)  # Else it would be seen again.
        aside = discard(store, place)
        if aside is not None:
            with contextlib.suppress(FileNotFoundError):  # Another machine has removed an empty folder.
                flush(place.parent)
            delete_discarded(store, aside)  # What is left of it is gone after a day.
        with contextlib.suppress(OSError):  # The folders of its id and config, if they are empty.
            place.parent.rmdir()
            place.parent.parent.rmdir()


def _move_files(store: Store, staging: Path, place: Path, manifest: Manifest, paths: Collection[str]) -> None:
    offer(store, staging, place, manifest, set(paths))
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        replace_file(staging / path, place / path)
    for folder in {(place / path).parent for path in paths}:
        flush(folder)


def _take_place(store: Store, staging: Path, folder: str, manifest: Manifest) -> LocalEntry | None:
    """Make *staging* the entry at *folder*; None: that is another ref's.

    A rename succeeds only where there is nothing, so whatever others do at the same time, each entry
    either is there, or makes way for the next as a whole.
    """
    place, identity = store.path / folder, identity_of(staging)
    for attempt in range(TRIES):
        if not _is_of(place, manifest):
            return None
        present = _manifest_in(place)
        is_same = present is not None and present.digest == manifest.digest
        if present and is_same and present.says_as(manifest) and _is_whole(store, place, present):
            return LocalEntry.at(place, present)
        try:
            # A folder that has files can't be replaced by one rename; between the two a process may end.
            retired = retire(store, folder) if place.exists() else None
            if retired is not None and not _is_of(retired, manifest):  # It came in this very moment.
                os.rename(retired, place)
                return None
            replaced = store.places.retired_at(folder)
            offer(store, staging, place, manifest, {file.path for file in manifest.files})
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staging, place)
        except OSError as exc:
            if exc.errno not in _TAKEN or not staging.exists() or attempt + 1 == TRIES:
                raise
            continue
        with contextlib.suppress(FileNotFoundError):  # Another machine has removed the entry already.
            flush(place.parent)
        # These made way for it, or for one before: from now on a reader need not find them.
        for earlier in replaced:
            discard_retired(store, earlier)
        return LocalEntry(place, manifest, identity=identity)
    raise AssertionError


def _is_of(place: Path, manifest: Manifest) -> bool:
    """Tell whether the folder at *place* is the ref's of *manifest*, or names none."""
    present = _manifest_in(place)
    return present is None or present.ref == manifest.ref


def _manifest_in(place: Path) -> Manifest | None:
    try:
        return read_manifest_in(place)
    except IntegrityError:
        return None


def _is_whole(store: Store, place: Path, manifest: Manifest) -> bool:
    return not problems_in(place, manifest.files, deep=store.verifies_hashes)


def _remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not name, such as the locks that `datasets` leaves."""
    named = {MANIFEST_NAME, *(file.path for file in manifest.files)}
    for root, _, names in os.walk(folder):
        inside = Path(root).relative_to(folder).as_posix()
        for name in names:
            if (name if inside == "." else f"{inside}/{name}") not in named:
                os.unlink(os.path.join(root, name))
