"""Retries: how many, and after which pauses."""

from __future__ import annotations

import pytest

from hf_localize.errors import GarbledError, RefusedError, SlowDownError, UnreachableError
from hf_localize.http import retry
from hf_localize.http.retry import retrying


def test_retries_are_bounded_and_jittered(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retry, "_pause", lambda seconds, _: pauses.append(seconds))

    def fail() -> None:
        raise UnreachableError("away")

    for _ in range(2):
        with pytest.raises(UnreachableError):
            retrying("it", fail)
    one, other = pauses[:3], pauses[3:]
    assert len(one) == len(other) == 3
    assert one != other
    for pause, shortest in zip((*one, *other), (0.2, 0.4, 0.8) * 2, strict=True):
        assert shortest <= pause <= 3 * shortest


def test_what_is_refused_is_not_retried() -> None:
    tries = 0

    def refuse() -> None:
        nonlocal tries
        tries += 1
        raise RefusedError("never")

    with pytest.raises(RefusedError):
        retrying("it", refuse)
    assert tries == 1


@pytest.mark.parametrize(("most", "tries"), [(retry.TRIES, 2), (retry.TRANSFER_TRIES, 3)])
def test_data_that_makes_no_sense_is_soon_given_up(
    most: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.0)  # No pauses.
    asked = 0

    def read() -> None:
        nonlocal asked
        asked += 1
        raise GarbledError("a block of the ZIP is damaged")

    with pytest.raises(GarbledError):
        retrying("it", read, tries=most)
    assert asked == tries


@pytest.mark.parametrize(("seconds", "tries"), [(60.0, 31), (0.0, 4)])
def test_a_transfer_that_is_told_to_slow_down_goes_on_asking(
    seconds: float, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.0)  # No pauses.
    asked = 0

    def busy() -> None:
        nonlocal asked
        asked += 1
        if asked <= 30:
            raise SlowDownError("Please reduce your request rate.")

    if seconds:
        retrying("it", busy, slowed_seconds=seconds)
    else:
        with pytest.raises(SlowDownError):
            retrying("it", busy)
    assert asked == tries


def test_a_reset_among_many_refusals_counts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.0)
    answers: list[Exception] = [*[SlowDownError("busy")] * 10, *[UnreachableError("reset")] * 4]
    left = iter(answers)

    def work() -> None:
        raise next(left)

    with pytest.raises(UnreachableError, match="reset"):
        retrying("it", work, slowed_seconds=60.0)
    assert not [*left]
