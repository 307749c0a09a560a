"""How many threads are worth having, by what they move together."""

from __future__ import annotations

import time

STEP_SECONDS = 0.25
#: Rates that differ by less are the same.
_TOLERANCE = 0.05
_MAX_PATIENCE = 16
_SLOWED_SECONDS = 1.0
#: How long the first pieces may take before more threads are tried.
_FIRST_SECONDS = 1.0


class Concurrency:
    """Find a number of threads by trying more, then fewer, and keeping what pays.

    The number grows by half while that moves more, then changes by quarters. A change that does not pay is
    taken back, and each further trial comes later, since a trial costs something.
    """

    def __init__(self, start: int, most: int) -> None:
        """Begin with *start* threads, of *most*."""
        self.limit = start
        self._most = most
        #: The limit before the change that is being tried; and whether that was to more, or to fewer.
        self._before = start
        self._direction = 1
        self._is_growing = True
        self._last_rate = 0.0
        #: So many steps nothing is tried; and how many it will be next time.
        self._rest, self._patience = 0, 1
        self._moved = 0
        self._since = time.monotonic()
        self._grows_at = self._since + _FIRST_SECONDS

    def count(self, moved: int) -> bool:
        """Note what was moved; True: the limit is another now."""
        self._moved += moved
        now = time.monotonic()
        if now - self._since < STEP_SECONDS:
            return False
        rate, limit = self._moved / (now - self._since), self.limit
        self._moved, self._since = 0, now
        self.judge(rate)
        return self.limit != limit

    def wait(self) -> bool:
        """Double the limit if no request has ended for long, so that no rate is known; tell if it changed."""
        now, limit = time.monotonic(), self.limit
        if self._last_rate or self._moved or now < self._grows_at:
            return False
        self._grows_at = now + STEP_SECONDS
        self.limit = min(self._most, 2 * limit)
        return self.limit != limit

    def judge(self, rate: float) -> None:
        """Set the limit after a step with the present one in which *rate* was moved."""
        if self._rest:
            self._rest -= 1
            self._last_rate = (self._last_rate + rate) / 2
            return
        if self._last_rate and self.limit != self._before:
            change = rate / self._last_rate - 1
            if change < (_TOLERANCE if self._direction > 0 else -_TOLERANCE):
                self._take_back()
                return
            self._patience = 1
        self._last_rate, self._before = rate, self.limit
        self._change()
        if self.limit == self._before:  # There is no more, or no less.
            self._is_growing, self._direction = False, -self._direction
            self._change()

    def slow_down(self) -> None:
        """Halve the limit: the server says that it is asked for too much."""
        self.limit = self._before = max(1, self.limit // 2)
        self._direction, self._is_growing, self._last_rate = 1, False, 0.0
        self._rest, self._patience = 0, 1
        self._since, self._moved = time.monotonic() + _SLOWED_SECONDS, 0

    def _take_back(self) -> None:
        self.limit, self._direction, self._is_growing = self._before, -self._direction, False
        self._rest, self._patience = self._patience, min(_MAX_PATIENCE, 2 * self._patience)

    def _change(self) -> None:
        step = max(1, self.limit // (2 if self._is_growing else 4))
        self.limit = min(self._most, max(2, self.limit + self._direction * step))
