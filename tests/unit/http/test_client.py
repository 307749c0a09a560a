"""The HTTP client: time limits, chunked responses, its own name."""

from __future__ import annotations

import socket
import threading

import pytest

import hf_localize
from hf_localize import errors
from hf_localize.http.client import Wire

#: What a server says before it falls silent.
SILENCES = {
    "before the head": b"",
    "in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
}


@pytest.mark.parametrize("said", SILENCES.values(), ids=SILENCES)
def test_a_transfer_is_given_up_where_the_server_falls_silent(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3)
        threading.Thread(target=_say, args=(listener, said), daemon=True).start()
        with pytest.raises(errors.UnreachableError, match="TimeoutError: timed out"):
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
