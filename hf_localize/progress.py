"""What moves now: counted where it moves, read by whoever shows it. Where nobody looks, nothing is counted.

A task is one job over some files: to fetch, send, pack or read them. What moves a file tells how far
it has come, not how much was added: so what is tried again counts once.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

_log = logging.getLogger(__name__)
#: How often what is shown is brought up to date.
_PERIOD_SECONDS = 0.1
#: What takes no longer than this is not worth showing.
_PATIENCE_SECONDS = 0.3
#: Notes how far something has come.
Note = Callable[[int], None]


class Measured(Protocol):
    """A file of known size, as a manifest records it."""

    @property
    def path(self) -> str:
        """Return its name among the files of the task."""

    @property
    def size_bytes(self) -> int:
        """Return its size."""


class Item(NamedTuple):
    """Something that counts as much as *size_bytes* says."""

    path: str
    size_bytes: int


class Task:
    """One job, such as the fetch of an entry, and how far it has come. Threads may share it."""

    def __init__(self, verb: str, what: str, files: Iterable[Measured] | None, *, is_in_bytes: bool) -> None:
        self.verb = verb
        self.what = what
        self.is_in_bytes = is_in_bytes
        self.began = time.monotonic()
        #: None: what it counts is not known yet, nor how much that is.
        self.sizes = None if files is None else {file.path: file.size_bytes for file in files}
        self.total = None if self.sizes is None else sum(self.sizes.values())
        self.done = self.files_done = 0
        #: How far the files have come that are under way.
        self.under_way: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._lock = threading.Lock()

    def counts(self, name: str) -> bool:
        """Tell whether *name* is one of its files."""
        return self.sizes is None or name in self.sizes

    def at(self, name: str, done: int) -> None:
        """Note how far the file *name* has come."""
        with self._lock:
            self._set(name, done)

    def part(self, name: str) -> Note:
        """Return what notes how far one of the parts of the file *name* has come."""
        before = 0

        def at(done: int) -> None:
            nonlocal before
            with self._lock:
                self._set(name, self._at.get(name, 0) + done - before)
                before = done

        return at

    def _set(self, name: str, done: int) -> None:
        before, size = self._at.get(name), self.sizes and self.sizes.get(name)
        self._at[name] = done
        self.done += done - (before or 0)
        self.files_done += (done == size) - (before == size)
        if done == size:
            self.under_way.pop(name, None)
        else:
            self.under_way[name] = done


class Watcher:
    """Whoever shows tasks: is asked to draw them some times a second, by a thread, while there are any.

    What drawing raises ends the drawing, and nothing else.
    """

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._is_broken = False

    @property
    def is_at_work(self) -> bool:
        """Tell whether this is its own process, not one that was forked from it."""
        return self._pid == os.getpid()

    def draw(self, tasks: list[Task]) -> None:
        """Show *tasks*, in the order in which they began."""
        raise NotImplementedError

    def drop(self, task: Task) -> None:
        """Show no more of *task*, which has ended; it may never have been shown."""
        raise NotImplementedError

    def begin(self, task: Task) -> None:
        """Show *task* from now on, if it takes some time."""
        with _drawing:
            self._tasks.append(task)
            if self._thread is None:
                run = contextvars.copy_context().run
                self._thread = threading.Thread(
                    target=run, args=(self._run,), name="hf_localize-show", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:  # The system allows no more threads: then nothing is shown.
                    self._thread = None

    def end(self, task: Task) -> None:
        """Show *task* no longer."""
        with _drawing:
            self._tasks.remove(task)
            self._try(self.drop, task)

    def _run(self) -> None:
        while True:
            time.sleep(_PERIOD_SECONDS)
            with _drawing:
                if not self._tasks:
                    self._thread = None
                    return
                since = time.monotonic() - _PATIENCE_SECONDS
                if shown := [task for task in self._tasks if task.began < since]:
                    self._try(self.draw, shown)

    def _try(self, show: Callable[[Any], None], what: Any) -> None:
        if self._is_broken:
            return
        try:
            show(what)
        except Exception:  # noqa: BLE001  # The terminal is gone, say; what moves goes on.
            self._is_broken = True
            _log.debug("progress can't be shown", exc_info=True)


#: Held while anybody draws, and by whoever forks: so no child begins in the middle of a line, with locks
#: that nobody will release.
_drawing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_drawing.acquire, after_in_parent=_drawing.release, after_in_child=_drawing.release
    )

_watcher: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("hf_localize_watcher", default=None)
_task: contextvars.ContextVar[Task | None] = contextvars.ContextVar("hf_localize_task", default=None)
_sent: contextvars.ContextVar[Note | None] = contextvars.ContextVar("hf_localize_sent", default=None)


def is_watched() -> bool:
    """Tell whether somebody shows what moves in this context."""
    watcher = _watcher.get()
    return watcher is not None and watcher.is_at_work


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Have *watcher* show what moves meanwhile."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextlib.contextmanager
def task(
    verb: str, what: object, files: Iterable[Measured] | None, *, is_in_bytes: bool = True
) -> Iterator[Task | None]:
    """Have what is counted meanwhile be a task, for whoever looks. None: nobody does.

    Args:
        verb: such as ``Fetching``.
        what: is named after it.
        files: what will move; None: that is not known. Of what is not among them nothing is counted.
        is_in_bytes: their sizes are bytes.
    """
    watcher = _watcher.get()
    task = None
    if watcher is not None and watcher.is_at_work:
        task = Task(verb, str(what), files, is_in_bytes=is_in_bytes)
    if watcher is None or task is None or task.sizes == {}:
        yield None
        return
    watcher.begin(task)
    token = _task.set(task)
    try:
        yield task
    finally:
        _task.reset(token)
        watcher.end(task)


def counter(name: str) -> Note:
    """Return what notes how far the file *name*, of the task under way, has come."""
    task = _task.get()
    return functools.partial(task.at, name) if task is not None and task.counts(name) else _ignore


def part_counter(name: str) -> Note:
    """Return what notes how far a part of the file *name*, of the task under way, has come."""
    return part_of(_task.get(), name)


def part_of(task: Task | None, name: str) -> Note:
    """Return what notes how far a part of the file *name* of *task* has come."""
    return task.part(name) if task is not None and task.counts(name) else _ignore


@contextlib.contextmanager
def sending(note: Note) -> Iterator[None]:
    """Have what this thread sends meanwhile noted, request by request: each begins at 0."""
    if note is _ignore:
        yield
        return
    token = _sent.set(note)
    try:
        yield
    finally:
        _sent.reset(token)


def sent() -> Note | None:
    """Return what is to be told how much of a request has been sent; None: nobody wants to know."""
    return _sent.get()


def _ignore(_: object) -> None:
    """Take no note."""
