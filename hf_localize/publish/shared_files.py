"""The public files of a repository, which hold all of its configs, also those that are kept private."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable

from hf_localize.errors import HfLocalizeError, InvalidRefError
from hf_localize.format.equivalence import Identity
from hf_localize.format.manifest import Manifest
from hf_localize.format.public_records import usable_records
from hf_localize.format.refs import FILES_CONFIG, PUBLIC_RECORDS_KEY, DatasetRef
from hf_localize.format.repository import Repository
from hf_localize.http.deadline import within
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.public import withdraw
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.errors import NotPermittedError
from hf_localize.s3.shared_json import read_json
from hf_localize.sources.bucket import PrivateSource, list_refs
from hf_localize.sources.public import PublicSource, public_repositories

_log = logging.getLogger(__name__)
#: How long an upload waits to learn what outsiders can read.
_SECONDS = 3.0


def kept_private(
    dataset_id: str,
    commit: str | None,
    stored: Iterable[Identity],
    bucket: Bucket,
    workers: int,
    planned: Collection[Identity] = (),
) -> list[DatasetRef]:
    """Return the datasets of *dataset_id* in a store or in *bucket* that the files of *commit* would open.

    A dataset counts as shared if it has a public record, or if its config has one of that very commit.

    Args:
        stored: what the store has of that id.
        planned: what will be shared too.
    """
    ref, own = DatasetRef(dataset_id), list(stored)
    own += PrivateSource(bucket, workers).stored(ref)
    with contextlib.suppress(NotPermittedError):  # Uploads of the original tool are in no catalog.
        listed = {one.ref for one in own}
        others = list_refs(bucket, workers, all_folders=False, beginning=dataset_id)
        own += [Identity(other) for other in others if other.dataset_id == dataset_id and other not in listed]
    records = [one for one in usable_records(read_json(bucket, PUBLIC_RECORDS_KEY)) if one.has_id(dataset_id)]
    shared: list[Identity] = [*records, *planned]

    def is_open(one: Identity) -> bool:
        return any(
            other.answers(one.ref)
            or one.answers(other.ref)
            or (other.config == one.config and other.commit == commit is not None)
            for other in shared
        )

    return sorted({one.ref for one in own if one.config != FILES_CONFIG and not is_open(one)}, key=str)


def has_public_files(dataset_id: str, public_files: PublicFiles) -> bool:
    """Tell whether outsiders can read files of the repository; False also if no answer comes in time."""

    def look() -> bool:
        with contextlib.suppress(InvalidRefError):  # It is the id of own data.
            if public_repositories(public_files).refs(Repository("dataset", dataset_id)) is not None:
                return True
        return bool(shared_original_files(dataset_id, public_files))

    try:
        return within(min(_SECONDS, public_files.timeout_seconds), look)
    except HfLocalizeError as exc:
        _log.debug("can't tell whether files of %s are public: %s", dataset_id, exc)
        return False


def shared_original_files(dataset_id: str, public_files: PublicFiles) -> list[DatasetRef]:
    """Return the refs under which outsiders see original files of *dataset_id*."""
    return original_files(dataset_id, PublicSource(public_files, 1).records() or ())


def original_files(dataset_id: str, records: Iterable[Identity]) -> list[DatasetRef]:
    """Return the refs under which original files of *dataset_id*, those of all configs, are shared."""
    return [one.ref for one in records if one.config == FILES_CONFIG and one.has_id(dataset_id)]


def withdraw_original_files(
    dataset_id: str, bucket: Bucket, public_files: PublicFiles, itself: PublicFiles
) -> bool:
    """Withdraw the ZIPs of original files of *dataset_id*, which hold all configs; False: there are none.

    Also one whose record an interrupted withdrawal has removed.
    """
    refs = original_files(dataset_id, usable_records(read_json(bucket, PUBLIC_RECORDS_KEY)))
    usual = DatasetRef(dataset_id).files
    gone = [ref for ref in dict.fromkeys((*refs, usual)) if withdraw(ref, bucket, public_files, itself)]
    for ref in gone:
        _log.info("%s: can no longer be read without credentials", ref)
    return bool(gone)


def warn_if_public(manifest: Manifest, public_files: PublicFiles) -> None:
    """Warn if a dataset that was just uploaded for the team can be read in public files of its repository."""
    if manifest.origin != "hub":
        return
    ids = dict.fromkeys(filter(None, (manifest.dataset_id, manifest.canonical_id)))
    opened = [dataset_id for dataset_id in ids if has_public_files(dataset_id, public_files)]
    if not opened:
        return
    with contextlib.suppress(HfLocalizeError):
        if any(one.answers(manifest.ref) for one in PublicSource(public_files, 1).records() or ()):
            return
    _log.warning(
        "%s is not shared publicly, but outsiders can read it in the files of its repository, which hold all "
        "configs and are public. To stop sharing them: %s",
        manifest.ref,
        "; ".join(f"hg-localize withdraw {dataset_id} --files-only" for dataset_id in opened),
    )
