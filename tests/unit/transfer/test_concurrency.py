"""How many threads move data: as many as move the most."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from hf_localize.transfer.concurrency import STEP_SECONDS, Concurrency

#: What so many threads move together: where each waits for a distant server; where the link is full with
#: twenty, or with five; and where more than eight get in each other's way.
LINKS: dict[str, Callable[[int], float]] = {
    "far": lambda threads: threads,
    "full with 20": lambda threads: min(threads, 20),
    "full with 5": lambda threads: min(threads, 5),
    "crowded beyond 8": lambda threads: threads if threads <= 8 else 8 - (threads - 8) * 0.2,
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_the_number_of_threads_comes_near_what_moves_most(link: Callable[[int], float]) -> None:
    noise, pace, rates = random.Random(1), Concurrency(8, 64), []
    for _ in range(80):  # Twenty seconds.
        rates.append(link(pace.limit))
        pace.judge(rates[-1] * noise.gauss(1, 0.03))
    assert sum(rates[20:]) / len(rates[20:]) >= 0.9 * max(map(link, range(1, 65)))


def test_a_server_that_asks_for_it_is_left_half_the_threads() -> None:
    pace = Concurrency(8, 64)
    pace.slow_down()
    assert pace.limit == 4


def test_where_nothing_comes_to_an_end_more_threads_are_tried() -> None:
    """So a few large pieces on a link whose single connections are slow don't wait for the first to end."""
    pace, begun = Concurrency(2, 7), time.monotonic()
    limits = []
    while pace.limit < 7:
        if pace.wait():
            limits.append(pace.limit)
        time.sleep(0.01)
    assert limits == [4, 7]
    assert time.monotonic() - begun >= 1  # Where requests take less, the rates tell.
    pace.count(1)
    time.sleep(2 * STEP_SECONDS)
    assert not pace.wait()
