"""An answer within a time, whatever is asked."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from hf_localize.errors import UnreachableError

_T = TypeVar("_T")


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

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="hf_localize-ask", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failure:
        raise failure[0]
    if not result:
        raise UnreachableError("no answer within the time budget (HGLOC_TIMEOUT_SECONDS)")
    return result[0]
