"""What public functions return: frozen values, most of which can also be read by name, as a dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hf_localize.format.manifest import UNKNOWN
from hf_localize.format.record import MappingRecord, Record
from hf_localize.format.refs import DatasetRef

_Name = TypeVar("_Name", bound="str | None")


class Result(NamedTuple):
    """The result of a function; it unpacks as ``success, message_or_path``.

    ``success`` is always True, because a failure raises an error.
    """

    success: bool
    message_or_path: str

    @property
    def path(self) -> str | None:
        """Return the path of the dataset in the local store; None: the command has none to tell."""
        return self.message_or_path if Path(self.message_or_path).is_absolute() else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, and the path."""
        return {**self._asdict(), "path": self.path}


def ids_of(named: str | Iterable[_Name]) -> tuple[str | _Name, ...]:
    """Return the ids, names or patterns that an argument names: one, or several."""
    return (named,) if isinstance(named, str) else tuple(named)


@dataclass(frozen=True, slots=True)
class Named(Record):
    """A value about one dataset: its id, config and revision, then what a subclass adds."""

    dataset_id: str
    config_name: str | None
    revision: str | None

    @property
    def ref(self) -> DatasetRef:
        """Return what names the dataset."""
        return DatasetRef(self.dataset_id, self.config_name, self.revision)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetName(MappingRecord):
    """The id, config and revision of a dataset; None is the default config, or the revision ``main``."""

    dataset_id: str
    config_name: str | None = None
    revision: str | None = None

    @property
    def ref(self) -> DatasetRef:
        """Return the same as a ref."""
        return DatasetRef(self.dataset_id, self.config_name, self.revision)


@dataclass(frozen=True, slots=True, eq=False)
class StoredDataset(DatasetName):
    """A dataset of a list, with what is known of it; None stands for what is not known.

    ``restriction`` is what the Hub says: ``gated``, ``private``, ``unknown`` or None. ``created`` is when it
    was localized (UTC, ISO 8601). ``splits`` has the rows of each split, and ``rows`` is their sum.
    ``size_bytes`` is the size of its files or, in a list of public datasets, of its ZIP. ``came_from`` is the
    bucket, or the URL of the public files, from which the local copy was downloaded.
    """

    place: str = ""
    canonical_id: str | None = None
    commit: str | None = None
    origin: str | None = None
    created: str | None = None
    license: str | None = None
    restriction: str | None = UNKNOWN
    splits: Mapping[str, int] | None = None
    size_bytes: int | None = None
    digest: str | None = None
    is_public: bool | None = None
    came_from: str | None = None
    rows: int | None = field(init=False)

    def __post_init__(self) -> None:
        rows = None if self.splits is None else sum(self.splits.values())
        object.__setattr__(self, "rows", rows)


@dataclass(frozen=True, slots=True, eq=False)
class CheckedDataset(DatasetName):
    """The result of a check of one dataset; ``damaged`` says which files are damaged, and how.

    ``files`` and ``size_bytes`` say how much was checked. ``is_hashed``: the sha256 of all files was
    compared. ``is_partial``: only a part of the dataset is stored.
    """

    place: str = ""
    files: int = 0
    size_bytes: int = 0
    is_hashed: bool = False
    is_partial: bool = False
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class RepairedDataset(DatasetName):
    """A dataset that was damaged: the paths of the files that were repaired, and their ``source``."""

    place: str = ""
    mended: list[str] = field(default_factory=list)
    source: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PrunedDataset(DatasetName):
    """A dataset that was removed, and when it was ``last_used`` (seconds since the epoch).

    ``repo_type`` is None for a dataset; else it is the type of the repository whose files were removed.
    """

    repo_type: str | None = None
    place: str = ""
    size_bytes: int = 0
    last_used: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SourceAnswer(MappingRecord):
    """What one source answers about a dataset.

    ``answer`` is ``has_it``, ``not_here``, ``not_asked``, or the kind of failure (see
    :func:`~hf_localize.errors.kind_of`); ``reason`` says why, or where it is.
    """

    source: str
    name: str
    answer: str
    reason: str
    seconds: float
    commit: str | None
    digest: str | None


@dataclass(frozen=True, slots=True, eq=False)
class RepositoryFiles(MappingRecord):
    """The files of a repository as they are, and whether a download of the dataset stores them too.

    ``transfer_bytes`` is the size of those that are not in the local store.
    """

    files: int
    size_bytes: int
    transfer_bytes: int
    is_kept: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Explanation(DatasetName):
    """What each source answers about a dataset, and what a load would do.

    ``takes`` is the source that a load would use, or None. ``transfer_files`` and ``transfer_bytes`` are None
    if they are not known. ``action`` is ``open``, ``fetch``, ``prepare`` or ``fail``; ``failure`` is the kind
    of the failure or None; ``does`` says the same in words. ``repository`` is None if no source knows its
    files.
    """

    sources: list[SourceAnswer]
    takes: str | None
    transfer_files: int | None
    transfer_bytes: int | None
    action: str
    failure: str | None
    does: str
    repository: RepositoryFiles | None


@dataclass(frozen=True, slots=True, eq=False)
class DescribedSplit(MappingRecord):
    """A split; None stands for what is not known."""

    name: str
    rows: int | None
    size_bytes: int | None
    shards: int | None


@dataclass(frozen=True, slots=True, eq=False)
class DescribedPlace(MappingRecord):
    """A place that has a dataset, and whether the content there ``is_same`` as in the first place.

    ``came_from`` is the bucket from which a local copy was downloaded.
    """

    source: str
    place: str
    is_same: bool | None
    came_from: str | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Description(DatasetName):
    """What a dataset is, and where it is stored. ``features`` is JSON as `datasets` writes it."""

    canonical_id: str | None
    resolved_config: str | None
    is_default_config: bool
    commit: str | None
    origin: str
    created: str | None
    written_by: Mapping[str, str]
    license: str | None
    restriction: str | None
    configs: list[str]
    features: Mapping[str, Any]
    splits: list[DescribedSplit]
    files: int | None
    size_bytes: int | None
    digest: str | None
    places: list[DescribedPlace]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Preview(DatasetName):
    """The first rows of a split, as values that JSON can hold; ``splits`` has the names of all splits."""

    split: str
    splits: list[str]
    columns: list[str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FileDifference(Record):
    """One file that differs: its size on each side; None if it is not there."""

    path: str
    local_bytes: int | None
    s3_bytes: int | None


@dataclass(frozen=True, slots=True)
class Difference(Named):
    """How the local copy of a dataset and the bucket's differ.

    ``state`` is ``same``, ``different``, ``only local``, ``only s3``, or ``unknown`` (a side has no sha256 of
    its files). If both sides have the dataset, ``files`` are those that differ. ``was_removed``: the local
    copy was fetched from the bucket, which no longer has the dataset. ``is_partial``: some of its files are
    stored, which is enough for loads that need only these.
    """

    state: str
    local_digest: str | None = None
    s3_digest: str | None = None
    local_commit: str | None = None
    s3_commit: str | None = None
    files: tuple[FileDifference, ...] = ()
    was_removed: bool = False
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Age(Named):
    """Whether a stored dataset from the Hub is what the Hub has now.

    ``state`` is ``current``, ``outdated``, ``pinned`` (it is stored under its commit), ``gone`` (the Hub no
    longer has the repository or the revision), or ``unknown``. ``commit`` is the stored commit, and
    ``hub_commit`` that of the same revision on the Hub now.
    """

    state: str
    commit: str | None = None
    hub_commit: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Status(Named):
    """A stored dataset compared with the bucket and with the Hub.

    ``bucket`` is the state of a :class:`Difference`. ``hub`` is the state of an :class:`Age`, or ``own`` if
    the dataset did not come from the Hub. Each is None if it can't be found out. ``was_removed`` and
    ``is_partial`` are those of the :class:`Difference`.
    """

    bucket: str | None
    hub: str | None
    was_removed: bool = False
    is_partial: bool = False
