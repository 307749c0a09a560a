"""Bringing entries to the team's bucket."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from hf_localize import layout
from hf_localize.crew import run_all
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
    generation_of,
    read_catalog,
    read_placed,
    replacement_folder,
)
from hf_localize.manifest import FileRecord, Manifest
from hf_localize.manifestjson import manifest_bytes, read_manifest
from hf_localize.parts import PART_BYTES
from hf_localize.progress import moving
from hf_localize.refs import MANIFEST_NAME
from hf_localize.s3.bucket import Bucket, KeyInfo
from hf_localize.s3.errors import NotPermittedError
from hf_localize.s3.multipart import STALE_SECONDS, abort_stale
from hf_localize.s3.sending import send_files
from hf_localize.s3.updating import update_json
from hf_localize.store.entry import LocalEntry

_log = logging.getLogger(__name__)
#: Up to so many small files are sent without asking what of them other entries may have.
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
        _remove_left_behind(bucket, present)
        return False
    if present is not None and not replace:
        raise ConflictError(
            f"{manifest.ref} in {bucket.address} differs from the local copy "
            f"(digest {present.manifest.digest[:12]}…, local {manifest.digest[:12]}…). "
            f"To replace the bucket's: hg-localize sync-local-to-s3 {manifest.dataset_id}"
        )
    if manifest.gated or manifest.private:
        _log.warning(
            "%s is %s on the Hub: whoever may read %s can read the copy there, and its terms bind them too",
            manifest.ref,
            manifest.restriction,
            bucket.address,
        )
    try:
        placed = _claim(bucket, manifest) if present is None else present.replaced_by(manifest)
        listed = _listed(bucket, f"{manifest.ref.folders[-1]}@")
        _send(entry.folder, placed, present, listed, bucket, workers)
        _commit(bucket, placed, present, found[1] if found else None)
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(
            f"{manifest.ref} was not published to {bucket.address}: {exc}. No reader sees it there; "
            "run the command again to go on."
        ) from exc
    if present is not None:
        try:
            _remove_replaced(bucket, present, placed, listed)
        except NotPermittedError as exc:  # The new content is there, and nobody is led to the old.
            _log.warning("%s: files of the former content stay: %s", manifest.ref, exc)
    elif bucket.get(f"{placed.folder}/{MANIFEST_NAME}") is None:
        # Somebody has removed the dataset meanwhile, and maybe what was taken to be there already.
        bucket.delete(key)
        return upload(entry, bucket, replace=replace, workers=workers)
    else:
        _remove_left_behind(bucket, placed)
    return True


def _commit(bucket: Bucket, placed: Placed, present: Placed | None, etag: str | None) -> None:
    """Have the catalogs list the entry, then write the index key, if it is still as it was read."""
    manifest, key = placed.manifest, placed.manifest.ref.index_key
    listed: dict[str, Any] = {}
    if present is not None:
        enter(listed, present.manifest)
    if enter(listed, manifest):  # Else the catalogs say the same already.
        for catalog in catalog_keys(manifest):
            update_json(bucket, catalog, functools.partial(enter, manifest=manifest), public=False)
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
    data = manifest_bytes(manifest)
    first = [Placed(manifest, folder) for folder in manifest.ref.folders]
    for placed in (*first, Placed(manifest, replacement_folder(manifest, 1), generation=1)):
        mark = f"{placed.folder}/{MANIFEST_NAME}"
        with contextlib.suppress(PreconditionFailedError):
            if bucket.get(mark) is None:
                bucket.put_over(mark, data, None)
        # An endpoint may ignore the condition, so what is there now decides.
        there = bucket.get(mark) or b""
        if there == data or read_manifest(there, mark).digest == manifest.digest:
            return placed
    raise ConflictError(
        f"every folder that {manifest.ref} may have in {bucket.address} belongs to another entry"
    )


def _remove_replaced(bucket: Bucket, former: Placed, placed: Placed, listed: Iterable[KeyInfo]) -> None:
    """Remove what no index names any more; the manifests that claim its folders go last."""
    dead = (former.all_keys() - placed.all_keys()) | _dead(placed, listed)
    bucket.delete_all(key for key in dead if not key.endswith(f"/{MANIFEST_NAME}"))
    unused = {folder_of(key) for key in dead} - {folder_of(key) for key in placed.all_keys()}
    bucket.delete_all(f"{folder}/{MANIFEST_NAME}" for folder in unused)


def _remove_left_behind(bucket: Bucket, placed: Placed) -> None:
    """Remove what interrupted uploads of the same ref have left, and parts of large files.

    It costs one request where there is nothing and content was never replaced. Who may not list or
    remove leaves it to others.
    """
    ref = placed.manifest.ref
    try:
        listed = _listed(bucket, f"{ref.folders[-1]}@")
        for folder in ref.folders if placed.generation or placed.folder != ref.folders[0] else ():
            mark = f"{folder}/{MANIFEST_NAME}"
            claim = bucket.get(mark)
            if claim is not None and read_manifest(claim, mark).ref == ref:
                listed += _listed(bucket, f"{folder}/")
        dead = _dead(placed, listed)
        claims = {key for key in dead if key.endswith(f"/{MANIFEST_NAME}")}
        bucket.delete_all(dead - claims)
        bucket.delete_all(claims)
        if any(file.size_bytes > PART_BYTES for file in placed.manifest.files):
            abort_stale(bucket.connection, ref.id_folder_prefix)
    except (AccessDeniedError, UnreachableError, IntegrityError) as exc:
        _log.debug("what interrupted uploads of %s may have left stays: %s", ref, exc)


def _dead(placed: Placed, listed: Iterable[KeyInfo]) -> set[str]:
    """Return those keys, of the ref's folders, that the commit mark *placed* does not name, nor a later will.

    Whoever replaces it takes a folder of the next generation; if nothing has come there for a day,
    nobody goes on with it.
    """
    folders: dict[str, list[KeyInfo]] = {}
    for info in listed:
        folders.setdefault(folder_of(info.key), []).append(info)
    used = placed.all_keys()
    used |= {f"{folder}/{MANIFEST_NAME}" for folder in {placed.folder, *map(folder_of, used)}}
    dead: set[str] = set()
    for folder, infos in folders.items():
        if generation_of(folder) <= placed.generation or _idle_seconds(infos) > STALE_SECONDS:
            dead |= {info.key for info in infos} - used
    return dead


def _idle_seconds(infos: Iterable[KeyInfo]) -> float:
    return min(info.age_seconds for info in infos)


def _send(
    source: Path,
    placed: Placed,
    present: Placed | None,
    listed: list[KeyInfo],
    bucket: Bucket,
    workers: int,
) -> None:
    """Bring the files to where they are placed, unless they are there."""
    there = present.all_keys() if present is not None else frozenset()
    todo = [(file, source / file.path, placed.key(file.path)) for file in placed.manifest.files]
    todo = [item for item in todo if item[2] not in there]
    if present is None:
        listed = _listed(bucket, f"{placed.folder}/")
    todo = _without_sent(todo, listed, bucket, workers)
    if present is None or len(todo) > _FEW_FILES or any(f.size_bytes > PART_BYTES for f, _, _ in todo):
        todo = _without_copied(todo, placed.manifest, bucket, workers)
    # The original tool finds a dataset by its marks, so they are written after the data.
    with moving("Uploading", placed.manifest.ref, [file for file, _, _ in todo]):
        send_files([item for item in todo if item[0].path not in layout.MARKS], bucket, workers=workers)
        send_files([item for item in todo if item[0].path in layout.MARKS], bucket, workers=workers)


def _without_sent(
    todo: Iterable[_Sending], listed: Iterable[KeyInfo], bucket: Bucket, workers: int
) -> list[_Sending]:
    """Leave out what an interrupted upload has brought, but what somebody may be about to remove."""
    there = {info.key: info.size_bytes for info in listed if info.age_seconds < STALE_SECONDS / 2}

    def is_missing(item: _Sending) -> bool:
        file, _, key = item
        if there.get(key) != file.size_bytes:
            return True
        told = bucket.told_of(key)
        return told is None or told[1].get("sha256") != file.sha256

    return _only(todo, is_missing, workers)


def _without_copied(todo: list[_Sending], manifest: Manifest, bucket: Bucket, workers: int) -> list[_Sending]:
    """Leave out what the server could copy from other entries of the same dataset id."""
    known = _known_content(manifest, bucket) if todo else {}

    def is_missing(item: _Sending) -> bool:
        file, _, key = item
        copied = content(file) in known and file.path not in layout.MARKS
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
