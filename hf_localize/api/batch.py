"""Many datasets at once, down or up, each in a process of its own.

Not in threads: stock's file locks set the umask of the whole process for a moment, and what is
slow about small datasets is Python.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from hf_localize import settings
from hf_localize.api.datasets import (
    download_data,
    download_dataset,
    not_uploaded,
    removed_since,
    sync_data,
    sync_files_of,
)
from hf_localize.api.publishing import Sharing, has_files_of, tell_if_files_stay_public
from hf_localize.api.repositories import download_repository, keep_files, sync_files
from hf_localize.api.values import Named, Result, ids_of
from hf_localize.errors import HfLocalizeError, InvalidRefError, kind_of, message_of, without_queries
from hf_localize.format.listfile import RepositoryRef
from hf_localize.format.refs import DatasetRef
from hf_localize.progress import Item, counter, task
from hf_localize.sources.session import current_session
from hf_localize.store.entry import LocalEntry

_log = logging.getLogger(__name__)
#: Most of the time of a small dataset goes to waiting for the Hub; each has a process's memory.
_AT_ONCE = 6
#: How long processes may take to end once they are asked to.
_GRACE_SECONDS = 1.0


class Outcome(Named):
    """What became of one of many."""

    __slots__ = ()
    error: str | None
    error_kind: str | None

    def __str__(self) -> str:
        return str(self.ref)

    @property
    def success(self) -> bool:
        """Tell whether all was done that was asked for."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Download(Outcome):
    """The result of one of many downloads: the *path* in the local store, the *error*, or both.

    If both are set, the dataset is here, but could not be published. ``error_kind`` is the kind of the
    error, as :func:`~hf_localize.errors.kind_of` returns it.
    """

    path: str | None = None
    error: str | None = None
    error_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Sync(Outcome):
    """The result of one of many uploads: a *message* that says what was done, or the *error*.

    ``error_kind`` is the kind of the error, as :func:`~hf_localize.errors.kind_of` returns it.
    """

    message: str | None = None
    error: str | None = None
    error_kind: str | None = None


_Kind = TypeVar("_Kind", Download, Sync)


def download_datasets(
    dataset_ids: str | Iterable[str],
    config_names: str | Iterable[str | None] = (None,),
    revision: str | None = None,
    *,
    all_configs: bool = False,
    trust_remote_code: bool = False,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    keep_files: bool | None = None,
    share_restricted: str | Collection[str] = (),
    update: bool = False,
    verification_mode: str | None = None,
) -> list[Download]:
    """Download several datasets or configs into the local store, in parallel.

    A failure does not stop the others. Each is downloaded by a process of its own. Together, the processes
    stay within the settings for concurrency and bandwidth.

    Args:
        config_names: configs of each dataset; None is its default config.
        all_configs: download every config of the repositories instead of *config_names*.

    The other arguments are as for :func:`download_dataset`.

    Returns:
        A :class:`Download` for each, in the order of the arguments.

    Example:
        >>> for done in hf_localize.download_datasets(["openai/gsm8k"], all_configs=True):
        ...     print(done, done.error)
        openai/gsm8k [main] None
        openai/gsm8k [socratic] None

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: *make_public* without a bucket or credentials.
    """
    needed = refs_named(
        dataset_ids, config_names, revision, all_configs=all_configs, trust_remote_code=trust_remote_code
    )
    options = {
        "trust_remote_code": trust_remote_code,
        "make_public": make_public,
        "skip_s3_upload": skip_s3_upload,
        "keep_files": keep_files,
        "share_restricted": share_restricted,
        "update": update,
        "verification_mode": verification_mode,
    }
    todo = [ref for ref, known in needed.items() if known is None]
    done = dict(zip(todo, download_refs(todo, **options), strict=True))
    return [known or done[ref] for ref, known in needed.items()]


def refs_named(
    dataset_ids: str | Iterable[str],
    config_names: str | Iterable[str | None],
    revision: str | None,
    *,
    all_configs: bool,
    trust_remote_code: bool,
) -> dict[DatasetRef, Download | None]:
    """Return the refs that :func:`download_datasets` takes; with a failure if an id's configs are unknown."""
    names = ids_of(config_names)
    needed: dict[DatasetRef, Download | None] = {}
    for dataset_id in ids_of(dataset_ids):
        if all_configs:
            needed |= _configs(DatasetRef(dataset_id, None, revision), trust_remote_code)
        else:
            needed |= {DatasetRef(dataset_id, name, revision): None for name in names}
    return needed


def download_refs(refs: Iterable[DatasetRef], **options: Any) -> list[Download]:
    """Download each of *refs* into the local store, several at a time, as :func:`download_datasets` does.

    Datasets that are stored already are only checked, so to resume an interrupted call, make it again.

    Args:
        options: as for :func:`download_dataset`.
    """
    if options.get("make_public") and not options.get("skip_s3_upload"):
        current_session().require_publisher()
    needed = list(dict.fromkeys(refs))
    how = dict(options)
    keeps_files = how.pop("keep_files", None)
    with _counted("Downloading", needed):
        if keeps_files:
            return _run(Download, needed, download_dataset, options)
        done = _run_files_last(Download, needed, download_data, how)
    if current_session().lock is not None:
        return done
    if keeps_files is False:
        if options.get("make_public") and not options.get("skip_s3_upload"):
            for dataset_id in dict.fromkeys(item.dataset_id for item in done if item.success):
                tell_if_files_stay_public(dataset_id, current_session())
        return done
    # Of each repository once, when all that stock needs of it is in stock's caches.
    failed_ids = {item.dataset_id for item in done if not item.success}
    first = {(ref.dataset_id, ref.revision): ref for ref in needed if ref.dataset_id not in failed_ids}
    how = {name: options.get(name) for name in ("make_public", "skip_s3_upload", "share_restricted")}
    kept = dict(zip(first.values(), _run(Download, list(first.values()), keep_files, how), strict=True))
    return [kept.get(ref, item) for ref, item in zip(needed, done, strict=True)]


def download_repositories(repositories: Iterable[RepositoryRef], **options: Any) -> list[Download]:
    """Download the files of each of *repositories* into the local store, one by one, and publish them.

    A failure does not stop the others.

    Args:
        options: as for :func:`~hf_localize.api.repositories.download_repository`.
    """

    def download(item: RepositoryRef) -> Download:
        repo_id = item.repository.repo_id
        how = {**options, "repo_type": item.repository.repo_type, "revision": item.revision}
        ref = DatasetRef(repo_id, None, item.revision)
        return attempt(Download, ref, lambda: download_repository(repo_id, **how).message_or_path)

    return [download(item) for item in dict.fromkeys(repositories)]


def sync_local_datasets_to_s3(
    *, make_public: bool = False, share_restricted: str | Collection[str] = (), force: bool = False
) -> list[Sync]:
    """Upload every dataset of the local store that the bucket lacks, or has with other content.

    Several are uploaded in parallel, and a failure does not stop the others. A dataset that was fetched from
    the bucket, and was removed there since, is not uploaded. The arguments are those of
    :func:`sync_local_dataset_to_s3`; with *force*, such a dataset is uploaded too.

    Raises:
        SettingsError: there is no bucket, or there are no credentials.
    """
    session = current_session()
    session.require_publisher()
    sharing = Sharing(make_public, ids_of(share_restricted), is_named=False)
    entries: dict[DatasetRef, LocalEntry] = {}
    for entry in session.store.entries():
        entries.setdefault(entry.manifest.ref, entry)
    left_out = {ref: _unnamed(entry) for ref, entry in entries.items() if not entry.is_named}
    if not force:
        named = [entry for ref, entry in entries.items() if ref not in left_out]
        left_out |= {ref: not_uploaded(ref, session) for ref in removed_since(named, session)}
    refs = [ref for ref in entries if ref not in left_out]
    with _counted("Uploading", refs):
        done = _run_files_last(Sync, refs, sync_data, {"sharing": sharing, "force": force})
    # Of each repository once.
    sent = [(ref, entries[ref].manifest) for ref, item in zip(refs, done, strict=True) if item.success]
    first: dict[tuple[str, str | None], DatasetRef] = {}
    for ref, manifest in sent:
        if has_files_of(manifest, session):
            first.setdefault((ref.dataset_id, manifest.commit), ref)
    having = list(first.values())
    files = dict(zip(having, _run(Sync, having, sync_files_of, {"sharing": sharing}), strict=True))
    done = [_together(item, files.get(ref)) for ref, item in zip(refs, done, strict=True)]
    return done + [Sync(*ref.parts, why) for ref, why in left_out.items()]


def sync_local_repositories_to_s3(
    *, make_public: bool = False, share_restricted: str | Collection[str] = ()
) -> list[Sync]:
    """Upload the files of each stored repository to the bucket, except those that belong to a dataset.

    Arguments are as for :func:`sync_local_dataset_to_s3`.
    """
    session, results = current_session(), []
    local = session.repositories.local
    of_datasets = {(e.manifest.dataset_id, e.manifest.commit) for e in session.store.entries()}
    for repository in local.all():
        repo_type, repo_id = repository.repo_type, repository.repo_id
        refs = local.refs(repository)
        commits = refs.commits if refs is not None else ()
        if repo_type == "dataset" and all((repo_id, commit) in of_datasets for commit in commits):
            continue
        sharing = Sharing(make_public, ids_of(share_restricted), is_named=repo_type != "dataset")
        sync = functools.partial(sync_files, repository, commits, session, sharing)
        results.append(attempt(Sync, DatasetRef(repo_id), sync))
    return results


def _together(data: Sync, files: Sync | None) -> Sync:
    """Return what became of a dataset and the files of its repository."""
    if files is None:
        return data
    return files if not files.success else replace(data, message=f"{data.message}; {files.message}")


def _unnamed(entry: LocalEntry) -> str:
    """Return, in words, why a folder without manifest is not published with all others."""
    return (
        f"{entry.manifest.ref} was not uploaded, because its id is not known: _ may stand for / in "
        f"the name of {entry.folder}. To upload it, name the id: hg-localize sync-local-to-s3 ID"
    )


def _counted(verb: str, refs: Sequence[DatasetRef]) -> contextlib.AbstractContextManager[object]:
    """Show how many of *refs* are done meanwhile."""
    return task(
        verb,
        f"{len(refs)} dataset{'s' * (len(refs) != 1)}",
        [Item(str(ref), 1) for ref in refs],
        is_in_bytes=False,
    )


def _configs(ref: DatasetRef, trust_remote_code: bool) -> dict[DatasetRef, Download | None]:
    """Return a ref for each config of the repository of *ref*; *ref* as failed where nobody knows them."""
    from hf_localize.hf.load import ask_for_config_names

    try:
        names = ask_for_config_names(ref, trust_remote_code)
    except Exception as exc:  # noqa: BLE001  # It does not stop the others.
        _log.debug("the configs of %s are not known", ref, exc_info=True)
        return {ref: failed(Download, ref, exc, f"its configs are not known: {exc}")}
    needed, refused = dict[DatasetRef, Download | None](), list[InvalidRefError]()
    for name in names:
        try:
            needed[DatasetRef(ref.dataset_id, name, ref.revision)] = None
        except InvalidRefError as exc:
            refused.append(exc)
    if refused:
        needed[ref] = failed(Download, ref, refused[0], "; ".join(map(str, refused)))
    return needed


def _run_files_last(
    kind: type[_Kind], refs: Sequence[DatasetRef], work: Callable[..., Result], options: dict[str, Any]
) -> list[_Kind]:
    """Do *work* with each of *refs*, last with original files: other configs must be shared first."""
    data, files = [ref for ref in refs if ref != ref.files], [ref for ref in refs if ref == ref.files]
    done: dict[DatasetRef, _Kind] = {}
    for some in (data, files):
        done |= zip(some, _run(kind, some, work, options), strict=True)
    return [done[ref] for ref in refs]


def _run(
    kind: type[_Kind], refs: Sequence[DatasetRef], work: Callable[..., Result], options: dict[str, Any]
) -> list[_Kind]:
    """Do *work* with each of *refs* in a process of its own, a few at a time; return what became of each."""
    import hf_localize.hf.load  # noqa: F401  # Here `datasets` is imported once for all of them.

    results: dict[DatasetRef, _Kind] = {}
    waiting = list(refs)[::-1]
    running: dict[Connection, tuple[DatasetRef, BaseProcess]] = {}
    parts = min(_AT_ONCE, len(refs))
    try:
        while waiting or running:
            while waiting and len(running) < parts:
                ref = waiting.pop()
                running.update([_start(kind, ref, work, options, parts)])
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                ref, process = running.pop(connection)
                results[ref] = _end(kind, connection, ref, process)
    finally:
        _stop([process for _, process in running.values()])  # There are some only if this was interrupted.
    return [results[ref] for ref in refs]


def _start(
    kind: type[_Kind], ref: DatasetRef, work: Callable[..., Result], options: dict[str, Any], parts: int
) -> tuple[Connection, tuple[DatasetRef, BaseProcess]]:
    # A forked process has `datasets` and the settings already; macOS' own libraries don't stand it.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    answer, sink = context.Pipe(duplex=False)
    given = (kind, ref, work, options, parts, settings.current_overrides(), sink)
    process = context.Process(target=_do, args=given, daemon=True)
    process.start()
    sink.close()  # Else the answer of a process that is killed would never end.
    return answer, (ref, process)


def _end(kind: type[_Kind], connection: Connection, ref: DatasetRef, process: BaseProcess) -> _Kind:
    with connection:
        try:
            result: _Kind = connection.recv()
        except EOFError:
            process.join()
            result = failed(
                kind, ref, RuntimeError(f"its process ended unexpectedly (status {process.exitcode})")
            )
    process.join()
    counter(str(ref))(1)
    return result


def _stop(processes: Sequence[BaseProcess]) -> None:
    """End *processes* and wait until they are gone: in a container nobody else may take note of it."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
        process.join()


def _do(
    kind: type[_Kind],
    ref: DatasetRef,
    work: Callable[..., Result],
    options: dict[str, Any],
    parts: int,
    overrides: dict[str, Any],
    sink: Connection,
) -> None:
    """Do *work* with *ref* in this process, made for that, and send what became of it into *sink*."""
    from hf_localize.hf.load import without_progress_bars

    settings.restore(overrides)  # A process that was not forked has none.
    settings.take_part(parts)
    without_progress_bars()
    try:
        sink.send(kind(*ref.parts, work(*ref.parts, **options).message_or_path))
    except KeyboardInterrupt:  # The one who waits has it too, and says so.
        return
    except Exception as exc:  # noqa: BLE001  # It does not stop the others.
        _log.debug("%s failed", ref, exc_info=True)
        sink.send(failed(kind, ref, exc))


def attempt(kind: type[_Kind], ref: DatasetRef, work: Callable[[], str | None]) -> _Kind:
    """Return the result of *work* for *ref*; an error does not stop the others."""
    try:
        return kind(*ref.parts, work())
    except (HfLocalizeError, OSError) as exc:
        _log.debug("%s failed", ref, exc_info=True)
        return failed(kind, ref, exc)


def failed(kind: type[_Kind], ref: DatasetRef, error: Exception, why: str | None = None) -> _Kind:
    """Return the result for *ref*, which failed with *error*; *why* replaces its message."""
    said = without_queries(why) if why else message_of(error)
    path = error.path if isinstance(error, HfLocalizeError) else None
    return kind(*ref.parts, path, error=said, error_kind=kind_of(error))
