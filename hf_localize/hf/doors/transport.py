"""Decide where a request to the Hub goes: it is answered here, sent on to the Hub, or refused as offline.

Reads of stored repositories are answered here, except of those to which this process has written. Other
reads go on to the Hub where that is a source. Where the Hub is not a source or does not answer, they fail at
once with huggingface_hub's ``OfflineModeIsEnabled``, which no client retries, and at which huggingface_hub
looks into its own cache. Writes always go on.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import functools
import http.client
import io
import logging
import re
import sys
import time
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.utils import OfflineModeIsEnabled

from hf_localize.errors import HfLocalizeError, without_user
from hf_localize.format.lockfile import LockedRepository
from hf_localize.format.renamed_ids import current_id
from hf_localize.format.repository import Repository, RepositoryRefs, is_commit_sha
from hf_localize.hf.doors import endpoints
from hf_localize.hf.doors.answer import (
    CREATION,
    HEADERS,
    Part,
    Reply,
    Request,
    answer,
    asked_for,
    at_commit,
    changed_by,
    refused,
)
from hf_localize.hf.recording import record
from hf_localize.settings import SOURCE_NAMES, Settings
from hf_localize.sources.session import Session, current_session

if TYPE_CHECKING:
    from hf_localize.sources.repositories import Repositories

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20
goes_to_the_hub: ContextVar[bool] = ContextVar("goes_to_the_hub", default=False)
#: For ``local_files_only=True``: what is not held is refused, and nothing is known to be missing.
only_held: ContextVar[bool] = ContextVar("only_held", default=False)
#: For `datasets` that is told to be offline: what is held is answered, and the Hub is not asked.
hub_is_left_out: ContextVar[bool] = ContextVar("hub_is_left_out", default=False)
#: While the Hub is known not to answer: reads are refused, whether they are held or not.
is_cut_off: ContextVar[bool] = ContextVar("is_cut_off", default=False)


_HF_PATH = re.compile(r"hf://((?:datasets/|spaces/)?[^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", re.DOTALL)
#: That of the request under way: finding the settings takes longer than all else of an answer.
_session: ContextVar[Session | None] = ContextVar("session", default=None)


def _here() -> Session:
    return _session.get() or current_session()


@contextlib.contextmanager
def one_session() -> Iterator[Session]:
    """Look the settings up once for all that is asked meanwhile."""
    session = _here()
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)


def repositories() -> Repositories:
    """Return what the enabled places hold."""
    return _here().repositories


#: What places have said of a revision: until when it counts, and refs, None, or the failure.
_Said: TypeAlias = "tuple[float, RepositoryRefs | HfLocalizeError | None]"
_said: dict[tuple[Settings, Repository, str | None, int], _Said] = {}
_SAID_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Remembering:
    """Ask once for refs that all requests of a call need; leave a place out of reach alone for longer.

    A change of the local store counts at once.
    """

    places: Repositories

    def refs(self, repository: Repository, revision: str | None = None) -> RepositoryRefs | None:
        settings, stored = _here().settings, 0
        with contextlib.suppress(OSError):  # Nothing of it is in the store.
            stored = (settings.datasets_store_path / ".hgloc" / repository.refs_path).stat().st_mtime_ns
        key = (settings, repository, revision, stored)
        until, said = _said.get(key, (0.0, None))
        if until < time.monotonic():
            seconds = _SAID_SECONDS
            try:
                said = self.places.refs(repository, revision)
            except HfLocalizeError as exc:
                said, seconds = exc, settings.timeout_seconds
            if len(_said) > 1000:
                _said.clear()
            _said[key] = time.monotonic() + seconds, said
        if isinstance(said, HfLocalizeError):
            raise said
        return said

    def __getattr__(self, name: str) -> Any:
        return getattr(self.places, name)


def places() -> Repositories:
    """Return what the enabled places hold, with a memory for what remote places said a moment ago."""
    return cast("Repositories", _Remembering(repositories()))


#: Repositories to which this process has written, or begun to write. From then on it reads them from the Hub.
_written: set[Repository] = set()


def is_written(repository: Repository | None) -> bool:
    """Tell whether this process has written to *repository* on the Hub, so that what is held may be older."""
    return repository is not None and any(repository.is_same(one) for one in _written)


def _is_of_written(request: Request) -> bool:
    return bool(_written) and (asked := asked_for(request)) is not None and is_written(asked.repository)


def held(request: Request, *, is_last: bool) -> Reply | None:
    """Answer *request* from what is held, or return None."""
    if not is_last and _is_of_written(request):
        return None
    try:
        reply = answer(request, places(), is_last=is_last)
    except HfLocalizeError as exc:
        _log.debug("%s %s is not answered here: %s", request.method, request.path, exc)
        return None
    if reply is not None:
        _log.debug("%s %s ← %d, held here", request.method, request.path, reply.status)
    return None if reply is not None and reply.status >= 400 and only_held.get() else reply


def held_part(url: str) -> Part | None:
    """Return the file that a GET of *url* gives, if it is held."""
    request = _request("GET", url, {}, b"")
    if request is None or goes_to_the_hub.get():
        return None
    own = by_lock(request)
    reply = own if isinstance(own, Reply) else held(own, is_last=not may_ask_hub(own))
    return reply.body if reply is not None and isinstance(reply.body, Part) else None


def is_held(address: str) -> bool:
    """Tell whether the file at *address*, a URL of the Hub or an ``hf://`` path, is held."""
    found = _HF_PATH.fullmatch(address)
    if found is not None:
        repository, revision, path = found.groups()
        address = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{quote(path)}"
    return held_part(address) is not None


def may_ask_hub(request: Request | None = None) -> bool:
    """Tell whether the Hub is a source (for *request*), and is not known to be down."""
    is_source = _here().hub_enabled() or (request is not None and _is_of_written(request))
    return (
        is_source
        and not constants.HF_HUB_OFFLINE
        and not only_held.get()
        and not hub_is_left_out.get()
        and time.monotonic() >= _hub.down_until
    )


def opened(body: bytes | Part) -> BinaryIO:
    """Open the body of a reply."""
    if isinstance(body, bytes) or body.start == body.stop:
        return io.BytesIO(body if isinstance(body, bytes) else b"")
    return places().open(body.file, body.start, body.stop)


def chunks(body: bytes | Part) -> Iterator[bytes]:
    """Yield the bytes of the body of a reply."""
    with opened(body) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _request(method: str, url: str, headers: Any, body: bytes) -> Request | None:
    endpoint = next((one for one in endpoints() if url.startswith(one)), None)
    if endpoint is None:
        return None
    path, _, query = url[len(endpoint) - 1 :].partition("#")[0].partition("?")
    named = {str(name).lower(): str(value) for name, value in headers.items()}
    known = {name: named[name] for name in HEADERS if name in named}
    return Request(method, path, query, known, body, endpoint.rstrip("/"))


def is_read(request: Request) -> bool:
    """Tell whether *request* changes nothing."""
    return request.method in ("GET", "HEAD") or (request.method == "POST" and "/paths-info/" in request.path)


@dataclass(slots=True)
class _Reachability:
    """What this process knows of whether the Hub answers."""

    failing_since: float | None = None
    failed_at: float = field(default=0.0)
    down_until: float = field(default=0.0)

    def seconds_left(self) -> tuple[float, float]:
        """Return how long a request may wait now, for a connection and for data.

        All that fail in a row have the limit together. After a pause, the Hub has all of it again to answer,
        but not to take a connection.
        """
        limit, now = _here().settings.timeout_seconds, time.monotonic()
        begun = now if self.failing_since is None else self.failing_since
        return max(1.0, limit + begun - now), max(1.0, limit + self._row_began(now) - now)

    def failed(self, begun: float, *, is_refused: bool) -> bool:
        """Note that a request that has *begun* then failed; tell whether the Hub counts as down.

        It does not while there is time to repeat the request. Clients do that after a pause which is as long
        as all pauses before, and a second more, up to 8 seconds.
        """
        now, limit = time.monotonic(), _here().settings.timeout_seconds
        self.failing_since, self.failed_at = self._row_began(begun), now
        elapsed = now - self.failing_since
        is_down = is_refused or elapsed + min(elapsed + 1, 8) > 0.95 * limit
        if is_down and now - begun > 1:  # What fails at once may be tried again at once.
            self.down_until = now + limit
        return is_down

    def _row_began(self, begun: float) -> float:
        """Return since when requests fail in a row, if one that has *begun* then does."""
        since = self.failing_since
        if since is None or begun - self.failed_at > _here().settings.timeout_seconds:
            return begun
        return since


_hub = _Reachability()


def forget() -> None:
    """Forget whether the Hub has answered, and what was written."""
    _hub.failing_since, _hub.down_until = None, 0.0
    _written.clear()


def by_lock(request: Request) -> Request | Reply:
    """Return *request* at the commit that the lock file in force has; a refusal where it has none."""
    lock, asked = _here().lock, asked_for(request)
    if lock is None or asked is None:
        return request
    repository = asked.repository
    commit = lock.commit_of(repository, asked.revision)
    if commit is not None:
        return request if asked.revision in (None, commit) else at_commit(request, commit)
    # A load that makes requests keeps to the lock file itself.
    if not lock.repositories or (repository.repo_type == "dataset" and lock.has(repository.repo_id)):
        return request
    if lock.commit_of(repository, None) is not None:
        text = f"{asked.revision} of {repository} is not in the lock file {lock.where}"
        return refused(request, "RevisionNotFound", text)
    return refused(request, "RepoNotFound", f"{repository} is not in the lock file {lock.where}")


#: The datasets that are being loaded in this process: the loads are recorded themselves.
_loading: collections.Counter[str] = collections.Counter()


@contextlib.contextmanager
def loading(dataset_id: str) -> Iterator[None]:
    """Record no file of that dataset meanwhile, in any thread."""
    names = {dataset_id, current_id(dataset_id) or dataset_id}
    _loading.update(names)
    try:
        yield
    finally:
        _loading.subtract(names)


def _record(request: Request, response: Any, status: int, headers: Mapping[str, str], source: str) -> None:
    """Record what was read, if anything was and reads are recorded."""
    path, asked = _here().settings.record, None
    if path is not None and status < 400:
        asked = asked_for(request)
    if asked is None or asked.revision is None:
        return
    if asked.repository.repo_type == "dataset" and _loading[asked.repository.repo_id] > 0:
        return
    commit = headers.get("X-Repo-Commit")
    if commit is None and asked.path is None:
        with contextlib.suppress(Exception):  # A list, or a body that is not read yet.
            commit = response.json()["sha"]
    if commit is not None and is_commit_sha(commit):
        files = () if asked.path is None else (asked.path,)
        locked = LockedRepository(asked.repository, asked.revision, commit, files)
        record(path, asked.repository, lambda: locked, source)


def _exchange(
    request: Request | None,
    ask_hub: Callable[[str | None], Any],
    respond: Callable[[Reply, BinaryIO], Any],
    failures: tuple[type[Exception], ...],
    offline: type[Exception] = OfflineModeIsEnabled,
    *,
    is_streamed: bool = False,
) -> Any:
    """Return the response to *request*: ours, by *respond*, or the Hub's, by *ask_hub*.

    Args:
        ask_hub: sends the request; to another URL, if it is called with one.
        respond: takes a reply, and its body as a stream.
        failures: what *ask_hub* raises where the Hub can't be reached; timeouts are among them.
        offline: what to raise in place of them.
        is_streamed: *ask_hub* returns a response before its body is read.
    """
    if request is None or not is_read(request) or goes_to_the_hub.get():
        if request is not None and not is_read(request) and (changed := changed_by(request)) is not None:
            _written.add(changed)
        return ask_hub(None)
    if is_cut_off.get():
        raise offline(
            f"Cannot reach {without_user(request.endpoint)}{request.path}: the Hub does not answer."
        )
    with one_session():
        return _exchange_read(request, ask_hub, respond, failures, offline, is_streamed=is_streamed)


def _exchange_read(
    request: Request,
    ask_hub: Callable[[str | None], Any],
    respond: Callable[[Reply, BinaryIO], Any],
    failures: tuple[type[Exception], ...],
    offline: type[Exception],
    *,
    is_streamed: bool,
) -> Any:
    asked, own = request, by_lock(request)
    if isinstance(own, Reply):
        return respond(own, opened(own.body))
    request = own
    asks_hub = may_ask_hub(request)
    found, why = held(request, is_last=not asks_hub), ""
    cause: Exception | None = None

    def give(reply: Reply) -> Any:
        body = opened(reply.body)
        _record(asked, reply, reply.status, reply.headers, "held")
        return respond(reply, body)

    if found is not None:
        try:
            return give(found)
        except HfLocalizeError as exc:  # Its bytes are lost, or where they are does not answer.
            why, cause = f"the stored copy can't be read ({exc})", exc
            _log.warning("%s: %s", request.path, why)
            # Another commit would not match the headers that the client has seen.
            request = at_commit(request, found.headers["X-Repo-Commit"])
    if not asks_hub:
        hub_said = "the Hub is not asked"
    else:
        begun, query = time.monotonic(), f"?{request.query}" if request.query else ""
        try:
            response = ask_hub(None if request is asked else f"{request.endpoint}{request.path}{query}")
        except failures as exc:
            if not _hub.failed(begun, is_refused=_is_refused(exc)):
                raise
            hub_said, cause = f"the Hub does not answer ({type(exc).__name__})", exc
        else:
            if getattr(response, "status_code", 200) < 500:
                if not is_streamed:  # Else its body tells whether the Hub answers.
                    _hub.failing_since = None
                status = getattr(response, "status_code", 200)
                _record(asked, response, status, response.headers, SOURCE_NAMES["hub"])
                return response
            if not _hub.failed(begun, is_refused=False):
                return response
            hub_said = f"the Hub answers {response.status_code}"
        reply = held(request, is_last=True) if found is None else None
        if reply is not None:
            return give(reply)
    url, named = f"{without_user(request.endpoint)}{request.path}", asked_for(request)
    why = why or f"it was not found in {_here().places_of_files()}"
    near = "" if named is None else _here().did_you_mean(named.repository)
    raise offline(f"Cannot reach {url}: {why}, and {hub_said}.{near}") from cause


def _watched(
    parts: Iterable[bytes], url: str, failures: tuple[type[Exception], ...], offline: type[Exception]
) -> Iterator[bytes]:
    """Yield the body of a response of the Hub. The Hub does not answer either if it ceases to send."""
    since = time.monotonic()
    try:
        for part in parts:
            _hub.failing_since = None
            yield part
            since = time.monotonic()
    except failures as exc:
        if not _hub.failed(since, is_refused=False):
            raise
        raise offline(
            f"Cannot read {without_user(url)}: the Hub sends no more ({type(exc).__name__})."
        ) from exc


def _is_refused(failure: Exception) -> bool:
    """Tell whether there was no connection. If one broke, or was too slow, the request may be repeated."""
    reason = type(failure.args[0]).__name__ if failure.args else ""
    is_of_connecting = "Connect" in type(failure).__name__ and reason in ("str", "MaxRetryError")
    return is_of_connecting or isinstance(failure, urllib.error.URLError)


# --- httpx, httpx2 ----------------------------------------------------------------------------


def _send_httpx(stock: Callable[..., Any], client: Any, request: Any, **kwargs: Any) -> Any:
    body = request.read() if _is_read_with_body(request) else b""

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
            return _watched(stream, url, _failures_of(library), OfflineModeIsEnabled)

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

    body = await request.aread() if _is_read_with_body(request) else b""

    def send() -> Any:
        return anyio.from_thread.run(functools.partial(stock, client, request, **kwargs))

    def exchange() -> tuple[Any, bool]:
        return _exchange_httpx(sys.modules[_library(stock)], request, body, send)

    response, is_ours = await anyio.to_thread.run_sync(exchange)
    for hook in client.event_hooks["response"] if is_ours else ():
        await hook(response)
    if is_ours and not kwargs.get("stream"):
        await response.aread()
    return response


def _library(method: Callable[..., Any]) -> str:
    return method.__module__.partition(".")[0]


def _is_read_with_body(request: Any) -> bool:
    asked = _request(request.method, str(request.url), {}, b"")
    return asked is not None and asked.method == "POST" and (is_read(asked) or asked.path == CREATION)


def _exchange_httpx(
    library: Any, request: Any, body: bytes, send: Callable[[], Any], *, is_streamed: bool = False
) -> tuple[Any, bool]:
    """Return the response to *request*, and whether it is ours; by *send*, the Hub is asked."""
    asked, is_ours = _request(request.method, str(request.url), request.headers, body), False

    def ask_hub(url: str | None) -> Any:
        if url is not None:
            request.url = library.URL(url)
        if asked is not None and is_read(asked):
            connect, read = _hub.seconds_left()
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
                return iter(lambda: body.read(_CHUNK_BYTES), b"")

            async def __aiter__(self) -> AsyncIterator[bytes]:
                import anyio.to_thread

                while chunk := await anyio.to_thread.run_sync(body.read, _CHUNK_BYTES):
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

    response = _exchange(asked, ask_hub, respond, _failures_of(library), is_streamed=is_streamed)
    return response, is_ours


def _least(seconds: float | None, limit: float) -> float:
    return limit if seconds is None else min(seconds, limit)


# --- requests ---------------------------------------------------------------------------------


def _send_requests(stock: Callable[..., Any], session: Any, request: Any, **kwargs: Any) -> Any:
    import requests

    body = request.body.encode() if isinstance(request.body, str) else request.body
    asked = _request(
        str(request.method), str(request.url), request.headers, body if isinstance(body, bytes) else b""
    )
    is_streamed = bool(kwargs.get("stream"))

    def ask_hub(url: str | None) -> Any:
        if url is not None:
            request.url = url
        if asked is not None and is_read(asked):
            given = kwargs.get("timeout")
            pair = given if isinstance(given, tuple) else (given, given)
            kwargs["timeout"] = tuple(map(_least, pair, _hub.seconds_left()))
        response = stock(session, request, **kwargs)
        if is_streamed and not goes_to_the_hub.get():
            chunks_of = response.iter_content
            response.iter_content = lambda *args, **options: _watched(
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

    def ask(url: str | None) -> Any:
        try:
            return ask_hub(url)
        except kept as exc:  # A matter of the client's configuration: it is told as it is.
            raise _KeptError(exc) from None

    try:
        return _exchange(asked, ask, respond, failures, offline, is_streamed=is_streamed)
    except _KeptError as exc:
        raise exc.args[0] from None


class _KeptError(Exception):
    """Carries an error past the handling of its base class."""


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
    asked = _request(method, url, {} if isinstance(request, str) else dict(request.header_items()), b"")

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
        seconds = _least(timeout if isinstance(timeout, (int, float)) else None, max(_hub.seconds_left()))
        try:
            return stock(opener, request, data, seconds)
        except urllib.error.HTTPError as exc:
            raise _KeptError(exc) from None

    try:
        failures = (urllib.error.URLError, TimeoutError)
        return _exchange(asked, ask_hub, respond, failures, _offline_as(urllib.error.URLError))
    except _KeptError as exc:
        raise exc.args[0] from None


class _Connection(io.RawIOBase):
    """What http.client takes for the socket of a connection: *reply* comes out of it."""

    def __init__(self, reply: Reply, body: BinaryIO) -> None:
        lines = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        self._head, self._body = "\r\n".join([*lines, "", ""]).encode("latin-1"), body

    def makefile(self, *_: Any) -> BinaryIO:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._body.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


@contextlib.contextmanager
def _switched_on(switch: ContextVar[bool]) -> Iterator[None]:
    token = switch.set(True)
    try:
        yield
    finally:
        switch.reset(token)


def asking_the_hub_itself() -> contextlib.AbstractContextManager[None]:
    """Let the requests of this thread meanwhile go to the Hub as if hf_localize was not installed."""
    return _switched_on(goes_to_the_hub)


def cut_off() -> contextlib.AbstractContextManager[None]:
    """Refuse, in this thread, each read of the Hub at once."""
    return _switched_on(is_cut_off)


def answering_only_what_is_held() -> contextlib.AbstractContextManager[None]:
    """Refuse, in this thread, what is not held, without a request to the Hub."""
    return _switched_on(only_held)


def leaving_out_the_hub() -> contextlib.AbstractContextManager[None]:
    """Answer, in this thread, what is held, and what is missing there, without a request to the Hub."""
    return _switched_on(hub_is_left_out)


#: How each library's client sends.
SENDERS: dict[str, Callable[..., Any]] = {
    "httpx.Client": _send_httpx,
    "httpx.AsyncClient": _send_httpx_async,
    "httpx2.Client": _send_httpx,
    "httpx2.AsyncClient": _send_httpx_async,
    "requests.Session": _send_requests,
    "urllib.OpenerDirector": _open_urllib,
}
