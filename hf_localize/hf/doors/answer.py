"""Answer a request to the Hub from what is held: a pure function."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlencode

from hf_localize.errors import InvalidRefError
from hf_localize.format.renamed_ids import current_id
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
    matches,
    pointer,
    pointer_oid,
)
from hf_localize.sources.repositories import RepositoryTiers

_PAGE_ENTRIES = 10_000
#: What of the headers of a request counts. Others may hold a token, which a traceback would show.
HEADERS = ("content-type", "if-none-match", "if-range", "range")
_EPOCH = "1970-01-01T00:00:00.000Z"
#: What the Hub tells of a repository only if it is asked for by name, so it is not held.
_ONLY_EXPANDED = {
    *("baseModels", "childrenModelCount", "downloadsAllTime", "evalResults", "inference"),
    *("inferenceProviderMapping", "resourceGroup", "securityRepoStatus", "trendingScore"),
}
#: Makes a reply of a :class:`_Call` and, where one revision is asked for, of the index of its snapshot.
_Make: TypeAlias = "Callable[..., Reply | None]"
_TYPES: dict[str, RepoType] = {"datasets": "dataset", "models": "model", "spaces": "space"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the Hub.

    *path* starts below the endpoint, percent-encoded. *headers* are some of HEADERS.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Without a slash at its end. The address of a next page begins with it.
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of *file* from *start* to before *stop*, of *snapshot*."""

    snapshot: Snapshot
    file: RepositoryFile
    start: int
    stop: int

    @property
    def is_whole(self) -> bool:
        """Tell whether this is all of the file."""
        return (self.start, self.stop) == (0, self.file.size_bytes)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the Hub would answer. For a HEAD, *headers* may name the length of a body that is not here."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Part = b""


def answer(request: Request, repositories: RepositoryTiers, *, is_last: bool = True) -> Reply | None:
    """Answer *request* from *repositories*; None: what it asks for is not held, or it is not a read.

    Args:
        is_last: nobody else can be asked. So a revision that is not among the refs is not found, and the
            listing of a partial snapshot has the files that are held.

    Raises:
        UnreachableError: no place has the repository, and one of them gave no answer.
    """
    for method, pattern, reply in _ROUTES:
        found = pattern.fullmatch(request.path)
        if found is None or method != ("GET" if request.method == "HEAD" else request.method):
            continue
        parts = _parts(found)
        query = parse_qs(request.query, keep_blank_values=True)
        refs = _refs(parts, repositories, everywhere=is_last)
        if refs is not None:
            call = _Call(request, parts, query, repositories, refs, is_last)
            made = reply(call) if reply in _OF_REVISIONS else call.with_snapshot(reply)
            return _without_body_for_head(request, made)
        if is_last and reply is _info and _is_path(parts, repositories):
            return refused(request, "RepoNotFound", f"{parts['id']} is no repository")
    if is_last and _PARQUET.fullmatch(request.path):
        return refused(request, "EntryNotFound", f"{unquote(request.path)} is not held here")
    return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: a revision of a repository, and the path of a file."""

    repository: Repository
    #: None: it asks for the list of revisions.
    revision: str | None
    #: None: it asks for something else than a file.
    path: str | None


def asked_for(request: Request) -> Asked | None:
    """Return what *request* asks for; None: it is not a read of a repository."""
    found, reply = _route(request)
    if found is None or reply is None:
        return None
    parts = _parts(found)
    repository = next(iter(_repositories(parts)), None)
    if repository is None:
        return None
    revision = None if reply in _OF_REVISIONS else parts.get("rev") or "main"
    return Asked(repository, revision, parts["path"] if reply is _file else None)


def held_commit(request: Request, repositories: RepositoryTiers) -> str | None:
    """Return the commit that is held, whole or in part, of the branch or tag that *request* asks for.

    Raises:
        UnreachableError: no place has the repository, and one of them gave no answer.
    """
    found, reply = _route(request)
    if found is None or reply in _OF_REVISIONS:
        return None
    parts = _parts(found)
    refs = _refs(parts, repositories, everywhere=False)
    revision = parts.get("rev") or "main"
    commit = None if refs is None else refs.resolve(revision)
    return commit if refs is not None and commit in refs.commits and commit != revision else None


def changed_by(request: Request) -> Repository | None:
    """Return the repository that *request*, which is not a read, changes or begins to change."""
    if request.path.startswith(REPOSITORIES):
        return _named_in(request.body)
    found = _CHANGE.fullmatch(request.path)
    parts = {} if found is None else {name: unquote(text) for name, text in found.groupdict().items()}
    return next(iter(_repositories(parts)), None) if parts else None


def _named_in(body: bytes) -> Repository | None:
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        named = json.loads(body)
        repo_id = named.get("fromRepo") or f"{named['organization']}/{named['name']}"
        return Repository(named.get("type") or "model", repo_id)
    return None


def at_commit(request: Request, commit: str) -> Request:
    """Return *request*, which asks for a revision, as one that asks for *commit*."""
    found, _ = _route(request)
    if found is None or "rev" not in found.re.groupindex:
        return replace(request, path=f"{request.path}/revision/{commit}")
    start, stop = found.span("rev")
    return replace(request, path=f"{request.path[:start]}{commit}{request.path[stop:]}")


def _route(request: Request) -> tuple[re.Match[str] | None, _Make | None]:
    method = "GET" if request.method == "HEAD" else request.method
    for own, pattern, reply in _ROUTES:
        if own == method and (found := pattern.fullmatch(request.path)):
            return found, reply
    return None, None


def _parts(found: re.Match[str]) -> dict[str, str]:
    return {name: unquote(text) for name, text in found.groupdict(default="").items()}


def _refs(
    parts: Mapping[str, str], repositories: RepositoryTiers, *, everywhere: bool
) -> RepositoryRefs | None:
    """Return the refs of the first spelling of the id that is held, as `RepositoryTiers.spellings` has it."""
    spellings = (repositories.spellings(one, everywhere=everywhere) for one in _repositories(parts))
    for repository in chain.from_iterable(spellings):
        refs = repositories.refs(repository, parts.get("rev") or None)
        if refs is not None:
            return refs
    return None


def _is_path(parts: Mapping[str, str], repositories: RepositoryTiers) -> bool:
    """Tell whether an id of two parts is a path in a held repository whose id has one, as ``gpt2``.

    huggingface_hub below 1 asks for both, and takes the second if there is no first.
    """
    first, slash, _ = parts["id"].partition("/")
    return bool(slash) and _refs({**parts, "id": first}, repositories, everywhere=False) is not None


def _repositories(parts: Mapping[str, str]) -> Iterable[Repository]:
    repo_type, repo_id = _TYPES[parts.get("types") or "models"], parts["id"]
    present = current_id(repo_id) if repo_type == "dataset" else None
    for name in dict.fromkeys(filter(None, (repo_id, present))):
        with contextlib.suppress(InvalidRefError):  # No repository can have that id.
            yield Repository(repo_type, name)


def _without_body_for_head(request: Request, reply: Reply | None) -> Reply | None:
    if reply is None or request.method != "HEAD":
        return reply
    headers = reply.headers if reply.status < 400 else {**reply.headers, "Content-Length": "0"}
    return Reply(reply.status, headers)


@dataclass(frozen=True, slots=True)
class _Call:
    request: Request
    parts: Mapping[str, str]
    query: Mapping[str, list[str]]
    repositories: RepositoryTiers
    refs: RepositoryRefs
    is_last: bool

    @property
    def repository(self) -> Repository:
        return self.refs.repository

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("1", "true")

    def with_snapshot(self, reply: _Make) -> Reply | None:
        """Have *reply* answer from the snapshot of the revision that is asked for."""
        revision = self.parts.get("rev") or "main"
        commit = self.refs.resolve(revision)
        if commit is None:  # Commits and pull requests are not among the refs that are held.
            may_exist = re.fullmatch("[0-9a-f]{7,40}", revision) or revision.startswith("refs/pr/")
            if may_exist or not self.is_last:
                return None
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        snapshot = self.repositories.snapshot(self.repository, commit)
        return None if snapshot is None else reply(self, _index(snapshot))


class _Index:
    """A snapshot, with its files by path and its folders."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.files = {file.path: file for file in snapshot.files}
        self.folders: dict[str, list[str]] = {"": []}  # Each with the paths that are directly in it.
        for path in sorted(self.files):
            child = path
            while True:
                folder = child.rpartition("/")[0]
                is_new = folder not in self.folders
                self.folders.setdefault(folder, []).append(child)
                if not is_new:
                    break
                child = folder
        self._listed: dict[tuple[str, bool], list[str]] = {}

    def list(self, folder: str, *, recursive: bool) -> list[str]:
        """Return the paths of files and folders in *folder*, sorted."""
        key = (folder, recursive)
        if key not in self._listed:
            prefix = f"{folder}/" if folder else ""
            known = [*self.files, *filter(None, self.folders)] if recursive else self.folders[folder]
            self._listed[key] = sorted(path for path in known if path.startswith(prefix))
        return self._listed[key]


#: The last few that were asked for, by the identity of their snapshot, which they hold.
_indexes: dict[int, _Index] = {}


def _index(snapshot: Snapshot) -> _Index:
    found = _indexes.get(id(snapshot))
    if found is None or found.snapshot is not snapshot:
        found = _Index(snapshot)
        for old in list(_indexes)[:-7]:
            _indexes.pop(old, None)
        _indexes[id(snapshot)] = found
    return found


# --- routes -----------------------------------------------------------------------------------


def _file(call: _Call, index: _Index) -> Reply | None:
    snapshot, path = index.snapshot, call.parts["path"]
    file = index.files.get(path)
    if file is None:
        if not matches(path, snapshot.allow_patterns, snapshot.ignore_patterns):
            return None
        return _error(404, "EntryNotFound", "Entry not found", snapshot)
    size, etag = file.size_bytes, f'"{file.etag}"'
    headers = {
        "X-Repo-Commit": snapshot.commit,
        "ETag": etag,
        "X-Linked-Etag": etag,
        "X-Linked-Size": str(size),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream" if file.is_lfs else "text/plain; charset=utf-8",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
    }
    asked = call.request.headers
    known = re.split(r"\s*,\s*", asked.get("if-none-match", "").replace("W/", "").strip())
    if etag in known or known == ["*"]:
        return Reply(304, {**headers, "Content-Length": "0"})
    start, stop, status = 0, size, 200
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.get("range", "").strip())
    is_of_this = asked.get("if-range", etag) == etag
    if found and any(found.groups()) and is_of_this and call.request.method == "GET":
        first, last = found.groups()
        start = _number(first) if first else max(size - _number(last), 0)
        stop = min(_number(last) + 1, size) if first and last else size
        if start >= stop:
            refused = _error(416, None, "Range not satisfiable", snapshot)
            return replace(refused, headers={**refused.headers, "Content-Range": f"bytes */{size}"})
        status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{size}"
    return Reply(status, {**headers, "Content-Length": str(stop - start)}, Part(snapshot, file, start, stop))


def _raw(call: _Call, index: _Index) -> Reply | None:
    """Answer with what git has of a file: of one that lies outside of it, a few lines that point there."""
    file = index.files.get(call.parts["path"])
    if file is None or not file.is_lfs:
        return _file(call, index)
    data = pointer(file.sha256, file.size_bytes)
    headers = {"X-Repo-Commit": index.snapshot.commit, "Content-Type": "text/plain; charset=utf-8"}
    return Reply(200, {**headers, "Content-Length": str(len(data))}, data)


def _number(digits: str) -> int:
    """Return the number that a request names; a large one of thousands of digits, which Python refuses."""
    return int(digits.lstrip("0")[:18] or 0)


def _info(call: _Call, index: _Index) -> Reply | None:
    snapshot = index.snapshot
    if not (snapshot.is_complete or call.is_last):
        return None
    repo_id = call.repository.repo_id
    told = {name: value for name, value in snapshot.info.items() if not name.lower().startswith("xet")}
    document = {
        "_id": snapshot.commit[:24],
        "author": repo_id.partition("/")[0] if "/" in repo_id else None,
        "lastModified": _EPOCH,
        "createdAt": _EPOCH,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        **told,
        "id": repo_id,
        **({"modelId": repo_id} if call.repository.repo_type == "model" else {}),
        "sha": snapshot.commit,
        "siblings": [_sibling(file, blobs=call.flag("blobs")) for file in snapshot.files],
    }
    wanted = {name for names in call.query.get("expand", ()) for name in names.split(",")}
    if not call.is_last and (wanted & _ONLY_EXPANDED or call.flag("securityStatus")):
        return None
    if wanted:
        document = {name: value for name, value in document.items() if name in {"_id", "id", *wanted}}
    return _json(document, snapshot)


def _sibling(file: RepositoryFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    told = {"rfilename": file.path, "size": file.size_bytes, "blobId": _oid(file)}
    return {**told, "lfs": {"sha256": file.sha256, **_pointed(file)}} if file.is_lfs else told


def _pointed(file: RepositoryFile) -> dict[str, int]:
    return {"size": file.size_bytes, "pointerSize": len(pointer(file.sha256, file.size_bytes))}


def _oid(file: RepositoryFile) -> str:
    if file.oid is None and file.is_lfs:
        return pointer_oid(file.sha256, file.size_bytes)
    return file.oid or file.sha256


def _tree(call: _Call, index: _Index) -> Reply | None:
    snapshot, folder = index.snapshot, call.parts["path"].strip("/")
    if not (snapshot.is_complete or call.is_last):
        return None
    if folder not in index.folders:
        if not matches(f"{folder}/", snapshot.allow_patterns, snapshot.ignore_patterns):
            return None
        return _error(404, "EntryNotFound", f"{folder} does not exist on {snapshot.commit}", snapshot)
    paths = index.list(folder, recursive=call.flag("recursive"))
    begin, limit = (
        _number(text) if text.isdecimal() else default
        for text, default in (
            (call.query.get("cursor", [""])[-1], 0),
            (call.query.get("limit", [""])[-1], _PAGE_ENTRIES),
        )
    )
    end = begin + max(1, min(limit, _PAGE_ENTRIES))
    reply = _json([_described(index, path, call.flag("expand")) for path in paths[begin:end]], snapshot)
    if end >= len(paths):
        return reply
    query = urlencode({**call.query, "cursor": [str(end)]}, doseq=True)
    link = f'<{call.request.endpoint}{call.request.path}?{query}>; rel="next"'
    return replace(reply, headers={**reply.headers, "Link": link})


def _described(index: _Index, path: str, expand: bool) -> dict[str, Any]:
    """Return what the Hub tells of a file or a folder."""
    file = index.files.get(path)
    told: dict[str, Any]
    if file is None:
        names = "\n".join([path, *index.folders[path]]).encode()
        oid = hashlib.sha1(names, usedforsecurity=False).hexdigest()
        told = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        told = {"type": "file", "oid": _oid(file), "size": file.size_bytes, "path": path}
        if file.is_lfs:
            told["lfs"] = {"oid": file.sha256, **_pointed(file)}
    if expand:  # In which commit a file was last changed is not kept.
        date = index.snapshot.info.get("lastModified", _EPOCH)
        told["lastCommit"] = {"id": index.snapshot.commit, "title": "", "date": date}
    return told


def _paths_info(call: _Call, index: _Index) -> Reply | None:
    try:
        if call.request.headers.get("content-type", "").startswith("application/json"):
            asked = json.loads(call.request.body)
            paths, expand = [str(path) for path in asked["paths"]], asked.get("expand") is True
        else:
            form = parse_qs(call.request.body.decode())
            paths = form.get("paths", [])
            expand = form.get("expand", [""])[-1].lower() in ("1", "true")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _error(400, None, "paths is missing", index.snapshot)
    snapshot, known = index.snapshot, [path.strip("/") for path in paths]
    held = [path for path in known if path in index.files or (path and path in index.folders)]
    certain = held if call.is_last else index.files  # Of a folder, more may have been left out.
    if not all(
        path in certain or matches(path, snapshot.allow_patterns, snapshot.ignore_patterns) for path in known
    ):
        return None
    return _json([_described(index, path, expand) for path in held], snapshot)


def _list_refs(call: _Call) -> Reply | None:
    def listed(named: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"{prefix}{n}", "targetCommit": c} for n, c in sorted(named.items())]

    return _json(
        {
            "branches": listed(call.refs.branches, "refs/heads/"),
            "converts": listed(call.refs.converts, "refs/convert/"),
            "tags": listed(call.refs.tags, "refs/tags/"),
            "pullRequests": [],
        }
    )


def _auth_check(call: _Call) -> Reply | None:
    """Answer that the caller may read what is held; of what the Hub has, only the Hub can tell."""
    return _json({}) if call.is_last else None


def _commits(call: _Call) -> Reply | None:
    return call.with_snapshot(_commits_of) if call.is_last else None


def _commits_of(call: _Call, index: _Index) -> Reply | None:
    """List the commits that are held: the one that is asked for, then the others."""
    commits = [index.snapshot.commit, *(c for c in call.refs.commits if c != index.snapshot.commit)]
    date = index.snapshot.info.get("lastModified", _EPOCH)
    return _json(
        [{"id": commit, "title": "", "message": "", "authors": [], "date": date} for commit in commits],
        index.snapshot,
    )


def _json(document: Any, snapshot: Snapshot | None = None, status: int = 200, **headers: str) -> Reply:
    body = json.dumps(document).encode()
    named = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body)), **headers}
    return Reply(status, named if snapshot is None else {**named, "X-Repo-Commit": snapshot.commit}, body)


def _error(status: int, code: str | None, message: str, snapshot: Snapshot | None = None) -> Reply:
    text = message.encode("ascii", "backslashreplace").decode()
    text = re.sub(r"[\x00-\x1f\x7f]", " ", text)  # A header is one line of ASCII.
    headers = {"X-Error-Message": text, **({"X-Error-Code": code} if code else {})}
    reply = _json({"error": message}, snapshot, status)
    return replace(reply, headers={**reply.headers, **headers})


def not_held(request: Request) -> Reply:
    """Return the error for what is not held, for a client that can't be sent on to the Hub."""
    return refused(request, "RepoNotFound", f"{unquote(request.path)} is not held here")


def refused(request: Request, code: str, message: str) -> Reply:
    """Return the error that huggingface_hub knows by *code*."""
    reply = _error(404, code, message)
    return _without_body_for_head(request, reply) or reply


_ID = r"(?P<id>[^/]+(?:/[^/]+)?)"
_REV = r"(?P<rev>refs/(?:convert|pr)/[^/]+|[^/]+)"
_TYPE = r"(?P<types>datasets|models|spaces)"
_API = rf"/api/{_TYPE}/{_ID}"
#: Below it, repositories are created, renamed and deleted. Programs also create one before they write to it,
#: to make sure that it exists.
REPOSITORIES = "/api/repos/"
_CHANGE = re.compile(
    rf"{_API}/(?:(?:preupload|commit|branch|tag|super-squash)/.+|settings|lfs-files/batch|discussions/[0-9]+/merge)",
    re.DOTALL,
)
#: The Parquet copies that the Hub makes of a dataset. Clients work without them: Ray asks for them, by the id
#: without its owner, and reads the loaded dataset if there are none.
_PARQUET = re.compile(r"/api/datasets/.+/parquet/.+", re.DOTALL)
#: What these answer is of no one revision, and needs no snapshot.
_OF_REVISIONS: tuple[_Make, ...] = (_list_refs, _commits, _auth_check)
#: The first that fits, and whose repository is held: ``a/refs`` may be the refs of ``a``, or an id.
_ROUTES: tuple[tuple[str, re.Pattern[str], _Make], ...] = tuple(
    (method, re.compile(pattern, re.DOTALL), reply)
    for method, pattern, reply in (
        ("GET", rf"/(?:(?P<types>datasets|spaces)/)?{_ID}/resolve/{_REV}/(?P<path>.+)", _file),
        ("GET", rf"/(?:(?P<types>datasets|spaces)/)?{_ID}/raw/{_REV}/(?P<path>.+)", _raw),
        ("GET", rf"/api/resolve-cache/{_TYPE}/{_ID}/(?P<rev>[0-9a-f]{{40}})/(?P<path>.+)", _file),
        ("GET", rf"{_API}/revision/{_REV}", _info),
        ("GET", rf"{_API}/tree/{_REV}(?:/(?P<path>.*))?", _tree),
        ("POST", rf"{_API}/paths-info/{_REV}", _paths_info),
        ("GET", rf"{_API}/commits/{_REV}", _commits),
        ("GET", rf"{_API}/refs", _list_refs),
        ("GET", rf"{_API}/auth-check", _auth_check),
        ("GET", _API, _info),
    )
)  # fmt: skip
