"""A forward proxy on 127.0.0.1, as companies have one: it alone knows where the named hosts are."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from tests.rig.relay import Relay, join

Address = tuple[str, int]


class ForwardProxy(Relay):
    """Take ``CONNECT host:port`` and ``GET http://host/…``, and pass them on to where *hosts* says.

    A client that reaches one of *hosts*, which no name server knows, has come through here.
    """

    def __init__(self, hosts: Mapping[str, Address]) -> None:
        self._hosts = hosts
        #: The first line of each request.
        self.asked: list[str] = []
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        """Pass on one connection; one that asks for no known host is closed."""
        with suppress(ValueError, KeyError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (got := client.recv(64 << 10)):
                    return
                head += got
            line, _, rest = head.partition(b"\r\n")
            self.asked.append(line.decode())
            method, target, version = line.decode().split(" ")
            url = urlsplit(f"//{target}" if method == "CONNECT" else target)
            with socket.create_connection(self._hosts[url.hostname or ""]) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:  # One request to a connection, so that each is seen here.
                    path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
                    rest = b"Connection: close\r\n" + rest
                    server.sendall(f"{method} {path} {version}\r\n".encode() + rest)
                join(client, server)
