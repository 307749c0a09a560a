"""Secrets: no form in which they are shown has their value."""

from __future__ import annotations

import copy
import pickle

import pytest

import hf_localize
from hf_localize import settings
from hf_localize.settings.secret import Secret, hidden
from tests.security.test_secrets import FAULTS, HUB_TOKEN, KEY, SECRET, TOKEN, canaries, leaks  # noqa: F401  # A fixture.


def test_a_secret_shows_nothing() -> None:
    secret = Secret(SECRET)
    shown = [repr(secret), str(secret), f"{secret}", repr([secret]), repr({"k": secret})]
    shown += [repr(getattr(secret, name)) for name in dir(secret)]
    assert not leaks("\n".join(shown))
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == SECRET
    assert (secret == Secret(SECRET), secret == Secret("x"), secret == SECRET) == (True, False, False)
    assert len({secret, Secret(SECRET)}) == 1
    for act in (pickle.dumps, copy.deepcopy, lambda s: s.__setattr__("reveal", str)):
        with pytest.raises((TypeError, AttributeError)):
            act(secret)


def test_settings_and_arguments_of_install_hold_secrets_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with hf_localize.installed(aws_access_key_id=KEY, aws_secret_access_key=SECRET, aws_session_token=TOKEN):
        found = settings.current()
        assert found.aws_secret_access_key == Secret(SECRET)
        shown = [found, settings.current_overrides(), found.aws_environment, found.aws_environment.variables]
        assert not leaks(" ".join(map(repr, shown)))
        with pytest.raises(TypeError):
            pickle.dumps(found)
        assert hidden("HGLOC_AWS_SESSION_TOKEN", "") == ""
        assert hidden("HGLOC_S3_SSE_KMS_KEY_ID", "a-key") == "a-key", "it is sent as a header"
