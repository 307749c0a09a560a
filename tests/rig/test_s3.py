"""Check that the S3 servers and the proxy do what the other tests rely on."""

from __future__ import annotations

import functools
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from tests.rig.s3 import S3Server, chosen_kind, start_server
from tests.rig.s3_proxy import (
    BlackHole,
    IgnoreConditions,
    LoseAnswer,
    RecordingProxy,
    Reset,
    Rule,
    Stall,
    Status,
    Truncate,
    WrongBytes,
)

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]
BODY = bytes(range(256)) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run the server that HGLOC_TEST_S3 names."""
    running = start_server(chosen_kind(), tmp_path_factory.mktemp("s3"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bucket(server: S3Server) -> str:
    """Give a bucket that the tests share: SeaweedFS takes 0.2 s to prepare one."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    server.create_bucket(name)
    return name


@pytest.fixture
def proxy(server: S3Server) -> Iterator[RecordingProxy]:
    """Stand before the server, able to sign for its publisher."""
    keys = {server.access_key: server.secret_key}
    with RecordingProxy(server.endpoint_url, secret_keys=keys) as running:
        yield running


@pytest.fixture
def client(server: S3Server, proxy: RecordingProxy) -> Any:
    """Reach the server through the proxy, with the publisher's rights."""
    return server.client(endpoint_url=proxy.url)


@pytest.fixture
def stored(client: Any, proxy: RecordingProxy, bucket: str) -> str:
    """Give the key of an object that holds BODY."""
    key = f"stored/{uuid.uuid4().hex}"
    client.put_object(Bucket=bucket, Key=key, Body=BODY)
    proxy.clear()
    return key


def read(client: Any, bucket: str, key: str) -> bytes:
    """Get a whole object."""
    body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def error_code(call: Callable[[], object]) -> str:
    """Give the code of the error that S3 answers a call with."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds that another thread does."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited for 10 s"
        time.sleep(0.01)


def plain_status(url: str) -> int:
    """Give the status of a GET without credentials and without boto3."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def plain_put(url: str, body: bytes) -> int:
    """Give the status of a PUT without credentials and without boto3."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc)
    connection.request("PUT", target.path, body=body)
    status = connection.getresponse().status
    connection.close()
    return status


def race(client: Any, bucket: str, racers: int) -> int:
    """Let *racers* threads create one key; give the number of those who succeed."""
    line = threading.Barrier(racers)
    key = f"race/{uuid.uuid4().hex}"

    def run(number: int) -> str:
        line.wait()
        try:
            client.put_object(Bucket=bucket, Key=key, Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(racers) as pool:
        outcomes = list(pool.map(run, range(racers)))
    assert set(outcomes) <= {"won", "PreconditionFailed", "ConditionalRequestConflict"}
    return outcomes.count("won")


# --- forwarding and recording ----------------------------------------------------------------


def test_objects_are_put_read_and_listed_through_the_proxy(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a folder/é+%.txt", Body=BODY)
    assert read(client, bucket, "a folder/é+%.txt") == BODY
    part = client.get_object(Bucket=bucket, Key="a folder/é+%.txt", Range="bytes=10-19")
    assert part["Body"].read() == BODY[10:20]
    listed = client.list_objects_v2(Bucket=bucket, Prefix="a folder/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["a folder/é+%.txt"]


def test_each_request_is_recorded_with_its_bytes(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a b", Body=BODY)
    client.head_object(Bucket=bucket, Key="a b")
    read(client, bucket, "a b")
    client.list_objects_v2(Bucket=bucket, Prefix="none/")
    put, head, get, listing = proxy.requests
    assert (put.method, put.path, put.status) == ("PUT", f"/{bucket}/a b", 200)
    assert (put.request_bytes, head.response_bytes, get.response_bytes) == (len(BODY), 0, len(BODY))
    assert (listing.query["list-type"], listing.query["prefix"]) == ("2", "none/")
    assert get.headers["host"] == proxy.url.removeprefix("http://")
    proxy.clear()
    assert proxy.requests == ()


def test_a_large_file_travels_in_parts(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    content = os.urandom(12 * MIB)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    client.upload_fileobj(io.BytesIO(content), bucket, "large", Config=config)
    parts = [request for request in proxy.requests if "partNumber" in request.query]
    assert sorted(part.request_bytes for part in parts) == [2 * MIB, 5 * MIB, 5 * MIB]
    assert read(client, bucket, "large") == content


def test_an_upload_that_waits_for_continue_passes(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    content = os.urandom(3 * MIB)
    client.put_object(Bucket=bucket, Key="waits", Body=io.BytesIO(content))
    assert proxy.requests[0].headers["expect"] == "100-continue"
    assert proxy.requests[0].request_bytes == len(content)
    assert read(client, bucket, "waits") == content


def test_a_chunked_upload_passes(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    url = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "chunked"})
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc)
    pieces = iter([BODY, b"x", BODY])
    connection.request("PUT", f"{target.path}?{target.query}", body=pieces, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert proxy.requests[0].headers["transfer-encoding"] == "chunked"
    assert proxy.requests[0].request_bytes == 2 * len(BODY) + 1
    assert read(client, bucket, "chunked") == BODY + b"x" + BODY


def test_a_connection_is_kept_alive(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="kept", Body=BODY)
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", f"/{bucket}/kept")
        connection.getresponse().read()
        assert connection.sock is first
    connection.close()


def test_threads_share_a_proxy(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    def round_trip(number: int) -> bool:
        content = b"%d" % number * 1000
        client.put_object(Bucket=bucket, Key=f"n/{number}", Body=content)
        return read(client, bucket, f"n/{number}") == content

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(64)))
    assert len(proxy.requests) == 128


def test_a_stopped_proxy_refuses_and_returns_on_its_port(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    url = proxy.url
    proxy.stop()
    with pytest.raises(EndpointConnectionError):
        read(client, bucket, stored)
    proxy.start()
    assert proxy.url == url
    assert read(client, bucket, stored) == BODY


def test_a_proxy_without_server_answers_bad_gateway(server: S3Server) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with RecordingProxy(target) as proxy:
            client = server.client(endpoint_url=proxy.url)
            assert error_code(client.list_buckets) == "BadGateway"


# --- what the servers grant ------------------------------------------------------------------


def test_public_read_is_what_supports_acl_says(
    server: S3Server, client: Any, proxy: RecordingProxy, bucket: str
) -> None:
    client.put_object(Bucket=bucket, Key="public", Body=b"x", ACL="public-read")
    client.put_object(Bucket=bucket, Key="private", Body=b"x")
    expected = 200 if server.supports_acl else 403
    assert plain_status(f"{proxy.url}/{bucket}/public") == expected
    assert plain_status(f"{proxy.url}/{bucket}/private") == 403
    anonymous = server.client(anonymous=True, endpoint_url=proxy.url)
    with pytest.raises(ClientError, match=r"403|AccessDenied"):  # moto: without an XML body
        read(anonymous, bucket, "private")
    assert "authorization" not in proxy.requests[-1].headers


def test_wrong_keys_are_refused_where_auth_is_enforced(
    server: S3Server, bucket: str, proxy: RecordingProxy
) -> None:
    wrong = server.client(secret_key="wrong", endpoint_url=proxy.url)
    if server.enforces_auth:
        assert error_code(lambda: wrong.list_objects_v2(Bucket=bucket)) == "SignatureDoesNotMatch"
    else:
        wrong.list_objects_v2(Bucket=bucket)


def test_the_reader_gets_objects_and_neither_lists_nor_writes(
    server: S3Server, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    if not server.enforces_auth:
        assert server.reader_access_key is None
        pytest.skip(f"{server.name} has no identities")
    reader = server.client(
        access_key=server.reader_access_key,
        secret_key=server.reader_secret_key,
        endpoint_url=proxy.url,
    )
    assert read(reader, bucket, stored) == BODY
    refused: list[Callable[[], object]] = [
        lambda: reader.list_objects_v2(Bucket=bucket),
        lambda: reader.put_object(Bucket=bucket, Key="new", Body=b"x"),
        lambda: reader.delete_object(Bucket=bucket, Key=stored),
        lambda: reader.create_multipart_upload(Bucket=bucket, Key="new"),
        lambda: reader.create_bucket(Bucket=f"{bucket}-2"),
    ]
    assert {error_code(call) for call in refused} == {"AccessDenied"}


def test_a_missing_bucket_is_not_made_by_a_put(client: Any) -> None:
    name = f"missing-{uuid.uuid4().hex[:12]}"
    assert error_code(lambda: client.put_object(Bucket=name, Key="x", Body=b"x")) == "NoSuchBucket"


# --- conditional writes ----------------------------------------------------------------------


def test_one_racer_wins_a_conditional_put(client: Any, bucket: str) -> None:
    assert {race(client, bucket, racers=8) for _ in range(20)} == {1}


def test_all_racers_win_where_conditions_are_ignored(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    proxy.fail(Rule("PUT", "", IgnoreConditions(), header="If-None-Match"))
    assert race(client, bucket, racers=8) == 8
    assert all(request.headers["if-none-match"] == "*" for request in proxy.requests)


def test_a_stale_etag_overwrites_where_conditions_are_ignored(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    def overwrite() -> object:
        return client.put_object(Bucket=bucket, Key=stored, Body=b"new", IfMatch='"0123"')

    assert error_code(overwrite) == "PreconditionFailed"
    proxy.fail(Rule("PUT", "", IgnoreConditions()))
    overwrite()
    assert read(client, bucket, stored) == b"new"


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (503, "SlowDown"), (500, "InternalError")]
)
def test_a_status_is_seen_as_the_error_it_names(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str, status: int, code: str
) -> None:
    proxy.fail(Rule("GET", f"/{stored}$", Status(status, code, {"Retry-After": "1"})))
    with pytest.raises(ClientError) as caught:
        read(client, bucket, stored)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert [request.status for request in proxy.requests] == [status]
    client.head_object(Bucket=bucket, Key=stored)  # another method: another request


def test_a_status_meets_head_and_uploads_too(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    proxy.fail(Rule(None, "", Status(403, "AccessDenied")))
    assert error_code(lambda: client.head_object(Bucket=bucket, Key=stored)) == "403"
    for body in (BODY, io.BytesIO(BODY)):
        put = functools.partial(client.put_object, Bucket=bucket, Key=f"{stored}-2", Body=body)
        assert error_code(put) == "AccessDenied"
    assert plain_put(f"{proxy.url}/{bucket}/{stored}-2", BODY) == 403
    # boto3 waits for 100-continue before it sends a body, the plain client does not
    assert [request.request_bytes for request in proxy.requests] == [0, 0, 0, len(BODY)]
    proxy.heal()
    assert client.list_objects_v2(Bucket=bucket, Prefix=f"{stored}-2")["KeyCount"] == 0


def test_a_rule_can_ask_for_a_header(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    refusal = Status(400, "AccessControlListNotSupported")
    proxy.fail(Rule("PUT", "", refusal, header="x-amz-acl"))

    def put(**extra: str) -> object:
        return client.put_object(Bucket=bucket, Key="k", Body=b"x", **extra)

    assert error_code(lambda: put(ACL="public-read")) == "AccessControlListNotSupported"
    put()


def test_a_rule_can_ask_for_a_query_parameter(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    proxy.fail(Rule("GET", "", Status(403, "AccessDenied"), query="list-type"))
    assert error_code(lambda: client.list_objects_v2(Bucket=bucket)) == "AccessDenied"
    assert read(client, bucket, stored) == BODY


def test_a_rule_is_spent_after_its_times(
    server: S3Server, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    proxy.fail(Rule("GET", "", Status(503, "SlowDown"), times=1))
    retrying = server.client(endpoint_url=proxy.url, max_attempts=3)
    assert read(retrying, bucket, stored) == BODY
    assert [request.status for request in proxy.requests] == [503, 200]


def test_heal_ends_a_fault(client: Any, proxy: RecordingProxy, bucket: str, stored: str) -> None:
    proxy.fail(Rule(None, "", Reset()))
    with pytest.raises(ConnectionClosedError):
        read(client, bucket, stored)
    assert [request.status for request in proxy.requests] == [None]
    proxy.heal()
    assert read(client, bucket, stored) == BODY


@pytest.mark.parametrize("action", [Reset(after_bytes=5000), Truncate(after_bytes=5000)])
def test_a_broken_download_is_an_error_after_its_first_bytes(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str, action: Reset | Truncate
) -> None:
    proxy.fail(Rule("GET", stored, action))
    body = client.get_object(Bucket=bucket, Key=stored)["Body"]
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        body.read()
    assert [request.response_bytes for request in proxy.requests] == [5000]


def test_an_upload_reset_midway_leaves_no_object(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    proxy.fail(Rule("PUT", "", Reset(after_bytes=MIB)))
    for body in (BODY * 12, io.BytesIO(BODY * 12)):
        with pytest.raises(ConnectionClosedError):
            client.put_object(Bucket=bucket, Key="half", Body=body)
    assert [request.request_bytes for request in proxy.requests] == [MIB, MIB]
    proxy.heal()
    assert client.list_objects_v2(Bucket=bucket, Prefix="half")["KeyCount"] == 0


def test_a_lost_answer_leaves_the_object(client: Any, proxy: RecordingProxy, bucket: str) -> None:
    proxy.fail(Rule("PUT", "", LoseAnswer()))
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=bucket, Key="there", Body=BODY)
    assert read(client, bucket, "there") == BODY


def test_wrong_bytes_have_the_right_length(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    proxy.fail(Rule("GET", "", WrongBytes()))
    received = read(client, bucket, stored)
    assert len(received) == len(BODY)
    assert not any(a == b for a, b in zip(received, BODY, strict=True))
    assert error_code(lambda: read(client, bucket, "missing")) == "NoSuchKey"


@pytest.mark.parametrize("after_bytes", [None, 100])
def test_a_stall_delays_a_download(
    client: Any, proxy: RecordingProxy, bucket: str, stored: str, after_bytes: int | None
) -> None:
    proxy.fail(Rule("GET", "", Stall(0.3, after_bytes)))
    begin = time.monotonic()
    assert read(client, bucket, stored) == BODY
    assert time.monotonic() - begin >= 0.3


def test_a_stall_exceeds_a_read_timeout(
    server: S3Server, proxy: RecordingProxy, bucket: str, stored: str
) -> None:
    impatient = server.client(endpoint_url=proxy.url, read_timeout_seconds=0.3)
    proxy.fail(Rule("GET", "", Stall(30), times=1))
    with pytest.raises(ReadTimeoutError):
        read(impatient, bucket, stored)
    proxy.fail(Rule("GET", "", Stall(30, after_bytes=100)))
    with pytest.raises(ReadTimeoutError):
        read(impatient, bucket, stored)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_black_hole_never_answers(
    server: S3Server, proxy: RecordingProxy, bucket: str, stored: str, method: str
) -> None:
    impatient = server.client(endpoint_url=proxy.url, read_timeout_seconds=0.3)
    proxy.fail(Rule(method, "", BlackHole()))
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: read(impatient, bucket, stored),
        "PUT": lambda: impatient.put_object(Bucket=bucket, Key=stored, Body=BODY),
    }
    with pytest.raises(ReadTimeoutError):
        calls[method]()
    wait_for(lambda: len(proxy.requests) == 1)
    assert proxy.requests[0].status is None


def test_stop_frees_those_who_wait(client: Any, proxy: RecordingProxy, bucket: str, stored: str) -> None:
    proxy.fail(Rule("GET", "", BlackHole(), times=1))
    proxy.fail(Rule("GET", "", Stall(60)))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(read, client, bucket, stored) for _ in range(2)]
        wait_for(lambda: len(proxy.requests) == 2)
        begin = time.monotonic()
        proxy.stop()
        for future in waiting:
            assert isinstance(future.exception(timeout=10), ConnectionClosedError)
        assert time.monotonic() - begin < 10


# --- processes -------------------------------------------------------------------------------


def test_a_restarted_server_is_empty_and_a_stopped_one_is_gone(tmp_path: Path) -> None:
    server = start_server(chosen_kind(), tmp_path)
    try:
        server.create_bucket("first-life")
        old = urlsplit(server.endpoint_url)
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(old.hostname), int(old.port or 0)), timeout=1)
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.endpoint_url
        server.start()
        assert server.client().list_buckets()["Buckets"] == []
    finally:
        server.stop()


def test_an_unknown_kind_of_server_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="moto, seaweedfs"):
        start_server("minio", tmp_path)


def test_the_script_exports_settings_and_ends_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.rig.s3", "--kind", "moto"]
    command += ["--folder", str(tmp_path), "--bucket", "made-by-script"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(5)]
    exports = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert exports["HGLOC_S3_BUCKET_NAME"] == "made-by-script"
    url = urlsplit(exports["HGLOC_S3_ENDPOINT_URL"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    process.stdout.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=1)
