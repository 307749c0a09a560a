"""Retries: how many, and after which pauses."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hf_localize.errors import RefusedError, UnreachableError
from hf_localize.http.retry import retrying


def test_retries_are_bounded_and_jittered() -> None:
    def times_of_tries() -> list[float]:
        tries: list[float] = []

        def fail() -> None:
            tries.append(time.monotonic())
            raise UnreachableError("away")

        with pytest.raises(UnreachableError):
            retrying("it", fail)
        return tries

    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(times_of_tries) for _ in range(2)]
    pauses = [[b - a for a, b in itertools.pairwise(run.result())] for run in runs]
    assert [len(run) for run in pauses] == [3, 3]
    assert any(abs(one - other) > 0.01 for one, other in zip(*pauses, strict=True))


def test_what_is_refused_is_not_retried() -> None:
    tries = 0

    def refuse() -> None:
        nonlocal tries
        tries += 1
        raise RefusedError("never")

    with pytest.raises(RefusedError):
        retrying("it", refuse)
    assert tries == 1
