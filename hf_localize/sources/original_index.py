"""The original tool's index of a bucket, ``private_datasets_index.json``: read for ids, kept up to date."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    IntegrityError,
    InvalidRefError,
    UnreachableError,
)
from hf_localize.format.index import IndexEntry, read_catalog
from hf_localize.format.refs import DatasetRef, catalog_key, original_mark
from hf_localize.format.save_to_disk import ORIGINAL_CARD_FILE
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.errors import NotPermittedError
from hf_localize.s3.shared_json import Found, learn_conditions, read_json, update_json
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
KEY = "private_datasets_index.json"
_FAILURES = (AccessDeniedError, UnreachableError, IntegrityError, ConflictError)


def refs_by_folder(bucket: Bucket, key: str) -> dict[str, DatasetRef]:
    """Return the refs of the datasets that the original tool lists at *key*, by their folders.

    Args:
        key: of its private index, or of the public records.
    """
    try:
        document = read_json(bucket, key)
    except NotPermittedError:  # So a missing key is answered where keys may not be listed.
        return {}
    except IntegrityError as exc:
        _log.warning("the ids in %s are not known: %s", key, exc)
        return {}
    return {ref.folders[0]: ref for _, ref in _refs(document)}


def folders_of_id(bucket: Bucket, ref: DatasetRef) -> set[str]:
    """Return the folders of the id of *ref*: ``<id>/<config>``, and those of its config with the revision."""
    name, config, _ = ref.folders[0].split("/")
    prefixes = (f"{name}/", f"{name}/{config}/")
    try:
        found = run_all(lambda prefix: bucket.list_folder(prefix)[0], prefixes, workers=len(prefixes))
    except _FAILURES as exc:
        _log.debug("whether the original tool has data of %s is not known: %s", ref.dataset_id, exc)
        return set()
    return {prefix + folder for prefix, folders in zip(prefixes, found, strict=True) for folder in folders}


def mark_shared_id(bucket: Bucket, ref: DatasetRef, folders: set[str], catalog: bytes | None) -> None:
    """Leave a mark if the original tool has data of the id of *ref*, which is about to be published.

    Lists look among the folders of a marked id, and of no other of the index: each costs requests.

    Args:
        folders: of the id, as :func:`folders_of_id` returns them.
        catalog: of the id; None: there is none.
    """
    try:
        listed = [] if catalog is None else read_catalog(catalog, catalog_key(ref.dataset_id))
        known = {ref.folders[0], *(other.ref.folders[0] for other in listed)}
        known |= {folder.rpartition("/")[0] for folder in known}
        if folders - known:
            bucket.put(original_mark(ref.dataset_id), b"")
    except _FAILURES as exc:
        _log.debug("whether the original tool has data of %s is not known: %s", ref.dataset_id, exc)


def enter(bucket: Bucket, placed: IndexEntry, found: Found | None) -> bool:
    """List an entry in the original tool's index, if one was *found*, and tell whether it is listed."""
    manifest, folder = placed.manifest, placed.manifest.ref.folders[0]
    ref = manifest.ref
    if placed.folder != folder or placed.elsewhere:
        return False
    listed = {
        **ref.as_dict(),
        "s3_prefix": bucket.address.key(folder),
        "s3_bucket": bucket.address.name,
        "has_card": any(file.path == ORIGINAL_CARD_FILE for file in manifest.files),
    }

    def change(document: dict[str, Any]) -> bool:
        present = document.get(ref.record_key)
        if isinstance(present, dict) and present | listed == present:
            return False
        document[ref.record_key] = {**listed, "last_updated": str(time.time())}
        return True

    return _update(bucket, ref, change, found, mark=original_mark(ref.dataset_id))


def leave(bucket: Bucket, ref: DatasetRef) -> None:
    """Take what lies in the folder of *ref* out of the original tool's index, where the bucket has one."""

    def change(document: dict[str, Any]) -> bool:
        keys = [key for key, other in _refs(document) if other.folders[0] == ref.folders[0]]
        for key in keys:
            del document[key]
        return bool(keys)

    _update(bucket, ref, change, read(bucket))


def _update(
    bucket: Bucket,
    ref: DatasetRef,
    change: Callable[[dict[str, Any]], bool],
    found: Found | None,
    mark: str | None = None,
) -> bool:
    """Change the index that was *found*, if any; return whether that was done, or was so already."""
    if found is None:
        return False
    learn_conditions(bucket, found)
    todo: list[Callable[[], object]] = [lambda: update_json(bucket, KEY, change, public=False, seen=(found,))]
    if mark is not None:  # The original tool may bring more of this id.
        todo.append(lambda: bucket.put(mark, b""))
    try:
        run_all(lambda do: do(), todo, workers=len(todo))
    except _FAILURES as exc:  # It is for users of the original tool only; our own readers have their index.
        _log.warning(
            "users of the original tool don't see the change of %s: %s was not updated: %s", ref, KEY, exc
        )
        return False
    return True


def read(bucket: Bucket) -> Found | None:
    """Return the original tool's index with its headers; None where there is none, or it can't be read."""
    try:
        return bucket.get_with_headers(KEY)
    except NotPermittedError:  # So a missing key is answered where keys may not be listed.
        return None
    except _FAILURES as exc:
        _log.warning("%s, for users of the original tool, is not updated: %s", KEY, exc)
        return None


def _refs(document: Mapping[str, Any]) -> Iterator[tuple[str, DatasetRef]]:
    for key, value in document.items():
        with contextlib.suppress(TypeError, KeyError, AttributeError, InvalidRefError):
            yield key, DatasetRef(value["dataset_id"], value.get("config_name"), value.get("revision"))
