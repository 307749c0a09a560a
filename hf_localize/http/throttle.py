"""A cap on what all connections of the process move together."""

from __future__ import annotations

import functools
import threading
import time

#: What is moved at a time under a cap.
THROTTLED_BYTES = 64 << 10


class Throttle:
    """Keep all that passes below a rate, by making those wait who take more."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Return when *size_bytes* more may have passed."""
        with self._lock:
            self._free_at = free_at = max(self._free_at, time.monotonic()) + size_bytes / self._rate
        time.sleep(max(0.0, free_at - time.monotonic()))


@functools.cache
def throttle_of(bytes_per_second: float) -> Throttle:
    """Return the process's throttle for a rate: everything that has it shares it."""
    return Throttle(bytes_per_second)
