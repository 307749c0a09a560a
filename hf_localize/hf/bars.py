"""What moves in a load, as the bars of `datasets`: by its own class, with its own switches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from datasets.utils import are_progress_bars_disabled, tqdm

from hf_localize.progress import Task, Watcher, is_watched, watched_by


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show what moves meanwhile, unless bars are switched off, or somebody shows it already."""
    if is_watched() or are_progress_bars_disabled():
        yield
        return
    with watched_by(_Bars()):
        yield


class _Bars(Watcher):
    """A bar for each task."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[Task, Any] = {}  # datasets has no types.

    def draw(self, tasks: list[Task]) -> None:
        """Bring the bar of each task up to date."""
        for task in tasks:
            if task not in self._bars:
                name = f"{task.verb} {task.what}"
                bar = tqdm(desc=name, total=task.total, unit="B", unit_scale=True, mininterval=0)
                bar.start_t = bar.last_print_t = time.time() - (time.monotonic() - task.began)
                self._bars[task] = bar
            self._update(task)

    def drop(self, task: Task) -> None:
        """End the bar of *task*, and leave it where it stands."""
        if task in self._bars:
            self._update(task)
            self._bars.pop(task).close()

    def _update(self, task: Task) -> None:
        bar = self._bars[task]
        bar.total = task.total
        if task.sizes is not None and len(task.sizes) > 1:
            bar.set_postfix_str(f"{task.files_done}/{len(task.sizes)} files", refresh=False)
        bar.update(task.done - bar.n)
