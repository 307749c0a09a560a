"""An entry as a `datasets` builder.

Written against 2.20 to 5.2; what differs between them is marked.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa

from hf_localize.errors import HfLocalizeError, IntegrityError, StoreError
from hf_localize.format.arrow.seek import open_at, unpacked
from hf_localize.format.lockfile import Locked, locked
from hf_localize.format.refs import DatasetRef
from hf_localize.hf import bars
from hf_localize.hf.capture import dataset_name
from hf_localize.hf.data_files import CACHE_FOLDER
from hf_localize.hf.info import check_schema, config_name_of, dataset_info, version_of
from hf_localize.hf.reader import Reader
from hf_localize.hf.recording import record
from hf_localize.hf.splits import NeededSplit, file_names
from hf_localize.hf.stream_cache import ReadThrough
from hf_localize.hf.streaming import resuming
from hf_localize.settings.secret import Secret, revealed
from hf_localize.sources.base import StoredEntry
from hf_localize.sources.pinned import hashed_manifest
from hf_localize.sources.resolver import Resolver
from hf_localize.store.entry import LocalEntry
from hf_localize.store.linking import link_into
from hf_localize.store.places import TRIES
from hf_localize.transfer.disk_space import require_room
from hf_localize.transfer.prefetch import InTurn

_log = logging.getLogger(__name__)
#: Stock patches the module of a builder for streaming: ``open``, ``os`` and ``Path``, for good.
#: This says that it has been done; what lies elsewhere is read by the sources.
_patched_for_streaming = True
_ARGUMENTS_OF_LOAD = frozenset(
    {"download_config", "download_mode", "verification_mode", "num_proc", "storage_options"}
)
#: datasets >= 5 wants its own key class from ``_generate_tables``; earlier any value will do.
_Key = getattr(datasets.builder, "Key", None)


#: Rows of a shard: its path, the first one, and the one after the last (None: its end).
Piece = tuple[str, int, int | None]


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
        token: bool | Secret[str] | None = None,
        force: bool = False,
        needed: NeededSplit | None = None,
        keeps_streamed: bool = False,
        record_path: Path | None = None,
    ) -> None:
        manifest = entry.manifest
        #: Where streams have their shards from.
        self._shards: StoredEntry | ReadThrough = entry
        if keeps_streamed and not isinstance(entry, LocalEntry):
            self._shards = ReadThrough(entry, ref, resolver.without_hub())
        self._needed = needed
        self._record_path = record_path
        self._entry: StoredEntry = entry
        self._ref = ref
        self._resolver = resolver
        self._force = force
        super().__init__(
            cache_dir=cache_dir,
            dataset_name=dataset_name(ref.dataset_id),
            config_name=config_name_of(manifest),
            hash=entry.digest,
            info=dataset_info(manifest, ref),
            token=revealed(token),
            repo_id=manifest.canonical_id or manifest.dataset_id,
            version=version_of(manifest),
        )
        #: Stock has taken ``info`` from there.
        self._has_prepared_info = os.path.isfile(_prepared_info(self._cache_dir))
        self._restore_names()

    @property
    def builder_configs(self) -> dict[str, datasets.BuilderConfig]:
        """Return all configs of the repository, by name."""
        manifest = self._entry.manifest
        # Of the version that __init__ asks for, or stock takes ours for another config of that name.
        return {n: datasets.BuilderConfig(n, version_of(manifest)) for n in manifest.repository_configs}

    def _info(self) -> datasets.DatasetInfo:
        return dataset_info(self._entry.manifest, self._ref)

    @bars.shown()
    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """Bring the entry into the local store, then prepare it as stock does."""
        try:
            self._adopt(
                self._resolver.localize_entry(
                    self._entry,
                    self._ref,
                    force=self._force,
                    needed=self._needed,
                    is_checked=self._has_prepared_info,
                )
            )
        except StoreError as exc:
            self._require_room_in_cache()
            _log.warning("%s is prepared from %s itself: %s", self._ref, self._entry.source, exc)
        for attempt in range(TRIES):
            try:
                self._prepare(*args, **kwargs)
                break
            except _ReplacedError:  # Another process replaced the entry meanwhile: take the new one, whole.
                if attempt + 1 == TRIES:
                    raise
                self._adopt(self._resolver.localize(self._ref, needed=self._needed, is_checked=False))
        self._record()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_resolver": self._resolver.without_hub()}

    def _record(self) -> None:
        """Tell the record, where there is one, what was loaded."""
        entry = self._entry

        def tell() -> Locked:
            manifest = hashed_manifest(entry) if isinstance(entry, LocalEntry) else entry.manifest
            return locked(self._ref, manifest)

        record(self._record_path, self._ref, tell, entry.source)

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

    def as_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """Return the splits, all of one content, though the entry is removed or replaced meanwhile."""
        for attempt in range(TRIES):
            try:
                return super().as_dataset(*args, **kwargs)
            except FileNotFoundError:  # A symbolic link leads to what was removed just now.
                if attempt + 1 == TRIES:
                    raise
                self.download_and_prepare()
        raise AssertionError

    def _as_dataset(self, split: Any = datasets.Split.TRAIN, in_memory: bool = False) -> datasets.Dataset:
        reader = Reader(self._fs._strip_protocol(self._output_dir), self.info)
        found = reader.read(self.dataset_name, split, self.info.splits.values(), in_memory)
        return datasets.Dataset(fingerprint=self._get_dataset_fingerprint(split), **found)

    def _relative_data_dir(self, *args: Any, **kwargs: Any) -> str:
        return f"{CACHE_FOLDER}/{super()._relative_data_dir(*args, **kwargs)}"

    def _prepare(self, *args: Any, **kwargs: Any) -> None:
        if self._is_ready(*args, **kwargs):
            self._output_dir, self._file_format = self._cache_dir, "arrow"
        else:
            self._prepare_as_stock(*args, **kwargs)
        if self._output_dir == self._cache_dir and self._file_format == "arrow":
            self._mend_links()

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
        self._record()
        return super().as_streaming_dataset(*args, **kwargs)

    def _download_and_prepare(self, dl_manager: Any, verification_mode: Any, **kwargs: Any) -> None:
        plain = kwargs.get("file_format") == "arrow" and kwargs.get("max_shard_size") is None
        if not plain or not isinstance(self._entry, LocalEntry) or not _is_local(self._fs):
            super()._download_and_prepare(dl_manager, verification_mode, **kwargs)
            return
        self._link(self._entry, self._links(self._entry), self._output_dir)
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

    def _generate_more_gen_kwargs(self, shards: list[str | Piece]) -> Iterator[dict[str, list[Piece]]]:
        """Divide *shards* where a reader can begin, for ``reshard()`` (datasets >= 4.7).

        Stock divides files of parquet by their row groups. Here the seek points of a shard divide it.
        """
        for shard in shards:
            if not isinstance(shard, str):
                yield {"shards": [shard]}
                continue
            starts = [0, *(rows for rows, _ in self._seek_points(shard))]
            ends = [*starts[1:], None]
            yield {"shards": [(shard, start, end) for start, end in zip(starts, ends, strict=True)]}

    def _generate_tables(
        self, shards: list[str | Piece], first_row: int = 0, in_turn: InTurn | None = None
    ) -> Iterator[tuple[Any, pa.Table]]:
        """Yield the batches of *shards*; for those before the one with *first_row*, rows without data."""
        in_turn = in_turn or InTurn([shard for shard in shards if isinstance(shard, str)])
        for index, shard in enumerate(shards):
            path, start, stop = (shard, 0, None) if isinstance(shard, str) else shard
            opened = in_turn.open(path, self._shards.open) if path is shard else self._shards.open(path)
            with opened as stream:
                for number, table in enumerate(self._tables(stream, path, first_row, start, stop)):
                    yield (_Key(index, number) if _Key else f"{index}_{number}"), table
            first_row = 0

    def _tables(
        self, stream: BinaryIO, path: str, first_row: int, start: int, stop: int | None
    ) -> Iterator[pa.Table]:
        """Yield the batches of the rows from *start* to before *stop* of a shard; None: to its end.

        Those before the batch with *first_row*, which counts from *start*, come without data. The schema is
        checked first.
        """
        try:
            before, reader = open_at(stream, start + first_row, self._seek_points(path))
            if before > start:
                yield pa.table({"skipped": pa.nulls(before - start)})
            if stop is not None and before >= stop:
                return
            with reader:
                for number, batch in enumerate(reader):
                    if not number:
                        check_schema(batch.schema, self.info.features, path)
                    yield pa.Table.from_batches([batch])
                    before += batch.num_rows
                    if stop is not None and before >= stop:
                        return
        except HfLocalizeError as exc:
            if path not in str(exc):
                exc.comes_after(path)
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # It is the disk's.
                raise
            raise IntegrityError(f"{path} is not a whole Arrow stream: {exc}") from exc
        stream.read(1)  # The read of a verified stream's end is what checks it.

    def _seek_points(self, path: str) -> Sequence[tuple[int, int]]:
        shards = (shard for split in self._entry.manifest.splits for shard in split.shards)
        return unpacked(next(shard.seek_points for shard in shards if shard.path == path))

    def _adopt(self, entry: LocalEntry) -> None:
        """Build from *entry* from now on; its content may differ from what was found before."""
        if entry is self._entry:
            return
        is_same = entry.digest == self.hash and entry.manifest.says_as(self._entry.manifest)
        self._entry = self._shards = entry
        if is_same:
            return
        self._has_prepared_info = False
        self.hash: str = entry.digest
        self.info = dataset_info(entry.manifest, self._ref)
        self._restore_names()
        self._cache_dir = self._output_dir = self._build_cache_dir()

    def _save_infos(self) -> None:
        """Do nothing: what ``save_infos=True`` (datasets < 4) asks for is in the cache folder.

        Stock writes a README.md beside the module of the builder, which here is this package.
        """

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
        other = [(p, n) for p, n in self._links(entry) if there.get(n) != entry.inodes.get(p, -1)]
        if other:
            self._link(entry, other, folder)

    def _link(self, entry: LocalEntry, links: Iterable[tuple[str, str]], folder: str) -> None:
        """Have the files of *entry*, each under its name, in *folder*."""
        try:
            for path, name in links:
                link_into(self._resolver.store, entry, entry.manifest.file(path), Path(folder, name))
        except FileNotFoundError as exc:
            raise _ReplacedError from exc

    def _links(self, entry: LocalEntry) -> Iterator[tuple[str, str]]:
        """Yield each shard of *entry* that is needed, and the name by which stock's reader looks for it."""
        needed = self._needed(entry.manifest) if self._needed and entry.is_partial else None
        for split in entry.manifest.splits:
            for shard, name in zip(split.shards, file_names(split, self.dataset_name), strict=True):
                if needed is None or shard.path in needed:
                    yield shard.path, name


class _ReplacedError(Exception):
    """Another entry took the place of the one that was being linked."""


def _inodes_in(folder: str, entry: LocalEntry) -> dict[str, int]:
    """Return {name: inode} of *folder*, one look for all its files; {} where they say nothing of *entry*."""
    if entry.identity is None or os.stat(folder).st_dev != entry.identity[0]:
        return {}
    with os.scandir(folder) as items:
        return {item.name: item.inode() for item in items}


def _prepared_info(cache_dir: str) -> str:
    return os.path.join(cache_dir, datasets.config.DATASET_INFO_FILENAME)


def _is_local(filesystem: Any) -> bool:
    return not datasets.filesystems.is_remote_filesystem(filesystem)


_extend = datasets.builder.extend_dataset_builder_for_streaming


@functools.wraps(_extend)
def _extend_others(builder: datasets.DatasetBuilder) -> None:
    if not isinstance(builder, LocalizedDataset):
        _extend(builder)


if hasattr(datasets.streaming, "lock_importable_file"):  # datasets < 4: it locks a file beside our package.
    datasets.builder.extend_dataset_builder_for_streaming = _extend_others
