"""What answers at an endpoint may want to be asked otherwise, or be no S3 server at all."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hf_localize
from hf_localize import errors
from hf_localize.s3.errors import MissingKeyError, NotS3Error
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli
from tests.faults.killer import NAME, rows, save
from tests.rig.anywhere import Anywhere, Seen, response
from tests.rig.s3_proxy import BlackHole, Reset, Rule, Status

WRONG_REGION = (
    "<?xml version='1.0'?><Error><Code>AuthorizationHeaderMalformed</Code><Message>the region "
    "'us-west-2' is wrong; expecting 'eu-west-3'</Message><Region>eu-west-3</Region></Error>"
)
PATH_REFUSED = {
    "Alibaba OSS": (403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access."),
    "ByteDance TOS": (403, "InvalidPathAccess", "Forbidden path to access server."),
    "Huawei OBS": (400, "VirtualHostDomainRequired", "Virtual host domain is required."),
}


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Anywhere]:
    """Return a server that stands for every host of the world."""
    with contextlib.closing(Anywhere(tmp_path)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
        for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        for name, value in {
            "HGLOC_S3_BUCKET_NAME": "team",
            "HGLOC_AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "HGLOC_AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_CA_BUNDLE": str(server.ca_file),
            "HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def test_the_region_that_aws_names_in_a_refusal_is_followed(
    anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_AWS_DEFAULT_REGION", "us-west-2")
    anywhere.answer = lambda seen: None if seen.region == "eu-west-3" else response(400, WRONG_REGION)
    assert current_session().bucket.get("a/k") is None
    assert [seen.host for seen in anywhere.seen] == [
        "team.s3.us-west-2.amazonaws.com",
        "team.s3.eu-west-3.amazonaws.com",
    ]
    assert current_session().bucket.get("a/k") is None
    assert len(anywhere.seen) == 3, "the region is learned once"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("has_config", [False, True])
@pytest.mark.parametrize("endpoint", ["", "http://minio.corp:9000"])
def test_data_is_asked_for_in_the_region_that_a_refusal_names(
    endpoint: str, has_config: bool, anywhere: Anywhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_config:  # Then boto3 says where the bucket is.
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text("[default]\nregion = us-west-2\n")
    if endpoint:
        monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("HGLOC_AWS_DEFAULT_REGION", "us-west-2")
    anywhere.answer = lambda seen: None if seen.region == "eu-west-3" else response(400, WRONG_REGION)
    bucket = current_session().bucket
    with pytest.raises(MissingKeyError):
        bucket.open_range("a/k")
    seen = anywhere.seen[-1]
    host = "minio.corp:9000" if endpoint else "team.s3.eu-west-3.amazonaws.com"
    assert (seen.region, seen.host) == ("eu-west-3", host)
    anywhere.seen.clear()
    with pytest.raises(MissingKeyError):
        bucket.open_range("a/k")
    assert len(anywhere.seen) == 1


@pytest.mark.parametrize(
    ("right", "status", "body"),
    [
        ("eu-west-3", 400, WRONG_REGION),
        ("team.oss.corp", 403, "<Error><Code>InvalidPathAccess</Code></Error>"),
    ],
    ids=["region", "style"],
)
def test_what_a_refusal_says_counts_for_all_requests_that_were_refused_at_once(
    right: str, status: int, body: str, anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "http://oss.corp")
    at_once = threading.Barrier(4)

    def answer(seen: Seen) -> bytes | None:
        if right in (seen.region, seen.host):
            return None
        at_once.wait(20)
        return response(status, body)

    anywhere.answer = answer
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(current_session().bucket.get, "abcd")) == [None] * 4


def test_an_endpoint_in_another_region_than_the_bucket_is_called_that(
    anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "https://s3.us-west-2.amazonaws.com")
    moved = response(301, "<Error><Code>PermanentRedirect</Code></Error>", x_amz_bucket_region="eu-west-3")
    anywhere.answer = lambda _: moved
    for question in (lambda bucket: bucket.get("a/k"), lambda bucket: list(bucket.list_keys("a/"))):
        with pytest.raises(NotS3Error, match="set HGLOC_AWS_DEFAULT_REGION=eu-west-3"):
            question(current_session().bucket)


@pytest.mark.parametrize("refusal", PATH_REFUSED.values(), ids=PATH_REFUSED)
def test_an_endpoint_that_refuses_path_style_is_asked_by_virtual_hosts(
    refusal: tuple[int, str, str], anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, code, message = refusal
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "https://oss.corp")

    def answer(seen: Seen) -> bytes | None:
        return None if seen.host == "team.oss.corp" else response(status, body)

    def asked() -> list[tuple[str, str]]:  # Requests of a test before this one may come here, too.
        return [(seen.host, seen.line) for seen in anywhere.seen if seen.host.endswith("oss.corp")]

    anywhere.answer = answer
    bucket = current_session().bucket
    assert bucket.get("a/k") is None
    assert asked() == [
        ("oss.corp", "GET /team/a/k HTTP/1.1"),
        ("team.oss.corp", "GET /a/k HTTP/1.1"),
    ]
    monkeypatch.setenv(
        "HGLOC_S3_DATA_PREFIX", "other"
    )  # Another bucket to our eyes: nothing is learned of it.
    with pytest.raises(MissingKeyError):
        current_session().bucket.connection.call("get_object", "k")
    assert asked()[2:] == [
        ("oss.corp", "GET /team/other/k HTTP/1.1"),
        ("team.oss.corp", "GET /other/k HTTP/1.1"),
    ]
    assert current_session().public_files.get("k", limit_bytes=9) is None
    assert current_session().public_files.url("k") == "https://team.oss.corp/other/k"


@pytest.mark.parametrize(("style", "host"), [("path", "oss.corp"), ("virtual", "team.oss.corp")])
def test_the_addressing_style_can_be_set(
    style: str, host: str, anywhere: Anywhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "http://oss.corp:8080")
    monkeypatch.setenv("HGLOC_S3_ADDRESSING_STYLE", style)
    bucket = current_session().bucket
    assert bucket.get("k") is None
    with pytest.raises(MissingKeyError):
        bucket.connection.call("get_object", "k")
    assert current_session().public_files.get("k", limit_bytes=9) is None
    assert {seen.host for seen in anywhere.seen} == {f"{host}:8080"}
    monkeypatch.setenv("HGLOC_S3_ADDRESSING_STYLE", "dns")
    with pytest.raises(errors.SettingsError, match="auto, path, virtual"):
        current_session()


def test_what_a_server_leaves_out_of_its_answer_is_told(anywhere: Anywhere) -> None:
    anywhere.answer = lambda _: response(200, "")
    with pytest.raises(errors.RefusedError, match=r"k in s3://team at AWS: .*head_object.* has no ETag"):
        current_session().bucket.head_of("k")


class _Pages(http.server.BaseHTTPRequestHandler):
    """Answer everything as a web server does that is no S3 server."""

    status, page, headers_sent = 200, b"", {"Content-Type": "text/html"}

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in {**self.headers_sent, "Content-Length": str(len(self.page))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.page)

    do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


OTHERS = {
    "a redirect": (
        301,
        b"<html>moved</html>",
        {"Location": "https://s3.corp:9443/x?secret=1"},
        "s3.corp:9443",
    ),
    "a redirect without a body": (308, b"", {"Location": "https://s3.corp/"}, "https://s3.corp"),
    "a login page": (
        200,
        b"<!DOCTYPE html><html><p>Log in</p></html>",
        {"Content-Type": "text/html"},
        "web page",
    ),
    "a login page that says nothing of its type": (200, b"\n<html><body/></html>", {}, "web page"),
    "a web server": (404, b"404 page not found\n", {"Content-Type": "text/plain"}, "404"),
    "an API": (404, b'{"detail": "Not Found"}', {"Content-Type": "application/json"}, "404"),
}


@pytest.fixture(params=OTHERS.values(), ids=OTHERS)
def other(request: pytest.FixtureRequest, desk: Desk) -> Iterator[tuple[Desk, str]]:
    """Return a person whose endpoint is another kind of server, and what an error has to say of that."""
    status, page, headers, told = request.param
    handler = type("Pages", (_Pages,), {"status": status, "page": page, "headers_sent": headers})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        desk.publisher().set(HGLOC_S3_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}")
        yield desk, told
        server.shutdown()


def test_what_is_no_s3_server_is_called_that(other: tuple[Desk, str]) -> None:
    desk, told = other
    desk.set(HGLOC_SOURCES="local,s3")
    with pytest.raises(errors.DatasetUnreachableError, match=f"(?s)not an S3 endpoint.*{told}") as caught:
        hf_localize.load_local_dataset("org/x")
    assert "secret" not in str(caught.value)
    with pytest.raises(NotS3Error, match=told):
        hf_localize.list_s3_datasets()
    listed = run_cli("list-s3", cwd=desk.folder)
    assert (listed.returncode, listed.stdout) == (5, "")
    assert "is not an S3 endpoint" in listed.stderr
    found = json.loads(run_cli("doctor", "--json", cwd=desk.folder).stdout)
    failed = [f["told"] for f in found if f["area"] == "bucket" and f["state"] == "fail"]
    assert any("is not an S3 endpoint" in text for text in failed), failed


@pytest.fixture
def published(desk: Desk) -> Desk:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME, make_public=True)
    return desk


@pytest.mark.parametrize(
    "action", [Status(503, "SlowDown"), Status(500), Status(502), Reset()], ids=["503", "500", "502", "reset"]
)
def test_a_failure_of_the_public_records_is_tried_again(action: Status | Reset, published: Desk) -> None:
    published.outsider().set(HGLOC_SOURCES="local,public")
    published.s3.fail(Rule("GET", r"public_datasets\.json$", action, times=1))
    loaded = hf_localize.load_local_dataset(NAME)
    assert {name: split["text"][:] for name, split in loaded.items()} == rows("new")


@pytest.mark.parametrize(
    "hole", [".", r"catalog", r"/$|/team-[^/]*$"], ids=["all", "the catalog", "listings"]
)
def test_a_command_waits_once_for_an_endpoint_that_swallows_packets(hole: str, published: Desk) -> None:
    published.teammate().set(HGLOC_SOURCES="local,s3", HGLOC_TIMEOUT_SECONDS="4")
    published.s3.fail(Rule(None, hole, BlackHole()))
    begun = time.monotonic()
    with pytest.raises(errors.DatasetUnreachableError, match=r"no answer within .* s"):
        hf_localize.load_local_dataset("org/not-there")
    assert time.monotonic() - begun < 7, "twice the time was waited"


@pytest.mark.sampled(0)
def test_doctor_and_lists_wait_once_for_an_endpoint_that_swallows_packets(published: Desk) -> None:
    published.teammate().set(HGLOC_TIMEOUT_SECONDS="3", HGLOC_SOURCES="local,s3,public")
    hf_localize.diagnose()  # So that what it imports is not measured.
    published.s3.fail(Rule(None, ".", BlackHole()))
    begun = time.monotonic()
    with pytest.raises(errors.UnreachableError, match="no answer within"):
        hf_localize.list_s3_datasets()
    assert time.monotonic() - begun < 3 * 2
    time.sleep(3)  # So that the doctor asks again.
    begun = time.monotonic()
    failed = {finding.area for finding in hf_localize.diagnose() if finding.state == "fail"}
    assert failed == {"bucket", "public"}
    assert time.monotonic() - begun < 3 * 2 + 6
