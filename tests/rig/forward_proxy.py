"""A forward proxy on 127.0.0.1, as companies have one: it alone knows where the named hosts are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from tests.rig.tls import pass_on

Address = tuple[str, int]


class ForwardProxy:
    """Take ``CONNECT host:port`` and ``GET http://host/…``, and pass them on to where *hosts* says.

    A client that reaches one of *hosts*, which no name server knows, has come through here.
    """

    def __init__(self, hosts: Mapping[str, Address]) -> None:
        self._hosts = hosts
        #: The first line of each request.
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError, KeyError), client:
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
                back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
                back.start()
                pass_on(client, server)
                back.join()
