"""Serve folders of dataset repositories as a Hugging Face Hub on loopback.

The real `datasets` and `huggingface_hub` talk to it through ``HF_ENDPOINT``; nothing of theirs
is patched. On disk: ``<root>/<owner>/<name>/<revision, percent-quoted>/<files>``; models and Spaces are
below ``<root>/models`` and ``<root>/spaces``, and are called ``models/<owner>/<name>`` here. An id of one
segment cannot be told from an owner's folder, so it is named with `LoopbackHub.add`. Give it a
folder for uploads and tokens with the right to write, and `push_to_hub` and `HfApi` write to it.

Content makes the commit SHA: two revisions with the same files are the same commit, and a copy
of an old state kept as another revision keeps that state's SHA reachable. A revision that has a SHA for its
name is that commit, and no branch has it: programs ask for commits of the real Hub.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import yaml

from tests.rig.hub_calls import (
    ID,
    LFS_SUFFIXES,
    REV,
    USER,
    Answer,
    Call,
    RefusalError,
    Request,
    Route,
    is_true,
    json_answer,
)
from tests.rig.hub_storage import (
    RepoFile,
    Repository,
    Snapshot,
    Uploads,
    make_repository,
    read_snapshot,
)
from tests.rig.hub_writes import OBJECT_WRITES, WRITES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Fault",
    "LoopbackHub",
    "Repository",
    "Request",
    "make_repository",
]

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Another *name* for the same machine: huggingface_hub follows a redirect to the same host and
# then misses X-Repo-Commit, so large files must lead elsewhere.
LARGE_FILE_HOST = "localhost"
LFS_FROM_BYTES = 10_000
_OTHER_KINDS = ("models", "spaces")
DATE = "2024-01-01T00:00:00.000Z"


# --- what is asked, and what can go wrong -----------------------------------------------------


@dataclass(slots=True)
class Fault:
    """Break the answers to requests whose ``"METHOD path"`` *match* is found in (a regex).

    Args:
        match: searched for, not anchored.
        action: a status (a JSON error with *headers*), or
            ``reset``: send *after_bytes* of the body (None: not even the headers), then RST;
            ``cut``: send the beginning of the headers, then close;
            ``truncate``: announce the full length, send *after_bytes* (None: half), then close;
            ``stall``: wait *seconds* after *after_bytes* (None: before the headers), then go on;
            ``corrupt``: flip the byte at *after_bytes* (None: the middle one).
        times: how often it strikes; None: always. `used` counts.
    """

    match: str
    action: int | Literal["reset", "cut", "truncate", "stall", "corrupt"]
    times: int | None = None
    after_bytes: int | None = None
    seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    used: int = field(default=0, init=False)

    def applies(self, request: Request) -> bool:
        """Tell whether this strikes *request* now."""
        spent = self.times is not None and self.used >= self.times
        return not spent and re.search(self.match, f"{request.method} {request.path}") is not None

    def body_limit(self, body_bytes: int) -> int:
        """Return how many bytes of a body get through."""
        if self.action not in ("reset", "cut", "truncate"):
            return body_bytes
        half = body_bytes // 2 if self.action == "truncate" else 0
        return min(half if self.after_bytes is None else self.after_bytes, body_bytes)


FaultRule = Callable[[Request], Fault | None]


# --- the hub ----------------------------------------------------------------------------------


class LoopbackHub:
    """Answer like a Hugging Face Hub on 127.0.0.1, from folders.

    Settings are plain attributes and may be changed while it runs. Files are hashed when first
    asked for and then taken as unchanged until `refresh`; new repositories and new revisions
    are seen at once.

    Args:
        root: holds ``<owner>/<name>/<revision>/``.
        redirect_large_bytes: files this large answer 302 to a second port; None: none do.
        lfs_from_bytes: files this large are LFS files; so are redirected ones and, as on the real Hub
            by its ``.gitattributes``, those that end in `LFS_SUFFIXES`.
        tree_page_size: entries of a tree in one answer.
        uploads: holds what clients write, made when needed; None: this Hub is read-only.
        port: 0 picks a free one, which later starts keep.
    """

    def __init__(
        self,
        root: Path,
        *,
        redirect_large_bytes: int | None = None,
        lfs_from_bytes: int = LFS_FROM_BYTES,
        tree_page_size: int = 1000,
        uploads: Path | None = None,
        port: int = 0,
    ) -> None:
        self.root = root
        self.redirect_large_bytes = redirect_large_bytes
        self.lfs_from_bytes = lfs_from_bytes
        self.tree_page_size = tree_page_size
        self.uploads = None if uploads is None else Uploads(uploads)
        self.writers: set[str] = set()
        self.private: dict[str, set[str]] = {}
        self.gated: dict[str, set[str]] = {}
        self.redirects: dict[str, str] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.faults: Sequence[Fault] | FaultRule = []
        self._added: dict[str, Repository] = {}
        self._snapshots: dict[Path, Snapshot] = {}
        self._objects: dict[str, Path] = {}
        self._requests: list[Request] = []
        self.lock = threading.RLock()
        self._stopping = threading.Event()
        self._listeners = (_Listener(self, _ROUTES, port), _Listener(self, _OBJECT_ROUTES, 0))
        self._running = False

    def start(self) -> Self:
        """Listen; after a `stop`, on the same port. Does nothing while it runs."""
        if not self._running:
            self._stopping.clear()
            for listener in self._listeners:
                listener.start()
            self._running = True
        return self

    def stop(self) -> None:
        """Refuse connections and close those that are open. The port stays reserved."""
        if self._running:
            self._running = False
            self._stopping.set()
            for listener in self._listeners:
                listener.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and give the ports back."""
        self.stop()
        for listener in self._listeners:
            listener.release()

    @property
    def url(self) -> str:
        """Return the endpoint, ``http://127.0.0.1:PORT``; valid after the first start."""
        return f"http://{HOST}:{self._listeners[0].port}"

    @property
    def client_environment(self) -> dict[str, str]:
        """Return the variables that a client needs, set before it imports `datasets`.

        - The dataset viewer is asked at ``datasets-server.<host>``, which no name server knows
          here; `datasets` 2.x retries that for 3.5 s a load. `requests` lets a proxy be named for
          one host, and the proxy is this Hub.
        - huggingface_hub (1.33, 2.4) uploads by Xet wherever `hf_xet` is installed: an answer can't
          lead it to LFS. Without this, uploads fail at ``…/xet-write-token/…``.
        """
        return {
            "HF_ENDPOINT": self.url,
            f"http://datasets-server.{HOST}_proxy": self.url,
            "HF_HUB_DISABLE_XET": "1",
        }

    @property
    def requests(self) -> list[Request]:
        """Return what was asked so far, in the order in which answers began.

        A request is listed before its client can see the end of the answer.
        """
        with self.lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the recorded requests."""
        with self.lock:
            self._requests.clear()

    def add(self, repository: Repository) -> None:
        """Serve *repository* too, wherever it lies; the way to a one-segment id."""
        with self.lock:
            self._added[repository.dataset_id] = repository
            self._snapshots.clear()  # Other files are another commit.

    def refresh(self) -> None:
        """Hash the files anew at the next request."""
        with self.lock:
            self._snapshots.clear()

    def commit(self, dataset_id: str, revision: str = "main") -> str:
        """Return the commit SHA of *revision*.

        Raises:
            LookupError: there is no such repository or revision.
        """
        repository = self.find(dataset_id)
        snapshot = None if repository is None else self.find_snapshot(repository, revision)
        if snapshot is None:
            raise LookupError(f"{dataset_id}@{revision} is not under {self.root}")
        return snapshot.commit

    def object_url(self, path: str) -> str:
        """Return the address of *path* where large files are."""
        return f"http://{LARGE_FILE_HOST}:{self._listeners[1].port}/{path}"

    def known_tokens(self) -> set[str]:
        """Return the tokens that are somebody's."""
        return self.writers.union(*self.private.values(), *self.gated.values())

    def find(self, dataset_id: str) -> Repository | None:
        """Return the repository: as it was written to, as it was added, or from the root."""
        parts = dataset_id.split("/")
        if any(not part or part.startswith(".") for part in parts):
            return None
        written = None if self.uploads is None else self.uploads.find(dataset_id)
        with self.lock:
            found = written or self._added.get(dataset_id)
        if found is not None or len(parts) != (3 if parts[0] in _OTHER_KINDS else 2):
            return found
        folder = self.root.joinpath(*parts)
        return Repository(dataset_id, folder) if folder.is_dir() else None

    def other_case(self, dataset_id: str) -> str | None:
        """Return the id of the repository of which *dataset_id* differs in letter case alone."""
        if self.find(dataset_id) is not None:
            return None
        roots = [self.root] if self.uploads is None else [self.uploads.folder, self.root]
        folders = [(root, folder) for root in roots for folder in root.glob("*/*")]
        with self.lock:
            known = [*self._added, *(folder.relative_to(root).as_posix() for root, folder in folders)]
        same = (one for one in known if one.lower() == dataset_id.lower())
        return next((one for one in same if self.find(one) is not None), None)

    def _snapshot(self, folder: Path) -> Snapshot:
        folder = folder.resolve()
        with self.lock:
            if folder not in self._snapshots:
                self._snapshots[folder] = read_snapshot(folder)
            return self._snapshots[folder]

    def find_snapshot(self, repository: Repository, revision: str) -> Snapshot | None:
        """Look *revision* up as branch, tag, SHA, then unique SHA prefix of 7 digits and more."""
        revision = self.tags.get((repository.dataset_id, revision), revision)
        folders = repository.revisions()
        if revision in folders:
            return self._snapshot(folders[revision])
        if not re.fullmatch("[0-9a-f]{7,40}", revision):
            return None
        kept = [*folders.values(), *repository.commits()]
        snapshots = {shot.commit: shot for shot in map(self._snapshot, kept)}
        found = [shot for commit, shot in snapshots.items() if commit.startswith(revision)]
        return found[0] if len(found) == 1 else None

    def is_lfs(self, path: str, size_bytes: int) -> bool:
        """Tell whether such a file is an LFS file."""
        is_large = size_bytes >= self.lfs_from_bytes or self._is_redirected(size_bytes)
        return is_large or path.endswith(LFS_SUFFIXES)

    def _is_redirected(self, size_bytes: int) -> bool:
        return self.redirect_large_bytes is not None and size_bytes >= self.redirect_large_bytes

    def oid(self, file: RepoFile) -> str:
        """Return what names the content of *file*: LFS's sha256, or git's SHA-1."""
        return file.sha256 if self.is_lfs(file.path, file.size_bytes) else file.blob_id

    def _pick_fault(self, request: Request) -> Fault | None:
        with self.lock:
            faults = [self.faults(request)] if callable(self.faults) else self.faults
            for fault in faults:
                if fault is not None and fault.applies(request):
                    fault.used += 1
                    return fault
        return None

    def _record(self, request: Request) -> None:
        with self.lock:
            self._requests.append(request)

    def _correct(self, recorded: Request, truth: Request) -> None:
        with self.lock:
            self._requests = [truth if one is recorded else one for one in self._requests]


# --- routes -----------------------------------------------------------------------------------


def _serve_file(call: Call) -> Answer:
    repository = call.repository()
    allowed = call.hub.gated.get(repository.dataset_id)
    # Only files are behind the gate; what the API tells about the repository is not.
    if allowed is not None and call.token not in allowed:
        reason = f"Access to dataset {repository.dataset_id} is restricted."
        raise RefusalError(401 if call.token is None else 403, "GatedRepo", reason)
    snapshot = call.snapshot(repository)
    file = snapshot.files.get(call.parts["path"])
    if file is None:
        raise RefusalError(404, "EntryNotFound", "Entry not found", X_Repo_Commit=snapshot.commit)
    headers = {"X-Repo-Commit": snapshot.commit, "ETag": f'"{call.hub.oid(file)}"'}
    if call.hub._is_redirected(file.size_bytes):
        return _redirect_to_object(call.hub, file, headers)
    return _send_part(call.request, file.source, file.size_bytes, headers)


def _redirect_to_object(hub: LoopbackHub, file: RepoFile, headers: dict[str, str]) -> Answer:
    hub._objects[file.sha256] = file.source
    address = hub.object_url(f"objects/{file.sha256}")
    linked = {
        "Location": address,
        "X-Repo-Commit": headers["X-Repo-Commit"],
        "X-Linked-ETag": headers["ETag"],
        "X-Linked-Size": str(file.size_bytes),
        "Content-Type": "text/plain",
    }
    body = f"Found. Redirecting to {address}".encode()
    return Answer(302, linked, body, 0, len(body))


def _serve_object(call: Call) -> Answer:
    digest = call.parts["digest"]
    source = call.hub._objects.get(digest)
    if source is None:
        raise RefusalError(403, None, "Access denied")
    return _send_part(call.request, source, source.stat().st_size, {"ETag": f'"{digest}"'})


def _send_part(request: Request, source: Path, size_bytes: int, headers: Mapping[str, str]) -> Answer:
    named = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    part = _parse_range(request.headers.get("range", ""), size_bytes)
    if part is None or request.method == "HEAD":
        return Answer(200, named, source, 0, size_bytes)
    start, end = part
    named["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    return Answer(206, named, source, start, end - start)


def _parse_range(value: str, size_bytes: int) -> tuple[int, int] | None:
    """Return begin and end (excluded) of a range; None for the whole, also for several ranges."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
    else:
        start, end = max(size_bytes - int(last), 0), size_bytes
    if start >= end:
        unsatisfied = f"bytes */{size_bytes}"
        raise RefusalError(416, None, "Range not satisfiable", Content_Range=unsatisfied)
    return start, end


def _serve_info(call: Call) -> Answer:
    repository = call.repository()
    snapshot = call.snapshot(repository)
    key, dataset_id, blobs = repository.dataset_id, call.parts["id"], call.flag("blobs")
    siblings = [_sibling(call.hub, file, blobs) for file in snapshot.files.values()]
    return json_answer(
        {
            "_id": snapshot.commit[:24],
            "id": dataset_id,
            "author": dataset_id.partition("/")[0] if "/" in dataset_id else None,
            "sha": snapshot.commit,
            "lastModified": DATE,
            "createdAt": DATE,
            "private": key in call.hub.private,
            "gated": "auto" if key in call.hub.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": _card_data(snapshot),
            "siblings": siblings,
        }
    )


def _card_data(snapshot: Snapshot) -> dict[str, Any]:
    """Return what the card declares between its first two lines of dashes."""
    card = snapshot.files.get("README.md")
    text = card.source.read_text(encoding="utf-8") if card is not None else ""
    begin, _, rest = text.partition("---\n")
    declared = yaml.safe_load(rest.partition("\n---")[0]) if not begin else None
    return declared if isinstance(declared, dict) else {}


def _sibling(hub: LoopbackHub, file: RepoFile, blobs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        found.update(size=file.size_bytes, blobId=file.blob_id)
        if hub.is_lfs(file.path, file.size_bytes):
            lfs = {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": pointer_bytes(file)}
            found["lfs"] = lfs
    return found


def _serve_tree(call: Call) -> Answer:
    snapshot = call.snapshot(call.repository())
    folder = (call.parts.get("path") or "").strip("/")
    if folder and folder not in snapshot.folders():
        raise RefusalError(404, "EntryNotFound", "Entry not found", X_Repo_Commit=snapshot.commit)
    paths = _list_folder(snapshot, folder, recursive=call.flag("recursive"))
    begin = int(call.query.get("cursor", ["0"])[-1])
    end = begin + call.hub.tree_page_size
    expand = call.flag("expand")
    page = [_describe(call.hub, snapshot, path, expand) for path in paths[begin:end]]
    headers = {"X-Repo-Commit": snapshot.commit}
    if end < len(paths):
        headers["Link"] = f'<{_next_page(call, end)}>; rel="next"'
    return json_answer(page, headers=headers)


def pointer_bytes(file: RepoFile) -> int:
    """Return the size of what git has of an LFS file."""
    return len(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size_bytes}\n"
    )


def _list_folder(snapshot: Snapshot, folder: str, *, recursive: bool) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    below = [p for p in {*snapshot.files, *snapshot.folders()} if p.startswith(prefix)]
    return sorted(p for p in below if recursive or "/" not in p[len(prefix) :])


def _next_page(call: Call, cursor: int) -> str:
    path = urlsplit(call.request.path).path
    query = urlencode({**call.query, "cursor": [str(cursor)]}, doseq=True)
    return f"{call.hub.url}{path}?{query}"


def _describe(hub: LoopbackHub, snapshot: Snapshot, path: str, expand: bool) -> dict[str, Any]:
    """Return what tree and paths-info tell of a file or a folder."""
    found: dict[str, Any]
    file = snapshot.files.get(path)
    if file is None:
        below = [one.blob_id for one in snapshot.files.values() if one.path.startswith(f"{path}/")]
        oid = hashlib.sha1("\n".join([path, *below]).encode()).hexdigest()
        found = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        found = {"type": "file", "oid": file.blob_id, "size": file.size_bytes, "path": path}
        if hub.is_lfs(file.path, file.size_bytes):
            lfs = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": pointer_bytes(file)}
            found["lfs"] = lfs
    if expand:
        found["lastCommit"] = {"id": snapshot.commit, "title": "Add files", "date": DATE}
    if expand and file is not None:
        found["securityFileStatus"] = {
            "status": "safe",
            "avScan": {"status": "safe"},
            "pickleImportScan": None,
        }
    return found


def _serve_paths_info(call: Call) -> Answer:
    snapshot = call.snapshot(call.repository())
    if call.request.headers.get("content-type", "").startswith("application/json"):
        asked = json.loads(call.body or b"{}")
        paths, expand = list(asked.get("paths", [])), is_true(asked.get("expand"))
    else:
        form = parse_qs(call.body.decode())
        paths, expand = form.get("paths", []), is_true(form.get("expand", [""])[-1])
    known = {*snapshot.files, *snapshot.folders()}
    found = [path.strip("/") for path in paths if path.strip("/") in known]
    return json_answer([_describe(call.hub, snapshot, path, expand) for path in found])


def _serve_refs(call: Call) -> Answer:
    hub, repository = call.hub, call.repository()
    refs: dict[str, list[dict[str, str]]] = {
        "branches": [],
        "converts": [],
        "tags": [],
        "pullRequests": [],
    }
    kinds = {"refs/convert/": "converts", "refs/pr/": "pullRequests"}
    for name, folder in repository.revisions().items():
        prefix = next((one for one in kinds if name.startswith(one)), "")
        ref = name if prefix else f"refs/heads/{name}"
        commit = hub._snapshot(folder).commit
        if commit != name:  # A commit by its SHA is no branch.
            entry = {"name": name[len(prefix) :], "ref": ref, "targetCommit": commit}
            refs[kinds.get(prefix, "branches")].append(entry)
    for (dataset_id, tag), target in sorted(hub.tags.items()):
        snapshot = hub.find_snapshot(repository, target)
        if dataset_id == repository.dataset_id and snapshot is not None:
            entry = {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": snapshot.commit}
            refs["tags"].append(entry)
    return json_answer(refs)


def _serve_auth_check(call: Call) -> Answer:
    call.repository()
    return json_answer({})


def _serve_whoami(call: Call) -> Answer:
    if call.token not in call.hub.known_tokens():
        raise RefusalError(401, None, "Invalid credentials in Authorization header")
    role = "write" if call.token in call.hub.writers else "read"
    access = {"type": "access_token", "accessToken": {"displayName": "rig", "role": role}}
    return json_answer({"type": "user", "name": USER, "orgs": [], "auth": access})


def _serve_viewer(call: Call) -> Answer:
    """Answer as the dataset viewer does for a repository that it has not converted to Parquet."""
    raise RefusalError(404, "ResponseNotFound", "Not found.")


def _routes_of(kind: str, files: str) -> tuple[Route, ...]:
    """Return the routes that read repositories of a *kind*, whose files are below *files*."""
    api = rf"/api/{kind}/{ID}"
    return (
        Route("GET", rf"{files}/{ID}/resolve/{REV}/(?P<path>.+)", _serve_file, kind),
        Route("GET", rf"{api}/revision/{REV}", _serve_info, kind),
        Route("GET", rf"{api}/tree/{REV}(?:/(?P<path>.*))?", _serve_tree, kind),
        Route("POST", rf"{api}/paths-info/{REV}", _serve_paths_info, kind),
        Route("GET", rf"{api}/refs", _serve_refs, kind),
        Route("GET", rf"{api}/auth-check", _serve_auth_check, kind),
        Route("GET", api, _serve_info, kind),
    )


# The first full match wins.
_ROUTES = (
    *_routes_of("datasets", "/datasets"),
    *_routes_of("spaces", "/spaces"),
    *_routes_of("models", ""),
    Route("GET", r"/api/whoami-v2", _serve_whoami),
    Route("GET", r"/(?:info|parquet)", _serve_viewer),
    *WRITES,
)
_OBJECT_ROUTES = (
    *OBJECT_WRITES,
    Route("GET", r"/objects/(?P<digest>[0-9a-f]{64})", _serve_object),
)


def _reply(hub: LoopbackHub, routes: Sequence[Route], request: Request, body: bytes) -> Answer:
    """Find the route for *request* and let it answer; a refusal is an answer too."""
    split = urlsplit(request.path)
    method = "GET" if request.method == "HEAD" else request.method
    try:
        for route in routes:
            found = re.fullmatch(route.pattern, split.path)
            if found is None or route.method != method:
                continue
            parts = {name: unquote(text) for name, text in found.groupdict().items() if text}
            query = parse_qs(split.query, keep_blank_values=True)
            call = Call(hub, request, {**parts, "kind": route.kind}, query, body)
            moved_to = call.moved_to()
            if moved_to is not None:
                moved_to = moved_to.removeprefix(f"{route.kind}/")
                return _redirect_renamed(request.path, found.span("id"), moved_to)
            return route.reply(call)
        raise RefusalError(404, None, f"No route for {request.method} {split.path}")
    except RefusalError as refusal:
        return refusal.answer()


def _redirect_renamed(path: str, span: tuple[int, int], dataset_id: str) -> Answer:
    location = path[: span[0]] + quote(dataset_id) + path[span[1] :]
    body = f"Temporary Redirect. Redirecting to {location}".encode()
    return Answer(307, {"Location": location, "Content-Type": "text/plain"}, body, 0, len(body))


# --- HTTP -------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    """Know the open connections, so that a stop can close those that are kept alive."""

    request_queue_size = 128

    def __init__(self, hub: LoopbackHub, routes: Sequence[Route], port: int) -> None:
        self.hub, self.routes = hub, routes
        self._open: set[Any] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # http.server's own asks DNS for the host's full name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    # The base class leaves the type of a request open, hence Any.
    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("connection from %s broke: %r", client_address, sys.exc_info()[1])

    def close_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    logger.debug("a client had left already")


class _Listener:
    """Own one port over starts and stops."""

    def __init__(self, hub: LoopbackHub, routes: Sequence[Route], port: int) -> None:
        self.port = port
        self._hub, self._routes = hub, routes
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._reserve: socket.socket | None = None

    def start(self) -> None:
        self.release()
        self._server = _Server(self._hub, self._routes, self.port)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="loopback-hub", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.close_connections()
        self._server = self._thread = None
        self._keep_port()

    def release(self) -> None:
        """Give the port back."""
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _keep_port(self) -> None:
        """Bind without listening: connections are refused, and nobody else is given the port."""
        self._reserve = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserve.bind((HOST, self.port))


class _Handler(BaseHTTPRequestHandler):
    """Answer the requests of one connection, and break what a `Fault` says."""

    protocol_version = "HTTP/1.1"
    # Header and body are two writes; with Nagle a kept-alive client waits 40 ms for the second.
    disable_nagle_algorithm = True
    server: _Server

    def _respond(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        body = self.rfile.read(int(headers.get("content-length", "0")))
        fault = hub._pick_fault(request)
        answer = self._answer(request, body, fault)
        length = 0 if self.command == "HEAD" else answer.length
        limit = length if fault is None else fault.body_limit(length)
        silent = fault is not None and fault.action in ("reset", "cut") and fault.after_bytes is None
        status = 0 if silent else answer.status
        record = replace(request, status=status, bytes_sent=limit)
        # Before the answer: whoever has seen its end finds it in the list.
        hub._record(record)
        self._sent = 0
        try:
            self._send(answer, fault, limit)
        except OSError:
            self.close_connection = True
            hub._correct(record, replace(record, bytes_sent=self._sent))

    def _answer(self, request: Request, body: bytes, fault: Fault | None) -> Answer:
        if fault is not None and isinstance(fault.action, int):
            return json_answer({"error": "Fault on purpose"}, fault.action, fault.headers)
        try:
            return _reply(self.server.hub, self.server.routes, request, body)
        except Exception as error:
            logger.exception("the rig failed on %s %s", request.method, request.path)
            return json_answer({"error": f"the rig failed: {error!r}"}, 500)

    def _send(self, answer: Answer, fault: Fault | None, limit: int) -> None:
        action = None if fault is None else fault.action
        at = None if fault is None else fault.after_bytes
        if action == "reset" and at is None:
            self._reset()
            return
        if action == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.close_connection = True
            return
        if action == "stall" and at is None:
            self._pause(fault)
        self._send_head(answer)
        if action == "stall" and at is not None:
            self._send_body(answer, 0, min(at, limit))
            self._pause(fault)
            self._send_body(answer, min(at, limit), limit)
        elif action == "corrupt":
            self._send_body(answer, 0, limit, flip=limit // 2 if at is None else at)
        else:
            self._send_body(answer, 0, limit)
        if action == "reset":
            self._reset()
        if action == "truncate":
            self.close_connection = True

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.length))
        if self.close_connection:  # The request asked for it. A client that is not told may use it again.
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_body(self, answer: Answer, begin: int, end: int, flip: int = -1) -> None:
        at = begin
        for chunk in answer.chunks(begin, end):
            if at <= flip < at + len(chunk):
                spoilt = bytearray(chunk)
                spoilt[flip - at] ^= 0xFF
                chunk = bytes(spoilt)
            self.wfile.write(chunk)
            at += len(chunk)
            self._sent += len(chunk)

    def _pause(self, fault: Fault | None) -> None:
        if self.server.hub._stopping.wait(0 if fault is None else fault.seconds):
            raise ConnectionAbortedError("the hub was stopped while it stalled")

    def _reset(self) -> None:
        """Close with RST: linger 0, and no shutdown before, which would send FIN."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._respond)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a folder until SIGTERM or SIGINT, after writing the URL to stdout."""
    parser = argparse.ArgumentParser(description="Serve a folder as a Hugging Face Hub.")
    parser.add_argument("--root", type=Path, required=True, help="holds <owner>/<name>/<revision>")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--redirect-large-bytes", type=int, help="answer 302 from this size on")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hub = LoopbackHub(options.root, redirect_large_bytes=options.redirect_large_bytes, port=options.port)
    with hub:
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
