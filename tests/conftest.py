"""Real servers for every test: a Hub on loopback, an S3 server, and what stands between."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.hub import LoopbackHub
from tests.rig.s3 import S3Server, chosen_kind, start_server
from tests.rig.s3_proxy import RecordingProxy

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
_HOME = Path(tempfile.mkdtemp(prefix="hf_localize-tests-"))
_HUB = LoopbackHub(DATA, uploads=_HOME / "uploads").start()
#: `make test-s3` sets it, to run the tests once more in buckets that keep versions.
_IS_VERSIONED = bool(os.environ.get("HGLOC_TEST_S3_VERSIONED"))
_FOREIGN = ("HGLOC_", "AWS_", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN")

# `datasets` and `huggingface_hub` read these once, when they are imported.
for _name in [n for n in os.environ if n.startswith(_FOREIGN) and not n.startswith("HGLOC_TEST_")]:
    del os.environ[_name]
os.environ.update(
    _HUB.client_environment,
    HF_HOME=str(_HOME / "hf"),
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
)

#: How many cases `make test` runs of a test with many, if nothing else is said of it.
_SAMPLE = 1
#: `make test-faults` tries everything; `make test` a few of each kind.
IS_ALL = os.environ.get("HGLOC_TEST_FAULTS") == "all"
SECRET = "SECRET-canary-0b9d1f"


def pytest_configure() -> None:
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # As in a job that a script put into the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    _HUB.close()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return the running Hub, which serves ``tests/data``, with nothing recorded yet."""
    _HUB.start().clear()
    yield _HUB
    _HUB.faults = []
    for changed in (_HUB.private, _HUB.gated, _HUB.redirects, _HUB.tags, _HUB.writers):
        changed.clear()
    shutil.rmtree(_HOME / "uploads", ignore_errors=True)
    _HUB.start()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Return the S3 server that ``HGLOC_TEST_S3`` names (moto by default)."""
    folder = _HOME / "s3"
    folder.mkdir()
    server = start_server(chosen_kind(), folder)
    yield server
    server.stop()


class Desk:
    """A person's machine: a store, and rights. One test plays several people in turn."""

    def __init__(
        self, folder: Path, server: S3Server, proxy: RecordingProxy, patch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.server = server
        self.s3 = proxy
        self.bucket = f"team-{uuid.uuid4().hex[:12]}"
        self.store = folder
        self._patch = patch

    def sit_down(self, who: str, *, key: str | None = None, secret: str | None = None) -> Desk:
        """Start with an empty store as *who*; without *key* there are no credentials."""
        self.store = self.folder / f"store-{who}-{uuid.uuid4().hex[:6]}"
        self._patch.setenv("HGLOC_DATASETS_STORE_PATH", str(self.store))
        self.use_cache(str(self.folder / f"cache-{self.store.name}"))
        self._patch.setenv("HGLOC_S3_BUCKET_NAME", self.bucket)
        self._patch.setenv("HGLOC_S3_ENDPOINT_URL", self.s3.url)
        for name, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)):
            if value:
                self._patch.setenv(f"HGLOC_{name}", value)
            else:
                self._patch.delenv(f"HGLOC_{name}", raising=False)
        return self

    def use_cache(self, folder: str) -> None:
        """Have `datasets`, in this process and its children, prepare data in *folder*."""
        self._patch.setenv("HF_DATASETS_CACHE", folder)
        if "datasets" in sys.modules:
            self._patch.setattr(sys.modules["datasets"].config, "HF_DATASETS_CACHE", Path(folder))

    def publisher(self) -> Desk:
        """Sit down as somebody who may write to the bucket."""
        return self.sit_down("publisher", key=self.server.access_key, secret=self.server.secret_key)

    def teammate(self) -> Desk:
        """Sit down as somebody with credentials, at another machine with an empty store."""
        key, secret = self.server.reader_access_key, self.server.reader_secret_key
        return self.sit_down(
            "teammate", key=key or self.server.access_key, secret=secret or self.server.secret_key
        )

    def outsider(self) -> Desk:
        """Sit down as somebody without credentials, at another machine with an empty store."""
        return self.sit_down("outsider")

    def set(self, **variables: str) -> None:
        """Set environment variables until the test ends."""
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def client(self):  # type: ignore[no-untyped-def]
        """Return a boto3 client with the publisher's rights, past the proxy."""
        return self.server.client()

    def bucket_keys(self, prefix: str = "") -> list[str]:
        """Return the keys in the bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def open_public_places(self) -> None:
        """Have the server honor ``--make-public``: by a policy, where it has no ACLs."""
        if not self.server.supports_acl:
            from hf_localize.publish import public
            from hf_localize.sources.session import current_session

            policy = public.public_policy(current_session().bucket)
            self.client().put_bucket_policy(Bucket=self.bucket, Policy=policy)


@pytest.fixture
def desk(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return a desk with an empty bucket, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    proxy = RecordingProxy(s3_server.endpoint_url, {s3_server.access_key: s3_server.secret_key})
    proxy.start()
    desk = Desk(tmp_path, s3_server, proxy, monkeypatch)
    s3_server.create_bucket(desk.bucket)
    if _IS_VERSIONED:
        enabled = {"Status": "Enabled"}
        desk.client().put_bucket_versioning(Bucket=desk.bucket, VersioningConfiguration=enabled)
    yield desk
    proxy.close()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ``os.environ`` back, which ``map(num_proc=…)`` replaces by a copy."""
    monkeypatch.setattr(os, "environ", os.environ)


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    """Take back what a test has installed, and how the command line, run in this process, shows the log."""
    yield
    if "hf_localize.shim.patch" in sys.modules:
        sys.modules["hf_localize.shim.patch"].uninstall()
    logger = logging.getLogger("hf_localize")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


def run_python(code: str, *, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a fresh interpreter with this process's environment and *env*."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_cli(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``hg-localize`` with this process's environment and *env*.

    `make test` runs it in this process where that has the same environment, which spares seconds of imports.
    """
    command = [sys.executable, "-m", "hf_localize", *arguments]
    if IS_ALL or cwd or env or arguments[0] in ("run", "serve"):
        return subprocess.run(
            command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
        )
    from click.testing import CliRunner

    from hf_localize.cli import main

    logger = logging.getLogger("hf_localize")
    handlers, level = logger.handlers[:], logger.level
    try:
        ran = CliRunner().invoke(main, arguments, prog_name="python -m hf_localize")
    finally:  # The command logs to what was stderr meanwhile.
        logger.handlers[:], logger.level = handlers, level
    if ran.exc_info and not isinstance(ran.exception, SystemExit | None):
        raise ran.exception
    return subprocess.CompletedProcess(command, ran.exit_code, ran.stdout, ran.stderr)


@pytest.hookimpl(tryfirst=True)  # Before `-m sampled` selects.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "s3_server" in getattr(item, "fixturenames", ()):
            item.add_marker("s3")
    left_out = _left_out(items)
    if not IS_ALL:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def _left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases that `make test` leaves out: those between an even sample of each test with many cases.

    One is kept of a test that speaks to servers, or as many as its mark ``sampled`` says; of others all are.
    What is not run whole is marked.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out: set[pytest.Item] = set()
    for same in cases.values():
        marker = same[0].get_closest_marker("sampled")
        speaks_to_servers = "desk" in getattr(same[0], "fixturenames", ())
        count = marker.args[0] if marker else _SAMPLE if speaks_to_servers else len(same)
        if count >= len(same):
            continue
        kept = {same[number * len(same) // count].nodeid for number in range(count)}
        for item in same:
            item.add_marker(pytest.mark.sampled(count))
        left_out |= {item for item in same if item.nodeid not in kept}
    return left_out


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below *folder* with its content."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
