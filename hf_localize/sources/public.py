"""Publicly shared ZIPs as a source: no credentials, plain HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import logging
import shutil
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_localize.errors import AccessDeniedError, IntegrityError, StoreError, UnsafeArchiveError
from hf_localize.format import save_to_disk
from hf_localize.format.equivalence import Identity
from hf_localize.format.files import hash_file
from hf_localize.format.manifest import FileRecord, Manifest, repository_of
from hf_localize.format.public_records import PublicRecord, read_records, usable_records
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, DatasetRef
from hf_localize.format.repository import PUBLIC_FOLDER, RepoType
from hf_localize.format.sealed_json import MAX_JSON_BYTES
from hf_localize.format.zip import reader
from hf_localize.http.public_files import PublicFiles
from hf_localize.http.retry import retrying
from hf_localize.progress import Item, counter, task
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import Entry, NotHere, alternatives
from hf_localize.transfer.disk_space import require_room
from hf_localize.transfer.fetch import OpenRange, fetch_files
from hf_localize.transfer.remote_file import RemoteFile, range_reader

if TYPE_CHECKING:
    from hf_localize.sources.repositories import RemoteRepositories

_log = logging.getLogger(__name__)
NAME = SOURCE_NAMES["public"]
_MAX_RECORDS_BYTES = 64 << 20
#: A ZIP of the original tool has no manifest that bounds what it may unpack to: so many times its size, or
#: so many bytes, since columns that hold one value compress to a thousandth.
_MAX_EXPANSION, _MAX_SMALL_BYTES = 100, 1 << 30
_READ_AHEAD = 1 << 20
#: How many times a ZIP may be replaced between its record and the read of its directory.
_REPLACEMENTS = 5


@dataclass(frozen=True, slots=True)
class ZipFetch:
    """A public ZIP that can be fetched as a whole only: of the original tool, or packed by a person."""

    files: PublicFiles
    record: PublicRecord
    workers: int
    source: str = NAME

    @property
    def digest(self) -> str:
        """Return a hex name of the content, by what the record says of it."""
        url = self.files.url(self.record.zip_key)
        return self.record.digest or hashlib.sha256(url.encode()).hexdigest()

    def fetch_into(self, folder: Path) -> Manifest:
        """Download the ZIP, check it against its record, unpack it, check each file."""
        path = folder / ".download.zip"
        _download(self.files, self.record, path)
        try:
            manifest = reader.manifest_of(path, self.record.zip_key)
            if manifest is not None:
                _check_ref(manifest, self.record)
            records = None if manifest is None else manifest.files
            limit = max(path.stat().st_size * _MAX_EXPANSION, _MAX_SMALL_BYTES)
            limit = limit if manifest is None else manifest.size_bytes
            unpack(path, folder, records, limit_bytes=limit, workers=self.workers)
            if manifest is None:
                manifest = save_to_disk.describe_folder(folder, self.record.ref, hashed=True)
        except IntegrityError:
            shutil.rmtree(folder)  # Nothing of it is of use to another try.
            folder.mkdir()
            raise
        path.unlink()
        return manifest


@dataclass(frozen=True, slots=True)
class ZipEntry(ZipFetch):
    """A public ZIP that was packed by us: its files are read by ranges."""

    contents: reader.Contents = dataclasses.field(kw_only=True)

    @property
    def manifest(self) -> Manifest:
        """Return the entry's manifest."""
        return self.contents.manifest

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over one file; the read of its end raises if it was not as recorded."""
        record = self.manifest.file(path)
        return cast("BinaryIO", RemoteFile(record, range_reader(self.open_range, path), self.source))

    def fetch_into(self, folder: Path) -> Manifest:
        """Write the files of the entry into *folder*, each verified, and return its manifest."""
        return self.fetch_some(folder, [file.path for file in self.manifest.files])

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Write the files *paths* into *folder*, each verified, and return the manifest."""
        chosen = set(paths)
        needed = [record for record in self.manifest.files if record.path in chosen]
        with task("Fetching", self.manifest.ref, needed):
            fetch_files(needed, self.open_range, folder, workers=self.workers)
        return self.manifest

    def open_range(self, path: str, start: int, stop: int | None) -> io.RawIOBase:
        """Return a file's bytes from *start* to before *stop* (None: its end) for one reading."""
        assert self.contents.members is not None
        member = self.contents.members[path]
        open_range = functools.partial(self.files.open_range, self.record.zip_key)
        return reader.open_member(member, open_range, start, member.size_bytes if stop is None else stop)


@dataclass(frozen=True, slots=True)
class PublicSource:
    """Answer from the records that a publisher has shared."""

    files: PublicFiles
    workers: int
    kind: str = "public"
    name: str = NAME
    #: What :meth:`find` has read last, for a question about the repository that follows it.
    _read: list[list[PublicRecord]] = dataclasses.field(default_factory=list, compare=False, repr=False)
    #: The same, for the error of a dataset that is not here.
    _seen: list[PublicRecord] = dataclasses.field(default_factory=list, compare=False, repr=False)

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the shared ZIP for *ref*, found by the fields of its record."""
        before: list[PublicRecord] | None = None
        for _ in range(_REPLACEMENTS):
            try:
                return self._find(ref)
            except UnsafeArchiveError:
                raise
            except IntegrityError:
                if self._seen == before:
                    raise  # Nothing was replaced while it was read.
                before = self._seen.copy()
        return self._find(ref)

    def _find(self, ref: DatasetRef) -> Entry | NotHere:
        where = self.files.url(PUBLIC_RECORDS_KEY)
        try:
            records = self.records()
        except AccessDeniedError as exc:
            return NotHere(f"nothing is shared, or reading is not permitted: {exc}")
        self._read[:], self._seen[:] = [records or []], records or []
        if records is None:
            return NotHere(f"{where} does not exist: nothing is shared there")
        matching = [record for record in records if record.answers(ref)]
        if not matching:
            others = [str(record.ref) for record in records if record.has_id(ref.dataset_id)]
            return NotHere(f"not among the records of {where}{alternatives(others)}")
        entry = self.open_record(min(matching, key=lambda found: found.ref != ref))
        if isinstance(entry, ZipEntry) and not entry.manifest.answers(ref):
            raise IntegrityError(f"{entry.record.zip_key} is not {ref}, though its record says so")
        return entry

    def open_record(self, record: PublicRecord) -> ZipFetch:
        """Return the ZIP of *record*; its directory and manifest are read if it was packed by us."""
        if record.digest is None or record.size_bytes is None:
            return ZipFetch(self.files, record, self.workers)
        contents = self._contents(record)
        if contents.members is None:  # Somebody else has packed it: it can't be read by ranges.
            return ZipFetch(self.files, record, self.workers)
        return ZipEntry(self.files, record, self.workers, contents=contents)

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any shared manifest that tells the configs of the repository of *ref*."""
        records = (self._read.pop() if self._read else self.records()) or []
        for record in records:
            if record.has_id(ref.dataset_id) and record.digest and record.size_bytes:
                manifest = self._contents(record).manifest
                if manifest.tells_configs(ref):
                    return manifest
        return repository_of(records, ref)

    def stored(self, ref: DatasetRef) -> Sequence[Identity]:
        """Return what is shared of the dataset id of *ref*, whatever its config and revision."""
        return [record for record in self.records() or [] if record.has_id(ref.dataset_id)]

    def known_ids(self) -> Collection[str]:
        """Return the ids in the records that :meth:`find` has read last."""
        return {record.ref.dataset_id for record in self._seen}

    def records(self) -> list[PublicRecord] | None:
        """Return all records, or None where nothing was ever shared."""
        document = self.document()
        return None if document is None else usable_records(document)

    def document(self) -> dict[str, Any] | None:
        """Return ``public_datasets.json`` as it is, or None where nothing was ever shared.

        Raises:
            IntegrityError: it is not a JSON object.
        """
        data = self.files.get(PUBLIC_RECORDS_KEY, limit_bytes=_MAX_RECORDS_BYTES)
        return None if data is None else read_records(data, self.files.url(PUBLIC_RECORDS_KEY))

    def _contents(self, record: PublicRecord) -> reader.Contents:
        where = self.files.url(record.zip_key)
        read_range = functools.partial(_read, self.files.open_range, record.zip_key)
        remote = reader.TailedFile(record.size_bytes or 0, record.tail_bytes, read_range)
        contents = reader.read_contents(remote, where)
        if contents is None or contents.manifest.digest != record.digest:
            raise IntegrityError(f"{where} is not what its record describes")
        _check_ref(contents.manifest, record)
        return contents


def _check_ref(manifest: Manifest, record: PublicRecord) -> None:
    if manifest.ref != record.ref:
        raise IntegrityError(f"{record.zip_key} holds {manifest.ref}, though its record says {record.ref}")


def _read(open_range: OpenRange, name: str, start: int, stop: int) -> memoryview:
    """Return a range of a file, with a few tries."""
    buffer = memoryview(bytearray(stop - start))
    if buffer:
        range_reader(open_range, name)(start, buffer)
    return buffer


def _download(files: PublicFiles, record: PublicRecord, path: Path) -> None:
    """Download the record's ZIP to *path*; what is there already is continued."""
    there = path.stat().st_size if path.exists() else 0
    try:
        require_room(path.parent, max(0, (record.size_bytes or 0) - there))
    except StoreError:
        size = record.size_bytes or 0
        _read(files.open_range, record.zip_key, max(0, size - 1), size)  # Is it as large as its record says?
        raise

    def go_on() -> None:
        note = counter(record.zip_key)
        with open(path, "ab") as sink:
            start = sink.tell() if record.sha256 else sink.truncate(0)
            if record.size_bytes is None or start < record.size_bytes:
                with files.open_range(record.zip_key, start) as body:
                    while piece := body.read(_READ_AHEAD):
                        note(sink.tell() + sink.write(piece))

    whole = None if record.size_bytes is None else [Item(record.zip_key, record.size_bytes)]
    with task("Fetching", record.ref, whole):
        retrying(record.zip_key, go_on)
    if record.sha256 is not None and hash_file(path, record.zip_key).sha256 != record.sha256:
        path.unlink()
        raise IntegrityError(f"{files.url(record.zip_key)} does not have the sha256 of its record")


def unpack(
    path: Path, folder: Path, records: tuple[FileRecord, ...] | None, *, limit_bytes: int, workers: int
) -> list[FileRecord]:
    """Unpack the ZIP at *path* into *folder* and return the files' records with hashes.

    Args:
        records: the files in the manifest; None: unpack every member.
        limit_bytes: bytes that all members together may have.

    Raises:
        UnsafeArchiveError: a member is refused, or all together are larger than *limit_bytes*.
        IntegrityError: a file differs from its record, or the ZIP is damaged.
    """
    where = path.name
    with open(path, "rb") as file, reader.open_zip(file, where) as archive:
        members = reader.members_of(archive, where)
        needed = records or tuple(FileRecord(name, info.file_size) for name, info in members.items())
        reader.require_sizes(needed, {name: info.file_size for name, info in members.items()}, where)
        if sum(record.size_bytes for record in needed) > limit_bytes:
            raise UnsafeArchiveError(f"{where} would unpack to more than {limit_bytes} bytes")
        with task("Unpacking", where, needed):
            open_member = functools.partial(_open_foreign, archive)
            return fetch_files(needed, open_member, folder, workers=workers, are_divided=False)


def _open_foreign(archive: zipfile.ZipFile, name: str, start: int, _stop: int | None) -> io.RawIOBase:
    member = archive.open(name)
    member.seek(start)
    return cast("io.RawIOBase", member)  # ZipExtFile reads like one.


def public_repositories(public_files: PublicFiles) -> RemoteRepositories:
    """Return the public repositories, which are read without credentials."""
    from hf_localize.sources.repositories import RemoteRepositories

    def read(key: str) -> bytes | None:
        try:
            return public_files.get(key, limit_bytes=MAX_JSON_BYTES)
        except AccessDeniedError as exc:  # So some servers answer for a key that is missing.
            _log.debug("%s: not here, or not permitted: %s", key, exc)
            return None

    def known_ids(repo_type: RepoType) -> Collection[str]:
        """Return the ids of shared datasets. Without credentials, models and Spaces can't be listed."""
        if repo_type != "dataset":
            return ()
        with contextlib.suppress(AccessDeniedError):  # As above.
            return [record.ref.dataset_id for record in PublicSource(public_files, 1).records() or ()]
        return ()

    return RemoteRepositories(NAME, PUBLIC_FOLDER, read, public_files.open_range, known_ids)
