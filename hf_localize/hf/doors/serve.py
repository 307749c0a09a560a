"""The Hub's HTTP for other programs: a WSGI application that reads what is held, and a server for it."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import ipaddress
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hf_localize.errors import HfLocalizeError, SettingsError
from hf_localize.hf.doors import transport
from hf_localize.hf.doors.answer import HEADERS, Part, Reply, Request, answer, not_held

_log = logging.getLogger(__name__)
#: Where WSGI (PEP 3333) has the headers that an answer depends on.
_VARIABLES = {
    name: "CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"
    for name in HEADERS
}
_CLIENTS = 64
#: Also those of clients that ask for nothing at the moment. Linux allows a process 1,024 open files.
_CONNECTIONS = 512
_MAX_BODY_BYTES = 16 << 20
#: What a ``Host`` header may name where only this machine is to be answered: an IP address, or a name that no
#: website can have. Else a page in a browser could read everything by letting its name lead here.
_NO_WEBSITE = re.compile(r"\[[0-9A-Fa-f:.]*\]|[0-9.]*|([^.]+\.)*(localhost|internal)|[^.]*", re.IGNORECASE)
#: What a client that takes the server for a proxy sends before the path (RFC 9112, 3.2.2).
_ORIGIN = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_FOR_THIS_MACHINE = "hg-localize serve is for this machine: ask for localhost, or start it with --host"


def application(
    environ: dict[str, Any], start_response: Callable[..., Any], *, is_for_all: bool = True
) -> Iterable[bytes]:
    """Answer a request to the Hub from what is held (WSGI).

    Args:
        is_for_all: False refuses what comes by the name of a website.
    """
    address, host = str(environ["REQUEST_URI"]), environ.get("HTTP_HOST", "")
    if origin := _ORIGIN.match(address):
        address, host = address[origin.end() :], origin[1]
    may_ask = is_for_all or _NO_WEBSITE.fullmatch(re.sub(r":[0-9]*$", "", host)) is not None
    # As it was sent: encoded, and with two slashes from a client whose HF_ENDPOINT ends in one.
    path, _, query = f"/{address.lstrip('/')}".partition("?")
    headers = {name: str(environ[variable]) for name, variable in _VARIABLES.items() if variable in environ}
    body = environ["wsgi.input"].read() if environ["REQUEST_METHOD"] == "POST" else b""
    endpoint = f"{environ['wsgi.url_scheme']}://{host or environ['SERVER_NAME']}"
    request = Request(environ["REQUEST_METHOD"], path, query, headers, body, endpoint)
    reply = _reply(request) if may_ask else _refused(request, 403, _FOR_THIS_MACHINE)
    try:
        content = _file(environ, reply.body) or _begun(path, transport.chunks(reply.body))
    except HfLocalizeError as exc:
        _log.warning("%s can't be read: %s", path, exc)
        reply = _refused(request, 503, "the source that has it can't be reached")
        content = transport.chunks(reply.body)
    _log.debug("%s %s %d %s", request.method, path, reply.status, reply.headers["Content-Length"])
    status = f"{reply.status} {http.client.responses[reply.status]}"
    start_response(status, list(reply.headers.items()))
    return content


def _reply(request: Request) -> Reply:
    if not transport.is_read(request):
        return _refused(request, 405, "hg-localize serve is read-only")
    places = transport.places()
    try:
        own = transport.by_lock(request)
        reply = own if isinstance(own, Reply) else answer(own, places)
    except HfLocalizeError as exc:
        _log.warning("%s is not answered: %s", request.path, exc)
        return _refused(request, 503, "a source that may have it can't be reached")
    return not_held(request) if reply is None else reply


def _refused(request: Request, status: int, message: str) -> Reply:
    body = b"" if request.method == "HEAD" else message.encode()
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(body)), "X-Error-Message": message}
    return Reply(status, {**headers, **({"Allow": "GET, HEAD"} if status == 405 else {})}, body)


def _file(environ: dict[str, Any], body: bytes | Part) -> Iterable[bytes] | None:
    """Return a file of the local store for waitress, which sends it without a thread for each client.

    waitress sends as many bytes as Content-Length says. None: *body* is not in a file of the local store.
    """
    wrap: Callable[..., Iterable[bytes]] | None = environ.get("wsgi.file_wrapper")
    if wrap is None or not isinstance(body, Part) or body.start == body.stop:
        return None
    path = transport.places().local_path(body.file)
    if path is None:
        return None
    file = _WholeFile(path)  # waitress closes it.
    file.seek(body.start)
    return wrap(file, transport.CHUNK_BYTES)


class _WholeFile(io.FileIO):
    """A file that fails at its end, which waitress meets only if it has become shorter, and would wait at."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and size:
            raise OSError(f"{self.name!r} has become shorter while it was sent")
        return data


def _begun(path: str, content: Iterator[bytes]) -> Iterator[bytes]:
    """Return *content* with its first bytes read, so that who can't be read says so now."""
    first = next(content, b"")

    def rest() -> Iterator[bytes]:
        yield first
        try:
            yield from content
        except HfLocalizeError as exc:  # waitress ends the connection, so the client misses the rest.
            _log.warning("the rest of %s can't be read: %s", path, exc)

    return rest()


def server(host: str, port: int) -> Any:
    """Return a server that listens; its ``run`` serves until its ``close``.

    Raises:
        SettingsError: the package for it is not installed, or it can't listen there.
    """
    try:
        import waitress  # type: ignore[import-untyped]
    except ImportError as exc:
        raise SettingsError(
            "hg-localize serve needs the package waitress: pip install 'hf-localize[serve]'"
        ) from exc
    try:
        return waitress.create_server(
            functools.partial(application, is_for_all=not _is_this_machine(host)),
            host=host,
            port=port,
            threads=_CLIENTS,
            connection_limit=_CONNECTIONS,
            asyncore_use_poll=True,
            ident="hf_localize",
            max_request_body_size=_MAX_BODY_BYTES,
        )
    except (OSError, ValueError) as exc:
        raise SettingsError(f"can't listen at {host}:{port}: {exc}") from exc


def _is_this_machine(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens at *host*."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address(listening: Any) -> str:
    """Return the URL of a server; of several sockets, the first one's."""
    several = getattr(listening, "effective_listen", None)
    host, port = several[0] if several else (listening.effective_host, listening.effective_port)
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


@contextlib.contextmanager
def serving(host: str, port: int) -> Iterator[str]:
    """Serve in a thread for the length of a ``with`` block, and give the URL."""
    listening = server(host, port)
    thread = threading.Thread(target=listening.run, name="hf_localize-serve", daemon=True)
    thread.start()
    try:
        yield address(listening)
    finally:
        listening.close()
