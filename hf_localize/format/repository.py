"""Repositories as they are on the Hub: files by their sha256, the snapshot of a commit, and the refs.

The layout is specified in docs/format.md ("Repositories"). It is the same below the store's ``.hgloc``
folder, below that of the bucket's data prefix, and below ``public_repositories``, which everybody may read.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import quote

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.index import plain_mark
from hf_localize.format.manifest import Manifest, known
from hf_localize.format.manifest_json import count, is_shallow
from hf_localize.format.sealed_json import check_seal, parse_json, sealed

RepoType = Literal["dataset", "model", "space"]
REPO_TYPES: tuple[RepoType, ...] = ("dataset", "model", "space")
FORMAT_VERSION = 1
#: The folders in a bucket, relative to its data prefix: of the team's copies, and of the public ones.
PRIVATE_FOLDER = ".hgloc"
PUBLIC_FOLDER = "public_repositories"
#: As huggingface_hub has it. It also keeps the id from being ``..`` where it becomes a folder.
_REPO_ID = re.compile(r"(?!.*\.\.)\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT_SHA = 7  # Digits, as git shortens it.
_PATTERN_LISTS = ("allow_patterns", "ignore_patterns")
#: Git's object ids can't be compressed: a snapshot that is larger with them is written without them.
_MAX_SNAPSHOT_BYTES = 5_000_000
_PLAIN_BYTES = 128 << 10
_MAX_PATH_BYTES = 4096
#: What can't be in a path on any system: control characters, and a parent folder behind either slash.
#: It searches many paths at once, which are divided by line feeds.
_UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]|(?:^|[/\\])\.{1,2}(?:$|[/\\])|^/|//|/$|^$", re.MULTILINE)
_MAX_DEPTH = 60

_PULLS = "refs/pr/"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub: its type and its id, such as ``org/name``."""

    repo_type: RepoType
    repo_id: str

    def __post_init__(self) -> None:
        """Check the id, which becomes a name of folders; raises InvalidRefError."""
        if self.repo_type not in REPO_TYPES or not _REPO_ID.fullmatch(self.repo_id):
            raise InvalidRefError(f"{self.repo_id!r:.200} can't be the id of a repository ({self.repo_type})")

    def __str__(self) -> str:
        return f"{self.repo_type} {self.repo_id}"

    @property
    def folder(self) -> str:
        """Return the folder of its snapshots and refs: ``repositories/<type>/<id, percent-encoded>``."""
        return f"repositories/{self.repo_type}/{quote(self.repo_id, safe='')}"

    def in_other_case(self, ids: Collection[str]) -> list[Repository]:
        """Return the repositories of those of *ids* that differ from its own in letter case only."""
        alike = (one for one in ids if one.lower() == self.repo_id.lower() and one.isascii())
        return [Repository(self.repo_type, one) for one in sorted(alike) if one != self.repo_id]

    def is_same(self, other: Repository) -> bool:
        """Tell whether the Hub takes both for the same: it ignores the letter case of ids."""
        return self.repo_type == other.repo_type and self.repo_id.lower() == other.repo_id.lower()

    @property
    def refs_path(self) -> str:
        """Return where its refs are."""
        return f"{self.folder}/refs.json"

    def snapshot_path(self, commit: str) -> str:
        """Return where the snapshot of *commit*, a SHA, is; raises InvalidRefError."""
        if not is_commit_sha(commit):
            raise InvalidRefError(f"{commit!r:.200} is not a commit SHA")
        return f"{self.folder}/{commit}.json"


class RepositoryFile(NamedTuple):
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

    def covers(self, allow_patterns: tuple[str, ...] | None, ignore_patterns: tuple[str, ...]) -> bool:
        """Tell whether all that these patterns choose is here."""
        patterns = (self.allow_patterns, self.ignore_patterns)
        return self.is_complete or patterns == (allow_patterns, ignore_patterns)

    def only(self, allow_patterns: tuple[str, ...] | None, ignore_patterns: tuple[str, ...]) -> Snapshot:
        """Return what these patterns choose of a complete snapshot."""
        files = tuple(f for f in self.files if matches(f.path, allow_patterns, ignore_patterns))
        return replace(self, files=files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)

    def merged(self, other: Snapshot | None) -> Snapshot:
        """Return what this and *other*, of the same commit, have together.

        Where patterns differ, the result's choose no more than both have: what they don't choose may or may
        not be in the repository.
        """
        if other is None or self.is_complete:
            return self
        if other.is_complete:
            return other
        files = {file.path: file for file in (*other.files, *self.files)}
        allow = None
        if self.allow_patterns is not None and other.allow_patterns is not None:
            allow = tuple(dict.fromkeys((*other.allow_patterns, *self.allow_patterns)))
        ignore = tuple(dict.fromkeys((*other.ignore_patterns, *self.ignore_patterns)))
        ordered = tuple(files[path] for path in sorted(files))
        return replace(self, files=ordered, allow_patterns=allow, ignore_patterns=ignore)


def terms_of(snapshot: Snapshot) -> Manifest:
    """Return a manifest without files that tells whether a snapshot is gated or private on the Hub."""
    return Manifest(
        dataset_id=snapshot.repository.repo_id,
        revision=snapshot.commit,
        origin="hub",
        commit=snapshot.commit,
        gated=known(snapshot.info.get("gated")),
        private=known(snapshot.info.get("private")),
    )


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
    #: When the Hub was asked (UTC, ISO 8601).
    seen: str = ""
    #: By number, such as ``1``, which is ``refs/pr/1``: the pull requests that were asked for.
    pulls: Mapping[str, str] = field(default_factory=dict)

    def merged(self, other: RepositoryRefs | None) -> RepositoryRefs:
        """Return the refs of both; of a name that both have, the newer commit that has a snapshot."""
        if other is None:
            return self
        older, newer = sorted((self, other), key=lambda refs: (refs.seen, sorted(refs.branches.items())))
        commits = tuple(sorted({*self.commits, *other.commits}))

        def both(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
            kept = {n: c for n, c in before.items() if c in commits and after.get(n) not in commits}
            return {**before, **after, **kept}

        return RepositoryRefs(
            self.repository,
            both(older.branches, newer.branches),
            both(older.tags, newer.tags),
            both(older.converts, newer.converts),
            commits,
            newer.seen,
            both(older.pulls, newer.pulls),
        )

    def resolve(self, revision: str | None) -> str | None:
        """Return the commit of a branch, a tag, a full ref or a commit SHA, maybe shortened; None: none."""
        name = revision or "main"
        if name in self.commits:
            return name
        for prefix, named in self.by_prefix:
            if name.startswith(prefix):
                return named.get(name.removeprefix(prefix))
        short = [commit for commit in self.commits if len(name) >= _SHORT_SHA and commit.startswith(name)]
        return self.branches.get(name) or self.tags.get(name) or (short[0] if len(short) == 1 else None)

    @property
    def by_prefix(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """Return the names of each kind of ref, after what full refs of that kind begin with."""
        return (
            ("refs/convert/", self.converts),
            ("refs/heads/", self.branches),
            ("refs/tags/", self.tags),
            (_PULLS, self.pulls),
        )

    def with_pull(self, revision: str | None, commit: str) -> RepositoryRefs:
        """Return these refs; if *revision* is a pull request, with that at *commit*."""
        if revision is None or not revision.startswith(_PULLS):
            return self
        return replace(self, pulls={**self.pulls, revision.removeprefix(_PULLS): commit})


class Patterns(NamedTuple):
    """Which files of a repository are meant: the arguments of :func:`matches`."""

    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


ALL_FILES = Patterns()


def matches(path: str, allow_patterns: tuple[str, ...] | None, ignore_patterns: tuple[str, ...]) -> bool:
    """Tell whether patterns choose *path*, as ``snapshot_download`` reads them: a folder is all below it."""

    def is_in(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatch(path, f"{p}*" if p.endswith("/") else p) for p in patterns)

    return (allow_patterns is None or is_in(allow_patterns)) and not is_in(ignore_patterns)


def is_commit_sha(name: str) -> bool:
    """Tell whether *name* is a whole commit SHA."""
    return _COMMIT.fullmatch(name) is not None


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """Return *snapshot* as sealed JSON, compressed where it is large; the same for the same snapshot.

    Raises:
        IntegrityError: :func:`read_snapshot` would refuse it.
    """
    data = _snapshot_bytes(snapshot)
    if len(data) > _MAX_SNAPSHOT_BYTES:
        without = tuple(file if file.is_lfs else file._replace(oid=None) for file in snapshot.files)
        data = _snapshot_bytes(replace(snapshot, files=without))
    read_snapshot(data, f"the snapshot of {snapshot.repository}", snapshot.repository, snapshot.commit)
    return data


def _snapshot_bytes(snapshot: Snapshot) -> bytes:
    files = sorted(snapshot.files, key=lambda file: file.path)
    kinds = [_kind_of(file) for file in files]
    allow = snapshot.allow_patterns
    data = sealed(
        {
            "format_version": FORMAT_VERSION,
            "repo_type": snapshot.repository.repo_type,
            "repo_id": snapshot.repository.repo_id,
            "commit": snapshot.commit,
            "allow_patterns": None if allow is None else list(allow),
            "ignore_patterns": list(snapshot.ignore_patterns),
            "info": dict(snapshot.info),
            "paths": [file.path for file in files],
            "sizes": [file.size_bytes for file in files],
            "kinds": "".join(kinds),
            "sha256": "".join(file.sha256 for file in files),
            "oids": "".join(file.oid or "" for file, k in zip(files, kinds, strict=True) if k in _WITH_OID),
        }
    )
    return data if len(data) <= _PLAIN_BYTES else gzip.compress(data, 6, mtime=0)


#: Kinds of files: in git, with or without an object id; in LFS with the object id of its pointer file, with
#: another, without.
_KINDS = _IN_GIT, _UNKNOWN, _POINTER, _LFS, _LFS_UNKNOWN = tuple("guplx")
_WITH_OID = (_IN_GIT, _LFS)
_OF_LFS = (_POINTER, _LFS, _LFS_UNKNOWN)


def _kind_of(file: RepositoryFile) -> str:
    if not file.is_lfs:
        return _UNKNOWN if file.oid is None else _IN_GIT
    if file.oid is None:
        return _LFS_UNKNOWN
    return _POINTER if file.oid == pointer_oid(file.sha256, file.size_bytes) else _LFS


def pointer(sha256: str, size_bytes: int) -> bytes:
    """Return the pointer file that git has in place of a file in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def pointer_oid(sha256: str, size_bytes: int) -> str:
    """Return git's object id of that pointer file."""
    data = pointer(sha256, size_bytes)
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def read_snapshot(data: bytes, where: str, repository: Repository, commit: str) -> Snapshot:
    """Return the snapshot of *commit* of *repository* that *data* holds; *where* names its place in errors.

    Raises:
        IntegrityError: it holds another, or none that can be used.
    """
    data = plain_mark(data, where)
    check_seal(data, where)
    try:
        document = _checked(parse_json(data, where), where, repository)
        if "checksum" not in document:
            raise ValueError("it has no checksum")
        if document["commit"] != commit:
            raise ValueError(f"it is of the commit {document['commit']!r:.100}")
        allow, ignore = (_texts(document[name]) for name in _PATTERN_LISTS)
        info = document["info"]
        if ignore is None or not isinstance(info, dict) or not is_shallow(info, _MAX_DEPTH):
            raise ValueError("its patterns or info are invalid")
        return Snapshot(repository, commit, tuple(_files_of(document)), allow, ignore, info)
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        raise IntegrityError(f"{where} is not a snapshot: {exc!r:.300}") from exc


def _checked(document: Any, where: str, repository: Repository) -> Mapping[str, Any]:
    version = document["format_version"]
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise IntegrityError(
            f"{where} has format version {version!r:.100}; this version of hf_localize reads version "
            f"{FORMAT_VERSION}. Upgrade hf_localize."
        )
    if (document["repo_type"], document["repo_id"]) != (repository.repo_type, repository.repo_id):
        raise ValueError(f"it is of {document['repo_id']!r:.100}")
    return cast("Mapping[str, Any]", document)


def _files_of(document: Mapping[str, Any]) -> Iterable[RepositoryFile]:
    paths, kinds = _texts(document["paths"]) or (), str(document["kinds"])
    sizes, hashes, oids = list(map(count, document["sizes"])), _hex(document["sha256"], 64), document["oids"]
    oids = iter(_hex(oids, 40, sum(map(kinds.count, _WITH_OID))))
    if len({len(paths), len(sizes), len(kinds), len(hashes)}) > 1 or not isinstance(document["sizes"], list):
        raise ValueError("its columns differ in length")
    if unknown := set(kinds) - set(_KINDS):
        raise ValueError(f"{min(unknown)!r} is not a kind of file")
    _check_paths(paths)
    for path, size, kind, sha256 in zip(paths, sizes, kinds, hashes, strict=True):
        oid = next(oids) if kind in _WITH_OID else pointer_oid(sha256, size) if kind == _POINTER else None
        yield RepositoryFile(path, size, sha256, oid, kind in _OF_LFS)


def _check_paths(paths: tuple[str, ...]) -> None:
    """Refuse paths that lead outside a folder, or can't all be in one.

    Names that only some file systems can't hold are the matter of those who write them there: the bytes are
    stored by their sha256.
    """
    known = set(paths)
    if len(known) < len(paths):
        raise ValueError("a path occurs twice")
    text = "\n".join(paths)
    if paths and (found := _UNSAFE.search(text)):
        raise ValueError(f"a path is refused: {text[max(0, found.start() - 100) : found.end() + 100]!r}")
    if text.count("\n") >= max(1, len(paths)) or max(map(len, paths), default=0) > _MAX_PATH_BYTES:
        raise ValueError("a path has a line feed, or is too long")
    folders = {path.rpartition("/")[0] for path in paths}
    while folders := folders - {""}:
        if both := folders & known:
            raise ValueError(f"{min(both)!r:.200} is a file and a folder")
        folders = {path.rpartition("/")[0] for path in folders}


def _texts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r:.100} is not a list of texts")
    for item in value:
        item.encode()  # Half a surrogate pair can't be written again: UnicodeEncodeError is a ValueError.
    return tuple(value)


def _hex(text: Any, length: int, number: int | None = None) -> list[str]:
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]*", text) or len(text) % length:
        raise ValueError("its hashes are invalid")
    if number is not None and len(text) != number * length:
        raise ValueError("it does not have as many object ids as its kinds say")
    return [text[start : start + length] for start in range(0, len(text), length)]


def merge_refs(document: dict[str, Any], refs: RepositoryRefs, where: str) -> bool:
    """Bring *refs* into a refs object, in place; an empty one becomes them. False: nothing changes.

    Its lines are in ``entries``, as shared JSON has them. Fields and entries of others stay.

    Raises:
        IntegrityError: the object can't be understood.
    """
    before = read_refs(document, where, refs.repository) if document else None
    merged = refs.merged(before)
    if merged == before:
        return False
    named = {
        f"{prefix}{name}": commit for prefix, names in merged.by_prefix for name, commit in names.items()
    }
    held = {f"commits/{commit}": commit for commit in merged.commits}
    document.update(
        format_version=FORMAT_VERSION,
        repo_type=refs.repository.repo_type,
        repo_id=refs.repository.repo_id,
        seen=merged.seen,
        entries={**document.get("entries", {}), **dict(sorted({**named, **held}.items()))},
    )
    return True


def read_refs(data: bytes | Mapping[str, Any], where: str, repository: Repository) -> RepositoryRefs:
    """Return the refs of *repository* that *data* (JSON, or what it holds) has.

    Raises:
        IntegrityError: it has others, or none that can be used.
    """
    try:
        document = data if isinstance(data, Mapping) else parse_json(data, where)
        document = _checked(document, where, repository)
        entries, seen = document["entries"], document["seen"]
        if not isinstance(entries, dict) or not isinstance(seen, str):
            raise TypeError("its entries are invalid")
        for name, commit in entries.items():
            if not isinstance(commit, str) or not is_commit_sha(commit) or not name.isprintable():
                raise ValueError(f"{name!r:.100} is {commit!r:.100}")

        def below(prefix: str) -> dict[str, str]:
            return {n.removeprefix(prefix): c for n, c in entries.items() if n.startswith(prefix)}

        commits = below("commits/")
        if any(name != commit for name, commit in commits.items()):
            raise ValueError("an entry of a commit names another commit")
        kinds = (below("refs/heads/"), below("refs/tags/"), below("refs/convert/"))
        return RepositoryRefs(repository, *kinds, tuple(sorted(commits)), seen, below(_PULLS))
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        raise IntegrityError(f"{where} does not hold refs: {exc!r:.300}") from exc
