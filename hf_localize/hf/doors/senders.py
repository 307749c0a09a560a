"""How each HTTP library sends a request to the Hub: what `transport` decides, as that library's response."""

from __future__ import annotations

import datetime as dt
import functools
import http.client
import io
import sys
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO

from huggingface_hub.utils import OfflineModeIsEnabled

from hf_localize.format.streams import ReadOnlyStream
from hf_localize.hf.doors.answer import REPOSITORIES, Reply
from hf_localize.hf.doors.state import goes_to_the_hub
from hf_localize.hf.doors.transport import (
    CHUNK_BYTES,
    Sender,
    exchange,
    is_read,
    request_of,
    the_hub,
    watched,
)


def _is_body_read(method: str, url: Any) -> bool:
    """Tell whether the body of a request decides what is answered, or what counts as changed."""
    asked = request_of(method, str(url), {}, b"")
    if asked is None or asked.method in ("GET", "HEAD"):
        return False
    return is_read(asked) or asked.path.startswith(REPOSITORIES)


def _whole(body: Any) -> bytes:
    """Return *body*, which requests and urllib also take as text, a file or pieces, as bytes."""
    if isinstance(body, str):
        return body.encode()
    if body is None or isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body or b"")
    pieces = [body.read()] if hasattr(body, "read") else body
    return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces)


# --- httpx, httpx2 ----------------------------------------------------------------------------


def _send_httpx(stock: Callable[..., Any], client: Any, request: Any, **kwargs: Any) -> Any:
    if client.is_closed:
        return stock(client, request, **kwargs)  # Which is an error.
    body = request.read() if _is_body_read(request.method, request.url) else b""
    library, is_streamed = sys.modules[_library(stock)], bool(kwargs.get("stream"))

    def send() -> Any:
        response = stock(client, request, **kwargs)
        if is_streamed and not goes_to_the_hub.get():
            response.stream = _watched_stream(library, response.stream, str(request.url))
        return response

    response, is_ours = _exchange_httpx(library, request, body, send, is_streamed=is_streamed)
    for hook in client.event_hooks["response"] if is_ours else ():
        hook(response)
    if is_ours and not is_streamed:
        response.read()
    return response


def _watched_stream(library: Any, stream: Any, url: str) -> Any:
    class Watched(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            return watched(stream, url, _failures_of(library), OfflineModeIsEnabled)

        def close(self) -> None:
            stream.close()

    return Watched()


def _failures_of(library: Any) -> tuple[type[Exception], ...]:
    """Return what huggingface_hub sends a request again for."""
    return library.TimeoutException, library.NetworkError, library.RemoteProtocolError


async def _send_httpx_async(stock: Callable[..., Any], client: Any, request: Any, **kwargs: Any) -> Any:
    """Do as `_send_httpx`, in a thread, while the event loop goes on."""
    import anyio.from_thread
    import anyio.to_thread

    if client.is_closed:
        return await stock(client, request, **kwargs)
    body = await request.aread() if _is_body_read(request.method, request.url) else b""

    def send() -> Any:
        return anyio.from_thread.run(functools.partial(stock, client, request, **kwargs))

    def work() -> tuple[Any, bool]:
        return _exchange_httpx(sys.modules[_library(stock)], request, body, send)

    response, is_ours = await anyio.to_thread.run_sync(work)
    for hook in client.event_hooks["response"] if is_ours else ():
        await hook(response)
    if is_ours and not kwargs.get("stream"):
        await response.aread()
    return response


def _library(method: Callable[..., Any]) -> str:
    return method.__module__.partition(".")[0]


def _exchange_httpx(
    library: Any, request: Any, body: bytes, send: Callable[[], Any], *, is_streamed: bool = False
) -> tuple[Any, bool]:
    """Return the response to *request*, and whether it is ours; by *send*, the Hub is asked."""
    asked, is_ours = request_of(request.method, str(request.url), request.headers, body), False

    def ask_hub(url: str | None) -> Any:
        if url is not None:
            request.url = library.URL(url)
        if asked is not None and is_read(asked):
            connect, read = the_hub.seconds_left()
            limits = request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool"))
            request.extensions["timeout"] = {
                name: _least(seconds, connect if name == "connect" else read)
                for name, seconds in limits.items()
            }
        return send()

    def respond(reply: Reply, body: BinaryIO) -> Any:
        nonlocal is_ours

        class Stream(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
            def __iter__(self) -> Iterator[bytes]:
                return iter(lambda: body.read(CHUNK_BYTES), b"")

            async def __aiter__(self) -> AsyncIterator[bytes]:
                import anyio.to_thread

                while chunk := await anyio.to_thread.run_sync(body.read, CHUNK_BYTES):
                    yield chunk

            def close(self) -> None:
                body.close()

            async def aclose(self) -> None:
                body.close()

        content = {"content": reply.body} if isinstance(reply.body, bytes) else {"stream": Stream()}
        response = library.Response(
            reply.status, headers=list(reply.headers.items()), request=request, **content
        )
        response.headers.update(reply.headers)  # Content-Length of a HEAD is not that of its body.
        response.elapsed = dt.timedelta(0)
        is_ours = True
        return response

    sender = Sender(ask_hub, respond, _failures_of(library), is_streamed=is_streamed)
    return exchange(asked, sender), is_ours


def _least(seconds: float | None, limit: float) -> float:
    return limit if seconds is None else min(seconds, limit)


# --- requests ---------------------------------------------------------------------------------


def _send_requests(stock: Callable[..., Any], session: Any, request: Any, **kwargs: Any) -> Any:
    import requests

    body = b""
    if _is_body_read(str(request.method), request.url):
        body = _whole(request.body)
        if request.headers.pop("Transfer-Encoding", None):
            request.headers["Content-Length"] = str(len(body))
        request.body = body
    asked = request_of(str(request.method), str(request.url), request.headers, body)
    is_streamed = bool(kwargs.get("stream"))

    def ask_hub(url: str | None) -> Any:
        if url is not None:
            request.url = url
        if asked is not None and is_read(asked):
            given = kwargs.get("timeout")
            pair = given if isinstance(given, tuple) else (given, given)
            kwargs["timeout"] = tuple(map(_least, pair, the_hub.seconds_left()))
        response = stock(session, request, **kwargs)
        if is_streamed and not goes_to_the_hub.get():
            chunks_of = response.iter_content
            response.iter_content = lambda *args, **options: watched(
                chunks_of(*args, **options), str(request.url), failures, offline
            )
        return response

    def respond(reply: Reply, body: BinaryIO) -> Any:
        from urllib3 import HTTPResponse

        raw = HTTPResponse(
            body=body,
            headers=reply.headers,
            status=reply.status,
            reason=http.client.responses.get(reply.status),
            preload_content=False,
            request_method=request.method,
        )
        response = requests.adapters.HTTPAdapter().build_response(request, raw)
        response.elapsed = dt.timedelta(0)
        response = requests.hooks.dispatch_hook(  # type: ignore[no-untyped-call]
            "response", request.hooks, response, **kwargs
        )
        if not is_streamed:
            _ = response.content
        return response

    offline = OfflineModeIsEnabled if _uses_requests() else _offline_as(requests.exceptions.ConnectionError)
    failures = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
    kept = (requests.exceptions.ProxyError, requests.exceptions.SSLError)
    return exchange(asked, Sender(ask_hub, respond, failures, offline, is_streamed, kept))


def _uses_requests() -> bool:
    """Tell whether huggingface_hub itself sends by requests: then it retries what is an error of requests."""
    from huggingface_hub.utils import _http

    return hasattr(_http, "requests")


@functools.lru_cache(maxsize=4)
def _offline_as(kind: type[Exception]) -> type[Exception]:
    """Return ``OfflineModeIsEnabled`` as a class that callers of another library catch, too."""
    name = f"Offline{kind.__name__}"  # By which pickle finds it.
    made = type(
        "OfflineModeIsEnabled", (kind, OfflineModeIsEnabled), {"__qualname__": name, "__module__": __name__}
    )
    globals()[name] = made
    return made


# --- urllib -----------------------------------------------------------------------------------


def _open_urllib(
    stock: Callable[..., Any], opener: Any, request: Any, data: Any = None, timeout: Any = None
) -> Any:
    url = request if isinstance(request, str) else request.full_url
    body = data if data is not None or isinstance(request, str) else request.data
    method = "GET" if isinstance(request, str) else request.get_method()
    method = "POST" if body is not None and method == "GET" else method
    headers = dict(opener.addheaders) | ({} if isinstance(request, str) else dict(request.header_items()))
    if _is_body_read(method, url):
        body = data = _whole(body)
    asked = request_of(method, url, headers, body if isinstance(body, bytes) else b"")

    def respond(reply: Reply, body: BinaryIO) -> Any:
        response: Any = http.client.HTTPResponse(_Connection(reply, body), method=method)  # type: ignore[arg-type]
        response.begin()
        response.url, response.msg = url, response.reason  # As HTTPHandler does.
        if reply.status >= 300:
            raise urllib.error.HTTPError(url, reply.status, response.reason, response.headers, response)
        return response

    def ask_hub(url: str | None) -> Any:
        nonlocal request
        if url is not None and isinstance(request, str):
            request = url
        elif url is not None:
            request.full_url = url
        seconds = _least(timeout if isinstance(timeout, (int, float)) else None, max(the_hub.seconds_left()))
        try:
            return stock(opener, request, data, seconds)
        except urllib.error.HTTPError as exc:  # It is a response too.
            exc.status_code = exc.code  # type: ignore[attr-defined]
            return exc

    failures = (urllib.error.URLError, TimeoutError)
    response = exchange(asked, Sender(ask_hub, respond, failures, _offline_as(urllib.error.URLError)))
    if isinstance(response, urllib.error.HTTPError):
        raise response
    return response


class _Connection(ReadOnlyStream):
    """What http.client takes for the socket of a connection: *reply* comes out of it."""

    def __init__(self, reply: Reply, body: BinaryIO) -> None:
        lines = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        self._head, self._body = "\r\n".join([*lines, "", ""]).encode("latin-1"), body

    def makefile(self, *_: Any) -> BinaryIO:
        return io.BufferedReader(self)

    def read(self, size: int = -1) -> bytes:
        data = self._head[:size] or self._body.read(size)
        self._head = self._head[size:]
        return data

    def close(self) -> None:
        self._body.close()
        super().close()


#: How each library's client sends.
SENDERS: dict[str, Callable[..., Any]] = {
    "httpx.Client": _send_httpx,
    "httpx.AsyncClient": _send_httpx_async,
    "httpx2.Client": _send_httpx,
    "httpx2.AsyncClient": _send_httpx_async,
    "requests.Session": _send_requests,
    "urllib.OpenerDirector": _open_urllib,
}
