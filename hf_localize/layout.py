"""Folders as `save_to_disk` writes them: reading what they hold, writing their JSON files.

Layout: ``dataset_dict.json`` and one folder a split, or one such split folder alone; a split
folder has ``state.json``, ``dataset_info.json`` and ``data-00000-of-00001.arrow`` … .
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_localize.errors import IntegrityError
from hf_localize.features import portable
from hf_localize.hashing import hash_file
from hf_localize.jsonformat import parse_json
from hf_localize.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.manifestjson import check_manifest, count
from hf_localize.refs import DatasetRef
from hf_localize.shards import count_rows

DICT_FILE = "dataset_dict.json"
INFO_FILE = "dataset_info.json"
STATE_FILE = "state.json"
CARD_FILE = "README.md"
#: By these files the original tool finds a dataset in a bucket.
MARKS = frozenset({DICT_FILE, INFO_FILE, STATE_FILE})
#: Fields of ``DatasetInfo`` that a manifest keeps elsewhere, or not at all.
_NOT_IN_INFO = frozenset({"features", "splits", "download_checksums"})

ReadFile = Callable[[str], "bytes | None"]


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether ``datasets.load_from_disk`` would open *folder*."""
    single = (folder / INFO_FILE).is_file() and (folder / STATE_FILE).is_file()
    return single or (folder / DICT_FILE).is_file()


def describe_folder(folder: Path, ref: DatasetRef, *, hashed: bool) -> Manifest:
    """Return a manifest for the `save_to_disk` folder *folder*, which has none.

    Args:
        hashed: compute each file's sha256, which reads all data; else only sizes are recorded.

    Raises:
        IntegrityError: a file that the folder should have is absent or unreadable.
    """

    def read(path: str) -> bytes | None:
        try:
            return (folder / path).read_bytes()
        except FileNotFoundError:
            return None

    manifest = describe(read, ref, str(folder))
    splits = tuple(_count_rows(folder, split) for split in manifest.splits)
    files = tuple(_record(folder, file.path, hashed) for file in manifest.files)
    return replace(manifest, splits=splits, files=files)


def describe(read: ReadFile, ref: DatasetRef, where: str) -> Manifest:
    """Return a manifest, without sizes, hashes and shard rows, for a `save_to_disk` folder.

    Args:
        read: returns the bytes of a small file by its relative path, or None where it is absent.
        where: names the folder in errors.

    Raises:
        IntegrityError: a JSON file that the folder should have is absent or unreadable.
    """
    try:
        return _describe(read, ref, where)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise IntegrityError(f"{where} is not what save_to_disk writes: {exc!r:.200}") from exc


def _describe(read: ReadFile, ref: DatasetRef, where: str) -> Manifest:
    prefixes = _split_folders(read, where)
    paths: list[str] = [DICT_FILE] if "" not in prefixes else []
    splits: list[Split] = []
    info: dict[str, Any] = {}
    for prefix, name in prefixes.items():
        state, info = _json(read, prefix + STATE_FILE, where), _json(read, prefix + INFO_FILE, where)
        shards = tuple(Shard(prefix + str(f["filename"])) for f in state["_data_files"])
        split_name = name or str(state.get("_split") or "train")
        recorded = (info.get("splits") or {}).get(split_name) or {}
        splits.append(
            Split(
                split_name,
                count(recorded.get("num_examples") or 0),
                count(recorded.get("num_bytes") or 0),
                shards,
            )
        )
        paths += [prefix + STATE_FILE, prefix + INFO_FILE, *(s.path for s in shards)]
    if read(CARD_FILE) is not None:
        paths.append(CARD_FILE)
    config, license_ = info.get("config_name"), info.get("license")
    manifest = Manifest(
        dataset_id=ref.dataset_id,
        config_name=ref.config_name,
        revision=ref.revision,
        resolved_config=config if config and isinstance(config, str) else ref.config_name,
        origin="save_to_disk",
        license=license_ if license_ and isinstance(license_, str) else None,
        splits=tuple(splits),
        features=portable(info.get("features") or {}),
        info=info_of(info),
        files=tuple(FileRecord(path, 0) for path in paths),
    )
    check_manifest(manifest, where)
    return manifest


def with_card(manifest: Manifest, folder: Path, card: Path) -> Manifest:
    """Return *manifest* with the dataset card *card*, which is copied into *folder*."""
    shutil.copyfile(card, folder / CARD_FILE)
    others = tuple(file for file in manifest.files if file.path != CARD_FILE)
    return replace(manifest, files=(*others, hash_file(folder / CARD_FILE, CARD_FILE)))


def info_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a ``DatasetInfo`` (as JSON) that a manifest keeps as ``info``."""
    return {key: value for key, value in info.items() if key not in _NOT_IN_INFO and value is not None}


def stat_signature(folder: Path, manifest: Manifest) -> str:
    """Return a hex name for the content of *folder* by sizes and times, without reading data."""
    signature = hashlib.sha256()
    for file in manifest.files:
        stat = (folder / file.path).stat()
        signature.update(f"{file.path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return signature.hexdigest()


def shard_name(index: int, count: int) -> str:
    """Return the file name that `save_to_disk` gives to shard *index* of *count*."""
    return f"data-{index:05d}-of-{count:05d}.arrow"


def write_split_json(
    folder: Path, split: str, shard_names: Sequence[str], fingerprint: str, info: Mapping[str, Any]
) -> None:
    """Write ``state.json`` and ``dataset_info.json`` of one split folder."""
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in shard_names],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    _write_json(folder / STATE_FILE, state)
    _write_json(folder / INFO_FILE, dict(sorted(info.items())))


def write_dict_json(folder: Path, splits: Sequence[str]) -> None:
    """Write ``dataset_dict.json``."""
    _write_json(folder / DICT_FILE, {"splits": list(splits)})


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _split_folders(read: ReadFile, where: str) -> dict[str, str]:
    """Return {path prefix: split name}; a lone split folder has the prefix and name ``""``."""
    data = read(DICT_FILE)
    if data is None:
        return {"": ""}
    document = parse_json(data, f"{where}/{DICT_FILE}")
    names = document.get("splits") if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise IntegrityError(f"{where}/{DICT_FILE} names no splits")
    return {f"{name}/": name for name in names}


def _json(read: ReadFile, path: str, where: str) -> dict[str, Any]:
    data = read(path)
    if data is None:
        raise IntegrityError(f"{where}/{path} is missing")
    document = parse_json(data, f"{where}/{path}")
    if not isinstance(document, dict) or (path.endswith(STATE_FILE) and "_data_files" not in document):
        raise IntegrityError(f"{where}/{path} is not what save_to_disk writes")
    return document


def _record(folder: Path, path: str, hashed: bool) -> FileRecord:
    if hashed:
        return hash_file(folder / path, path)
    try:
        return FileRecord(path, (folder / path).stat().st_size)
    except FileNotFoundError as exc:
        raise IntegrityError(f"{folder / path} is missing") from exc


def _count_rows(folder: Path, split: Split) -> Split:
    shards = tuple(Shard(s.path, count_rows(folder / s.path)) for s in split.shards)
    rows = sum(shard.rows or 0 for shard in shards)
    size = split.size_bytes if rows == split.rows else sum((folder / s.path).stat().st_size for s in shards)
    return Split(split.name, rows, size, shards)


def read_fingerprint(split_folder: Path) -> str:
    """Return the fingerprint that ``state.json`` of a split folder records."""
    document = parse_json((split_folder / STATE_FILE).read_bytes(), str(split_folder / STATE_FILE))
    return str(document["_fingerprint"])
