"""Threads that do one piece of work after another, as many at a time as the link is worth."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hf_localize.http.retry import SLOWED_SECONDS, TRANSFER_TRIES, retrying
from hf_localize.transfer.concurrency import STEP_SECONDS, Concurrency
from hf_localize.transfer.parts import PART_BYTES

_log = logging.getLogger(__name__)
_S = TypeVar("_S")
_T = TypeVar("_T")
#: How many threads begin, and what their pieces have together if that takes more: the bytes that are under
#: way on a link of 1 Gbit/s and 20 ms, and some.
_LEAST_AT_START = 8
_BYTES_AT_START = 4 << 20
#: What a piece counts for besides its bytes: a request costs as much as moving this.
_PIECE_BYTES = 64 << 10


class WorkerPool:
    """Run pieces of work in threads until there are none.

    The number of threads follows what they move: it grows while more of them move more, shrinks
    when fewer move as much, and halves when the server says that it is asked for too much.
    """

    def __init__(
        self,
        next_piece: Callable[[], Callable[[], int] | None],
        most: int,
        *,
        piece_bytes: int = PART_BYTES,
        is_adaptive: bool = True,
    ) -> None:
        """Describe the work.

        Args:
            next_piece: returns the next piece, or None when there is nothing left for a thread; it
                may wait. A piece returns how many bytes it has moved.
            most: threads.
            piece_bytes: the size of a usual piece: of small ones, more are moved at once from the start.
        """
        self._next_piece = next_piece
        self._most = max(1, most)
        self._is_adaptive = is_adaptive
        start = max(_LEAST_AT_START, _BYTES_AT_START // max(1, piece_bytes))
        self._concurrency = Concurrency(min(start, self._most) if is_adaptive else self._most, self._most)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._is_out_of_work = False
        self._has_moved = False
        self._failures: list[BaseException] = []
        self._is_cancelled = False

    @property
    def limit(self) -> int:
        """Return how many threads there are to be at present."""
        return self._concurrency.limit

    def is_stopped(self) -> bool:
        """Tell whether a piece failed, or the caller was interrupted."""
        return bool(self._failures) or self._is_cancelled

    def retrying(self, what: str, work: Callable[[], None]) -> None:
        """Do *work* as :func:`retrying` does, with fewer threads where the server asks for that."""
        how = (self.is_stopped, self._slow_down, TRANSFER_TRIES, SLOWED_SECONDS)
        retrying(what, work, *how, is_silent=lambda: not self._has_moved)

    def _slow_down(self) -> None:
        with self._lock:
            self._concurrency.slow_down()

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
                while thread.is_alive():
                    thread.join(STEP_SECONDS)
                    with self._lock:
                        if self._is_adaptive and self._concurrency.wait():
                            self._grow()
        except BaseException:
            self._is_cancelled = True
            raise
        if self._failures:
            raise self._failures[0]

    def _grow(self) -> None:
        while self._running < self._concurrency.limit and not self._is_out_of_work:
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
                self._has_moved = True
                with self._lock:
                    if self._is_adaptive and self._concurrency.count(moved + _PIECE_BYTES):
                        self._grow()
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
            self._failures.append(exc)
        finally:
            with self._lock:
                self._running -= 1

    def _is_too_many(self) -> bool:
        with self._lock:
            return self._running > self._concurrency.limit and self._running > 1


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

    WorkerPool(next_piece, min(workers, len(todo)), is_adaptive=False).run()
    return results


def filter_all(is_wanted: Callable[[_S], bool], items: Iterable[_S], *, workers: int) -> list[_S]:
    """Return those of *items* of which *is_wanted* says so, as :func:`run_all` runs it."""
    asked = list(items)
    answers = run_all(is_wanted, asked, workers=workers)
    return [item for item, is_so in zip(asked, answers, strict=True) if is_so]
