"""Mending damaged entries of the local store: only the files that are damaged are moved."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.files import read_whole
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.sources.base import SOURCE_FAILURES, NotHere, Source, StoredEntry
from hf_localize.store.commit import exchange
from hf_localize.store.entry import LocalEntry
from hf_localize.store.integrity import problems_in
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store
from hf_localize.store.verify import Checked, check_store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done about one damaged entry.

    ``source`` gave the files ``mended``; it is None where no source could, and ``reason`` tells why.
    """

    ref: DatasetRef
    place: str
    mended: tuple[str, ...] = ()
    source: str | None = None
    reason: str = ""


def repair(store: Store, sources: Sequence[Source], ref: DatasetRef | None) -> list[Repaired]:
    """Mend what is damaged of *ref* in the local store; None: of all entries.

    A source serves if it has the very content that the entry's manifest names; where the manifest
    itself can't be read, the first that has the dataset. A file is replaced by one rename: what is
    linked elsewhere, as in the cache of `datasets`, is never written into.
    """
    damaged = [checked for checked in check_store(store, ref, deep=True) if checked.damages]
    return [_repair(store, sources, checked) for checked in damaged]


def _repair(store: Store, sources: Sequence[Source], checked: Checked) -> Repaired:
    reasons: list[str] = []
    if not checked.files and "_" in checked.ref.dataset_id:  # No manifest was read, so a folder names it.
        reasons.append(f"if its id is not {checked.ref.dataset_id}, name it: hg-localize repair ID")
    for source, entry in _stored(sources, checked.ref, reasons):
        try:
            mended = _mend(store, Path(checked.place), entry)
        except (*SOURCE_FAILURES, FileNotFoundError) as exc:
            reasons.append(f"{source.name}: {exc}")  # The last: it was removed meanwhile.
            continue
        _log.info("%s: %s mended from %s", checked.ref, ", ".join(mended), source.name)
        return Repaired(checked.ref, checked.place, tuple(mended), source.name)
    return Repaired(checked.ref, checked.place, reason="; ".join(reasons or ["no source is enabled"]))


def _stored(
    sources: Sequence[Source], ref: DatasetRef, reasons: list[str]
) -> Iterator[tuple[Source, StoredEntry]]:
    for source in sources:
        try:
            found = source.find(ref)
        except SOURCE_FAILURES as exc:
            reasons.append(f"{source.name}: {exc}")
            continue
        if isinstance(found, StoredEntry):
            yield source, found
        else:
            why = found.reason if isinstance(found, NotHere) else "its files can't be read one by one"
            reasons.append(f"{source.name}: {why}")


def _mend(store: Store, folder: Path, source: StoredEntry) -> list[str]:
    """Bring from *source* what differs in *folder*, and return the paths."""
    manifest = source.manifest
    is_partial = store.places.is_partial(folder)
    unread = LocalEntry.at(folder, manifest, is_partial=is_partial)
    try:
        entry = store.open_place(folder)
    except IntegrityError:
        entry = None
    if entry is not None and entry.digest != source.digest:
        raise IntegrityError("it has other content under this name")
    files = [file for file in manifest.files if not is_partial or (folder / file.path).exists()]
    wrong = list(problems_in(folder, files, deep=True))
    with staging_folder(store, f"{source.digest}-repair") as staging:
        if wrong:
            source.fetch_some(staging, wrong)
        if not entry or read_whole(folder / MANIFEST_NAME) != manifest_bytes(entry.manifest):
            (staging / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
            wrong.append(MANIFEST_NAME)
        exchange(store, entry or unread, staging, wrong)
    return wrong
