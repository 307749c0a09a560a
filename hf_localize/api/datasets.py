"""The public functions. Each asks the same resolver as a load under the shim."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from hf_localize.api.configs import configs_listed, ref_of
from hf_localize.api.dataset_ids import near_ids
from hf_localize.api.publishing import (
    Sharing,
    after_storing,
    publish_entry,
    publish_files_of,
    tell_if_files_stay_public,
)
from hf_localize.api.repositories import keep_files_of, require_hub
from hf_localize.api.values import Result, ids_of
from hf_localize.errors import (
    DatasetNotFoundError,
    HfLocalizeError,
    IntegrityError,
    PreparationError,
    UnreachableError,
    kind_of,
)
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef, is_commit
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import SOURCE_FAILURES, Entry, NotHere, StoredEntry, arguments_of
from hf_localize.sources.resolver import Resolver
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry
from hf_localize.store.origins import record_name
from hf_localize.transfer.workers import filter_all

if TYPE_CHECKING:
    import datasets
    from typing_extensions import Unpack

_log = logging.getLogger(__name__)


class LoadOptions(TypedDict, total=False):
    """What :func:`load_local_dataset` passes on to `datasets`."""

    split: str | datasets.Split | Sequence[str] | None
    cache_dir: str | None
    keep_in_memory: bool | None
    num_proc: int | None


def download_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    keep_files: bool | None = None,
    share_restricted: str | Collection[str] = (),
    update: bool = False,
    verification_mode: str | None = None,
    *,
    name: str | None = None,
) -> Result:
    """Download a dataset into the local store, and publish it.

    Takes it from the first source that has it: local store, private bucket, public ZIPs, Hub. With
    credentials, it is then uploaded to the bucket, unless the bucket has it.

    Args:
        dataset_id: as on the Hub, such as ``"openai/gsm8k"``.
        config_name: None is the dataset's default config. *name* is another name of this argument, as in
            ``datasets.load_dataset``.
        revision: a branch, tag or commit SHA; None is ``main``.
        trust_remote_code: run the dataset's loading script (`datasets` below 4).
        make_public: share it as a public ZIP too, and the files of its repository, which hold all configs.
            They are not shared if another config in the store or the bucket is not public, unless
            *keep_files* is True.
        skip_s3_upload: only download; overrides *make_public*.
        keep_files: also store the repository's files as they are, so that ``hf_hub_download`` and the like,
            and loads with ``data_files=``, ``data_dir=`` or ``features=``, need no Hub. None: store them if
            they have 5 GB or less together, and only log a failure. True: store them whatever their size,
            also as an entry ``original_files``, and even if the dataset can't be prepared.
        share_restricted: the id, or ids, of datasets that may be shared publicly although they are gated or
            private on the Hub, or although the Hub can't be asked. *make_public* refuses all others.
        update: replace what is stored by what the next source has now. A dataset from the Hub follows the
            Hub, also in the bucket, if the Hub is one of the sources; a registered one, or one that is stored
            under a commit, follows the bucket or the public ZIPs.
        verification_mode: as in ``datasets.load_dataset``. ``"no_checks"`` accepts a dataset from the Hub
            even if the sizes on its card are wrong.

    Returns:
        ``(True, path of the entry in the local store)``.

    Example:
        >>> success, path = hf_localize.download_dataset("openai/gsm8k", "main")
        >>> hf_localize.download_dataset("openai/gsm8k", name="main").path == path
        True

    Raises:
        InvalidRefError: an argument can't name a dataset.
        UnreachableError: *update* is True, and the source that it is compared with is out of reach.
        SettingsError: *make_public* without a bucket or credentials.
        DatasetNotFoundError: no source has it; the message has the answer of each source.
        ConfigMissingError: it has no default config; the message lists its configs.
        PreparationError: `datasets` can't prepare the data on the Hub.
        RestrictedError: it is, or may be, gated or private, so *make_public* needs *share_restricted*.
        PublishError, ConflictError: it is in the local store (the error's ``path``), but could not be
            published.
    """
    ref, session = ref_of(dataset_id, config_name, revision, name), current_session()
    brought: list[LocalEntry] = []
    options: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "make_public": make_public,
        "skip_s3_upload": skip_s3_upload,
        "share_restricted": share_restricted,
        "update": update,
        "verification_mode": verification_mode,
    }

    def bring_files() -> None:
        if brought and session.lock is None:
            if keep_files is not False:
                how = Sharing(make_public, ids_of(share_restricted), is_named=bool(keep_files))
                sharing = None if skip_s3_upload else how
                keep_files_of(brought[0], session, sharing, is_required=bool(keep_files))
            elif make_public and not skip_s3_upload:
                tell_if_files_stay_public(ref.dataset_id, session)

    try:
        result = _download(ref, session, brought, keep_files=bool(keep_files), **options)
    except Exception as exc:
        if isinstance(exc, DatasetNotFoundError):
            exc.args = (f"{exc}{near_ids(ref.dataset_id, kind_of(exc), str(exc))}",)
        bring_files()  # Its original files may be stored all the same.
        raise
    bring_files()
    return result


def download_data(dataset_id: str, config_name: str | None, revision: str | None, **options: Any) -> Result:
    """Download a dataset without the files of its repository, of which a batch takes care later.

    Args:
        options: as for :func:`download_dataset`.
    """
    ref = DatasetRef(dataset_id, config_name, revision)
    return _download(ref, current_session(), [], keep_files=False, is_named=False, **options)


def _download(
    ref: DatasetRef,
    session: Session,
    brought: list[LocalEntry],
    *,
    trust_remote_code: bool = False,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    keep_files: bool = False,
    share_restricted: str | Collection[str] = (),
    update: bool = False,
    verification_mode: str | None = None,
    is_named: bool = True,
) -> Result:
    """Bring *ref* as :func:`download_dataset` does; add each stored and published entry to *brought*."""
    if make_public and not skip_s3_upload:
        session.require_publisher()
    hub = PlainHub(trust_remote_code, verification_mode)
    skip_s3_upload = skip_s3_upload or session.lock is not None  # It may be stored as another revision.

    def bring(part: DatasetRef) -> str:
        entry = session.resolver(hub, locked=True).localize(part)
        newest, skips = None, skip_s3_upload
        if update and session.lock is None:
            newest = commit_on_hub(entry, session)
            if (newer := update_from(entry, newest, session, hub)) is not None:
                entry = newer.localize(entry.manifest.ref)
            elif not skips and session.can_publish() and removed_since([entry], session):
                _log.warning("%s", not_uploaded(entry.manifest.ref, session))
                skips = True
        sharing = Sharing(make_public, ids_of(share_restricted), is_named)
        _publish_if_possible(entry, session, skips, sharing, replaces=newest is not None)
        brought.append(entry)
        return str(entry.folder)

    with configs_listed(ref, all_configs=True):
        return Result(True, _bring_with_files(ref, bring) if keep_files else bring(ref))


def _bring_with_files(ref: DatasetRef, bring: Callable[[DatasetRef], str]) -> str:
    """Return the path of *ref* once *bring* has brought it, and the original files of its repository.

    Raises:
        PreparationError: the files are here; what *ref* names could not be made of them.
    """
    path, problem = "", None
    try:
        path = bring(ref)
    except Exception as exc:  # Whatever a builder raises: the files are kept all the same.
        if isinstance(exc, UnreachableError) and exc.path is None:
            raise  # They are out of reach as well.
        problem = exc
    try:
        files = bring(ref.files)
    except HfLocalizeError as exc:
        if problem is None:
            if exc.path is None:
                exc.comes_after(f"the dataset is in the local store at {path}; storing its files failed")
            exc.path = path
            raise
        _log.warning("the original files of %s could not be stored either", ref.dataset_id, exc_info=True)
        raise problem from problem.__cause__
    if problem is None:
        return path
    if getattr(problem, "path", None) is not None:  # It was downloaded, and the upload failed.
        raise problem
    said = [line for line in str(problem).splitlines() if "--keep-files" not in line]
    kept = (
        f"The original files of {ref.dataset_id} are stored, for loads with data_files= and the like: {files}"
    )
    error = PreparationError("\n".join([*said, kept]))
    error.path = files
    raise error from problem


@overload
def load_local_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
    streaming: Literal[False] = False,
    **options: Unpack[LoadOptions],
) -> datasets.Dataset | datasets.DatasetDict: ...
@overload
def load_local_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
    streaming: Literal[True],
    **options: Unpack[LoadOptions],
) -> datasets.IterableDataset | datasets.IterableDatasetDict: ...
def load_local_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    *,
    name: str | None = None,
    split: str | datasets.Split | Sequence[str] | None = None,
    streaming: bool = False,
    cache_dir: str | None = None,
    keep_in_memory: bool | None = None,
    num_proc: int | None = None,
) -> Any:
    """Load a localized dataset from the local store, the private bucket or the public ZIPs.

    Never asks the Hub. The arguments are those of :func:`download_dataset` and ``datasets.load_dataset``.

    Args:
        streaming: return streams, and store nothing.

    Returns:
        What ``datasets.load_dataset`` returns: a ``DatasetDict`` with every split, or the one of ``split``.

    Example:
        >>> data = datasets.Dataset.from_dict({"text": ["a", "b"]})
        >>> path = hf_localize.register_dataset(data, "team/corpus").path
        >>> hf_localize.load_local_dataset("team/corpus", split="train[:1]")["text"][:]
        ['a']

    Raises:
        InvalidRefError: an argument can't name a dataset.
        DatasetNotFoundError: no source can deliver it; the subclass and the message say why.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    from hf_localize.hf.load import load_localized

    with configs_listed(ref):
        return load_localized(
            ref,
            split=split,
            streaming=streaming,
            cache_dir=cache_dir,
            keep_in_memory=keep_in_memory,
            num_proc=num_proc,
        )


def register_dataset(
    path_or_dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict,
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    keep_files: bool = False,
    share_restricted: str | Collection[str] = (),
    *,
    name: str | None = None,
) -> Result:
    """Add your own data as a dataset, and publish it as :func:`download_dataset` does.

    Args:
        path_or_dataset: a folder that ``save_to_disk`` wrote, a folder of data files (parquet,
            csv, json, text, images …), a ``Dataset`` or a ``DatasetDict``. It is copied.
        keep_files: also store the data files of the folder as they are, as :func:`download_dataset` does.

    Returns:
        ``(True, path of the entry in the local store)``.

    Example:
        >>> data = datasets.Dataset.from_dict({"text": ["a", "b"]})
        >>> path = hf_localize.register_dataset(data, "team/corpus", revision="v1").path

    Raises:
        InvalidRefError, SettingsError, RestrictedError, PublishError: as for :func:`download_dataset`.
        TypeError: *path_or_dataset* is something else, such as a stream.
        FileNotFoundError: there is no such folder, or it has no data; or, with *keep_files*, it is not a
            folder of data files.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    if make_public and not skip_s3_upload:
        session.require_publisher()
    from hf_localize.hf.register import register, register_files, require_data

    require_data(path_or_dataset)
    if keep_files and not isinstance(path_or_dataset, (str, os.PathLike)):
        raise FileNotFoundError("a dataset in memory has no original files to store")
    entries = [register_files(path_or_dataset, ref, session.store)] if keep_files else []
    entry = register(path_or_dataset, ref, session.store)
    sharing = Sharing(make_public, ids_of(share_restricted), is_named=True)
    for made in (entry, *entries):
        _publish_if_possible(made, session, skip_s3_upload, sharing, replaces=True)
    return Result(True, str(entry.folder))


def sync_local_dataset_to_s3(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    make_public: bool = False,
    share_restricted: str | Collection[str] = (),
    *,
    force: bool = False,
    name: str | None = None,
) -> Result:
    """Upload a dataset of the local store, if the bucket lacks it or has other content.

    If it was fetched from the bucket and has been removed there, a warning says so. Objects of it that are
    missing or damaged in the bucket are uploaded again. Damage is detected by size, time and ETag or, with
    ``HGLOC_VERIFY=always``, by reading the objects.

    Args:
        force: replace other content in the bucket even by a copy that was fetched from there. Since then,
            somebody may have published a newer version.

    Example:
        >>> print(hf_localize.sync_local_dataset_to_s3("openai/gsm8k", "main").message_or_path)
        openai/gsm8k [main]: s3://... has it already; its files: ...

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: the local store does not have it.
        ConflictError: it was fetched from the bucket, which now has other content, and *force* is False.
        RestrictedError: it is, or may be, gated or private, so *make_public* needs *share_restricted*.
        PublishError: something could not be uploaded.
    """
    ref, session = ref_of(dataset_id, config_name, revision, name), current_session()
    sharing = Sharing(make_public, ids_of(share_restricted), is_named=True)
    manifest, done = _sync(ref, session, sharing, force=force)
    done += publish_files_of(manifest, session, replace(sharing, is_named=False))
    return Result(True, f"{manifest.ref}: {'; '.join(done)}")


def sync_data(
    dataset_id: str, config_name: str | None, revision: str | None, *, sharing: Sharing, force: bool
) -> Result:
    """Upload a dataset without the files of its repository, of which a batch takes care later.

    The arguments are as for :func:`sync_local_dataset_to_s3`.
    """
    ref = DatasetRef(dataset_id, config_name, revision)
    manifest, done = _sync(ref, current_session(), sharing, force=force)
    return Result(True, f"{manifest.ref}: {'; '.join(done)}")


def sync_files_of(
    dataset_id: str, config_name: str | None, revision: str | None, *, sharing: Sharing
) -> Result:
    """Upload the files of the repository of a dataset that :func:`sync_data` has uploaded."""
    session = current_session()
    entry = session.local_entry(DatasetRef(dataset_id, config_name, revision))
    return Result(True, "; ".join(publish_files_of(entry.manifest, session, sharing)))


def _sync(ref: DatasetRef, session: Session, sharing: Sharing, *, force: bool) -> tuple[Manifest, list[str]]:
    """Upload what the store has for *ref*; return its manifest, and what was done, in words."""
    session.require_publisher()
    with configs_listed(ref, "local"):
        entry = session.resolver(only=("local",)).localize(ref)
    if not entry.has_manifest and not (entry.is_saved and may_travel(entry)):
        from hf_localize.hf.register import register

        entry = register(entry.folder, ref, session.store)
    if sharing.is_named and not force and removed_since([entry], session):
        _log.warning(
            "%s was fetched from %s and has been removed there. Because it is named, it is uploaded again. "
            "To remove it again: hg-localize remove %s --in s3",
            *(ref, session.bucket.address, arguments_of(entry.manifest.ref)),
        )
    replaces = force or not session.came_from_bucket(entry)
    published = entry
    if not entry.has_manifest:
        published = replace(entry, manifest=entry.hashed_manifest(), has_manifest=True)
    done = publish_entry(published, session, sharing, replaces=replaces)
    if not entry.has_manifest:
        _keep_name(entry, published.manifest, session)
    return published.manifest, done


if TYPE_CHECKING:
    DATASETS_STORE_PATH: Path
else:

    def __getattr__(name: str) -> Any:
        if name == "DATASETS_STORE_PATH":  # Looked up anew each time: a setting may change.
            return Path(current_session().settings.datasets_store_path)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def commit_on_hub(entry: LocalEntry, session: Session) -> str | None:
    """Return the commit that the Hub has now; None: *entry* does not follow the Hub, or it is not asked."""
    manifest = entry.manifest
    if manifest.origin != "hub" or manifest.commit is None or is_commit(manifest.revision, manifest.commit):
        return None
    if not session.asks("hub"):
        return None
    from hf_localize.hf.hub import commit_now

    require_hub(session, f"pull {arguments_of(manifest.ref)} --update")
    commit, why_not = commit_now(manifest.canonical_id or manifest.dataset_id, manifest.revision)
    if commit is None:
        _log.warning("%s is not updated: %s", manifest.ref, why_not)
    return commit


def update_from(entry: LocalEntry, newest: str | None, session: Session, hub: PlainHub) -> Resolver | None:
    """Return a resolver of the source whose content should replace the stored *entry*, or None.

    It is the first source besides the local store that has the dataset, if its content differs. If the Hub
    has told its *newest* commit, sources with another commit are skipped.

    Raises:
        AccessDeniedError, UnreachableError, IntegrityError: a source can't tell.
    """
    ref = entry.manifest.ref
    sources = session.resolver(only=tuple(kind for kind in session.enabled if kind != "local")).sources
    if not sources and not session.asks("hub"):
        why = "HGLOC_OFFLINE is set" if session.settings.offline else "HGLOC_SOURCES leaves out all others"
        raise UnreachableError(f"{ref} can't be compared with any source: {why}")
    for source in sources:
        try:
            found = source.find(ref)
        except SOURCE_FAILURES:
            if newest is None:
                raise
            continue
        commit = found.manifest.commit if isinstance(found, StoredEntry) else None
        if isinstance(found, NotHere) or newest not in (None, commit):
            continue
        if not _differs(found, entry):
            return None
        return session.resolver(hub, only=(source.kind, *(() if newest is None else ("hub",))))
    return None if newest in (None, entry.manifest.commit) else session.resolver(hub, only=("hub",))


def _differs(found: Entry, local: LocalEntry) -> bool:
    """Tell whether *found* has other content than *local*; False, with a warning, if no sha256 tells."""
    digest = local.content_digest
    if isinstance(found, StoredEntry) and digest and all(file.sha256 for file in found.manifest.files):
        return found.digest != digest
    _log.warning(
        "%s is not updated, because no sha256 tells whether %s has other content. To fetch it all the same: "
        "HGLOC_SOURCES=s3,public,local hg-localize pull %s",
        local.manifest.ref,
        found.source,
        arguments_of(local.manifest.ref),
    )
    return False


def removed_since(entries: Iterable[LocalEntry], session: Session) -> set[DatasetRef]:
    """Return those of *entries* that were fetched from the bucket, and that it no longer has."""
    fetched = [entry.manifest.ref for entry in entries if session.came_from_bucket(entry)]
    (source,) = session.resolver(only=("s3",)).sources

    def is_gone(ref: DatasetRef) -> bool:
        with contextlib.suppress(IntegrityError):  # It is there, and damaged.
            return isinstance(source.find(ref), NotHere)
        return False

    return set(filter_all(is_gone, fetched, workers=session.settings.max_concurrency))


def not_uploaded(ref: DatasetRef, session: Session) -> str:
    """Return, in words, why a dataset that was removed from the bucket is not uploaded with all others."""
    return (
        f"{ref} was not uploaded, because it was fetched from {session.bucket.address} and has been removed "
        f"there. To upload it again: hg-localize sync-local-to-s3 {arguments_of(ref)}"
    )


def may_travel(entry: LocalEntry) -> bool:
    """Tell whether a folder without manifest may be published as it is: it names no file of this machine."""
    from hf_localize.format.local_paths import names_local_files

    return not names_local_files(entry.folder, entry.manifest)


def _keep_name(entry: LocalEntry, manifest: Manifest, session: Session) -> None:
    """Record as what the folder of *entry*, which has no manifest and stays as it is, was published."""
    store = session.store
    try:
        record_name(store.path, store.places.folder_of(entry.folder), manifest, entry.digest)
    except OSError as exc:
        _log.warning(
            "%s is published, but lists show %s under the name of its folder: %s",
            manifest.ref,
            entry.folder,
            exc,
        )


@dataclass(frozen=True, slots=True)
class PlainHub:
    """The Hub, asked without a caller's own arguments. `datasets` is loaded when it is asked."""

    trust_remote_code: bool
    verification_mode: str | None = None
    kind: str = "hub"
    name: str = SOURCE_NAMES["hub"]

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return what the Hub has for *ref*, or why it has nothing."""
        from hf_localize.hf.load import ask_hub, ask_hub_for_files

        if ref == ref.files:
            return ask_hub_for_files(ref)
        return ask_hub(ref, self.trust_remote_code, self.verification_mode)


def _publish_if_possible(
    entry: LocalEntry, session: Session, skip: bool, sharing: Sharing, *, replaces: bool
) -> None:
    ref = entry.manifest.ref
    if skip or not session.can_publish():
        _log.debug("%s is only in %s: uploading is turned off, or not permitted", ref, entry.folder)
        return
    path = str(entry.folder)
    with after_storing(path, f"the dataset is in the local store at {path}; publishing it failed"):
        _log.info("%s: %s", ref, "; ".join(publish_entry(entry, session, sharing, replaces=replaces)))
