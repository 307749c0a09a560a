"""What a catalog tells of each dataset, read from the bucket or as an outsider reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hf_localize.catalog import cards
from hf_localize.catalog.cards import Card, read_card
from hf_localize.catalog.peeking import FirstRows, first_rows
from hf_localize.errors import AccessDeniedError, HfLocalizeError, IntegrityError, without_queries
from hf_localize.format.manifest import Manifest, Split
from hf_localize.format.public_records import PublicRecord, usable_records
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, DatasetRef
from hf_localize.format.save_to_disk import card_in
from hf_localize.http.public_files import PublicFiles
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.shared_json import read_json
from hf_localize.sources.base import Entry, NotHere, StoredEntry
from hf_localize.sources.bucket import PrivateSource, find_indexed, list_refs
from hf_localize.sources.public import PublicSource

#: Returns an entry, or why there is none.
Finder = Callable[[], "Entry | NotHere"]
#: Rows are shown of so many splits.
_MAX_SPLITS = 3
#: Of values that are read for the rows of one split.
_MAX_BYTES = 8 << 20
_MAX_SHARDS = 4


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a split, or why there are none."""

    split: str
    found: FirstRows | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a catalog tells of one dataset.

    There is no manifest where it can't be read, and of a ZIP that other software has shared: that has
    to be fetched as a whole to look into it.
    """

    ref: DatasetRef
    manifest: Manifest | None = None
    is_public: bool = False
    card: Card = field(default_factory=Card)
    previews: tuple[Preview, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class BucketShelf:
    """The team's bucket, read with credentials."""

    bucket: Bucket
    workers: int
    _shared: list[list[PublicRecord]] = field(default_factory=list, compare=False, repr=False)

    def refs(self) -> list[DatasetRef]:
        """Return the refs of all datasets."""
        try:
            document = read_json(self.bucket, PUBLIC_RECORDS_KEY)
        except (AccessDeniedError, IntegrityError):
            document = {}
        self._shared[:] = [usable_records(document)]
        return list(dict.fromkeys(list_refs(self.bucket, self.workers, all_folders=False)))

    def read(self, ref: DatasetRef, rows: int) -> Listing:
        """Return what there is to tell of one."""

        def find() -> Entry | NotHere:
            return find_indexed(self.bucket, ref, self.workers) or PrivateSource(
                self.bucket, self.workers
            ).find(ref)

        is_public = any(record.ref == ref for records in self._shared for record in records)
        return _read(ref, find, rows, is_public)


@dataclass(frozen=True, slots=True)
class PublicShelf:
    """What is shared with everybody, read without credentials."""

    public_files: PublicFiles
    workers: int
    _records: dict[DatasetRef, PublicRecord] = field(default_factory=dict, compare=False, repr=False)

    def refs(self) -> list[DatasetRef]:
        """Return the refs of all datasets."""
        self._records.update(
            {r.ref: r for r in PublicSource(self.public_files, self.workers).records() or ()}
        )
        return list(self._records)

    def read(self, ref: DatasetRef, rows: int) -> Listing:
        """Return what there is to tell of one."""
        source = PublicSource(self.public_files, self.workers)
        return _read(ref, functools.partial(source.open_record, self._records[ref]), rows, is_public=True)


#: Where the datasets of a catalog are.
Shelf: TypeAlias = BucketShelf | PublicShelf


def _read(ref: DatasetRef, find: Finder, rows: int, is_public: bool) -> Listing:
    try:
        entry = find()
        if isinstance(entry, NotHere):
            return Listing(ref, is_public=is_public, problem=f"It can't be read: {entry.reason}")
        if not isinstance(entry, StoredEntry):
            return Listing(ref, is_public=is_public)
        card, splits = _card(entry), entry.manifest.splits[: _MAX_SPLITS if rows > 0 else 0]
        previews = tuple(_preview(entry, split, rows) for split in splits)
    except (HfLocalizeError, OSError) as exc:
        return Listing(ref, is_public=is_public, problem=f"It can't be read: {without_queries(str(exc))}")
    return Listing(ref, entry.manifest, is_public, card, previews)


def _card(entry: StoredEntry) -> Card:
    sizes = {file.path: file.size_bytes for file in entry.manifest.files}
    card = card_in(sizes)
    if card is None:
        return Card()
    try:
        with entry.open(card) as file:
            size = sizes[card] or cards.MOST_BYTES
            return read_card(bytes(file.read(min(size, cards.MOST_BYTES + 1))))
    except (HfLocalizeError, OSError):
        return Card()


def _preview(entry: StoredEntry, split: Split, rows: int) -> Preview:
    shards = [shard.path for shard in split.shards if shard.rows != 0][:_MAX_SHARDS]
    try:
        return Preview(split.name, _first_of(entry, shards, rows))
    except (HfLocalizeError, OSError) as exc:
        return Preview(split.name, problem=f"Its rows can't be read: {without_queries(str(exc))}")


def _first_of(entry: StoredEntry, shards: Sequence[str], rows: int) -> FirstRows | None:
    """Return the first rows of shards that follow each other."""
    whole: FirstRows | None = None
    for path in shards:
        have = len(whole.rows) if whole else 0
        if have >= rows:
            break
        size = entry.manifest.file(path).size_bytes
        found = first_rows(functools.partial(entry.open, path), size, rows - have, _MAX_BYTES)
        if whole is None:
            whole = found
        else:
            skipped = whole.skipped | found.skipped
            whole = FirstRows(whole.columns, whole.rows + found.rows, skipped)
    return whole
