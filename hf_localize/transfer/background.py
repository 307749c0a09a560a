"""Work beside the caller's own, in threads that are kept for a while: to start one takes a millisecond."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

_IDLE_SECONDS = 2.0


class Background:
    """Run each piece of work at once, in a thread that waits for one, or else in another.

    The threads are daemons, and end when nothing came for a while. A forked process begins anew.
    """

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):  # Windows has no fork.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._given: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        #: Threads that wait, and to which no work was given yet.
        self._waiting = 0

    def run(self, work: Callable[[], None]) -> None:
        """Have *work*, which must not raise, done by another thread, or here where none can be started."""
        with self._lock:
            is_waited_for = self._waiting > 0
            self._waiting -= is_waited_for
        if is_waited_for:
            self._given.put(work)
        else:
            thread = threading.Thread(target=self._work, args=(work,), name="hf_localize-ahead", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The system allows no more threads (`ulimit -u`).
                work()

    def _work(self, work: Callable[[], None] | None) -> None:
        while work is not None:
            work()
            del work  # It may hold what it has fetched.
            with self._lock:
                self._waiting += 1
            work = self._next()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next piece; None: there was none for a while."""
        try:
            return self._given.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            with self._lock:
                if self._waiting:
                    self._waiting -= 1
                    return None
        return self._given.get()  # It was given meanwhile to one that waits.


#: That of the process.
background = Background()
