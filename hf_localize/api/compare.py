"""The public functions that compare what is stored: with the bucket, and with the Hub as it is now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from hf_localize.api.configs import any_ref_of, stored_instead, with_configs
from hf_localize.api.datasets import PlainHub, update_from
from hf_localize.api.repositories import require_hub
from hf_localize.api.values import Age, Difference, FileDifference, Status
from hf_localize.errors import AccessDeniedError, DatasetNotFoundError, IntegrityError, UnreachableError
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.refs import DatasetRef, is_commit
from hf_localize.publish.inspect import wrong_objects
from hf_localize.sources.base import arguments_of
from hf_localize.sources.bucket import BucketEntry, PrivateSource, find_indexed, list_refs
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry
from hf_localize.transfer.workers import filter_all, run_all

_log = logging.getLogger(__name__)
_Told = TypeVar("_Told")


def diff_datasets(
    dataset_id: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
) -> list[Difference]:
    """Compare the local store with the bucket, by the digests and files in manifests and by a listing.

    A copy in the bucket that can't be read, or has a missing or damaged file, counts as different. If both
    are the same, data is read only of objects that were written to the bucket after the commit mark.

    Args:
        dataset_id: None compares all datasets. If no config is named, all configs of the id are compared.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: neither side has it.
        AccessDeniedError, UnreachableError: the bucket can't be read.
    """
    ref = any_ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    bucket, workers = session.require_publisher(), session.settings.max_concurrency
    if ref is not None:
        compared = []
        for one in with_configs(ref, session, "local", "s3"):
            local, found = session.store.find(one), _found(PrivateSource(bucket, workers), one)
            if local is not None or found is not None:
                compared.append(_difference(one, local, found, session))
        if not compared:
            others = stored_instead(ref, session, "local", "s3")
            raise DatasetNotFoundError(
                f"{ref} is neither in {session.store.path} nor in {bucket.address}{others}"
            )
        return compared
    here = {entry.manifest.ref: entry for entry in session.store.entries()}
    try:
        listed = list_refs(bucket, workers, all_folders=False)
    except AccessDeniedError as exc:
        _log.warning("datasets that only the bucket has are not listed: %s", exc)
        listed = list(here)
    source = PrivateSource(bucket, workers)

    def look(ref: DatasetRef) -> Difference:
        try:
            entry = find_indexed(bucket, ref, workers)
            if entry is None and ref not in here:  # Of the original tool: it is in no index.
                entry = _found(source, ref)
        except IntegrityError as exc:  # It does not keep the others from being compared.
            _log.warning("%s in %s is damaged: %s", ref, bucket.address, exc)
            alone = _difference(ref, here.get(ref), None, session)
            return replace(alone, state="different" if ref in here else "only s3", was_removed=False)
        return _difference(ref, here.get(ref), entry, session)

    refs = sorted({*here, *listed}, key=str)
    return run_all(look, refs, workers=workers)


def list_outdated(
    dataset_id: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    s3: bool = False,
    *,
    name: str | None = None,
) -> list[Age]:
    """Return, for each stored dataset from the Hub, whether the Hub has another commit now.

    Makes one request to the Hub for each repository and revision. Registered datasets are left out. If the
    Hub is not among the sources, it is not asked, and each state is ``unknown``.

    Args:
        dataset_id: None checks all datasets. If no config is named, all configs of the id are checked.
        s3: check the datasets in the bucket instead of the local store.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: the dataset is not stored.
        UnreachableError: the Hub is out of reach.
        AccessDeniedError: the bucket can't be read.
    """
    session = current_session()
    ref = any_ref_of(dataset_id, config_name, revision, name)
    refs = [None] if ref is None else with_configs(ref, session, "s3" if s3 else "local")
    find = _in_bucket if s3 else _in_store
    manifests = [manifest for one in refs for manifest in find(one, session)]
    if ref is not None and not manifests:
        where = session.bucket.address if s3 else session.store.path
        raise DatasetNotFoundError(f"{ref} is not in {where}")
    from hf_localize.hf.hub import commit_now

    of_hub = [manifest for manifest in manifests if manifest.origin == "hub"]
    asked = list(
        dict.fromkeys(_question(m) for m in of_hub if m.commit and not is_commit(m.revision, m.commit))
    )
    if "hub" not in session.settings.sources:
        why = f"not asked: {session.why_not_asked('hub')}"
        return [Age(*m.ref.parts, state="unknown", commit=m.commit, reason=why) for m in of_hub]
    if asked:
        require_hub(session, "status")
    told = dict(zip(asked, run_all(lambda q: commit_now(*q), asked, workers=8), strict=True))
    return [_age_of(manifest, told.get(_question(manifest))) for manifest in of_hub]


def refs_to_update() -> list[DatasetRef]:
    """Return which stored datasets ``download_dataset(update=True)`` would replace.

    Data that a person registered on this machine is left out; a warning says how to replace it.

    Raises:
        AccessDeniedError, UnreachableError: a source can't be asked.
    """
    session, hub = current_session(), PlainHub(trust_remote_code=False)
    newest = {age.ref: age.hub_commit for age in list_outdated()} if session.asks("hub") else {}
    entries = {entry.manifest.ref: entry for entry in session.store.entries() if entry.is_named}

    def look(ref: DatasetRef) -> bool:
        try:
            if update_from(entries[ref], newest.get(ref), session, hub) is None:
                return False
        except IntegrityError:  # Its own update says so, and does not stop the others.
            return True
        if entries[ref].manifest.origin == "hub" or session.came_from_bucket(entries[ref]):
            return True
        named = arguments_of(ref)
        _log.warning(
            "%s is not updated: it was registered here, and other content has been published. To take what "
            "was published: hg-localize pull %s --update. To publish your data: "
            "hg-localize sync-local-to-s3 %s",
            *(ref, named, named),
        )
        return False

    return filter_all(look, entries, workers=session.settings.max_concurrency)


def status_of_datasets(
    dataset_id: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
) -> list[Status]:
    """Compare each dataset in the store or the bucket with the bucket and with the Hub.

    Returns the results of :func:`diff_datasets` and :func:`list_outdated` together. If there is no bucket,
    or the bucket or the Hub is out of reach, a warning says so, and the other part is returned.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        DatasetNotFoundError: the dataset is not stored.
        AccessDeniedError, UnreachableError: the store does not have it, and the bucket can't be read.
    """
    session = current_session()
    asked = any_ref_of(dataset_id, config_name, revision, name)
    named = () if asked is None else asked.parts

    def here() -> list[DatasetRef]:
        wanted = [None] if asked is None else with_configs(asked, session, "local")
        return [manifest.ref for one in wanted for manifest in _in_store(one, session)]

    differences = None
    if session.can_publish() and not session.settings.offline:
        is_known = asked is None or here()  # Else only the bucket can tell.
        differences = _told(lambda: diff_datasets(*named), "bucket") if is_known else diff_datasets(*named)
    elif asked is not None and not here():
        why = session.why_not_asked("s3") or session.bucket.missing_credentials
        others = stored_instead(asked, session)
        raise DatasetNotFoundError(
            f"{asked} is not in {session.store.path}{others}, and the bucket is not asked: {why}"
        )
    places = [False] if differences is None else [False, True]
    ages: list[list[Age] | None] = []
    for s3 in places:  # A Hub that is out of reach is asked only once.
        ages.append(None if None in ages else _told(lambda: list_outdated(*named, s3=s3), "Hub"))  # type: ignore[misc]  # noqa: B023
    hub = {age.ref: age.state for some in ages[::-1] for age in some or ()}
    bucket = {one.ref: one.state for one in differences or ()}
    marks = {one.ref: (one.was_removed, one.is_partial) for one in differences or ()}
    refs = sorted({*bucket, *hub} | set(here() if differences is None else []), key=str)
    other = "own" if all(some is not None for some in ages) else None
    return [Status(*ref.parts, bucket.get(ref), hub.get(ref, other), *marks.get(ref, ())) for ref in refs]


def _told(ask: Callable[[], list[_Told]], what: str) -> list[_Told] | None:
    """Return what *ask* returns; None, after a warning, where it can't be told."""
    try:
        return ask()
    except DatasetNotFoundError:
        return []
    except (AccessDeniedError, UnreachableError) as exc:
        _log.warning("the %s can't be compared: %s", what, exc)
        return None


def _found(source: PrivateSource, ref: DatasetRef) -> BucketEntry | None:
    found = source.find(ref)
    return found if isinstance(found, BucketEntry) else None


def _in_store(ref: DatasetRef | None, session: Session) -> list[Manifest]:
    if ref is None:
        return [entry.manifest for entry in session.store.entries()]
    entry = session.store.find_unchecked(ref)
    return [] if entry is None else [entry.manifest]


def _in_bucket(ref: DatasetRef | None, session: Session) -> list[Manifest]:
    bucket, workers = session.require_publisher(), session.settings.max_concurrency
    if ref is not None:
        found = _found(PrivateSource(bucket, workers), ref)
        return [] if found is None else [found.manifest]

    def read(one: DatasetRef) -> BucketEntry | None:
        try:
            return find_indexed(bucket, one, workers)
        except IntegrityError as exc:
            _log.warning("%s in %s is left out, because it is damaged: %s", one, bucket.address, exc)
            return None

    refs = sorted(list_refs(bucket, workers, all_folders=False), key=str)
    return [entry.manifest for entry in run_all(read, refs, workers=workers) if entry is not None]


def _question(manifest: Manifest) -> tuple[str, str | None]:
    return manifest.canonical_id or manifest.dataset_id, manifest.revision


def _age_of(manifest: Manifest, told: tuple[str | None, str] | None) -> Age:
    names = manifest.ref.parts
    if manifest.commit is None:
        return Age(*names, state="unknown", reason="its commit was not recorded")
    if told is None:
        return Age(*names, state="pinned", commit=manifest.commit)
    newest, reason = told
    if newest is None:
        return Age(*names, state="gone", commit=manifest.commit, reason=reason)
    state = "current" if newest == manifest.commit else "outdated"
    return Age(*names, state=state, commit=manifest.commit, hub_commit=newest)


def _damaged(local: LocalEntry, there: BucketEntry) -> Iterator[FileDifference]:
    """Yield the files whose objects in the bucket are not what its manifest, the same as here, says."""
    placed, bucket = there.placed, there.bucket
    mark = bucket.get_with_headers(placed.manifest.ref.index_key)
    if mark is None:
        return
    items = [(file, local.folder / file.path, placed.key(file.path)) for file in placed.manifest.files]
    try:
        wrong = wrong_objects(items, mark, bucket, reads=False, workers=there.workers)
    except AccessDeniedError as exc:
        _log.warning("can't tell whether the bucket's copy of %s is complete: %s", placed.manifest.ref, exc)
        return
    for file, _, key in items:
        if key in wrong:
            yield FileDifference(file.path, file.size_bytes, wrong[key])


def _difference(
    ref: DatasetRef, local: LocalEntry | None, there: BucketEntry | None, session: Session
) -> Difference:
    mine = None if local is None else local.manifest
    its = None if there is None else there.manifest
    digest = None if local is None else local.content_digest
    knows_its = there is not None and there.is_indexed
    files: tuple[FileDifference, ...] = ()
    if mine is None or its is None:
        state = "only local" if its is None else "only s3"
    elif digest is None or not knows_its:
        state = "unknown"
    else:
        if local is not None and local.has_manifest:
            files = tuple(_differing(mine.files, its.files))
        if local is not None and there is not None and digest == its.digest:
            files = tuple(_damaged(local, there))
        state = "different" if files or digest != its.digest else "same"
    return Difference(
        *ref.parts,
        state=state,
        local_digest=digest,
        s3_digest=its.digest if its is not None and knows_its else None,
        local_commit=None if mine is None else mine.commit,
        s3_commit=None if its is None else its.commit,
        files=files,
        was_removed=local is not None and there is None and session.came_from_bucket(local),
        is_partial=local is None and session.store.find_partial(ref) is not None,
    )


def _differing(mine: Iterable[FileRecord], its: Iterable[FileRecord]) -> list[FileDifference]:
    here, there = ({file.path: file for file in files} for files in (mine, its))
    paths = sorted(path for path in {*here, *there} if here.get(path) != there.get(path))

    def size(files: dict[str, FileRecord], path: str) -> int | None:
        return files[path].size_bytes if path in files else None

    return [FileDifference(path, size(here, path), size(there, path)) for path in paths]
