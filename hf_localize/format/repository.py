"""Repositories as they are on the Hub: files by their sha256, the snapshot of a commit, and the refs.

The layout is specified in docs/format.md ("Repositories"). It is the same below the store's ``.hgloc``
folder, below that of the bucket's data prefix, and below ``public_repositories``, which everybody may read.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

RepoType = Literal["dataset", "model", "space"]
REPO_TYPES: tuple[RepoType, ...] = ("dataset", "model", "space")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub: its type and its id, such as ``org/name``."""

    repo_type: RepoType
    repo_id: str

    @property
    def folder(self) -> str:
        """Return the folder of its snapshots and refs: ``repositories/<type>/<id, percent-encoded>``."""
        return f"repositories/{self.repo_type}/{quote(self.repo_id, safe='')}"

    @property
    def refs_path(self) -> str:
        """Return where its refs are."""
        return f"{self.folder}/refs.json"

    def snapshot_path(self, commit: str) -> str:
        """Return where the snapshot of *commit* is."""
        return f"{self.folder}/{commit}.json"


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of a repository: its path, size in bytes, sha256 (hex), and git's object id where known."""

    path: str
    size_bytes: int
    sha256: str
    oid: str | None = None
    #: The Hub keeps it outside of git, by its sha256 (LFS or xet).
    is_lfs: bool = False

    @property
    def blob_path(self) -> str:
        """Return where its bytes are: ``blobs/ab/<sha256>``, shared by all that has the same bytes."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}"

    @property
    def etag(self) -> str:
        """Return the Hub's ETag of it: the sha256 of a file outside of git, else git's object id."""
        return self.sha256 if self.is_lfs or self.oid is None else self.oid


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit: all of them, or those that patterns have chosen."""

    repository: Repository
    commit: str
    files: tuple[RepositoryFile, ...]
    #: As ``snapshot_download`` takes them; None and empty: all files.
    allow_patterns: tuple[str, ...] | None = None
    ignore_patterns: tuple[str, ...] = ()
    #: What the Hub says of the repository at this commit, without the list of its files.
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Tell whether a file that is not here is not in the repository either."""
        return self.allow_patterns is None and not self.ignore_patterns

    def find(self, path: str) -> RepositoryFile | None:
        """Return the file at *path*, or None."""
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True, slots=True)
class RepositoryRefs:
    """The branches, tags and converted branches of a repository, each with its commit."""

    repository: Repository
    #: By name, such as ``main``.
    branches: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    #: By name, such as ``parquet``, which is ``refs/convert/parquet``.
    converts: Mapping[str, str] = field(default_factory=dict)
    #: The commits of which there is a snapshot.
    commits: tuple[str, ...] = ()

    def resolve(self, revision: str | None) -> str | None:
        """Return the commit of a branch, a tag, a full ref or a commit SHA; None: there is none."""
        name = revision or "main"
        if name in self.commits:
            return name
        for prefix, named in (
            ("refs/convert/", self.converts),
            ("refs/heads/", self.branches),
            ("refs/tags/", self.tags),
        ):
            if name.startswith(prefix):
                return named.get(name.removeprefix(prefix))
        return self.branches.get(name) or self.tags.get(name)


def matches(path: str, allow_patterns: tuple[str, ...] | None, ignore_patterns: tuple[str, ...]) -> bool:
    """Tell whether patterns choose *path*, as ``snapshot_download`` reads them: a folder is all below it."""

    def is_in(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatch(path, f"{p}*" if p.endswith("/") else p) for p in patterns)

    return (allow_patterns is None or is_in(allow_patterns)) and not is_in(ignore_patterns)
