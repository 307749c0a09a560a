"""A server on 127.0.0.1 that stands for every host: by name, or as a proxy, in plain HTTP or with TLS."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.rig.relay import Relay

_ANSWER = (
    b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>"
)
_HEAD = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(_ANSWER)}\r\nConnection: close\r\n\r\n".encode()


@dataclass(frozen=True)
class Seen:
    """What of a request tells where it was to go, and how."""

    #: As a name server was asked for it, or the address in the URL.
    connected_to: str
    #: The names for which certificates were asked, outermost first; empty: plain HTTP.
    server_names: tuple[str, ...]
    line: str
    host: str
    region: str
    proxy_authorization: str


class Anywhere(Relay):
    """Answer 404 ``NoSuchKey`` to everything, and remember what was asked."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "anywhere-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._last_host = ""
        self.seen: list[Seen] = []
        #: Returns the whole response to a request; None: 404 ``NoSuchKey``.
        self.answer: Callable[[Seen], bytes | None] = lambda _: None
        super().__init__()

    def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        """Stand in for the system's name service: every host is here."""
        self._last_host = f"{host.decode() if isinstance(host, bytes) else host}:{port}"
        address = ("127.0.0.1", self.port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

    def serve(self, client: socket.socket) -> None:
        """Take one request, also after a ``CONNECT``."""
        connected_to, names = self._last_host, []
        with suppress(OSError, ssl.SSLError), client:
            proxy_authorization = ""
            while True:
                if (
                    client.recv(1, socket.MSG_PEEK) == b"\x16"
                    if not isinstance(client, ssl.SSLSocket)
                    else False
                ):
                    client, name = self._unwrap(client)
                    names.append(name)
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (got := client.recv(64 << 10)):
                        return
                    head += got
                text = head.decode("latin-1")
                proxy_authorization = proxy_authorization or _header(text, "Proxy-Authorization")
                scope = re.search(r"Credential=[^/]+/[0-9]+/([^/]+)/", _header(text, "Authorization"))
                self.seen.append(
                    Seen(
                        connected_to,
                        tuple(names),
                        text.partition("\r\n")[0],
                        _header(text, "Host"),
                        scope.group(1) if scope else "",
                        proxy_authorization,
                    )
                )
                if not text.startswith("CONNECT ") or isinstance(client, ssl.SSLSocket):
                    client.sendall(self.answer(self.seen[-1]) or _HEAD + _ANSWER)
                    return
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def _unwrap(self, client: socket.socket) -> tuple[ssl.SSLSocket, str]:
        names: list[str] = []

        def choose(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            names.append(name or "")
            sock.context = self._context(name or "127.0.0.1")

        context = self._context("127.0.0.1")
        context.sni_callback = choose
        return context.wrap_socket(client, server_side=True), (names or [""])[0]

    def _context(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._ca.issue_cert(name, "127.0.0.1", "::1").configure_cert(context)
            self._contexts[name] = context
        return self._contexts[name]


def response(status: int, body: str, **headers: str) -> bytes:
    """Return a response as it goes over the wire."""
    lines = {"Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n{body}".encode()


def _header(text: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", text, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else ""
