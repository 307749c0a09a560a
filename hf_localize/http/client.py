"""The bytes of one server over HTTP, by urllib3, with connections that stay open.

A range of a file goes straight into the caller's buffer, and a buffer is sent as a file.
"""

from __future__ import annotations

import functools
import http.client
import io
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.exceptions import SSLError as PoolSSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from hf_localize._version import __version__
from hf_localize.errors import IntegrityError, RefusedError, UnreachableError, without_frames
from hf_localize.http.deadline import NoAnswerError
from hf_localize.http.status import StatusError, place_in
from hf_localize.http.throttle import THROTTLED_BYTES, Throttle, throttle_of
from hf_localize.progress import sent
from hf_localize.settings.paths import expanded
from hf_localize.settings.secret import Secret

#: The ``User-Agent`` header of each request.
USER_AGENT = f"hf_localize/{__version__}"
#: What is wrong, and what helps.
UNKNOWN_AUTHORITY = (
    "its certificate is not trusted; if your company's own authority signed it, set "
    "AWS_CA_BUNDLE to the file with that authority's certificate"
)
#: The URL itself is not shown: what is wrong with it may be the password.
NO_PROXY = (
    "HTTP_PROXY or HTTPS_PROXY is not the URL of a proxy, such as http://proxy.example.org:3128. "
    "A user and password, percent-encoded, go before the host, as in user:password@host"
)
_MAX_ERROR_BYTES = 64 << 10
#: Bytes sent by one call: the time limit is one for each call.
_SENT_BYTES = 256 << 10
_CONNECT_SECONDS = 5.0
#: A size that has as many digits makes no sense, and Python may refuse to read it.
_MAX_DIGITS = 20
#: Most idle connections that are kept; more than may be in use at once.
_MAX_IDLE = 256


#: Returns a request's headers with a signature, by method, target (path and query, quoted) and headers.
Sign: TypeAlias = Callable[[str, str, Mapping[str, str]], dict[str, str]]


class TooShortError(IntegrityError):
    """The file ends before what was asked for: it was cut. Another try is of no use."""


class Wire:
    """Requests to the files below one base URL. Threads and forked processes may share it."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        upload_seconds: float | None = None,
        proxy_url: str | None = None,
        ca_bundle: str | None = None,
        sign: Sign | None = None,
        bytes_per_second: float | None = None,
    ) -> None:
        """Describe the server; nothing is connected yet.

        Args:
            base_url: ``http://host/path``, quoted; keys are put after it.
            timeout_seconds: how long to wait for a response, for its next bytes, or for a connection.
            upload_seconds: how long instead where a server is sent data; None: as long.
            proxy_url: the proxy to go through, with user and password if it wants them.
            ca_bundle: file, or folder, with the certificates to trust; None: those of certifi.
            sign: signs each request; None: anonymous.
            bytes_per_second: a cap that the process's transfers share.
        """
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = host_header(base_url)
        self._path = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._upload_seconds = upload_seconds or timeout_seconds
        self._proxy_url = proxy_url
        self._ca_bundle = ca_bundle
        self._sign = sign
        self._throttle = throttle_of(bytes_per_second) if bytes_per_second else None
        self.is_tls = parts.scheme == "https"
        #: A connection must not be shared across fork, so each process has a pool of its own.
        self._pools: dict[int, urllib3.HTTPConnectionPool] = {}

    def __repr__(self) -> str:
        return f"Wire({self._base_url})"

    def get(self, key: str, start: int = 0, stop: int | None = None, *, past_caches: bool = False) -> Body:
        """Return the bytes of *key* (quoted) from *start* to before *stop*; None is its end.

        Args:
            past_caches: a cache on the way has to ask the server whether it is still the same.

        Raises:
            StatusError: the server refused.
            TooShortError: the file ends before *stop*.
            RefusedError: a proxy has compressed the response.
            UnreachableError: no answer; or the server sends something else than that range.
        """
        headers = {"Cache-Control": "no-cache"} if past_caches else {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            body = self._ask("GET", key, headers, None)
        except StatusError as exc:
            if exc.status == 416:
                raise TooShortError(f"{self._base_url}/{key} ends before byte {start} (416)") from exc
            raise
        needed = None if stop is None else stop - start
        whole_is_range = start == 0 and needed in (None, body.left_bytes)
        is_right = (
            body.is_range(start, stop) if body.status == 206 else "Range" not in headers or whole_is_range
        )
        encoding = body.headers.get("content-encoding", "identity")
        # A server sends a file that was uploaded with an encoding unchanged, and states its length.
        if encoding != "identity" and (body.left_bytes is None or not is_right):
            body.close()
            raise RefusedError(
                f"{self._base_url}/{key}: a proxy has compressed the response (Content-Encoding: "
                f"{encoding}), which must come as it is: have it except this server, or name that in NO_PROXY"
            )
        if stop is not None and body.total_bytes is not None and body.total_bytes < stop:
            body.close()
            raise TooShortError(f"{self._base_url}/{key} has {body.total_bytes} bytes, {stop} are needed")
        if not is_right:
            body.close()
            what = "answered with another range" if body.status == 206 else "does not serve ranges"
            raise UnreachableError(f"{self._base_url}/{key}: the server {what}")
        return body

    def put(self, key: str, data: Any, headers: Mapping[str, str], query: str = "") -> Mapping[str, str]:
        """Send *data* (a buffer) as *key* (quoted) and return the answer's headers.

        Raises:
            StatusError: the server refused.
            UnreachableError: no answer, or that of something else than an S3 server.
        """
        view = memoryview(data)
        target = f"{key}?{query}" if query else key
        with self._ask("PUT", target, {**headers, "Content-Length": str(view.nbytes)}, view) as body:
            text = body.read_all(_MAX_ERROR_BYTES)
        if b"<Error>" in text:  # S3 may begin an answer before it knows how it ends.
            raise StatusError(body.status, body.reason, body.headers, text)
        if "etag" not in body.headers:
            problem = f"the response ({body.status}) is not one of S3: it has no ETag"
            raise UnreachableError(f"{self._base_url}/{key}: {problem}")
        return body.headers

    def _ask(self, method: str, key: str, headers: Mapping[str, str], data: memoryview | None) -> Body:
        target = f"{self._path}/{key}"
        body = self._exchange(method, target, self._headers(method, target, headers), data)
        if body.status < 300:
            return body
        with body:  # In no local variable, which tracebacks may show: some servers quote credentials.
            raise StatusError(body.status, body.reason, body.headers, body.read_all(_MAX_ERROR_BYTES))

    def _headers(self, method: str, target: str, headers: Mapping[str, str]) -> Secret[dict[str, str]]:
        """Return what is sent: *headers* signed, and so with credentials."""
        signed = {"Host": self._host, **headers}
        if self._sign is not None:
            signed = self._sign(method, target, signed)
        # After the signature, since a proxy may change these two.
        return Secret({**signed, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"})

    def _exchange(
        self, method: str, target: str, headers: Secret[dict[str, str]], data: memoryview | None
    ) -> Body:
        url = f"{self._origin}{target.partition('?')[0]}"
        pool = self._pool()
        proxied = self._proxy_url and not self.is_tls
        seconds = self._timeout_seconds if data is None else self._upload_seconds
        # A slow link may take long to take a chunk, which urllib3 counts as connecting.
        to_connect = min(_CONNECT_SECONDS, seconds) if data is None else seconds
        for is_last in (False, True):
            try:
                response = pool.urlopen(
                    method,
                    f"{self._origin}{target}" if proxied else target,
                    body=None if data is None else self._chunks(data),
                    headers=headers.reveal(),
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=urllib3.Timeout(connect=to_connect, read=seconds),
                )
                return Body(response, url, self._throttle)
            except (HTTPError, OSError) as exc:
                # A server closes connections that were idle for long: then a new one is tried.
                if is_last or not isinstance(exc, ProtocolError) or isinstance(exc.args[-1], TimeoutError):
                    raise self._failed(exc, url, seconds) from without_frames(exc)
            except ValueError:  # It may quote a header that has a credential, so it is no cause.
                break
        raise RefusedError(f"{url}: the request can't be sent as HTTP")

    def _failed(self, exc: Exception, url: str, seconds: float) -> UnreachableError:
        said = text_of(exc)
        if isinstance(exc, ReadTimeoutError):
            return NoAnswerError(f"{url}: no response within {seconds:g} s")
        if isinstance(exc, PoolSSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
            return RefusedError(f"{url}: {UNKNOWN_AUTHORITY} ({said})")
        if isinstance(exc, ProxyError):
            return UnreachableError(f"the proxy {place_in(self._proxy_url or '')}: {said} ({url})")
        if isinstance(exc, (NewConnectionError, ConnectTimeoutError)):
            return UnreachableError(f"{place_in(url)} could not be reached: {said}")
        return UnreachableError(f"{url}: {said}")

    def _chunks(self, data: memoryview) -> Iterator[Any]:
        """Yield *data* to be sent, no faster than allowed, and tell how much of it has been sent."""
        note = sent()
        step = THROTTLED_BYTES if self._throttle else _SENT_BYTES
        for start in range(0, len(data), step):
            chunk = data[start : start + step]
            if self._throttle is not None:
                self._throttle.take(len(chunk))
            yield chunk
            if note is not None:
                note(start + len(chunk))

    def _pool(self) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get(os.getpid())
        if pool is None:
            pool = self._pools.setdefault(os.getpid(), self._new_pool())
        return pool

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        options: dict[str, Any] = {"maxsize": _MAX_IDLE}
        if self.is_tls:
            options["ssl_context"] = trusting(self._ca_bundle)
        if self._proxy_url is None:
            return urllib3.PoolManager(**options).connection_from_url(self._base_url)
        if not is_proxy(self._proxy_url):
            raise RefusedError(NO_PROXY)
        if urlsplit(self._proxy_url).scheme == "https":
            options |= {"proxy_ssl_context": trusting(self._ca_bundle)}
            options.setdefault("ssl_context", trusting(self._ca_bundle))
        manager = urllib3.ProxyManager(
            self._proxy_url, proxy_headers=_proxy_headers(self._proxy_url), **options
        )
        return manager.connection_from_url(self._base_url)


class Body(io.RawIOBase):
    """What the server answers: status, headers (names in small letters), and the bytes as a raw stream."""

    def __init__(self, response: Any, url: str, throttle: Throttle | None) -> None:
        self._response = response
        self._url = url
        self._throttle = throttle
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        # urllib3's own `readinto` reads into bytes of its own first, and copies them.
        self._source: http.client.HTTPResponse = self._response._fp
        #: Bytes that are still to come; None: nobody knows.
        self.left_bytes: int | None = self._source.length
        if self.left_bytes == 0:
            self._finish()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    @property
    def total_bytes(self) -> int | None:
        """Return the size of the whole file of which this is a range, where the server tells it."""
        total = self.headers.get("content-range", "").rpartition("/")[2]
        if self.status == 200 and "transfer-encoding" not in self.headers:
            total = self.headers.get("content-length", "")
        return int(total) if total.isdecimal() and len(total) < _MAX_DIGITS else None

    def is_range(self, start: int, stop: int | None) -> bool:
        """Tell whether this is exactly the range that was asked for."""
        text = self.headers.get("content-range", "")
        return text.startswith(f"bytes {start}-") and (
            stop is None or self.left_bytes in (None, stop - start)
        )

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end.

        Raises:
            UnreachableError: the connection broke, or nothing came for too long.
        """
        if self._response is None:
            return 0
        view = memoryview(buffer).cast("B")
        if self._throttle is not None:
            view = view[:THROTTLED_BYTES]
        try:
            got = self._source.readinto(view)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            self.close()
            raise UnreachableError(f"{self._url}: broke off: {text_of(exc)}") from exc
        if self._throttle is not None:
            self._throttle.take(got)
        if self.left_bytes is not None:
            self.left_bytes -= got
            if not got and view.nbytes:
                self.close()
                raise UnreachableError(f"{self._url}: broke off: {self.left_bytes} bytes are missing")
        if self.left_bytes == 0 or (not got and view.nbytes):
            self._finish()
        return got

    def read_all(self, limit_bytes: int | None = None) -> bytes:
        """Return the rest, or its first *limit_bytes*."""
        parts: list[bytes] = []
        count = 0
        buffer = bytearray(64 << 10)
        while (limit_bytes is None or count < limit_bytes) and (got := self.readinto(buffer)):
            parts.append(bytes(buffer[:got]))
            count += got
        return b"".join(parts)[:limit_bytes]

    def close(self) -> None:
        """Give the connection up, unless everything was read."""
        if self._response is not None:
            self._response.close()
            self._finish()
        super().close()

    def _finish(self) -> None:
        """Give the connection back: to be used again where all was read."""
        response, self._response = self._response, None
        response.release_conn()


def host_header(url: str) -> str:
    """Return the ``Host`` header for requests to *url*: without the port that its scheme has anyway."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 80
    return f"{host}:{parts.port}" if parts.port not in (None, default) else host


def is_proxy(url: str | None) -> bool:
    """Tell whether *url* is one that a proxy can have; None is none, and right."""
    try:
        return url is None or (urlsplit(url).hostname is not None and urlsplit(url).port != 0)
    except ValueError:
        return False


def text_of(exc: BaseException) -> str:
    """Return the system's message for *exc* (for an error of urllib3, its cause); else its type and text."""
    while isinstance(exc, HTTPError):
        inner = exc.__cause__ or next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        exc = inner
    if isinstance(exc, PoolTimeoutError):
        return "timed out"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _proxy_headers(proxy_url: str) -> dict[str, str]:
    parts = urlsplit(proxy_url)
    if not parts.username:
        return {}
    return urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the TLS settings that trust the certificates in *ca_bundle*.

    Raises:
        RefusedError: it can't be used.
    """
    if ca_bundle is None:
        import certifi

        ca_bundle = certifi.where()
    try:
        return _trusting_path(expanded(ca_bundle))
    except OSError as exc:
        problem = exc.strerror or f"{exc}"
        raise RefusedError(
            f"the certificates in {ca_bundle} can't be read: {problem}. It is named by AWS_CA_BUNDLE, "
            "ca_bundle of the AWS profile, or REQUESTS_CA_BUNDLE: correct or unset that"
        ) from exc


@functools.cache
def _trusting_path(path: Path) -> ssl.SSLContext:
    """Do the same. The certificates are read once, not for each connection, which takes 20 ms."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if path.is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)
    return context
