"""The public functions that list what the store, the bucket and the public files have."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from hf_localize.api.values import DatasetName, StoredDataset
from hf_localize.errors import HfLocalizeError, IntegrityError
from hf_localize.format.manifest import Manifest, restriction_of
from hf_localize.format.manifest_json import declared
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, DatasetRef
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry

if TYPE_CHECKING:
    from hf_localize.format.public_records import PublicRecord

_log = logging.getLogger(__name__)
#: How long a list waits for what others can read of its datasets, which is not what it was asked for.
_PUBLIC_SECONDS = 3.0
_WILDCARD = re.compile(r"[*?[]")


@overload
def list_local_datasets(pattern: str | None = None, details: Literal[False] = False) -> list[DatasetName]: ...
@overload
def list_local_datasets(pattern: str | None = None, *, details: Literal[True]) -> list[StoredDataset]: ...
def list_local_datasets(
    pattern: str | None = None, details: bool = False
) -> list[DatasetName] | list[StoredDataset]:
    """Return ``dataset_id``, ``config_name`` and ``revision`` of each dataset in the local store.

    Datasets that are stored only in part are left out.

    Args:
        pattern: selects dataset ids, such as ``openai/*``; None: all.
        details: also return, if known, ``canonical_id``, ``commit``, ``origin``, ``created``, ``license``,
            ``restriction`` (on the Hub: ``gated``, ``private``, ``unknown``, None), ``splits`` (the rows of
            each), ``rows``, ``size_bytes``, ``digest``, ``is_public``, ``place`` and ``came_from`` (the
            bucket from which the copy was downloaded). To find out ``is_public``, the bucket is asked for 3 s
            at most.

    Example:
        >>> hf_localize.list_local_datasets("openai/*")[0].config_name
        'main'
        >>> hf_localize.list_local_datasets("openai/*", details=True)[0].splits
        {'train': 7473, 'test': 1319}
    """
    session = current_session()
    if not details:
        return [DatasetName(*ref.parts) for ref in session.store.refs() if _matches(ref, pattern)]
    shared = _public_refs(session)
    entries = [entry for entry in session.store.entries() if _matches(entry.manifest.ref, pattern)]
    return [_of_entry(entry, shared, session) for entry in entries]


def list_datasets_of_other_buckets() -> list[tuple[DatasetRef, str]]:
    """Return the original tool's datasets from buckets that are not configured, each with its bucket."""
    store = current_session().store
    return [(entry.manifest.ref, str(store.origin_of(entry))) for entry in store.of_other_buckets()]


def list_partial_datasets() -> list[tuple[DatasetRef, str]]:
    """Return the datasets that are stored only in part, each with a summary of the stored part."""
    return [(entry.manifest.ref, entry.summary()) for entry in current_session().store.partials()]


@overload
def list_s3_datasets(
    all_folders: bool = False, pattern: str | None = None, details: Literal[False] = False
) -> list[DatasetName]: ...
@overload
def list_s3_datasets(
    all_folders: bool = False, pattern: str | None = None, *, details: Literal[True]
) -> list[StoredDataset]: ...
def list_s3_datasets(
    all_folders: bool = False, pattern: str | None = None, details: bool = False
) -> list[DatasetName] | list[StoredDataset]:
    """Return ``dataset_id``, ``config_name`` and ``revision`` of each dataset in the bucket.

    Without credentials, returns the datasets that are shared publicly. Of data of the original tool without
    an index entry, the id is not known, so the name of the folder is returned.

    Args:
        all_folders: look for data without an index entry in all folders of the bucket, not only in the
            first 1,000. This takes one request for each 1,000 folders.
        pattern: selects dataset ids, such as ``openai/*``; None: all. Only keys that begin like the pattern
            are listed.
        details: return more, as :func:`list_local_datasets` does. This takes one request for each dataset.

    Example:
        >>> [item.dataset_id for item in hf_localize.list_s3_datasets(pattern="openai/*")]
        ['openai/gsm8k', 'openai/gsm8k']

    Raises:
        SettingsError: no bucket is configured.
        AccessDeniedError, UnreachableError: the bucket can't be listed.
    """
    session = current_session()
    if not session.settings.s3_bucket_name or not session.bucket.has_credentials:
        if session.settings.s3_bucket_name:
            _log.info("no credentials for a bucket, so this list shows the datasets that are shared publicly")
        return list_public_datasets(pattern, details=True) if details else list_public_datasets(pattern)
    from hf_localize.sources.bucket import list_refs

    workers = session.settings.max_concurrency
    beginning = _WILDCARD.split(pattern or "")[0]
    found = list_refs(session.bucket, workers, all_folders=all_folders, beginning=beginning)
    refs = sorted((ref for ref in found if _matches(ref, pattern)), key=str)
    if not details:
        return [DatasetName(*ref.parts) for ref in refs]
    from hf_localize.transfer.workers import run_all

    shared = _public_refs(session)
    described: list[StoredDataset] = run_all(
        lambda ref: _of_bucket(ref, session, shared), refs, workers=min(workers, len(refs) or 1)
    )
    return described


@overload
def list_public_datasets(
    pattern: str | None = None, details: Literal[False] = False
) -> list[DatasetName]: ...
@overload
def list_public_datasets(pattern: str | None = None, *, details: Literal[True]) -> list[StoredDataset]: ...
def list_public_datasets(
    pattern: str | None = None, details: bool = False
) -> list[DatasetName] | list[StoredDataset]:
    """Return ``dataset_id``, ``config_name`` and ``revision`` of each dataset that is shared publicly.

    This is what outsiders see. Takes one request. Credentials are neither needed nor used.

    Args:
        pattern: selects dataset ids, such as ``openai/*``; None: all.
        details: return more, as :func:`list_local_datasets` does.

    Example:
        >>> hf_localize.list_public_datasets()
        []

    Raises:
        SettingsError: neither a bucket nor a public URL is configured.
        AccessDeniedError, UnreachableError: the public records can't be read.
    """
    session = current_session()
    found = sorted(
        _public_records(session, lambda ref: _matches(ref, pattern)), key=lambda item: str(item.ref)
    )
    return found if details else [DatasetName(*item.ref.parts) for item in found]


def _matches(ref: DatasetRef, pattern: str | None) -> bool:
    """Tell whether the id of *ref* is of the *pattern*; or would be as the name of its folder."""
    if pattern is None:
        return True
    patterns = (pattern, pattern.replace("/", "_"))
    return any(fnmatch.fnmatchcase(ref.dataset_id, one) for one in patterns)


def _of_manifest(manifest: Manifest, place: str, shared: Collection[DatasetRef] | None) -> StoredDataset:
    return StoredDataset(
        *manifest.ref.parts,
        place=place,
        canonical_id=manifest.canonical_id,
        commit=manifest.commit,
        origin=manifest.origin,
        created=manifest.created,
        license=manifest.license,
        restriction=manifest.restriction,
        splits={split.name: split.rows for split in manifest.splits},
        size_bytes=manifest.size_bytes,
        digest=manifest.digest,
        is_public=None if shared is None else manifest.ref in shared,
    )


def _of_entry(entry: LocalEntry, shared: Collection[DatasetRef] | None, session: Session) -> StoredDataset:
    origin = session.store.origin_of(entry)
    came_from = None if origin is None else str(origin)
    if entry.has_manifest:
        return replace(_of_manifest(entry.manifest, str(entry.folder), shared), came_from=came_from)
    sizes = [0]
    for file in entry.manifest.files:
        with contextlib.suppress(OSError):
            sizes.append((entry.folder / file.path).stat().st_size)
    ref = entry.manifest.ref
    splits = {split.name: split.rows for split in entry.manifest.splits}
    return StoredDataset(
        *ref.parts,
        place=str(entry.folder),
        splits=splits if any(splits.values()) else None,  # Else nobody has recorded the rows.
        size_bytes=sum(sizes),
        is_public=None if shared is None else ref in shared,
        came_from=came_from,
    )


def _of_bucket(ref: DatasetRef, session: Session, shared: Collection[DatasetRef] | None) -> StoredDataset:
    from hf_localize.sources.bucket import find_indexed

    place = str(session.bucket.address)
    try:
        entry = find_indexed(session.bucket, ref, 1)
    except IntegrityError as exc:
        _log.warning("%s: %s", ref, exc)
        entry = None
    if entry is None:  # The original tool's, damaged, or removed meanwhile.
        return StoredDataset(*ref.parts, place=place, is_public=None if shared is None else ref in shared)
    return _of_manifest(entry.manifest, place, shared)


def _public_records(session: Session, is_wanted: Callable[[DatasetRef], bool]) -> list[StoredDataset]:
    from hf_localize.format.public_records import read_record
    from hf_localize.sources.public import PublicSource

    document = PublicSource(session.public_files, 1).document()
    if document is None:
        is_url = session.settings.public_url is not None
        variable = "HGLOC_PUBLIC_URL" if is_url else "HGLOC_S3_BUCKET_NAME or HGLOC_S3_ENDPOINT_URL"
        doubt = f", or {variable} is wrong" if session.is_outsider else ""
        where = session.public_files.url(PUBLIC_RECORDS_KEY)
        _log.info("%s does not exist: nothing is shared there%s", where, doubt)
    found: dict[DatasetRef, StoredDataset] = {}  # A load takes the first record of a dataset too.
    for value in (document or {}).values():
        record = read_record(value)
        if record is not None and record.ref not in found and is_wanted(record.ref):
            found[record.ref] = _of_record(record, value, session.public_files.url(record.zip_key))
    return list(found.values())


def _of_record(record: PublicRecord, value: Mapping[str, Any], url: str) -> StoredDataset:
    splits = value.get("splits")
    rows = splits.values() if isinstance(splits, dict) else [None]
    if not all(isinstance(count, int) and 0 <= count < 1 << 63 for count in rows):
        splits = None
    said = value.get("license")
    is_from_hub = record.commit is not None
    gated, private = (declared(value.get(word), is_from_hub=is_from_hub) for word in ("gated", "private"))
    return StoredDataset(
        *record.ref.parts,
        place=url,
        canonical_id=record.canonical_id,
        commit=record.commit,
        license=said if isinstance(said, str) else None,
        restriction=restriction_of(gated, private),
        splits=splits,
        size_bytes=record.size_bytes,
        digest=record.digest,
        is_public=True,
    )


def _public_refs(session: Session) -> frozenset[DatasetRef] | None:
    """Return the refs that are shared publicly; None where that can't be told, or may not be asked."""
    settings = session.settings
    if settings.offline or not (settings.s3_bucket_name or settings.public_url):
        return None
    from hf_localize.http.deadline import within
    from hf_localize.sources.public import PublicSource

    seconds = min(_PUBLIC_SECONDS, settings.timeout_seconds)
    try:
        records = within(seconds, PublicSource(session.public_files, 1).records)
    except HfLocalizeError as exc:
        _log.debug("can't tell which datasets are public: %s", exc)
        return None
    return frozenset(record.ref for record in records or ())
