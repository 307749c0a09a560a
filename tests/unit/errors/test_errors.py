"""Errors: their kinds, which are the exit statuses of commands."""

from __future__ import annotations

import pytest

from hf_localize.errors import (
    PublishError,
    StoreError,
    UnreachableError,
    kind_of,
    without_queries,
    without_user,
)


def test_what_could_not_be_published_is_of_the_kind_of_its_cause() -> None:
    failure = PublishError("not sent")
    assert kind_of(failure) == kind_of(StoreError("full")) == kind_of(OSError()) == "failed"
    failure.__cause__ = UnreachableError("away")
    assert kind_of(failure) == "unreachable"


@pytest.mark.parametrize(
    "text",
    [
        "403 for url 'https://cdn.example.org/a?X-Amz-Signature=SECRET'",
        "HTTPSConnectionPool(host='cdn', port=443): Max retries exceeded with url: /a/b?Signature=SECRET&x=1",
        "couldn't reach https://me:SECRET@hub.example.org/api",
        "couldn't reach http://me:a@SECRET@hub.example.org",
    ],
)
def test_what_others_say_is_shown_without_the_credentials_in_urls(text: str) -> None:
    shown = without_queries(text)
    assert "SECRET" not in shown
    assert shown[:10] == text[:10]
    assert without_queries("a/b or c? See https://docs.example.org/x@1, or me@example.org") == (
        "a/b or c? See https://docs.example.org/x@1, or me@example.org"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:SECRET@hub.example.org/a", "https://…@hub.example.org/a"),
        ("me:SECRET@hub.example.org", "…@hub.example.org"),
        ("http://me:SEC RET@hub.example.org", "http://…@hub.example.org"),
        ("http://me:SEC/R?E#T@hub.example.org", "http://…@hub.example.org"),
        ("https://hub.example.org", "https://hub.example.org"),
    ],
)
def test_a_url_is_shown_without_its_user_however_that_is_written(url: str, shown: str) -> None:
    assert without_user(url) == shown
