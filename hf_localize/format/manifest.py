"""The manifest of an entry, as a value: what files it has, and what they hold."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hf_localize.format.equivalence import Identity
from hf_localize.format.refs import FILES_CONFIG, DatasetRef

#: The restriction of a dataset of which nobody has asked the Hub, or of which it did not tell.
UNKNOWN = "unknown"


class FileRecord(NamedTuple):
    """One file of an entry: its path inside the entry, its size and its sha256 (hex).

    ``sha256`` is empty where nobody has computed it: in the description of a folder or of
    bucket keys that have no manifest.
    """

    path: str
    size_bytes: int
    sha256: str = ""


class Shard(NamedTuple):
    """One Arrow stream file of a split; ``rows`` is None where only reading it would tell.

    ``seek_points`` tell where some of its record batches lie, as `batches.packed` writes it: a load
    of many shards reads them all, and looks into few.
    """

    path: str
    rows: int | None = None
    seek_points: str = ""


class Split(NamedTuple):
    """One split: its name, rows, size of its data in bytes, and shards in order.

    ``original_shard_rows`` are the rows of each source file, as newer `datasets` record them.
    """

    name: str
    rows: int
    size_bytes: int
    shards: tuple[Shard, ...]
    original_shard_rows: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)  # Without slots, for what is computed once.
class Manifest:
    """What an entry is, as asked for and as resolved, and the closed list of its files.

    It holds no bucket, endpoint, host, credential or local path. ``features`` and ``info`` are
    JSON as `datasets` writes it (``info`` without features, splits and checksums). ``gated`` and
    ``private`` are None where the Hub was not asked.
    """

    dataset_id: str
    config_name: str | None = None
    revision: str | None = None
    canonical_id: str | None = None
    resolved_config: str | None = None
    is_default_config: bool = False
    commit: str | None = None
    repository_configs: tuple[str, ...] = ()
    repository_default_config: str | None = None
    origin: str = "registered"
    created: str | None = None
    written_by: Mapping[str, str] = field(default_factory=dict)
    license: str | None = None
    gated: bool | None = None
    private: bool | None = None
    splits: tuple[Split, ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()

    @property
    def ref(self) -> DatasetRef:
        """Return the ref under which the entry was stored."""
        return DatasetRef(self.dataset_id, self.config_name, self.revision)

    @property
    def identity(self) -> Identity:
        """Return what tells which refs the entry answers."""
        return Identity(
            self.ref, self.canonical_id, self.resolved_config, self.is_default_config, self.commit
        )

    @property
    def size_bytes(self) -> int:
        """Return the size of all files, in bytes."""
        return sum(file.size_bytes for file in self.files)

    @functools.cached_property
    def digest(self) -> str:
        """Return the sha256 (hex) over the sorted (path, size, sha256) of all files."""
        files = sorted(self.files, key=lambda f: f.path)
        lines = "".join([f"{file.path}\0{file.size_bytes}\0{file.sha256}\n" for file in files])
        return hashlib.sha256(lines.encode()).hexdigest()

    def answers(self, ref: DatasetRef) -> bool:
        """Tell whether this entry is what *ref* names, with the equivalences of :class:`Identity`."""
        return self.identity.answers(ref)

    def tells_configs(self, ref: DatasetRef) -> bool:
        """Tell whether this knows all configs of the repository, at the revision, of *ref*."""
        return bool(self.repository_configs) and self.identity.is_of_repository(ref)

    def equivalents(self) -> tuple[DatasetRef, ...]:
        """Return the refs by which this entry is also found, for pointers to it.

        Among them are those with the id in small letters, by which any letter case is found;
        its own ref can be one of them.
        """
        ids = dict.fromkeys((self.dataset_id,))
        if self.canonical_id is not None:
            ids |= dict.fromkeys((self.canonical_id, self.dataset_id.lower(), self.canonical_id.lower()))
        configs = dict.fromkeys((self.config_name, self.resolved_config or self.config_name))
        if self.is_default_config:
            configs[None] = None
        revisions = dict.fromkeys((self.revision, self.commit or self.revision))
        refs = dict.fromkeys(DatasetRef(i, c, r) for i in ids for c in configs for r in revisions)
        if self.canonical_id is None:
            del refs[self.ref]
        return tuple(refs)

    @property
    def restriction(self) -> str | None:
        """Return why the Hub does not give the dataset to everybody, as :func:`restriction_of` does."""
        return restriction_of(self.gated, self.private)

    def says_as(self, other: Manifest) -> bool:
        """Tell whether this and *other*, of the same files, say the same of their rows."""
        return (self.splits, self.features) == (other.splits, other.features)

    def shard_paths(self) -> frozenset[str]:
        """Return the paths of the shards of all splits."""
        return frozenset(shard.path for split in self.splits for shard in split.shards)

    def file(self, path: str) -> FileRecord:
        """Return the record of the file at *path*; raises KeyError where there is none."""
        return self._files_by_path[path]

    @functools.cached_property
    def _files_by_path(self) -> dict[str, FileRecord]:
        return {record.path: record for record in self.files}


def repository_of(stored: Iterable[Identity], ref: DatasetRef) -> Manifest | None:
    """Return a manifest without files that tells the configs which are *stored* of the id of *ref*, or None.

    For what no manifest tells all configs of: own data, of which each config is registered by itself. The
    default config is as on the Hub: the one without a name or called ``default``, else a lone one.
    """
    same = [i for i in stored if i.is_of_repository(ref) and i.ref.config_name != FILES_CONFIG]
    names = sorted({found.config for found in same})
    defaults = [found.config for found in same if found.ref.config_name in (None, "default")]
    defaults += names if len(names) == 1 else []
    if not names:
        return None
    return Manifest(
        dataset_id=ref.dataset_id,
        repository_configs=tuple(names),
        repository_default_config=defaults[0] if defaults else None,
    )


def restriction_of(gated: bool | None, private: bool | None) -> str | None:
    """Return ``private``, ``gated`` or ``unknown``; None: the Hub gives the dataset to everybody."""
    if private or gated:
        return "private" if private else "gated"
    return UNKNOWN if None in (gated, private) else None


def known(value: object) -> bool | None:
    """Return a fact of the Hub's JSON (``gated`` is false or a word) as a bool; None: it is not told."""
    return None if value is None else bool(value)


class Terms(NamedTuple):
    """Whether the dataset *dataset_id* of the Hub is gated or private; None: the Hub does not say."""

    dataset_id: str
    gated: bool | None
    private: bool | None

    @property
    def restriction(self) -> str | None:
        """Return ``private``, ``gated`` or ``unknown``; None: it is public."""
        return restriction_of(self.gated, self.private)
