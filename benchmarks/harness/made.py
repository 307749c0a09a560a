"""Datasets that are made for the benchmarks: so many shards of so many bytes."""

from __future__ import annotations

import functools
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import pyarrow as pa

from hf_localize.format import save_to_disk
from hf_localize.format.arrow.shards import link_or_copy
from hf_localize.format.manifest import Shard, Split
from hf_localize.format.manifest_json import manifest_bytes
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.store.entry import LocalEntry
from hf_localize.store.store import Store

ROW_BYTES = 4 << 10
#: Of a text: so many words, from a vocabulary of so many. It deflates to two fifths, as prose does.
_TEXT_WORDS, _VOCABULARY = 400_000, 4000


@dataclass(frozen=True, slots=True)
class Rows:
    """What rows are like: bytes of one's value, and how many are in a record batch."""

    row_bytes: int = ROW_BYTES
    batch_rows: int = 256


#: A text of half a kilobyte, and as many in a batch as `datasets` writes.
TEXTS = Rows(512, 1000)


def make_entry(
    store: Path, name: str, shards: int, shard_bytes: int, *, kind: str = "noise", like: Rows = Rows()
) -> Path:
    """Put a dataset of one split, ``train``, into *store*, and return its folder.

    Args:
        shards: how many files.
        shard_bytes: size of each, roughly: rows with a number and a text.
        kind: ``noise``, which does not compress, or ``text``, which does, as prose does.
    """
    from hf_localize.hf.register import register

    saved = store.parent / f".saved-{name.replace('/', '-')}"
    write_saved(saved, {"train": (shards, shard_bytes)}, kind=kind, like=like)
    entry: LocalEntry = register(saved, DatasetRef(name), Store(store))
    shutil.rmtree(saved)
    return entry.folder


def copy_entry(store: Path, name: str, other: str) -> None:
    """Put the content of *name* into *store* once more, as *other*; its files are links."""
    entry = Store(store).find(DatasetRef(name))
    assert entry is not None
    manifest = replace(entry.manifest, dataset_id=other)
    folder = store / manifest.ref.folders[0]
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(entry.folder / file.path, folder / file.path)
    (folder / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))


def write_saved(
    folder: Path, splits: dict[str, tuple[int, int]], *, kind: str = "noise", like: Rows = Rows()
) -> list[Split]:
    """Write what ``save_to_disk`` would have written for *splits* (shards, bytes of each)."""
    value = datasets.Value("binary" if kind == "noise" else "string")
    features = datasets.Features({"number": datasets.Value("int64"), "value": value})
    made = []
    for split, (count, size) in splits.items():
        (folder / split).mkdir(parents=True)
        names = [save_to_disk.shard_name(i, count) for i in range(count)]
        rows = max(1, size // like.row_bytes)
        for number, shard in enumerate(names):
            _write_shard(folder / split / shard, features.arrow_schema, rows, kind, number * rows, like)
        info = {"features": datasets.utils.py_utils.asdict(features)}
        save_to_disk.write_split_json(folder / split, split, names, f"made-{count}-{size}", info)
        made.append(
            Split(split, rows * count, size * count, tuple(Shard(f"{split}/{name}", rows) for name in names))
        )
    save_to_disk.write_dict_json(folder, list(splits))
    return made


def _write_shard(path: Path, schema: pa.Schema, rows: int, kind: str, first: int, like: Rows) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, rows, like.batch_rows):
            count = min(like.batch_rows, rows - start)
            numbers = pa.array(range(first + start, first + start + count), pa.int64())
            values = pa.array(_values(count, kind, like.row_bytes), schema.field("value").type)
            writer.write_batch(pa.record_batch([numbers, values], schema=schema))


def _values(count: int, kind: str, size: int) -> list[bytes] | list[str]:
    if kind == "noise":
        return [os.urandom(size) for _ in range(count)]
    return texts(count, size)


def texts(count: int, size: int) -> list[str]:
    """Return *count* texts of *size* letters."""
    words = _text()
    choose = random.Random(count)
    starts = [choose.randrange(len(words) - size) for _ in range(count)]
    return [words[start : start + size] for start in starts]


@functools.cache
def _text() -> str:
    choose = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(choose.choices(letters, k=choose.randint(2, 9))) for _ in range(_VOCABULARY)]
    often = [1 / (rank + 10) for rank in range(_VOCABULARY)]
    return " ".join(choose.choices(vocabulary, often, k=_TEXT_WORDS))


def make_entries(store: Path, count: int) -> list[DatasetRef]:
    """Put *count* datasets of a few rows into *store*, which differ by id alone, and return their refs."""
    store.parent.mkdir(parents=True, exist_ok=True)
    names = [f"made/entry-{number:05}" for number in range(count)]
    make_entry(store, names[0], 1, ROW_BYTES)
    for name in names[1:]:
        copy_entry(store, names[0], name)
    return [DatasetRef(name) for name in names]
