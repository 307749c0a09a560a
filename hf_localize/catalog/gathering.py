"""What a catalog tells of each dataset, read from the bucket or as an outsider reads it."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from urllib.parse import unquote

from hf_localize import text
from hf_localize.catalog import cards, wording
from hf_localize.catalog.cards import Card, read_card
from hf_localize.catalog.peeking import FirstRows, first_rows
from hf_localize.errors import AccessDeniedError, HfLocalizeError, IntegrityError, without_queries
from hf_localize.format.manifest import FileRecord, Manifest, Split
from hf_localize.format.public_records import PublicRecord, usable_records
from hf_localize.format.refs import FILES_CONFIG, PUBLIC_RECORDS_KEY, DatasetRef
from hf_localize.format.repository import Repository, RepositoryFile, terms_of
from hf_localize.format.save_to_disk import card_in
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.repositories import commits_in
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.shared_json import read_json
from hf_localize.sources.base import Entry, NotHere, StoredEntry
from hf_localize.sources.bucket import PrivateSource, find_indexed, list_refs, repositories_in
from hf_localize.sources.public import PublicSource
from hf_localize.sources.repositories import RemoteRepositories

#: Returns an entry, or why there is none.
Finder = Callable[[], "Entry | NotHere"]
#: Rows are shown of so many splits.
_MAX_SPLITS = 3
#: Of values that are read for the rows of one split.
_MAX_BYTES = 8 << 20
_MAX_SHARDS = 4


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a split, and why there are none, or fewer than were asked for."""

    split: str
    found: FirstRows | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a catalog tells of one dataset, or of the files of a repository.

    There is no manifest where it can't be read, and of a ZIP that other software has shared: that has
    to be fetched as a whole to look into it.
    """

    ref: DatasetRef
    manifest: Manifest | None = None
    is_public: bool = False
    card: Card = field(default_factory=Card)
    previews: tuple[Preview, ...] = ()
    problem: str | None = None
    #: Where everybody can fetch it as one file; its size in bytes, where that is known.
    zip_url: str | None = None
    zip_bytes: int | None = None
    #: ``dataset``, ``model`` or ``Space``.
    repo_type: str = "dataset"
    #: What loads it, where that is another call than `load_dataset`.
    code: str | None = None

    @property
    def license(self) -> str | None:
        """Return the license that the manifest names, else the one in the card's head."""
        named = self.manifest.license if self.manifest else None
        return named or ", ".join(self.card.told.get("license", ())) or None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return, in words, what kinds of data it has."""
        if self.repo_type != "dataset":
            return (self.repo_type,)
        return wording.kinds_of(self.manifest) if self.manifest else ()

    @property
    def size_bytes(self) -> int:
        """Return the size of what is stored; 0: it is not known."""
        return self.manifest.size_bytes if self.manifest else 0


@dataclass(frozen=True, slots=True)
class BucketShelf:
    """The team's bucket, read with credentials."""

    bucket: Bucket
    public_files: PublicFiles
    workers: int
    _records: dict[DatasetRef, PublicRecord] = field(default_factory=dict, compare=False, repr=False)
    _repositories: dict[DatasetRef, str] = field(default_factory=dict, compare=False, repr=False)
    _public_repositories: set[str] = field(default_factory=set, compare=False, repr=False)

    def refs(self) -> list[DatasetRef]:
        """Return the refs of all datasets, and of the files of all repositories."""
        try:
            document = read_json(self.bucket, PUBLIC_RECORDS_KEY)
        except (AccessDeniedError, IntegrityError):
            document = {}
        self._records.update({record.ref: record for record in usable_records(document)})
        refs = list(list_refs(self.bucket, self.workers, all_folders=False))
        for name in commits_in(self.bucket, None):
            kind, quoted, commit = name.split("/")
            config = FILES_CONFIG if kind == "dataset" else kind
            self._repositories.setdefault(DatasetRef(unquote(quoted), config, commit), name)
        self._public_repositories.update(commits_in(self.bucket, None, public=True))
        for ref in refs:  # The same files, stored as an entry.
            self._repositories.pop(ref, None)
        return list(dict.fromkeys([*refs, *self._repositories]))

    def read(self, ref: DatasetRef, rows: int) -> Listing:
        """Return what there is to tell of one."""
        if name := self._repositories.get(ref):
            return _read_repository(self.bucket, ref, name, name in self._public_repositories)

        def find() -> Entry | NotHere:
            return find_indexed(self.bucket, ref, self.workers) or PrivateSource(
                self.bucket, self.workers
            ).find(ref)

        return _read(ref, find, rows, self._records.get(ref), self.public_files)


@dataclass(frozen=True, slots=True)
class PublicShelf:
    """What is shared with everybody, read without credentials."""

    public_files: PublicFiles
    workers: int
    _records: dict[DatasetRef, PublicRecord] = field(default_factory=dict, compare=False, repr=False)

    def refs(self) -> list[DatasetRef]:
        """Return the refs of all datasets. Without credentials nothing tells which repositories there are."""
        self._records.update(
            {r.ref: r for r in PublicSource(self.public_files, self.workers).records() or ()}
        )
        return list(self._records)

    def read(self, ref: DatasetRef, rows: int) -> Listing:
        """Return what there is to tell of one."""
        source, record = PublicSource(self.public_files, self.workers), self._records[ref]
        return _read(ref, functools.partial(source.open_record, record), rows, record, self.public_files)


#: Where the datasets of a catalog are.
Shelf: TypeAlias = BucketShelf | PublicShelf


def _read(
    ref: DatasetRef, find: Finder, rows: int, record: PublicRecord | None, public_files: PublicFiles
) -> Listing:
    made = Listing(ref)
    if record is not None:
        url = public_files.url(record.zip_key)
        made = Listing(ref, is_public=True, zip_url=url, zip_bytes=record.size_bytes)
    try:
        entry = find()
        if isinstance(entry, NotHere):
            return replace(made, problem=f"It can't be read: {entry.reason}")
        if not isinstance(entry, StoredEntry):
            return made
        card, splits = _card(entry), entry.manifest.splits[: _MAX_SPLITS if rows > 0 else 0]
        previews = tuple(_preview(entry, split, rows) for split in splits)
    except (HfLocalizeError, OSError) as exc:
        return replace(made, problem=f"It can't be read: {without_queries(str(exc))}")
    return replace(made, manifest=entry.manifest, card=card, previews=previews)


def _read_repository(bucket: Bucket, ref: DatasetRef, name: str, is_public: bool) -> Listing:
    kind, _, commit = name.split("/")
    repo_type = "Space" if kind == "space" else kind
    made = Listing(ref, is_public=is_public, repo_type=repo_type)
    try:
        repository = Repository(kind, ref.dataset_id)  # type: ignore[arg-type]  # It checks the type.
        place = repositories_in(bucket)
        snapshot = place.snapshot(repository, commit) if place else None
        if place is None or snapshot is None:
            return replace(made, problem="It can't be read: it was removed in the meantime")
        refs, readme = place.refs(repository), snapshot.find("README.md")
        card = _repository_card(place, readme) if readme else Card()
    except (HfLocalizeError, OSError) as exc:
        return replace(made, problem=f"It can't be read: {without_queries(str(exc))}")
    files = tuple(FileRecord(file.path, file.size_bytes, file.sha256) for file in snapshot.files)
    manifest = replace(terms_of(snapshot), config_name=ref.config_name, files=files)
    is_main = refs is not None and refs.resolve(None) == commit
    code = wording.snapshot_code(kind, ref.dataset_id, None if is_main else commit)
    return replace(made, manifest=manifest, card=card, code=code)


def _repository_card(place: RemoteRepositories, readme: RepositoryFile) -> Card:
    size = min(readme.size_bytes, cards.MOST_BYTES + 1)
    with io.BufferedReader(place.open_blob(readme.sha256, 0, size)) as file:
        data = file.read()
    is_whole = size == readme.size_bytes
    is_damaged = is_whole and hashlib.sha256(data).hexdigest() != readme.sha256
    return Card() if is_damaged else read_card(data)


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
    shards = [shard.path for shard in split.shards if shard.rows != 0]
    try:
        found, wanted = _first_of(entry, shards, rows), min(rows, split.rows)
    except (HfLocalizeError, OSError) as exc:
        return Preview(split.name, problem=f"Its rows can't be read: {without_queries(str(exc))}")
    if found is None or len(found.rows) >= wanted:
        return Preview(split.name, found)
    why = found.reason or f"the others are not in the first {_MAX_SHARDS} shards"
    return Preview(split.name, found, f"{len(found.rows)} of {text.plural(wanted, 'row')}: {why}.")


def _first_of(entry: StoredEntry, shards: Sequence[str], rows: int) -> FirstRows | None:
    """Return the first rows of shards that follow each other."""
    whole: FirstRows | None = None
    for path in shards[:_MAX_SHARDS]:
        have = len(whole.rows) if whole else 0
        if have >= rows or (whole and whole.reason):
            break
        size = entry.manifest.file(path).size_bytes
        found = first_rows(functools.partial(entry.open, path), size, rows - have, _MAX_BYTES)
        if whole is not None:
            found = replace(found, rows=whole.rows + found.rows, skipped=whole.skipped | found.skipped)
        whole = found
    return whole
