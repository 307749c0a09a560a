"""Where the files of repositories are: the local store, the private bucket, what is public."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar, cast

from hf_localize.errors import HfLocalizeError, IntegrityError, UnreachableError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
    read_refs,
    read_snapshot,
)
from hf_localize.format.streams import Window
from hf_localize.http.deadline import NoAnswerError
from hf_localize.http.retry import reread
from hf_localize.progress import task
from hf_localize.sources.base import SOURCE_FAILURES, Budget
from hf_localize.store.repositories import LocalRepositories
from hf_localize.transfer.fetch import fetch_files
from hf_localize.transfer.remote_file import ReadRange, RemoteFile, range_reader

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Who reads so much at once reads all of it.
_READ_ON_BYTES = 1 << 20
#: How many snapshots of complete repositories are kept in memory: one of 100,000 files is read in a second.
_MAX_KEPT = 8
#: A list of all repositories may take several requests, and is needed only for what is not found.
_IDS_SECONDS = 10.0
#: How long a place is not asked for data that it did not begin to send in time.
_SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RemoteRepositories:
    """The repositories in a bucket, or those that are public."""

    name: str
    folder: str
    read: Callable[[str], bytes | None]
    open_range: Callable[[str, int, int | None], io.RawIOBase]
    #: Ids of repositories of that type that are or were there; there may be others.
    known_ids: Callable[[RepoType], Collection[str]]

    def refs(self, repository: Repository) -> RepositoryRefs | None:
        """Return the refs of *repository*; None: it is not here."""
        refs = self._parsed(repository.refs_path, lambda data, key: read_refs(data, key, repository))
        return refs if refs is not None and refs.commits else None  # All may have been removed.

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        """Return the snapshot of *commit*; None: it is not here."""
        path = repository.snapshot_path(commit)
        return self._parsed(path, lambda data, key: read_snapshot(data, key, repository, commit))

    def open_blob(self, sha256: str, start: int, stop: int | None) -> io.RawIOBase:
        """Return bytes of the file with that sha256 for one reading."""
        return self.open_range(f"{self.folder}/blobs/{sha256[:2]}/{sha256}", start, stop)

    def _parsed(self, path: str, parse: Callable[[bytes, str], _T]) -> _T | None:
        key = f"{self.folder}/{path}"

        def read() -> _T | None:
            data = self.read(key)
            return None if data is None else parse(data, f"{key} ({self.name})")

        return reread(read)


_Place: TypeAlias = LocalRepositories | RemoteRepositories


@dataclass(frozen=True, slots=True)
class RepositoryTiers:
    """Repositories of the local store and of places elsewhere, in the order in which they are asked."""

    local: LocalRepositories
    #: Kinds of sources and functions, so that a hit in the store loads no network library.
    places: tuple[tuple[str, Callable[[], _Place | None]], ...]
    workers: int
    #: How long all places together may take to tell what they have.
    timeout_seconds: float
    _kept: dict[tuple[Repository, str], Snapshot] = field(default_factory=dict, compare=False, repr=False)
    #: Until when a place is not asked for data.
    _silent: dict[str, float] = field(default_factory=dict, compare=False, repr=False)
    #: The ids of remote places by (place, type of repository), and until when they count.
    _ids: dict[tuple[str, str], tuple[float, Collection[str]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def elsewhere(self) -> RepositoryTiers:
        """Return the places besides the local store, from which files are still brought into it."""
        return replace(self, places=tuple(place for place in self.places if place[0] != "local"))

    def refs(self, repository: Repository, revision: str | None = None) -> RepositoryRefs | None:
        """Return the refs of the places up to the first that has a snapshot of *revision*.

        A place also knows branches and tags by name whose snapshots only a later one has.

        Raises:
            UnreachableError: no place knows it, and one of them gave no answer.
        """
        found: RepositoryRefs | None = None
        problems: list[HfLocalizeError] = []
        for refs in self._answers(lambda place: place.refs(repository), problems):
            found = refs.merged(found)
            if found.resolve(revision) in found.commits:
                return found
        if found is None or found.resolve(revision) is None:
            _raise_if_any(problems, repository)
        return found

    def spellings(self, repository: Repository, *, everywhere: bool) -> Iterator[Repository]:
        """Yield *repository*, and those that differ from it in the letter case of the id.

        One that is in the local store comes first. With *everywhere*, those in other places come last.
        """
        problems: list[HfLocalizeError] = []
        others = self.local.in_other_case(repository) if "local" in dict(self.places) else []
        yield from others
        yield repository

        def in_other_case(place: _Place) -> list[Repository]:
            assert isinstance(place, RemoteRepositories)
            return repository.in_other_case(self._ids_at(place, repository.repo_type))

        for found in self._answers(in_other_case, problems, is_remote=True) if everywhere else ():
            yield from (one for one in found if one not in others)

    def _ids_at(self, place: RemoteRepositories, repo_type: RepoType) -> Collection[str]:
        key, now = (place.name, repo_type), time.monotonic()
        until, ids = self._ids.get(key, (0.0, ()))
        if until < now:
            ids = place.known_ids(repo_type)
            self._ids[key] = now + _IDS_SECONDS, ids
        return ids

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        """Return the snapshot of *commit*; where it is partial, with what others have besides.

        Raises:
            UnreachableError: no place has it, and one of them gave no answer.
        """
        if (kept := self._kept.get((repository, commit))) is not None:
            return kept
        found: Snapshot | None = None
        problems: list[HfLocalizeError] = []
        for snapshot in self._answers(lambda place: place.snapshot(repository, commit), problems):
            found = snapshot.merged(found)
            if found.is_complete:
                self._keep(found)
                return found
        if found is None:
            _raise_if_any(problems, repository)
        return found

    def find(self, repository: Repository, revision: str | None) -> Snapshot | None:
        """Return the snapshot of *revision*; None: it is held nowhere. Raises as :meth:`refs`."""
        refs = self.refs(repository, revision)
        commit = None if refs is None else refs.resolve(revision)
        return None if commit is None else self.snapshot(repository, commit)

    def _keep(self, snapshot: Snapshot) -> None:
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[snapshot.repository, snapshot.commit] = snapshot

    def local_path(self, file: RepositoryFile) -> Path | None:
        """Return where *file* lies in the local store; None: it is not there. Makes no request."""
        return self.local.local_path(file)

    def open(self, file: RepositoryFile, start: int = 0, stop: int | None = None) -> BinaryIO:
        """Open the bytes of *file* from *start* to before *stop*, read where they lie.

        The read that meets the end of a whole file raises IntegrityError if it is not as recorded.

        Raises:
            UnreachableError: no place gives them.
        """
        stop = file.size_bytes if stop is None else min(stop, file.size_bytes)
        path = self.local.local_path(file)
        if path is not None:
            source = open(path, "rb")  # noqa: SIM115  # The caller closes it.
            source.seek(start)
            is_to_end = stop == file.size_bytes
            return source if is_to_end else cast("BinaryIO", Window(source, max(0, stop - start)))
        is_whole = (start, stop) == (0, file.size_bytes)
        record = FileRecord(file.path, stop, file.sha256 if is_whole else "")
        remote = RemoteFile(record, self._range_reader(file.sha256), "the repository")
        remote.seek(start)
        if stop - start >= _READ_ON_BYTES:
            remote.read_on()
        stream = io.BufferedReader(remote)
        if stop > start:
            stream.peek(1)  # Whoever has none of it says so now.
        return cast("BinaryIO", stream)

    def _range_reader(self, sha256: str) -> ReadRange:
        """Return what reads ranges of the file with that sha256 from the first place that gives them."""
        readers: dict[str, ReadRange] = {}

        def read_range(start: int, buffer: memoryview) -> None:
            problems: list[HfLocalizeError] = []
            for place in self._remote(problems):
                with self._noting_silence(place, problems):
                    if place.name not in readers:
                        readers[place.name] = range_reader(place.open_blob, sha256)
                    return readers[place.name](start, buffer)
            _raise_if_any([one for one in problems if not isinstance(one, IntegrityError)], sha256)
            raise IntegrityError(f"no source has the file with sha256 {sha256}")

        return read_range

    def localize(self, snapshot: Snapshot, paths: Collection[str]) -> Mapping[str, Path]:
        """Bring files of *snapshot* into the local store, verified, and return where each lies.

        The snapshot is stored too, as it is, so that its list of files is known from then on.

        Raises:
            FileNotFoundError: the snapshot has no such file.
            UnreachableError: no place gives what is missing.
            StoreError: the store can't be written.
        """
        self.bring(snapshot, paths)
        wanted = set(paths)
        files = [file for file in snapshot.files if file.path in wanted]
        return {file.path: path for file in files if (path := self.local.local_path(file)) is not None}

    def bring(self, snapshot: Snapshot, paths: Collection[str]) -> Collection[str]:
        """Bring files of *snapshot* as :meth:`localize` does, and return the places from which they came."""
        wanted = set(paths)
        files = [file for file in snapshot.files if file.path in wanted]
        if len(files) < len(wanted):
            absent = min(wanted - {file.path for file in files})
            raise FileNotFoundError(f"{snapshot.repository} at {snapshot.commit} has no file {absent}")
        sources = self._bring(snapshot.repository, files)
        if not self.local.lists_all(snapshot):
            self.local.keep(snapshot, self.refs_elsewhere(snapshot))
        return sources

    def _bring(self, repository: Repository, files: Collection[RepositoryFile]) -> Collection[str]:
        problems: list[HfLocalizeError] = []
        sources: list[str] = []
        for place in self._remote(problems):
            missing = self.local.missing(files)
            if not missing:
                return sources
            with self._noting_silence(place, problems):
                self.local.bring(missing, functools.partial(self._fetch, place))
                sources.append(place.name)
        if missing := self.local.missing(files):
            _raise_if_any(problems, repository)
            raise UnreachableError(f"no source has {missing[0].path} of {repository}")
        return sources

    @contextlib.contextmanager
    def _noting_silence(self, place: RemoteRepositories, problems: list[HfLocalizeError]) -> Iterator[None]:
        """Note why *place* gives no data, and ask it for none for a while if it did not respond."""
        with _noting(place.name, problems):
            try:
                yield
            except NoAnswerError:  # Nor will it the next request of the same call.
                self._silent[place.name] = time.monotonic() + _SILENT_SECONDS
                raise

    def _fetch(self, place: RemoteRepositories, files: Collection[RepositoryFile], folder: Path) -> None:
        records = [FileRecord(file.sha256, file.size_bytes, file.sha256) for file in files]
        with task("Fetching", f"files from {place.name}", records):
            fetch_files(records, place.open_blob, folder, workers=self.workers)

    def refs_elsewhere(self, snapshot: Snapshot) -> RepositoryRefs | None:
        """Return the refs of the first place besides the local store that has *snapshot*; None: none has."""
        problems: list[HfLocalizeError] = []
        for refs in self._answers(lambda place: place.refs(snapshot.repository), problems, is_remote=True):
            if snapshot.commit in refs.commits:
                return refs
        return None

    def _answers(
        self,
        question: Callable[[_Place], _T | None],
        problems: list[HfLocalizeError],
        *,
        is_remote: bool = False,
    ) -> Iterator[_T]:
        """Yield what each place that has something answers; why others can't tell is added to *problems*.

        Args:
            is_remote: the local store is not asked.
        """
        budget = Budget(self.timeout_seconds, [kind for kind, _ in self.places])
        for kind, place in self._asked(problems):
            answer = None
            if not is_remote or isinstance(place, RemoteRepositories):
                with _noting(place.name, problems):
                    answer = budget.ask(kind, functools.partial(question, place))
            if answer is not None:
                yield answer

    def _asked(self, problems: list[HfLocalizeError]) -> Iterator[tuple[str, _Place]]:
        for kind, make in self.places:
            place = None
            with _noting("a source", problems):
                place = make()
            if place is not None:
                yield kind, place

    def _remote(self, problems: list[HfLocalizeError]) -> Iterator[RemoteRepositories]:
        for _, place in self._asked(problems):
            if isinstance(place, RemoteRepositories):
                if self._silent.get(place.name, 0.0) < time.monotonic():
                    yield place
                else:
                    problems.append(NoAnswerError(f"{place.name} did not answer the previous request"))


@contextlib.contextmanager
def _noting(name: str, problems: list[HfLocalizeError]) -> Iterator[None]:
    """Note why a place can't tell, and go on with the next."""
    try:
        yield
    except SOURCE_FAILURES as exc:
        _log.debug("%s: %s", name, exc)
        problems.append(exc)


def _raise_if_any(problems: list[HfLocalizeError], what: object) -> None:
    if problems:
        raise UnreachableError(f"{what}: {'; '.join(map(str, problems))}") from problems[0]
