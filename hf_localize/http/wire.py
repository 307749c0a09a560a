"""The bytes of one server, over HTTP/1.1 on connections that are kept open.

Only what moving data needs: a range of a file into a buffer, and a buffer as a file. With urllib3
or http.client a request takes several times as long in Python, which is most of what a small shard
costs (``benchmarks``); and a process may fork while others use it.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from hf_localize.errors import IntegrityError, RefusedError, UnreachableError
from hf_localize.http.http1 import Body, HttpConnection, StatusError, words_of
from hf_localize.http.sockets import UNKNOWN_AUTHORITY, open_socket, proxy_of
from hf_localize.http.throttle import throttle_of

#: Adds a signature: (method, path and query, headers) → headers.
Sign = Callable[[str, str, Mapping[str, str]], dict[str, str]]
_MAX_ERROR_BYTES = 64 << 10


class TooShortError(IntegrityError):
    """The file ends before what was asked for: it was cut. Another try is of no use."""


class Wire:
    """Requests to the files below one base URL. Threads and forked processes may share it."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        ca_bundle: str | None = None,
        sign: Sign | None = None,
        bytes_per_second: float | None = None,
    ) -> None:
        """Describe the server; nothing is connected yet.

        Args:
            base_url: ``http://host/path``, quoted; keys are put after it.
            timeout_seconds: how long to wait for the next bytes, or for a connection.
            ca_bundle: file with the certificates to trust; None: those of certifi.
            sign: signs each request; None: anonymous.
            bytes_per_second: a cap that the process's transfers share.
        """
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._ca_bundle = ca_bundle
        self._sign = sign
        self._throttle = throttle_of(bytes_per_second) if bytes_per_second else None
        self._proxy = proxy_of(parts.scheme, parts.hostname or "")
        self.is_tls = parts.scheme == "https"
        self._idle: list[HttpConnection] = []
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Wire({self._base_url})"

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        """Return the bytes of *key* (quoted) from *start* to before *stop*; None is its end.

        Raises:
            StatusError: the server refused.
            TooShortError: the file ends before *stop*.
            UnreachableError: no answer; or the server sends something else than that range.
        """
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            body = self._ask("GET", key, headers, ())
        except StatusError as exc:
            if exc.status == 416:
                raise TooShortError(f"{self._base_url}/{key} ends before byte {start} (416)") from exc
            raise
        if stop is not None and body.total_bytes is not None and body.total_bytes < stop:
            body.close()
            raise TooShortError(f"{self._base_url}/{key} has {body.total_bytes} bytes, {stop} are needed")
        wanted = None if stop is None else stop - start
        whole_is_range = start == 0 and wanted in (None, body.left_bytes)
        if headers and body.status != 206 and not whole_is_range:
            body.close()
            raise UnreachableError(f"{self._base_url}/{key}: the server does not serve ranges")
        if body.status == 206 and not body.is_range(start, stop):
            body.close()
            raise UnreachableError(f"{self._base_url}/{key}: the server answered with another range")
        return body

    def put(self, key: str, data: Any, headers: Mapping[str, str], query: str = "") -> Mapping[str, str]:
        """Send *data* (a buffer) as *key* (quoted) and return the answer's headers.

        Raises:
            StatusError: the server refused.
            UnreachableError: no answer.
        """
        view = memoryview(data)
        target = f"{key}?{query}" if query else key
        with self._ask("PUT", target, {**headers, "Content-Length": str(view.nbytes)}, view) as body:
            said = body.read_all(_MAX_ERROR_BYTES)
        if b"<Error>" in said:  # S3 may begin an answer before it knows how it ends.
            raise StatusError(body.status, body.reason, body.headers, said)
        return body.headers

    def _ask(self, method: str, key: str, headers: Mapping[str, str], data: Any) -> Body:
        target = f"{self._path}/{key}"
        sent = {"Host": self._host, **headers}
        if self._sign is not None:
            sent = self._sign(method, target, sent)
        if self._proxy and not self.is_tls:
            target = f"http://{self._host}{target}"
            sent |= self._proxy.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        head = f"{method} {target} HTTP/1.1\r\n{lines}Accept-Encoding: identity\r\n\r\n".encode("latin-1")
        body = self._exchange(head, data, f"{self._base_url}/{key.partition('?')[0]}")
        if body.status < 300:
            return body
        with body:
            said = body.read_all(_MAX_ERROR_BYTES)
        raise StatusError(body.status, body.reason, body.headers, said)

    def _exchange(self, head: bytes, data: Any, url: str) -> Body:
        connection = self._take()
        while True:
            was_used = connection is not None
            try:
                connection = connection or self._connect()
                connection.send(head, data, self._throttle)
                return Body(connection, self._keep, url, self._throttle, *connection.read_head())
            except (OSError, ValueError) as exc:
                if connection is not None:
                    connection.close()
                # A server ends connections that were idle for long: then a fresh one is tried.
                if was_used and not isinstance(exc, TimeoutError):
                    connection = None
                    continue
                if isinstance(exc, ssl.SSLCertVerificationError):
                    raise RefusedError(f"{url}: {UNKNOWN_AUTHORITY} ({exc.verify_message})") from exc
                raise UnreachableError(f"{url}: {words_of(exc)}") from exc

    def _take(self) -> HttpConnection | None:
        if self._pid != os.getpid():  # A forked process must not speak on its parent's connections.
            self._idle, self._pid = [], os.getpid()
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _keep(self, connection: HttpConnection) -> None:
        """Take a connection back whose answer was read to its end."""
        if self._pid == os.getpid():
            self._idle.append(connection)

    def _connect(self) -> HttpConnection:
        sock = open_socket(
            self._host,
            is_tls=self.is_tls,
            proxy=self._proxy,
            ca_bundle=self._ca_bundle,
            timeout_seconds=self._timeout_seconds,
        )
        return HttpConnection(sock)
