"""Public ZIPs: packing an entry, and unpacking one that may be hostile."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from hf_localize.errors import IntegrityError, UnsafeArchiveError
from hf_localize.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest, check_paths, read_manifest
from hf_localize.refs import MANIFEST_NAME
from hf_localize.transfer import fetch_files

#: The earliest time that ZIP can hold, so that the same entry gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


def pack(folder: Path, manifest: Manifest, target: BinaryIO) -> None:
    """Write the entry in *folder* as a ZIP to *target*: its files, then the manifest.

    Members are stored, so that a reader can stream one by ranges into the ZIP. The same entry
    gives the same bytes.

    Raises:
        IntegrityError: a file differs from the manifest.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for record in sorted(manifest.files, key=lambda f: f.path):
            with open(folder / record.path, "rb") as source:
                _write_member(archive, record, source)
        with archive.open(_member(MANIFEST_NAME), "w") as sink:
            sink.write(manifest.to_bytes())


def manifest_in(archive: zipfile.ZipFile, where: str) -> Manifest | None:
    """Return the manifest that a ZIP holds, or None for a ZIP of the original tool.

    Raises:
        UnsafeArchiveError: a member's name, type or size is refused.
    """
    members = members_of(archive, where)
    if MANIFEST_NAME not in archive.namelist():
        return None
    if archive.getinfo(MANIFEST_NAME).file_size > MAX_MANIFEST_BYTES:
        raise UnsafeArchiveError(f"the manifest in {where} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = read_manifest(archive.read(MANIFEST_NAME), f"{MANIFEST_NAME} in {where}")
    sizes = {name: info.file_size for name, info in members.items()}
    if sizes != {file.path: file.size_bytes for file in manifest.files}:
        raise UnsafeArchiveError(f"the members of {where} are not the files that its manifest names")
    return manifest


def members_of(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the ZIP's file members by path, without folders and the manifest.

    Raises:
        UnsafeArchiveError: a name leads outside, stands twice, or is no regular file.
    """
    infos = [info for info in archive.infolist() if not info.is_dir() and info.filename != MANIFEST_NAME]
    check_paths(
        (info.filename.rstrip("/") for info in archive.infolist() if info.filename != MANIFEST_NAME), where
    )
    for info in infos:
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise UnsafeArchiveError(f"{where} holds {info.filename!r}, which is not a regular file")
        if info.flag_bits & 1:
            raise UnsafeArchiveError(f"{where} holds {info.filename!r}, which is encrypted")
    return {info.filename: info for info in infos}


def unpack(
    path: Path, folder: Path, records: tuple[FileRecord, ...] | None, *, limit_bytes: int, workers: int
) -> list[FileRecord]:
    """Unpack the ZIP at *path* into *folder* and return the files' records with hashes.

    Args:
        records: what the manifest names; None unpacks every member as it is.
        limit_bytes: bytes that all members together may have.

    Raises:
        UnsafeArchiveError: a member is refused, or all together are larger than *limit_bytes*.
        IntegrityError: a file differs from its record, or the ZIP is damaged.
    """
    where = path.name
    with zipfile.ZipFile(path) as archive:
        members = members_of(archive, where)
        wanted = records or tuple(FileRecord(name, info.file_size) for name, info in members.items())
        if sum(record.size_bytes for record in wanted) > limit_bytes:
            raise UnsafeArchiveError(f"{where} would unpack to more than {limit_bytes} bytes")
        try:
            return fetch_files(wanted, lambda *part: _open_member(archive, *part), folder, workers=workers)
        except (zipfile.BadZipFile, KeyError) as exc:
            raise IntegrityError(f"{where} is damaged: {exc}") from exc


def _open_member(archive: zipfile.ZipFile, name: str, start: int, _stop: int | None) -> io.RawIOBase:
    member = archive.open(name)
    member.seek(start)
    return cast("io.RawIOBase", member)  # ZipExtFile reads like one.


def _write_member(archive: zipfile.ZipFile, record: FileRecord, source: BinaryIO) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(_member(record.path, record.size_bytes), "w") as sink:
        for chunk in _chunks(source):
            digest.update(chunk)
            size += len(chunk)
            sink.write(chunk)
    if FileRecord(record.path, size, digest.hexdigest()) != record:
        raise IntegrityError(f"{record.path} differs from the entry's manifest; register the dataset again")


def _member(name: str, size_bytes: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.create_system = 3
    member.file_size = size_bytes
    return member


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk
