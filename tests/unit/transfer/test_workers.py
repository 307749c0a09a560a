"""The worker pool: results in order, the first error, and no thread that would not be needed."""

from __future__ import annotations

import threading

import pytest

from hf_localize.transfer.workers import WorkerPool, run_all


def test_results_are_in_the_order_of_the_items() -> None:
    last_has_run = threading.Event()

    def square(number: int) -> int:
        if number == 0:
            assert last_has_run.wait(60)
        if number == 9:
            last_has_run.set()
        return number**2

    assert run_all(square, range(10), workers=2) == [number**2 for number in range(10)]
    assert run_all(square, [], workers=2) == []


def test_the_first_error_is_raised_and_the_rest_is_not_started() -> None:
    started = []

    def fail(number: int) -> None:
        started.append(number)
        raise ValueError(str(number))

    with pytest.raises(ValueError, match=r"^0$"):
        run_all(fail, range(100), workers=1)
    assert started == [0]


def test_no_more_threads_run_than_there_may_be() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    run_all(work, range(200), workers=3)
    assert 1 <= most <= 3


def test_pieces_that_take_long_are_not_waited_for_before_more_threads_start() -> None:
    all_at_work = threading.Barrier(20)

    def work() -> int:
        all_at_work.wait(60)
        return 1

    pieces = iter([work] * 20)
    WorkerPool(lambda: next(pieces, None), 32).run()


@pytest.mark.parametrize(
    ("piece_bytes", "most", "threads"),
    [
        (64 << 10, 64, 64),
        (64 << 10, 16, 16),
        (256 << 10, 64, 16),
        (8 << 20, 64, 8),
        (8 << 20, 4, 4),
        (0, 64, 64),
    ],
)
def test_more_small_pieces_are_moved_at_once_from_the_start(
    piece_bytes: int, most: int, threads: int
) -> None:
    assert WorkerPool(lambda: None, most, piece_bytes=piece_bytes).limit == threads
