"""What is only for our records beside a caller's call: it must not end a call that stock would answer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from hf_localize.errors import without_queries

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def bookkeeping(failed: str) -> Iterator[None]:
    """Log what goes wrong meanwhile, after the words *failed*, and go on.

    It may go wrong in any way: builders are classes of other people, and of releases to come.
    """
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # See above.
        _log.warning("%s: %s: %s", failed, type(exc).__name__, without_queries(str(exc)))
        _log.debug("where that happened:", exc_info=True)
