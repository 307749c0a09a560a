"""The loopback Hub answers the real clients, and breaks on request."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import pytest

from tests.rig.hub import Fault, LoopbackHub, Repository, Request, make_repository

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "tests" / "data"
GSM8K = "openai/gsm8k"
GSM8K_TRAIN = "main/train-00000-of-00001.parquet"
GSM8K_TRAIN_BYTES = (DATA / GSM8K / "main" / GSM8K_TRAIN).stat().st_size
HUB_VERSION = tuple(int(part) for part in version("huggingface_hub").split(".")[:2])
RETRIED_ACTION: Literal["reset", "truncate"] = "truncate" if HUB_VERSION >= (1, 0) else "reset"

# What each client script starts with. `tell` reports a value or the classes of what was raised.
PRELUDE = """
import json, sys
answers = {}
def tell(name, call):
    try:
        answers[name] = call()
    except Exception as error:
        classes = [one.__name__ for one in type(error).__mro__]
        answers[name] = {"raised": classes, "message": str(error)}
"""
EPILOGUE = "\nsys.stdout.write('\\n' + json.dumps(answers))\n"

RunClient = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What a plain HTTP client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    hub: LoopbackHub,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub over an empty folder, with gsm8k and one small made-up repository added."""
    root = tmp_path / "hub"
    root.mkdir()
    make_repository(root, "org/small", "main", {"README.md": b"# small\n", "d/a.csv": b"x\n1\n2\n"})
    with LoopbackHub(root) as hub:
        hub.add(Repository(GSM8K, DATA / GSM8K))
        yield hub


def run_script(hub: LoopbackHub, folder: Path, script: str, **values: str) -> dict[str, Any]:
    """Run *script* in a fresh interpreter with a fresh HF_HOME; return what it told."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGING")) and not name.lower().endswith("_proxy")
    }
    fixed = {
        **hub.client_environment,
        "HF_HOME": str(folder / "hf_home"),
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    # No folder called owner/name may lie where the client runs: it would be loaded instead.
    (folder / "cwd").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script) + EPILOGUE],
        cwd=folder / "cwd",
        env={**kept, **values, **fixed},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture
def run_client(hub: LoopbackHub, tmp_path: Path) -> RunClient:
    folder = tmp_path / "client"
    folder.mkdir()
    return partial(run_script, hub, folder)


# --- the real clients -------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """What one client process told, and what the hub was asked meanwhile."""

    told: Mapping[str, Any]
    requests: list[Request]
    host: str


@pytest.fixture(scope="module")
def gsm8k_visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """Load and stream gsm8k in one process: importing `datasets` is what takes the time."""
    with LoopbackHub(DATA) as hub:
        hub.tags = {(GSM8K, "v1.0"): "main"}
        told = run_script(
            hub,
            tmp_path_factory.mktemp("gsm8k"),
            """
            from datasets import load_dataset
            rows = lambda: {k: len(v) for k, v in load_dataset("openai/gsm8k", "main").items()}
            tell("rows", rows)
            stream = load_dataset(
                "openai/gsm8k", "main", revision="v1.0", split="test", streaming=True
            )
            # To the end: a parquet stream that is left half read can abort the interpreter at
            # its exit (datasets#7566, arrow#45214); here that was 3 of 80 runs, against 0 of 80.
            tell("streamed", lambda: [row["question"][:20] for row in stream])
            """,
        )
        return Visit(told, hub.requests, urlsplit(hub.url).netloc)


def test_load_dataset_downloads_each_split(gsm8k_visit: Visit) -> None:
    assert gsm8k_visit.told["rows"] == {"train": 7473, "test": 1319}


def test_streaming_reads_parquet_by_ranges(gsm8k_visit: Visit) -> None:
    assert len(gsm8k_visit.told["streamed"]) == 1319
    assert gsm8k_visit.told["streamed"][0] == "Janet’s ducks lay 16"
    ranged = [r for r in gsm8k_visit.requests if r.status == 206]
    assert {"range"} <= set.intersection(*(set(r.headers) for r in ranged))


def test_every_request_of_a_client_is_recorded(gsm8k_visit: Visit) -> None:
    sent = [r for r in gsm8k_visit.requests if r.method == "GET" and r.path.endswith(GSM8K_TRAIN)]
    assert [r.bytes_sent for r in sent if r.status == 200] == [GSM8K_TRAIN_BYTES]
    assert {r.headers["host"] for r in gsm8k_visit.requests} == {gsm8k_visit.host}
    assert not any(r.status >= 500 for r in gsm8k_visit.requests)


def test_a_revision_may_be_a_branch_a_tag_a_sha_or_quoted(hub: LoopbackHub, run_client: RunClient) -> None:
    for revision, rows in {"feat#1": 3, "refs/convert/parquet": 4}.items():
        content = b"x\n" + b"1\n" * rows
        make_repository(hub.root, "org/many", revision, {"README.md": b"", "data.csv": content})
    hub.tags = {("org/many", "v1.0"): "feat#1"}
    commit = hub.commit("org/many", "refs/convert/parquet")
    told = run_client(
        """
        import os
        from datasets import load_dataset
        # The unknown one first: datasets < 4 answers it from the cache of any other revision.
        for one in ["no", "feat#1", "v1.0", "refs/convert/parquet", os.environ["COMMIT"]]:
            tell(one, lambda: load_dataset("org/many", revision=one, split="train").num_rows)
        """,
        COMMIT=commit,
    )
    error = told.pop("no")
    assert told == {"feat#1": 3, "v1.0": 3, "refs/convert/parquet": 4, commit: 4}
    assert "DatasetNotFoundError" in error["raised"]
    assert "no" in error["message"]


def test_private_and_gated_repositories_open_to_their_tokens_only(
    hub: LoopbackHub, run_client: RunClient
) -> None:
    files = {"README.md": b"", "data.csv": b"x\n1\n"}
    make_repository(hub.root, "org/secret", "v1", files)
    make_repository(hub.root, "org/gated", "v1", files)
    hub.private = {"org/secret": {"token-a"}}
    hub.gated = {"org/gated": {"token-b"}}
    told = run_client(
        """
        from datasets import load_dataset
        from huggingface_hub import HfApi
        def load(name, token):
            return load_dataset(name, revision="v1", split="train", token=token).num_rows
        for name, token in [
            ("org/secret", None), ("org/secret", "token-b"), ("org/secret", "token-a"),
            ("org/gated", None), ("org/gated", "token-a"), ("org/gated", "token-b"),
        ]:
            tell(f"{name} {token}", lambda: load(name, token))
        for token in ["token-a", "stranger"]:
            tell(f"whoami {token}", lambda: HfApi(token=token).whoami()["name"])
        """
    )
    assert told.pop("org/secret token-a") == 1
    assert told.pop("org/gated token-b") == 1
    assert told.pop("whoami token-a") == "rig-user"
    assert "HTTPError" in told.pop("whoami stranger")["raised"]
    for name, error in told.items():
        assert {"DatasetNotFoundError", "GatedRepoError"} & set(error["raised"]), name
        assert ("gated" in error["message"]) == name.startswith("org/gated"), name


def test_clients_follow_the_redirect_of_an_old_name(hub: LoopbackHub, run_client: RunClient) -> None:
    make_repository(hub.root, "org/small", "v1", {"a.csv": b"x\n1\n2\n"})
    hub.redirects = {"small": "org/small", "old/small": "org/small"}
    told = run_client(
        """
        from pathlib import Path
        from datasets import load_dataset
        from huggingface_hub import HfApi, snapshot_download
        api = HfApi()
        tell("id", lambda: api.dataset_info("small").id)
        tell("files", lambda: api.list_repo_files("small", repo_type="dataset"))
        info = lambda: api.get_paths_info("small", ["d/a.csv"], repo_type="dataset")
        tell("paths", lambda: [one.path for one in info()])
        folder = lambda: snapshot_download("small", repo_type="dataset")
        tell("readme", lambda: Path(folder(), "README.md").read_text())
        # Not load_dataset("small"): huggingface_hub >= 1.16 refuses a one-segment name
        # (HfUriError) before it asks the Hub.
        tell("rows", lambda: load_dataset("old/small", revision="v1", split="train").num_rows)
        """
    )
    assert told["id"] == "org/small"
    assert sorted(told["files"]) == ["README.md", "d/a.csv"]
    assert told["paths"] == ["d/a.csv"]
    assert told["readme"] == "# small\n"
    assert told["rows"] == 2
    assert 307 in {r.status for r in hub.requests}


def test_large_files_are_fetched_from_another_host(hub: LoopbackHub, run_client: RunClient) -> None:
    hub.redirect_large_bytes = 100_000
    told = run_client(
        """
        import os
        from huggingface_hub import HfFileSystem, hf_hub_download
        path = "main/train-00000-of-00001.parquet"
        get = lambda: hf_hub_download("openai/gsm8k", path, repo_type="dataset")
        tell("size", lambda: os.path.getsize(get()))
        tell("blob", lambda: os.path.basename(os.path.realpath(get())))
        with HfFileSystem().open(f"datasets/openai/gsm8k/{path}") as stream:
            tell("magic", lambda: stream.read(4).decode())
        """
    )
    assert told["size"] == GSM8K_TRAIN_BYTES
    assert told["magic"] == "PAR1"
    moved = [r for r in hub.requests if r.path == f"/objects/{told['blob']}"]
    assert {200, 206} <= {r.status for r in moved}
    assert {r.headers["host"].partition(":")[0] for r in moved} == {"localhost"}


GET_FILE = """
from huggingface_hub import hf_hub_download
from pathlib import Path
path = "main/train-00000-of-00001.parquet"
get = lambda: hf_hub_download("openai/gsm8k", path, repo_type="dataset")
for attempt in ("first", "second"):
    tell(attempt, lambda: Path(get()).stat().st_size)
"""


def test_a_download_that_was_reset_halfway_fails_and_then_succeeds(
    hub: LoopbackHub, run_client: RunClient
) -> None:
    # No client retries this by itself: httpx' ReadError and requests' ChunkedEncodingError are
    # in none of their lists. Measured with huggingface_hub 0.29.3, 0.36.2, 1.33.0 and 2.4.0.
    reset = Fault(rf"^GET .*{GSM8K_TRAIN}", "reset", times=1, after_bytes=100_000)
    hub.faults = [reset]
    told = run_client(GET_FILE)
    assert reset.used == 1
    assert "reset by peer" in told["first"]["message"]
    assert told["second"] == GSM8K_TRAIN_BYTES
    gets = [r.bytes_sent for r in hub.requests if r.method == "GET" and r.status == 200]
    assert gets[0] == 100_000


@pytest.mark.skipif(HUB_VERSION < (0, 36), reason="huggingface_hub 0.29 retries no download")
def test_a_client_retries_a_download_that_it_takes_for_transient(
    hub: LoopbackHub, run_client: RunClient
) -> None:
    # huggingface_hub 0.36 retries when no answer came, 1.x and 2.x when the body ended early.
    hub.faults = [Fault(rf"^GET .*{GSM8K_TRAIN}", RETRIED_ACTION, times=1)]
    told = run_client(GET_FILE)
    assert told["first"] == GSM8K_TRAIN_BYTES
    gets = [r for r in hub.requests if r.method == "GET" and r.path.endswith(GSM8K_TRAIN)]
    assert len(gets) == 2


# --- the protocol, without a client -----------------------------------------------------------


def test_a_file_is_answered_with_commit_etag_and_length(hub: LoopbackHub) -> None:
    path = "/datasets/org/small/resolve/main/d/a.csv"
    head, get = ask(hub, path, "HEAD"), ask(hub, path)
    assert (head.status, head.body) == (200, b"")
    assert (get.status, get.body) == (200, b"x\n1\n2\n")
    for reply in (head, get):
        assert reply.headers["content-length"] == "6"
        assert reply.headers["x-repo-commit"] == hub.commit("org/small")
        assert re.fullmatch('"[0-9a-f]{40}"', reply.headers["etag"])
    assert [(r.method, r.bytes_sent) for r in hub.requests] == [("HEAD", 0), ("GET", 6)]


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=0-1", 206, b"x\n", "bytes 0-1/6"),
        ("bytes=4-", 206, b"2\n", "bytes 4-5/6"),
        ("bytes=4-99", 206, b"2\n", "bytes 4-5/6"),
        ("bytes=-3", 206, b"\n2\n", "bytes 3-5/6"),
        ("bytes=6-", 416, None, "bytes */6"),
        ("bytes=0-1,3-4", 200, b"x\n1\n2\n", None),
    ],
)
def test_ranges(hub: LoopbackHub, asked: str, status: int, body: bytes | None, told: str | None) -> None:
    reply = ask(hub, "/datasets/org/small/resolve/main/d/a.csv", headers={"Range": asked})
    assert reply.status == status
    assert body is None or reply.body == body
    assert reply.headers.get("content-range") == told


def test_large_files_carry_their_sha256_and_may_redirect(hub: LoopbackHub) -> None:
    path = f"/datasets/{GSM8K}/resolve/main/{GSM8K_TRAIN}"
    direct = ask(hub, path, "HEAD")
    assert re.fullmatch('"[0-9a-f]{64}"', direct.headers["etag"])
    hub.redirect_large_bytes = 1_000_000
    moved = ask(hub, path, "HEAD")
    assert moved.status == 302
    assert moved.headers["x-linked-etag"] == direct.headers["etag"]
    assert moved.headers["x-linked-size"] == direct.headers["content-length"]
    assert moved.headers["x-repo-commit"] == hub.commit(GSM8K)
    assert urlsplit(moved.headers["location"]).hostname == "localhost"


def test_a_tree_is_paged_and_told_by_folder(hub: LoopbackHub) -> None:
    files = {f"d/{number}.txt": b"." for number in range(5)}
    make_repository(hub.root, "org/pages", "main", {**files, "README.md": b"r"})
    hub.tree_page_size = 2
    found: list[str] = []
    path: str | None = "/api/datasets/org/pages/tree/main?recursive=True&expand=False"
    while path is not None:
        reply = ask(hub, path)
        found += [entry["path"] for entry in reply.json()]
        link = re.fullmatch('<(.*)>; rel="next"', reply.headers.get("link", ""))
        path = link.group(1).removeprefix(hub.url) if link else None
    assert found == ["README.md", "d", *sorted(files)]
    assert len(hub.requests) == 4
    top = ask(hub, "/api/datasets/org/pages/tree/main").json()
    assert [(e["type"], e["path"]) for e in top] == [("file", "README.md"), ("directory", "d")]
    hub.tree_page_size = 9
    below = ask(hub, "/api/datasets/org/pages/tree/main/d?expand=true").json()
    assert [e["path"] for e in below] == sorted(files)
    assert below[0]["lastCommit"]["id"] == hub.commit("org/pages")
    assert ask(hub, "/api/datasets/org/pages/tree/main/x").status == 404


def test_paths_info_tells_of_files_and_folders_that_exist(hub: LoopbackHub) -> None:
    form = urlencode({"paths": ["d", "d/a.csv", "none"], "expand": "True"}, doseq=True)
    reply = ask(
        hub,
        "/api/datasets/org/small/paths-info/main",
        "POST",
        {"Content-Type": "application/x-www-form-urlencoded"},
        form.encode(),
    )
    folder, file = reply.json()
    assert (folder["type"], folder["path"]) == ("directory", "d")
    assert (file["type"], file["size"]) == ("file", 6)
    assert {"avScan", "pickleImportScan"} <= file["securityFileStatus"].keys()


def test_refs_list_branches_converts_pull_requests_and_tags(hub: LoopbackHub) -> None:
    for revision in ("feat#1", "refs/convert/parquet", "refs/pr/7"):
        make_repository(hub.root, "org/small", revision, {"a": b""})
    hub.tags = {("org/small", "v1"): "main", ("org/other", "v2"): "main"}
    refs = ask(hub, "/api/datasets/org/small/refs").json()
    names = {kind: [one["name"] for one in ones] for kind, ones in refs.items()}
    assert names["branches"] == ["feat#1", "main"]
    assert names["converts"] == ["parquet"]
    assert [one["ref"] for one in refs["pullRequests"]] == ["refs/pr/7"]
    assert [one["targetCommit"] for one in refs["tags"]] == [hub.commit("org/small")]


@pytest.mark.parametrize("quoted", ["refs%2Fconvert%2Fparquet", "refs/convert/parquet"])
def test_a_revision_with_slashes_may_be_quoted_or_not(hub: LoopbackHub, quoted: str) -> None:
    make_repository(hub.root, "org/small", "refs/convert/parquet", {"a b/c#.txt": b"hi"})
    assert ask(hub, f"/datasets/org/small/resolve/{quoted}/a%20b/c%23.txt").body == b"hi"
    assert ask(hub, f"/api/datasets/org%2Fsmall/revision/{quoted}").json()["id"] == "org/small"


def test_the_commit_depends_on_paths_and_content_alone(hub: LoopbackHub) -> None:
    files = {"README.md": b"# small\n", "d/a.csv": b"x\n1\n2\n"}
    make_repository(hub.root, "org/twin", "other", files)
    first = hub.commit("org/small")
    assert re.fullmatch("[0-9a-f]{40}", first)
    assert hub.commit("org/twin", "other") == first
    make_repository(hub.root, "org/small", "main", {"new.txt": b""})
    assert hub.commit("org/small") == first
    hub.refresh()
    assert hub.commit("org/small") != first


def test_a_short_sha_of_seven_digits_is_enough(hub: LoopbackHub) -> None:
    commit = hub.commit("org/small")
    assert ask(hub, f"/api/datasets/org/small/revision/{commit[:7]}").json()["sha"] == commit
    assert ask(hub, f"/api/datasets/org/small/revision/{commit[:6]}").status == 404


def test_errors_carry_the_codes_that_clients_need(hub: LoopbackHub) -> None:
    make_repository(hub.root, "org/secret", "main", {"a": b""})
    make_repository(hub.root, "org/gated", "main", {"a": b""})
    hub.private = {"org/secret": {"token-a"}}
    hub.gated = {"org/gated": {"token-b"}}

    def told(path: str, token: str | None = None) -> tuple[int, str | None]:
        reply = ask(hub, path, headers=bearer(token) if token else {})
        return reply.status, reply.headers.get("x-error-code")

    assert told("/api/datasets/org/none") == (401, "RepoNotFound")
    assert told("/api/datasets/org/none", "token-a") == (404, "RepoNotFound")
    assert told("/api/datasets/org/secret") == (401, "RepoNotFound")
    assert told("/datasets/org/secret/resolve/main/a", "token-b") == (404, "RepoNotFound")
    assert told("/datasets/org/secret/resolve/main/a", "token-a") == (200, None)
    assert told("/datasets/org/gated/resolve/main/a") == (401, "GatedRepo")
    assert told("/datasets/org/gated/resolve/main/a", "token-a") == (403, "GatedRepo")
    assert told("/datasets/org/gated/resolve/main/a", "token-b") == (200, None)
    assert told("/api/datasets/org/gated") == (200, None)
    assert told("/api/datasets/org/small/revision/none") == (404, "RevisionNotFound")
    assert told("/api/datasets/../hub") == (401, "RepoNotFound")
    assert told("/api/whoami-v2") == (401, None)
    missing = ask(hub, "/datasets/org/small/resolve/main/none", "HEAD")
    assert (missing.status, missing.headers["x-error-code"]) == (404, "EntryNotFound")
    assert missing.headers["x-repo-commit"] == hub.commit("org/small")


@pytest.mark.parametrize("path", ["/api/agent-harnesses", "/", "/api/collections/org/small"])
def test_what_it_does_not_serve_is_a_404_in_json(hub: LoopbackHub, path: str) -> None:
    reply = ask(hub, path)
    assert reply.status == 404
    assert "error" in reply.json()


@pytest.mark.parametrize("rest", ["", "/revision/main?blobs=1", "/tree/main", "/refs"])
def test_a_renamed_repository_redirects_each_route(hub: LoopbackHub, rest: str) -> None:
    hub.redirects = {"small": "org/small", "old/small": "org/small"}
    for old in ("small", "old/small", "old%2Fsmall"):
        reply = ask(hub, f"/api/datasets/{old}{rest}")
        assert reply.status == 307
        assert reply.headers["location"] == f"/api/datasets/org/small{rest}"


def test_a_one_segment_id_is_served_once_it_is_added(hub: LoopbackHub) -> None:
    repository = make_repository(hub.root, "lone", "main", {"a.txt": b"hi"})
    assert ask(hub, "/api/datasets/lone/revision/main").status == 401
    hub.add(repository)
    assert ask(hub, "/api/datasets/lone/revision/main").json()["id"] == "lone"
    assert ask(hub, "/datasets/lone/resolve/main/a.txt").body == b"hi"


def test_a_stopped_hub_refuses_and_starts_again_on_its_port(hub: LoopbackHub) -> None:
    host, _, port = urlsplit(hub.url).netloc.partition(":")
    kept = socket.create_connection((host, int(port)), timeout=5)
    kept.sendall(b"GET /api/datasets/org/small HTTP/1.1\r\nHost: x\r\n\r\n")
    assert kept.recv(12) == b"HTTP/1.1 200"
    before = hub.url
    hub.stop()
    with kept:
        while kept.recv(65536):  # ends, as the server closed its side
            pass
    with pytest.raises(ConnectionRefusedError):
        ask(hub, "/api/datasets/org/small")
    hub.start()
    assert hub.url == before
    assert ask(hub, "/api/datasets/org/small").status == 200


# --- faults -----------------------------------------------------------------------------------

FILE = "/datasets/org/small/resolve/main/d/a.csv"


def test_a_status_fault_carries_headers_and_ends_after_its_times(hub: LoopbackHub) -> None:
    fault = Fault(r"GET .*\.csv", 503, times=2, headers={"Retry-After": "0"})
    hub.faults = [fault]
    replies = [ask(hub, FILE) for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert replies[0].headers["retry-after"] == "0"
    assert fault.used == 2
    assert ask(hub, FILE, "HEAD").status == 200


def test_a_reset_breaks_before_the_answer_or_in_the_body(hub: LoopbackHub) -> None:
    hub.faults = [Fault("a.csv", "reset", times=1)]
    with pytest.raises(ConnectionResetError):
        ask(hub, FILE)
    hub.faults = [Fault("a.csv", "reset", times=1, after_bytes=3)]
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(hub, FILE)
    assert [(r.status, r.bytes_sent) for r in hub.requests] == [(0, 0), (200, 3)]


def test_a_truncated_body_is_shorter_than_announced(hub: LoopbackHub) -> None:
    hub.faults = [Fault("a.csv", "truncate", after_bytes=2)]
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(hub, FILE)
    assert (caught.value.partial, caught.value.expected) == (b"x\n", 4)


def test_a_corrupt_body_has_the_right_length_and_one_wrong_byte(hub: LoopbackHub) -> None:
    hub.faults = [Fault("a.csv", "corrupt")]
    body = ask(hub, FILE).body
    right = b"x\n1\n2\n"
    assert len(body) == len(right)
    assert sum(one != other for one, other in zip(body, right, strict=True)) == 1


@pytest.mark.parametrize("after_bytes", [None, 2])
def test_a_stall_delays_the_whole_answer(hub: LoopbackHub, after_bytes: int | None) -> None:
    hub.faults = [Fault("a.csv", "stall", seconds=0.3, after_bytes=after_bytes)]
    began = time.monotonic()
    assert ask(hub, FILE).body == b"x\n1\n2\n"
    assert time.monotonic() - began >= 0.3


def test_a_stop_ends_a_stall(hub: LoopbackHub) -> None:
    hub.faults = [Fault("a.csv", "stall", seconds=60)]
    failures: list[Exception] = []

    def try_to_ask() -> None:
        try:
            ask(hub, FILE)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    client = threading.Thread(target=try_to_ask)
    client.start()
    while not hub.requests:
        time.sleep(0.01)
    hub.stop()
    client.join(5)
    assert not client.is_alive()
    assert len(failures) == 1


def test_a_rule_may_look_at_the_whole_request(hub: LoopbackHub) -> None:
    fault = Fault("", 429)

    def rule(request: Request) -> Fault | None:
        return fault if "range" in request.headers else None

    hub.faults = rule
    assert ask(hub, FILE).status == 200
    assert ask(hub, FILE, headers={"Range": "bytes=0-1"}).status == 429


def test_requests_can_be_cleared_and_show_raw_paths(hub: LoopbackHub) -> None:
    ask(hub, "/api/datasets/org%2Fsmall?blobs=1", headers={"X-Own": "1"})
    (request,) = hub.requests
    assert request.path == "/api/datasets/org%2Fsmall?blobs=1"
    assert request.headers["x-own"] == "1"
    hub.clear()
    assert hub.requests == []


def test_it_runs_alone_until_sigterm() -> None:
    command = [sys.executable, "-m", "tests.rig.hub", "--root", str(DATA)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        connection = http.client.HTTPConnection(url.netloc, timeout=10)
        connection.request("GET", f"/api/datasets/{GSM8K}")
        assert json.loads(connection.getresponse().read())["id"] == GSM8K
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        connection.close()


def test_models_and_spaces_are_answered_beside_a_dataset_of_the_same_id(tmp_path: Path) -> None:
    for kind, key in (("datasets", "team/one"), ("models", "models/team/one"), ("spaces", "spaces/team/one")):
        make_repository(tmp_path, key, "main", {"name.txt": kind.encode()})
    with LoopbackHub(tmp_path) as hub:
        hub.tags["models/team/one", "v1"] = "main"
        for kind, prefix in (("datasets", "/datasets"), ("models", ""), ("spaces", "/spaces")):
            info = ask(hub, f"/api/{kind}/team/one/revision/main").json()
            assert (info["id"], len(info["siblings"])) == ("team/one", 1)
            assert ask(hub, f"{prefix}/team/one/resolve/{info['sha']}/name.txt").body == kind.encode()
            assert ask(hub, f"/api/{kind}/team/one/tree/main").json()[0]["path"] == "name.txt"
            tags = ask(hub, f"/api/{kind}/team/one/refs").json()["tags"]
            assert [tag["name"] for tag in tags] == (["v1"] if kind == "models" else [])
        hub.private["models/team/one"] = {"some-token"}
        assert ask(hub, "/api/models/team/one").status == 401
        assert ask(hub, "/api/datasets/team/one").status == 200
