"""Publicly shared ZIPs as a source: no credentials, plain HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import struct
import time
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from hf_localize import archive, layout
from hf_localize.crew import trying
from hf_localize.entries import Entry, NotHere, instead
from hf_localize.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidRefError,
    UnreachableError,
    UnsafeArchiveError,
)
from hf_localize.manifest import (
    Manifest,
    answers,
    check_paths,
    hash_file,
    is_same_id,
    parse_json,
    tells_configs,
)
from hf_localize.reading import RemoteFile
from hf_localize.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.transfer import fetch_files
from hf_localize.web import PublicFiles

NAME = "public ZIP"
_MAX_RECORDS_BYTES = 64 << 20
#: A ZIP of the original tool has no manifest that bounds what it may unpack to.
_MAX_EXPANSION = 100
_TRIES = 4
#: A member's header with its name has no more, in ours; with it comes what is wanted first of its data.
_LOCAL_HEADER_BYTES = 1 << 10
_WITH_HEADER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class PublicRecord:
    """One record of ``public_datasets.json``; sizes and hashes are absent in the original tool's."""

    ref: DatasetRef
    zip_key: str
    size_bytes: int | None = None
    sha256: str | None = None
    digest: str | None = None
    canonical_id: str | None = None
    resolved_config: str | None = None
    is_default_config: bool = False
    commit: str | None = None

    def answers(self, ref: DatasetRef) -> bool:
        """Tell whether this record is what *ref* names, as a manifest would."""
        return answers(self, ref)


@dataclass(frozen=True, slots=True)
class ZipFetch:
    """A public ZIP that can be fetched as a whole."""

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
            with zipfile.ZipFile(path) as opened:
                manifest = archive.manifest_in(opened, self.record.zip_key)
        except zipfile.BadZipFile as exc:
            path.unlink()
            raise IntegrityError(f"{self.record.zip_key} is not a ZIP: {exc}") from exc
        records = None if manifest is None else manifest.files
        limit = path.stat().st_size * _MAX_EXPANSION if manifest is None else manifest.size_bytes
        archive.unpack(path, folder, records, limit_bytes=limit, workers=self.workers)
        path.unlink()
        if manifest is None:
            return layout.describe_folder(folder, self.record.ref, hashed=True)
        return _of_record(manifest, self.record)


@dataclass(frozen=True, slots=True)
class ZipEntry(ZipFetch):
    """A public ZIP whose members can also be read where they lie, by ranges."""

    manifest: Manifest = dataclasses.field(kw_only=True)
    #: Where each member begins in the ZIP.
    offsets: Mapping[str, int] = dataclasses.field(kw_only=True)

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Fetch the files *paths*, verified."""
        members = {path: self._member(path) for path in paths}
        wanted = [self.manifest.file(path) for path in paths]

        def open_range(path: str, start: int, stop: int | None) -> io.RawIOBase:
            assert stop is not None, "each file's size is known"
            return cast("io.RawIOBase", io.BytesIO(members[path].read(start, stop)))

        fetch_files(wanted, open_range, folder, workers=self.workers)
        return self.manifest

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over one member; the read of its end raises if it was not as recorded."""
        member = self._member(path)

        def read_range(start: int, stop: int) -> bytes:
            found: list[bytes] = []
            trying(path, lambda: found.append(member.read(start, stop)))
            return found[-1]

        return cast("BinaryIO", RemoteFile(self.manifest.file(path), read_range, self.source))

    def _member(self, path: str) -> _StoredMember:
        return _StoredMember(self.files, self.record.zip_key, self.offsets[path])


class _StoredMember:
    """A member of a ZIP that is not compressed: its bytes lie in the ZIP as they are."""

    def __init__(self, files: PublicFiles, zip_key: str, offset: int) -> None:
        self._files = files
        self._zip_key = zip_key
        self._offset = offset
        self._data_offset: int | None = None

    def read(self, start: int, stop: int) -> bytes:
        """Return the member's bytes from *start* to before *stop*, by one request."""
        if self._data_offset is not None:
            return self._files.read_range(self._zip_key, self._data_offset + start, stop - start)
        # The local header's length is in itself. APPNOTE 6.3.10, section 4.3.7.
        asked = _LOCAL_HEADER_BYTES + min(stop, _WITH_HEADER_BYTES)
        head = self._files.read_range(self._zip_key, self._offset, asked)
        if head[:4] != b"PK\3\4":
            raise IntegrityError(f"{self._files.url(self._zip_key)} is not what its record describes")
        name, extra = struct.unpack_from("<HH", head, 26)
        self._data_offset = self._offset + 30 + name + extra
        known = head[30 + name + extra :]
        if stop <= len(known):
            return known[start:stop]
        return self.read(start, stop)


@dataclass(frozen=True, slots=True)
class PublicSource:
    """Answer from the records that a publisher has shared."""

    files: PublicFiles
    workers: int
    kind: str = "public"
    name: str = NAME

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the shared ZIP for *ref*, found by the fields of its record."""
        where = self.files.url(PUBLIC_RECORDS_KEY)
        try:
            records = self.records()
        except AccessDeniedError as exc:
            return NotHere(f"nothing is shared, or it may not be read: {exc}")
        if records is None:
            return NotHere(f"{where} does not exist: nothing is shared there")
        matching = [record for record in records if record.answers(ref)]
        if not matching:
            others = [str(record.ref) for record in records if is_same_id(record, ref.dataset_id)]
            return NotHere(f"not among the records of {where}{instead(others)}")
        record = min(matching, key=lambda found: found.ref != ref)
        if record.digest is None or record.size_bytes is None:
            return ZipFetch(self.files, record, self.workers)
        manifest, offsets = self._open(record)
        if offsets is None:
            return ZipFetch(self.files, record, self.workers)
        return ZipEntry(self.files, record, self.workers, manifest=manifest, offsets=offsets)

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any shared manifest that tells the configs of the repository of *ref*."""
        for record in self.records() or ():
            if is_same_id(record, ref.dataset_id) and record.digest and record.size_bytes:
                manifest, _ = self._open(record)
                if tells_configs(manifest, ref):
                    return manifest
        return None

    def records(self) -> list[PublicRecord] | None:
        """Return all records, or None where nothing was ever shared."""
        data = self.files.get(PUBLIC_RECORDS_KEY, limit_bytes=_MAX_RECORDS_BYTES)
        return None if data is None else read_records(data, self.files.url(PUBLIC_RECORDS_KEY))

    def _open(self, record: PublicRecord) -> tuple[Manifest, dict[str, int] | None]:
        """Return the manifest in the record's ZIP, and where its members are; None: some are packed."""
        try:
            with zipfile.ZipFile(self.files.open(record.zip_key, record.size_bytes or 0)) as opened:
                manifest = archive.manifest_in(opened, record.zip_key)
                members = opened.infolist()
        except zipfile.BadZipFile as exc:
            raise IntegrityError(f"{self.files.url(record.zip_key)} is not a ZIP: {exc}") from exc
        if manifest is None or manifest.digest != record.digest:
            raise IntegrityError(f"{self.files.url(record.zip_key)} is not what its record describes")
        are_stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        offsets = {member.filename: member.header_offset for member in members} if are_stored else None
        return _of_record(manifest, record), offsets


def read_records(data: bytes, where: str) -> list[PublicRecord]:
    """Return the usable records of ``public_datasets.json``.

    A record that can't be understood is left out; it can't keep others from being found.

    Raises:
        IntegrityError: the file as a whole is not a JSON object.
    """
    document = parse_json(data, where)
    if not isinstance(document, dict):
        raise IntegrityError(f"{where} is not a JSON object")
    found = (_read_record(value) for value in document.values())
    return [record for record in found if record is not None]


def record_ref(value: Any) -> DatasetRef | None:
    """Return the ref that a record's fields name, or None where they name none."""
    try:
        return DatasetRef(value["dataset_id"], value.get("config_name"), value.get("revision"))
    except (TypeError, KeyError, AttributeError, InvalidRefError):
        return None


def _read_record(value: Mapping[str, Any]) -> PublicRecord | None:
    ref = record_ref(value)
    key = value.get("s3_zip_key") if ref else None
    if ref is None or not isinstance(key, str) or not key.startswith(f"{PUBLIC_ZIP_FOLDER}/"):
        return None
    with contextlib.suppress(UnsafeArchiveError):
        return _usable_record(value, ref, check_paths([key], PUBLIC_RECORDS_KEY).pop())
    return None


def _usable_record(value: Mapping[str, Any], ref: DatasetRef, key: str) -> PublicRecord:
    size, digest = value.get("size_bytes"), value.get("digest")
    return PublicRecord(
        ref,
        key,
        size_bytes=size if isinstance(size, int) and size >= 0 else None,
        sha256=_text(value.get("sha256")),
        digest=digest if isinstance(digest, str) and len(digest) == 64 else None,
        canonical_id=_text(value.get("canonical_id")),
        resolved_config=_text(value.get("resolved_config")),
        is_default_config=value.get("is_default_config") is True,
        commit=_text(value.get("commit")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _of_record(manifest: Manifest, record: PublicRecord) -> Manifest:
    if manifest.ref != record.ref:
        raise IntegrityError(f"{record.zip_key} holds {manifest.ref}, though its record says {record.ref}")
    return manifest


def _download(files: PublicFiles, record: PublicRecord, path: Path) -> None:
    """Download the record's ZIP to *path*; what is there already is continued.

    Raises:
        IntegrityError: it is not of the size and sha256 that the record names.
    """
    for attempt in range(1, _TRIES + 1):
        start = path.stat().st_size if path.exists() else 0
        if record.size_bytes is not None and start >= record.size_bytes:
            break
        try:
            with open(path, "ab") as sink:
                for chunk in files.stream(record.zip_key, start=start if record.sha256 else sink.truncate(0)):
                    sink.write(chunk)
            break
        except UnreachableError:
            if attempt == _TRIES:
                raise
            time.sleep(0.2 * 2**attempt)
    if record.sha256 is not None and hash_file(path, record.zip_key).sha256 != record.sha256:
        path.unlink()
        raise IntegrityError(f"{files.url(record.zip_key)} does not have the sha256 of its record")
