"""A server that checks signatures and payloads, whatever `HGLOC_TEST_S3` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Desk
from tests.rig.s3 import S3Server, SeaweedServer
from tests.rig.s3_proxy import RecordingProxy


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = SeaweedServer(tmp_path_factory.mktemp("strict"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def strict_desk(strict_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    proxy = RecordingProxy(strict_server.endpoint_url, {strict_server.access_key: strict_server.secret_key})
    proxy.start()
    desk = Desk(tmp_path, strict_server, proxy, monkeypatch)
    strict_server.create_bucket(desk.bucket)
    yield desk
    proxy.close()
