"""Store and cache on two file systems, or of two users: a prepared cache keeps its content whatever becomes of the store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize.sources.session import current_session
from tests.conftest import Desk, tree
from tests.faults.killer import TWO_DAYS
from tests.faults.test_stores import AS_ANY_USER

NAME = "org/x"
OLD, NEW = [f"old {n}" for n in range(40)], [f"new {n}" for n in range(40)]


@pytest.fixture
def apart(desk: Desk) -> Iterator[Desk]:
    """Return a desk whose cache of `datasets` is on another file system than its store."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == desk.folder.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        desk.publisher().set(HGLOC_SOURCES="local")
        desk.use_cache(folder)
        yield desk


def saved(texts: list[str], folder: Path) -> Path:
    made = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": texts}),
        test=datasets.Dataset.from_dict({"text": texts[:2]}),
    )
    made.save_to_disk(str(folder), num_shards={"train": 2, "test": 1})
    return folder


def store_rows(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hf_localize.register_dataset(saved(texts, Path(folder)), NAME, skip_s3_upload=True)


def load(split: str = "train") -> datasets.Dataset:
    with hf_localize.installed():
        return datasets.load_dataset(NAME, split=split)


def cached() -> list[Path]:
    return sorted(Path(datasets.config.HF_DATASETS_CACHE).rglob("x-train*.arrow"))


def double(row: dict[str, str]) -> dict[str, str]:
    return {"twice": row["text"] * 2}


#: Loads, replaces the entry, and maps with one process and two: all must see what was loaded.
REPLACED = """
import datasets, hf_localize, json, multiprocessing, pickle, sys
from concurrent.futures import ProcessPoolExecutor
def rows(dataset):
    return dataset["text"][:]
def double(row):
    return {"twice": row["text"] * 2}
def load():
    with hf_localize.installed():
        return datasets.load_dataset("org/x", split="train")
if __name__ == "__main__":
    loaded = load()
    hf_localize.register_dataset(sys.argv[1], "org/x", skip_s3_upload=True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        pooled = pool.submit(rows, loaded).result()
    print(json.dumps([
        loaded["text"][:], loaded.map(double, num_proc=2)["text"][:], loaded.map(double)["text"][:], pooled,
        pickle.loads(pickle.dumps(loaded))["text"][:], load()["text"][:],
    ]))
"""


def test_workers_get_the_rows_that_were_loaded_though_the_entry_was_replaced(
    apart: Desk, tmp_path: Path
) -> None:
    store_rows(OLD)
    script = tmp_path / "script.py"
    script.write_text(REPLACED)
    command = [sys.executable, str(script), str(saved(NEW, tmp_path / "new"))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [OLD] * 5 + [NEW]


def test_symbolic_links_take_no_room_and_lead_to_a_place_of_this_digest_alone(apart: Desk) -> None:
    store_rows(OLD)
    load()
    digest = current_session().store.entries()[0].digest
    assert len(cached()) == 2
    for path in cached():
        assert path.is_symlink()
        assert f"/.hgloc/by-digest/org_x/default_config/default_revision/{digest}/" in str(path.readlink())
        assert path.stat().st_nlink == 2, "it is no link to the entry's own file"


def test_links_of_an_older_version_into_the_entrys_folder_are_mended(apart: Desk) -> None:
    store_rows(OLD)
    load()
    entry = current_session().store.entries()[0].folder
    shutil.rmtree(apart.store / ".hgloc" / "by-digest")
    for path, shard in zip(cached(), sorted(entry.rglob("train/*.arrow")), strict=True):
        path.unlink()
        path.symlink_to(shard)
    loaded = load()
    store_rows(NEW)
    assert loaded.map(double, num_proc=2)["text"][:] == OLD


def test_original_files_that_were_linked_keep_their_content(apart: Desk, tmp_path: Path) -> None:
    source = tmp_path / "files"
    source.mkdir()
    for texts in (OLD, NEW):
        (source / "rows.csv").write_text("\n".join(["text", *texts]))
        hf_localize.register_dataset(source, NAME, skip_s3_upload=True, keep_files=True)
        with hf_localize.installed():
            datasets.load_dataset(NAME, data_files="rows.csv", split="train")
    kept = Path(datasets.config.HF_DATASETS_CACHE).glob("hf_localize/original_files/*/rows.csv")
    assert sorted(path.read_text().splitlines()[1] for path in kept) == ["new 0", "old 0"]


def test_a_repaired_entry_mends_what_symbolic_links_lead_to(apart: Desk) -> None:
    apart.set(HGLOC_SOURCES="local,s3")
    store_rows(OLD)
    hf_localize.sync_local_dataset_to_s3(NAME)
    load()
    shard = sorted(current_session().store.entries()[0].folder.rglob("train/*.arrow"))[0]
    data = bytearray(shard.read_bytes())
    data[-200] ^= 1
    shard.write_bytes(data)
    hf_localize.repair_dataset(NAME)
    assert cached()[0].read_bytes() == shard.read_bytes() != bytes(data)


def test_a_replaced_content_stays_while_programs_read_it_and_goes_when_none_does(apart: Desk) -> None:
    def days_pass(path: Path, days: float) -> None:
        for file in (path, *path.rglob("*")):
            stat = file.stat()
            os.utime(file, (stat.st_atime - days * 86400, stat.st_mtime - days * 86400))

    store_rows(OLD)
    loaded = load()
    store_rows(NEW)
    load()
    days_pass(apart.store / ".hgloc", TWO_DAYS / 86400)
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/y", skip_s3_upload=True)
    assert loaded.map(double, num_proc=2)["text"][:] == OLD
    days_pass(apart.store / ".hgloc", 8)
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [2]}), "org/y", skip_s3_upload=True)
    assert len(list((apart.store / ".hgloc/by-digest/org_x").glob("*/*/*"))) == 1
    assert not [p for p in (apart.store / ".hgloc/set-aside").glob("*/train") if "old 0" in str(tree(p))]
    assert load()["text"][:] == NEW


def test_removing_an_entry_removes_what_it_offers_to_links(apart: Desk) -> None:
    store_rows(OLD)
    load()
    hf_localize.remove_dataset(NAME)
    assert not [path for path in (apart.store / ".hgloc/by-digest").rglob("*") if path.is_file()]
    store_rows(NEW)
    assert load()["text"][:] == NEW


def test_a_slice_whose_entry_becomes_whole_or_is_replaced_keeps_its_rows(apart: Desk) -> None:
    apart.set(HGLOC_SOURCES="local,s3")
    store_rows(OLD)
    hf_localize.sync_local_dataset_to_s3(NAME)
    hf_localize.remove_dataset(NAME)
    loaded = load("train[:25%]")
    assert list(apart.store.glob(".hgloc/partial/*/*/*"))
    load("train[75%:]")
    load("test")
    store_rows(NEW)
    assert loaded.map(double, num_proc=2)["text"][:] == OLD[:10]


#: Loads as a user who may not write to the store, from a cache that is his.
READS = """
import datasets, hf_localize, json, pathlib
with hf_localize.installed():
    loaded = datasets.load_dataset("org/x", split="train")
files = sorted(pathlib.Path(datasets.config.HF_DATASETS_CACHE).rglob("x-train*.arrow"))
print(json.dumps([loaded["text"][0], *((p.is_symlink(), p.stat().st_ino) for p in files)]))
"""


def read_as_another() -> list[Any]:
    command = [*AS_ANY_USER, sys.executable, "-c", READS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))


def give_away(store: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("giving a store to another user takes root, and setpriv")
    for path in (store, *store.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)


def test_a_store_of_another_user_is_linked_without_being_copied(apart: Desk) -> None:
    store_rows(OLD)
    give_away(apart.store)
    before = tree(apart.store)
    assert read_as_another()[1][0] is True
    assert tree(apart.store) == before
    store_rows(NEW)
    assert all(b"old" in path.read_bytes() for path in cached())
    give_away(apart.store)
    assert read_as_another()[0] == "new 0"


def test_a_store_of_another_user_that_offers_nothing_is_copied_once(apart: Desk) -> None:
    store_rows(OLD)
    shutil.rmtree(apart.store / ".hgloc" / "by-digest")  # An older version has stored it.
    give_away(apart.store)
    first = read_as_another()
    assert first[1][0] is False
    assert read_as_another() == first, "it was copied again"
    store_rows(NEW)
    content = b"".join(path.read_bytes() for path in cached())
    assert b"old 0" in content
    assert b"new 0" not in content


@pytest.mark.parametrize("is_prepared", [False, True])
def test_a_copied_store_whose_links_were_cut_gives_the_rows_of_the_entry(
    is_prepared: bool, desk: Desk
) -> None:
    desk.publisher().set(HGLOC_SOURCES="local")
    store_rows(OLD)
    if is_prepared:
        load()
    _cut_offered(desk.store)
    assert load()["text"][:] == OLD


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("is_prepared", "keeps_size"), [(False, False), (True, True), (True, False), (False, True)]
)
def test_a_copied_store_whose_links_were_cut_gives_its_rows_to_symbolic_links(
    is_prepared: bool, keeps_size: bool, apart: Desk
) -> None:
    store_rows(OLD)
    if is_prepared:
        load()
    _cut_offered(apart.store, keeps_size=keeps_size)
    assert load()["text"][:] == OLD
    assert all(path.is_symlink() and path.stat().st_nlink == 2 for path in cached())


@pytest.mark.parametrize("is_prepared", [False, True])
def test_a_copied_store_of_another_user_whose_links_were_cut_gives_the_rows_of_the_entry(
    is_prepared: bool, apart: Desk
) -> None:
    store_rows(OLD)
    if is_prepared:
        give_away(apart.store)
        assert read_as_another()[0] == "old 0"
    _cut_offered(apart.store, keeps_size=True)
    give_away(apart.store)
    assert read_as_another()[0] == "old 0"
    assert read_as_another()[0] == "old 0"


def _cut_offered(store: Path, *, keeps_size: bool = False) -> None:
    """Leave a part of each file in ``by-digest``, as a copy of the store does that ends too early."""
    files = [path for path in (store / ".hgloc" / "by-digest").rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[: len(data) // 2].ljust(len(data) if keeps_size else 0, b"\0"))
