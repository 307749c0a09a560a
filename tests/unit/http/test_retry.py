"""Retries: how many, and after which pauses."""

from __future__ import annotations

import itertools
import time

import pytest

from hf_localize.errors import RefusedError, UnreachableError
from hf_localize.http.retry import retrying


def test_retries_are_bounded_and_jittered() -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(time.monotonic())
        raise UnreachableError("away")

    for _ in range(2):
        with pytest.raises(UnreachableError):
            retrying("it", fail)
    assert len(tries) == 8
    pauses = [b - a for a, b in itertools.pairwise(tries)]
    assert pauses[:3] != pauses[4:7]
    tries.clear()

    def refuse() -> None:
        tries.append(0)
        raise RefusedError("never")

    with pytest.raises(RefusedError):
        retrying("it", refuse)
    assert len(tries) == 1
