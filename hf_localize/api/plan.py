"""What a command would move or remove, found without doing it: for ``--dry-run`` and for confirmations."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_localize.api.batch import Outcome
from hf_localize.api.compare import diff_datasets
from hf_localize.api.configs import configs_listed
from hf_localize.api.datasets import PlainHub, commit_on_hub, not_uploaded, update_from
from hf_localize.api.inspect import place_of, to_fetch
from hf_localize.api.publishing import has_files_of
from hf_localize.api.repositories import describe_files, describe_files_of, files_to_share
from hf_localize.api.stored_repositories import files_removed_with, snapshot_at, snapshots_at
from hf_localize.api.upkeep import can_be_had_again
from hf_localize.api.values import Difference
from hf_localize.errors import (
    DatasetNotFoundError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    UnreachableError,
    kind_of,
    message_of,
)
from hf_localize.format.equivalence import Identity
from hf_localize.format.listfile import RepositoryRef
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import ALL_FILES, Patterns, Repository, RepoType
from hf_localize.publish.bucket import differs
from hf_localize.sources.base import Entry, NotHere, StoredEntry
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned(Outcome):
    """What would be done with one dataset.

    ``action`` is ``fetch``, ``upload``, ``share``, ``remove``, ``withdraw``, or ``nothing``. ``place`` is
    where the bytes are now. ``size_bytes`` is how many would be moved or removed; None: that is not known.
    ``files_bytes``: how many more for the files of the repository, at the first of its datasets; None: none.
    """

    action: str | None = None
    place: str | None = None
    size_bytes: int | None = None
    files_bytes: int | None = None
    error: str | None = None
    error_kind: str | None = None


def planned_removal(ref: DatasetRef, place: str) -> tuple[Planned, bool]:
    """Return what would be removed of *ref* from *place*, and whether no other copy is known.

    Args:
        place: ``local``, ``s3`` or ``public``.

    Raises:
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: it is not there.
    """
    session, action = current_session(), "withdraw" if place == "public" else "remove"
    folders = session.store.places_of(ref) if place == "local" else []
    where = str(folders[0] if folders else session.store.path)
    if place != "local":
        where = str(session.require_publisher().address)
    (source,) = session.resolver(only=(place,)).sources
    try:
        entry: Entry | NotHere = source.find(ref)
    except IntegrityError:  # It is of no use as it is.
        return Planned(*ref.parts, action, where), False
    if place == "local" and isinstance(entry, NotHere):
        entry = session.store.find_partial(ref) or entry
    if isinstance(entry, NotHere):
        with configs_listed(ref, place):
            raise DatasetNotFoundError(f"{ref}: {entry.reason}")
    size_bytes = _bytes_of(entry) if place != "local" else _bytes_in(folders)
    if not isinstance(entry, StoredEntry):
        return Planned(*ref.parts, action, place_of(entry), size_bytes), True
    others = tuple(kind for kind in ("local", "s3", "public") if kind != place)
    planned = Planned(*entry.manifest.ref.parts, action, place_of(entry), size_bytes)
    return planned, not can_be_had_again(entry, session, others)


def planned_removals(ref: DatasetRef, place: str) -> list[Planned]:
    """Return what would be removed of *ref* from *place*, and what goes with it: files of its repository.

    Pages of a catalog are named in the log. Arguments and errors are those of :func:`planned_removal`.
    """
    session, plan = current_session(), [planned_removal(ref, place)[0]]
    own, action = plan[0].ref, str(plan[0].action)
    others = list(files_removed_with(own, place, session))
    if place == "public":
        with contextlib.suppress(InvalidRefError):  # It is the id of own data.
            others.append(Repository("dataset", own.dataset_id))
    for repository in dict.fromkeys(others):
        with contextlib.suppress(DatasetNotFoundError):
            plan += planned_files(action, repository.repo_id, repo_type="dataset", revision=None, place=place)
    plan = list(dict.fromkeys(plan))
    if place != "local":
        from hf_localize.publish.catalog_pages import pages_of

        refs = [one for planned in plan for one in (planned.ref, planned.ref.files)]
        for page in pages_of(refs, session.bucket, public=place == "public"):
            _log.info("%s in %s, a page of the catalog, would be removed", page, session.bucket.address)
    return plan


def planned_downloads(
    refs: Iterable[DatasetRef],
    *,
    trust_remote_code: bool = False,
    update: bool = False,
    keep_files: bool | None = None,
    make_public: bool = False,
) -> list[Planned]:
    """Return from where each of *refs* would be fetched, and how many bytes.

    Args:
        update: look whether other content would replace what is stored.
        keep_files: as for :func:`~hf_localize.api.datasets.download_dataset`.
        make_public: also what would be shared, with the files of the repositories.
    """
    session, hub = current_session(), PlainHub(trust_remote_code)
    if make_public:
        session.require_publisher()
    repositories: set[tuple[str, str | None]] = set()
    shared: dict[DatasetRef, Entry] = {}

    def plan(ref: DatasetRef) -> Planned:
        with configs_listed(ref, all_configs=True):
            entry: Entry = session.resolver(hub, locked=True).find(ref)
            if update and isinstance(entry, LocalEntry) and session.lock is None:
                newer = update_from(entry, commit_on_hub(entry, session), session, hub)
                entry = entry if newer is None else newer.find(ref)
        action = "nothing" if isinstance(entry, LocalEntry) else "fetch"
        files_bytes, repository = None, (ref.dataset_id, ref.revision)
        is_own = isinstance(entry, StoredEntry) and entry.manifest.origin != "hub"
        if keep_files is not False and session.lock is None and not is_own and repository not in repositories:
            repositories.add(repository)
            told = describe_files_of(ref, session, asks_hub=session.asks("hub"))
            files_bytes = told["transfer_bytes"] if told and (told["is_kept"] or keep_files) else None
        shared[ref] = entry
        return Planned(*ref.parts, action, place_of(entry), to_fetch(entry, session)[1], files_bytes)

    fetched = [_planned(ref, plan) for ref in refs]
    if not make_public or session.lock is not None:
        return fetched
    sharing = [_share(ref, entry, session) for ref, entry in shared.items()]
    planned = [e.manifest.identity if isinstance(e, StoredEntry) else Identity(r) for r, e in shared.items()]
    for dataset_id, revision in sorted(repositories, key=str):
        sharing += _share_files(
            *("dataset", dataset_id, revision, session), is_named=bool(keep_files), planned=planned
        )
    return [*fetched, *sharing]


def planned_repositories(
    refs: Iterable[RepositoryRef],
    *,
    make_public: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> list[Planned]:
    """Return how many bytes of the files of each of *refs* would be fetched.

    Args:
        make_public: also how many would be shared.
        include: patterns of files; empty: all.
        exclude: patterns of files to leave out.
    """
    session, planned = current_session(), []
    patterns = Patterns(tuple(include) or None, tuple(exclude))
    for ref in refs:
        repository, names = ref.repository, (ref.repository.repo_id, None, ref.revision)
        try:
            told = describe_files(
                repository, ref.revision, session, asks_hub=session.asks("hub"), patterns=patterns
            )
        except HfLocalizeError as exc:
            planned.append(Planned(*names, error=message_of(exc), error_kind=kind_of(exc)))
            continue
        size_bytes = told["transfer_bytes"]
        planned.append(Planned(*names, "fetch" if size_bytes else "nothing", None, size_bytes))
        if make_public:
            named = (repository.repo_type, repository.repo_id, ref.revision, session)
            planned += _share_files(*named, is_named=True, patterns=patterns)
    return planned


def planned_uploads(
    ref: DatasetRef | None, *, make_public: bool = False, force: bool = False
) -> list[Planned]:
    """Return what the bucket lacks of *ref*, or of all of the local store, and how many bytes that is.

    Args:
        force: as for :func:`~hf_localize.api.datasets.sync_local_dataset_to_s3`.
        make_public: also what would be shared, of which the ZIP may have fewer bytes than its files, with
            the files of the repositories.
    """
    session = current_session()
    session.require_publisher()
    if ref is None:
        entries = [entry for entry in session.store.entries() if entry.is_named]
        found = diff_datasets()
    else:
        with configs_listed(ref, "local"):
            entry = session.local_entry(ref)
        entries = [entry]
        found = diff_datasets(*entry.manifest.ref.parts)
    named = {entry.manifest.ref: entry for entry in entries}
    fetched = {entry.manifest.ref for entry in entries if not force and session.came_from_bucket(entry)}
    plan, shared = [], {}
    for difference in [one for one in found if one.ref in named]:
        refused = _refused(difference, session, is_all=ref is None) if difference.ref in fetched else None
        plan.append(refused or _upload(difference, session))
        if refused is None:
            shared[difference.ref] = named[difference.ref]
    if not make_public:
        return plan
    plan += [_share(ref, entry, session) for ref, entry in shared.items()]
    manifests = [entry.manifest for entry in shared.values() if has_files_of(entry.manifest, session)]
    planned = [entry.manifest.identity for entry in shared.values()]
    for dataset_id, commit in dict.fromkeys((m.dataset_id, m.commit) for m in manifests):
        plan += _share_files("dataset", dataset_id, commit, session, is_named=False, planned=planned)
    return plan


def planned_files(
    action: str,
    repo_id: str,
    *,
    repo_type: RepoType,
    revision: str | None,
    place: str = "local",
    make_public: bool = False,
) -> list[Planned]:
    """Return what would be done with the files of a repository, as they are.

    Args:
        action: ``upload``, ``remove`` or ``withdraw``.
        make_public: they would be shared too.
        place: from which they would be removed: ``local``, ``s3`` or ``public``.

    Raises:
        DatasetNotFoundError: they are not there.
    """
    session = current_session()
    sent: tuple[str, ...] = ()
    if action == "upload":
        session.require_publisher()
        with contextlib.suppress(DatasetNotFoundError):
            sent = tuple(commit for _, commit in snapshots_at("s3", repo_type, repo_id, None, session))
    where = str(session.store.path if place == "local" else session.bucket.address)
    plan = []
    if place == "public" and repo_type == "dataset" and revision is None:
        from hf_localize.publish.shared_files import shared_original_files

        zips = shared_original_files(repo_id, session.public_files)  # They are withdrawn with the files.
        plan += [planned_removal(ref, "public")[0] for ref in zips]
    try:
        found = snapshots_at(place, repo_type, repo_id, revision, session)
    except DatasetNotFoundError:
        if not plan:
            raise
        return plan
    for repository, commit in found:
        snapshot = snapshot_at(place, repository, commit, session)
        size_bytes = sum(file.size_bytes for file in snapshot.files) if snapshot is not None else None
        if snapshot is not None and action != "upload":
            verb = {"remove": "removed", "withdraw": "withdrawn"}[action]
            _log.info("files of %s that would be %s: %d", repository, verb, len(snapshot.files))
        done = ("nothing", where, 0) if commit in sent else (action, where, size_bytes)
        plan.append(Planned(repo_id, None, commit, *done))
        if make_public:
            plan += _share_files(repo_type, repo_id, commit, session, is_named=True)
    return plan


def _refused(difference: Difference, session: Session, *, is_all: bool) -> Planned | None:
    """Return why a dataset that was fetched from the bucket would not be uploaded; None: it would be."""
    ref, place = difference.ref, session.store.places_of(difference.ref)[0]
    here, there = difference.local_digest, difference.s3_digest
    if difference.was_removed and is_all:
        _log.warning("%s", not_uploaded(ref, session))
        return Planned(*ref.parts, "nothing", str(place), 0)
    if difference.state == "different" and here and there and here != there:
        exc = differs(ref, session.bucket, there, here)
        return Planned(*ref.parts, error=str(exc), error_kind=kind_of(exc))
    return None


def _upload(difference: Difference, session: Session) -> Planned:
    ref = difference.ref
    folders = session.store.places_of(ref)
    if difference.state == "same":
        return Planned(*ref.parts, "nothing", str(folders[0]), 0)
    changed = [file.local_bytes or 0 for file in difference.files]
    return Planned(*ref.parts, "upload", str(folders[0]), sum(changed) if changed else _bytes_in(folders))


def _share(ref: DatasetRef, entry: Entry, session: Session) -> Planned:
    (source,) = session.resolver(only=("public",)).sources
    there = source.find(ref)
    own = entry.digest if isinstance(entry, StoredEntry) else None
    if isinstance(there, StoredEntry) and there.digest == own:
        return Planned(*ref.parts, "nothing", place_of(entry), 0)
    size_bytes = _bytes_in([entry.folder]) if isinstance(entry, LocalEntry) else _bytes_of(entry)
    return Planned(*ref.parts, "share", place_of(entry), size_bytes)


def _share_files(
    repo_type: RepoType,
    repo_id: str,
    revision: str | None,
    session: Session,
    *,
    is_named: bool,
    planned: Collection[Identity] = (),
    patterns: Patterns = ALL_FILES,
) -> list[Planned]:
    """Return what would be shared of the files of a repository, where that can be told.

    Arguments are as for :func:`~hf_localize.api.repositories.files_to_share`.
    """
    with contextlib.suppress(InvalidRefError, DatasetNotFoundError, UnreachableError):
        repository = Repository(repo_type, repo_id)
        found = files_to_share(
            repository, revision, session, is_named=is_named, planned=planned, patterns=patterns
        )
        if found is not None:
            commit, size_bytes = found
            place = session.repositories.local.place_of(repository, commit)
            if size_bytes and repo_type == "dataset":
                _log.info(
                    "the files of %s would be shared publicly, with the data of all configs", repository
                )
            done = ("share" if size_bytes else "nothing", str(place) if place.exists() else None, size_bytes)
            return [Planned(repo_id, None, commit, *done)]
    return []


def _planned(ref: DatasetRef, plan: Callable[[DatasetRef], Planned]) -> Planned:
    try:
        return plan(ref)
    except Exception as exc:  # noqa: BLE001  # It does not stop the others.
        _log.debug("%s failed", ref, exc_info=True)
        return Planned(*ref.parts, error=message_of(exc), error_kind=kind_of(exc))


def _bytes_of(entry: Entry) -> int | None:
    """Return the bytes of a public ZIP, or of the files of another entry."""
    from hf_localize.sources.public import ZipFetch

    if isinstance(entry, ZipFetch):
        return entry.record.size_bytes
    return entry.manifest.size_bytes or None if isinstance(entry, StoredEntry) else None


def _bytes_in(folders: Iterable[Path]) -> int:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)
