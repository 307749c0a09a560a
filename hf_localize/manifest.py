"""The manifest of an entry, as a value: what files it has, and what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hf_localize.errors import IntegrityError, InvalidRefError, UnsafeArchiveError
from hf_localize.refs import MANIFEST_NAME, DatasetRef, is_commit, same_revision

FORMAT_VERSION = 1
#: A manifest of 100,000 files has some 20 MB; more is refused before it is parsed.
MAX_MANIFEST_BYTES = 64 << 20
_CHUNK = 1 << 20
#: Common file systems take names of 255 bytes; S3 takes keys of 1,024, the entry's folder with them.
_MOST_NAME_BYTES, _MOST_PATH_BYTES = 255, 900
#: Characters of a path that has no more bytes than a name may have, in any script.
_SHORT = 63
#: How deep features may be nested: what reads them later calls itself for each level.
_MOST_DEPTH = 60
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # As datasets.naming has it.
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Before the last field of a manifest: the sha256 of all that stands before this.
_SEAL = b',\n "checksum": "'
#: What most paths look like; others are looked at more closely.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of an entry: its path inside the entry, its size and its sha256 (hex).

    ``sha256`` is empty where nobody has computed it: in the description of a folder or of
    bucket keys that have no manifest.
    """

    path: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Shard:
    """One Arrow stream file of a split; ``rows`` is None where only reading it would tell.

    ``seek_points`` tell where some of its record batches lie, as `batches.packed` writes it: a load
    of many shards reads them all, and looks into few.
    """

    path: str
    rows: int | None = None
    seek_points: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """One split: its name, rows, size of its data in bytes, and shards in order.

    ``original_shard_rows`` are the rows of each source file, as newer `datasets` record them.
    """

    name: str
    rows: int
    size_bytes: int
    shards: tuple[Shard, ...]
    original_shard_rows: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an entry is, as asked for and as resolved, and the closed list of its files.

    It holds no bucket, endpoint, host, credential or local path. ``features`` and ``info`` are
    JSON as `datasets` writes it (``info`` without features, splits and checksums).
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
    gated: bool = False
    private: bool = False
    splits: tuple[Split, ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()

    @property
    def ref(self) -> DatasetRef:
        """Return the ref under which the entry was stored."""
        return DatasetRef(self.dataset_id, self.config_name, self.revision)

    @property
    def size_bytes(self) -> int:
        """Return the size of all files, in bytes."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) over the sorted (path, size, sha256) of all files."""
        files = sorted(self.files, key=lambda f: f.path)
        lines = "".join([f"{file.path}\0{file.size_bytes}\0{file.sha256}\n" for file in files])
        return hashlib.sha256(lines.encode()).hexdigest()

    def answers(self, ref: DatasetRef) -> bool:
        """Tell whether this entry is what *ref* names, with the equivalences of :func:`answers`."""
        return answers(self, ref)

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

    def shard_paths(self) -> frozenset[str]:
        """Return the paths of the shards of all splits."""
        return frozenset(shard.path for split in self.splits for shard in split.shards)

    def file(self, path: str) -> FileRecord:
        """Return the record of the file at *path*; raises KeyError where there is none."""
        for record in self.files:
            if record.path == path:
                return record
        raise KeyError(path)

    def to_bytes(self) -> bytes:
        """Return the manifest as UTF-8 JSON, always the same for the same manifest."""
        return sealed(self.document())

    def document(self) -> dict[str, Any]:
        """Return the manifest as a JSON object, without its checksum."""
        return _to_json(self)

    def verify_folder(self, folder: Path) -> None:
        """Check every file of *folder* against this manifest by size and sha256.

        Raises:
            IntegrityError: a file is absent or differs.
        """
        for record in self.files:
            if problem := problem_with(folder / record.path, record, deep=True):
                raise IntegrityError(f"{record.path} in {folder} {problem}")


class Identified(Protocol):
    """What tells which refs a stored dataset answers: a manifest, or a public record."""

    @property
    def ref(self) -> DatasetRef:
        """Return the ref under which it was stored."""

    @property
    def canonical_id(self) -> str | None:
        """Return the id to which the Hub resolved the one that was asked for."""

    @property
    def resolved_config(self) -> str | None:
        """Return the name of the config that was built."""

    @property
    def is_default_config(self) -> bool:
        """Tell whether that config is the dataset's default."""

    @property
    def commit(self) -> str | None:
        """Return the commit SHA."""


def answers(stored: Identified, ref: DatasetRef) -> bool:
    """Tell whether *stored* is what *ref* names.

    No config is the dataset's default config, no revision is ``main``, a commit SHA is the
    entry that recorded it, and the id may be the canonical one. Nothing else is equivalent.
    """
    if ref == stored.ref:
        return True
    if not is_same_id(stored, ref.dataset_id):
        return False
    if ref.config_name is None:
        same_config = stored.ref.config_name is None or stored.is_default_config
    else:
        same_config = ref.config_name in (stored.ref.config_name, stored.resolved_config)
    return same_config and is_same_revision(stored, ref.revision)


def is_same_id(stored: Identified, dataset_id: str) -> bool:
    """Tell whether *dataset_id* names the repository of *stored*.

    The Hub keeps no two ids that differ by letter case only, and redirects from any case; so
    does what came from there. The id of a registered dataset is taken as it is.
    """
    if dataset_id == stored.ref.dataset_id:
        return True
    known = (stored.ref.dataset_id, stored.canonical_id)
    return stored.canonical_id is not None and dataset_id.lower() in (i.lower() for i in known if i)


def is_same_revision(stored: Identified, revision: str | None) -> bool:
    """Tell whether *revision* is what *stored* was stored under, or the commit that it recorded."""
    return same_revision(revision, stored.ref.revision) or is_commit(revision, stored.commit)


def tells_configs(manifest: Manifest, ref: DatasetRef) -> bool:
    """Tell whether *manifest* knows all configs of the repository, at the revision, of *ref*."""
    is_same = is_same_id(manifest, ref.dataset_id) and is_same_revision(manifest, ref.revision)
    return is_same and bool(manifest.repository_configs)


def read_manifest(data: bytes, where: str) -> Manifest:
    """Return the manifest that *data* (JSON) holds; *where* names its place in errors.

    Raises:
        IntegrityError: it is not a manifest, does not have its checksum, or is of a format version
            that is not known here.
        UnsafeArchiveError: it names a path that leads outside the entry.
    """
    _check_seal(data, where)
    document = parse_json(data, where)
    if not isinstance(document, dict) or "format_version" not in document:
        raise IntegrityError(f"{where} is not a manifest")
    if document["format_version"] != FORMAT_VERSION:
        raise IntegrityError(
            f"{where} has format version {document['format_version']!r}; this version of "
            f"hf_localize reads version {FORMAT_VERSION}. Upgrade hf_localize."
        )
    try:
        manifest = _from_json(document)
        # What it tells of itself becomes folders and names as what a user asks for does.
        DatasetRef(manifest.canonical_id or manifest.dataset_id, manifest.resolved_config, manifest.commit)
        _ = manifest.ref
    except InvalidRefError as exc:
        raise UnsafeArchiveError(f"{where} names a dataset that is refused: {exc}") from exc
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as exc:
        raise IntegrityError(f"{where} is not a manifest: {exc!r}") from exc
    paths = check_tree((file.path for file in manifest.files), where)
    if missing := [s.path for split in manifest.splits for s in split.shards if s.path not in paths]:
        raise IntegrityError(f"{where} names the shard {missing[0]}, which is not among its files")
    return manifest


def sealed(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as bytes that end with the checksum of what stands before it."""
    return _with_seal(document_bytes(document).removesuffix(b"\n}"))


def is_as_written(data: bytes, document: Mapping[str, Any]) -> bool:
    """Tell whether *data*, read as *document*, has its checksum, or is of a time before there was one.

    A reader takes JSON without one. So a wrong byte in the checksum's own name is seen here only.
    """
    return _SEAL in data or document_bytes(document) == data


def _with_seal(body: bytes) -> bytes:
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}'


def _check_seal(data: bytes, where: str) -> None:
    body, seal, _ = data.rpartition(_SEAL)
    if seal and _with_seal(body) != data:
        raise IntegrityError(f"{where} is damaged: it does not have its own checksum")


def ref_at_head(head: bytes) -> DatasetRef | None:
    """Return the ref of the manifest that begins with *head*; None: only reading all of it can tell.

    It stands before ``canonical_id`` in every manifest that :meth:`Manifest.to_bytes` writes.
    """
    start, found, _ = head.partition(b',\n "canonical_id":')
    with contextlib.suppress(ValueError, KeyError, TypeError, InvalidRefError):
        document = json.loads(start + b"}") if found else {}
        if document["format_version"] == FORMAT_VERSION:
            return DatasetRef(document["dataset_id"], document["config_name"], document["revision"])
    return None


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """Return *document* as UTF-8 JSON: a line for each field, and no byte too many in it.

    Somebody who wants the first row of a large dataset reads all of this first.
    """
    lines = (
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for key, value in document.items()
    )
    return ("{\n" + ",\n".join(lines) + "\n}").encode()


def parse_json(data: bytes, where: str) -> Any:
    """Return the JSON value that *data* holds.

    Raises:
        IntegrityError: it is too large, not UTF-8, not JSON, or nested too deep.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{where} has {len(data)} bytes, more than {MAX_MANIFEST_BYTES}")
    try:
        return json.loads(str(data, "utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise IntegrityError(f"{where} is not JSON: {str(exc)[:200]}") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def pointer_document(ref: DatasetRef) -> bytes:
    """Return a pointer to the entry that is stored as *ref*."""
    document = {"dataset_id": ref.dataset_id, "config_name": ref.config_name, "revision": ref.revision}
    return json.dumps(document).encode()


def read_pointer(data: bytes, where: str) -> DatasetRef:
    """Return the ref to which a pointer leads; raises IntegrityError where it is damaged."""
    document = parse_json(data, where)
    try:
        return DatasetRef(document["dataset_id"], document["config_name"], document["revision"])
    except (TypeError, KeyError, InvalidRefError) as exc:
        raise IntegrityError(f"{where} is not a pointer: {exc!r}") from exc


def check_paths(paths: Iterable[str], where: str) -> set[str]:
    """Return *paths* as a set when each is a plain relative path inside an entry.

    Raises:
        UnsafeArchiveError: a path is absolute, has ``..``, a backslash, a drive or a control
            character, is too long, is the manifest's own, or stands twice (also when only case differs).
    """
    checked: set[str] = set()
    folded: set[str] = {MANIFEST_NAME}
    for path in paths:
        if not _PLAIN_PATH.fullmatch(path) and not _is_plain(path):
            raise UnsafeArchiveError(f"{where} names a path that is refused: {path[:200]!r}")
        if len(path) > _SHORT and _is_too_long(path):
            raise UnsafeArchiveError(f"{where} names a path that is too long: {path[:200]!r}…")
        if path.casefold() in folded:
            raise UnsafeArchiveError(f"{where} names {path!r} twice, or in place of the manifest")
        folded.add(path.casefold())
        checked.add(path)
    return checked


def check_tree(paths: Iterable[str], where: str) -> set[str]:
    """Return *paths* as :func:`check_paths` does when they can all be files of one folder.

    Raises:
        UnsafeArchiveError: also where a path is a folder of another.
    """
    checked = check_paths(paths, where)
    folded = {path.casefold() for path in checked}
    for path in folded:
        end = path.find("/")
        while end >= 0:
            if path[:end] in folded:
                raise UnsafeArchiveError(f"{where} names {path[:end][:200]!r} as a file and as a folder")
            end = path.find("/", end + 1)
    return checked


def _is_too_long(path: str) -> bool:
    return len(path.encode()) > _MOST_PATH_BYTES or any(
        len(part.encode()) > _MOST_NAME_BYTES for part in path.split("/")
    )


def problem_with(path: Path, record: FileRecord, *, deep: bool) -> str | None:
    """Return, in words, how the file at *path* differs from *record*; None: it does not.

    Args:
        deep: compare the sha256 too, where one is recorded; it reads all bytes.
    """
    try:
        size = os.stat(path).st_size
        if size != record.size_bytes:
            return f"has {size} bytes; its manifest says {record.size_bytes}"
        if deep and record.sha256 and hash_file(path, record.path) != record:
            return "differs from the entry's manifest: its sha256 is another"
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return "is missing"
    except OSError as exc:
        return f"can't be read: {exc.strerror}"
    return None


def _is_plain(path: str) -> bool:
    pure = PurePosixPath(path)
    plain = path == str(pure) and not pure.is_absolute() and path != "."
    return plain and ".." not in pure.parts and not any(c in path for c in "\\:") and path.isprintable()


def hash_file(path: Path, name: str) -> FileRecord:
    """Return the record (size, sha256) of the file at *path*, under the name *name*.

    The time of its last access stays as it is where the system permits that: it tells when the
    dataset was used last.

    Raises:
        IntegrityError: there is no such file.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb", opener=_open_unnoticed) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError as exc:
        raise IntegrityError(f"{path} is missing") from exc
    return FileRecord(name, size, digest.hexdigest())


def _open_unnoticed(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # The system grants it to the file's owner alone.
        return os.open(path, flags)


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative path of each file in *folder*, sorted, without dotfiles."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix()


def _to_json(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "digest": manifest.digest}
    for item in fields(manifest):
        document[item.name] = getattr(manifest, item.name)
    document["repository_configs"] = list(manifest.repository_configs)
    document["files"] = [
        {"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256}
        for f in sorted(manifest.files, key=lambda f: f.path)
    ]
    document["splits"] = [_split_to_json(split) for split in manifest.splits]
    return document


def _split_to_json(split: Split) -> dict[str, Any]:
    shards = [_shard_to_json(shard) for shard in split.shards]
    document = {"name": split.name, "rows": split.rows, "size_bytes": split.size_bytes, "shards": shards}
    if split.original_shard_rows is not None:
        document["original_shard_rows"] = list(split.original_shard_rows)
    return document


def _shard_to_json(shard: Shard) -> dict[str, Any]:
    points = {"seek_points": shard.seek_points} if shard.seek_points else {}
    return {"path": shard.path, "rows": shard.rows, **points}


def _shard_from_json(document: dict[str, Any]) -> Shard:
    rows = document.get("rows")
    points = _text(document.get("seek_points", ""))
    return Shard(_text(document["path"]), None if rows is None else _count(rows), points)


def _from_json(document: dict[str, Any]) -> Manifest:
    """Return the manifest; each field is of its type, since other modules rely on that."""
    values: dict[str, Any] = {"dataset_id": _text(document["dataset_id"])}
    for name in _TEXTS & document.keys():
        values[name] = None if document[name] is None else _text(document[name])
    for name in ("is_default_config", "gated", "private"):
        values[name] = document.get(name) is True
    for name in ("features", "info", "written_by"):
        values[name] = document.get(name, {})
        if not isinstance(values[name], dict) or not _is_shallow(values[name], _MOST_DEPTH):
            raise ValueError(f"{name} is no JSON object, or nested too deep")
    values["origin"] = values.get("origin") or "registered"
    values["repository_configs"] = tuple(map(_text, document.get("repository_configs") or ()))
    values["files"] = tuple(_file_from_json(f) for f in document["files"])
    values["splits"] = tuple(_split_from_json(s) for s in document["splits"])
    if len({split.name for split in values["splits"]}) < len(values["splits"]):
        raise ValueError("a split stands twice")
    return Manifest(**values)


_TEXTS = frozenset(
    {
        *("config_name", "revision", "canonical_id", "resolved_config", "commit"),
        *("repository_default_config", "origin", "created", "license"),
    }
)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is no text")
    value.encode()  # Half a surrogate pair can't be written again: UnicodeEncodeError is a ValueError.
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r:.100} is no count")
    return int(value)


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in inner)


def _file_from_json(document: dict[str, Any]) -> FileRecord:
    record = FileRecord(_text(document["path"]), _count(document["size_bytes"]), _text(document["sha256"]))
    if not _SHA256.fullmatch(record.sha256):
        raise ValueError(f"file {record.path!r:.200} has no usable sha256")
    return record


def _split_from_json(document: dict[str, Any]) -> Split:
    original = document.get("original_shard_rows")
    split = Split(
        name=_text(document["name"]),
        rows=_count(document["rows"]),
        size_bytes=_count(document["size_bytes"]),
        shards=tuple(map(_shard_from_json, document["shards"])),
        original_shard_rows=None if original is None else tuple(map(_count, original)),
    )
    if not _SPLIT_NAME.fullmatch(split.name):
        raise ValueError(f"{split.name!r:.100} is no name of a split")
    return split
