"""Folders of data files, which stock `datasets` prepares itself, under the dataset's own name."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import datasets

from hf_localize.errors import IntegrityError
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.hf.capture import dataset_name
from hf_localize.settings.paths import expanded
from hf_localize.store.entry import LocalEntry
from hf_localize.store.linking import link_into
from hf_localize.store.store import Store

#: In the cache folder of `datasets`: apart from stock's own, of which stock, offline, takes the
#: newest of a dataset for any revision.
CACHE_FOLDER = "hf_localize"


def linked_files(entry: LocalEntry, store: Store, cache_dir: str | None) -> Path:
    """Return a folder with links to the files of *entry*, named by its digest.

    Stock reads it when it pleases, so its files must stay those of one entry whatever becomes of
    the store meanwhile.

    Raises:
        IntegrityError: another entry has taken this one's place.
    """
    root = expanded(cache_dir or datasets.config.HF_DATASETS_CACHE) / CACHE_FOLDER / FILES_CONFIG
    target = root / entry.digest
    part = target if target.is_dir() else root / f"{entry.digest}.{uuid.uuid4().hex[:8]}"
    try:
        for file in entry.manifest.files:
            (part / file.path).parent.mkdir(parents=True, exist_ok=True)
            link_into(store, entry, file, part / file.path)
    except FileNotFoundError as exc:
        raise IntegrityError(
            f"{entry.folder} was replaced while it was read; load the dataset again"
        ) from exc
    if part != target:
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
    builder._cache_dir_root = os.path.join(builder._cache_dir_root, CACHE_FOLDER)
    builder._cache_dir = builder._output_dir = builder._build_cache_dir()
    if os.path.isfile(os.path.join(builder._cache_dir, datasets.config.DATASET_INFO_FILENAME)):
        builder.info = datasets.DatasetInfo.from_directory(builder._cache_dir)  # As its __init__ does.
    return builder
