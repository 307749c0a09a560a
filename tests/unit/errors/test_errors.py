"""Errors: their kinds, which are the exit statuses of commands."""

from __future__ import annotations

from hf_localize.errors import PublishError, StoreError, UnreachableError, kind_of


def test_what_could_not_be_published_is_of_the_kind_of_its_cause() -> None:
    failure = PublishError("not sent")
    assert kind_of(failure) == kind_of(StoreError("full")) == kind_of(OSError()) == "failed"
    failure.__cause__ = UnreachableError("away")
    assert kind_of(failure) == "unreachable"
