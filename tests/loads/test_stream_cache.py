"""`HGLOC_STREAM_CACHE=1`: what is streamed whole stays, and the next reading asks nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.hf import stream_cache
from tests.conftest import Desk
from tests.loads.test_partial import NAME, ROWS, fetched, parts, shared, stream
from tests.rig.s3_proxy import Rule, WrongBytes

__all__ = ["parts", "shared"]
TRAIN = list(range(4 * ROWS))
TEST = list(range(100_000, 101_000))


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_STREAM_CACHE", "1")
    monkeypatch.setattr(stream_cache, "_given_up", set())


def read(split: str) -> list[int]:
    with hf_localize.installed():
        return [row["n"] for row in stream(split)]


def kept(desk: Desk) -> list[str]:
    """Return the Arrow files below the store, wherever they are."""
    return sorted(path.name for path in desk.store.rglob("*.arrow")) if desk.store.exists() else []


def test_without_the_setting_a_stream_writes_nothing(parts: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HGLOC_STREAM_CACHE")
    assert read("train") == TRAIN
    assert not parts.store.exists()


def test_the_second_epoch_is_local(parts: Desk) -> None:
    with hf_localize.installed():
        first = stream()
        assert [row["n"] for row in first] == TRAIN
        assert len(fetched(parts)) == 4
        assert [row["n"] for row in first] == TRAIN, "the second epoch of the same stream"
        assert parts.s3.requests == ()
    assert read("train") == TRAIN, "a later load in this process"
    assert parts.s3.requests == (), "all shards of the split are here, so nobody need be asked"


def test_with_the_last_shard_the_entry_becomes_whole(parts: Desk) -> None:
    assert read("train") == TRAIN
    assert hf_localize.list_local_datasets() == []
    parts.s3.clear()
    assert read("test") == TEST
    assert set(fetched(parts)) == {"test/data-00000-of-00001.arrow"}, "shards that are here were fetched"
    assert hf_localize.list_local_datasets() == [{"dataset_id": NAME, "config_name": None, "revision": None}]
    folder = parts.store / "made_parts/default_config/default_revision"
    assert len(datasets.load_from_disk(str(folder))) == 2
    assert len(kept(parts)) >= 5
    parts.s3.clear()
    with hf_localize.installed():
        assert len(datasets.load_dataset(NAME, split="train")) == 4 * ROWS
    assert (read("train"), read("test")) == (TRAIN, TEST)
    assert parts.s3.requests == ()


def test_a_shard_that_is_read_only_partly_leaves_nothing(parts: Desk) -> None:
    with hf_localize.installed():
        rows = iter(stream())
        assert [next(rows)["n"] for _ in range(ROWS + 10)] == list(range(ROWS + 10))
        rows.close()
    assert kept(parts) == ["data-00000-of-00004.arrow"], "only the first was read to its end"
    parts.s3.clear()
    assert read("train") == TRAIN
    assert "train/data-00000-of-00004.arrow" not in fetched(parts)


def test_a_shard_that_was_gone_on_with_in_its_middle_is_not_kept(parts: Desk) -> None:
    with hf_localize.installed():
        first = stream()
        rows = iter(first)
        for _ in range(2 * ROWS + 1_500):
            next(rows)
        state = first.state_dict()
        rows.close()
        second = stream()
        second.load_state_dict(state)
        assert next(iter(second))["n"] == 2 * ROWS + 1_500
        assert [row["n"] for row in second] == list(range(2 * ROWS + 1_500, 4 * ROWS))
    assert kept(parts) == [f"data-0000{n}-of-00004.arrow" for n in (0, 1, 3)]


def test_what_differs_from_its_manifest_is_not_kept(parts: Desk) -> None:
    parts.s3.fail(Rule("GET", r"train/data-00001-of-00004\.arrow$", WrongBytes()))
    with pytest.raises(errors.HfLocalizeError):
        read("train")
    assert kept(parts) == ["data-00000-of-00004.arrow"]


def test_shards_of_a_public_zip_are_kept_too(shared: Desk) -> None:
    assert (read("train"), read("test")) == (TRAIN, TEST)
    shared.s3.clear()
    assert (read("train"), read("test")) == (TRAIN, TEST)
    assert shared.s3.requests == ()
    assert hf_localize.list_local_datasets() == [{"dataset_id": NAME, "config_name": None, "revision": None}]


@pytest.mark.sampled(0)
def test_several_processes_keep_what_each_has_read(parts: Desk, tmp_path: Path) -> None:
    code = (
        "import hf_localize, os, datasets; hf_localize.install()\n"
        "from datasets.distributed import split_dataset_by_node\n"
        f"stream = datasets.load_dataset({NAME!r}, streaming=True)\n"
        "for name in ('train', 'test'):\n"  # Of the test split, one shard, all four read it.
        "    print(sum(1 for _ in split_dataset_by_node(stream[name], int(os.environ['RANK']), 4)))\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(4)
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [out.split() for out, _ in said] == [["6000", "250"]] * 4, said
    assert not any("stored" in errors for _, errors in said), said
    parts.s3.clear()
    assert (read("train"), read("test")) == (TRAIN, TEST)
    assert parts.s3.requests == ()
    assert hf_localize.list_local_datasets() == [{"dataset_id": NAME, "config_name": None, "revision": None}]


def test_a_store_that_cannot_be_written_does_not_stop_the_stream(
    parts: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a-file").touch()
    parts.set(HGLOC_DATASETS_STORE_PATH=str(tmp_path / "a-file" / "store"))
    assert (read("train"), read("test")) == (TRAIN, TEST)
    warnings = [r.getMessage() for r in caplog.records if "HGLOC_STREAM_CACHE" in r.getMessage()]
    assert len(warnings) == 1
    assert "can't be written" in warnings[0]
