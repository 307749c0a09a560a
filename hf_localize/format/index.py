"""What a bucket knows of its entries: the commit mark of each, and the catalog of each dataset id."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.equivalence import Identity, identity_fields
from hf_localize.format.files import check_paths
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import (
    FORMAT_VERSION,
    manifest_document,
    read_manifest,
    writing_what_is_readable,
)
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef, catalog_key
from hf_localize.format.sealed_json import MAX_JSON_BYTES, check_seal, parse_json, sealed

#: A larger commit mark is compressed by gzip: who wants the first row of a dataset of many shards
#: reads all of it first, and most of it are paths that are alike.
_PLAIN_BYTES = 128 << 10
_GZIP_MAGIC = b"\x1f\x8b"
#: Behind the last of a ref's folders: which replacement of its content it is, and of which digest.
_REPLACEMENT = re.compile(r"@([1-9][0-9]*)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An entry in a bucket: its manifest, and where its files lie.

    A file lies in ``folder``, under its own path, unless ``elsewhere`` has a key for it: what did
    not change stays where it was when other content of the same ref took its place. ``generation``
    counts these replacements.
    """

    manifest: Manifest
    folder: str
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    #: The original tool's index was made to list it, so it has to be taken out of that again.
    is_in_original_index: bool = False

    def key(self, path: str) -> str:
        """Return the key (relative to the prefix) of the entry's file at *path*."""
        return self.elsewhere.get(path) or f"{self.folder}/{path}"

    def all_keys(self) -> set[str]:
        """Return the keys of all files."""
        return {self.key(file.path) for file in self.manifest.files}

    def by_content(self) -> dict[tuple[int, str], str]:
        """Return a key for each content (size in bytes, sha256) that there is."""
        return {content(file): self.key(file.path) for file in self.manifest.files}

    def to_bytes(self) -> bytes:
        """Return the commit mark, as it stands at the ref's index key.

        Raises:
            IntegrityError: :func:`read_index_entry` would refuse it.
        """
        with writing_what_is_readable(self.manifest.ref):
            data = sealed(self.document())
            read_index_entry(data, "its commit mark")
        return data if len(data) <= _PLAIN_BYTES else gzip.compress(data, mtime=0)

    def document(self) -> dict[str, Any]:
        """Return the commit mark as a JSON object, without its checksum."""
        where = {"folder": self.folder, "elsewhere": dict(self.elsewhere), "generation": self.generation}
        noted = {"in_original_index": True} if self.is_in_original_index else {}
        return manifest_document(self.manifest) | where | noted

    def replaced_by(self, manifest: Manifest, wrong: Collection[str] = ()) -> IndexEntry:
        """Return where other content of the same ref lies: what is the same stays where it is.

        Args:
            wrong: keys of damaged objects, which nothing of it is to lie at.

        The folder for the rest is of this replacement alone, since the commit mark is changed only
        by compare-and-swap: nobody who is late removes what another one has just written there.
        """
        generation = self.generation + 1
        new = replacement_folder(manifest, generation)
        there = {what: key for what, key in self.by_content().items() if key not in wrong}
        keys = {file.path: there.get(content(file), f"{new}/{file.path}") for file in manifest.files}
        folders = (self.folder, new)
        folder = max(folders, key=lambda name: sum(key == f"{name}/{path}" for path, key in keys.items()))
        elsewhere = {path: key for path, key in keys.items() if key != f"{folder}/{path}"}
        return IndexEntry(manifest, folder, elsewhere, generation)


def replacement_folder(manifest: Manifest, generation: int) -> str:
    """Return the folder for content that takes the place of other content under the same ref."""
    return f"{manifest.ref.folders[-1]}@{generation}-{manifest.digest[:8]}"


def generation_of(folder: str) -> int:
    """Return how often content was replaced before that in *folder*, one of an entry's folders, came."""
    found = _REPLACEMENT.search(folder)
    return int(found.group(1)) if found and found.end() == len(folder) else 0


def folder_of(key: str) -> str:
    """Return the entry's folder in which *key* lies: ``<id>/<config>/<revision>``."""
    return "/".join(key.split("/", 3)[:3])


def content(file: FileRecord) -> tuple[int, str]:
    """Return what is the same for files of the same bytes."""
    return file.size_bytes, file.sha256


def read_index_entry(data: bytes, where: str) -> IndexEntry:
    """Return the entry that a commit mark describes.

    Raises:
        IntegrityError: it is not a commit mark, or names a folder or key that can't be its entry's.
    """
    data = plain_mark(data, where)
    manifest, document = read_manifest(data, where), parse_json(data, where)
    folder, elsewhere = document.get("folder"), document.get("elsewhere", {})
    generation = document.get("generation", 0)
    if not isinstance(folder, str) or not _may_have(manifest.ref, f"{folder}/{MANIFEST_NAME[1:]}"):
        raise IntegrityError(f"{where} names the folder {folder!r}, which can't be its entry's")
    if not isinstance(elsewhere, dict) or not isinstance(generation, int) or not 0 <= generation < 1 << 62:
        raise IntegrityError(f"{where} does not tell where the entry's files are")
    for path, key in elsewhere.items():
        if not isinstance(key, str) or not _may_have(manifest.ref, key):
            raise IntegrityError(f"{where} names the key {key!r} for {path}, which can't be its entry's")
    noted = document.get("in_original_index") is True
    return IndexEntry(manifest, folder, elsewhere, generation, noted)


def is_of_other_release(data: bytes, where: str) -> bool:
    """Tell whether *data* is a whole commit mark in a format that this release does not read."""
    try:
        plain = plain_mark(data, where)
        check_seal(plain, where)
        document = parse_json(plain, where)
    except IntegrityError:
        return False
    return isinstance(document, dict) and document.get("format_version") not in (None, FORMAT_VERSION)


def plain_mark(data: bytes, where: str) -> bytes:
    """Return a commit mark's JSON. No more is inflated than a manifest may have."""
    if not data.startswith(_GZIP_MAGIC):
        return data
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, MAX_JSON_BYTES + 1)
    except zlib.error as exc:
        raise IntegrityError(f"{where} is damaged: {exc}") from exc
    if not inflater.eof and len(plain) <= MAX_JSON_BYTES:
        raise IntegrityError(f"{where} is incomplete")
    return plain


def _may_have(ref: DatasetRef, key: str) -> bool:
    """Tell whether *key* lies in a folder that *ref* may have."""
    folder = folder_of(key)
    path = key.removeprefix(f"{folder}/")
    base, at, number = folder.rpartition("@")
    is_replacement = base == ref.folders[-1] and _REPLACEMENT.fullmatch(at + number)
    return (folder in ref.folders or bool(is_replacement)) and bool(check_paths([path], key))


@dataclass(frozen=True, slots=True)
class CatalogEntry(Identity):
    """What a catalog says of one entry: enough to tell which refs it answers."""

    tells_configs: bool = False


def catalog_keys(manifest: Manifest) -> tuple[str, ...]:
    """Return the keys of the catalogs in which an entry stands: by its id, and by its canonical one."""
    ids = (manifest.dataset_id, manifest.canonical_id or manifest.dataset_id)
    return tuple(dict.fromkeys(map(catalog_key, ids)))


def enter(document: dict[str, Any], manifest: Manifest) -> bool:
    """Enter *manifest* into the catalog *document*; False: it stands there already.

    Raises:
        IntegrityError: *document* is not a catalog.
    """
    listed = {**manifest.identity.identity_json(), "tells_configs": bool(manifest.repository_configs)}
    entries = _entries(document)
    if entries.get(manifest.ref.record_key) == listed:
        return False
    entries[manifest.ref.record_key] = listed
    return True


def leave(document: dict[str, Any], ref: DatasetRef) -> bool:
    """Take the entry of *ref* out of the catalog *document*; False: it does not stand there."""
    return _entries(document).pop(ref.record_key, None) is not None


def _entries(document: dict[str, Any]) -> dict[str, Any]:
    entries = document.setdefault("entries", {})
    if not isinstance(entries, dict):
        raise IntegrityError("the object in place of the dataset's catalog is not a catalog: remove it")
    return entries


def read_catalog(data: bytes, where: str) -> list[CatalogEntry]:
    """Return what a catalog lists.

    Raises:
        IntegrityError: it is not a catalog.
    """
    document = parse_json(data, where)
    try:
        return [_listed(value) for value in document["entries"].values()]
    except (TypeError, KeyError, AttributeError, InvalidRefError) as exc:
        raise IntegrityError(f"{where} is not a catalog: {exc!r}") from exc


def _listed(value: dict[str, Any]) -> CatalogEntry:
    def text(name: str) -> str | None:
        told: str | None = value[name]
        if told is not None and not isinstance(told, str):
            raise TypeError(f"{told!r:.100} is not text")
        return told

    ref = DatasetRef(value["dataset_id"], value["config_name"], value["revision"])
    return CatalogEntry(ref, **identity_fields(value, text), tells_configs=value["tells_configs"] is True)
