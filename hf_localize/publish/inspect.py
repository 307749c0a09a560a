"""Whether an entry in the bucket is what was published: by listings, by marks, or by reading its objects."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeAlias

from hf_localize.errors import IntegrityError
from hf_localize.format.index import IndexEntry, catalog_keys, enter, folder_of, plain_mark, read_index_entry
from hf_localize.format.manifest import FileRecord
from hf_localize.format.manifest_json import manifest_document, read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.format.sealed_json import is_as_written
from hf_localize.http.retry import retrying
from hf_localize.progress import counter
from hf_localize.s3.bucket import Bucket, KeyInfo
from hf_localize.s3.connection import hex_md5
from hf_localize.s3.shared_json import read_json
from hf_localize.s3.upload import etag_of
from hf_localize.store.verify import UNSEALED, Damage
from hf_localize.transfer.workers import filter_all

_CHUNK = 1 << 20
#: A file of an entry: its record, where it lies here, and its key.
Sending: TypeAlias = "tuple[FileRecord, Path, str]"
#: A commit mark, and the headers that came with it.
Mark: TypeAlias = "tuple[bytes, Mapping[str, str]]"


def folders_of(keys: Iterable[str]) -> set[str]:
    """Return the prefixes of the folders of entries in which *keys* lie."""
    return {f"{folder_of(key)}/" for key in keys}


def wrong_objects(
    items: Sequence[Sending],
    mark: Mark,
    bucket: Bucket,
    *,
    listed: Iterable[KeyInfo] | None = None,
    reads: bool,
    workers: int,
) -> dict[str, int | None]:
    """Return the keys of those *items* whose object is not the file: with its size, None where it is missing.

    A listing tells sizes, times and ETags. No object changes once the commit mark is written, so a
    file is read here, to compare ETags, only if its object was not written before the mark.

    Args:
        mark: the commit mark that names these keys.
        listed: what is in their folders; by default that is asked for.
        reads: read all objects, which alone shows bytes that rot where they lie.

    Raises:
        NotPermittedError: keys may not be listed.
    """
    if listed is None:
        listed = bucket.list_all(folders_of(key for _, _, key in items))
    there = {info.key: info for info in listed}
    data, headers = mark
    marked_at = 0.0
    with contextlib.suppress(ValueError, OverflowError, KeyError):
        marked_at = parsedate_to_datetime(headers["last-modified"]).timestamp()
    are_md5s = hex_md5(data) == headers.get("etag", "").strip('"')

    def is_wrong(item: Sending) -> bool:
        file, path, key = item
        info = there.get(key)
        if info is None or info.size_bytes != file.size_bytes:
            return True
        if info.is_archived and ((told := bucket.head_of(key)) is None or told.is_archived):
            return True
        if info.modified >= marked_at and not _is_as_sent(info, file, path, bucket, are_md5s=are_md5s):
            return True
        return reads and _is_other(bucket, key, file)

    wrong = filter_all(is_wrong, items, workers=workers)
    return {key: there[key].size_bytes if key in there else None for _, _, key in wrong}


def _is_as_sent(info: KeyInfo, file: FileRecord, path: Path, bucket: Bucket, *, are_md5s: bool) -> bool:
    """Tell whether an object is the file by its ETag, or by the sha256 that its uploader has recorded.

    Args:
        are_md5s: the server's ETags of objects that came in one piece are their MD5s.
    """
    if path.is_file() and etag_of(file, path) == info.etag:
        return True
    if are_md5s and "-" not in info.etag:
        return False
    told = bucket.head_of(info.key)
    return told is not None and told.metadata.get("sha256") == file.sha256


def _is_other(bucket: Bucket, key: str, file: FileRecord) -> bool:
    try:
        return sha256_of(file.path, lambda: bucket.open_range(key)) != file.sha256
    except (IntegrityError, FileNotFoundError):
        return True


def mark_damages(bucket: Bucket, placed: IndexEntry) -> Iterator[Damage]:
    """Yield what is wrong with what an entry is found by: commit mark, catalogs, claim of its folder."""
    manifest, key = placed.manifest, placed.manifest.ref.index_key
    data = bucket.get(key) or b""
    if data and not is_as_written(plain_mark(data, key), read_index_entry(data, key).document()):
        yield Damage(key, UNSEALED)
    for catalog in catalog_keys(manifest):
        try:
            document = read_json(bucket, catalog)
            if enter(document, manifest):
                yield Damage(catalog, f"does not list {manifest.ref} as its manifest does")
        except (IntegrityError, AttributeError, TypeError) as exc:
            yield Damage.of(catalog, exc)
    for folder in {folder_of(key) for key in placed.all_keys()} & set(manifest.ref.folders):
        claim = f"{folder}/{MANIFEST_NAME}"
        data = bucket.get(claim) or b""  # It may be the manifest of former content.
        try:
            if not is_as_written(data, manifest_document(read_manifest(data, claim))):
                yield Damage(claim, UNSEALED)
        except IntegrityError as exc:
            yield Damage.of(claim, exc) if data else Damage(claim, "is missing")


def sha256_of(what: str, open_body: Callable[[], io.RawIOBase]) -> str:
    """Return the sha256 (hex) of all that *open_body* opens, read with a few tries. *what* names it."""
    digests: list[str] = []

    def read() -> None:
        digest, chunk, size, note = hashlib.sha256(), bytearray(_CHUNK), 0, counter(what)
        with open_body() as body:
            while got := body.readinto(chunk):
                digest.update(memoryview(chunk)[:got])
                size += got
                note(size)
        digests.append(digest.hexdigest())

    retrying(what, read)
    return digests[-1]
