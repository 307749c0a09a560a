"""What is asked for (`DatasetRef`) and where it may lie: folders, keys, ZIP names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from hf_localize.errors import InvalidRefError

DEFAULT_CONFIG = "default_config"
DEFAULT_REVISION = "default_revision"
#: The config name under which the original files of a repository are an entry of their own.
FILES_CONFIG = "original_files"
MANIFEST_NAME = ".hgloc.json"
PUBLIC_RECORDS_KEY = "public_datasets.json"
PUBLIC_ZIP_FOLDER = "public_datasets_zip"
_INDEX = ".hgloc/index"
_ALIASES = ".hgloc/alias"
_CATALOG = ".hgloc/catalog"

#: What stands for a part that is not given, and how a config or revision of that very name is written.
_QUOTED = {name: f"%{ord(name[0]):02X}{name[1:]}" for name in (DEFAULT_CONFIG, DEFAULT_REVISION)}
_NAMES = ("dataset_id", "config_name", "revision")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,40}")
#: What nearly all names look like; others are looked at more closely.
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,95}(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,95})?")
#: A dataset's page on the Hub, a path of `HfFileSystem`, or the path in both; then what follows the id.
_LINK = re.compile(r"(?:https?://[^/]+/|hf://)?datasets/([^/@:?#]+(?:/[^/@:?#]+)?)([^?#]*)(?:[?#].*)?")
_UNSAFE = re.compile(r'[/\\:*?"<>| ]')
#: A folder name may have 255 bytes on common file systems; 9 are kept for ``~`` and a hash.
_MAX_PART_BYTES = 246


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """Name one dataset: an id, and optionally a config and a revision.

    Raises:
        InvalidRefError: a part is empty, holds control characters, has a segment that begins
            with a dot, or is too long for a folder name. Nothing has been read or written then.
    """

    dataset_id: str
    config_name: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        link = link_in(self.dataset_id) if isinstance(self.dataset_id, str) else None
        if link is None:
            _check("dataset id", self.dataset_id)
        if link or self.dataset_id.count("/") > 1 or "\\" in self.dataset_id:
            form = repr(link[1]) if link else "'name' or 'owner/name'"
            raise InvalidRefError(f"dataset id {self.dataset_id!r} is refused: write {form}")
        if self.config_name is not None:
            _check("config name", self.config_name)
        if self.revision is not None:
            _check("revision", self.revision)

    def __str__(self) -> str:
        config = f" [{self.config_name}]" if self.config_name else ""
        return f"{self.dataset_id}{config}{'@' + self.revision if self.revision else ''}"

    def as_dict(self) -> dict[str, str | None]:
        """Return its parts by name, as the public functions and most of what is stored in JSON have them."""
        return dict(zip(_NAMES, self.parts, strict=True))

    @property
    def parts(self) -> tuple[str, str | None, str | None]:
        """Return id, config name and revision."""
        return self.dataset_id, self.config_name, self.revision

    @property
    def files(self) -> DatasetRef:
        """Return the ref of the entry that holds the repository's original files."""
        return replace(self, config_name=FILES_CONFIG)

    @property
    def spellings(self) -> tuple[DatasetRef, ...]:
        """Return the refs with ``default`` for no config or ``main`` for no revision; the plain one first."""
        configs = (None, "default") if self.config_name in (None, "default") else (self.config_name,)
        revisions = (None, "main") if self.revision in (None, "main") else (self.revision,)
        return tuple(DatasetRef(self.dataset_id, c, r) for c in configs for r in revisions)

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the folders that this very ref may have, the usual one first.

        Different refs can meet in one folder name (``a/b_c`` and ``a_b/c``); the one that comes
        later lives in the first of its own folders that is still free.
        """
        safe_id, config, revision = self._safe_parts()
        tail = f"{config}/{revision}"
        by_id = f"{safe_id}~{_hash8(self.dataset_id)}"
        by_ref = f"{safe_id}~{_hash8(self.record_key)}"
        return (f"{safe_id}/{tail}", f"{by_id}/{tail}", f"{by_ref}/{tail}")

    @property
    def id_folder_prefix(self) -> str:
        """Return the name with which every folder of this dataset id begins."""
        return safe_part(self.dataset_id)

    @property
    def index_key(self) -> str:
        """Return the key of the entry's commit mark in a bucket (relative to the prefix)."""
        return f"{_INDEX}/{self._quoted()}.json"

    @property
    def alias_key(self) -> str:
        """Return the path, in a store, of a pointer from this ref to the equivalent one that is there.

        ``main`` and no revision share it.
        """
        ref = replace(self, revision=None) if self.revision == "main" else self
        return f"{_ALIASES}/{ref._quoted()}.json"

    @property
    def alias_keys(self) -> tuple[str, ...]:
        """Return the paths at which a pointer to an equivalent of this ref may lie."""
        small = replace(self, dataset_id=self.dataset_id.lower())
        return tuple(dict.fromkeys((self.alias_key, small.alias_key)))

    @property
    def record_key(self) -> str:
        """Return this ref's usual key in ``public_datasets.json``."""
        return "---".join(self._distinct_parts)

    @property
    def zip_key(self) -> str:
        """Return the usual key of this ref's public ZIP (relative to the prefix)."""
        return f"{PUBLIC_ZIP_FOLDER}/{'---'.join(self._safe_parts())}.zip"

    @property
    def suffix(self) -> str:
        """Return what is appended to a key that another ref already holds."""
        return f"~{_hash8(self.record_key)}"

    @property
    def _full_parts(self) -> tuple[str, str, str]:
        return self.dataset_id, self.config_name or DEFAULT_CONFIG, self.revision or DEFAULT_REVISION

    @property
    def _distinct_parts(self) -> tuple[str, ...]:
        """Return the full parts; a name that stands for none has its first character quoted."""
        names = (given and _QUOTED.get(given, given) for given in self.parts[1:])
        return self.dataset_id, *(
            name or full for name, full in zip(names, self._full_parts[1:], strict=True)
        )

    def _safe_parts(self) -> list[str]:
        return list(map(safe_part, self._full_parts))

    def _quoted(self) -> str:
        return "/".join(
            part if part in _QUOTED.values() else quote(part, safe="") for part in self._distinct_parts
        )


def ref_of_index_key(key: str) -> DatasetRef | None:
    """Return the ref that *key* is the commit mark of, or None where it is another kind of key."""
    parts = key.removeprefix(f"{_INDEX}/").removesuffix(".json").split("/")
    if not key.startswith(f"{_INDEX}/") or not key.endswith(".json") or len(parts) != 3:
        return None
    try:
        return DatasetRef(unquote(parts[0]), *(None if p in _QUOTED else unquote(p) for p in parts[1:]))
    except InvalidRefError:
        return None


def ref_of_folder(folder: str) -> DatasetRef:
    """Return the ref as which a folder ``<id>/<config>/<revision>`` without manifest is shown.

    Its id is the folder's name: which characters became ``_`` is not known.

    Raises:
        InvalidRefError: a part can't name anything.
    """
    dataset_id, config, revision = folder.split("/")
    return DatasetRef(
        dataset_id,
        None if config == DEFAULT_CONFIG else config,
        None if revision == DEFAULT_REVISION else revision,
    )


def index_prefix(beginning: str = "") -> str:
    """Return the key prefix of every commit mark of an id with that *beginning*."""
    return f"{_INDEX}/{quote(beginning, safe='', errors='surrogatepass')}"


def original_mark(dataset_id: str) -> str:
    """Return the key that says, in a bucket's index, that the original tool has data of *dataset_id*."""
    return f"{index_prefix(dataset_id)}/original"


def id_of_original_mark(key: str) -> str | None:
    """Return the dataset id of which *key* says that the original tool has data, or None."""
    quoted, _, name = key.removeprefix(f"{_INDEX}/").rpartition("/")
    return unquote(quoted) if name == "original" and "/" not in quoted else None


def catalog_key(dataset_id: str) -> str:
    """Return the key of the catalog that lists a bucket's entries of *dataset_id*, in any letter case."""
    return f"{_CATALOG}/{quote(dataset_id.lower(), safe='')}.json"


def same_revision(one: str | None, other: str | None) -> bool:
    """Tell whether two revisions are the same by name: no revision means ``main``."""
    return (one or "main") == (other or "main")


def is_commit(revision: str | None, commit: str | None) -> bool:
    """Tell whether *revision* is *commit*, or its beginning of 7 digits or more, as the Hub takes it."""
    if revision is None or commit is None or not _SHORT_COMMIT.fullmatch(revision):
        return False
    return commit.startswith(revision)


def link_in(text: str) -> re.Match[str] | None:
    """Match *text* as a link to a dataset: group 1 is its id, group 2 what follows the id."""
    link = _LINK.fullmatch(text)
    return link if link and ("/" in link[1] or "://" in text) else None


def safe_part(part: str) -> str:
    r"""Return *part* as a single folder name: ``/ \ : * ? " < > |`` and space become ``_``."""
    return _UNSAFE.sub("_", part)


def _hash8(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _check(what: str, part: str) -> None:
    if not isinstance(part, str):
        raise InvalidRefError(f"{what} must be a string, got {type(part).__name__}")
    if _PLAIN.fullmatch(part):
        return
    if not part.isprintable():
        raise InvalidRefError(f"{what} {part!r} is refused: it contains characters that can't be printed")
    if any(not segment or segment.startswith(".") for segment in re.split(r"[/\\]", part)):
        raise InvalidRefError(f"{what} {part!r} is refused: no segment may be empty or begin with a dot")
    try:
        size = len(part.encode())
    except UnicodeEncodeError as exc:
        raise InvalidRefError(f"{what} {part!r} is refused: it is not valid Unicode") from exc
    if size > _MAX_PART_BYTES:
        raise InvalidRefError(
            f"{what} of {size} bytes is refused: at most {_MAX_PART_BYTES} fit a folder name"
        )
