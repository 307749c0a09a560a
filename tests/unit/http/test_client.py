"""The HTTP client: time limits, chunked responses, its own name."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

import hf_localize
from hf_localize import errors
from hf_localize.http.client import Wire
from hf_localize.http.public_files import PublicFiles

#: What a server sends before it falls silent, and what the error says.
SILENCES = {
    "before the head": (b"", "no response within 0.3 s"),
    "in the head": (b"HTTP/1.1 200 OK\r\nContent-Le", "no response within 0.3 s"),
    "in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "TimeoutError: timed out"),
}


@pytest.mark.parametrize(("said", "problem"), SILENCES.values(), ids=SILENCES)
def test_a_transfer_is_given_up_where_the_server_falls_silent(said: bytes, problem: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3)
        threading.Thread(target=_say, args=(listener, said), daemon=True).start()
        with pytest.raises(errors.UnreachableError, match=problem):
            wire.get("key").read_all()


def test_a_transfer_is_given_up_where_the_server_takes_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3)
        with pytest.raises(errors.UnreachableError, match="TimeoutError: timed out"):
            wire.put("key", bytes(64 << 20), {})


def _say(listener: socket.socket, said: bytes) -> None:
    client, _ = listener.accept()
    with client:
        client.recv(64 << 10)
        client.sendall(said)
        client.recv(1)  # Until the other side has given up.


@pytest.mark.parametrize(
    "length", [b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc", b"Content-Length: 3\r\n\r\nabc"]
)
@pytest.mark.parametrize("status", [b"206 Partial Content\r\nContent-Range: bytes 2-6/10", b"200 OK"])
def test_a_response_that_a_proxy_has_compressed_is_told_at_once(status: bytes, length: bytes) -> None:
    said = b"HTTP/1.1 " + status + b"\r\nContent-Encoding: gzip\r\n" + length
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=3)
        threading.Thread(target=_say, args=(listener, said), daemon=True).start()
        with pytest.raises(
            errors.RefusedError, match=r"compressed the response .*Content-Encoding: gzip.* NO_PROXY"
        ):
            wire.get("key", 2, 7)


def test_a_request_names_its_client_and_a_range_may_come_in_chunks() -> None:
    heads: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            heads.append(client.recv(64 << 10))
            client.sendall(
                b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-6/10\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n3\r\n234\r\n2\r\n56\r\n0\r\n\r\n"
            )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=5)
        assert wire.get("key", 2, 7).read_all() == b"23456"
        thread.join()
    assert f"user-agent: hf_localize/{hf_localize.__version__}".encode() in heads[0].lower()


ODD_HEADERS = {
    "a year that no date has": b"503 X\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "an offset that no time has": b"429 X\r\nRetry-After: 1 Jan 1 0:0:0 +99999999999999999999",
    "no date": b"429 X\r\nRetry-After: soon",
    "a redirect to no URL": b"308 X\r\nLocation: http://[bad/",
    "a redirect to nowhere": b"301 X",
}


@pytest.mark.parametrize("head", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_headers_that_make_no_sense_are_that_servers_answer(head: bytes) -> None:
    said = b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=_say, args=(listener, said), daemon=True).start()
        with pytest.raises(errors.UnreachableError, match=url):
            PublicFiles(url, 5.0).open_range("key")


def test_a_size_of_thousands_of_digits_is_none() -> None:
    said = b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\nContent-Length: 2\r\n\r\nab"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_say, args=(listener, said), daemon=True).start()
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=5)
        assert wire.get("key", 0, 2).read_all() == b"ab"


@pytest.mark.parametrize("status", [301, 308, 400, 407, 410, 501])
def test_public_files_that_are_refused_for_good_are_asked_for_once(status: int) -> None:
    said = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
    asked: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # Until it is closed.
            while True:
                asked.append(listener.accept()[0])
                asked[-1].recv(64 << 10)
                asked[-1].sendall(said)
                asked[-1].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        files = PublicFiles(f"http://127.0.0.1:{listener.getsockname()[1]}", 5.0)
        with pytest.raises(errors.RefusedError):
            files.get("key", limit_bytes=1)
    assert len(asked) == 1
