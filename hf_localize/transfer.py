"""Moving many files at once, each checked against the manifest while it moves."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hf_localize.errors import IntegrityError, UnreachableError
from hf_localize.manifest import FileRecord, hash_file

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_TRIES = 4
_T = TypeVar("_T")


def fetch_files(
    files: Iterable[FileRecord],
    open_file: Callable[[str], BinaryIO],
    folder: Path,
    *,
    workers: int,
) -> list[FileRecord]:
    """Write *files* into *folder*, several at a time, and return their records with hashes.

    A file that is there already and matches is kept. A file without a recorded sha256 is taken
    as it comes. Each file appears under its name only when it is whole and right.

    Args:
        open_file: opens the file of that relative path for one sequential read.
        workers: files that are moved at the same time.

    Raises:
        IntegrityError: a file does not have the size or sha256 of its record.
        UnreachableError: a file could not be read to its end in several tries.
    """
    records = list(files)
    return run_all(lambda record: _fetch_one(record, open_file, folder), records, workers=workers)


def run_all(work: Callable[[Any], Any], items: Iterable[Any], *, workers: int) -> list[Any]:
    """Return ``work(item)`` for each item in order, run in *workers* threads.

    The first error is raised once the work under way has ended; the rest is not started. An
    interruption (Ctrl-C) is raised at once: the threads are daemons, since one that waits for a
    network can't be ended, and must not keep the program from ending.
    """
    pending = list(enumerate(items))[::-1]
    results: list[Any] = [None] * len(pending)
    failures: list[BaseException] = []

    def run() -> None:
        while pending and not failures:
            try:
                index, item = pending.pop()
            except IndexError:
                return  # Another thread took the last item.
            try:
                results[index] = work(item)
            except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
                failures.append(exc)

    count = min(workers, len(pending))
    threads = [threading.Thread(target=run, name=f"hf_localize-{n}", daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        pending.clear()
        raise
    if failures:
        raise failures[0]
    return results


def verified(stream: BinaryIO, record: FileRecord, where: str) -> BinaryIO:
    """Return *stream* so that reading its end raises unless it matched *record*.

    Raises:
        IntegrityError: from the read that finds the end of bytes that differ from the record.
    """
    if not record.sha256:
        return stream
    return io.BufferedReader(_Verifier(stream, record, where), _CHUNK)


class _Verifier(io.RawIOBase):
    def __init__(self, stream: BinaryIO, record: FileRecord, where: str) -> None:
        self._stream = stream
        self._record = record
        self._where = where
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._digest.update(chunk)
        self._size_bytes += len(chunk)
        if not chunk or self._size_bytes >= self._record.size_bytes:
            self._check()
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _check(self) -> None:
        got = FileRecord(self._record.path, self._size_bytes, self._digest.hexdigest())
        if got != self._record:
            raise IntegrityError(f"{self._record.path} of {self._where} differs from its manifest")


def _fetch_one(record: FileRecord, open_file: Callable[[str], BinaryIO], folder: Path) -> FileRecord:
    target = folder / record.path
    if record.sha256 and target.exists() and hash_file(target, record.path) == record:
        return record
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _TRIES + 1):
        try:
            return _copy_verified(record, open_file, target)
        except UnreachableError as exc:
            if attempt == _TRIES:
                raise
            _log.debug("%s: try %d of %d failed: %s", record.path, attempt, _TRIES, exc)
            time.sleep(random.uniform(0.1, 0.3) * 2**attempt)
    raise AssertionError("the last try returns or raises")


def _copy_verified(record: FileRecord, open_file: Callable[[str], BinaryIO], target: Path) -> FileRecord:
    part = target.with_name(f".{target.name}.part")  # No file of an entry begins with a dot.
    digest, size = hashlib.sha256(), 0
    with open_file(record.path) as source, open(part, "wb") as sink:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if record.sha256 and size > record.size_bytes:
                break
            sink.write(chunk)
    got = FileRecord(record.path, size, digest.hexdigest())
    if record.sha256 and got != record:
        os.unlink(part)
        raise IntegrityError(
            f"{record.path} differs from its manifest: {size} bytes, sha256 {got.sha256[:12]}…; "
            f"expected {record.size_bytes} bytes, sha256 {record.sha256[:12]}…"
        )
    os.replace(part, target)
    return got


def within(seconds: float, question: Callable[[], _T]) -> _T:
    """Return the answer to *question*, if it comes within *seconds*.

    The time-outs of HTTP clients don't bound that: they begin anew for each address of a host,
    and leave out the resolution of its name.

    Raises:
        UnreachableError: it took longer. The question goes on in a daemon thread then, until its
            own time-outs end it: a thread can't be ended from outside, and a process must be able
            to exit while one hangs.
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(question())
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
            failure.append(exc)

    thread = threading.Thread(target=run, name="hf_localize-ask", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failure:
        raise failure[0]
    if not result:
        raise UnreachableError("no answer within the time budget (HGLOC_TIMEOUT_SECONDS)")
    return result[0]
