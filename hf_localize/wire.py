"""The bytes of one server, over HTTP/1.1 on connections that are kept open.

Only what moving data needs: a range of a file into a buffer, and a buffer as a file. With urllib3
or http.client a request takes several times as long in Python, which is most of what a small shard
costs (``benchmarks``); and a process may fork while others use it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import os
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from hf_localize.errors import RefusedError, UnreachableError

#: Adds a signature: (method, path and query, headers) → headers.
Sign = Callable[[str, str, Mapping[str, str]], dict[str, str]]
_MAX_HEAD_BYTES = 64 << 10
_MAX_ERROR_BYTES = 64 << 10
#: What is wrong, and what helps.
UNKNOWN_AUTHORITY = (
    "its certificate is not to be trusted; if it is from an authority of your own, name the file with that "
    "one's certificate in AWS_CA_BUNDLE"
)
_THROTTLED_BYTES = 64 << 10


class StatusError(Exception):
    """The server refused: its status, headers (names in small letters) and what it said."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body

    @property
    def retry_after_seconds(self) -> float | None:
        """Return how long the server wants to be left alone, where it says that.

        https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
        """
        said = self.headers.get("retry-after", "")
        if said.isdecimal():
            return float(said)
        with contextlib.suppress(ValueError):
            return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
        return None


class Throttle:
    """Keep all that passes below a rate, by making those wait who take more."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Return when *size_bytes* more may have passed."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size_bytes / self._rate
            pause = self._free_at - now
        time.sleep(max(0.0, pause))


@functools.cache
def throttle_of(bytes_per_second: float) -> Throttle:
    """Return the process's throttle for a rate: everything that has it shares it."""
    return Throttle(bytes_per_second)


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
        self._proxy = _proxy_of(parts.scheme, parts.hostname or "")
        self.is_tls = parts.scheme == "https"
        self._idle: list[_Connection] = []
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Wire({self._base_url})"

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        """Return the bytes of *key* (quoted) from *start* to before *stop*; None is its end.

        Raises:
            StatusError: the server refused.
            UnreachableError: no answer; or the server sends something else than that range.
        """
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        body = self._ask("GET", key, headers, ())
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
                return Body(self, connection, url, self._throttle, *connection.read_head())
            except (OSError, ValueError) as exc:
                if connection is not None:
                    connection.close()
                # A server ends connections that were idle for long: then a fresh one is tried.
                if was_used and not isinstance(exc, TimeoutError):
                    connection = None
                    continue
                if isinstance(exc, ssl.SSLCertVerificationError):
                    raise RefusedError(f"{url}: {UNKNOWN_AUTHORITY} ({exc.verify_message})") from exc
                raise UnreachableError(f"{url}: {_words(exc)}") from exc

    def _take(self) -> _Connection | None:
        if self._pid != os.getpid():  # A forked process must not speak on its parent's connections.
            self._idle, self._pid = [], os.getpid()
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def keep(self, connection: _Connection) -> None:
        """Take a connection back whose answer was read to its end."""
        if self._pid == os.getpid():
            self._idle.append(connection)

    def _connect(self) -> _Connection:
        host, port = _address(self._proxy.netloc if self._proxy else self._host, self.is_tls)
        # A connection takes no longer than a small part of what data may take.
        sock = socket.create_connection((host, port), timeout=min(5.0, self._timeout_seconds))
        sock.settimeout(self._timeout_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.is_tls:
            return _Connection(sock)
        try:
            if self._proxy:
                _open_tunnel(sock, self._host, self._proxy)
            name = _address(self._host, is_tls=True)[0]
            return _Connection(_tls(self._ca_bundle).wrap_socket(sock, server_hostname=name))
        except BaseException:
            sock.close()
            raise


class Body(io.RawIOBase):
    """What the server answers: status, headers, and the bytes as a raw stream."""

    def __init__(
        self,
        wire: Wire,
        connection: _Connection,
        url: str,
        throttle: Throttle | None,
        status: int,
        reason: str,
        headers: Mapping[str, str],
    ) -> None:
        self._wire = wire
        self._connection: _Connection | None = connection
        self._url = url
        self._throttle = throttle
        self.status = status
        self.reason = reason
        self.headers = headers
        length = headers.get("content-length", "")
        self._is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        #: Bytes that are still to come: of the body, or of the chunk under way; None: till the end.
        self.left_bytes: int | None = int(length) if length.isdigit() else None
        if self._is_chunked or status == 204:
            self.left_bytes = 0
        if self.left_bytes == 0 and not self._is_chunked:
            self._finish()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def is_range(self, start: int, stop: int | None) -> bool:
        """Tell whether this is exactly the range that was asked for."""
        said = self.headers.get("content-range", "")
        size = self.left_bytes
        return said.startswith(f"bytes {start}-") and (stop is None or size in (None, stop - start))

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end.

        Raises:
            UnreachableError: the connection broke, or nothing came for too long.
        """
        if self._connection is None:
            return 0
        view = memoryview(buffer).cast("B")
        if self._throttle is not None:
            view = view[:_THROTTLED_BYTES]
        try:
            if self._is_chunked and self.left_bytes == 0:
                self.left_bytes = self._connection.next_chunk()
                if self.left_bytes == 0:
                    self._finish()
                    return 0
            if self.left_bytes is not None:
                view = view[: self.left_bytes]
            got = self._connection.receive(view)
            if self._throttle is not None:
                self._throttle.take(got)
        except (OSError, ValueError) as exc:
            self.close()
            raise UnreachableError(f"{self._url}: broke off: {_words(exc)}") from exc
        if self.left_bytes is not None:
            if not got:
                self.close()
                raise UnreachableError(f"{self._url}: broke off: {self.left_bytes} bytes are missing")
            self.left_bytes -= got
            if self.left_bytes == 0 and not self._is_chunked:
                self._finish()
        elif not got:
            self.close()
        return got

    def read_all(self, limit_bytes: int | None = None) -> bytes:
        """Return the rest, or its first *limit_bytes*."""
        parts: list[bytes] = []
        buffer = bytearray(64 << 10)
        while (limit_bytes is None or sum(map(len, parts)) < limit_bytes) and (got := self.readinto(buffer)):
            parts.append(bytes(buffer[:got]))
        return b"".join(parts)[:limit_bytes]

    def close(self) -> None:
        """Give the connection up, unless everything was read."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().close()

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._wire.keep(connection)


class _Connection:
    """A socket, and what was received with the head of an answer but belongs to its body."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(_MAX_HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._from = self._to = 0

    def close(self) -> None:
        self._sock.close()

    def send(self, head: bytes, data: Any, throttle: Throttle | None) -> None:
        """Send a request. Where a server answers before it has all, that answer is what counts."""
        self._from = self._to = 0
        try:
            self._sock.sendall(head)
            if throttle is None:
                if data:
                    self._sock.sendall(data)
                return
            for start in range(0, len(data), _THROTTLED_BYTES):
                part = data[start : start + _THROTTLED_BYTES]
                throttle.take(len(part))
                self._sock.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            if not self._has_answer():
                raise

    def read_head(self) -> tuple[int, str, dict[str, str]]:
        """Return the status, the reason and the headers of the next answer."""
        while True:
            end = self._fill_until(b"\r\n\r\n")
            lines = bytes(self._view[self._from : end]).decode("latin-1").split("\r\n")
            self._from = end + 4
            version, _, rest = lines[0].partition(" ")
            status, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not status.isdigit():
                raise ValueError(f"not an answer of HTTP/1.1: {lines[0][:60]!r}")
            if int(status) >= 200:
                break  # Else it only says that the request is under way.
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if version == "HTTP/1.0":
            headers.setdefault("connection", "close")
        return int(status), reason, headers

    def receive(self, view: memoryview) -> int:
        """Receive into *view* what there is; 0: the server has closed the connection."""
        waiting = min(self._to - self._from, len(view))
        if waiting:
            view[:waiting] = self._view[self._from : self._from + waiting]
            self._from += waiting
            return waiting
        return self._sock.recv_into(view)

    def next_chunk(self) -> int:
        """Return the size of the next chunk, 0 after the last.

        https://www.rfc-editor.org/rfc/rfc9112#section-7.1
        """
        while self._to - self._from < 2:
            self._receive_more()
        if bytes(self._view[self._from : self._from + 2]) == b"\r\n":
            self._from += 2  # The end of the chunk before.
        end = self._fill_until(b"\r\n")
        size = int(bytes(self._view[self._from : end]).partition(b";")[0], 16)
        self._from = end + 2
        if size == 0:
            while (end := self._fill_until(b"\r\n")) > self._from:
                self._from = end + 2  # A trailer.
            self._from = end + 2
        return size

    def _fill_until(self, mark: bytes) -> int:
        while (end := self._buffer.find(mark, self._from, self._to)) < 0:
            self._receive_more()
        return end

    def _receive_more(self) -> None:
        if self._from:
            rest = bytes(self._view[self._from : self._to])
            self._view[: len(rest)] = rest
            self._from, self._to = 0, len(rest)
        if self._to == len(self._buffer):
            raise ValueError(f"more than {len(self._buffer)} bytes of headers")
        got = self._sock.recv_into(self._view[self._to :])
        if not got:
            raise ConnectionResetError("the server closed the connection without an answer")
        self._to += got

    def _has_answer(self) -> bool:
        try:
            self._receive_more()
        except OSError:
            return False
        return True


class _Proxy:
    """A proxy: where it is, and what it wants to be told."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self.netloc = parts.netloc.rpartition("@")[2]
        self.headers: dict[str, str] = {}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"


def _proxy_of(scheme: str, host: str) -> _Proxy | None:
    """Return the proxy that ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` name for *host*."""
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    return _Proxy(url) if url and not urllib.request.proxy_bypass(host) else None


def _open_tunnel(sock: socket.socket, netloc: str, proxy: _Proxy) -> None:
    host, port = _address(netloc, is_tls=True)
    lines = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    tunnel = _Connection(sock)
    tunnel.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode(), b"", None)
    status, reason, _ = tunnel.read_head()
    if status != 200:
        raise ConnectionError(f"the proxy {proxy.netloc} answered {status} {reason}")


def _address(netloc: str, is_tls: bool) -> tuple[str, int]:
    parts = urlsplit(f"//{netloc}")
    return parts.hostname or "", parts.port or (443 if is_tls else 80)


@functools.cache
def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    if ca_bundle is None:
        import certifi

        ca_bundle = certifi.where()
    if os.path.isdir(ca_bundle):
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)


def _words(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
