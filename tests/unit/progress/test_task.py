"""Tasks: what counts once, and what is not counted at all."""

from __future__ import annotations

from hf_localize import progress


class Silent(progress.Watcher):
    """Draws nothing."""

    def draw(self, tasks: list[progress.Task]) -> None:
        pass

    def drop(self, task: progress.Task) -> None:
        pass


def test_a_file_that_begins_again_counts_once() -> None:
    files = [progress.Item("a", 10), progress.Item("b", 4)]
    with progress.watched_by(Silent()), progress.task("Fetching", "x", files) as task:
        assert task is not None
        for done in (7, 0, 10):
            progress.counter("a")(done)
        assert (task.done, task.files_done, task.total) == (10, 1, 14)
        parts = [progress.part_counter("b") for _ in range(2)]
        for note, done in ((parts[0], 2), (parts[1], 1), (parts[1], 0)):
            note(done)
        assert (task.done, task.files_done, task.under_way) == (12, 1, {"b": 2})
        parts[1](2)
        assert (task.done, task.files_done, task.under_way) == (14, 2, {})
        progress.counter("of another task")(5)
        assert task.done == 14


def test_nothing_is_counted_where_nothing_is_shown() -> None:
    assert not progress.is_watched()
    with progress.task("Fetching", "x", [progress.Item("a", 10)]) as task:
        progress.counter("a")(10)
    assert task is None
