"""The team's private bucket as a source."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format import save_to_disk
from hf_localize.format.equivalence import Identity
from hf_localize.format.index import CatalogEntry, IndexEntry, read_catalog, read_index_entry
from hf_localize.format.manifest import FileRecord, Manifest, repository_of
from hf_localize.format.refs import (
    MANIFEST_NAME,
    PUBLIC_RECORDS_KEY,
    PUBLIC_ZIP_FOLDER,
    DatasetRef,
    catalog_key,
    id_of_original_mark,
    index_prefix,
    ref_of_folder,
    ref_of_index_key,
    safe_part,
)
from hf_localize.format.repository import PRIVATE_FOLDER, RepoType
from hf_localize.http.retry import reread
from hf_localize.progress import task
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.errors import NotPermittedError
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import Entry, NotHere, alternatives
from hf_localize.sources.original_index import KEY as PRIVATE_INDEX_KEY
from hf_localize.sources.original_index import refs_by_folder
from hf_localize.transfer.fetch import fetch_files
from hf_localize.transfer.remote_file import RemoteFile, range_reader
from hf_localize.transfer.workers import filter_all, run_all

if TYPE_CHECKING:
    from hf_localize.sources.repositories import RemoteRepositories

_log = logging.getLogger(__name__)
NAME = SOURCE_NAMES["s3"]


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """An entry in the bucket. ``is_indexed`` is False where the original tool wrote it."""

    bucket: Bucket
    placed: IndexEntry
    digest: str
    workers: int
    is_indexed: bool = True
    source: str = NAME

    @property
    def manifest(self) -> Manifest:
        """Return the entry's manifest."""
        return self.placed.manifest

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over one file; the read of its end raises if it was not as recorded."""
        record = self.manifest.file(path)
        if not record.size_bytes:  # Nobody has listed it.
            return io.BufferedReader(self._open_range(path, 0, None))

        return cast("BinaryIO", RemoteFile(record, range_reader(self._open_range, path), self.source))

    def fetch_into(self, folder: Path) -> Manifest:
        """Fetch every file, verified."""
        self._fetch(self.manifest.files, folder)
        if self.is_indexed:
            return self.manifest
        return save_to_disk.describe_folder(folder, self.manifest.ref, hashed=True)

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Fetch the files *paths*, verified."""
        self._fetch([self.manifest.file(path) for path in paths], folder)
        return self.manifest

    def _fetch(self, files: Sequence[FileRecord], folder: Path) -> None:
        with task("Fetching", self.manifest.ref, files):
            fetch_files(files, self._open_range, folder, workers=self.workers)

    def _open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        try:
            return self.bucket.open_range(self.placed.key(path), start, stop)
        except FileNotFoundError as exc:
            raise IntegrityError(f"{path} is missing: {exc}") from exc


@dataclass(frozen=True, slots=True)
class PrivateSource:
    """Answer from the bucket, by the credentials' rights."""

    bucket: Bucket
    workers: int
    kind: str = "s3"
    name: str = NAME

    #: The catalog that :meth:`find` has read last, for a question about the repository that follows.
    _read: list[list[CatalogEntry]] = field(default_factory=list, compare=False, repr=False)

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the bucket's entry for *ref*: by its index, its id's catalog, or the original layout."""
        if not self.bucket.has_credentials:
            return NotHere(f"not asked: {self.bucket.missing_credentials}")
        reason = f"not in {self.bucket.address}"
        listed: list[CatalogEntry] = []

        def by_catalog() -> BucketEntry | None:
            listed[:] = self._catalog(ref)
            self._read[:] = [listed]
            refs = (found.ref for found in listed if found.ref != ref and found.answers(ref))
            return self._first_of(refs, ref)

        steps: tuple[Callable[[], BucketEntry | None], ...] = (
            lambda: find_indexed(self.bucket, ref, self.workers),
            by_catalog,
            lambda: self._find_unindexed(ref),
            lambda: self._find_unindexed(ref.spellings[0]) if ref != ref.spellings[0] else None,
        )
        for step in steps:
            try:
                entry = step()
            except NotPermittedError as exc:
                reason = f"not here, or not permitted: {exc}"
                continue
            if entry is not None:
                return entry
        return NotHere(f"{reason}{alternatives([str(found.ref) for found in listed])}")

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any indexed manifest that tells the configs of the repository of *ref*."""
        if not self.bucket.has_credentials:
            return None
        try:
            listed = self._read.pop() if self._read else self._catalog(ref)
        except NotPermittedError:  # So a missing key is answered where keys may not be listed.
            return None
        entry = self._first_of(
            found.ref for found in listed if found.tells_configs and found.is_of_repository(ref)
        )
        if entry is not None and entry.manifest.tells_configs(ref):
            return entry.manifest
        return repository_of(listed, ref)

    def stored(self, ref: DatasetRef) -> Sequence[Identity]:
        """Return what is stored of the dataset id of *ref*, whatever its config and revision."""
        if not self.bucket.has_credentials:
            return ()
        try:
            if listed := self._catalog(ref):
                return listed
            refs = list_refs(self.bucket, self.workers, all_folders=False, beginning=ref.dataset_id)
        except NotPermittedError:  # So a missing key is answered where keys may not be listed.
            return ()
        return [Identity(found) for found in refs]

    def known_ids(self) -> Collection[str]:
        """Return none: a load reads only what the bucket lists of one dataset id."""
        return ()

    def _catalog(self, ref: DatasetRef) -> list[CatalogEntry]:
        """Return what the bucket lists of the dataset id of *ref*, by one request."""
        key = catalog_key(ref.dataset_id)

        def read() -> list[CatalogEntry]:
            data = self.bucket.get(key)
            return [] if data is None else read_catalog(data, f"{key} in {self.bucket.address}")

        return reread(read)

    def _first_of(self, refs: Iterable[DatasetRef], asked: DatasetRef | None = None) -> BucketEntry | None:
        """Return the first entry that is there and is what was *asked* for.

        One that is listed may not be whole yet, and what a catalog tells of it may be wrong.
        """
        found = (find_indexed(self.bucket, ref, self.workers) for ref in refs)
        return next((e for e in found if e and (asked is None or e.manifest.answers(asked))), None)

    def _find_unindexed(self, ref: DatasetRef) -> BucketEntry | None:
        """Find data that has no index key, as the original tool or a person leaves it."""
        folder = ref.folders[0]
        try:
            keys = {k.key.removeprefix(f"{folder}/"): k for k in self.bucket.list_keys(f"{folder}/")}
        except NotPermittedError:
            return self._find_unlisted(ref, folder)
        if MANIFEST_NAME in keys:
            return None  # It is ours: only an index key says that it is whole, and whose it is.
        if not keys.keys() & {save_to_disk.DICT_FILE, save_to_disk.INFO_FILE}:
            return None
        manifest = save_to_disk.describe(self._reader(folder, keys), ref, folder)
        if missing := [f.path for f in manifest.files if f.path not in keys]:
            raise IntegrityError(f"{folder} in {self.bucket.address} is incomplete: {missing[0]} is missing")
        files = tuple(FileRecord(f.path, keys[f.path].size_bytes) for f in manifest.files)
        etags = "".join(keys[f.path].etag for f in manifest.files)
        return self._unindexed(folder, replace(manifest, files=files), etags)

    def _find_unlisted(self, ref: DatasetRef, folder: str) -> BucketEntry | None:
        """Find the same where keys may be read but not listed."""
        read = self._reader(folder)
        if read(MANIFEST_NAME) is not None:
            return None
        if read(save_to_disk.DICT_FILE) is None and read(save_to_disk.INFO_FILE) is None:
            return None
        return self._unindexed(folder, save_to_disk.describe(read, ref, folder))

    def _reader(self, folder: str, keys: Container[str] | None = None) -> save_to_disk.ReadFile:
        def read(path: str) -> bytes | None:
            if keys is not None and path not in keys:
                return None
            try:
                return self.bucket.get(f"{folder}/{path}")
            except NotPermittedError:  # So a missing key is answered where keys may not be listed.
                return None

        return read

    def _unindexed(self, folder: str, manifest: Manifest, etags: str = "") -> BucketEntry:
        digest = hashlib.sha256(f"{manifest.digest}{etags}".encode()).hexdigest()
        return BucketEntry(self.bucket, IndexEntry(manifest, folder), digest, self.workers, is_indexed=False)


def repositories_in(bucket: Bucket) -> RemoteRepositories | None:
    """Return the repositories in the team's bucket; None: there are no credentials for it."""
    if not bucket.has_credentials:
        _log.debug("%s is not asked: %s", bucket.address, bucket.missing_credentials)
        return None
    from hf_localize.sources.repositories import RemoteRepositories

    def read(key: str) -> bytes | None:
        try:
            return bucket.get(key)
        except NotPermittedError as exc:  # So a missing key is answered where keys may not be listed.
            _log.debug("%s: not here, or not permitted: %s", key, exc)
            return None

    def open_range(key: str, start: int, stop: int | None) -> io.RawIOBase:
        try:
            return bucket.open_range(key, start, stop)
        except FileNotFoundError as exc:
            raise IntegrityError(f"{key} is missing: {exc}") from exc

    def known_ids(repo_type: RepoType) -> Collection[str]:
        try:
            names, _ = bucket.list_folder(f"{PRIVATE_FOLDER}/repositories/{repo_type}/")
        except NotPermittedError:
            return ()
        return [unquote(name) for name in names]

    return RemoteRepositories(NAME, PRIVATE_FOLDER, read, open_range, known_ids)


def find_indexed(bucket: Bucket, ref: DatasetRef, workers: int) -> BucketEntry | None:
    """Return the entry whose commit mark is at *ref*'s index key, by one request."""
    return reread(lambda: _read_mark(bucket, ref, workers))


def _read_mark(bucket: Bucket, ref: DatasetRef, workers: int) -> BucketEntry | None:
    data = bucket.get(ref.index_key)
    if data is None:
        return None
    placed = read_index_entry(data, f"{ref.index_key} in {bucket.address}")
    if not placed.manifest.answers(ref):
        raise IntegrityError(
            f"{ref.index_key} in {bucket.address} describes {placed.manifest.ref}, not {ref}"
        )
    return BucketEntry(bucket, placed, placed.manifest.digest, workers)


def list_refs(bucket: Bucket, workers: int, *, all_folders: bool, beginning: str = "") -> list[DatasetRef]:
    """Return the refs of all entries: those of the index, and folders that no index names.

    One request lists 1,000 index keys; a folder without index costs a request for each level.

    The original tool's own lists tell the ids of its folders. Of ids that the index names, it is asked
    for others where a mark says that the original tool has some too.

    Args:
        all_folders: where there is an index, look for others among all folders. Else it is among
            the first 1,000, and a warning says so if there are more.
        beginning: with which the ids begin.
    """
    below = index_prefix(beginning)
    keys = [info.key for info in bucket.list_keys(below)]
    indexed = [ref for key in keys if (ref := ref_of_index_key(key))]
    marked = {safe_part(name) for key in keys if (name := id_of_original_mark(key))}
    known = {folder for ref in indexed for folder in ref.folders}
    names, files, last = _first_level(
        bucket, safe_part(beginning), is_partly=bool(indexed) and not all_folders
    )
    others = set(names) - {folder.split("/")[0] for folder in known} - {PUBLIC_ZIP_FOLDER, ".hgloc"}
    others |= marked

    def may_have(key: str) -> bool:
        return bool(others) if beginning else key in files or (last is not None and key > last)

    found = run_all(lambda name: _folders_below(bucket, name, known), sorted(others), workers=workers)
    folders = [folder for some in found for folder in some]
    named = refs_by_folder(bucket, PRIVATE_INDEX_KEY) if may_have(PRIVATE_INDEX_KEY) else {}
    rest = [
        folder
        for folder, ref in named.items()
        if ref.dataset_id.startswith(beginning) and folder not in known and folder.split("/")[0] not in others
    ]
    folders += filter_all(lambda folder: _is_unindexed(bucket, folder), rest, workers=workers)
    if any(folder not in named for folder in folders) and may_have(PUBLIC_RECORDS_KEY):
        named = refs_by_folder(bucket, PUBLIC_RECORDS_KEY) | named
    return [*indexed, *(ref for folder in folders if (ref := named.get(folder) or _ref_of(folder)))]


def _first_level(bucket: Bucket, first: str, *, is_partly: bool) -> tuple[list[str], list[str], str | None]:
    """Return the folders and objects of the bucket that begin with *first*, and the last that was looked at.

    Args:
        is_partly: of 1,000 only. Where all were looked at, the last is None.
    """
    names: list[str] = []
    files: list[str] = []
    for page, objects, has_more in bucket.folder_pages(first):
        files += [first + name for name in objects]
        names += [first + name for name in page]
        if names and has_more and is_partly:
            _log.warning(
                "%s has more than %d folders. Datasets without an index entry were looked for only "
                "in these. To look in all folders: hg-localize list-s3 --all-folders",
                bucket.address,
                len(names),
            )
            return names, files, max(first + name for name in (*page, *objects))
    return names, files, None


def ids_beginning(bucket: Bucket, beginning: str) -> tuple[list[str], bool]:
    """Return up to 1,000 ids with that *beginning*, by one request, and whether these are all."""
    below = index_prefix(beginning)
    names, _, has_more = next(bucket.folder_pages(below), ([], [], False))
    ids = []
    for name in names:
        with contextlib.suppress(InvalidRefError):
            ids.append(DatasetRef(unquote(below[len(index_prefix()) :] + name)).dataset_id)
    return ids, not has_more


def _folders_below(bucket: Bucket, name: str, known: Container[str]) -> list[str]:
    """Return the folders ``<name>/<config>/<revision>``, but for *known* ones, that hold a whole dataset."""
    return [
        folder
        for config in bucket.list_folder(f"{name}/")[0]
        for revision in bucket.list_folder(f"{name}/{config}/")[0]
        if (folder := f"{name}/{config}/{revision}") not in known and _is_unindexed(bucket, folder)
    ]


def _is_unindexed(bucket: Bucket, folder: str) -> bool:
    """Tell whether *folder* holds a dataset that no index names."""
    _, files = bucket.list_folder(f"{folder}/")
    return bool({save_to_disk.DICT_FILE, save_to_disk.INFO_FILE} & set(files)) and MANIFEST_NAME not in files


def _ref_of(folder: str) -> DatasetRef | None:
    try:
        return ref_of_folder(folder)
    except InvalidRefError:
        return None
