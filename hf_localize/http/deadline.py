"""An answer within a time, whatever is asked."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from hf_localize.errors import UnreachableError

_T = TypeVar("_T")
#: When the answer under way has to be there, by the monotonic clock.
_until: contextvars.ContextVar[float] = contextvars.ContextVar("hf_localize_until", default=float("inf"))
#: How much longer the outermost limit waits, so that the innermost says who did not answer.
_GRACE_SECONDS = 0.25


class NoAnswerError(UnreachableError):
    """A question was not answered in time. It is not asked again at once."""


def within(seconds: float, question: Callable[[], _T]) -> _T:
    """Return the answer to *question*, if it comes within *seconds*, or what a limit around this one leaves.

    The time-outs of HTTP clients don't bound that: they begin anew for each address of a host,
    and leave out the resolution of its name.

    Raises:
        NoAnswerError: it took longer. The question goes on in a daemon thread then, until its
            own time-outs end it: a thread can't be ended from outside, and a process must be able
            to exit while one hangs.
    """
    result: list[_T] = []
    failure: list[BaseException] = []
    outer = _until.get()
    until = min(time.monotonic() + seconds, outer)

    def run() -> None:
        _until.set(until)
        try:
            result.append(question())
        except BaseException as exc:  # noqa: BLE001  # It is raised again in the asking thread.
            failure.append(exc)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="hf_localize-ask", daemon=True)
    grace = _GRACE_SECONDS if outer == float("inf") else 0.0
    if (left := until - time.monotonic()) > 0:
        try:
            thread.start()
            thread.join(left + grace)
        except RuntimeError:  # The system allows no more threads (`ulimit -u`): then nothing bounds the time.
            context.run(run)
    if failure:
        raise failure[0]
    if not result:
        raise NoAnswerError("no answer within the time budget (HGLOC_TIMEOUT_SECONDS)")
    return result[0]


def has_left(seconds: float) -> bool:
    """Tell whether the current request may take *seconds* more."""
    return time.monotonic() + seconds < _until.get()


class Patience:
    """How long a server is waited for.

    Once it has not answered in time, questions to it fail at once for as long again, and at least for
    *seconds*: a command that has several questions waits once, not once for each.
    """

    def __init__(self, server: str, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._silent_until = 0.0

    def ask(self, question: Callable[[], _T]) -> _T:
        """Return the server's answer to *question*.

        Raises:
            NoAnswerError: it took too long, or the server did not answer the question before.
        """
        begun = time.monotonic()
        if begun < self._silent_until:
            raise NoAnswerError(
                f"{self._server} did not answer the previous request within the time budget"
                " (HGLOC_TIMEOUT_SECONDS)"
            )
        try:
            return within(self._seconds, question)
        except NoAnswerError:
            waited = time.monotonic() - begun
            self._silent_until = time.monotonic() + max(waited, self._seconds)
            raise NoAnswerError(
                f"{self._server}: no answer within the time budget, {waited:.1f} s (HGLOC_TIMEOUT_SECONDS)"
            ) from None
