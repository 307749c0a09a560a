"""An entry as a `datasets` builder.

With `capture` and `sources.hub` this is the only place that knows the insides of `datasets`.
Written against 2.20 to 5.2; what differs between them is marked.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
from datasets.arrow_reader import ReadInstruction, make_file_instructions
from datasets.features.features import _FEATURE_TYPES
from datasets.naming import filenames_for_dataset_split
from datasets.splits import SplitDict, SplitInfo

from hf_localize.batches import open_at, unpacked
from hf_localize.capture import dataset_name
from hf_localize.entries import StoredEntry
from hf_localize.errors import IntegrityError, StoreError, UnsupportedFeatureError
from hf_localize.features import missing_types, with_large_list_item
from hf_localize.keeping import ReadThrough
from hf_localize.localentry import LocalEntry
from hf_localize.manifest import Manifest, Split
from hf_localize.refs import FILES_CONFIG, DatasetRef
from hf_localize.resolver import Resolver
from hf_localize.room import require_room
from hf_localize.shards import link_or_symlink
from hf_localize.streaming import resuming
from hf_localize.tables import Reader

_log = logging.getLogger(__name__)
#: In the cache folder of `datasets`: apart from stock's own, of which stock, offline, takes the
#: newest of a dataset for any revision.
_CACHE_FOLDER = "hf_localize"
#: Stock patches the module of a builder for streaming: ``open``, ``os`` and ``Path``, for good.
#: This says that it has been done; what lies elsewhere is read by the sources.
_patched_for_streaming = True
_ARGUMENTS_OF_LOAD = frozenset(
    {"download_config", "download_mode", "verification_mode", "num_proc", "storage_options"}
)
_SPLIT_FIELDS = frozenset(field.name for field in dataclasses.fields(SplitInfo))
_INFO_FIELDS = frozenset(field.name for field in dataclasses.fields(datasets.DatasetInfo))
#: datasets >= 5 wants its own key class from ``_generate_tables``; earlier any value will do.
_Key = getattr(datasets.builder, "Key", None)
#: Since 4.0 ``Sequence`` is a function, but still read.
_KNOWN_TYPES = frozenset({*_FEATURE_TYPES, "Sequence"})
_FIELDS_OF_LARGE_LIST = getattr(_FEATURE_TYPES.get("LargeList"), "__dataclass_fields__", ())
_LARGE_LIST_ITEM = "dtype" if "dtype" in _FIELDS_OF_LARGE_LIST else "feature"


@dataclasses.dataclass(frozen=True, slots=True)
class WantedSplit:
    """What a load with ``split=`` needs of an entry: the shards that hold those rows.

    ``split`` is a spec as ``load_dataset`` takes it, or a list or dict of such.
    """

    split: Any

    def __call__(self, manifest: Manifest) -> frozenset[str] | None:
        """Return the paths of the shards; None where the rows of shards are not known.

        Of a split that there is not, nothing is needed: stock will say so.
        """
        if any(shard.rows is None for split in manifest.splits for shard in split.shards):
            return None
        infos = [_split_info(split, "x") for split in manifest.splits]
        paths = {
            name: shard.path
            for split in manifest.splits
            for name, shard in zip(_file_names(split, "", "x"), split.shards, strict=True)
        }
        try:
            read = [make_file_instructions("x", infos, spec, "arrow", "") for spec in _specs(self.split)]
        except (ValueError, AssertionError, TypeError):
            return frozenset()
        return frozenset(paths[file["filename"]] for found in read for file in found.file_instructions)


class LocalizedDataset(datasets.ArrowBasedBuilder):  # type: ignore[misc]  # datasets has no types.
    """Build datasets from an entry instead of from the Hub.

    ``info`` and ``splits`` come from the manifest. ``download_and_prepare()`` brings the entry
    into the local store and links its shards into the cache folder of `datasets`, under the
    names that stock's reader expects; from there on everything is stock code. Streaming reads
    the shards where they lie. The cache folder is named by the entry's digest, so replaced
    content never meets an old ``.map()`` cache.
    """

    _cache_dir: str

    def __init__(
        self,
        entry: StoredEntry,
        ref: DatasetRef,
        resolver: Resolver,
        *,
        cache_dir: str | None = None,
        token: bool | str | None = None,
        force: bool = False,
        wanted: WantedSplit | None = None,
        keeps_streamed: bool = False,
    ) -> None:
        manifest = entry.manifest
        #: Where streams have their shards from.
        self._shards: StoredEntry | ReadThrough = entry
        if keeps_streamed and not isinstance(entry, LocalEntry):
            self._shards = ReadThrough(entry, ref, resolver)
        self._wanted = wanted
        self._entry: StoredEntry = entry
        self._ref = ref
        self._resolver = resolver
        self._force = force
        super().__init__(
            cache_dir=cache_dir,
            dataset_name=dataset_name(ref.dataset_id),
            config_name=_config_name(manifest),
            hash=entry.digest,
            info=dataset_info(manifest, ref),
            token=token,
            repo_id=manifest.canonical_id or manifest.dataset_id,
            version=_version(manifest),
        )
        #: Stock has taken ``info`` from there.
        self._has_prepared_info = os.path.isfile(_prepared_info(self._cache_dir))
        self._restore_names()

    @property
    def builder_configs(self) -> dict[str, datasets.BuilderConfig]:
        """Return all configs of the repository, by name."""
        manifest = self._entry.manifest
        # Of the version that __init__ asks for, or stock takes ours for another config of that name.
        return {n: datasets.BuilderConfig(n, _version(manifest)) for n in manifest.repository_configs}

    def _info(self) -> datasets.DatasetInfo:
        return dataset_info(self._entry.manifest, self._ref)

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """Bring the entry into the local store, then prepare it as stock does."""
        try:
            self._adopt(
                self._resolver.localize_entry(self._entry, self._ref, force=self._force, wanted=self._wanted)
            )
        except StoreError as exc:
            self._require_room_in_cache()
            _log.warning("%s is prepared from %s itself: %s", self._ref, self._entry.source, exc)
        try:
            if self._is_ready(*args, **kwargs):
                self._output_dir, self._file_format = self._cache_dir, "arrow"
            else:
                self._prepare_as_stock(*args, **kwargs)
        except _ReplacedError:  # Somebody replaced the entry meanwhile: take the new one, whole.
            self._adopt(self._resolver.localize(self._ref, wanted=self._wanted))
            self._prepare_as_stock(*args, **kwargs)
        if self._output_dir == self._cache_dir and self._file_format == "arrow":
            self._mend_links()

    def _require_room_in_cache(self) -> None:
        """Raise StoreError where the cache has no room either: stock's own check knows no sizes."""
        shards = self._entry.manifest.shard_paths()
        needed = sum(file.size_bytes for file in self._entry.manifest.files if file.path in shards)
        folder = Path(self._cache_dir).absolute()
        if _is_local(self._fs):
            require_room(next(path for path in (folder, *folder.parents) if path.is_dir()), needed)

    def _is_ready(self, *args: Any, **kwargs: Any) -> bool:
        """Tell whether stock, as `load_dataset` calls it, would only find that all has been prepared."""
        return (
            self._has_prepared_info
            and not args
            and kwargs.get("download_mode") is datasets.DownloadMode.REUSE_DATASET_IF_EXISTS
            and isinstance(kwargs.get("verification_mode"), datasets.VerificationMode)
            and not (kwargs.keys() - _ARGUMENTS_OF_LOAD or kwargs.get("storage_options"))
            and os.path.isfile(_prepared_info(self._cache_dir))
        )

    def _as_dataset(self, split: Any = datasets.Split.TRAIN, in_memory: bool = False) -> datasets.Dataset:
        reader = Reader(self._fs._strip_protocol(self._output_dir), self.info)
        found = reader.read(self.dataset_name, split, self.info.splits.values(), in_memory)
        return datasets.Dataset(fingerprint=self._get_dataset_fingerprint(split), **found)

    def _relative_data_dir(self, *args: Any, **kwargs: Any) -> str:
        return f"{_CACHE_FOLDER}/{super()._relative_data_dir(*args, **kwargs)}"

    def _prepare_as_stock(self, *args: Any, **kwargs: Any) -> None:
        if isinstance(self._entry, LocalEntry):
            # Links take no room, so stock's check for free space must not refuse them. (Where it
            # knows the download's size, it adds the two up again.)
            self.info.size_in_bytes = 0
            self.info.download_size = self.info.download_size or 0
        super().download_and_prepare(*args, **kwargs)
        self._restore_names()

    def as_streaming_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """Return the splits as streams over the entry where it lies; nothing is stored."""
        _log.info("%s ← %s, streamed", self._ref, self._entry.source)
        return super().as_streaming_dataset(*args, **kwargs)

    def _download_and_prepare(self, dl_manager: Any, verification_mode: Any, **kwargs: Any) -> None:
        plain = kwargs.get("file_format") == "arrow" and kwargs.get("max_shard_size") is None
        if not plain or not isinstance(self._entry, LocalEntry) or not _is_local(self._fs):
            super()._download_and_prepare(dl_manager, verification_mode, **kwargs)
            return
        try:
            for path, name in self._links(self._entry):
                link_or_symlink(self._entry.folder / path, Path(self._output_dir, name))
        except FileNotFoundError as exc:
            raise _ReplacedError from exc
        if self._entry.was_replaced():
            raise _ReplacedError

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:  # noqa: ARG002
        return [
            datasets.SplitGenerator(name=split.name, gen_kwargs={"shards": [s.path for s in split.shards]})
            for split in self._entry.manifest.splits
        ]

    def _generate_shards(self, shards: list[str]) -> Iterator[str]:
        yield from shards

    def _get_examples_iterable_for_split(self, split_generator: Any) -> Any:
        return resuming(super()._get_examples_iterable_for_split(split_generator))

    def _generate_tables(self, shards: list[str], first_row: int = 0) -> Iterator[tuple[Any, pa.Table]]:
        """Yield the batches of *shards*; for those before the one with *first_row*, rows without data."""
        for index, path in enumerate(shards):
            with self._shards.open(path) as stream:
                for number, table in enumerate(_tables(stream, path, first_row, self._seek_points(path))):
                    yield (_Key(index, number) if _Key else f"{index}_{number}"), table
            first_row = 0

    def _seek_points(self, path: str) -> Sequence[tuple[int, int]]:
        shards = (shard for split in self._entry.manifest.splits for shard in split.shards)
        return unpacked(next(shard.seek_points for shard in shards if shard.path == path))

    def _adopt(self, entry: LocalEntry) -> None:
        """Build from *entry* from now on; its content may differ from what was found before."""
        if entry is self._entry:
            return
        self._entry = self._shards = entry
        if entry.digest == self.hash:
            return
        self._has_prepared_info = False
        self.hash: str = entry.digest
        self.info = dataset_info(entry.manifest, self._ref)
        self._restore_names()
        self._cache_dir = self._output_dir = self._build_cache_dir()

    def _restore_names(self) -> None:
        # Stock names the builder after its module; users see "parquet", "json", … there.
        manifest = self._entry.manifest
        self.name: str = manifest.info.get("builder_name") or self.name
        self.info.builder_name = self.name

    def _mend_links(self) -> None:
        """Link again what in the cache folder is not the store's own file.

        A cache folder outlives its entry, which may have been removed, or found damaged and
        fetched again since. ``.map()`` caches in the folder are kept.
        """
        entry, folder = self._entry, self._cache_dir
        if not isinstance(entry, LocalEntry):
            return
        there = _inodes_in(folder, entry)
        for path, name in self._links(entry):
            if there.get(name) == entry.inodes.get(path, -1):
                continue
            source, target = entry.folder / path, Path(folder, name)
            if not _is_same_file(source, target):
                fresh = target.with_name(f"{name}.{uuid.uuid4().hex[:8]}")
                link_or_symlink(source, fresh)
                fresh.replace(target)

    def _links(self, entry: LocalEntry) -> Iterator[tuple[str, str]]:
        """Yield each shard of *entry* that is needed, and the name by which stock's reader looks for it."""
        needed = self._wanted(entry.manifest) if self._wanted and entry.is_partial else None
        for split in entry.manifest.splits:
            for shard, name in zip(split.shards, _file_names(split, "", self.dataset_name), strict=True):
                if needed is None or shard.path in needed:
                    yield shard.path, name


class _ReplacedError(Exception):
    """Another entry took the place of the one that was being linked."""


def dataset_info(manifest: Manifest, ref: DatasetRef) -> datasets.DatasetInfo:
    """Return the ``DatasetInfo`` that a manifest describes, with the name by which *ref* asks for it.

    Raises:
        UnsupportedFeatureError: the installed `datasets` lacks a feature type of the dataset.
    """
    if missing := missing_types(manifest.features, _KNOWN_TYPES):
        raise UnsupportedFeatureError(
            f"{manifest.ref} can't be loaded with datasets {datasets.__version__}: {'; '.join(missing)}. "
            "Upgrade datasets; nothing was fetched."
        )
    known = {key: value for key, value in manifest.info.items() if key in _INFO_FIELDS}
    name = dataset_name(ref.dataset_id)  # As stock does, whatever the id is on the Hub by now.
    splits = SplitDict(dataset_name=name)
    for split in manifest.splits:
        splits.add(_split_info(split, name))
    try:
        features = datasets.Features.from_dict(with_large_list_item(manifest.features, _LARGE_LIST_ITEM))
        named = {"dataset_name": name, "features": features, "splits": splits}
        return datasets.DatasetInfo(**{**known, **named})
    except Exception as exc:  # Whatever `datasets` makes of what is none.
        raise IntegrityError(
            f"the manifest of {manifest.ref} has features or info that datasets {datasets.__version__} can't "
            f"read: {exc!r:.300}"
        ) from exc


def linked_files(entry: LocalEntry, cache_dir: str | None) -> Path:
    """Return a folder with links to the files of *entry*, named by its digest.

    Stock reads it when it pleases, so its files must stay those of one entry whatever becomes of
    the store meanwhile.

    Raises:
        IntegrityError: another entry has taken this one's place.
    """
    root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / _CACHE_FOLDER / FILES_CONFIG
    target = root / entry.digest
    if not target.is_dir():
        part = root / f"{entry.digest}.{uuid.uuid4().hex[:8]}"
        for file in entry.manifest.files:
            (part / file.path).parent.mkdir(parents=True, exist_ok=True)
            link_or_symlink(entry.folder / file.path, part / file.path)
        if entry.was_replaced():
            raise IntegrityError(f"{entry.folder} was replaced while it was read; load the dataset again")
        try:
            part.rename(target)
        except OSError:  # Another process was faster.
            shutil.rmtree(part)
    return target


def stock_builder(builder: datasets.DatasetBuilder, ref: DatasetRef) -> datasets.DatasetBuilder:
    """Give *builder*, which stock made for a folder of data files, the dataset's own name."""
    builder.dataset_name = builder.info.dataset_name = dataset_name(ref.dataset_id)
    if ref.config_name is not None:
        builder.config.name = builder.info.config_name = builder.config_id = ref.config_name
    builder._cache_dir_root = os.path.join(builder._cache_dir_root, _CACHE_FOLDER)
    builder._cache_dir = builder._output_dir = builder._build_cache_dir()
    if os.path.isfile(os.path.join(builder._cache_dir, datasets.config.DATASET_INFO_FILENAME)):
        builder.info = datasets.DatasetInfo.from_directory(builder._cache_dir)  # As its __init__ does.
    return builder


def _is_same_file(one: Path, other: Path) -> bool:
    return other.exists() and other.samefile(one)


def _inodes_in(folder: str, entry: LocalEntry) -> dict[str, int]:
    """Return {name: inode} of *folder*, one look for all its files; {} where they say nothing of *entry*."""
    if entry.identity is None or os.stat(folder).st_dev != entry.identity[0]:
        return {}
    with os.scandir(folder) as items:
        return {item.name: item.inode() for item in items}


def _prepared_info(cache_dir: str) -> str:
    return os.path.join(cache_dir, datasets.config.DATASET_INFO_FILENAME)


def _file_names(split: Split, folder: str, dataset_name: str) -> list[str]:
    names: list[str] = filenames_for_dataset_split(
        folder, dataset_name, split.name, "arrow", _shard_lengths(split)
    )
    return names


def _specs(split: Any) -> Iterator[Any]:
    """Yield each spec of a ``split`` argument."""
    if isinstance(split, Mapping):
        split = list(split.values())
    if isinstance(split, (list, tuple)):
        for item in split:
            yield from _specs(item)
    else:
        yield split if isinstance(split, ReadInstruction) else str(split)


def _tables(
    stream: BinaryIO, path: str, first_row: int, points: Sequence[tuple[int, int]]
) -> Iterator[pa.Table]:
    try:
        skipped, reader = open_at(stream, first_row, points)
        if skipped:
            yield pa.table({"skipped": pa.nulls(skipped)})
        with reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as exc:
        raise IntegrityError(f"{path} is not a whole Arrow stream: {exc}") from exc
    stream.read(1)  # The read of a verified stream's end is what checks it.


def _split_info(split: Split, dataset_name: str) -> SplitInfo:
    values: Mapping[str, Any] = {
        "name": split.name,
        "num_bytes": split.size_bytes,
        "num_examples": split.rows,
        "shard_lengths": _shard_lengths(split),
        "original_shard_lengths": split.original_shard_rows and list(split.original_shard_rows),
        "dataset_name": dataset_name,
    }
    return SplitInfo(**{key: value for key, value in values.items() if key in _SPLIT_FIELDS})


def _shard_lengths(split: Split) -> list[int | None] | None:
    return [shard.rows for shard in split.shards] if len(split.shards) > 1 else None


def _config_name(manifest: Manifest) -> str:
    return manifest.resolved_config or manifest.config_name or "default"


def _version(manifest: Manifest) -> str:
    return manifest.info.get("version") or "0.0.0"


def _is_local(filesystem: Any) -> bool:
    return not datasets.filesystems.is_remote_filesystem(filesystem)
