"""From what `datasets` has prepared or holds to the files of an entry."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter
from datasets.naming import filenames_for_dataset_split
from datasets.table import table_cast
from datasets.utils.py_utils import asdict, convert_file_size_to_int

from hf_localize._version import __version__
from hf_localize.errors import IntegrityError, UnusableDataError
from hf_localize.format import save_to_disk
from hf_localize.format.arrow.media import media_columns, refuse_foreign_files, require_bytes, with_files
from hf_localize.format.arrow.seek import packed, seek_points
from hf_localize.format.arrow.shards import (
    make_portable,
    split_by_rows,
    write_empty_shard,
    write_portable_shard,
)
from hf_localize.format.features import portable
from hf_localize.format.files import check_paths, files_below, hash_file
from hf_localize.format.local_paths import LocalPaths, translate
from hf_localize.format.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.format.refs import DatasetRef
from hf_localize.hf import packaged_builders
from hf_localize.hf.source_rows import source_rows
from hf_localize.progress import Item, counter, task
from hf_localize.transfer.workers import run_all

_WRITERS = {
    "hf_localize": __version__,
    "datasets": datasets.__version__,
    "huggingface_hub": huggingface_hub.__version__,
    "pyarrow": pa.__version__,
}
#: Returns the rows of each source file of a split; None: they are not known.
RowsOf = Callable[[str], "list[int] | None"]


def capture_builder(
    builder: datasets.DatasetBuilder, folder: Path, ref: DatasetRef, *, is_ours: bool = False
) -> Manifest:
    """Write what *builder* has prepared into *folder* as an entry and return its manifest.

    Each source file of the repository becomes a shard, so that a stream has the shards that it
    has from the Hub; where there is one, or none can be told, the prepared Arrow files are linked.
    Values that may lie in files of their own are embedded. *builder* must have run
    ``download_and_prepare()``.

    Args:
        is_ours: what it has prepared is nobody else's, and may be changed.

    Raises:
        UnsafeArchiveError: a value names a file that did not come with the dataset.
        IntegrityError: a value names a file that can't be read.
    """
    if media := _media_columns(builder.info):
        for name in builder.info.splits:
            for source in _prepared_files(builder, name):
                refuse_foreign_files(source, media, _download_folders(builder))
        _save(builder.as_dataset(), folder, _local_paths(builder._cache_downloaded_dir))
        splits = _normalize(folder, lambda split: source_rows(builder, split))
    else:
        prepared = (path for name in builder.info.splits for path in _prepared_files(builder, name))
        with task("Capturing", ref, _measured(prepared)):
            splits = tuple(_link_split(builder, name, folder, is_ours) for name in builder.info.splits)
    save_to_disk.write_dict_json(folder, [split.name for split in splits])
    _translate_paths(folder, splits, builder.info, _local_paths(builder._cache_downloaded_dir))
    manifest = _manifest(folder, ref, builder.info, splits)
    configs = tuple(builder.builder_configs) or (builder.config.name,)
    default = builder.DEFAULT_CONFIG_NAME or (configs[0] if len(configs) == 1 else None)
    return replace(
        manifest,
        origin="hub",
        resolved_config=builder.config.name,
        repository_configs=configs,
        repository_default_config=default,
        is_default_config=builder.config.name == default,
    )


def capture_dataset(
    data: datasets.Dataset | datasets.DatasetDict,
    folder: Path,
    ref: DatasetRef,
    saved: Path | None = None,
    source: Path | None = None,
    rows_of: RowsOf | None = None,
) -> Manifest:
    """Write *data* into *folder* as an entry and return its manifest.

    Splits are named as :func:`save_to_disk.lone_split` and :func:`save_to_disk.split_names` say.

    Args:
        saved: the folder of ``save_to_disk`` from which *data* was loaded. Its shards are kept as they
            are, so that a shard that did not change is the same file; but for images and sounds,
            which may have to be embedded.
        source: the folder of data files from which *data* was prepared.
        rows_of: returns the rows of each of them by split, each of which becomes a shard; None: not known.

    Raises:
        ValueError: `datasets` could not load it again: there is no split, two splits' names become
            the same, or the splits have different features.
    """
    if isinstance(data, datasets.Dataset):
        data = datasets.DatasetDict({save_to_disk.lone_split(data.split): data})
    names = _checked_names(data, saved)
    info = next(iter(data.values())).info
    if saved is None or _media_columns(info):
        if saved is not None:
            described = save_to_disk.describe_folder(saved, ref, hashed=False).splits
            rows_of = {split.name: [shard.rows or 0 for shard in split.shards] for split in described}.get
        _save(
            {names[key]: split for key, split in data.items()},
            folder,
            _local_paths(source=source),
            is_own=True,
        )
    else:
        _copy_shards(saved, folder, names)
    splits = _normalize(folder, rows_of)
    _translate_paths(folder, splits, info, _local_paths(source=source))
    manifest = _manifest(folder, ref, info, splits)
    return replace(
        manifest,
        origin="registered",
        resolved_config=ref.config_name or "default",
        is_default_config=ref.config_name in (None, "default"),
        info={
            **manifest.info,
            "config_name": ref.config_name or "default",
            "dataset_name": dataset_name(ref.dataset_id),
        },
    )


def capture_files(
    source: Path, folder: Path, manifest: Manifest, place: Callable[[Path, Path], object]
) -> Manifest:
    """Bring every file below *source* but dotfiles to *folder*; return *manifest* with them.

    Args:
        place: copies or links its first argument at its second.

    Raises:
        UnsafeArchiveError: a path can't be kept everywhere: it has a backslash, a colon or a
            control character, or differs from another by letter case only.
        FileNotFoundError: there is no file.
    """
    paths = sorted(check_paths(files_below(source), str(source)))
    if not paths:
        raise FileNotFoundError(f"{source} holds no files")
    with task("Capturing", manifest.ref, (Item(p, (source / p).stat().st_size) for p in paths)):
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            place((source / path).resolve(), folder / path)
            counter(path)((folder / path).stat().st_size)
    return replace(
        manifest,
        created=_now(),
        written_by=_WRITERS,
        files=_hashed(folder, paths, manifest.ref),
    )


def _copy_shards(saved: Path, folder: Path, names: Mapping[str, str]) -> None:
    """Copy what ``save_to_disk`` wrote at *saved*, its splits as *names* says, with the usual file names."""
    described = save_to_disk.describe_folder(saved, DatasetRef("x"), hashed=False)
    for (key, name), split in zip(names.items(), described.splits, strict=True):
        source = saved if save_to_disk.is_lone_split(saved) else saved / key
        shards = [save_to_disk.shard_name(i, len(split.shards)) for i in range(len(split.shards))]
        (folder / name).mkdir()
        with task("Copying", f"{saved} ({name})", _measured(saved / shard.path for shard in split.shards)):
            for shard, shard_name in zip(split.shards, shards, strict=True):
                shutil.copyfile(saved / shard.path, folder / name / shard_name)
                counter(str(saved / shard.path))((saved / shard.path).stat().st_size)
        info = _info_json(datasets.DatasetInfo.from_directory(str(source)))
        save_to_disk.write_split_json(
            folder / name, name, shards, save_to_disk.read_fingerprint(source), info
        )
    save_to_disk.write_dict_json(folder, list(names.values()))


def _save(
    data: Mapping[str, datasets.Dataset], folder: Path, paths: LocalPaths, *, is_own: bool = False
) -> None:
    """Write *data* as ``save_to_disk`` does, with the files that its media values name.

    ``save_to_disk`` does not embed each kind of media in each release of `datasets`, and cuts each path to
    its last part, also where the bytes are embedded already.

    Args:
        is_own: absolute paths in *data* are of this machine, also beside the bytes.

    Raises:
        IntegrityError: a file can't be read.
    """
    most_bytes = convert_file_size_to_int(datasets.config.MAX_SHARD_SIZE)
    for name, split in data.items():
        media, schema = _media_columns(split.info), split.features.arrow_schema
        try:
            count = int(split._estimate_nbytes() / most_bytes) + 1
        except OSError as exc:
            raise IntegrityError(f"a file that a value of {name!r} names can't be read: {exc}") from exc
        shards = [save_to_disk.shard_name(index, count) for index in range(count)]
        (folder / name).mkdir(parents=True)
        for index, shard in enumerate(shards):
            rows = split.shard(count, index, contiguous=True).with_format("arrow")
            with ArrowWriter(features=split.features, path=str(folder / name / shard)) as writer:
                for table in rows.iter(datasets.config.DEFAULT_MAX_BATCH_SIZE):
                    for part in with_files(table_cast(table, schema), media, paths.media_name, is_own=is_own):
                        writer.write_table(part)
                writer.finalize()
        save_to_disk.write_split_json(folder / name, name, shards, split._fingerprint, _info_json(split.info))
    save_to_disk.write_dict_json(folder, list(data))


def _checked_names(data: datasets.DatasetDict, saved: Path | None) -> dict[str, str]:
    """Return the names that the splits of *data* have in a load, by its keys."""
    if not data:
        raise UnusableDataError("there is no split to register")
    names = save_to_disk.split_names(list(data))
    save_to_disk.require_same_features({key: asdict(split.features) for key, split in data.items()})
    for key, name in names.items():
        if not data[key].features:
            raise UnusableDataError(f"split {key!r} has no columns")
        if not len(data[key]):
            save_to_disk.warn_of_no_rows(str(saved or "the dataset"), key)
        if key != name:
            save_to_disk.warn_of_name(str(saved or "the dataset"), key, name)
    return names


def _manifest(
    folder: Path, ref: DatasetRef, info: datasets.DatasetInfo, splits: tuple[Split, ...]
) -> Manifest:
    features = _plain(portable(asdict(info.features)))
    require_bytes([folder / shard.path for split in splits for shard in split.shards], features)
    shards = sum(len(split.shards) for split in splits)
    splits = tuple(_with_seek_points(folder, split, shards) for split in splits)
    return Manifest(
        dataset_id=ref.dataset_id,
        config_name=ref.config_name,
        revision=ref.revision,
        created=_now(),
        written_by=_WRITERS,
        license=info.license or None,
        splits=splits,
        features=features,
        info=_plain(save_to_disk.info_of(_info_json(info))),
        files=_hashed(folder, list(files_below(folder)), ref),
    )


def _translate_paths(
    folder: Path, splits: Iterable[Split], info: datasets.DatasetInfo, paths: LocalPaths
) -> None:
    """Translate what a builder has put of paths of this machine into its rows; rows that it read stay."""
    if info.builder_name == "webdataset":
        columns: set[str] | None = {"__url__"}
    elif info.builder_name is None or info.builder_name in packaged_builders():
        return
    else:  # A script's.
        columns = None
    for split in splits:
        for shard in split.shards:
            translate(folder / shard.path, columns, paths)


def _local_paths(downloads: str | None = None, source: Path | None = None) -> LocalPaths:
    named = (downloads, datasets.config.DOWNLOADED_DATASETS_PATH)
    folders = dict.fromkeys(str(folder) for folder in named if folder is not None)
    own = None if source is None else str(source.absolute())
    return LocalPaths((huggingface_hub.constants.HF_HUB_CACHE,), tuple(folders), own)


def _with_seek_points(folder: Path, split: Split, shards: int) -> Split:
    points = (packed(seek_points(folder / shard.path, shards=shards)) for shard in split.shards)
    placed = (s._replace(seek_points=p) for s, p in zip(split.shards, points, strict=True))
    return split._replace(shards=tuple(placed))


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")


def _hashed(folder: Path, paths: Sequence[str], ref: DatasetRef) -> tuple[FileRecord, ...]:
    workers = os.cpu_count() or 1
    with task("Hashing", ref, (Item(path, (folder / path).stat().st_size) for path in paths)):
        return tuple(run_all(lambda path: hash_file(folder / path, path), paths, workers=workers))


def _measured(paths: Iterable[Path]) -> Iterator[Item]:
    return (Item(str(path), path.stat().st_size) for path in paths)


def _link_split(builder: datasets.DatasetBuilder, name: str, folder: Path, is_ours: bool) -> Split:
    recorded = builder.info.splits[name]
    sources = _prepared_files(builder, name)
    prepared = list(recorded.shard_lengths) if len(sources) > 1 else [recorded.num_examples]
    rows = source_rows(builder, name) or prepared
    names = [save_to_disk.shard_name(i, len(rows)) for i in range(len(rows))]
    (folder / name).mkdir()
    targets = [folder / name / target for target in names]
    if rows == prepared:
        _link_shards(sources, targets, is_ours)
    elif list(filter(None, rows)) == list(filter(None, prepared)):  # A file without rows was not prepared.
        empty = [target for target, count in zip(targets, rows, strict=True) if not count]
        _link_shards(
            [source for source, count in zip(sources, prepared, strict=True) if count],
            [target for target in targets if target not in empty],
            is_ours,
        )
        for target in empty:
            write_empty_shard(sources[0], target)
    else:
        split_by_rows(sources, rows, targets)
    save_to_disk.write_split_json(
        folder / name, name, names, builder.hash or "", _portable_info(builder.info)
    )
    original = getattr(recorded, "original_shard_lengths", None)
    return Split(
        name,
        recorded.num_examples,
        recorded.num_bytes,
        tuple(Shard(f"{name}/{n}", r) for n, r in zip(names, rows, strict=True)),
        original_shard_rows=None if original is None else tuple(original),
    )


def _link_shards(sources: Sequence[Path], targets: Sequence[Path], is_ours: bool) -> None:
    for source, target in zip(sources, targets, strict=True):
        write_portable_shard(source, target, is_ours=is_ours)
        counter(str(source))(source.stat().st_size)


def _prepared_files(builder: datasets.DatasetBuilder, split: str) -> list[Path]:
    lengths = builder.info.splits[split].shard_lengths
    names = filenames_for_dataset_split(builder._output_dir, builder.dataset_name, split, "arrow", lengths)
    return [Path(name) for name in names]


def _media_columns(info: datasets.DatasetInfo) -> dict[str, Any]:
    return media_columns(portable(asdict(info.features)))


def _download_folders(builder: datasets.DatasetBuilder) -> list[Path]:
    """Return the folders in which the files lie that stock downloads for *builder*."""
    config = datasets.config
    downloads = (config.DOWNLOADED_DATASETS_PATH, config.EXTRACTED_DATASETS_PATH, config.HF_DATASETS_CACHE)
    return [Path(f) for f in (huggingface_hub.constants.HF_HUB_CACHE, builder._cache_dir_root, *downloads)]


def _normalize(folder: Path, rows_of: RowsOf | None) -> tuple[Split, ...]:
    """Bring what was written as ``save_to_disk`` does into the portable form, and return its splits.

    Args:
        rows_of: returns the rows of each shard that a split shall have; None leaves it as it is.
    """
    splits = []
    for split in save_to_disk.describe_folder(folder, DatasetRef("x"), hashed=False).splits:
        info = datasets.DatasetInfo.from_directory(str(folder / split.name))
        for shard in split.shards:
            make_portable(folder / shard.path)
        rows = rows_of(split.name) if rows_of else None
        shards = split.shards if rows is None else _cut(folder, split, rows)
        names = [Path(shard.path).name for shard in shards]
        fingerprint = save_to_disk.read_fingerprint(folder / split.name)
        save_to_disk.write_split_json(
            folder / split.name, split.name, names, fingerprint, _portable_info(info)
        )
        splits.append(split._replace(shards=shards))
    return tuple(splits)


def _cut(folder: Path, split: Split, rows: list[int]) -> tuple[Shard, ...]:
    """Replace the shards of *split* in *folder* by one for each of *rows*."""
    old = [(folder / shard.path).with_name(f".{Path(shard.path).name}.whole") for shard in split.shards]
    for shard, aside in zip(split.shards, old, strict=True):
        (folder / shard.path).rename(aside)
    names = [save_to_disk.shard_name(i, len(rows)) for i in range(len(rows))]
    split_by_rows(old, rows, [folder / split.name / name for name in names])
    for aside in old:
        aside.unlink()
    return tuple(Shard(f"{split.name}/{name}", n) for name, n in zip(names, rows, strict=True))


def _portable_info(info: datasets.DatasetInfo) -> dict[str, Any]:
    document = _info_json(info)
    document["features"] = portable(document["features"])
    for split in (document.get("splits") or {}).values():
        split.pop("shard_lengths", None)  # Of what was prepared, which is not how the entry is cut.
    document["download_checksums"] = None  # They may name files of the machine that wrote them.
    return document


def _info_json(info: datasets.DatasetInfo) -> dict[str, Any]:
    document: dict[str, Any] = asdict(info)
    version: Mapping[str, Any] | str | None = document.get("version")
    document["version"] = version.get("version_str") if isinstance(version, Mapping) else version
    return document


def dataset_name(dataset_id: str) -> str:
    """Return the name that stock gives to the builder of a dataset id."""
    name: str = datasets.naming.camelcase_to_snakecase(dataset_id.rsplit("/", 1)[-1])
    return name


def _plain(document: Any) -> Any:
    """Return *document* as reading it from JSON would give it: lists for tuples."""
    return json.loads(json.dumps(document))
