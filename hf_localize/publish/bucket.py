"""Bringing entries to the team's bucket."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    IntegrityError,
    PreconditionFailedError,
    PublishError,
    UnreachableError,
)
from hf_localize.format import save_to_disk
from hf_localize.format.index import (
    IndexEntry,
    catalog_keys,
    content,
    enter,
    folder_of,
    generation_of,
    is_of_other_release,
    read_catalog,
    read_index_entry,
    replacement_folder,
)
from hf_localize.format.manifest import Manifest
from hf_localize.format.manifest_json import manifest_bytes, read_manifest
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.progress import task
from hf_localize.publish.inspect import Mark, Sending, folders_of, mark_damages, wrong_objects
from hf_localize.s3.bucket import Bucket, KeyInfo
from hf_localize.s3.conditions import put_over, refuses_wrong_conditions
from hf_localize.s3.errors import NotPermittedError
from hf_localize.s3.multipart import STALE_SECONDS, abort_stale
from hf_localize.s3.shared_json import Found, learn_conditions, update_json
from hf_localize.s3.upload import send_files
from hf_localize.sources import original_index
from hf_localize.sources.base import arguments_of
from hf_localize.store.entry import LocalEntry
from hf_localize.transfer.parts import PART_BYTES, SENT_PART_BYTES
from hf_localize.transfer.workers import filter_all, run_all

_log = logging.getLogger(__name__)
_GO_ON = "Readers don't see it. To resume, run the command again."
#: Up to so many small files are sent without asking what of them other entries may have.
_FEW_FILES = 16
#: Returns the keys of those files whose objects are wrong, of those that a commit mark names.
Look: TypeAlias = "Callable[[list[Sending], Mark], set[str]]"


def upload(entry: LocalEntry, bucket: Bucket, *, replace: bool, workers: int, reads: bool = False) -> bool:
    """Bring *entry* to the team's bucket. Returns False where the same content is there already, whole.

    No reader sees the dataset before the index key is written, the last of all; until then the
    former content under this ref stays whole. What the bucket has already is not sent: files that
    an interrupted upload left, those that the former content shares, and those that another config
    or revision has, which the server copies. What is missing there or damaged is sent again.

    Args:
        replace: take the place of a copy of other content; else that is a conflict.
        reads: read what the bucket has already, to compare its sha256. Else sizes, times and ETags tell
            whether it is right.

    Raises:
        ConflictError: the bucket has other content under this ref, and *replace* is False; or
            another publisher of other content was faster.
        IntegrityError: nobody could read what would be written. Nothing was.
        PublishError: something could not be uploaded; no reader sees it.
    """
    manifest = entry.publishable_manifest()
    key = manifest.ref.index_key
    found = bucket.get_with_headers(key)
    present = _present(found[0], key) if found else None
    look = functools.partial(_wrong_keys, bucket=bucket, reads=reads, workers=workers)
    listed: list[KeyInfo] | None = []
    wrong, begun = set[str](), list[KeyInfo]()
    replacements = f"{manifest.ref.folders[-1]}@"
    if present is not None and found:
        is_same = present.manifest.digest == manifest.digest
        if not is_same and not replace:
            raise differs(manifest.ref, bucket, present.manifest.digest, manifest.digest)
        listed = _listed(bucket, replacements, *folders_of(present.all_keys()))
        if listed is not None:
            wrong = look(_shared(entry, manifest, present, is_same=is_same), found, listed=listed)
        if is_same:
            return _mend(entry.folder, present, found, wrong, bucket, workers)
    warn_if_restricted(manifest.ref, manifest, bucket)
    etag = found[1].get("etag", "") if found else None
    with as_publish_error(manifest.ref, bucket, _GO_ON):
        if present is None:
            placed = _bring_new(entry.folder, manifest, bucket, workers, look)
            _write_mark(bucket, placed, etag)
        else:
            placed = present.replaced_by(manifest, wrong)
            begun += [info for info in listed or () if info.key.startswith(replacements)]
            _send(entry.folder, placed, present, begun, bucket, workers, look)
            _commit(bucket, placed, present, etag)
    if present is not None:
        if present.is_in_original_index:
            original_index.leave(bucket, manifest.ref)  # It does not look where the files are now.
        try:
            _remove_replaced(bucket, present, placed, begun)
        except NotPermittedError as exc:  # The new content is there, and nobody is led to the old.
            _log.warning("%s: files of the former content could not be removed: %s", manifest.ref, exc)
        return True
    claim = f"{placed.folder}/{MANIFEST_NAME}"
    is_claimed, _ = _together(
        lambda: _is_of(manifest, bucket.get(claim), claim),
        lambda: _remove_left_behind(bucket, placed),
        workers=workers,
    )
    if not is_claimed:
        # Somebody has removed the dataset meanwhile, and maybe what was taken to be there already. Or the
        # server lets two publishers claim one folder at the same moment, and their files are mixed there.
        bucket.delete(key)
        return upload(entry, bucket, replace=replace, workers=workers, reads=reads)
    return True


def warn_if_restricted(what: object, terms: Manifest, bucket: Bucket) -> None:
    """Warn if *what*, which is uploaded to the team's bucket, is gated or private on the Hub by *terms*."""
    if terms.gated or terms.private:
        _log.warning(
            "%s is %s on the Hub: everyone who can read %s can read the copy there, and its terms "
            "apply to them too",
            *(what, terms.restriction, bucket.address),
        )


def differs(ref: DatasetRef, bucket: Bucket, digest: str, local_digest: str) -> ConflictError:
    """Return the error for *ref*, of which *bucket* has other content that the caller won't replace."""
    named = arguments_of(ref)
    return ConflictError(
        f"{ref} in {bucket.address} differs from the local copy, and may be newer "
        f"(digest {digest[:12]}…, local {local_digest[:12]}…). "
        f"To take it: hg-localize pull {named} --update. "
        f"To replace it with the local copy all the same: hg-localize sync-local-to-s3 {named} --force"
    )


def _bring_new(source: Path, manifest: Manifest, bucket: Bucket, workers: int, look: Look) -> IndexEntry:
    """Bring all of a new entry but its commit mark, and return where it is placed.

    Requests of one step that don't need each other's answers are in flight together: those that find what
    is there; the claim, and what other entries have; the files; then what readers find it by.
    """
    ref, catalogs = manifest.ref, catalog_keys(manifest)
    placed: IndexEntry
    first = IndexEntry(manifest, ref.folders[0])
    claim, listed, replacements, folders, *found = _together(
        lambda: bucket.get(f"{first.folder}/{MANIFEST_NAME}"),
        lambda: _listed(bucket, f"{first.folder}/"),
        lambda: _listed(bucket, f"{ref.folders[-1]}@"),
        lambda: original_index.folders_of_id(bucket, ref),
        *(functools.partial(_catalog, bucket, key) for key in catalogs),
        workers=workers,
    )
    items = [(file, source / file.path, first.key(file.path)) for file in manifest.files]
    placed, known, _ = _together(
        lambda: _claim(bucket, manifest, claim),
        lambda: _known_content(items, manifest, bucket, look, found[-1], workers),
        lambda: original_index.mark_shared_id(bucket, ref, folders, found[0] and found[0][0]),
        workers=workers,
    )
    if placed.folder != first.folder:
        listed = replacements if placed.generation else _listed(bucket, f"{placed.folder}/")
    todo = [(file, source / file.path, placed.key(file.path)) for file in manifest.files]
    todo = _without_sent(todo, listed or (), bucket, workers)
    data, marks = _parted(todo)
    with task("Uploading", ref, [file for file, _, _ in todo if content(file) not in known]):
        _bring_data(data, bucket, workers, known)
        *_, index = _together(
            lambda: send_files(marks, bucket, workers=workers),
            *(functools.partial(_enter, bucket, manifest, *one) for one in zip(catalogs, found, strict=True)),
            lambda: original_index.read(bucket),
            workers=workers,
        )
    is_listed = original_index.enter(bucket, placed, index)
    return dataclasses.replace(placed, is_in_original_index=is_listed)


def _together(*jobs: Callable[[], Any], workers: int) -> list[Any]:
    """Return what each of *jobs* returns. They are done in as many threads as there are workers."""
    return run_all(lambda job: job(), jobs, workers=workers)


def _mend(
    source: Path, placed: IndexEntry, mark: Mark, wrong: set[str], bucket: Bucket, workers: int
) -> bool:
    """Send again what of an entry is missing in the bucket or damaged there. False: it is whole.

    No reader takes what lies at a damaged object's key, so what is right may take its place.
    """
    manifest, damages = placed.manifest, list(mark_damages(bucket, placed))
    is_entered = not placed.is_in_original_index and original_index.enter(
        bucket, placed, original_index.read(bucket)
    )
    if is_entered:
        placed = dataclasses.replace(placed, is_in_original_index=True)
    if not wrong and not damages:
        if is_entered:
            with contextlib.suppress(PreconditionFailedError):  # Others have published meanwhile.
                put_over(bucket, manifest.ref.index_key, placed.to_bytes(), mark[1].get("etag", ""))
        _remove_left_behind(bucket, placed)
        return False
    told = ", ".join(sorted(wrong | {damage.path for damage in damages}))
    _log.warning("%s is damaged in %s, and is repaired: %.500s", manifest.ref, bucket.address, told)
    with as_publish_error(manifest.ref, bucket, _GO_ON):
        for damage in damages:
            if damage.path.endswith(f"/{MANIFEST_NAME}"):
                bucket.put(damage.path, manifest_bytes(manifest))
        items = [(file, source / file.path, placed.key(file.path)) for file in manifest.files]
        _bring([item for item in items if item[2] in wrong], manifest, bucket, workers)
        try:
            _enter_catalogs(bucket, manifest)
        except IntegrityError as exc:  # Readers do without it, and others' lines in it would be lost.
            _log.warning("%s", exc)
        # Also where it is right: what is written later than the mark would be compared again each time.
        _write_mark(bucket, placed, mark[1].get("etag", ""))
    return True


@contextlib.contextmanager
def as_publish_error(what: object, bucket: Bucket, advice: str) -> Iterator[None]:
    """Raise what *bucket* refuses as PublishError, which says that *what* was not published, and *advice*."""
    try:
        yield
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(f"{what} was not published to {bucket.address}: {exc}. {advice}") from exc


def _present(mark: bytes, key: str) -> IndexEntry | None:
    """Return what the commit mark says is there; None: it is damaged, and is written anew.

    Raises:
        IntegrityError: a newer release has written it.
    """
    try:
        return read_index_entry(mark, key)
    except IntegrityError as exc:
        if is_of_other_release(mark, key):
            raise
        _log.warning("%s, and is written again", exc)
        return None


def _shared(entry: LocalEntry, manifest: Manifest, placed: IndexEntry, *, is_same: bool) -> list[Sending]:
    """Return those files of *entry* that *placed* names keys for, by their content."""
    there = placed.by_content()
    return [
        (file, entry.folder / file.path, placed.key(file.path) if is_same else there[content(file)])
        for file in manifest.files
        if content(file) in there
    ]


def _wrong_keys(
    items: list[Sending],
    mark: Mark,
    *,
    bucket: Bucket,
    reads: bool,
    workers: int,
    listed: list[KeyInfo] | None = None,
) -> set[str]:
    try:
        return set(wrong_objects(items, mark, bucket, listed=listed, reads=reads, workers=workers))
    except NotPermittedError as exc:
        _log.debug("what %s has is not looked at: %s", bucket.address, exc)
        return set()


def _commit(bucket: Bucket, placed: IndexEntry, present: IndexEntry, etag: str | None) -> None:
    """Have the catalogs list the entry, then write the index key, if it is still as it was read."""
    listed: dict[str, Any] = {}
    enter(listed, present.manifest)
    if enter(listed, placed.manifest):  # Else the catalogs say the same already.
        _enter_catalogs(bucket, placed.manifest)
    _write_mark(bucket, placed, etag)


def _enter_catalogs(bucket: Bucket, manifest: Manifest) -> None:
    for catalog in catalog_keys(manifest):
        _enter(bucket, manifest, catalog)


def _enter(bucket: Bucket, manifest: Manifest, catalog: str, *seen: Found | None) -> None:
    """Have *catalog* list the entry. It may have been *seen* before."""
    update_json(bucket, catalog, functools.partial(enter, manifest=manifest), public=False, seen=seen)


def _catalog(bucket: Bucket, key: str) -> Found | None:
    found = bucket.get_with_headers(key)
    learn_conditions(bucket, found)
    return found


def _write_mark(bucket: Bucket, placed: IndexEntry, etag: str | None) -> None:
    manifest, key = placed.manifest, placed.manifest.ref.index_key
    try:
        put_over(bucket, key, placed.to_bytes(), etag)
    except PreconditionFailedError as exc:
        there = bucket.get(key)
        other = None if there is None else read_index_entry(there, key).manifest
        if other is not None:
            _enter_catalogs(bucket, other)  # Our own lines are in them, but our mark came too late.
        # Of the same content, or our own write whose answer was lost: that is success.
        if other is None or other.digest != manifest.digest:
            raise ConflictError(
                f"another publisher changed {manifest.ref} in the meantime; run the command again"
            ) from exc


def _claim(bucket: Bucket, manifest: Manifest, there: bytes | None) -> IndexEntry:
    """Return a place that is this entry's alone: its manifest is there, put before any data.

    Args:
        there: the manifest in the first of the ref's folders, if there is one.
    """
    data = manifest_bytes(manifest)
    first, *others = (IndexEntry(manifest, folder) for folder in manifest.ref.folders)
    for placed in (first, *others, IndexEntry(manifest, replacement_folder(manifest, 1), generation=1)):
        mark = f"{placed.folder}/{MANIFEST_NAME}"
        claim = there if placed is first else bucket.get(mark)
        if claim is None:
            claim = _put_claim(bucket, mark, data)
        if _is_of(manifest, claim, mark):
            return placed
    raise ConflictError(
        f"every folder that {manifest.ref} may have in {bucket.address} belongs to another entry"
    )


def _is_of(manifest: Manifest, claim: bytes | None, mark: str) -> bool:
    """Tell whether *claim*, the manifest at the key *mark*, has the ref and the content of *manifest*.

    The same content under another ref is another entry: its files go with it.
    """
    with contextlib.suppress(IntegrityError):  # A damaged one may be anybody's.
        there = read_manifest(claim, mark) if claim is not None else None
        return there is not None and (there.ref, there.digest) == (manifest.ref, manifest.digest)
    return False


def _put_claim(bucket: Bucket, mark: str, data: bytes) -> bytes:
    """Put a manifest where there is none, and return what is there then.

    No data is there yet, so whether the endpoint heeds conditions can be tried on it.
    """
    with contextlib.suppress(PreconditionFailedError):
        put_over(bucket, mark, data, None)
        if bucket.heeds_conditions is None:
            bucket.heeds_conditions = refuses_wrong_conditions(
                lambda condition: bucket.put(mark, data, **condition)
            )
        if bucket.heeds_conditions:
            return data
    return bucket.get(mark) or b""  # Where conditions are ignored, the last write counts.


def _remove_replaced(
    bucket: Bucket, retired: IndexEntry, placed: IndexEntry, listed: Iterable[KeyInfo]
) -> None:
    """Remove what no index names any more; the manifests that claim its folders go last."""
    dead = (retired.all_keys() - placed.all_keys()) | _dead(placed, listed)
    bucket.delete_all(key for key in dead if not key.endswith(f"/{MANIFEST_NAME}"))
    unused = {folder_of(key) for key in dead} - {folder_of(key) for key in placed.all_keys()}
    bucket.delete_all(f"{folder}/{MANIFEST_NAME}" for folder in unused)


def _remove_left_behind(bucket: Bucket, placed: IndexEntry) -> None:
    """Remove what interrupted uploads of the same ref have left, and parts of large files.

    It costs one request where there is nothing and content was never replaced. Who may not list or
    remove leaves it to others.
    """
    ref = placed.manifest.ref
    try:
        listed = _listed(bucket, f"{ref.folders[-1]}@") or []
        for folder in ref.folders if placed.generation or placed.folder != ref.folders[0] else ():
            mark = f"{folder}/{MANIFEST_NAME}"
            claim = bucket.get(mark)
            if claim is not None and read_manifest(claim, mark).ref == ref:
                listed += _listed(bucket, f"{folder}/") or []
        dead = _dead(placed, listed)
        claims = {key for key in dead if key.endswith(f"/{MANIFEST_NAME}")}
        bucket.delete_all(dead - claims)
        bucket.delete_all(claims)
        if any(file.size_bytes > SENT_PART_BYTES for file in placed.manifest.files):
            abort_stale(bucket.connection, ref.id_folder_prefix)
    except (AccessDeniedError, UnreachableError, IntegrityError) as exc:
        _log.debug("files that interrupted uploads of %s may have left could not be removed: %s", ref, exc)


def _dead(placed: IndexEntry, listed: Iterable[KeyInfo]) -> set[str]:
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
        is_idle = min(info.age_seconds for info in infos) > STALE_SECONDS
        if is_idle or generation_of(folder) <= placed.generation:
            dead |= {info.key for info in infos} - used
    return dead


def _send(
    source: Path,
    placed: IndexEntry,
    present: IndexEntry,
    listed: list[KeyInfo],
    bucket: Bucket,
    workers: int,
    look: Look,
) -> None:
    """Bring the files of a replacement to where they are placed, unless they are there."""
    manifest, there = placed.manifest, present.all_keys()
    todo = [(file, source / file.path, placed.key(file.path)) for file in manifest.files]
    todo = [item for item in todo if item[2] not in there]
    todo = _without_sent(todo, listed, bucket, workers)
    known: dict[tuple[int, str], str] = {}
    if len(todo) > _FEW_FILES or any(f.size_bytes > PART_BYTES for f, _, _ in todo):
        catalog = _catalog(bucket, catalog_keys(manifest)[-1])
        known = _known_content(todo, manifest, bucket, look, catalog, workers)
    _bring(todo, manifest, bucket, workers, known)


def _bring(
    todo: list[Sending],
    manifest: Manifest,
    bucket: Bucket,
    workers: int,
    known: Mapping[tuple[int, str], str] = MappingProxyType({}),
) -> None:
    """Have the server copy what lies at *known* keys, and send the rest."""
    data, marks = _parted(todo)
    with task("Uploading", manifest.ref, [file for file, _, _ in todo if content(file) not in known]):
        _bring_data(data, bucket, workers, known)
        # The original tool finds a dataset by its marks, so they are written after the data.
        send_files(marks, bucket, workers=workers)


def _bring_data(
    data: list[Sending], bucket: Bucket, workers: int, known: Mapping[tuple[int, str], str]
) -> None:
    sent = [item for item in data if content(item[0]) not in known]
    refused: list[Sending] = []

    def copy(item: Sending) -> int:
        file, _, key = item
        if not bucket.copy(known[content(file)], key):
            refused.append(item)
        return 0

    copies = [functools.partial(copy, item) for item in data if content(item[0]) in known]
    send_files(sent, bucket, workers=workers, beside=copies)
    send_files(refused, bucket, workers=workers)


def _parted(todo: Iterable[Sending]) -> tuple[list[Sending], list[Sending]]:
    """Return the data of *todo*, and the files by which the original tool finds a dataset."""
    items = list(todo)
    data = [item for item in items if item[0].path not in save_to_disk.MARKS]
    return data, [item for item in items if item[0].path in save_to_disk.MARKS]


def _without_sent(
    todo: Iterable[Sending], listed: Iterable[KeyInfo], bucket: Bucket, workers: int
) -> list[Sending]:
    """Leave out what an interrupted upload has brought, but what somebody may be about to remove."""
    there = {info.key: info.size_bytes for info in listed if info.age_seconds < STALE_SECONDS / 2}

    def is_missing(item: Sending) -> bool:
        file, _, key = item
        if there.get(key) != file.size_bytes:
            return True
        told = bucket.head_of(key)
        return told is None or told.metadata.get("sha256") != file.sha256

    return filter_all(is_missing, todo, workers=workers)


def _known_content(
    todo: list[Sending], manifest: Manifest, bucket: Bucket, look: Look, catalog: Found | None, workers: int
) -> dict[tuple[int, str], str]:
    """Return the keys of what other configs and revisions in *catalog* have of *todo*, by content."""
    key, needed = catalog_keys(manifest)[-1], {content(file) for file, _, _ in todo}
    known: dict[tuple[int, str], str] = {}
    looked: list[tuple[list[Sending], Mark]] = []

    def read(index_key: str) -> tuple[dict[tuple[int, str], str], Mark] | None:
        mark = bucket.get_with_headers(index_key)
        try:
            there = read_index_entry(mark[0], index_key).by_content() if mark else {}
        except IntegrityError as exc:
            _log.warning("its files are uploaded again: %s", exc)
            return None
        shared = {what: there[what] for what in needed & there.keys()}
        return (shared, mark) if mark and shared else None

    try:
        refs = [other.ref for other in read_catalog(catalog[0], key)] if catalog else []
        marks = [ref.index_key for ref in refs if ref != manifest.ref]
        for there, mark in filter(None, run_all(read, marks, workers=workers)):
            new = there.keys() - known.keys()
            items = [(file, path, there[content(file)]) for file, path, _ in todo if content(file) in new]
            known |= {content(file): source for file, _, source in items}
            looked += [(items, mark)] if items else []
        wrong = set[str]().union(*run_all(lambda one: look(*one), looked, workers=workers))
        return {what: source for what, source in known.items() if source not in wrong}
    except (NotPermittedError, IntegrityError) as exc:
        _log.warning("files in %s, of %s, are uploaded again: %s", bucket.address, manifest.dataset_id, exc)
        return {}


def _listed(bucket: Bucket, *prefixes: str) -> list[KeyInfo] | None:
    try:
        return bucket.list_all(prefixes)
    except NotPermittedError as exc:  # Then what is there is not looked at, and what is new is all sent.
        _log.debug("what %s has is not looked at: %s", bucket.address, exc)
        return None
