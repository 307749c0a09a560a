"""The public functions that take care of what is stored: check, mend, remove, withdraw, make room."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.api.configs import any_ref_of, configs_listed, ref_of, stored_instead, with_configs
from hf_localize.api.datasets import PlainHub
from hf_localize.api.repositories import FROM_TAR
from hf_localize.api.stored_repositories import remove_files_of, tell_if_original_files_stay, withdraw_rest
from hf_localize.api.values import CheckedDataset, PrunedDataset, RepairedDataset, Result, ids_of
from hf_localize.errors import DatasetNotFoundError, IntegrityError, InvalidRefError
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import REPO_TYPES
from hf_localize.sources.base import SOURCE_FAILURES, StoredEntry
from hf_localize.sources.session import Session, current_session
from hf_localize.store.commit import remove
from hf_localize.store.verify import Checked, check_store

if TYPE_CHECKING:
    from hf_localize.upkeep.repair import Repaired


def verify_dataset(
    dataset_id: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    deep: bool = False,
    s3: bool = False,
    public: bool = False,
    *,
    name: str | None = None,
) -> list[CheckedDataset]:
    """Check that a stored dataset is complete and undamaged, even if only a part of it is stored.

    Files of its repository that are stored as they are are checked too; if some are damaged, their snapshot
    is among the results.

    Args:
        dataset_id: None checks all datasets, models and Spaces. If no config is named, all configs
            of the id are checked.
        deep: read all bytes and compare their sha256, not only the sizes of the files.
        s3: check the bucket instead of the local store.
        public: check the public ZIPs, read without credentials, instead of the local store.

    Returns:
        A :class:`CheckedDataset` for each entry.

    Example:
        >>> [item.damaged for item in hf_localize.verify_dataset("openai/gsm8k", "main", deep=True)]
        [[]]

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: no bucket is configured.
        DatasetNotFoundError: the dataset is not there.
        AccessDeniedError, UnreachableError: the bucket or the public files can't be read.
    """
    ref = any_ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    found: list[Checked] = []
    places = []

    def named(place: str) -> Sequence[DatasetRef | None]:
        return [None] if ref is None else with_configs(ref, session, place)

    if not s3 and not public:
        places.append(f"{session.store.path}{'' if ref is None else stored_instead(ref, session)}")
        for one in named("local"):
            found += check_store(session.store, one, deep=deep)
    if s3 or public:
        from hf_localize.upkeep.audit import check_bucket, check_public

        workers = session.settings.max_concurrency
    if s3:
        places.append(str(session.bucket.address))
        bucket = session.require_publisher()
        for one in named("s3"):
            found += check_bucket(bucket, one, deep=deep, workers=workers)
    if public:
        public_files, bucket_name = session.public_files, session.settings.s3_bucket_name
        places.append(public_files.base_url)
        for one in named("public"):
            found += check_public(public_files, one, bucket_name=bucket_name, deep=deep, workers=workers)
    if ref is not None and not found:
        raise DatasetNotFoundError(f"there is no {ref} to verify in {' or '.join(places)}")
    from hf_localize.api.repository_upkeep import damaged_files_of

    files = damaged_files_of(dataset_id, revision, deep=deep, s3=s3, public=public)
    return [*map(_result_of, found), *files]


def repair_dataset(
    dataset_id: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
) -> list[RepairedDataset]:
    """Replace damaged files in the local store from the next source that has the same content.

    Only damaged files are downloaded, but from the Hub, a dataset is downloaded as a whole.

    Args:
        dataset_id: None repairs all datasets, models and Spaces. If no config is named, all configs
            of the id are repaired.

    Returns:
        A :class:`RepairedDataset` for each entry that was damaged.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        DatasetNotFoundError: the local store does not have it.
        IntegrityError: some files could not be repaired; all others were.
    """
    session = current_session()
    refs: Sequence[DatasetRef | None] = [None]
    if (ref := any_ref_of(dataset_id, config_name, revision, name)) is not None:
        refs = [one for one in with_configs(ref, session, "local") if session.store.places_of(one)]
        if not refs:
            where = f"{session.store.path}{stored_instead(ref, session)}"
            raise DatasetNotFoundError(f"there is no {ref} to repair in {where}")
    from hf_localize.upkeep.repair import repair

    sources = [s for s in session.resolver().sources if s.kind != "local"]
    done = [_or_from_hub(item, session) for ref in refs for item in repair(session.store, sources, ref)]
    from hf_localize.api.repository_upkeep import repaired_files

    files: list[RepairedDataset] = []  # Those that are kept as they are.
    failed = [f"  - {item.ref} in {item.place}: {item.reason}" for item in done if item.source is None]
    for repo_type in REPO_TYPES if dataset_id is None else REPO_TYPES[:1]:
        with contextlib.suppress(DatasetNotFoundError, InvalidRefError):
            brought, left = repaired_files(dataset_id, repo_type, revision)
            files += brought
            failed += left
    if failed:
        told = "\n".join(failed)
        again = (
            "To replace them with the content that a source has: hg-localize remove, then hg-localize "
            "download\n"
        )
        has_source = bool(sources) or session.asks("hub")
        raise IntegrityError(
            f"these are damaged, and could not be repaired:\n{told}\n{again if has_source else ''}{FROM_TAR}"
        )
    mended = [RepairedDataset(*item.ref.parts, item.place, list(item.mended), item.source) for item in done]
    return [*mended, *files]


def remove_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    s3: bool = False,
    *,
    name: str | None = None,
) -> Result:
    """Remove a dataset from the local store, even if only a part of it is there.

    A process that has loaded it can still use it. A public copy stays; :func:`withdraw_dataset` removes it.

    Args:
        s3: remove it from the bucket instead of the local store.

    Example:
        >>> hf_localize.remove_dataset("team/corpus").success
        True

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: it is not there.
        StoreError, AccessDeniedError, UnreachableError: it could not be removed.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    if s3:
        from hf_localize.publish.remove import find_in_bucket, remove_from_bucket

        bucket, workers = session.require_publisher(), session.settings.max_concurrency
        own = find_in_bucket(bucket, ref, workers) or ref
        with configs_listed(ref, "s3"):
            count = remove_from_bucket(bucket, own, workers)
        remove_files_of(own, "s3", session)
        tell_if_original_files_stay(own, "s3", session)
        objects = "1 object" if count == 1 else f"{count} objects"
        if bucket.keeps_versions:
            objects += "; the bucket keeps former versions, from which they can be restored"
        return Result(True, f"{own}: removed from {bucket.address}, {objects}")
    with configs_listed(ref, "local"):
        places = session.store.places_of(ref)
        if not places:
            where = f"{session.store.path}{stored_instead(ref, session)}"
            raise DatasetNotFoundError(f"there is no {ref} to remove in {where}")
    for place in places:
        remove(session.store, place)
    remove_files_of(ref, "local", session)
    tell_if_original_files_stay(ref, "local", session)
    return Result(True, f"{ref}: removed from {', '.join(map(str, places))}")


def withdraw_dataset(
    dataset_id: str, config_name: str | None = None, revision: str | None = None, *, name: str | None = None
) -> Result:
    """Stop sharing a dataset publicly: remove its public record, its ZIP, and its page in the public catalog.

    The public files of its repository, which hold all configs, are removed too. What is in the bucket for
    those who have credentials stays.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: it is not shared.
        PublishError: outsiders can still read it, from a CDN or cache, or as a former version.
        AccessDeniedError, UnreachableError: it could not be removed.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    bucket = session.require_publisher()
    from hf_localize.publish import public
    from hf_localize.publish.shared_files import has_public_files, withdraw_original_files

    readers = (session.public_files, session.public_bucket_files)
    with configs_listed(ref, "public"):
        if not public.withdraw(ref, bucket, *readers):
            others = stored_instead(ref, session, "public")
            told = f"{ref} is not shared publicly in {bucket.address}{others}"
            has_files = withdraw_rest(ref.dataset_id, session)
            if has_files or has_public_files(ref.dataset_id, session.public_files):
                told += (
                    ", but files of its repository are, which hold all configs. To stop sharing them: "
                    f"hg-localize withdraw {ref.dataset_id} --files-only"
                )
            else:
                told += ". To see what is: hg-localize list-public"
            raise DatasetNotFoundError(told)
    withdraw_original_files(ref.dataset_id, bucket, *readers)
    remove_files_of(ref, "public", session)
    return Result(True, f"{ref}: can no longer be read without credentials")


def prune_datasets(
    max_bytes: int | None = None,
    older_than_seconds: float | None = None,
    keep: str | Iterable[str] = (),
    dry_run: bool = False,
) -> list[PrunedDataset]:
    """Remove the least recently used datasets from the local store, if they can be downloaded again.

    Files of repositories are treated like datasets, each commit by itself. A dataset stays if a process of
    this machine has it open, if it was used within the last hour, or if it did not come from the Hub and
    neither the bucket nor the public files have the same content.

    Args:
        max_bytes: remove until the store has no more than this.
        older_than_seconds: remove all datasets that were not used for this long.
        keep: patterns of dataset ids to keep, such as ``openai/*``.
        dry_run: remove nothing; return what would be removed.

    Returns:
        A :class:`PrunedDataset` for each removed entry.
    """
    session = current_session()
    from hf_localize.store.prune import prune

    pruned = prune(
        session.store,
        most_bytes=max_bytes,
        unused_seconds=older_than_seconds,
        keep=ids_of(keep),
        can_be_had_again=lambda entry: can_be_had_again(entry, session, ("s3", "public")),
        dry_run=dry_run,
    )
    return [
        PrunedDataset(*item.ref.parts, item.repo_type, item.place, item.size_bytes, item.last_used)
        for item in pruned
    ]


def can_be_had_again(entry: StoredEntry, session: Session, kinds: tuple[str, ...]) -> bool:
    """Tell whether a dataset came from the Hub, or a source of *kinds* has the same content."""
    if entry.manifest.origin == "hub":
        return True
    for source in session.resolver(only=kinds).sources:
        with contextlib.suppress(*SOURCE_FAILURES):
            found = source.find(entry.manifest.ref)
            if isinstance(found, StoredEntry) and found.digest == entry.digest:
                return True
    return False


def _result_of(one: Checked) -> CheckedDataset:
    damaged = [f"{damage.path} {damage.problem}" for damage in one.damages]
    size = (one.place, one.files, one.size_bytes)
    return CheckedDataset(*one.ref.parts, *size, one.is_hashed, one.is_partial, damaged)


def _or_from_hub(item: Repaired, session: Session) -> Repaired:
    """Fetch an entry as a whole from the Hub where no store could mend it."""
    store = dataclasses.replace(
        session.store, verifies_hashes=True
    )  # Else the damaged one would be taken for whole.
    if item.source is not None or not session.asks("hub") or store.places.is_partial(Path(item.place)):
        return item
    hub = PlainHub(trust_remote_code=False)
    try:
        with contextlib.suppress(IntegrityError):
            entry = store.open_place(Path(item.place))
            if entry is None or entry.manifest.origin != "hub":
                return item
        found = session.resolver(hub, only=("hub",))
        home = dataclasses.replace(found, store=store).localize(item.ref, skip_local=True)
    except DatasetNotFoundError as exc:
        return dataclasses.replace(item, reason=f"{item.reason}; {exc}")
    return dataclasses.replace(
        item, mended=tuple(sorted(home.paths())), source=hub.name, place=str(home.folder)
    )
