"""Answering a load: the resolver's entry as a builder, or stock's own builder from the Hub."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import datasets
import huggingface_hub

from hf_localize.errors import (
    DatasetNotFoundError,
    HfLocalizeError,
    InvalidRefError,
    NotAnswerableError,
    ScriptDatasetError,
    UnreachableError,
    bookkeeping,
    without_queries,
)
from hf_localize.format.lockfile import Locked, locked
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.renamed_ids import current_ref
from hf_localize.format.repository import Repository
from hf_localize.hf import bars
from hf_localize.hf.builder import LocalizedDataset
from hf_localize.hf.data_files import linked_files, stock_builder
from hf_localize.hf.doors.state import asking_the_hub_itself, having, is_written, leaving_out_the_hub, loading
from hf_localize.hf.errors import as_stock_raises, is_unreachable
from hf_localize.hf.hub import (
    HubEntry,
    HubFilesSource,
    HubSource,
    canonical_id,
    stock_cached,
    unreachable,
    without_the_hub,
)
from hf_localize.hf.info import check_entry
from hf_localize.hf.recording import record
from hf_localize.hf.splits import NeededSplit
from hf_localize.settings import SOURCE_NAMES
from hf_localize.settings.paths import expanded
from hf_localize.settings.secret import Secret, revealed
from hf_localize.sources.base import Entry, NotHere, StoredEntry, download_command
from hf_localize.sources.pinned import PinnedFetch, hashed_manifest
from hf_localize.sources.resolver import Answer, Resolver
from hf_localize.sources.session import Session, current_session
from hf_localize.store.commit import commit
from hf_localize.store.entry import LocalEntry
from hf_localize.store.staging import staging_folder

if TYPE_CHECKING:
    from hf_localize.sources.repositories import RepositoryTiers

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
OpenBuilder = Callable[..., datasets.DatasetBuilder]


#: Arguments of a load that leave the dataset as it is.
_PLAIN_ARGUMENTS = frozenset(
    {"name", "cache_dir", "download_config", "download_mode", "token", "trust_remote_code"}
)
#: What the Hub answered during the ``load_dataset`` under way, to be captured after it.
_hits: contextvars.ContextVar[list[HubEntry] | None] = contextvars.ContextVar(
    "hf_localize_hits", default=None
)


#: The ``split`` of the ``load_dataset`` under way.
_needed: contextvars.ContextVar[NeededSplit | None] = contextvars.ContextVar(
    "hf_localize_wanted", default=None
)


class BuilderRequest(NamedTuple):
    """A call of ``load_dataset_builder`` that an entry may answer.

    ``call_stock`` calls stock's ``load_dataset_builder`` with exactly the caller's arguments, but for
    the revision where one is given.
    """

    ref: DatasetRef
    call_stock: Callable[[str | None], datasets.DatasetBuilder]
    cache_dir: str | None = None
    token: bool | Secret[str] | None = None
    force: bool = False


def is_forced(download_mode: Any) -> bool:
    """Tell whether the data is to be fetched anew; raises ValueError, as stock, for what is no mode."""
    forced = datasets.DownloadMode.FORCE_REDOWNLOAD
    return datasets.DownloadMode(download_mode or "reuse_dataset_if_exists") is forced


@bars.shown()
def open_builder(request: BuilderRequest, *, with_hub: bool = True) -> datasets.DatasetBuilder:
    """Return a builder for the first source that has the dataset. No data is moved.

    Raises:
        DatasetNotFoundError: no source has it. Where the Hub has said so itself, its error has
            the type and the first line of stock's.
    """
    session = current_session()
    hub = HubSource(
        lambda: request.call_stock(session.lock.of(request.ref).commit if session.lock else None),
        request.token,
        session.settings.hub_offline,
        session.settings.timeout_seconds,
        request.cache_dir,
    )
    needed = None if request.force else _needed.get()
    resolver = session.resolver(hub if with_hub else None, needed=needed, locked=True)
    resolver = replace(resolver, check=check_entry)
    if with_hub and _was_pushed(request.ref, session):
        others = (source for source in resolver.sources if source is not hub)
        resolver = replace(resolver, sources=(hub, *others), hub_decides=True)

    def opened(entry: Entry) -> Entry | LocalizedDataset:
        if not isinstance(entry, StoredEntry) or not entry.manifest.splits:
            return entry
        return LocalizedDataset(
            entry,
            request.ref,
            resolver,
            cache_dir=request.cache_dir,
            token=request.token,
            force=request.force,
            needed=needed,
            keeps_streamed=session.settings.stream_cache,
            record_path=session.settings.record,
        )

    try:
        entry = resolver.find(request.ref, opened, skip_local=request.force)
        if isinstance(entry, PinnedFetch):  # Only its bytes tell whether it is what is locked.
            entry = opened(resolver.localize(request.ref, skip_local=request.force, is_checked=False))
    except DatasetNotFoundError as exc:
        found = _under_another_name(request, resolver, exc if with_hub else None)
        if found is None:
            raise as_stock_raises(exc) from _cause(exc)
        return found
    if isinstance(entry, HubEntry):
        hits = _hits.get()
        if hits is not None:
            hits.append(entry)
        else:
            _record_commit(entry, session)
        return entry.builder
    if not isinstance(entry, LocalizedDataset):
        # A ZIP without manifest tells nothing before it is unpacked; data files are for stock to read.
        entry = opened(resolver.localize_entry(entry, request.ref, is_checked=False))
    if isinstance(entry, LocalEntry) and not entry.is_saved:
        _refuse_script(entry)
        _record(entry, request.ref, session)
        return stock_builder(
            open_folder(entry.folder, request.ref.config_name, cache_dir=request.cache_dir), request.ref
        )
    assert isinstance(entry, LocalizedDataset)
    return entry


def _refuse_script(entry: LocalEntry) -> None:
    """Raise ScriptDatasetError where stock would take a file of what was fetched for a loading script.

    That is one with the name of its folder. What a person has put there without a manifest is his own.
    """
    script = entry.folder / f"{entry.folder.name}.py"
    if entry.has_manifest and script.is_file():
        raise ScriptDatasetError(
            f"{entry.manifest.ref} has the loading script {script.name}, which is not run"
        )


def load_localized(
    ref: DatasetRef,
    *,
    split: Any = None,
    streaming: bool = False,
    cache_dir: str | None = None,
    keep_in_memory: bool | None = None,
    num_proc: int | None = None,
) -> Any:
    """Return *ref* from the local store, the bucket or the public ZIPs, as ``datasets.load_dataset`` does."""
    request = plain_request(ref, cache_dir)
    with load_of(ref.dataset_id, split):
        builder = open_builder(request, with_hub=False)
        if streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare(num_proc=num_proc)
        if keep_in_memory is None:
            keep_in_memory = datasets.utils.info_utils.is_small_dataset(builder.info.dataset_size)
        return builder.as_dataset(split=split, in_memory=keep_in_memory)


def plain_request(ref: DatasetRef, cache_dir: str | None = None) -> BuilderRequest:
    """Return the request for *ref* of a call that has no other arguments for stock."""
    stock = stock_function()

    def call_stock(commit: str | None) -> datasets.DatasetBuilder:
        return stock(ref.dataset_id, ref.config_name, revision=commit or ref.revision)

    return BuilderRequest(ref, call_stock, cache_dir)


def ask_hub(
    ref: DatasetRef, trust_remote_code: bool, verification_mode: str | None = None
) -> Entry | NotHere:
    """Return what the Hub has for *ref*, with no other arguments than these."""
    stock, arguments = stock_function(), _stock_arguments(ref, trust_remote_code)
    settings = current_session().settings
    return HubSource(
        lambda: stock(canonical_id(ref.dataset_id, settings.timeout_seconds), ref.config_name, **arguments),
        offline=settings.hub_offline,
        timeout_seconds=settings.timeout_seconds,
        verification_mode=verification_mode,
    ).find(ref)


def ask_for_config_names(ref: DatasetRef, trust_remote_code: bool) -> list[str]:
    """Return the names of all configs of the repository of *ref*, from a store, else from the Hub."""

    def call_stock() -> list[str]:
        stock = inspect.unwrap(datasets.inspect.get_dataset_config_names)
        known_id = canonical_id(ref.dataset_id, current_session().settings.timeout_seconds)
        names: list[str] = stock(known_id, **_stock_arguments(ref, trust_remote_code))
        return names

    return config_names(ref, call_stock)


def _stock_arguments(ref: DatasetRef, trust_remote_code: bool) -> dict[str, object]:
    if "trust_remote_code" in inspect.signature(stock_function()).parameters:  # datasets < 4
        return {"revision": ref.revision, "trust_remote_code": trust_remote_code}
    return {"revision": ref.revision}


def without_progress_bars() -> None:
    """Have `datasets` and huggingface_hub draw none in this process."""
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()


def cache_folder() -> Path:
    """Return the folder in which `datasets` keeps what it has prepared."""
    return expanded(datasets.config.HF_DATASETS_CACHE).absolute()


def ask_hub_for_files(ref: DatasetRef) -> Entry | NotHere:
    """Return the original files that the Hub has in the repository of *ref*."""
    settings = current_session().settings
    return HubFilesSource(settings.hub_offline, settings.timeout_seconds).find(ref)


def open_folder(folder: Path, config_name: str | None, **arguments: object) -> datasets.DatasetBuilder:
    """Return stock's builder for a folder of data files.

    Args:
        config_name: chooses among the configs that the folder's card declares; where it declares
            none, it is only a name.
    """
    declared = datasets.get_dataset_config_names(str(folder))
    name = config_name if config_name in declared or len(declared) > 1 else None
    return stock_function()(str(folder), name, **arguments)


def stock_function() -> OpenBuilder:
    """Return stock's ``load_dataset_builder``, also where wrappers lie around it."""
    stock: OpenBuilder = inspect.unwrap(datasets.load.load_dataset_builder)
    return stock


def config_names(ref: DatasetRef, call_stock: Callable[[], list[str]]) -> list[str]:
    """Return the names of all configs of the repository of *ref*, from a store, else from stock."""
    if (own := _own_folder(ref)) is not None:
        return list(datasets.get_dataset_config_names(own))
    known = _known(ref)
    return list(known.repository_configs) if known else _told_by_stock(call_stock, ref, "config names")


def default_config_name(ref: DatasetRef, call_stock: Callable[[], str | None]) -> str | None:
    """Return the name of the default config of the repository of *ref*, or None."""
    if (own := _own_folder(ref)) is not None:
        name: str | None = datasets.get_dataset_default_config_name(own)
        return name
    known = _known(ref)
    if known:
        return known.repository_default_config
    return _told_by_stock(call_stock, ref, "default config name")


def _known(ref: DatasetRef) -> Manifest | None:
    """Return a manifest that tells the configs of the repository of *ref*, unless they may be older ones."""
    session = current_session()
    return None if _was_pushed(ref, session) else session.resolver().repository(ref)


def _was_pushed(ref: DatasetRef, session: Session) -> bool:
    """Tell whether this process has written to the dataset on the Hub, so that what is held may be older.

    A lock file still names what is loaded.
    """
    with contextlib.suppress(InvalidRefError):
        return session.lock is None and is_written(Repository("dataset", ref.dataset_id))
    return False


def _told_by_stock(call_stock: Callable[[], _T], ref: DatasetRef, asked: str) -> _T:
    """Return stock's answer from the Hub; if that can't be asked, from the held files of the repository."""
    try:
        return only_stock(call_stock, ref, [asked])
    except NotAnswerableError:
        if not _holds_all_files(ref):
            raise
        return call_stock()


def _own_folder(ref: DatasetRef) -> str | None:
    """Return the folder of data files that a person has put into the store as *ref*, whatever its config."""
    session = current_session()
    if "local" in session.enabled and session.lock is None:
        with contextlib.suppress(HfLocalizeError, OSError):  # The source says so, where it is asked.
            entry = session.store.find(replace(ref, config_name=None))
            if entry is not None and not entry.is_saved and not entry.has_manifest:
                return str(entry.folder)
    return None


def _under_another_name(
    request: BuilderRequest, resolver: Resolver, missing: DatasetNotFoundError | None
) -> datasets.DatasetBuilder | None:
    """Return a builder for what no source has under the very ref, as stock would find it; else None.

    That is a config which the card of a person's own folder declares, the only config of own data, or the
    held files of a repository of which this is not prepared: stock may stream what it can't prepare, and says
    itself what is wrong with it.

    Args:
        missing: what the sources said; None: stock is not to be called.
    """
    answers = missing.answers if missing is not None and resolver.hub_decides else ()
    if any(isinstance(answer, Answer) and answer.is_definite for answer in answers):
        return None
    ref, own = request.ref, None if request.force else _own_folder(request.ref)
    if own is not None and ref.config_name in datasets.get_dataset_config_names(own):
        return stock_builder(open_folder(Path(own), ref.config_name, cache_dir=request.cache_dir), ref)
    known = resolver.repository(ref)
    _raise_for_config(ref, known)
    name = None if known is None or known.files else known.repository_default_config
    # A lock file names each config that may be loaded.
    if ref.config_name is None and name not in (None, "default") and resolver.lock is None:
        return open_builder(request._replace(ref=replace(ref, config_name=name)), with_hub=False)
    # A config that is not shared stays missing for outsiders, although the shared files hold all configs.
    left_out = None if known is None else "public"
    if missing is not None and not request.force and _holds_all_files(ref, missing, left_out=left_out):
        return _recorded(request.call_stock(None), ref, current_session())
    return None


def _raise_for_config(ref: DatasetRef, known: Manifest | None) -> None:
    """Raise what stock raises for a config that the repository does not have, as *known* tells it."""
    if known is None or not known.files or ref.config_name in known.repository_configs:
        return  # Without files the list may be incomplete: other sources may have been unreachable.
    configs = list(known.repository_configs)
    if ref.config_name is not None:
        raise ValueError(f"BuilderConfig '{ref.config_name}' not found. Available: {configs}")
    if known.repository_default_config is None:
        usage = f"load_dataset('{known.canonical_id or ref.dataset_id}', '{configs[0]}')"
        raise ValueError(
            f"Config name is missing.\nPlease pick one among the available configs: {configs}"
            f"\nExample of usage:\n\t`{usage}`"
        )


@bars.shown()
def open_original_files(
    ref: DatasetRef,
    arguments: Mapping[str, Any],
    call_stock: Callable[[], datasets.DatasetBuilder],
    *,
    force: bool = False,
) -> datasets.DatasetBuilder:
    """Return stock's builder over the kept original files of the repository of *ref*; else the Hub's.

    Args:
        arguments: the caller's, but the id and the revision. Among them are some that ask for
            something else than the dataset as it is, such as ``data_files``.
        force: pass over the local store, and replace what it has.

    Raises:
        NotAnswerableError: the files are not kept anywhere, and the Hub is out of reach.
    """
    given = [name for name, value in arguments.items() if value and not name.startswith("_")]
    asked = [name for name in given if name not in _PLAIN_ARGUMENTS]

    def cached() -> datasets.DatasetBuilder | None:
        # What stock has cached may be of another revision.
        return stock_cached(ref, arguments) if ref.revision is None else None

    session = current_session()
    if (not force and _holds_files(ref, session)) or _was_pushed(ref, session):
        with _reading_offline(session):
            return _recorded(call_stock(), ref, session)  # It reads them through the doors.
    try:
        entry = session.resolver(locked=True).localize(ref.files, skip_local=force)
    except DatasetNotFoundError as exc:
        if session.lock is not None:
            raise as_stock_raises(exc) from _cause(exc)
        return _recorded(only_stock(call_stock, ref, asked, exc, cached), ref, session)
    if entry.is_saved or _has_script(entry):  # A config of that name; or code, for stock to run.
        if session.lock is not None:
            raise NotAnswerableError(
                f"{', '.join(asked)} of {ref} can't be answered from {session.lock.where}: a "
                "lock file can't pin the output of a loading script"
            )
        return _recorded(only_stock(call_stock, ref, asked, cached=cached), ref, session)
    _record(entry, ref.files, session)
    plain = {name: revealed(value) for name, value in arguments.items()}
    builder = stock_function()(str(linked_files(entry, session.store, arguments.get("cache_dir"))), **plain)
    return stock_builder(builder, DatasetRef(ref.dataset_id))


def reading_files(ref: DatasetRef) -> contextlib.AbstractContextManager[None]:
    """Let `datasets` read the held files of *ref* in the meantime, even if it is set to be offline."""
    session = current_session()
    return _reading_offline(session) if _holds_files(ref, session) else contextlib.nullcontext()


def _reading_offline(session: Session) -> contextlib.AbstractContextManager[None]:
    return leaving_out_the_hub() if session.settings.hub_offline else contextlib.nullcontext()


def _holds_files(ref: DatasetRef, session: Session) -> bool:
    """Tell whether the files of the repository of *ref* are held; under a lock file, those that it has."""
    return any(_held(ref, session, session.repositories, everywhere=False))


def _holds_all_files(
    ref: DatasetRef, missing: DatasetNotFoundError | None = None, *, left_out: str | None = None
) -> bool:
    """Tell whether each file of the repository of *ref* is held, whatever is prepared of it.

    Under a lock file none counts: it names what may be loaded.

    Args:
        missing: what the sources said. Where one gave no answer, only the local store is asked.
        left_out: the kind of a place that is not asked.
    """
    session = current_session()
    if session.lock is not None:
        return False
    places, answers = session.repositories, missing.answers if missing is not None else ()
    if any(isinstance(a, Answer) and a.has_failed and a.source != SOURCE_NAMES["hub"] for a in answers):
        kinds = {"local"}
    else:
        kinds = {*session.enabled} - {left_out}
    places = replace(places, places=tuple(place for place in places.places if place[0] in kinds))
    with contextlib.suppress(UnreachableError):
        snapshots = (places.snapshot(*found) for found in _held(ref, session, places, everywhere=True))
        return any(snapshot is not None and snapshot.is_complete for snapshot in snapshots)
    return False


def _held(
    ref: DatasetRef, session: Session, places: RepositoryTiers, *, everywhere: bool
) -> Iterator[tuple[Repository, str]]:
    """Yield the repositories in *places* that *ref* can name, each with its commit that is held.

    Args:
        everywhere: look for ids in other letter case outside the local store too.
    """
    for name in filter(None, (ref, current_ref(ref))):
        with contextlib.suppress(InvalidRefError, UnreachableError):
            for repository in places.spellings(Repository("dataset", name.dataset_id), everywhere=everywhere):
                revision = ref.revision
                if session.lock is not None:
                    revision = session.lock.commit_of(repository, revision or "main")
                    if revision is None:
                        continue
                refs = places.refs(repository, revision)
                commit = None if refs is None else refs.resolve(revision)
                if refs is not None and commit is not None and commit in refs.commits:
                    yield repository, commit


def _recorded(builder: datasets.DatasetBuilder, ref: DatasetRef, session: Session) -> datasets.DatasetBuilder:
    """Return *builder*, which stock made of the files on the Hub, after their commit was recorded."""
    _record_commit(HubEntry(builder, ref.files), session)
    return builder


def _record(entry: LocalEntry, ref: DatasetRef, session: Session) -> None:
    """Record that *entry* was loaded as *ref*."""
    record(session.settings.record, ref, lambda: locked(ref, hashed_manifest(entry)), entry.source)


def _record_commit(entry: HubEntry, session: Session) -> None:
    """Record what stock answers from the Hub and nobody captures; its cache may be of any commit."""
    with bookkeeping(f"{entry.ref} was loaded, but not recorded"):
        if entry.commit is not None and not entry.is_from_stock_cache:
            loaded = Locked(entry.ref, commit=entry.commit)
            record(session.settings.record, entry.ref, lambda: loaded, entry.source)


def _has_script(files: LocalEntry) -> bool:
    """Tell whether original files have the loading script by which stock would read them."""
    ids = (files.manifest.dataset_id, files.manifest.canonical_id or files.manifest.dataset_id)
    return any((files.folder / f"{dataset_id.rsplit('/', 1)[-1]}.py").is_file() for dataset_id in ids)


def only_stock(
    call_stock: Callable[[], _T],
    ref: DatasetRef,
    asked: list[str],
    missing: DatasetNotFoundError | None = None,
    cached: Callable[[], _T | None] = lambda: None,
) -> _T:
    """Return stock's answer to a call that no entry can answer.

    Args:
        asked: the arguments, or what else of the repository of *ref*, that call for the Hub.
        missing: what the sources said that were asked for the repository's original files.
        cached: gives stock's answer from its own cache, where the Hub is out of reach.

    Raises:
        NotAnswerableError: the Hub is out of reach.
    """
    session = current_session()
    problem: Exception | str | None = "it is not among the enabled sources"
    if session.asks("hub"):
        problem = None if session.settings.hub_offline else unreachable(session.settings.timeout_seconds)
        if problem is not None:
            for answer in (cached, lambda: without_the_hub(call_stock)):
                if (found := answer()) is not None:
                    return found
        if problem is None:
            try:
                with asking_the_hub_itself():  # What is held may be older, or does not answer it.
                    return call_stock()
            except Exception as exc:
                if not is_unreachable(exc):
                    raise
                problem = exc
    advice = ""
    if missing is not None:
        where = "; ".join(map(str, missing.answers))
        command = f"{download_command(replace(ref, config_name=None))} --keep-files"
        mend = f"To store them, run this on a machine that reaches the Hub: {command}"
        if session.asks("public") and session.is_outsider:
            mend = f"To share them, their publisher runs: {command} --make-public (files hold all configs)"
        at_main = ref.revision is not None and _holds_files(replace(ref, revision=None), session)
        stored = f"stored at main, but not at {ref.revision}" if at_main else "not stored"
        advice = f" The repository's files, which would answer it, are {stored} ({where}). {mend}"
        if _holds_files(ref, session):
            advice = " The repository's files are stored, but not used: leave out force_redownload"
    raise NotAnswerableError(
        f"{', '.join(asked)} of {ref} can't be answered from a localized dataset, and the Hub can't be "
        f"asked: {without_queries(str(problem))}.{advice}"
    ) from (problem if isinstance(problem, Exception) else None)


@contextlib.contextmanager
def load_of(dataset_id: str, split: Any) -> Iterator[None]:
    """Have the builders that are opened meanwhile bring only what *split* needs (None: all).

    What the Hub answers, and stock prepares meanwhile, is captured into the local store. That
    never fails the caller's load: what can't be captured is logged.
    """
    hits: list[HubEntry] = []
    needed = None if split is None else NeededSplit(split)
    with bars.shown(), loading(dataset_id):
        with having(_hits, hits), having(_needed, needed):
            yield
        for entry in hits:
            with bookkeeping(f"{entry.ref} was loaded from the Hub, but could not be kept"):
                _keep(entry, current_session())


def _keep(entry: HubEntry, session: Session) -> None:
    """Keep what the Hub gave where that is wanted, and record it."""
    # Stock names a format once it has prepared the data; a streamed dataset has none.
    needed = session.settings.write_back != "off" and not entry.is_from_stock_cache
    is_prepared = needed and getattr(entry.builder, "_file_format", None) == "arrow"
    kept = _capture(entry, session) if is_prepared else None
    if kept is None:
        _record_commit(entry, session)
    else:
        _record(replace(kept, source=entry.source), entry.ref, session)


def _capture(entry: HubEntry, session: Session) -> LocalEntry | None:
    """Keep what the Hub gave in the store, and upload it where that is set; None: it could not be kept."""
    local = None
    with bookkeeping(f"{entry.ref} was loaded from the Hub, but could not be kept"):
        store = session.store
        with staging_folder(store, f"{entry.ref.suffix[1:]}-hub", fresh=True) as folder:
            local = commit(store, folder, entry.capture_into(folder))
        _log.info("%s ← %s, stored in %s", entry.ref, entry.source, local.folder)
        if session.settings.write_back == "s3" and session.can_publish():
            from hf_localize.publish.bucket import upload
            from hf_localize.publish.shared_files import warn_if_public

            if upload(local, session.bucket, replace=False, workers=session.settings.max_concurrency):
                warn_if_public(local.manifest, session.public_files)
    return local


def _cause(exc: DatasetNotFoundError) -> BaseException | None:
    errors = [a.error for a in exc.answers if isinstance(a, Answer) and a.error is not None]
    return errors[-1] if errors else exc.__cause__
