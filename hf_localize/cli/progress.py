"""Live bars on a terminal: bytes, rate and time left, in total and of the large files under way."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hf_localize.progress import Task, Watcher, watched_by
from hf_localize.settings import are_bars_disabled, without_bars_of_datasets
from hf_localize.text import size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Of how many files of a task there are bars, and how large they are at least.
_MAX_FILES, _LARGE_BYTES = 4, 16 << 20
#: Erases the line that the cursor is in.
_ERASE = "\r\x1b[K"
_shown: _TerminalBars | None = None


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show what a command moves meanwhile, if somebody looks: on a terminal, and not with ``-q``.

    Else `datasets` and huggingface_hub show nothing either. Where they have bars of their own, of
    what comes from the Hub, there are none of ours.
    """
    global _shown
    is_quiet = logging.getLogger("hf_localize").getEffectiveLevel() > logging.INFO
    if is_quiet or not sys.stderr.isatty() or are_bars_disabled():
        without_bars_of_datasets()
        yield
        return
    _shown = _TerminalBars()
    try:
        with watched_by(_shown):
            yield
    finally:
        _shown = None


def print_above(text: str) -> bool:
    """Print *text* above the bars. False: there are none, so the place for it is stderr itself."""
    bars = _shown
    rows = bars.rows if bars is not None else None
    if bars is None or rows is None:
        return False
    if not bars.is_at_work:  # In a forked process: the parent draws its line anew.
        sys.stderr.write(_ERASE)
        return False
    rows.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
    return True


class _TerminalBars(Watcher):
    """A row for each task, and below it one for each of its large files that are under way."""

    def __init__(self) -> None:
        super().__init__()
        #: What is on the terminal now; None: nothing.
        self.rows: Progress | None = None
        self._totals: dict[Task, TaskID] = {}
        self._files: dict[tuple[Task, str], TaskID] = {}

    def draw(self, tasks: list[Task]) -> None:
        """Bring the rows up to date."""
        if self.rows is None:
            self.rows = _rows()
            self.rows.start()
            self.rows.console.show_cursor(True)  # rich hides it, for good where the process is killed.
        for task in tasks:
            if task not in self._totals:
                title, unit = f"{task.verb} {task.what}", task.is_in_bytes
                self._totals[task] = self.rows.add_task(title, total=task.total, is_in_bytes=unit)
            self.rows.update(self._totals[task], total=task.total, completed=task.done)
            self._draw_files(self.rows, task)
        self.rows.refresh()

    def drop(self, task: Task) -> None:
        """Remove the rows of *task*; with the last row all is as if there had been none."""
        if self.rows is None or task not in self._totals:
            return
        for key in [key for key in self._files if key[0] is task]:
            self.rows.remove_task(self._files.pop(key))
        self.rows.remove_task(self._totals.pop(task))
        if not self._totals:
            self.rows.stop()
            self.rows = None

    def _draw_files(self, rows: Progress, task: Task) -> None:
        sizes = task.sizes or {}
        under_way = dict(task.under_way)
        shown = {name: row for (of, name), row in self._files.items() if of is task}
        for name in shown.keys() - under_way.keys():
            rows.remove_task(self._files.pop((task, name)))
            del shown[name]
        for name, done in under_way.items() if len(sizes) > 1 else ():
            if name not in shown and len(shown) < _MAX_FILES and sizes[name] >= _LARGE_BYTES:
                shown[name] = self._files[task, name] = rows.add_task(
                    f"  {name}", total=sizes[name], is_in_bytes=True
                )
            if name in shown:
                rows.update(shown[name], total=sizes[name], completed=done)


def _rows() -> Progress:
    from rich import progress
    from rich.console import Console
    from rich.table import Column
    from rich.text import Text

    class Amount(progress.ProgressColumn):
        """How much of how much: bytes, or a count."""

        def __init__(self) -> None:
            super().__init__(Column(no_wrap=True, justify="right"))

        def render(self, task: progress.Task) -> Text:
            if task.total is None:  # What it waits for has not told yet how much it is.
                return Text("")
            shown = size if task.fields["is_in_bytes"] else "{:.0f}".format
            return Text(f"{shown(task.completed)}/{shown(task.total)}", style="progress.download")

    class Rate(progress.TransferSpeedColumn):
        """Bytes in a second; of other things there are too few."""

        def render(self, task: progress.Task) -> Text:
            return super().render(task) if task.fields["is_in_bytes"] else Text("")

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        progress.BarColumn(bar_width=20),
        progress.TaskProgressColumn(),
        Amount(),
        Rate(table_column=Column(no_wrap=True)),
        progress.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        expand=True,
    )
