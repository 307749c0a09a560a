"""Ctrl-C and SIGTERM end the command at once, with one message and an exit status of their own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

#: How long clearing up may take: executors of other libraries wait for requests under way, even for minutes.
_GRACE_SECONDS = 2.0


@contextlib.contextmanager
def ended_by_signals(say: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM end what is done here, and then the process with the status 128 + number.

    *say* is called before the end. The process does not wait for threads, since one that waits for a network
    can't be ended, and waits at most ``_GRACE_SECONDS`` for what clears up. A second signal does not wait for
    anything. A signal that is ignored, or that other code handles, is left alone.
    """
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    got: list[int] = []
    ending = threading.Lock()

    def end() -> None:
        ending.acquire()  # Never released: a second thread waits here until the process ends.
        say()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + got[0])

    def stop(number: int, _frame: object) -> None:
        if got:
            os._exit(128 + number)
        got.append(number)
        late = threading.Timer(_GRACE_SECONDS, end)
        late.daemon = True
        late.start()
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n, handler in usual.items() if is_main and signal.getsignal(n) == handler]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    except BaseException:
        if not got:
            raise
    finally:
        if got:
            end()
        for number in taken:
            signal.signal(number, usual[number])
