"""Decide where a request to the Hub goes: it is answered here, sent on to the Hub, or refused as offline.

Reads of stored repositories are answered here, except of those to which this process has written. Other
reads go on to the Hub where that is a source. Where the Hub is not a source or does not answer, they fail at
once with huggingface_hub's ``OfflineModeIsEnabled``, which no client retries, and at which huggingface_hub
looks into its own cache. Writes always go on.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import time
import urllib.error
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, cast
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.utils import OfflineModeIsEnabled

from hf_localize.errors import HfLocalizeError, without_user
from hf_localize.format.lockfile import LockedRepository
from hf_localize.format.repository import Repository, RepositoryRefs, is_commit_sha
from hf_localize.hf.doors import endpoints
from hf_localize.hf.doors.answer import (
    HEADERS,
    Part,
    Reply,
    Request,
    answer,
    asked_for,
    at_commit,
    changed_by,
    held_commit,
    refused,
)
from hf_localize.hf.doors.state import (
    goes_to_the_hub,
    having,
    hub_is_left_out,
    is_cut_off,
    is_loading,
    is_written,
    only_held,
    written,
)
from hf_localize.hf.recording import record
from hf_localize.settings import SOURCE_NAMES, Settings
from hf_localize.sources.base import files_option
from hf_localize.sources.session import Session, current_session

if TYPE_CHECKING:
    from hf_localize.sources.repositories import RepositoryTiers

_log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 20
_HF_PATH = re.compile(r"hf://((?:datasets/|spaces/)?[^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", re.DOTALL)
#: That of the request under way: finding the settings takes longer than all else of an answer.
_session: ContextVar[Session | None] = ContextVar("session", default=None)


def _here() -> Session:
    return _session.get() or current_session()


@contextlib.contextmanager
def one_session() -> Iterator[Session]:
    """Look the settings up once for all that is asked meanwhile."""
    session = _here()
    with having(_session, session):
        yield session


def repositories() -> RepositoryTiers:
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

    places: RepositoryTiers

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


def places() -> RepositoryTiers:
    """Return what the enabled places hold, with a memory for what remote places said a moment ago."""
    return cast("RepositoryTiers", _Remembering(repositories()))


def _is_of_written(request: Request) -> bool:
    return bool(written) and (asked := asked_for(request)) is not None and is_written(asked.repository)


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
    request = request_of("GET", url, {}, b"")
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
    is_source = _here().asks("hub") or (request is not None and _is_of_written(request))
    return (
        is_source
        and not constants.HF_HUB_OFFLINE
        and not only_held.get()
        and not hub_is_left_out.get()
        and time.monotonic() >= the_hub.down_until
    )


def opened(body: bytes | Part) -> BinaryIO:
    """Open the body of a reply."""
    if isinstance(body, bytes) or body.start == body.stop:
        return io.BytesIO(body if isinstance(body, bytes) else b"")
    return places().open(body.file, body.start, body.stop)


def chunks(body: bytes | Part) -> Iterator[bytes]:
    """Yield the bytes of the body of a reply."""
    with opened(body) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def request_of(method: str, url: str, headers: Any, body: bytes) -> Request | None:
    """Return the request to the Hub that a client's request is; None: it goes elsewhere."""
    endpoint = next((one for one in endpoints() if url.startswith(one)), None)
    if endpoint is None:
        return None
    # An endpoint that a client has with a slash at its end gives two here.
    path, _, query = f"/{url[len(endpoint) :].lstrip('/')}".partition("#")[0].partition("?")
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


the_hub = _Reachability()


def forget() -> None:
    """Forget whether the Hub has answered, and what was written."""
    the_hub.failing_since, the_hub.down_until = None, 0.0
    written.clear()


def by_lock(request: Request) -> Request | Reply:
    """Return *request* at the commit that the lock file in force has; a refusal where it has none."""
    asked = asked_for(request)
    if asked is None:
        return request
    commit, refusal = locked_commit(asked.repository, asked.revision)
    if refusal is not None:
        return refused(request, *refusal)
    return request if commit is None or asked.revision in (None, commit) else at_commit(request, commit)


def locked_commit(repository: Repository, revision: str | None) -> tuple[str | None, tuple[str, str] | None]:
    """Return the commit that the lock file in force has of *revision*, and why there is none to be read.

    Both are None where the lock file does not say. A refusal is huggingface_hub's code, and a message.
    """
    lock = _here().lock
    if lock is None:
        return None, None
    commit = lock.commit_of(repository, revision)
    # A load that makes requests keeps to the lock file itself.
    is_loaded = repository.repo_type == "dataset" and lock.has(repository.repo_id)
    if commit is not None or not lock.repositories or is_loaded:
        return commit, None
    if lock.commit_of(repository, None) is not None:
        text = f"{revision} of {repository} is not in the lock file {lock.where}"
        return None, ("RevisionNotFound", text)
    return None, ("RepoNotFound", f"{repository} is not in the lock file {lock.where}")


def _record(request: Request, response: Any, status: int, headers: Mapping[str, str], source: str) -> None:
    """Record what was read, if anything was and reads are recorded."""
    path, asked = _here().settings.record, None
    if path is not None and status < 400:
        asked = asked_for(request)
    if asked is None or asked.revision is None or is_loading(asked.repository):
        return
    commit = headers.get("X-Repo-Commit")
    if commit is None and asked.path is None:
        with contextlib.suppress(Exception):  # A list, or a body that is not read yet.
            commit = response.json()["sha"]
    if commit is not None and is_commit_sha(commit):
        files = () if asked.path is None else (asked.path,)
        locked = LockedRepository(asked.repository, asked.revision, commit, files)
        record(path, asked.repository, lambda: locked, source)


class Sender(NamedTuple):
    """What an HTTP library does with one request: send it to the Hub, or make a response of our reply."""

    #: Sends the request; to another URL, if it is called with one.
    ask_hub: Callable[[str | None], Any]
    #: Takes a reply, and its body as a stream.
    respond: Callable[[Reply, BinaryIO], Any]
    #: What ``ask_hub`` raises where the Hub can't be reached; timeouts are among them.
    failures: tuple[type[Exception], ...]
    #: What to raise instead.
    offline: type[Exception] = OfflineModeIsEnabled
    #: ``ask_hub`` returns a response before its body is read.
    is_streamed: bool = False
    #: Those of ``failures`` that come from a misconfigured client. They are raised unchanged.
    kept: tuple[type[Exception], ...] = ()


def exchange(request: Request | None, sender: Sender) -> Any:
    """Return the response to *request*: ours or the Hub's."""
    if request is None or not is_read(request) or goes_to_the_hub.get():
        if request is not None and not is_read(request) and (changed := changed_by(request)) is not None:
            written.add(changed)
        return sender.ask_hub(None)
    if is_cut_off.get():
        raise sender.offline(
            f"Cannot reach {without_user(request.endpoint)}{request.path}: the Hub does not answer."
        )
    with one_session():
        return _exchange_read(request, sender)


def _exchange_read(request: Request, sender: Sender) -> Any:
    asked, own = request, by_lock(request)
    if isinstance(own, Reply):
        return sender.respond(own, opened(own.body))
    request = own
    asks_hub = may_ask_hub(request)
    found, why = held(request, is_last=not asks_hub), ""
    cause: Exception | None = None

    def give(reply: Reply) -> Any:
        body = opened(reply.body)
        _record(asked, reply, reply.status, reply.headers, "held")
        return sender.respond(reply, body)

    if found is not None:
        try:
            return give(found)
        except HfLocalizeError as exc:  # Its bytes are lost, or where they are does not answer.
            why, cause = f"the stored copy can't be read ({exc})", exc
            _log.warning("%s: %s", request.path, why)
            # Another commit would not match the headers that the client has seen.
            request = at_commit(request, found.headers["X-Repo-Commit"])
    elif asks_hub:
        request = _at_held_commit(request)
    if not asks_hub:
        hub_said = "the Hub is not asked"
    else:
        begun = time.monotonic()
        try:
            response = sender.ask_hub(None if request is asked else _url(request))
            if found is None and request is not own and _is_gone(response):
                if sender.is_streamed:
                    response.close()
                response = sender.ask_hub(_url(own))
        except sender.kept:
            raise
        except sender.failures as exc:
            if not the_hub.failed(begun, is_refused=_is_refused(exc)):
                raise
            hub_said, cause = f"the Hub does not answer ({type(exc).__name__})", exc
        else:
            if getattr(response, "status_code", 200) < 500:
                if not sender.is_streamed:  # Else its body tells whether the Hub answers.
                    the_hub.failing_since = None
                status = getattr(response, "status_code", 200)
                _record(asked, response, status, response.headers, SOURCE_NAMES["hub"])
                return response
            if not the_hub.failed(begun, is_refused=False):
                return response
            hub_said = f"the Hub answers {response.status_code}"
        reply = held(request, is_last=True) if found is None else None
        if reply is not None:
            return give(reply)
    url, named = f"{without_user(request.endpoint)}{request.path}", asked_for(request)
    why = why or f"it was not found in {_here().places_of_files()}"
    near = "" if named is None else _here().did_you_mean(named.repository)
    if found is not None and named is not None:
        option = files_option(named.repository.repo_type)
        near = f" To bring what is there now: hg-localize pull {named.repository.repo_id} {option} --update"
    raise sender.offline(f"Cannot reach {url}: {why}, and {hub_said}.{near}") from cause


def _url(request: Request) -> str:
    return f"{request.endpoint}{request.path}{f'?{request.query}' if request.query else ''}"


def _at_held_commit(request: Request) -> Request:
    """Return *request* at the commit of which other files are held, so that two commits are not mixed."""
    commit = None
    if not _is_of_written(request):
        with contextlib.suppress(HfLocalizeError):  # A place gives no answer, so nothing of it is given.
            commit = held_commit(request, places())
    return request if commit is None else at_commit(request, commit)


def _is_gone(response: Any) -> bool:
    """Tell whether the Hub answers that it does not have the revision."""
    return (
        getattr(response, "status_code", 200) == 404
        and response.headers.get("X-Error-Code") == "RevisionNotFound"
    )


def watched(
    parts: Iterable[bytes], url: str, failures: tuple[type[Exception], ...], offline: type[Exception]
) -> Iterator[bytes]:
    """Yield the body of a response of the Hub. The Hub does not answer either if it ceases to send."""
    since = time.monotonic()
    try:
        for part in parts:
            the_hub.failing_since = None
            yield part
            since = time.monotonic()
    except failures as exc:
        if not the_hub.failed(since, is_refused=False):
            raise
        raise offline(
            f"Cannot read {without_user(url)}: the Hub sends no more ({type(exc).__name__})."
        ) from exc


def _is_refused(failure: Exception) -> bool:
    """Tell whether there was no connection. If one broke, or was too slow, the request may be repeated."""
    reason = type(failure.args[0]).__name__ if failure.args else ""
    is_of_connecting = "Connect" in type(failure).__name__ and reason in ("str", "MaxRetryError")
    return is_of_connecting or isinstance(failure, urllib.error.URLError)
