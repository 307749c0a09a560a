"""Threads that do one piece of work after another, as many at a time as the link is worth."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from hf_localize.errors import (
    GarbledError,
    IntegrityError,
    RefusedError,
    SlowDownError,
    UnreachableError,
    UnsafeArchiveError,
)
from hf_localize.pace import Pace

_log = logging.getLogger(__name__)
_S = TypeVar("_S")
_T = TypeVar("_T")
_START = 8
#: Of a question, which others may answer; and of a piece of data that is known to be there.
_TRIES, _MOVE_TRIES = 4, 7
_MOST_DOUBLINGS = 4
_MOST_PATIENCE_SECONDS = 30.0
#: What a piece counts for besides its bytes: a request costs as much as moving this.
_PIECE_BYTES = 64 << 10


class Crew:
    """Run pieces of work in threads until there are none.

    The number of threads follows what they move: it grows while more of them move more, shrinks
    when fewer move as much, and halves when the server says that it is asked for too much.
    """

    def __init__(
        self, next_piece: Callable[[], Callable[[], int] | None], most: int, *, is_adaptive: bool = True
    ) -> None:
        """Describe the work.

        Args:
            next_piece: returns the next piece, or None when there is nothing left for a thread; it
                may wait. A piece returns how many bytes it has moved.
            most: threads.
        """
        self._next_piece = next_piece
        self._most = max(1, most)
        self._is_adaptive = is_adaptive
        self._pace = Pace(min(_START, self._most) if is_adaptive else self._most, self._most)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._is_out_of_work = False
        self._failures: list[BaseException] = []
        self._is_cancelled = False

    def is_stopped(self) -> bool:
        """Tell whether a piece failed, or the caller was interrupted."""
        return bool(self._failures) or self._is_cancelled

    def trying(self, what: str, work: Callable[[], None]) -> None:
        """Do *work* as :func:`trying` does, with fewer threads where the server asks for that."""
        trying(what, work, self.is_stopped, self._slow_down, _MOVE_TRIES)

    def _slow_down(self) -> None:
        with self._lock:
            self._pace.slow_down()

    def run(self) -> None:
        """Do all pieces.

        The first error is raised once the work under way has ended; the rest is not started. An
        interruption (Ctrl-C) is raised at once: the threads are daemons, since one that waits for
        a network can't be ended, and must not keep the program from ending.
        """
        try:
            with self._lock:
                self._grow()
                is_alone = not self._threads
                self._running += is_alone
            if is_alone:  # No thread could be started.
                self._work()
            for thread in self._threads:  # It may become longer meanwhile.
                thread.join()
        except BaseException:
            self._is_cancelled = True
            raise
        if self._failures:
            raise self._failures[0]

    def _grow(self) -> None:
        while self._running < self._pace.limit and not self._is_out_of_work:
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=(self._work,), name="hf_localize-move", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The system allows no more (`ulimit -u`): those there are go on.
                return
            self._threads.append(thread)
            self._running += 1

    def _work(self) -> None:
        try:
            while not self.is_stopped() and not self._is_too_many():
                piece = self._next_piece()
                if piece is None:
                    self._is_out_of_work = True
                    return
                moved = piece()
                with self._lock:
                    if self._is_adaptive and self._pace.count(moved + _PIECE_BYTES):
                        self._grow()
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
            self._failures.append(exc)
        finally:
            with self._lock:
                self._running -= 1

    def _is_too_many(self) -> bool:
        with self._lock:
            return self._running > self._pace.limit and self._running > 1


def run_all(work: Callable[[_S], _T], items: Iterable[_S], *, workers: int) -> list[_T]:
    """Return ``work(item)`` for each item in order, run in up to *workers* threads.

    The first error is raised once the work under way has ended; the rest is not started.
    """
    todo = list(enumerate(items))[::-1]
    results: list[Any] = [None] * len(todo)

    def next_piece() -> Callable[[], int] | None:
        try:
            index, item = todo.pop()
        except IndexError:
            return None

        def run() -> int:
            results[index] = work(item)
            return 0

        return run

    Crew(next_piece, min(workers, len(todo)), is_adaptive=False).run()
    return results


def trying(
    what: str,
    work: Callable[[], None],
    is_stopped: Callable[[], bool] = lambda: False,
    slow_down: Callable[[], None] = lambda: None,
    tries: int = _TRIES,
) -> None:
    """Do *work*, a few times where the other side can't be reached, or what comes makes no sense.

    The pauses grow, are jittered, and are no shorter than the server asks for in ``Retry-After``.

    Args:
        what: names it in the log.
        is_stopped: tells that there is no use in another try.
        slow_down: is called when the server says that it is asked for too much.
        tries: how often, at most.

    Raises:
        UnreachableError, GarbledError: it failed each time.
    """
    for attempt in range(1, tries + 1):
        try:
            work()
        except (UnreachableError, GarbledError) as exc:
            if attempt == tries or isinstance(exc, RefusedError) or is_stopped():
                raise
            pause = random.uniform(0.1, 0.3) * 2 ** min(attempt, _MOST_DOUBLINGS)
            if isinstance(exc, SlowDownError):
                slow_down()
                pause += min(exc.retry_after_seconds or 0.0, _MOST_PATIENCE_SECONDS)
            _tell(what, exc)
            _pause(pause, is_stopped)
        else:
            return


def once_more(question: Callable[[], _T]) -> _T:
    """Return the answer to *question*, which is asked twice if the first answer makes no sense.

    It may have been replaced while it was read, or damaged on its way.
    """
    try:
        return question()
    except UnsafeArchiveError:
        raise
    except IntegrityError as exc:
        _log.debug("what came makes no sense, and is read again: %s", exc)
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
    _log.log(level, "%s failed and is tried again: %s", what, exc)
