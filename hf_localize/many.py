"""Many datasets at once, each in a process of its own.

Not in threads: stock's file locks set the umask of the whole process for a moment, and what is
slow about small datasets is Python.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from hf_localize import settings
from hf_localize.api import download_dataset
from hf_localize.errors import kind_of, without_queries
from hf_localize.progress import Item, counter, moving
from hf_localize.refs import DatasetRef
from hf_localize.session import current_session

_log = logging.getLogger(__name__)
#: Most of the time of a small dataset goes to waiting for the Hub; each has a process's memory.
_AT_ONCE = 6
#: How long one that is told to end may take.
_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Download:
    """What became of one of many downloads: *path* of the entry in the local store, or the *error*.

    ``error_kind`` is what :func:`~hf_localize.errors.kind_of` calls it.
    """

    dataset_id: str
    config_name: str | None
    revision: str | None
    path: str | None = None
    error: str | None = None
    error_kind: str | None = None

    def __str__(self) -> str:
        return str(DatasetRef(self.dataset_id, self.config_name, self.revision))

    @property
    def success(self) -> bool:
        """Tell whether it is in the local store, and published where that was asked for."""
        return self.error is None


def download_datasets(
    dataset_ids: Iterable[str],
    config_names: Iterable[str | None] = (None,),
    revision: str | None = None,
    *,
    all_configs: bool = False,
    trust_remote_code: bool = False,
    make_public: bool = False,
    skip_s3_upload: bool = False,
    keep_files: bool = False,
    share_restricted: str | Collection[str] = (),
) -> list[Download]:
    """Bring each of the configs of each of the datasets into the local store, several at a time.

    One that fails does not stop the others. Each is downloaded by a process of its own; together
    they keep to the settings for concurrency and bandwidth.

    Args:
        config_names: of each dataset; None is its default config.
        all_configs: every config that the repository has, in place of *config_names*.

    The other arguments are as for :func:`download_dataset`.

    Returns:
        A :class:`Download` for each, in the order asked.

    Raises:
        InvalidRefError: an argument can't name a dataset.
        SettingsError: *make_public* without a bucket or credentials.
    """
    if make_public and not skip_s3_upload:
        current_session().require_publisher()
    names = tuple(config_names)
    wanted: dict[DatasetRef, Download | None] = {}
    for dataset_id in dataset_ids:
        if all_configs:
            wanted |= _configs(DatasetRef(dataset_id, None, revision), trust_remote_code)
        else:
            wanted |= {DatasetRef(dataset_id, name, revision): None for name in names}
    options = {
        "trust_remote_code": trust_remote_code,
        "make_public": make_public,
        "skip_s3_upload": skip_s3_upload,
        "keep_files": keep_files,
        "share_restricted": share_restricted,
    }
    todo = [ref for ref, known in wanted.items() if known is None]
    items = [Item(str(ref), 1) for ref in todo]
    with moving("Downloading", f"{len(items)} datasets", items, is_in_bytes=False):
        done = dict(zip(todo, _run(todo, options), strict=True))
    return [known or done[ref] for ref, known in wanted.items()]


def _configs(ref: DatasetRef, trust_remote_code: bool) -> dict[DatasetRef, Download | None]:
    """Return a ref for each config of the repository of *ref*; *ref* as failed where nobody knows them."""
    from hf_localize.loading import ask_for_config_names

    try:
        names = ask_for_config_names(ref, trust_remote_code)
    except Exception as exc:  # noqa: BLE001  # It does not stop the others.
        _log.debug("the configs of %s are not known", ref, exc_info=True)
        return {ref: failed(ref, exc, f"its configs are not known: {exc}")}
    return dict.fromkeys(DatasetRef(ref.dataset_id, name, ref.revision) for name in names)


def _run(refs: Sequence[DatasetRef], options: dict[str, Any]) -> list[Download]:
    """Download each of *refs* in a process of its own, a few at a time; return what became of each."""
    import hf_localize.loading  # noqa: F401  # Here `datasets` is imported once for all of them.

    results: dict[DatasetRef, Download] = {}
    waiting = list(refs)[::-1]
    running: dict[Connection, tuple[DatasetRef, BaseProcess]] = {}
    parts = min(_AT_ONCE, len(refs))
    try:
        while waiting or running:
            while waiting and len(running) < parts:
                ref = waiting.pop()
                running.update([_start(ref, options, parts)])
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                results.update([_end(connection, *running.pop(connection))])
    finally:
        _stop([process for _, process in running.values()])  # There are some only if this was interrupted.
    return [results[ref] for ref in refs]


def _start(
    ref: DatasetRef, options: dict[str, Any], parts: int
) -> tuple[Connection, tuple[DatasetRef, BaseProcess]]:
    # A forked process has `datasets` and the settings already; macOS' own libraries don't stand it.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    answer, sink = context.Pipe(duplex=False)
    process = context.Process(target=_download, args=(ref, options, parts, sink), daemon=True)
    process.start()
    sink.close()  # Else the answer of a process that is killed would never end.
    return answer, (ref, process)


def _end(connection: Connection, ref: DatasetRef, process: BaseProcess) -> tuple[DatasetRef, Download]:
    with connection:
        try:
            result: Download = connection.recv()
        except EOFError:
            process.join()
            ended = RuntimeError(f"its process was ended (status {process.exitcode})")
            result = failed(ref, ended)
    process.join()
    counter(str(ref))(1)
    return ref, result


def _stop(processes: Sequence[BaseProcess]) -> None:
    """End *processes* and wait until they are gone: in a container nobody else may take note of it."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE_SECONDS)
        process.kill()
        process.join()


def _download(ref: DatasetRef, options: dict[str, Any], parts: int, sink: Connection) -> None:
    """Download *ref* in this process, made for that, and send what became of it into *sink*."""
    from hf_localize.loading import without_progress_bars

    settings.take_part(parts)
    without_progress_bars()
    try:
        done = download_dataset(ref.dataset_id, ref.config_name, ref.revision, **options)
        sink.send(Download(ref.dataset_id, ref.config_name, ref.revision, path=done.message_or_path))
    except KeyboardInterrupt:  # The one who waits has it too, and says so.
        return
    except Exception as exc:  # noqa: BLE001  # It does not stop the others.
        _log.debug("%s failed", ref, exc_info=True)
        sink.send(failed(ref, exc))


def failed(ref: DatasetRef, error: Exception, why: str | None = None) -> Download:
    """Return what became of the download of *ref*, which *error* has ended; *why* in other words."""
    said = without_queries(why or str(error) or type(error).__name__)
    return Download(ref.dataset_id, ref.config_name, ref.revision, error=said, error_kind=kind_of(error))
