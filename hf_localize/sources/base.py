"""What a source answers: an entry, or why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar, runtime_checkable

from hf_localize.errors import AccessDeniedError, IntegrityError, UnreachableError
from hf_localize.format.equivalence import Identity
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import RepoType
from hf_localize.http.deadline import within

_T = TypeVar("_T")
#: What a source raises that can't tell whether it has something.
SOURCE_FAILURES = (AccessDeniedError, UnreachableError, IntegrityError)
#: Which files of an entry a load needs, by its manifest; None: all.
Needed = Callable[[Manifest], "Collection[str] | None"]


class Entry(Protocol):
    """A found dataset that can be brought into the local store."""

    @property
    def source(self) -> str:
        """Return the source's name as users read it, such as ``private S3``."""

    def fetch_into(self, folder: Path) -> Manifest:
        """Write every file of the entry into *folder*, verified, and return its manifest.

        Files that are in *folder* already and match the manifest are kept.
        """


@runtime_checkable
class StoredEntry(Entry, Protocol):
    """An entry whose manifest is known and whose files can be read where they lie."""

    @property
    def manifest(self) -> Manifest:
        """Return the entry's manifest."""

    @property
    def digest(self) -> str:
        """Return a hex name of the content, the same for the same bytes."""

    def fetch_some(self, folder: Path, paths: Collection[str]) -> Manifest:
        """Write the files *paths* of the entry into *folder*, as :meth:`fetch_into` writes all."""

    def open(self, path: str) -> BinaryIO:
        """Return a stream over the entry's file at *path*, for the caller to close."""


@runtime_checkable
class CommittedEntry(Entry, Protocol):
    """An entry of which the commit on the Hub is known before anything is fetched."""

    @property
    def commit(self) -> str | None:
        """Return the commit SHA; None: it is not known."""


class NotHere(NamedTuple):
    """The answer of a source that does not have the dataset."""

    reason: str
    #: What stock `datasets` raised, where the source is the Hub; or that other content is here.
    error: Exception | None = None
    #: Some of its files are here.
    is_partial: bool = False


class Source(Protocol):
    """A place that may have datasets."""

    @property
    def kind(self) -> str:
        """Return the kind of source, as in ``HGLOC_SOURCES``."""

    @property
    def name(self) -> str:
        """Return the source's name as users read it."""

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the entry for *ref*, or why it is not here.

        Raises:
            AccessDeniedError, UnreachableError, IntegrityError: the source can't tell.
        """


@dataclass(slots=True)
class Budget:
    """The time that remote stores may take to answer, together. Fetching what they have is not counted.

    Each gets an equal share of what is left, so that one that falls silent leaves time for the next.
    """

    seconds: float
    #: The kinds of all sources that are asked, in order.
    kinds: Sequence[str]

    def ask(self, kind: str, question: Callable[[], _T]) -> _T:
        """Return the answer of the source of that *kind* to *question*.

        Raises:
            NoAnswerError: it took more than its share.
        """
        remote = [one for one in self.kinds if one in ("s3", "public")]
        if kind not in remote:
            return question()
        started = time.monotonic()
        try:
            return within(self.seconds / (len(remote) - remote.index(kind)), question)
        finally:
            self.seconds -= time.monotonic() - started


@runtime_checkable
class RepositorySource(Source, Protocol):
    """A source that also knows something of the repositories of its entries."""

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any entry's manifest that tells the configs of the repository of *ref*."""

    def stored(self, ref: DatasetRef) -> Sequence[Identity]:
        """Return what is stored of the dataset id of *ref*, whatever its config and revision."""

    def known_ids(self) -> Collection[str]:
        """Return the dataset ids that are known to be there without a request; there may be others."""


def download_command(ref: DatasetRef) -> str:
    """Return the command that brings all of *ref* into the local store."""
    return f"hg-localize download {arguments_of(ref)}"


def arguments_of(ref: DatasetRef) -> str:
    """Return the arguments by which a command names *ref*."""
    name = f" --name '{ref.config_name}'" if ref.config_name else ""
    revision = f" --revision '{ref.revision}'" if ref.revision else ""
    return f"{ref.dataset_id}{name}{revision}"


def files_option(repo_type: RepoType) -> str:
    """Return the option by which a command names files of a repository of that type."""
    return "--files-only" if repo_type == "dataset" else f"--repo-type {repo_type}"


def alternatives(others: Sequence[str]) -> str:
    """Return, in words for a reason, what a source has of a dataset in place of what was asked for."""
    return f" (it has {', '.join(sorted(others))})" if others else ""
