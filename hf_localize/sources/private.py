"""The team's private bucket as a source."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from hf_localize import layout
from hf_localize.bucket import Bucket, NotPermittedError
from hf_localize.crew import trying
from hf_localize.entries import Entry, NotHere, instead
from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.manifest import (
    FileRecord,
    Manifest,
    parse_json,
    read_manifest,
    read_pointer,
    tells_configs,
)
from hf_localize.reading import RemoteFile
from hf_localize.refs import (
    MANIFEST_NAME,
    PUBLIC_ZIP_FOLDER,
    DatasetRef,
    index_prefix,
    ref_of_folder,
    ref_of_index_key,
)
from hf_localize.transfer import fetch_files, fill, run_all

NAME = "private S3"


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """An entry in the bucket. ``is_indexed`` is False where the original tool wrote it."""

    bucket: Bucket
    folder: str
    manifest: Manifest
    digest: str
    workers: int
    is_indexed: bool = True
    source: str = NAME

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over one file; the read of its end raises if it was not as recorded."""
        record = self.manifest.file(path)
        if not record.size_bytes:  # Nobody has listed it.
            return io.BufferedReader(self._open_range(path, 0, None))

        def read_range(start: int, stop: int) -> memoryview:
            buffer = memoryview(bytearray(stop - start))
            trying(path, lambda: fill(buffer, self._open_range(path, start, stop), path))
            return buffer

        return cast("BinaryIO", RemoteFile(record, read_range, self.source))

    def fetch_into(self, folder: Path) -> Manifest:
        """Fetch every file, verified. If one differs, the manifest is read again, once."""
        try:
            fetch_files(self.manifest.files, self._open_range, folder, workers=self.workers)
        except IntegrityError:
            newer = find_indexed(self.bucket, self.manifest.ref, self.workers) if self.is_indexed else None
            if newer is None or newer.digest == self.digest:
                raise
            fetch_files(newer.manifest.files, newer._open_range, folder, workers=self.workers)
            return newer.manifest
        if self.is_indexed:
            return self.manifest
        return layout.describe_folder(folder, self.manifest.ref, hashed=True)

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Fetch the files *paths*, verified."""
        wanted = [self.manifest.file(path) for path in paths]
        fetch_files(wanted, self._open_range, folder, workers=self.workers)
        return self.manifest

    def _open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        try:
            return self.bucket.open_range(f"{self.folder}/{path}", start, stop)
        except FileNotFoundError as exc:
            raise IntegrityError(f"{path} is missing: {exc}") from exc


@dataclass(frozen=True, slots=True)
class PrivateSource:
    """Answer from the bucket, by the credentials' rights."""

    bucket: Bucket
    workers: int
    kind: str = "s3"
    name: str = NAME

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the bucket's entry for *ref*: by its index, a pointer, or the original layout."""
        if not self.bucket.has_credentials:
            return NotHere("not asked: there are no credentials")
        reason = f"not in {self.bucket.address}"
        steps: tuple[Callable[[], BucketEntry | None], ...] = (
            lambda: find_indexed(self.bucket, ref, self.workers),
            *(functools.partial(self._follow, key, ref) for key in ref.alias_keys),
            lambda: self._find_by_short_commit(ref),
            lambda: self._find_unindexed(ref),
        )
        for step in steps:
            try:
                entry = step()
            except NotPermittedError as exc:
                reason = f"not here, or not permitted: {exc}"
                continue
            if entry is not None:
                return entry
        return NotHere(f"{reason}{instead(self._others(ref))}")

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any indexed manifest that tells the configs of the repository of *ref*."""
        if not self.bucket.has_credentials:
            return None
        try:
            data = self.bucket.get(ref.repository_key)
        except NotPermittedError:  # So a missing key is answered where keys may not be listed.
            return None
        if data is None:
            return None
        entry = find_indexed(self.bucket, read_pointer(data, ref.repository_key), self.workers)
        return entry.manifest if entry is not None and tells_configs(entry.manifest, ref) else None

    def _others(self, ref: DatasetRef) -> list[str]:
        """Return what the bucket has of the dataset instead, as far as its keys may be listed."""
        try:
            keys = [info.key for info in self.bucket.list_keys(index_prefix(ref.dataset_id))]
        except NotPermittedError:
            return []
        return [str(found) for key in keys if (found := ref_of_index_key(key)) is not None]

    def _find_by_short_commit(self, ref: DatasetRef) -> BucketEntry | None:
        keys = (info.key for prefix in ref.alias_prefixes for info in self.bucket.list_keys(prefix))
        return next((entry for key in keys if (entry := self._follow(key, ref))), None)

    def _follow(self, key: str, ref: DatasetRef) -> BucketEntry | None:
        """Return the entry to which the pointer at *key* leads, if it is what *ref* names."""
        data = self.bucket.get(key)
        entry = find_indexed(self.bucket, read_pointer(data, key), self.workers) if data else None
        return entry if entry is not None and entry.manifest.answers(ref) else None

    def _find_unindexed(self, ref: DatasetRef) -> BucketEntry | None:
        """Find data that has no index key, as the original tool or a person leaves it."""
        folder = ref.folders[0]
        try:
            keys = {k.key.removeprefix(f"{folder}/"): k for k in self.bucket.list_keys(f"{folder}/")}
        except NotPermittedError:
            return self._find_unlisted(ref, folder)
        if MANIFEST_NAME in keys:
            return None  # It is ours: only an index key says that it is whole, and whose it is.
        if not keys.keys() & {layout.DICT_FILE, layout.INFO_FILE}:
            return None
        manifest = layout.describe(self._reader(folder, keys), ref, folder)
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
        if read(layout.DICT_FILE) is None and read(layout.INFO_FILE) is None:
            return None
        return self._unindexed(folder, layout.describe(read, ref, folder))

    def _reader(self, folder: str, keys: Container[str] | None = None) -> layout.ReadFile:
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
        return BucketEntry(self.bucket, folder, manifest, digest, self.workers, is_indexed=False)


def find_indexed(bucket: Bucket, ref: DatasetRef, workers: int) -> BucketEntry | None:
    """Return the entry whose commit mark is at *ref*'s index key, by one request."""
    data = bucket.get(ref.index_key)
    if data is None:
        return None
    manifest, folder = read_index(data, f"{ref.index_key} in {bucket.address}")
    if not manifest.answers(ref):
        raise IntegrityError(f"{ref.index_key} in {bucket.address} describes {manifest.ref}, not {ref}")
    return BucketEntry(bucket, folder, manifest, manifest.digest, workers)


def list_refs(bucket: Bucket, workers: int) -> list[DatasetRef]:
    """Return the refs of all entries: those of the index, and folders that no index names.

    One request lists 1,000 index keys; folders without index cost a request for each level.
    """
    indexed = [ref for info in bucket.list_keys(index_prefix()) if (ref := ref_of_index_key(info.key))]
    known = {folder.split("/")[0] for ref in indexed for folder in ref.folders}
    names, _ = bucket.list_folder("")
    others = [name for name in names if name not in known | {PUBLIC_ZIP_FOLDER, ".hgloc"}]
    found = run_all(lambda name: _refs_below(bucket, name), others, workers=workers)
    return [*indexed, *(ref for refs in found for ref in refs)]


def _refs_below(bucket: Bucket, name: str) -> list[DatasetRef]:
    """Return the refs of the folders ``<name>/<config>/<revision>`` that hold a whole dataset."""
    refs = []
    for config in bucket.list_folder(f"{name}/")[0]:
        for revision in bucket.list_folder(f"{name}/{config}/")[0]:
            _, files = bucket.list_folder(f"{name}/{config}/{revision}/")
            if {layout.DICT_FILE, layout.INFO_FILE} & set(files) and MANIFEST_NAME not in files:
                with contextlib.suppress(InvalidRefError):
                    refs.append(ref_of_folder(f"{name}/{config}/{revision}"))
    return refs


def index_document(manifest: Manifest, folder: str) -> bytes:
    """Return the commit mark: the manifest, and the folder (relative to the prefix) of its files."""
    document = json.loads(manifest.to_bytes())
    return json.dumps({**document, "folder": folder}, indent=1, ensure_ascii=False).encode()


def read_index(data: bytes, where: str) -> tuple[Manifest, str]:
    """Return the manifest and the folder that a commit mark holds.

    Raises:
        IntegrityError: it is not a commit mark, or names a folder that is not the entry's.
    """
    manifest = read_manifest(data, where)
    folder = parse_json(data, where).get("folder")
    if folder not in data_folders(manifest):
        raise IntegrityError(f"{where} names the folder {folder!r}, which can't be its entry's")
    return manifest, folder


def data_folders(manifest: Manifest) -> tuple[str, ...]:
    """Return the folders in which the entry's files may lie, the usual one first.

    The last is for content that takes the place of other content under the same ref.
    """
    folders = manifest.ref.folders
    return (*folders, f"{folders[0]}@{manifest.digest[:8]}")
