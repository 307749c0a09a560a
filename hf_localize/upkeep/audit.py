"""Whether the bucket's entries, and the public ZIPs, are still what was published.

The quick level reads what shows how an entry is found, and compares sizes; the deep one all bytes.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_localize.errors import IntegrityError
from hf_localize.format.index import IndexEntry, folder_of
from hf_localize.format.manifest import FileRecord
from hf_localize.format.manifest_json import declared
from hf_localize.format.public_records import PublicRecord, described, read_record, record_ref
from hf_localize.format.refs import MANIFEST_NAME, PUBLIC_RECORDS_KEY, DatasetRef, catalog_key
from hf_localize.http.public_files import PublicFiles
from hf_localize.http.status import ArchivedError
from hf_localize.progress import Item, task
from hf_localize.publish.inspect import mark_damages, sha256_of
from hf_localize.s3.bucket import Bucket
from hf_localize.sources.base import Entry, NotHere
from hf_localize.sources.bucket import BucketEntry, PrivateSource, find_indexed, list_refs
from hf_localize.sources.public import PublicSource, ZipEntry, ZipFetch
from hf_localize.store.verify import Checked, Damage
from hf_localize.transfer.workers import run_all

#: Fields of a public record that the original tool does not write.
_OURS = frozenset({"digest", "size_bytes", "sha256", "tail_bytes"})


def check_bucket(bucket: Bucket, ref: DatasetRef | None, *, deep: bool, workers: int) -> list[Checked]:
    """Check the bucket's entry for *ref*; None: all entries. Empty: there is none.

    Data that no index names, as the original tool left it, has no recorded sizes and hashes: it is
    checked that all files are there.

    Raises:
        AccessDeniedError, UnreachableError: the bucket can't be read and listed.
    """
    refs = list_refs(bucket, workers, all_folders=False) if ref is None else [ref]
    found = (_check_in_bucket(bucket, each, deep, workers) for each in refs)
    return [checked for checked in found if checked is not None]


def _check_in_bucket(bucket: Bucket, ref: DatasetRef, deep: bool, workers: int) -> Checked | None:
    place, key = str(bucket.address), ref.index_key
    try:
        entry: Entry | NotHere | None = find_indexed(bucket, ref, workers)
        key = catalog_key(ref.dataset_id)
        entry = entry or PrivateSource(bucket, workers).find(ref)
    except (IntegrityError, ArchivedError) as exc:
        return Checked(ref, place, damages=(Damage.of(key, exc),))
    if not isinstance(entry, BucketEntry):
        return None
    manifest, placed = entry.manifest, entry.placed
    damages: list[Damage] = []
    if entry.is_indexed:
        try:
            damages += mark_damages(bucket, placed)
        except ArchivedError as exc:
            damages.append(Damage.of(ref.index_key, exc))
        damages += _size_damages(bucket, placed)
        if deep:
            seen = {damage.path for damage in damages}
            todo = [file for file in manifest.files if placed.key(file.path) not in seen]
            with task("Checking", manifest.ref, todo):
                damages += _hash_damages(
                    todo, lambda file: bucket.open_range(placed.key(file.path)), workers, placed.key
                )
    return Checked(
        manifest.ref,
        place,
        len(manifest.files),
        manifest.size_bytes,
        tuple(damages),
        is_hashed=deep and entry.is_indexed,
    )


def _size_damages(bucket: Bucket, placed: IndexEntry) -> Iterator[Damage]:
    folders = {folder_of(key) for key in placed.all_keys()}
    there = {info.key: info for folder in folders for info in bucket.list_keys(f"{folder}/")}
    for file in placed.manifest.files:
        key = placed.key(file.path)
        if key not in there:
            yield Damage(key, "is missing")
        elif (info := there[key]).size_bytes != file.size_bytes:
            yield Damage(key, f"has {info.size_bytes} bytes; its manifest says {file.size_bytes}")
        elif info.is_archived:
            try:
                bucket.open_range(key).close()
            except ArchivedError as exc:
                yield Damage.of(key, exc)


def _hash_damages(
    files: list[FileRecord],
    open_file: Callable[[FileRecord], io.RawIOBase],
    workers: int,
    name: Callable[[str], str],
) -> list[Damage]:
    """Read *files* to their ends, several at a time, and return those with another sha256."""

    def check(file: FileRecord) -> Damage | None:
        try:
            digest = sha256_of(file.path, lambda: open_file(file))
        except (IntegrityError, FileNotFoundError) as exc:
            return Damage.of(name(file.path), exc)
        if digest == file.sha256:
            return None
        return Damage(name(file.path), "differs from the entry's manifest: its sha256 is different")

    return [damage for damage in run_all(check, files, workers=workers) if damage is not None]


def check_public(
    public_files: PublicFiles, ref: DatasetRef | None, *, bucket_name: str | None, deep: bool, workers: int
) -> list[Checked]:
    """Check the shared ZIP for *ref*, read as an outsider does; None: all ZIPs. Empty: there is none.

    ZIPs that the original tool shared have no recorded sizes and hashes; they are unpacked, with
    their CRC, by a deep check.

    Args:
        bucket_name: the bucket that a record must name, where it is known.
    """
    source = PublicSource(public_files, workers)
    where = public_files.url(PUBLIC_RECORDS_KEY)
    try:
        document = source.document() or {}
    except IntegrityError as exc:
        return [Checked(ref or DatasetRef("-"), where, damages=(Damage.of(PUBLIC_RECORDS_KEY, exc),))]
    found: list[Checked] = []
    for key, value in document.items():
        record = read_record(value)
        if record is None and ref is None:
            name = record_ref(value) or DatasetRef("-")
            damage = Damage(PUBLIC_RECORDS_KEY, f"has a record that can't be used: {key[:200]!r}")
            found.append(Checked(name, where, damages=(damage,)))
        elif record is not None and (ref is None or record.answers(ref)):
            damages = tuple(_key_damages(key, record, value, bucket_name))
            checked = _check_zip(source, record, value, deep)
            found.append(replace(checked, damages=damages + checked.damages))
    return found


def _key_damages(
    key: str, record: PublicRecord, value: Mapping[str, Any], bucket_name: str | None
) -> Iterator[Damage]:
    if key not in (record.ref.record_key, record.ref.record_key + record.ref.suffix):
        yield Damage(PUBLIC_RECORDS_KEY, f"has {record.ref} under the key {key[:200]!r}")
    known = (record.digest, record.size_bytes, record.sha256)
    if None in known and _OURS & value.keys():
        yield Damage(
            PUBLIC_RECORDS_KEY, f"has only some of the fields that identify the content of {record.ref}"
        )
    if bucket_name is not None and value.get("s3_bucket") != bucket_name:
        yield Damage(PUBLIC_RECORDS_KEY, f"names another bucket for {record.ref}: {value.get('s3_bucket')!r}")


def _check_zip(source: PublicSource, record: PublicRecord, value: Mapping[str, Any], deep: bool) -> Checked:
    checked = Checked(record.ref, source.files.url(record.zip_key), is_hashed=deep)
    try:
        entry = source.open_record(record)
        if not isinstance(entry, ZipEntry):
            return _check_foreign(source, entry, checked)
        damages = list(_record_damages(entry, value))
        if deep:
            damages += _zip_damages(entry)
    except (IntegrityError, ArchivedError) as exc:
        return replace(checked, damages=(Damage.of(record.zip_key, exc),))
    files = entry.manifest.files
    return replace(checked, files=len(files), size_bytes=entry.manifest.size_bytes, damages=tuple(damages))


def _check_foreign(source: PublicSource, entry: ZipFetch, checked: Checked) -> Checked:
    key = entry.record.zip_key
    if not checked.is_hashed:
        is_there = source.files.is_readable(key)
        return checked if is_there else replace(checked, damages=(Damage(key, "is missing"),))
    with tempfile.TemporaryDirectory() as folder:
        manifest = entry.fetch_into(Path(folder))
    return replace(checked, files=len(manifest.files), size_bytes=manifest.size_bytes)


def _record_damages(entry: ZipEntry, value: Mapping[str, Any]) -> Iterator[Damage]:
    """Yield where a record tells something else than the manifest in its ZIP."""
    members = entry.contents.members or {}
    told = described(entry.manifest)
    told["tail_bytes"] = (entry.record.size_bytes or 0) - members[MANIFEST_NAME].offset
    is_from_hub = entry.manifest.origin == "hub"
    for name, what in told.items():
        recorded = value.get(name, "nothing")
        if name in ("gated", "private") and isinstance(recorded, bool):
            recorded = declared(recorded, is_from_hub=is_from_hub)
        if recorded != what:
            yield Damage(PUBLIC_RECORDS_KEY, f"differs from the ZIP in the {name} of {entry.record.ref}")


def _zip_damages(entry: ZipEntry) -> list[Damage]:
    """Read the whole ZIP; only where it is not as recorded, its files, to name those that are damaged."""
    key = entry.record.zip_key
    with task("Checking", entry.record.ref, [Item(key, entry.record.size_bytes or 0)]):
        if sha256_of(key, functools.partial(entry.files.open_range, key)) == entry.record.sha256:
            return []

    def open_file(file: FileRecord) -> io.RawIOBase:
        return entry.open_range(file.path, 0, file.size_bytes)

    files = list(entry.manifest.files)
    damages = _hash_damages(files, open_file, entry.workers, lambda path: f"{path} in {key}")
    return damages or [Damage(key, "differs from its record: its sha256 is different")]
