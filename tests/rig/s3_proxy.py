"""Stand between an S3 client and a server: record each request, make faults at the wire.

    with RecordingProxy(server.endpoint_url) as proxy:
        client = server.client(endpoint_url=proxy.url)
        proxy.fail(Rule("GET", r"/bucket/broken$", Status(503, "SlowDown"), times=2))

Bodies are streamed both ways. Each request travels on a connection of its own to the server;
the client's connection is kept alive.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from io import BufferedReader
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

_PIECE = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONTINUE_SECONDS = 1.0
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
_CONDITIONS = {"if-match", "if-none-match"}

Headers = list[tuple[str, str]]

if TYPE_CHECKING:
    from typing_extensions import Self

# --- what happened ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """Tell what passed in one request.

    *path* is percent-decoded, header names are lower-case. *status* is what the client was
    sent: None where nothing was, or not yet. Bytes count bodies, as far as they came.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int | None
    request_bytes: int
    response_bytes: int


# --- what shall happen -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with an error of S3's form; the server does not see the request.

    Code 200 is an error all the same: S3 begins some answers before it knows how they end.
    """

    code: int
    error_code: str = "InternalError"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Answer with any bytes, as a gateway, a firewall or a login page does; the server does not see the request."""

    code: int
    body: bytes = b""
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection: at once, or after so many bytes of the body.

    The body is the request's if it has one (an upload), else the response's. At once means
    that the server does not see the request. A body that is shorter passes unharmed.
    """

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Let the server do what is asked, and reset the connection instead of its answer."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """Announce the whole response body, send so many bytes of it, and close."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class WrongBytes:
    """Invert each byte of a successful response body; length and headers stay."""


@dataclass(frozen=True, slots=True)
class WrongUpload:
    """Invert one byte of a request's body on its way to the server; length and headers stay."""

    at_byte: int = 0


@dataclass(frozen=True, slots=True)
class Stall:
    """Hold the response back: all of it, or what follows so many bytes of its body."""

    seconds: float
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Take the request and never answer, until the client leaves or the proxy stops."""


@dataclass(frozen=True, slots=True)
class IgnoreConditions:
    """Forward without If-Match and If-None-Match: a server without compare-and-swap."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """Let no more than so many bytes of the bodies pass in a second."""

    bytes_per_second: int


Action = (
    Status
    | Page
    | Reset
    | LoseAnswer
    | Truncate
    | WrongBytes
    | WrongUpload
    | Stall
    | BlackHole
    | IgnoreConditions
    | Narrow
)
#: Is told of each request when it arrives, and may say what happens to it.
Watch = Callable[[Request], "Action | None"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Say which requests meet an action.

    *path_regex* is searched in the decoded path. *header* and *query* name a request header
    and a query parameter that must be there. After *times* matches the rule is spent.
    """

    method: str | None
    path_regex: str
    action: Action
    times: int | None = None
    header: str | None = None
    query: str | None = None

    def matches(self, request: Request) -> bool:
        """Tell whether the rule speaks of this request."""
        return (
            self.method in (None, request.method)
            and re.search(self.path_regex, request.path) is not None
            and (self.header is None or self.header.lower() in request.headers)
            and (self.query is None or self.query in request.query)
        )


# --- the proxy -------------------------------------------------------------------------------


class RecordingProxy:
    """Forward HTTP/1.1 from a port on 127.0.0.1 to *target_url*.

    Signatures stay valid, since the client's Host header is kept. IgnoreConditions alone
    breaks them: for a server that verifies signatures give *secret_keys*, access key → secret
    key, and the proxy signs anew.

    Two attributes may be changed while it runs: *watch* is called with each request before
    anything happens to it, and comes before the rules; *ahead_seconds* is added to the time that
    answers say it is.

    Args:
        tls: what to speak TLS with, to clients.
    """

    def __init__(
        self,
        target_url: str,
        secret_keys: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        target = urlsplit(target_url)
        if target.scheme != "http" or target.hostname is None:
            raise ValueError(f"the proxy forwards to http:// only, not to {target_url!r}")
        self.target = (target.hostname, target.port or 80)
        self.secret_keys = dict(secret_keys or {})
        self.tls = tls
        self.watch: Watch | None = None
        self.ahead_seconds = 0.0
        self._lock = threading.Lock()
        self._exchanges: list[_Exchange] = []
        self._rules: list[_CountedRule] = []
        self._run: _Run | None = None
        # Bound and never listening: keeps the port ours while the proxy is stopped.
        self._reserved = _bound_socket(0)
        self._port: int = self._reserved.getsockname()[1]

    @property
    def url(self) -> str:
        """Give the proxy's URL; it stays the same over stop and start."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """Give the requests since the last `clear`, in the order they came."""
        with self._lock:
            return tuple(exchange.snapshot() for exchange in self._exchanges)

    def clear(self) -> None:
        """Forget the recorded requests."""
        with self._lock:
            self._exchanges.clear()

    def fail(self, rule: Rule) -> None:
        """Add a rule; the first one that matches and is not spent decides."""
        with self._lock:
            self._rules.append(_CountedRule(rule, rule.times))

    def heal(self) -> None:
        """Drop all rules."""
        with self._lock:
            self._rules.clear()

    def start(self) -> None:
        """Accept connections."""
        if self._run is not None:
            raise RuntimeError(f"the proxy runs already at {self.url}")
        self._run = _Run(self, _bound_socket(self._port))

    def stop(self) -> None:
        """Cut all connections and refuse new ones, until `start`."""
        if self._run is not None:
            self._run.stop()
            self._run = None

    def close(self) -> None:
        """Stop for good, and give the port back."""
        self.stop()
        self._reserved.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _admit(self, exchange: _Exchange) -> Action | None:
        """Record an exchange and choose what happens to it."""
        with self._lock:
            self._exchanges.append(exchange)
            request = exchange.snapshot()
        if self.watch is not None and (action := self.watch(request)) is not None:
            return action
        with self._lock:
            return next((rule.use() for rule in self._rules if rule.applies(request)), None)


@dataclass(slots=True)
class _CountedRule:
    rule: Rule
    left: int | None

    def applies(self, request: Request) -> bool:
        return self.left != 0 and self.rule.matches(request)

    def use(self) -> Action:
        if self.left is not None:
            self.left -= 1
        return self.rule.action


@dataclass(slots=True)
class _Exchange:
    """One request on its way; counted before bytes are sent on, so no reader is ahead of it."""

    method: str
    target: str
    headers: Headers
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0

    def snapshot(self) -> Request:
        path, _, query = self.target.partition("?")
        return Request(
            method=self.method,
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers},
            status=self.status,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
        )

    @property
    def has_body(self) -> bool:
        length = _find(self.headers, "content-length")
        return _is_chunked(self.headers) or (length is not None and int(length) > 0)

    @property
    def awaits_continue(self) -> bool:
        return (_find(self.headers, "expect") or "").lower() == "100-continue"

    @property
    def wants_close(self) -> bool:
        return "close" in (_find(self.headers, "connection") or "").lower()


class _Run:
    """The time between start and stop: a listener, its connections and their threads."""

    def __init__(self, proxy: RecordingProxy, listener: socket.socket) -> None:
        self.proxy = proxy
        self.closing = threading.Event()
        self._listener = listener
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        listener.listen(128)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        self.closing.set()
        with suppress(OSError):  # a connection of our own wakes the acceptor
            socket.create_connection(self._listener.getsockname()).close()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._sockets), list(self._threads)
        for open_socket in sockets:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)

    def hold(self, open_socket: socket.socket) -> None:
        """Take a socket into those that stop cuts."""
        with self._lock:
            self._sockets.add(open_socket)
        if self.closing.is_set():
            raise ConnectionAbortedError("the proxy is stopping")

    def release(self, open_socket: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(open_socket)
        open_socket.close()

    def _accept(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            if self.closing.is_set():
                accepted.close()
                return
            thread = threading.Thread(target=self._serve, args=(accepted,), daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        # A client or server that breaks off is an everyday event here.
        try:
            self.hold(accepted)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.proxy.tls is not None:
                with self._lock:
                    self._sockets.discard(accepted)
                accepted = self.proxy.tls.wrap_socket(accepted, server_side=True)
                self.hold(accepted)
            with accepted.makefile("rb") as stream:
                _Connection(self, accepted, stream).serve()
        except (OSError, ValueError):
            _reset_on_close(accepted)
        finally:
            self.release(accepted)
            with self._lock:
                self._threads.discard(threading.current_thread())


class _CutError(Exception):
    """The body is to end here, in good order or by a reset."""

    def __init__(self, reset: bool) -> None:
        self.reset = reset


class _Connection:
    """Serve one client's connection, request after request."""

    def __init__(self, run: _Run, client: socket.socket, stream: BufferedReader) -> None:
        self._run = run
        self._client = client
        self._stream = stream

    def serve(self) -> None:
        try:
            while self._serve_one():
                pass
        except _CutError as cut:
            if cut.reset:
                _reset_on_close(self._client)

    def _serve_one(self) -> bool:
        """Serve the next request; tell whether the connection can take another one."""
        head = _read_head(self._stream)
        if head is None:
            return False
        start, headers = head
        method, target, _ = start.split(" ", 2)
        exchange = _Exchange(method, target, headers)
        action = self._run.proxy._admit(exchange)
        reusable = self._act(exchange, action)
        return reusable and not exchange.wants_close

    def _act(self, exchange: _Exchange, action: Action | None) -> bool:
        match action:
            case Status() | Page():
                return self._answer(exchange, action)
            case BlackHole():
                return self._swallow(exchange)
            case Reset(after_bytes=0):
                raise _CutError(reset=True)
            case IgnoreConditions():
                return self._forward(exchange, self._without_conditions(exchange), None)
            case _:
                return self._forward(exchange, exchange.headers, action)

    # answers of the proxy itself

    def _answer(self, exchange: _Exchange, status: Status | Page) -> bool:
        unsent = exchange.has_body and exchange.awaits_continue  # the client holds it back
        if not unsent:
            for _ in self._upload_pieces(exchange, None):
                pass
        if isinstance(status, Page):
            body, headers = status.body, [("Content-Type", status.content_type)]
        else:
            body = _error_xml(status, exchange)
            headers = [("Content-Type", "application/xml"), *status.headers.items()]
        body = b"" if exchange.method == "HEAD" else body
        headers.append(("Content-Length", str(len(body))))
        headers += [("Connection", "close")] if unsent else []
        exchange.status, exchange.response_bytes = status.code, len(body)
        self._client.sendall(_head_bytes(f"HTTP/1.1 {status.code} Fault", headers) + body)
        return self._linger() if unsent else True

    def _swallow(self, exchange: _Exchange) -> bool:
        for piece in iter(lambda: self._stream.read1(_PIECE), b""):
            exchange.request_bytes += len(piece)
        return False

    def _linger(self) -> bool:
        """Close so that what the client still sends does not destroy its answer."""
        self._client.shutdown(socket.SHUT_WR)
        self._client.settimeout(_CONTINUE_SECONDS)
        with suppress(OSError):
            while self._client.recv(_PIECE):
                pass
        return False

    # forwarding

    def _forward(self, exchange: _Exchange, headers: Headers, action: Action | None) -> bool:
        try:
            server = socket.create_connection(self._run.proxy.target)
        except OSError:
            return self._answer(exchange, Status(502, "BadGateway"))
        try:
            self._run.hold(server)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with server.makefile("rb") as stream:
                return self._pass_through(exchange, headers, action, server, stream)
        except _CutError:
            _reset_on_close(server)
            raise
        finally:
            self._run.release(server)

    def _pass_through(
        self,
        exchange: _Exchange,
        headers: Headers,
        action: Action | None,
        server: socket.socket,
        stream: BufferedReader,
    ) -> bool:
        onward = [*_end_to_end(headers), ("Connection", "close")]
        server.sendall(_head_bytes(f"{exchange.method} {exchange.target} HTTP/1.1", onward))
        early = self._await_continue(exchange, server, stream)
        if early is None:
            self._upload(exchange, server, action)
            response = _read_final_head(stream)
        else:
            response = early
        whole = self._respond(exchange, response, stream, action)
        return whole if early is None else self._linger()

    def _await_continue(
        self, exchange: _Exchange, server: socket.socket, stream: BufferedReader
    ) -> tuple[str, Headers] | None:
        """Ask for the body; give the server's answer if it does not want the body."""
        if not (exchange.has_body and exchange.awaits_continue):
            return None
        readable, _, _ = select.select([server], [], [], _CONTINUE_SECONDS)
        if readable:
            head = _read_head(stream)
            if head is None:
                raise ConnectionResetError("the server left")
            if _status_of(head[0]) != 100:
                return head
        self._client.sendall(_CONTINUE)
        return None

    def _upload(self, exchange: _Exchange, server: socket.socket, action: Action | None) -> None:
        chunked = _is_chunked(exchange.headers)
        cut_at = action.after_bytes if isinstance(action, Reset) else None
        refused = False
        pieces = self._upload_pieces(exchange, cut_at)
        if isinstance(action, WrongUpload):
            pieces = _with_wrong_byte(pieces, action.at_byte)
        for piece in self._narrowed(pieces, action):
            if refused:
                continue  # the server has its answer ready, the client still sends
            try:
                server.sendall(_framed(piece, chunked))
            except OSError:
                refused = True
        if chunked and not refused:
            with suppress(OSError):
                server.sendall(b"0\r\n\r\n")

    def _upload_pieces(self, exchange: _Exchange, cut_at: int | None) -> Iterator[bytes]:
        pieces = _read_body(self._stream, exchange.headers, until_close=False)
        for piece in _cut(pieces, cut_at, reset=True):
            exchange.request_bytes += len(piece)
            yield piece

    def _respond(
        self,
        exchange: _Exchange,
        head: tuple[str, Headers],
        stream: BufferedReader,
        action: Action | None,
    ) -> bool:
        start, headers = head
        if isinstance(action, LoseAnswer):
            raise _CutError(reset=True)
        if isinstance(action, Stall) and action.after_bytes is None:
            self._wait(action.seconds)
        status = _status_of(start)
        bodiless = exchange.method == "HEAD" or status in (204, 304)
        endless = not (bodiless or _is_chunked(headers) or _find(headers, "content-length") is not None)
        onward = _end_to_end(self._dated(headers)) + ([("Connection", "close")] if endless else [])
        exchange.status = status
        self._client.sendall(_head_bytes(start, onward))
        if not bodiless:
            body = _read_body(stream, headers, until_close=True)
            self._download(exchange, self._shaped(body, exchange, action), _is_chunked(headers))
        return not endless

    def _download(self, exchange: _Exchange, body: Iterator[bytes], chunked: bool) -> None:
        for piece in body:
            exchange.response_bytes += len(piece)
            self._client.sendall(_framed(piece, chunked))
        if chunked:
            self._client.sendall(b"0\r\n\r\n")

    def _shaped(self, body: Iterator[bytes], exchange: _Exchange, action: Action | None) -> Iterator[bytes]:
        match action:
            case Truncate(after_bytes):
                return _cut(body, after_bytes, reset=False)
            case Reset(after_bytes) if not exchange.has_body:
                return _cut(body, after_bytes, reset=True)
            case Stall(seconds, int(after_bytes)):
                return self._paused(body, after_bytes, seconds)
            case WrongBytes() if exchange.status in (200, 206):
                return (piece.translate(_INVERTED) for piece in body)
            case Narrow():
                return self._narrowed(body, action)
            case _:
                return body

    def _narrowed(self, body: Iterator[bytes], action: Action | None) -> Iterator[bytes]:
        begun, passed = time.monotonic(), 0
        for piece in body:
            yield piece
            passed += len(piece)
            if isinstance(action, Narrow):
                self._wait(max(0.0, begun + passed / action.bytes_per_second - time.monotonic()))

    def _dated(self, headers: Headers) -> Headers:
        ahead = self._run.proxy.ahead_seconds
        if not ahead:
            return headers
        return [
            (name, formatdate(parsedate_to_datetime(value).timestamp() + ahead, usegmt=True))
            if name.lower() == "date"
            else (name, value)
            for name, value in headers
        ]

    def _paused(self, body: Iterator[bytes], after_bytes: int, seconds: float) -> Iterator[bytes]:
        left = after_bytes
        for piece in body:
            if 0 <= left < len(piece):
                yield piece[:left]
                self._wait(seconds)
                piece = piece[left:]
                left = -1
            elif left >= 0:
                left -= len(piece)
            yield piece

    def _wait(self, seconds: float) -> None:
        if self._run.closing.wait(seconds):
            raise ConnectionAbortedError("the proxy is stopping")

    def _without_conditions(self, exchange: _Exchange) -> Headers:
        kept = [pair for pair in exchange.headers if pair[0].lower() not in _CONDITIONS]
        return _signed_anew(exchange, kept, self._run.proxy.secret_keys)


# --- signatures ------------------------------------------------------------------------------


def _signed_anew(exchange: _Exchange, headers: Headers, secrets: Mapping[str, str]) -> Headers:
    """Sign a changed request as its client did (AWS Signature Version 4, in the header).

    Left as it is where there is no such signature, or no secret for its access key.
    """
    old = _find(headers, "authorization") or ""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=\w+", old
    )
    if found is None or found[1] not in secrets:
        return headers
    access_key, scope, signed = found.groups()
    present = {name.lower(): " ".join(value.split()) for name, value in headers}
    names = [name for name in signed.split(";") if name in present]
    path, _, query = exchange.target.partition("?")
    canonical = "\n".join(
        [
            exchange.method,
            path,
            "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)),
            *(f"{name}:{present[name]}" for name in names),
            "",
            ";".join(names),
            present.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{present['x-amz-date']}\n{scope}\n{digest}"
    signature = _hmac(_signing_key(secrets[access_key], scope), to_sign).hex()
    new = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return [(name, new if name.lower() == "authorization" else value) for name, value in headers]


def _signing_key(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):  # date, region, service, "aws4_request"
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


# --- HTTP/1.1 --------------------------------------------------------------------------------

_INVERTED = bytes(255 - byte for byte in range(256))


def _read_head(stream: BufferedReader) -> tuple[str, Headers] | None:
    """Read a start line and headers; None where the other side has closed."""
    start = _read_line(stream)
    if start is None:
        return None
    headers: Headers = []
    while line := _read_line(stream):
        name, _, value = line.partition(":")
        headers.append((name.strip(), value.strip()))
    return start, headers


def _read_line(stream: BufferedReader) -> str | None:
    line = stream.readline(_PIECE)
    return line.decode("latin-1").rstrip("\r\n") if line else None


def _read_final_head(stream: BufferedReader) -> tuple[str, Headers]:
    """Read the head of a response, past the interim ones (1xx)."""
    while head := _read_head(stream):
        if _status_of(head[0]) >= 200:
            return head
    raise ConnectionResetError("the server closed without an answer")


def _read_body(stream: BufferedReader, headers: Headers, *, until_close: bool) -> Iterator[bytes]:
    """Yield a body's bytes, without the framing of the transfer."""
    length = _find(headers, "content-length")
    if _is_chunked(headers):
        yield from _read_chunks(stream)
    elif length is not None:
        yield from _read_exactly(stream, int(length))
    elif until_close:
        yield from iter(lambda: stream.read1(_PIECE), b"")


def _read_chunks(stream: BufferedReader) -> Iterator[bytes]:
    while size := int((_read_line(stream) or "").partition(";")[0], 16):
        yield from _read_exactly(stream, size)
        _read_line(stream)
    while _read_line(stream):  # trailers are dropped
        pass


def _read_exactly(stream: BufferedReader, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read1(min(size, _PIECE))
        if not piece:
            raise ConnectionResetError(f"closed with {size} bytes of the body to come")
        size -= len(piece)
        yield piece


def _cut(pieces: Iterator[bytes], after_bytes: int | None, *, reset: bool) -> Iterator[bytes]:
    """Yield so many bytes, then raise _CutError; a shorter body passes."""
    if after_bytes is None:
        yield from pieces
        return
    left = after_bytes
    for piece in pieces:
        if len(piece) > left:
            if left:
                yield piece[:left]
            raise _CutError(reset)
        left -= len(piece)
        yield piece


def _with_wrong_byte(pieces: Iterator[bytes], at_byte: int) -> Iterator[bytes]:
    """Yield a body with one byte inverted; a shorter body passes."""
    start = 0
    for piece in pieces:
        index = at_byte - start
        start += len(piece)
        if 0 <= index < len(piece):
            piece = piece[:index] + bytes([255 - piece[index]]) + piece[index + 1 :]
        yield piece


def _framed(piece: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece


def _head_bytes(start: str, headers: Headers) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _end_to_end(headers: Headers) -> Headers:
    return [pair for pair in headers if pair[0].lower() not in _HOP_BY_HOP]


def _find(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def _is_chunked(headers: Headers) -> bool:
    return "chunked" in (_find(headers, "transfer-encoding") or "").lower()


def _status_of(start: str) -> int:
    return int(start.split(" ", 2)[1])


def _error_xml(status: Status, exchange: _Exchange) -> bytes:
    if status.code in (204, 304):
        return b""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{status.error_code}</Code>"
        f"<Message>a fault made by the test's proxy ({exchange.method})</Message>"
        "<RequestId>proxy</RequestId></Error>"
    ).encode()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset_on_close(open_socket: socket.socket) -> None:
    """Make the next close send RST instead of FIN."""
    with suppress(OSError):
        open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
