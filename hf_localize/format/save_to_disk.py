"""Folders as `save_to_disk` writes them: reading what they hold, writing their JSON files.

Layout: ``dataset_dict.json`` and one folder a split, or one such split folder alone; a split
folder has ``state.json``, ``dataset_info.json`` and ``data-00000-of-00001.arrow`` … .
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_localize.errors import IntegrityError, UnusableDataError
from hf_localize.format.arrow.shards import column_names, count_rows
from hf_localize.format.features import differences, portable
from hf_localize.format.files import check_tree, hash_file, read_whole
from hf_localize.format.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.format.manifest_json import SPLIT_NAME, check_fields, count
from hf_localize.format.refs import DatasetRef
from hf_localize.format.sealed_json import parse_json

_log = logging.getLogger(__name__)
DICT_FILE = "dataset_dict.json"
INFO_FILE = "dataset_info.json"
STATE_FILE = "state.json"
CARD_FILE = "README.md"
#: How the original tool calls the card.
ORIGINAL_CARD_FILE = "dataset_card.md"
#: By these files the original tool finds a dataset in a bucket.
MARKS = frozenset({DICT_FILE, INFO_FILE, STATE_FILE})
#: What `datasets` calls a file of a repository.
_HUB_URL = re.compile(r"hf://datasets/([^@]+)@")
#: Fields of ``DatasetInfo`` that a manifest keeps elsewhere, or not at all.
_NOT_IN_INFO = frozenset({"features", "splits", "download_checksums"})

ReadFile = Callable[[str], "bytes | None"]


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether ``datasets.load_from_disk`` would open *folder*."""
    return is_lone_split(folder) or (folder / DICT_FILE).is_file()


def is_lone_split(folder: Path) -> bool:
    """Tell whether ``datasets.load_from_disk`` would open *folder* as one Dataset."""
    return (folder / INFO_FILE).is_file() and (folder / STATE_FILE).is_file()


def recorded_id(folder: Path) -> str | None:
    """Return the id of the repository that a saved dataset was made of, where `datasets` < 5 wrote it."""
    infos = (folder / INFO_FILE, *sorted(folder.glob(f"*/{INFO_FILE}")))
    for info in infos:
        with contextlib.suppress(OSError, IntegrityError):
            document = parse_json(read_whole(info), str(info))
            checksums = document.get("download_checksums") if isinstance(document, dict) else None
            found = _HUB_URL.match(next(iter(checksums), "")) if isinstance(checksums, dict) else None
            return found.group(1) if found else None
    return None


def describe_folder(folder: Path, ref: DatasetRef, *, hashed: bool) -> Manifest:
    """Return a manifest for the `save_to_disk` folder *folder*, which has none.

    Args:
        hashed: compute each file's sha256, which reads all data; else only sizes are recorded.

    Raises:
        IntegrityError: a file that the folder should have is absent or unreadable.
    """

    def read(path: str) -> bytes | None:
        try:
            return read_whole(folder / path)
        except FileNotFoundError:
            return None

    manifest = describe(read, ref, str(folder))
    for shard in (shard for split in manifest.splits for shard in split.shards):
        if (columns := column_names(folder / shard.path)) != manifest.features.keys():
            raise IntegrityError(
                f"{folder / shard.path} has other columns than {INFO_FILE}: {sorted(columns)}"
            )
    splits = tuple(_count_rows(folder, split) for split in manifest.splits)
    files = tuple(_record(folder, file.path, hashed) for file in manifest.files)
    return replace(manifest, splits=splits, files=files)


def describe(read: ReadFile, ref: DatasetRef, where: str) -> Manifest:
    """Return a manifest, without sizes, hashes and shard rows, for a `save_to_disk` folder.

    Args:
        read: returns the bytes of a small file by its relative path, or None where it is absent.
        where: names the folder in errors.

    Raises:
        IntegrityError: a JSON file that the folder should have is absent or unreadable, or its splits
            can't be those of one dataset: they have different features, or names that become the same.
    """
    try:
        return _describe(read, ref, where)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise IntegrityError(f"{where} is not what save_to_disk writes: {exc!r:.200}") from exc


def _describe(read: ReadFile, ref: DatasetRef, where: str) -> Manifest:
    prefixes = _split_folders(read, where)
    paths: list[str] = [DICT_FILE] if "" not in prefixes else []
    splits: list[Split] = []
    features: dict[str, dict[str, Any]] = {}
    infos: list[dict[str, Any]] = []
    for prefix, said in prefixes.items():
        state, info = _json(read, prefix + STATE_FILE, where), _json(read, prefix + INFO_FILE, where)
        shards = tuple(Shard(prefix + str(f["filename"])) for f in state["_data_files"])
        recorded_as = said or str(state.get("_split") or "train")
        said = said or lone_split(recorded_as)
        features[said] = dict(info["features"])
        infos.append(info)
        recorded = (info.get("splits") or {}).get(recorded_as) or {}
        splits.append(
            Split(
                said,
                count(recorded.get("num_examples") or 0),
                count(recorded.get("num_bytes") or 0),
                shards,
            )
        )
        paths += [prefix + STATE_FILE, prefix + INFO_FILE, *(s.path for s in shards)]
    paths += [card for card in (CARD_FILE, ORIGINAL_CARD_FILE) if read(card) is not None][:1]
    # A folder that `load_from_disk` opens may have a colon in a split's name; no written manifest takes it.
    check_tree((path.replace(":", "_") for path in paths), where)
    try:
        names = split_names([split.name for split in splits])
        require_same_features(features)
    except ValueError as exc:
        raise IntegrityError(f"{where} can't be loaded as one dataset: {exc}") from exc
    for said, name in names.items():
        if said != name:
            warn_of_name(where, said, name)
    info = infos[0]
    config, license_ = info.get("config_name"), info.get("license")
    manifest = Manifest(
        dataset_id=ref.dataset_id,
        config_name=ref.config_name,
        revision=ref.revision,
        resolved_config=config if config and isinstance(config, str) else ref.config_name,
        is_default_config=ref.config_name in (None, "default"),
        origin="save_to_disk",
        license=license_ if license_ and isinstance(license_, str) else None,
        splits=tuple(split._replace(name=names[split.name]) for split in splits),
        features=portable(next(iter(features.values()))),
        info=info_of(info),
        files=tuple(FileRecord(path, 0) for path in paths),
    )
    check_fields(manifest, where)
    return manifest


def lone_split(said: object) -> str:
    """Return the split that a lone Dataset is in a load, by what it says its split is.

    That may be the instruction by which it was read: ``test[:10%]`` is ``test``. What is of several
    splits, or of none, is ``train``.
    """
    parts = {part.split("[", 1)[0] for part in str(said or "train").split("+")}
    return (_split_name(parts.pop()) if len(parts) == 1 else "") or "train"


def split_names(keys: Sequence[str]) -> dict[str, str]:
    """Return {key of a DatasetDict: the split that it is in a load}.

    `save_to_disk` takes any key, ``load_dataset`` words that dots may join. A slice becomes its split
    (``test[:10%]``: ``test``); in other keys, each run of other characters becomes ``_``. ``all``, which
    means all splits together, becomes ``all_``.

    Raises:
        UnusableDataError: nothing is left of a key, or two become the same, or differ in letter case only.
    """
    names = {key: _split_name(key.split("[", 1)[0]) for key in keys}
    for name in names.values():
        same = [key for key, value in names.items() if value.casefold() == name.casefold()]
        if not name or len(same) > 1:
            raise UnusableDataError(
                f"{' and '.join(map(repr, same))} can't be told apart as splits of a load, whose names have "
                "only letters, digits, _ and dots, and differ by more than letter case. Save a DatasetDict "
                "with other keys."
            )
    return names


def _split_name(key: str) -> str:
    name = key if SPLIT_NAME.fullmatch(key) else re.sub(r"\.+", ".", re.sub(r"[^\w.]+", "_", key)).strip(".")
    return f"{name}_" if name.lower() == "all" else name


@functools.cache
def warn_of_name(where: str, key: str, name: str) -> None:
    """Warn, once in a process, of a split that a load calls otherwise than `load_from_disk`."""
    _log.warning(
        "%s: split %r is loaded as %r: `datasets` takes letters, digits, _ and dots only", where, key, name
    )


def warn_of_no_rows(where: str, key: str) -> None:
    """Warn of a split that only streams can read."""
    _log.warning(
        "%s: split %r has no rows. `datasets` can stream it, but loads neither it nor all splits at once",
        *(where, key),
    )


def require_same_features(features: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that all splits have the same features, as `datasets` wants it of what it loads.

    Args:
        features: of each split, as JSON.

    Raises:
        UnusableDataError: two have not.
    """
    (first, expected), *others = features.items()
    for name, found in others:
        if differing := differences(expected, found):
            raise UnusableDataError(
                f"split {name!r} has other features than {first!r}: {'; '.join(differing[:3])}. "
                "Register them under different config names, each from its own folder: "
                "hg-localize register FOLDER/SPLIT ID --name CONFIG"
            )


def card_in(paths: Collection[str]) -> str | None:
    """Return which of *paths* is the dataset card, or None."""
    return next((card for card in (CARD_FILE, ORIGINAL_CARD_FILE) if card in paths), None)


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
    if data is None or (read(INFO_FILE) is not None and read(STATE_FILE) is not None):
        return {"": ""}
    document = parse_json(data, f"{where}/{DICT_FILE}")
    names = document.get("splits") if isinstance(document, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
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
    document = parse_json(read_whole(split_folder / STATE_FILE), str(split_folder / STATE_FILE))
    return str(document["_fingerprint"])
