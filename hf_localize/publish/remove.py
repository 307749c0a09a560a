"""Taking an entry out of the team's bucket, in the reverse of the order in which it came."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from hf_localize.errors import ConflictError, DatasetNotFoundError, IntegrityError
from hf_localize.format import save_to_disk
from hf_localize.format.index import IndexEntry, catalog_keys, leave, read_index_entry
from hf_localize.format.manifest import Manifest
from hf_localize.format.manifest_json import read_manifest, ref_at_head
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef, index_prefix, ref_of_index_key
from hf_localize.publish.catalog_pages import remove_pages
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.shared_json import update_json
from hf_localize.sources import original_index
from hf_localize.sources.base import alternatives
from hf_localize.sources.bucket import BucketEntry, PrivateSource
from hf_localize.store.origins import METADATA_FILE
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
#: How often a publisher may put the entry back while it is removed.
_TRIES = 10


def find_in_bucket(bucket: Bucket, ref: DatasetRef, workers: int) -> DatasetRef | None:
    """Return the ref under which the bucket has what *ref* names, or None.

    Also where its commit mark can't be read, or is gone and some of its data is left.
    """
    try:
        entry = PrivateSource(bucket, workers).find(ref)
    except IntegrityError:
        return ref
    if isinstance(entry, BucketEntry):
        return entry.manifest.ref
    return ref if _has_rest(bucket, ref, workers) else None


def remove_from_bucket(bucket: Bucket, ref: DatasetRef, workers: int) -> int:
    """Remove the bucket's entry for *ref*, the very ref that it is stored under; return how many objects.

    No reader finds it once the commit mark, the first of all, is gone. Then go the catalogs' lines,
    what the original tool finds it by, data, and the manifests that claim its folders: so an interrupted
    run leaves what tells the next one what to do. Last goes its page in the catalog. What another entry uses
    stays.

    Raises:
        DatasetNotFoundError: there is none.
        ConflictError: a publisher kept putting it back.
        AccessDeniedError, UnreachableError: run it again to go on.
    """
    removed = 0
    for _ in range(_TRIES):
        data = bucket.get(ref.index_key)
        if data is None and not _has_rest(bucket, ref, workers):
            if removed == 0:
                removed = _remove_unindexed(bucket, ref, workers)
            remove_pages([ref], bucket, None)
            return removed
        removed += _remove_once(bucket, ref, data, workers)
    raise ConflictError(f"{ref} in {bucket.address} was published again while it was removed")


def _remove_once(bucket: Bucket, ref: DatasetRef, mark: bytes | None, workers: int) -> int:
    placed = _read_mark(mark, ref)
    used = _used_by_others(bucket, ref, workers)
    manifest = placed.manifest if placed else next(_claimed(bucket, ref, workers), (None, None))[1]
    if mark is not None:
        bucket.delete(ref.index_key)
    _leave_catalogs(bucket, manifest or Manifest(dataset_id=ref.dataset_id), ref)
    original_index.leave(bucket, ref)
    folders = {folder for folder, _ in _claimed(bucket, ref, workers)}
    keys = placed.all_keys() if placed else set()
    # Also those of a replacement that was not completed.
    for prefix in (*(f"{folder}/" for folder in folders), f"{ref.folders[-1]}@"):
        keys |= {info.key for info in bucket.list_keys(prefix)}
    keys -= used
    claims = {key for key in keys if key.endswith(f"/{MANIFEST_NAME}")}
    marks = {key for key in keys if key.rsplit("/", 1)[-1] in save_to_disk.MARKS}
    for some in (marks, keys - marks - claims, claims):
        bucket.delete_all(some)
    return len(keys) + (mark is not None)


def _read_mark(data: bytes | None, ref: DatasetRef) -> IndexEntry | None:
    try:
        return read_index_entry(data, ref.index_key) if data is not None else None
    except IntegrityError as exc:
        _log.warning("the content of %s is not known: %s", ref.index_key, exc)
        return None


def _has_rest(bucket: Bucket, ref: DatasetRef, workers: int) -> bool:
    """Tell whether the bucket has data of this very ref without a commit mark."""
    return any(_claimed(bucket, ref, workers)) or any(bucket.list_keys(f"{ref.folders[-1]}@"))


def _claimed(bucket: Bucket, ref: DatasetRef, workers: int) -> Iterator[tuple[str, Manifest | None]]:
    """Yield the folders that are this very ref's, by the manifest in them, with it.

    Whose a manifest is that can't be read (None) is told by its head, else by who uses what lies beside
    it. The last of a ref's folders is nobody else's, whatever is in it.
    """
    for folder in ref.folders:
        claim = f"{folder}/{MANIFEST_NAME}"
        data = bucket.get(claim)
        if data is None:
            continue
        try:
            manifest = read_manifest(data, claim)
        except IntegrityError:
            named = ref if folder == ref.folders[-1] else ref_at_head(data)
            if named == ref:
                yield folder, None
            elif named is None:
                used = _used_by_others(bucket, ref, workers)
                if not any(key.startswith(f"{folder}/") for key in used):
                    yield folder, None
            continue
        if manifest.ref == ref:
            yield folder, manifest


def _used_by_others(bucket: Bucket, ref: DatasetRef, workers: int) -> set[str]:
    """Return the keys that commit marks of other refs name, which could lie in a folder of *ref*."""

    def keys_of(other: DatasetRef) -> set[str]:
        data = bucket.get(other.index_key)
        return read_index_entry(data, other.index_key).all_keys() if data else set()

    indexed = (ref_of_index_key(info.key) for info in bucket.list_keys(index_prefix()))
    others = [o for o in indexed if o is not None and o != ref and set(o.folders) & set(ref.folders)]
    return set().union(*run_all(keys_of, others, workers=workers))


def _leave_catalogs(bucket: Bucket, manifest: Manifest, ref: DatasetRef) -> None:
    for catalog in catalog_keys(manifest):
        try:
            update_json(bucket, catalog, lambda document: leave(document, ref), public=False)
        except (IntegrityError, AttributeError) as exc:  # It is a hint only: the mark is gone.
            _log.warning("%s is not changed: %s", catalog, exc)


def _remove_unindexed(bucket: Bucket, ref: DatasetRef, workers: int) -> int:
    """Remove what the original tool has left: first what it finds it by."""
    entry, keys = PrivateSource(bucket, workers).find(ref), set[str]()
    if isinstance(entry, BucketEntry) and not entry.is_indexed:
        used = _used_by_others(bucket, ref, workers)
        keys = {entry.placed.key(file.path) for file in entry.manifest.files} - used
    if not isinstance(entry, BucketEntry) or not keys:
        others = alternatives([str(one.ref) for one in PrivateSource(bucket, workers).stored(ref)])
        raise DatasetNotFoundError(f"there is no {ref} to remove in {bucket.address}{others}")
    original_index.leave(bucket, ref)
    count = len(keys)
    keys |= {entry.placed.key(name) for name in (METADATA_FILE, save_to_disk.ORIGINAL_CARD_FILE)}
    marks = {key for key in keys if key.rsplit("/", 1)[-1] in save_to_disk.MARKS}
    bucket.delete_all(marks)
    bucket.delete_all(keys - marks)
    return count
