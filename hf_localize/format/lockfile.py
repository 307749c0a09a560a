"""The lock file and the record of loads, as values: which content of which dataset a run has, or may have."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_localize.errors import ConflictError, IntegrityError, InvalidRefError, LockError, NotLockedError
from hf_localize.format.equivalence import Identity, identity_fields
from hf_localize.format.files import replacing, telling_unwritable
from hf_localize.format.manifest import Manifest
from hf_localize.format.record import Record
from hf_localize.format.refs import DatasetRef
from hf_localize.format.renamed_ids import current_ref
from hf_localize.format.repository import Repository
from hf_localize.format.sealed_json import parse_json

FORMAT_VERSION = 1
_DIGEST = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Locked(Identity):
    """Exactly one content of a dataset: by its digest or, where that is None, by its commit on the Hub.

    The other fields tell which refs it answers, as those of a manifest do.
    """

    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.ref} ({self.content})"

    @property
    def content(self) -> str:
        """Return, in words, which content it is."""
        return content_in_words(self.digest, self.commit)

    def is_met_by(self, manifest: Manifest) -> bool:
        """Tell whether an entry with *manifest*, which has the sha256 of every file, is this content."""
        if self.digest is not None:
            return manifest.digest == self.digest
        return self.commit is not None and manifest.commit == self.commit

    def is_same(self, other: Locked) -> bool:
        """Tell whether *other* is the same content, as far as both tell it."""
        if self.digest is not None and other.digest is not None:
            return self.digest == other.digest
        return self.commit is not None and self.commit == other.commit

    def by_commit(self) -> Locked:
        """Return the same without the digest, where there is a commit: any capture of that commit is it."""
        return self if self.commit is None else replace(self, digest=None)


@dataclass(frozen=True, slots=True)
class LockedRepository:
    """Files of a repository, as they are at one commit."""

    repository: Repository
    #: By which the commit is asked for, such as ``main``.
    revision: str
    commit: str
    #: The paths of those that a run has read, sorted; None: all.
    files: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision} (commit {self.commit[:12]}…)"


def locked(ref: DatasetRef, manifest: Manifest) -> Locked:
    """Return the content of the entry with *manifest* as *ref*; no digest where it lacks a sha256."""
    own = manifest.identity
    digest = manifest.digest if all(file.sha256 for file in manifest.files) else None
    return Locked(ref, own.canonical_id, own.resolved_config, own.is_default_config, own.commit, digest)


def content_in_words(digest: str | None, commit: str | None) -> str:
    """Return, in words, the first figures of what tells a content."""
    told = {"digest": digest, "commit": commit}
    return ", ".join(f"{name} {value[:12]}…" for name, value in told.items() if value) or "not known"


@dataclass(frozen=True, slots=True)
class Lock(Record):
    """The content of a lock file; ``where`` is its path."""

    datasets: tuple[Locked, ...]
    where: str = ""
    #: If there is none, the lock file says nothing of files, and all may be read.
    repositories: tuple[LockedRepository, ...] = ()

    def of(self, ref: DatasetRef) -> Locked:
        """Return what the lock file has for *ref*, or for it by the dataset's present id.

        Raises:
            NotLockedError: it does not name the dataset.
        """
        for name in filter(None, (ref, current_ref(ref))):
            found = [item for item in self.datasets if item.answers(name)]
            if found:
                return min(found, key=lambda item: item.ref != name)
        others = [str(item.ref) for item in self.datasets if item.ref.dataset_id == ref.dataset_id]
        has = f" (it has {', '.join(others)})" if others else ""
        raise NotLockedError(
            f"{ref} is not in the lock file {self.where}{has}, so it is not loaded. To add it, write "
            "a new lock file: hg-localize lock. To load without a lock file, unset HGLOC_LOCK"
        )

    def commit_of(self, repository: Repository, revision: str | None) -> str | None:
        """Return the commit at which *revision* of *repository* may be read; None: it is not locked.

        Without a *revision*, any commit that is locked.
        """
        named = (item for item in self.repositories if item.repository.is_same(repository))
        own = {item.revision: item.commit for item in named}
        if repository.repo_type == "dataset":  # Original files are those of the repository.
            for item in self.datasets:
                is_of_it = item.ref.dataset_id.lower() == repository.repo_id.lower()
                if item.ref == item.ref.files and item.commit and is_of_it:
                    own.setdefault(item.ref.revision or "main", item.commit)
        if revision is None:
            return next(iter(own.values()), None)
        return revision if revision in own.values() else own.get(revision)

    def has(self, dataset_id: str) -> bool:
        """Tell whether a config of a dataset is locked."""
        return any(item.has_id(dataset_id) for item in self.datasets)

    def as_locked(self, item: Locked) -> str:
        """Return what to say after the name of a dataset of which only *item* is looked for."""
        return f" as {self.where} has it ({item.content})"

    def to_bytes(self) -> bytes:
        """Return the lock file: JSON, the same for the same content, a line for each field."""
        document = {"format_version": FORMAT_VERSION, "datasets": [as_json(item) for item in self.datasets]}
        if self.repositories:
            document["repositories"] = [as_json(item) for item in self.repositories]
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    def updated_by(self, other: Lock) -> Lock:
        """Return a lock of what *other* names, and of everything else that this one names."""
        datasets = [
            item
            for item in self.datasets
            if not any(item.answers(new.ref) or new.answers(item.ref) for new in other.datasets)
        ]
        named = {(item.repository, item.revision) for item in other.repositories}
        repositories = [item for item in self.repositories if (item.repository, item.revision) not in named]
        return lock_of([*datasets, *repositories, *other.datasets, *other.repositories])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the lock file to *path* by one rename.

        Raises:
            LockError: something is there that is no lock file. It is left as it is.
            StoreError: the file can't be written.
        """
        there = Path(path)
        if there.exists() and not (there.is_file() and there.stat().st_size == 0):
            try:
                read_lock(there)
            except LockError as exc:
                raise LockError(
                    f"{path} exists and is not a lock file, so it is not overwritten. Name another file "
                    "with --output, or remove it"
                ) from exc
        with telling_unwritable(path), replacing(there) as part:
            part.write_bytes(self.to_bytes())


def lock_of(items: Iterable[Locked | LockedRepository], where: str = "") -> Lock:
    """Return a lock of *items*, sorted, each ref once.

    Raises:
        ConflictError: one ref has two contents.
        LockError: nothing tells the content of one.
    """
    found: dict[DatasetRef, Locked] = {}
    repositories: dict[tuple[Repository, str], LockedRepository] = {}
    for item in items:
        if isinstance(item, LockedRepository):
            _add(item, repositories)
            continue
        before = found.setdefault(item.ref, item)
        merged = _merged(before, item)
        if merged is None:
            raise ConflictError(
                f"{item.ref} was loaded with two contents: {before.content}, then {item.content}. Remove the "
                "record, run again, then write the lock file: hg-localize lock"
            )
        if merged.digest is None and merged.commit is None:
            raise LockError(
                f"{item.ref} can't be locked: neither its digest nor its commit is known. If the "
                "original tool stored it, this records both: hg-localize sync-local-to-s3 "
                f"{item.ref.dataset_id}"
            )
        found[item.ref] = merged
    by_name = sorted(repositories.values(), key=lambda item: (str(item.repository), item.revision))
    return Lock(
        tuple(sorted(found.values(), key=lambda item: [part or "" for part in item.ref.parts])),
        where,
        tuple(by_name),
    )


def _add(item: LockedRepository, to: dict[tuple[Repository, str], LockedRepository]) -> None:
    """Add the files of *item* to those of the same revision."""
    before = to.setdefault((item.repository, item.revision), item)
    if before.commit != item.commit:
        raise ConflictError(
            f"{item.repository} was read at two commits of {item.revision}: {before.commit}, then "
            f"{item.commit}. Remove the record and run again"
        )
    files = None
    if before.files is not None and item.files is not None:
        files = tuple(sorted({*before.files, *item.files}))
    to[item.repository, item.revision] = replace(item, files=files)


def _merged(one: Locked, other: Locked) -> Locked | None:
    """Return what two notes of one ref tell together: a stream from the Hub has a commit only."""
    if one.digest and other.digest:
        return one if one.digest == other.digest else None
    if one.commit != other.commit:
        return None
    return one if one.digest else other


def read_lock(path: Path) -> Lock:
    """Return what the lock file *path* names; it is read again when it has changed.

    Raises:
        LockError: there is none, or it can't be understood.
    """
    try:
        stat = path.stat()
        return _read_lock(path, stat.st_mtime_ns, stat.st_size)
    except OSError as exc:
        raise LockError(f"the lock file {path} can't be read: {exc.strerror or exc}") from exc


@functools.lru_cache(maxsize=4)
def _read_lock(path: Path, _changed: int, _size: int) -> Lock:
    return parse_lock(path.read_bytes(), str(path))


def parse_lock(data: bytes, where: str) -> Lock:
    """Return the lock that *data* holds; *where* names its place in errors.

    Raises:
        LockError: it can't be understood, or is of a format version that is not known here.
    """
    try:
        document = parse_json(data, where)
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise LockError(
                f"{where} has format version {version!r}; this version of hf_localize reads version "
                f"{FORMAT_VERSION}. Upgrade hf_localize."
            )
        named = [*document["datasets"], *document.get("repositories", ())]
        return lock_of([from_json(item) for item in named], where)
    except (TypeError, KeyError, AttributeError, InvalidRefError, IntegrityError, ConflictError) as exc:
        raise LockError(f"{where} is not a lock file: {exc}") from exc


def read_record(path: Path) -> list[Locked | LockedRepository]:
    """Return what a run has appended to *path*, a file or a folder of such files, each content once.

    A line that was cut off, as by a machine that went down, is left out.

    Raises:
        LockError: there is nothing.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    try:
        lines = [line for file in files for line in file.read_bytes().splitlines()]
    except OSError as exc:
        raise LockError(f"the record {path} can't be read: {exc.strerror or exc}") from exc
    found: dict[Locked | LockedRepository, None] = {}
    for line in lines:
        try:
            found[from_json(parse_json(line, str(path)))] = None
        except (TypeError, KeyError, AttributeError, InvalidRefError, IntegrityError, LockError):
            continue
    if not found:
        raise LockError(f"the record {path} contains no load. Run the program with HGLOC_RECORD={path}")
    return list(found)


def as_json(item: Locked | LockedRepository) -> dict[str, Any]:
    """Return one dataset, or the files of a repository, as the lock file and the record have it."""
    if isinstance(item, LockedRepository):
        named = {"repo_type": item.repository.repo_type, "repo_id": item.repository.repo_id}
        return {**named, "revision": item.revision, "commit": item.commit, "files": item.files}
    return {**item.ref.as_dict(), "commit": item.commit, "digest": item.digest, **item.identity_json()}


def from_json(value: dict[str, Any]) -> Locked | LockedRepository:
    """Return what an item of a lock file, or a line of a record, says."""
    if "repo_type" in value:
        return _repository(value)

    def text(name: str) -> str | None:
        told = value.get(name)
        if told is not None and not isinstance(told, str):
            raise TypeError(f"{name} {told!r:.100} is not text")
        return told

    for name, form in (("digest", _DIGEST), ("commit", _COMMIT)):
        if (told := text(name)) is not None and not form.fullmatch(told):
            raise LockError(f"{value['dataset_id']!r:.200} has an invalid {name}: {told!r:.100}")
    ref = DatasetRef(value["dataset_id"], text("config_name"), text("revision"))
    return Locked(ref, **identity_fields(value, text), digest=text("digest"))


def _repository(value: dict[str, Any]) -> LockedRepository:
    revision, commit, files = value["revision"], value["commit"], value["files"]
    paths = [] if files is None else files
    if not isinstance(revision, str) or not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise LockError(f"{value['repo_id']!r:.200} has an invalid revision or commit")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise LockError(f"{value['repo_id']!r:.200} has invalid file paths")
    repository = Repository(value["repo_type"], value["repo_id"])
    return LockedRepository(repository, revision, commit, None if files is None else tuple(sorted(paths)))
