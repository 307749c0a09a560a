"""Requests and other work that are tried again, and what the log says of it."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from hf_localize.errors import (
    GarbledError,
    IntegrityError,
    RefusedError,
    SlowDownError,
    UnreachableError,
    UnsafeArchiveError,
)
from hf_localize.http.deadline import NoAnswerError, has_left

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Of a request, which others may answer; and of a piece of data that is known to be there.
TRIES, TRANSFER_TRIES = 4, 7
#: How long a transfer keeps asking a server that only tells it to slow down. If many machines start at once,
#: S3 refuses each of them often until it has divided the bucket's prefix.
SLOWED_SECONDS = 60.0
_MAX_DOUBLINGS = 4
_MAX_PATIENCE_SECONDS = 30.0


def retrying(
    what: str,
    work: Callable[[], _T],
    is_stopped: Callable[[], bool] = lambda: False,
    slow_down: Callable[[], None] = lambda: None,
    tries: int = TRIES,
    slowed_seconds: float = 0.0,
    is_silent: Callable[[], bool] = lambda: False,
) -> _T:
    """Return the result of *work*; do it again where nothing can be reached, or what comes makes no sense.

    The pauses grow, are jittered, and are no shorter than the server asks for in ``Retry-After``.

    Args:
        what: names it in the log.
        is_stopped: tells that there is no use in another try.
        slow_down: is called when the server says that it is asked for too much.
        tries: how often, at most. What makes no sense is asked for three times at most.
        slowed_seconds: how long an answer to slow down does not count as a failure.
        is_silent: tells that nothing has come yet, so that a server that does not respond is asked only once
            more: each time takes as long as may be waited.

    Raises:
        UnreachableError, GarbledError: it failed each time.
    """
    failures, attempt, patient_until = 0, 0, time.monotonic() + slowed_seconds
    while True:
        attempt += 1
        try:
            return work()
        except (UnreachableError, GarbledError) as exc:
            if isinstance(exc, NoAnswerError) and is_silent():
                failures += (tries + 1) // 2
            elif isinstance(exc, GarbledError):  # As it lies there, most likely.
                failures += (tries + 2) // 3
            else:
                failures += not (isinstance(exc, SlowDownError) and time.monotonic() < patient_until)
            if failures >= tries or isinstance(exc, RefusedError) or is_stopped():
                raise
            pause = random.uniform(0.1, 0.3) * 2 ** min(attempt, _MAX_DOUBLINGS)
            if isinstance(exc, SlowDownError):
                slow_down()
                pause += min(exc.retry_after_seconds or 0.0, _MAX_PATIENCE_SECONDS)
            if not has_left(pause):  # This error says more than a timeout would.
                raise
            _tell(what, exc)
            _pause(pause, is_stopped)


def reread(question: Callable[[], _T]) -> _T:
    """Return the answer to *question*, which is asked twice if the first answer makes no sense.

    It may have been replaced while it was read, or damaged on its way.
    """
    try:
        return question()
    except UnsafeArchiveError:
        raise
    except IntegrityError as exc:
        _log.debug("the response is corrupt and is read again: %s", exc)
        return question()


def _pause(seconds: float, is_stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not is_stopped():
        time.sleep(min(left, 0.2))


_telling = threading.Lock()
#: Of which files the load under way has told that they are tried again.
_told: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("hf_localize_told", default=None)


@contextlib.contextmanager
def one_load() -> Iterator[None]:
    """Tell of what is tried again meanwhile once as a warning, and once for each file at DEBUG."""
    token = _told.set(_told.get() if _told.get() is not None else set())
    try:
        yield
    finally:
        _told.reset(token)


def _tell(what: str, exc: Exception) -> None:
    told = _told.get()
    level = logging.DEBUG
    if told is not None:
        with _telling:
            if what in told:
                return
            level = logging.DEBUG if told else logging.WARNING
            told.add(what)
    _log.log(level, "%s failed and is retried: %s", what, exc)
