"""Secrets in tracebacks with local variables, as rich, ``pytest -l`` and Sentry make them."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable

import datasets
import huggingface_hub
import pytest
from huggingface_hub.utils import OfflineModeIsEnabled

import hf_localize
from hf_localize.sources.session import current_session
from tests.conftest import Desk
from tests.rig.hub import Fault, LoopbackHub
from tests.rig.s3_proxy import Reset, Rule, Status, Truncate
from tests.security.test_secrets import FAULTS, HUB_TOKEN, KEY, SECRET, TOKEN, canaries, leaks  # noqa: F401  # A fixture.

PROXY_PASSWORD = SECRET  # A password of a proxy is looked for as well.


#: Frames that hold what their callers gave them: of the tests, and of `datasets` where a token is an argument.
FOREIGN = (f"{os.sep}tests{os.sep}", f"{os.sep}datasets{os.sep}", f"{os.sep}huggingface_hub{os.sep}")


def with_locals(error: BaseException) -> str:
    """Return the frames, with local variables, of *error* and of all that led to it, and what they say."""
    chain, text = [error], []
    for link in chain:
        chain += [e for e in (link.__cause__, link.__context__) if e is not None and e not in chain]
        frames = traceback.StackSummary.extract(traceback.walk_tb(link.__traceback__), capture_locals=True)
        ours = [frame for frame in frames if not any(part in frame.filename for part in FOREIGN)]
        text += [*traceback.StackSummary.from_list(ours).format(), repr(link), f"{link}\n"]
    return "".join(text)


def load() -> object:
    return datasets.load_dataset("org/none")


def get() -> object:
    return current_session().bucket.get("key")


def put() -> object:
    return current_session().bucket.put("key", b"data")


def ask() -> object:
    return current_session().bucket.list_folder("")


def publish() -> object:
    return hf_localize.sync_local_dataset_to_s3("org/x")


ACTS: tuple[Callable[[], object], ...] = (load, get, put, ask, publish)


def locals_of(desk: Desk, **overrides: object) -> dict[str, str]:
    """Do each of ACTS, and return the tracebacks of what they raise."""
    found = {}
    for act in ACTS:
        try:
            with hf_localize.installed(**overrides):
                act()
        except Exception as exc:
            found[act.__name__] = with_locals(exc)
    assert found
    assert all(f"{os.sep}hf_localize{os.sep}" in text for text in found.values())
    return found


def leaking(found: dict[str, str]) -> dict[str, list[str]]:
    """Return the lines with a canary, by what was done."""
    lines = {name: [line for line in text.splitlines() if leaks(line)] for name, text in found.items()}
    return {name: there for name, there in lines.items() if there}


@pytest.fixture
def registered(canaries: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:  # noqa: F811
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x", skip_s3_upload=True)
    monkeypatch.setenv("HGLOC_TIMEOUT_SECONDS", "3")
    monkeypatch.setenv("HGLOC_SOURCES", "local,s3,public")
    return canaries


AT_THE_WIRE = {
    **{name: FAULTS[name] for name in ("wrong keys", "expired token", "not permitted", "elsewhere")},
    "reset": Reset(),
    "truncated": Truncate(3),
    "not S3": Status(200, "<html>"),
}


@pytest.mark.sampled(1)
@pytest.mark.skipif("HGLOC_TEST_S3" in os.environ, reason="the canaries are keys that only moto takes")
@pytest.mark.parametrize("fault", AT_THE_WIRE)
def test_no_local_variable_in_a_traceback_of_a_refused_request_holds_a_secret(
    fault: str, registered: Desk
) -> None:
    registered.s3.fail(Rule(None, ".", AT_THE_WIRE[fault]))
    assert leaking(locals_of(registered)) == {}


def test_no_local_variable_in_a_traceback_holds_a_secret_of_aws_own_variables(
    registered: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, os.environ[f"HGLOC_{name}"])
        monkeypatch.delenv(f"HGLOC_{name}")
    registered.s3.fail(Rule(None, ".", Status(403, "AccessDenied")))
    assert leaking(locals_of(registered)) == {}


@pytest.mark.parametrize("question", [datasets.load_dataset, datasets.get_dataset_config_names])
def test_no_local_variable_in_a_traceback_holds_the_token_of_a_load(
    question: Callable[..., object], registered: Desk, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HGLOC_SOURCES")
    hub.faults = [Fault("/api/datasets", "reset")]
    hf_localize.install()
    name = question.__name__
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Stock's kinds of it differ by release.
        getattr(datasets, name)("org/none", token=HUB_TOKEN)
    text = with_locals(caught.value)
    assert "patch.py" in text
    assert not leaks(text)


ENDPOINTS = {
    "unreachable": "http://127.0.0.1:9",
    "no TLS": "https://127.0.0.1:{port}",
    "not a URL": f"ftp://{KEY}:{SECRET}@host",
    "with a password": f"http://{KEY}:{SECRET}@127.0.0.1:9",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_local_variable_in_a_traceback_of_a_wrong_endpoint_holds_a_secret(
    endpoint: str, registered: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = registered.s3.url.rpartition(":")[2]
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", ENDPOINTS[endpoint].format(port=port))
    assert leaking(locals_of(registered)) == {}


PROXIES = {
    "dead": f"http://me:{PROXY_PASSWORD}@127.0.0.1:9",
    "a slash in the password": f"http://me:{PROXY_PASSWORD}/x@127.0.0.1:9",
    "a bracket in the password": f"http://me:{PROXY_PASSWORD}[@127.0.0.1:9",
    "no such port": f"me:{PROXY_PASSWORD}@127.0.0.1:http",
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("proxy", PROXIES)
def test_no_local_variable_in_a_traceback_of_a_proxy_that_is_of_no_use_holds_a_secret(
    proxy: str, registered: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "https://s3.example.org")
    monkeypatch.setenv("HTTPS_PROXY", PROXIES[proxy])
    found = locals_of(registered)
    assert leaking(found) == {}
    assert proxy == "dead" or "not the URL of a proxy" in found["load"]


def test_no_local_variable_in_a_traceback_of_a_file_that_is_not_held_holds_the_hub_token(
    registered: Desk, hub: LoopbackHub
) -> None:
    hf_localize.install(sources=("local",))
    with pytest.raises(OfflineModeIsEnabled) as caught:
        huggingface_hub.HfApi().model_info("org/none", token=HUB_TOKEN)
    trace = traceback.walk_tb(caught.value.__traceback__)  # Its client holds what it was given.
    own = [frame for frame, _ in trace if "hf_localize.hf.doors" in frame.f_globals["__name__"]]
    assert len(own) >= 3
    assert not leaks(repr([frame.f_locals for frame in own]))


@pytest.mark.parametrize(
    "wrong", [{"sources": "ftp"}, {"nonsense": 1}, {"s3_endpoint_url": "ftp://x"}, {"lock": "/no"}]
)
def test_no_local_variable_in_a_traceback_of_refused_settings_holds_a_secret(
    wrong: dict[str, object], registered: Desk
) -> None:
    ours = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
    for install in (hf_localize.install, lambda **given: hf_localize.installed(**given).__enter__()):
        with pytest.raises(hf_localize.errors.HfLocalizeError) as caught:
            install(**ours, **wrong)
        text = with_locals(caught.value)
        assert "patch.py" in text
        assert not leaks(text)


def test_half_a_pair_of_keys_is_refused_without_showing_it(
    registered: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HGLOC_AWS_ACCESS_KEY_ID")
    assert leaking(locals_of(registered)) == {}


SCRIPT = """
import sys
from hf_localize.sources.session import current_session
def test_get():
    current_session().bucket.get("key")
if sys.argv[1:] == ["rich"]:
    import rich.traceback
    rich.traceback.install(show_locals=True, locals_max_string=None, locals_max_length=None)
    test_get()
elif sys.argv[1:]:
    import pytest
    pytest.main(["-l", "-vvv", "-p", "no:cacheprovider", __file__])
"""


@pytest.mark.parametrize("tool", ["rich", "pytest"])
def test_tools_that_show_local_variables_show_no_secret(tool: str, registered: Desk) -> None:
    pytest.importorskip(tool)
    script = registered.folder / "test_script.py"
    script.write_text(SCRIPT)
    registered.s3.fail(Rule(None, ".", Status(403, "AccessDenied")))
    command = [sys.executable, str(script), tool]
    env = {**os.environ, "COLUMNS": "2000"}  # Else a long value is broken into lines.
    ran = subprocess.run(command, env=env, cwd=registered.folder, capture_output=True, text=True, timeout=120)
    shown = ran.stdout + ran.stderr
    assert "NotPermittedError" in shown, shown
    assert "<hf_localize.s3.connection.Connection object" in shown, "no local variables are shown"
    assert not leaks(shown)
