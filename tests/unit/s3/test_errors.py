"""Refusals of S3 servers, in our words."""

from __future__ import annotations

import pytest

from hf_localize.errors import AccessDeniedError, RefusedError
from hf_localize.http.status import StatusError, code_and_message
from hf_localize.s3.errors import error_of


def test_the_right_that_a_refusal_names_is_the_one_that_is_lacking() -> None:
    said = "403 AccessDenied User: u is not authorized to perform: kms:Decrypt on resource: r"
    error = error_of("key", said, 403, "AccessDenied", "GetObject")
    assert "lack the permission kms:Decrypt, " in str(error)
    assert "s3:GetObject" not in str(error)


def test_a_policy_that_denies_writing_may_demand_encryption() -> None:
    said = (
        "User: u is not authorized to perform: s3:PutObject on resource: r with an explicit deny in a policy"
    )
    assert "set HGLOC_S3_SSE" in str(error_of("key", said, 403, "AccessDenied", "PutObject"))
    assert "SSE" not in str(error_of("key", said.partition(" with")[0], 403, "AccessDenied", "PutObject"))


def test_an_archived_object_is_not_a_matter_of_rights() -> None:
    error = error_of("key", "403 InvalidObjectState", 403, "InvalidObjectState", "GetObject")
    assert isinstance(error, RefusedError)
    assert "archived" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (400, "ExpiredToken", "Get new credentials"),
        (400, "TokenRefreshRequired", "Get new credentials"),
        (403, "RequestTimeTooSkewed", "Set the clock"),
    ],
)
def test_a_refusal_of_credentials_says_what_helps(status: int, code: str, remedy: str) -> None:
    error = error_of("key", f"{status} {code}", status, code, "GetObject")
    assert isinstance(error, AccessDeniedError)
    assert remedy in str(error)


def test_the_message_of_a_refusal_is_decoded() -> None:
    """Credentials that it quotes are looked for in the decoded text."""
    xml = b"<Error><Code>X</Code><Message>the server&#39;s key a&amp;b&#27;[1m</Message></Error>"
    assert code_and_message(StatusError(403, "", {}, xml)) == ("X", "the server's key a&b[1m")
