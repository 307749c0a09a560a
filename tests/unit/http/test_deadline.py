"""Deadlines: a request that takes too long is given up, and its server is not waited for again at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hf_localize.http.deadline import NoAnswerError, Patience, within


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Return what a request that takes too long waits for: the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_an_answer_or_an_error_in_time_is_passed_on() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(KeyError, match="mine"):
        within(60, lambda: {}["mine"])


def test_a_request_that_takes_too_long_is_given_up(ended: threading.Event) -> None:
    with pytest.raises(NoAnswerError, match="HGLOC_TIMEOUT_SECONDS"):
        within(0.05, ended.wait)
    with pytest.raises(NoAnswerError):  # The outer limit bounds the inner one.
        within(0.05, lambda: within(60, ended.wait))
    with pytest.raises(NoAnswerError):
        within(0, lambda: 7)


def test_a_server_that_did_not_answer_is_not_asked_again_at_once(ended: threading.Event) -> None:
    patience, asked = Patience("the bucket", 0.5), []
    with pytest.raises(NoAnswerError, match="the bucket: no answer"):
        patience.ask(ended.wait)
    with pytest.raises(NoAnswerError, match="the previous request"):
        patience.ask(lambda: asked.append(1))
    assert asked == []
    assert Patience("another", 60).ask(lambda: 7) == 7
