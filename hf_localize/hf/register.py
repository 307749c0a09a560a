"""Own data as an entry: a saved dataset, a folder of data files, or a dataset in memory."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import datasets
from datasets.builder import InvalidConfigName

from hf_localize.errors import InvalidRefError, UnusableDataError
from hf_localize.format import save_to_disk
from hf_localize.format.files import files_below
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.hf.capture import RowsOf, capture_dataset, capture_files
from hf_localize.hf.load import open_folder
from hf_localize.hf.source_rows import count_source_rows, source_rows
from hf_localize.hf.unprepared import telling_why
from hf_localize.store.commit import commit
from hf_localize.store.entry import LocalEntry
from hf_localize.store.origins import record_origin
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store
from hf_localize.transfer.disk_space import require_room


def require_data(given: object) -> None:
    """Check that *given* is a folder, or a dataset that holds its data.

    Raises:
        TypeError: it is something else, such as a stream.
    """
    if isinstance(given, (str, os.PathLike, datasets.Dataset, datasets.DatasetDict)):
        return
    advice = ""
    if isinstance(given, (datasets.IterableDataset, datasets.IterableDatasetDict)):
        advice = (
            ". A stream holds no data: load it without streaming=True, or make a Dataset of it "
            "(Dataset.from_list(list(stream), features=stream.features))"
        )
    elif isinstance(given, dict):
        advice = ". Make it a dataset: DatasetDict(…) of splits, Dataset.from_dict(…) of columns"
    raise TypeError(
        f"a folder, a Dataset or a DatasetDict can be registered, not {type(given).__name__}{advice}"
    )


def register(
    path_or_dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict,
    ref: DatasetRef,
    store: Store,
) -> LocalEntry:
    """Copy own data into the store as the entry for *ref*, with the folder's card, if it has one.

    Raises:
        FileNotFoundError: there is no such folder, or it holds nothing that can be loaded.
        UnusableDataError: a saved dataset is damaged.
        InvalidRefError: `datasets` refuses to load a config of that name.
    """
    try:
        datasets.BuilderConfig(name=ref.config_name or "default")
    except InvalidConfigName as exc:
        raise InvalidRefError(f"config name {ref.config_name!r} is refused: {exc}") from exc
    data, saved, card, source, builder = path_or_dataset, None, None, None, None
    if not isinstance(data, (datasets.Dataset, datasets.DatasetDict)):
        path = Path(data).expanduser()
        card = path / (
            save_to_disk.card_in([item.name for item in path.glob("*.md")]) or save_to_disk.CARD_FILE
        )
        _require_files(path)
        if save_to_disk.is_saved_dataset(path):
            saved, data = path, _load(path)
        else:
            source, builder = path, open_folder(path.absolute(), ref.config_name)
    with staging_folder(store, f"{ref.suffix[1:]}-register", fresh=True) as folder:
        rows_of: RowsOf | None = None
        if builder is not None:
            data, rows_of = _prepare(builder, str(source), folder / ".prepared")
        require_room(folder, _size_of_folder(saved) if saved else _size_of(data))
        manifest = capture_dataset(data, folder, ref, saved, source, rows_of)
        shutil.rmtree(folder / ".prepared", ignore_errors=True)  # There is none of a saved dataset.
        if card is not None and card.is_file():
            manifest = save_to_disk.with_card(manifest, folder, card)
        return _placed(store, folder, manifest)


def register_files(path: str | os.PathLike[str], ref: DatasetRef, store: Store) -> LocalEntry:
    """Copy a folder of data files into the store, as the original files of the repository of *ref*.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no data files.
    """
    source = Path(path).expanduser()
    if not source.is_dir() or save_to_disk.is_saved_dataset(source):
        raise FileNotFoundError(
            f"{source} is not a folder of data files, so it has no original files to store"
        )
    manifest = Manifest(dataset_id=ref.dataset_id, config_name=FILES_CONFIG, revision=ref.revision)
    with staging_folder(store, f"{ref.files.suffix[1:]}-register", fresh=True) as folder:
        require_room(folder, _size_of_folder(source))
        return _placed(store, folder, capture_files(source, folder, manifest, shutil.copyfile))


def _placed(store: Store, folder: Path, manifest: Manifest) -> LocalEntry:
    """Make *folder* an entry of the store, one that does not count as fetched from a bucket."""
    entry = commit(store, folder, manifest)
    record_origin(store.path, manifest, None)
    return entry


def _size_of_folder(folder: Path) -> int:
    return sum((folder / path).stat().st_size for path in files_below(folder))


def _size_of(data: datasets.Dataset | datasets.DatasetDict) -> int:
    """Return how many bytes *data* has at least, as far as that is known without reading it."""
    splits = data.values() if isinstance(data, datasets.DatasetDict) else [data]
    return sum(split.data.nbytes for split in splits if split._indices is None)


def _require_files(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} is not a folder; name a folder that save_to_disk wrote, or a folder of data files"
        )
    if next(files_below(path), None) is None:
        raise FileNotFoundError(f"{path} holds no data files")


def _load(saved: Path) -> datasets.Dataset | datasets.DatasetDict:
    try:
        return datasets.load_from_disk(str(saved))
    except OSError:  # It names the file.
        raise
    except Exception as exc:  # Whatever stock raises over a damaged folder.
        why = f"{type(exc).__name__}: {exc}"
        if isinstance(exc, IndexError):
            why = "a split has no rows, and load_from_disk can't load that either. Remove it, or add rows"
        raise UnusableDataError(f"{saved} can't be loaded: {why}") from exc


def _prepare(
    builder: datasets.DatasetBuilder, source: str, folder: Path
) -> tuple[datasets.DatasetDict, RowsOf]:
    """Have stock prepare the data files of *source* in *folder*; return them, and the rows of each by split.

    It is done there and not in the cache of `datasets`: of what lies there the files' rows are not known.
    """
    count_source_rows(builder)
    with telling_why(builder, source):
        builder.download_and_prepare(str(folder))
    return builder.as_dataset(), functools.partial(source_rows, builder)
