"""`hg-localize serve`: what is held, for programs that know nothing of hf_localize."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from hf_localize.api.repositories import download_repository
from hf_localize.api.serve import serving
from hf_localize.errors import SettingsError
from tests.conftest import Desk
from tests.loads.doors.conftest import CARD, DATASET
from tests.rig.held import HeldRepositories
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Request, Status

KIND = {"repo_type": "dataset"}


@pytest.fixture
def endpoint(hub: LoopbackHub, repositories: HeldRepositories, fresh) -> Iterator[str]:
    fresh("cache")
    with serving() as url:
        yield url


@pytest.fixture
def card(endpoint: str) -> str:
    return f"{endpoint}/datasets/{DATASET}/resolve/main/README.md"


def test_huggingface_hub_reads_from_it(endpoint: str, hub: LoopbackHub) -> None:
    hub.clear()
    assert Path(hf_hub_download(DATASET, "README.md", endpoint=endpoint, **KIND)).read_bytes() == CARD
    assert Path(snapshot_download(DATASET, endpoint=endpoint, **KIND), "sub", "deep", "more.json").is_file()
    api = HfApi(endpoint=endpoint)
    assert len(list(api.list_repo_tree(DATASET, recursive=True, **KIND))) == 8
    assert [found.path for found in api.get_paths_info(DATASET, ["data"], **KIND)] == ["data"]
    assert [tag.name for tag in api.list_repo_refs(DATASET, **KIND).tags] == ["v1.0"]
    for error, call in (
        (EntryNotFoundError, lambda: hf_hub_download(DATASET, "nope", endpoint=endpoint, **KIND)),
        (RevisionNotFoundError, lambda: api.dataset_info(DATASET, revision="nope")),
        (RepositoryNotFoundError, lambda: api.dataset_info("doors/else")),
    ):
        with pytest.raises(error):
            call()
    assert hub.requests == []


def test_an_endpoint_may_end_in_a_slash(endpoint: str) -> None:
    assert Path(hf_hub_download(DATASET, "README.md", endpoint=f"{endpoint}/", **KIND)).read_bytes() == CARD
    answer = requests.get(f"{endpoint}//api/datasets/{DATASET}/tree/main?limit=3")
    assert answer.links["next"]["url"].startswith(f"{endpoint}/api/")


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("HUB", 200), ("evil.example", 403)])
def test_a_client_may_ask_as_it_asks_a_proxy(endpoint: str, host: str, status: int) -> None:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    connection.putrequest("GET", f"http://{host}/api/datasets/{DATASET}/tree/main?limit=3", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.endheaders()
    with contextlib.closing(connection), connection.getresponse() as answer:
        assert answer.status == status
        assert status == 403 or f"<http://{host}/api/datasets/" in str(answer.headers["Link"])


def test_ranges_heads_and_etags(card: str) -> None:
    assert requests.get(card, headers={"Range": "bytes=4-10"}).content == CARD[4:11]
    assert requests.get(card, headers={"Range": "bytes=900-"}).status_code == 416
    head = requests.head(card)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(CARD)))
    again = requests.get(card, headers={"If-None-Match": head.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    missing = requests.head(f"{card}x")
    assert (missing.status_code, missing.content, missing.headers["X-Error-Code"]) == (
        404,
        b"",
        "EntryNotFound",
    )


def test_a_tree_has_pages_on_the_server_that_is_asked(endpoint: str) -> None:
    answer = requests.get(f"{endpoint}/api/datasets/{DATASET}/tree/main?recursive=true&limit=3")
    assert answer.links["next"]["url"].startswith(endpoint)
    assert len(requests.get(answer.links["next"]["url"]).json()) == 3


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"])
def test_writes_are_refused(endpoint: str, method: str) -> None:
    answer = requests.request(method, f"{endpoint}/api/datasets/{DATASET}/commit/main", data=b"x")
    assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/../../../etc/passwd", "/datasets/doors/data/resolve/main/../../../../etc/passwd",
                                  "/%2e%2e/%2e%2e/etc/passwd", "/datasets/doors/data/resolve/main/%00", "//etc/passwd",
                                  "/api/datasets/doors/data/tree/main?cursor=-1&limit=x", "/api/datasets/%ff%fe"])  # fmt: skip
def test_a_hostile_request_gives_no_file(endpoint: str, path: str) -> None:
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"root:" not in answer
    assert re.match(rb"HTTP/1.[01] (200|400|404) ", answer), answer[:100]


def test_64_clients_are_served_at_once(endpoint: str, card: str) -> None:
    data = f"{endpoint}/datasets/{DATASET}/resolve/main/data/train.parquet"
    with ThreadPoolExecutor(64) as pool:
        sizes = {
            len(content) for content in pool.map(lambda _: requests.get(data, timeout=60).content, range(64))
        }
    assert len(sizes) == 1


def test_clients_that_keep_their_connections_keep_nobody_out(card: str) -> None:
    with contextlib.ExitStack() as clients:
        for _ in range(150):
            client = clients.enter_context(requests.Session())
            assert client.head(card, timeout=20).status_code == 200


def test_clients_that_do_not_read_what_they_asked_for_keep_nobody_out(
    card: str, hub: LoopbackHub, repositories: HeldRepositories, tmp_path: Path
) -> None:
    hub.add(make_repository(tmp_path / "large", "doors/large", "main", {"a.bin": bytes(24 << 20)}))
    repositories.types = {**repositories.types, "doors/large": "dataset"}
    url = card.replace(DATASET, "doors/large").replace("README.md", "a.bin")
    with contextlib.ExitStack() as clients:
        for _ in range(66):
            answer = clients.enter_context(requests.get(url, stream=True, timeout=20))
            assert answer.status_code == 200
        assert requests.get(card, timeout=20).content == CARD
        stored = next(path for path in repositories._sources.values() if path.name == "a.bin")
        os.truncate(stored, 1 << 20)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):  # It waits for nothing.
            _ = answer.content


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(
            (name, 200)
            for name in ("localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8000", "me", "a.localhost")
        ),
        *((name, 200) for name in ("host.docker.internal:80", "")),
        *(
            (name, 403)
            for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.", "a..")
        ),
    ],
)
def test_a_website_whose_name_leads_here_is_refused(card: str, name: str, status: int) -> None:
    answer = requests.get(card, headers={"Host": name})
    assert (answer.status_code, CARD in answer.content) == (status, status == 200)


def test_a_server_for_the_network_is_asked_by_any_name(repositories: HeldRepositories, fresh) -> None:
    fresh("cache")
    with serving("0.0.0.0") as url:
        path = f"/datasets/{DATASET}/resolve/main/README.md"
        answer = requests.get(url.replace("0.0.0.0", "127.0.0.1") + path, headers={"Host": "data.example"})
    assert answer.content == CARD


def test_each_request_has_a_line_in_the_log_without_its_credentials(
    card: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "hf_localize.hf.doors.serve"):
        requests.get(f"{card}?token=hf_secret", headers={"Authorization": "Bearer hf_secret"})
    lines = [record.getMessage() for record in caplog.records if record.name == "hf_localize.hf.doors.serve"]
    assert lines == [f"GET /datasets/{DATASET}/resolve/main/README.md 200 {len(CARD)}"]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="can't listen"), serving(port=port):
            pass


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(SettingsError, match=r"hf-localize\[serve\]"), serving():
        pass


def hg_localize(*words: str, **options):  # type: ignore[no-untyped-def]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HGLOC_")}
    command = [sys.executable, "-m", "hf_localize", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, **options)


def test_the_command_serves_until_it_is_ended() -> None:
    server = hg_localize("serve", "--port", "0", stderr=subprocess.PIPE)
    assert server.stderr is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline())
    assert found
    assert requests.get(f"{found[0]}/api/datasets/a/b").headers["X-Error-Code"] == "RepoNotFound"
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 143
    server.communicate()


def test_run_serves_while_its_command_runs() -> None:
    code = "import os, urllib.request as u\ntry: u.urlopen(os.environ['HF_ENDPOINT'] + '/api/datasets/a/b')\nexcept OSError as exc: print(exc.code)\nraise SystemExit(7)"
    command = hg_localize("run", "--serve", "--", sys.executable, "-S", "-c", code)
    out, _ = command.communicate(timeout=120)
    assert (out.strip(), command.returncode) == ("404", 7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_that_run_serves_ends_in_its_own_time(number: signal.Signals, tmp_path: Path) -> None:
    saved = tmp_path / "checkpoint"
    code = f"""
import pathlib, signal, sys, time
def save(*_):
    time.sleep(4)  # Longer than other commands have to end.
    pathlib.Path({str(saved)!r}).touch()
    sys.exit(9)
signal.signal({int(number)}, save)
print("begun", flush=True)
while True:
    time.sleep(0.1)
"""
    command = hg_localize("run", "--serve", "--", sys.executable, "-S", "-c", code, stdin=subprocess.DEVNULL)
    assert command.stdout is not None
    assert command.stdout.readline() == "begun\n"
    command.send_signal(number)
    assert command.wait(60) == 9
    assert saved.exists()
    command.communicate()


def test_a_source_that_fails_while_a_file_is_sent_is_told_in_a_line(
    hub: LoopbackHub, desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(make_repository(tmp_path / "hub", "models/team/big", "main", {"big.bin": os.urandom(40 << 20)}))
    desk.publisher()
    download_repository("team/big", repo_type="model")
    desk.teammate().set(HGLOC_SOURCES="local,s3")

    def watch(request: Request) -> Status | None:
        start = re.match(r"bytes=(\d+)", request.headers.get("range", ""))
        return Status(403, "ExpiredToken") if start and int(start[1]) >= 30 << 20 else None

    desk.s3.watch = watch
    with serving() as url, pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = requests.get(f"{url}/team/big/resolve/main/big.bin").content
    desk.s3.watch = None
    (line,) = [one for one in caplog.records if "ExpiredToken" in one.getMessage()]
    assert line.getMessage().startswith("the rest of /team/big/resolve/main/big.bin can't be read")
    assert not [one for one in caplog.records if one.exc_info]
    hub._added.clear()
