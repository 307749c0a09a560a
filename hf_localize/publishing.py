"""Bringing entries to the team's bucket."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from hf_localize import layout
from hf_localize.bucket import Bucket, KeyInfo, NotPermittedError
from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    IntegrityError,
    PreconditionFailedError,
    PublishError,
    UnreachableError,
)
from hf_localize.index import (
    Placed,
    catalog_keys,
    content,
    enter,
    folder_of,
    read_catalog,
    read_placed,
    replacement_folder,
)
from hf_localize.manifest import FileRecord, Manifest, read_manifest
from hf_localize.refs import MANIFEST_NAME
from hf_localize.store import LocalEntry
from hf_localize.transfer import PART_BYTES, run_all, send_files

_log = logging.getLogger(__name__)
#: By these files the original tool finds a dataset, so they are written after the data.
_LEGACY_MARKS = frozenset({layout.DICT_FILE, layout.INFO_FILE, layout.STATE_FILE})
#: Up to so many small files are sent without asking what of them the bucket may have already.
_FEW_FILES = 16
#: A file on its way: its record, where it lies here, and its key.
_Sending: TypeAlias = "tuple[FileRecord, Path, str]"


def upload(entry: LocalEntry, bucket: Bucket, *, replace: bool, workers: int) -> bool:
    """Bring *entry* to the team's bucket. Returns False where the same content is there already.

    No reader sees the dataset before the index key is written, the last of all; until then the
    former content under this ref stays whole. What the bucket has already is not sent: files that
    an interrupted upload left, those that the former content shares, and those that another config
    or revision has, which the server copies.

    Args:
        replace: take the place of a copy of other content; else that is a conflict.

    Raises:
        ConflictError: the bucket has other content under this ref, and *replace* is False; or
            another publisher of other content was faster.
        PublishError: something could not be uploaded; no reader sees it.
    """
    manifest = entry.hashed_manifest()
    key = manifest.ref.index_key
    found = bucket.get_with_etag(key)
    present = read_placed(found[0], key) if found else None
    if present is not None and present.manifest.digest == manifest.digest:
        return False
    if present is not None and not replace:
        raise ConflictError(
            f"{manifest.ref} in {bucket.address} differs from the local copy "
            f"(digest {present.manifest.digest[:12]}…, local {manifest.digest[:12]}…). "
            f"To replace the bucket's: hg-localize sync-local-to-s3 {manifest.dataset_id}"
        )
    try:
        placed = _claim(bucket, manifest) if present is None else present.replaced_by(manifest)
        _send(entry.folder, placed, present, bucket, workers)
        _commit(bucket, placed, present, found[1] if found else None)
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(
            f"{manifest.ref} was not published to {bucket.address}: {exc}. No reader sees it there; "
            "run the command again to go on."
        ) from exc
    if present is not None:
        _remove_replaced(bucket, present, placed)
    elif bucket.get(f"{placed.folder}/{MANIFEST_NAME}") is None:
        # Somebody has removed the dataset meanwhile, and maybe what was taken to be there already.
        bucket.delete(key)
        return upload(entry, bucket, replace=replace, workers=workers)
    return True


def _commit(bucket: Bucket, placed: Placed, present: Placed | None, etag: str | None) -> None:
    """Have the catalogs list the entry, then write the index key, if it is still as it was read."""
    manifest, key = placed.manifest, placed.manifest.ref.index_key
    listed: dict[str, Any] = {}
    if present is not None:
        enter(listed, present.manifest)
    if enter(listed, manifest):  # Else the catalogs say the same already.
        for catalog in catalog_keys(manifest):
            bucket.update_json(catalog, functools.partial(enter, manifest=manifest), public=False)
    try:
        bucket.put_over(key, placed.to_bytes(), etag)
    except PreconditionFailedError as exc:
        # Of the same content, or our own write whose answer was lost: that is success.
        there = bucket.get(key)
        if there is None or read_placed(there, key).manifest.digest != manifest.digest:
            raise ConflictError(
                f"another publisher changed {manifest.ref} meanwhile; run the command again"
            ) from exc


def _claim(bucket: Bucket, manifest: Manifest) -> Placed:
    """Return a place that is this entry's alone: its manifest is there, put before any data.

    Raises:
        ConflictError: every folder that it may have belongs to another entry.
    """
    data = manifest.to_bytes()
    first = [Placed(manifest, folder) for folder in manifest.ref.folders]
    for placed in (*first, Placed(manifest, replacement_folder(manifest, 1), generation=1)):
        mark = f"{placed.folder}/{MANIFEST_NAME}"
        with contextlib.suppress(PreconditionFailedError):
            if bucket.get(mark) is None:
                bucket.put_over(mark, data, None)
        # An endpoint may ignore the condition, so what is there now decides.
        if read_manifest(bucket.get(mark) or b"", mark).digest == manifest.digest:
            return placed
    raise ConflictError(
        f"every folder that {manifest.ref} may have in {bucket.address} belongs to another entry"
    )


def _remove_replaced(bucket: Bucket, former: Placed, placed: Placed) -> None:
    """Remove what no index names any more; the manifests that claim its folders go last."""
    bucket.delete_all(former.all_keys() - placed.all_keys())
    unused = {folder_of(key) for key in former.all_keys()} - {folder_of(key) for key in placed.all_keys()}
    bucket.delete_all(f"{folder}/{MANIFEST_NAME}" for folder in unused)


def _send(source: Path, placed: Placed, present: Placed | None, bucket: Bucket, workers: int) -> None:
    """Bring the files to where they are placed, unless they are there."""
    there = present.all_keys() if present is not None else frozenset()
    todo = [(file, source / file.path, placed.key(file.path)) for file in placed.manifest.files]
    todo = [item for item in todo if item[2] not in there]
    if present is None or len(todo) > _FEW_FILES or any(f.size_bytes > PART_BYTES for f, _, _ in todo):
        todo = _without_sent(todo, bucket, workers)
        todo = _without_copied(todo, placed.manifest, bucket, workers)
    send_files([item for item in todo if item[0].path not in _LEGACY_MARKS], bucket, workers=workers)
    send_files([item for item in todo if item[0].path in _LEGACY_MARKS], bucket, workers=workers)


def _without_sent(todo: Iterable[_Sending], bucket: Bucket, workers: int) -> list[_Sending]:
    """Leave out what an interrupted upload has brought."""
    folders = {folder_of(key) for _, _, key in todo}
    there = {info.key: info.size_bytes for folder in folders for info in _listed(bucket, f"{folder}/")}

    def is_missing(item: _Sending) -> bool:
        file, _, key = item
        return there.get(key) != file.size_bytes or bucket.sha256_of(key) != file.sha256

    return _only(todo, is_missing, workers)


def _without_copied(todo: list[_Sending], manifest: Manifest, bucket: Bucket, workers: int) -> list[_Sending]:
    """Leave out what the server could copy from other entries of the same dataset id."""
    known = _known_content(manifest, bucket) if todo else {}

    def is_missing(item: _Sending) -> bool:
        file, _, key = item
        copied = content(file) in known and file.path not in _LEGACY_MARKS
        return not (copied and bucket.copy(known[content(file)], key))

    return _only(todo, is_missing, workers) if known else todo


def _known_content(manifest: Manifest, bucket: Bucket) -> dict[tuple[int, str], str]:
    """Return the keys of what other configs and revisions of the dataset have, by content."""
    known: dict[tuple[int, str], str] = {}
    key = catalog_keys(manifest)[-1]
    try:
        data = bucket.get(key)
        for other in read_catalog(data, key) if data else ():
            mark = bucket.get(other.ref.index_key) if other.ref != manifest.ref else None
            known |= read_placed(mark, other.ref.index_key).by_content() if mark else {}
    except (NotPermittedError, IntegrityError) as exc:
        _log.warning("what %s has of %s already is sent again: %s", bucket.address, manifest.dataset_id, exc)
    return known


def _only(todo: Iterable[_Sending], is_missing: Callable[[_Sending], bool], workers: int) -> list[_Sending]:
    items = list(todo)
    missing = run_all(is_missing, items, workers=workers)
    return [item for item, is_wanted in zip(items, missing, strict=True) if is_wanted]


def _listed(bucket: Bucket, prefix: str) -> list[KeyInfo]:
    try:
        return list(bucket.list_keys(prefix))
    except NotPermittedError:
        return []  # Without the right to list, everything is uploaded anew.
