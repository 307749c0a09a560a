"""What a route of the loopback Hub is handed, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.rig.hub_storage import CHUNK_BYTES, Repository, Snapshot

if TYPE_CHECKING:
    from tests.rig.hub import LoopbackHub

# Parts of the paths of routes.
ID = r"(?P<id>[^/]+(?:/[^/]+)??)"
REV = r"(?P<rev>refs/(?:convert|pr)/[^/]+|[^/]+)"
# `datasets` >= 4 relies on LFS for Parquet files of any size: it deletes them before it commits.
LFS_SUFFIXES = (".arrow", ".bin", ".parquet", ".zip")
# Whose every token is.
USER = "rig-user"


@dataclass(frozen=True, slots=True)
class Request:
    """Record one request: *path* is raw, with its query; header names are lower-case.

    `bytes_sent` counts the body. `status` is 0 if the connection was reset before an answer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold a status, headers, and a body: bytes, or a part of a file."""

    status: int
    headers: Mapping[str, str]
    content: bytes | Path
    start: int
    length: int

    def chunks(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the body's bytes from *begin* up to *end*."""
        if isinstance(self.content, bytes):
            yield self.content[begin:end]
            return
        with self.content.open("rb") as stream:
            stream.seek(self.start + begin)
            left = end - begin
            while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


class RefusalError(Exception):
    """Carry an error answer; over http:// clients need its code in a header."""

    def __init__(self, status: int, code: str | None, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def answer(self) -> Answer:
        named = {name.replace("_", "-"): value for name, value in self.headers.items()}
        if self.code is not None:
            named["X-Error-Code"] = self.code
        named["X-Error-Message"] = self.message.encode("ascii", "replace").decode()
        return json_answer({"error": self.message}, self.status, named)


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(value).encode()
    named = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Answer(status, named, body, 0, len(body))


@dataclass(frozen=True, slots=True)
class Call:
    """Hand a request to a route: unquoted parts of its path, query, body."""

    hub: LoopbackHub
    request: Request
    parts: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes

    @property
    def token(self) -> str | None:
        kind, _, token = self.request.headers.get("authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" and token.strip() else None

    def flag(self, name: str) -> bool:
        return is_true(self.query.get(name, [""])[-1])

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def may_see(self, dataset_id: str) -> bool:
        """Tell whether the token may know that this repository exists."""
        return self.token in self.hub.private.get(dataset_id, {self.token})

    @property
    def key(self) -> str:
        """Return what names the repository on disk: a dataset's id, or ``models/ID``, or ``spaces/ID``."""
        kind, repo_id = self.parts.get("kind", "datasets"), self.parts.get("id", "")
        return repo_id if kind == "datasets" else f"{kind}/{repo_id}"

    def moved_to(self) -> str | None:
        """Return the key to ask for instead: the new one, or the one in the right letter case."""
        asked = self.key
        found = self.hub.redirects.get(asked) or self.hub.other_case(asked)
        return found if found is not None and self.may_see(found) else None

    def repository(self) -> Repository:
        """Return the repository that is asked for, if the token may know that it exists."""
        dataset_id = self.key
        found = self.hub.find(dataset_id)
        if found is None or not self.may_see(dataset_id):
            if self.token is None:
                raise RefusalError(401, "RepoNotFound", "Invalid username or password.")
            raise RefusalError(404, "RepoNotFound", "Repository not found")
        return found

    def snapshot(self, repository: Repository, revision: str | None = None) -> Snapshot:
        """Return the commit of *revision*, or of the one that is asked for, or of ``main``."""
        revision = revision or self.parts.get("rev") or "main"
        found = self.hub.find_snapshot(repository, revision)
        if found is None:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: str
    reply: Callable[[Call], Answer]
    #: ``datasets``, ``models`` or ``spaces``.
    kind: str = "datasets"


def is_true(value: object) -> bool:
    return str(value).lower() in {"1", "true", "yes"}
