"""Loads that need a part of a dataset fetch that part; streams begin and go on where they should."""

from __future__ import annotations

import io
import itertools
import random
import threading
import time
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.distributed import split_dataset_by_node

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Rule, WrongBytes

NAME = "made/parts"
ROWS = 6_000


def parquet(first: int, rows: int = ROWS) -> bytes:
    letters = random.Random(first)
    table = pa.table(
        {
            "n": pa.array(range(first, first + rows)),
            "text": pa.array([letters.randbytes(120).hex() for _ in range(rows)]),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1_000)
    return sink.getvalue()


@pytest.fixture
def parts(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a teammate's desk: the bucket has a dataset of four train shards and a test shard."""
    files = {f"data/train-{i:05d}-of-00004.parquet": parquet(i * ROWS) for i in range(4)}
    files["data/test-00000-of-00001.parquet"] = parquet(100_000, 1_000)
    hub.add(make_repository(desk.folder / "repositories", NAME, "main", files))
    desk.publisher()
    hf_localize.download_dataset(NAME)
    hub.stop()
    desk.teammate()
    desk.s3.clear()
    return desk


def fetched(desk: Desk) -> dict[str, int]:
    """Return {shard: bytes of it that the server sent}."""
    sizes: dict[str, int] = {}
    for request in desk.s3.requests:
        if request.path.endswith(".arrow"):
            name = request.path.split("default_revision/")[-1]
            sizes[name] = sizes.get(name, 0) + request.response_bytes
    desk.s3.clear()
    return sizes


def numbers(desk: Desk, split: str) -> list[int]:
    with hf_localize.installed():
        return list(datasets.load_dataset(NAME, split=split)["n"])


def test_a_load_of_one_split_fetches_that_split_only(parts: Desk) -> None:
    assert numbers(parts, "test") == list(range(100_000, 101_000))
    requests = len(parts.s3.requests)
    everything = sum(request.response_bytes for request in parts.s3.requests)
    sizes = fetched(parts)
    assert set(sizes) == {"test/data-00000-of-00001.arrow"}
    assert everything <= sizes["test/data-00000-of-00001.arrow"] + 64 * 1024
    assert requests == 2, "one for the index, one for the shard"
    assert numbers(parts, "test[:10]") == list(range(100_000, 100_010))
    assert parts.s3.requests == (), "the second load asked somebody"


def test_a_slice_fetches_only_the_shards_that_hold_its_rows(parts: Desk) -> None:
    assert numbers(parts, "train[:1%]") == list(range(240))
    assert set(fetched(parts)) == {"train/data-00000-of-00004.arrow"}
    assert numbers(parts, f"train[{ROWS - 1}:{ROWS + 1}]") == [ROWS - 1, ROWS]
    assert set(fetched(parts)) == {"train/data-00001-of-00004.arrow"}, "what was here was fetched again"
    assert numbers(parts, "test+train[-1:]") == [*range(100_000, 101_000), 4 * ROWS - 1]
    assert set(fetched(parts)) == {"test/data-00000-of-00001.arrow", "train/data-00003-of-00004.arrow"}


def test_a_load_of_all_splits_as_one_fetches_all_of_them(parts: Desk) -> None:
    train, test = range(4 * ROWS), range(100_000, 101_000)
    with hf_localize.installed():
        rows = datasets.load_dataset(NAME, split=["test[:2]", datasets.Split.ALL])
    assert list(rows[0]["n"]) == [*test[:2]]
    assert sorted(rows[1]["n"]) == [*train, *test]
    parts.teammate()
    assert sorted(numbers(parts, "all")) == [*train, *test]
    assert len(fetched(parts)) == 5


def test_a_split_without_rows_is_streamed_though_only_another_one_is_stored(desk: Desk) -> None:
    rows = {"train": [1, 2], "test": [], "other": [3]}
    features = datasets.Features({"n": datasets.Value("int64")})
    made = {name: datasets.Dataset.from_dict({"n": n}, features=features) for name, n in rows.items()}
    desk.publisher()
    hf_localize.register_dataset(datasets.DatasetDict(made), "made/gaps")
    desk.teammate()
    with hf_localize.installed():
        assert list(datasets.load_dataset("made/gaps", split="train")["n"]) == [1, 2]
        assert list(datasets.load_dataset("made/gaps", split="test", streaming=True)) == []


def test_what_is_missing_is_all_that_is_fetched_and_makes_the_entry_whole(parts: Desk) -> None:
    numbers(parts, "test")
    assert not (parts.store / "made_parts").exists(), "a folder that others see is a whole entry"
    parts.s3.clear()
    with hf_localize.installed():
        whole = datasets.load_dataset(NAME)
    assert {name: len(split) for name, split in whole.items()} == {"train": 4 * ROWS, "test": 1_000}
    assert "test/data-00000-of-00001.arrow" not in fetched(parts)
    assert len(datasets.load_from_disk(str(parts.store / "made_parts/default_config/default_revision"))) == 2
    assert not list((parts.store / ".hgloc" / "partial").rglob("*.arrow"))
    assert numbers(parts, "train[:2]") == [0, 1]
    assert parts.s3.requests == ()


def test_the_last_missing_shards_make_the_entry_whole(parts: Desk) -> None:
    numbers(parts, "test")
    numbers(parts, "train")
    assert hf_localize.list_local_datasets() == [{"dataset_id": NAME, "config_name": None, "revision": None}]


def test_a_partial_entry_is_never_taken_for_the_whole(parts: Desk) -> None:
    numbers(parts, "test")
    parts.set(HGLOC_SOURCES="local")
    assert hf_localize.list_local_datasets() == []
    listed = run_cli("list-local")
    assert listed.stdout == ""
    assert f"{NAME} is stored only in part: test (1 of 1 shards); nothing of train." in listed.stderr
    assert f"To download the rest: hg-localize download {NAME}" in listed.stderr
    assert numbers(parts, "test[:1]") == [100_000]
    with pytest.raises(FileNotFoundError, match=r"only a part of it .* test \(1 of 1 shards\)"):
        numbers(parts, "train")
    with pytest.raises(FileNotFoundError, match="only a part of it"):
        hf_localize.load_local_dataset(NAME)
    store = str(parts.store)
    parts.publisher().set(HGLOC_DATASETS_STORE_PATH=store)
    with pytest.raises(errors.DatasetNotFoundError, match="only a part of it") as caught:
        hf_localize.sync_local_dataset_to_s3(NAME)
    assert "test (1 of 1 shards); nothing of train" in str(caught.value)
    assert (
        f"To download the rest, run this where the bucket or the Hub is reachable: hg-localize download {NAME}"
        in str(caught.value)
    )
    parts.set(HGLOC_SOURCES="local,s3")
    hf_localize.download_dataset(NAME)
    assert "has it already" in hf_localize.sync_local_dataset_to_s3(NAME).message_or_path
    assert "only a part" not in run_cli("list-local").stderr


def test_a_split_that_there_is_not_is_stocks_error_and_fetches_nothing(parts: Desk) -> None:
    with pytest.raises(ValueError, match='Unknown split "validation"'):
        numbers(parts, "validation")
    assert fetched(parts) == {}


def test_a_builder_fetches_no_data(parts: Desk) -> None:
    with hf_localize.installed():
        builder = datasets.load_dataset_builder(NAME)
        assert builder.info.splits["train"].num_examples == 4 * ROWS
        assert len(parts.s3.requests) == 1
        parts.s3.clear()
        assert datasets.get_dataset_split_names(NAME) == ["train", "test"]
        assert len(parts.s3.requests) <= 2
        parts.s3.clear()
        assert datasets.get_dataset_config_names(NAME) == ["default"]
        assert len(parts.s3.requests) <= 2


@pytest.fixture
def shared(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return an outsider's desk: the same dataset is shared as a public ZIP."""
    files = {f"data/train-{i:05d}-of-00004.parquet": parquet(i * ROWS) for i in range(4)}
    files["data/test-00000-of-00001.parquet"] = parquet(100_000, 1_000)
    hub.add(make_repository(desk.folder / "repositories", NAME, "main", files))
    desk.publisher().open_public_places()
    hf_localize.download_dataset(NAME, make_public=True)
    hub.stop()
    desk.outsider()
    desk.s3.clear()
    return desk


def test_a_load_of_one_split_from_a_public_zip_fetches_that_split_only(shared: Desk) -> None:
    assert numbers(shared, "test") == list(range(100_000, 101_000))
    assert sum(r.response_bytes for r in shared.s3.requests) <= _size_of(shared, "test") + 64 * 1024
    shared.s3.clear()
    assert numbers(shared, "test") == list(range(100_000, 101_000))
    assert shared.s3.requests == ()
    assert numbers(shared, f"train[{2 * ROWS}:]")[-1] == 4 * ROWS - 1
    whole = datasets.concatenate_datasets(list(datasets.load_from_disk(_complete(shared)).values()))
    assert len(whole) == 4 * ROWS + 1_000


def _size_of(desk: Desk, split: str) -> int:
    return sum(path.stat().st_size for path in (desk.store / ".hgloc/partial").rglob(f"{split}/*.arrow"))


def _complete(desk: Desk) -> str:
    numbers(desk, "train")
    return str(desk.store / "made_parts/default_config/default_revision")


def test_a_stream_from_a_public_zip_begins_soon_and_is_checked(shared: Desk) -> None:
    with hf_localize.installed():
        assert next(iter(stream()))["n"] == 0
        assert len(shared.s3.requests) <= 4
        assert sum(r.response_bytes for r in shared.s3.requests) <= 1_000_000
        assert [row["n"] for row in stream()] == list(range(4 * ROWS))
        shared.s3.fail(Rule("GET", r"\.zip$", WrongBytes(), header="range"))
        with pytest.raises(errors.HfLocalizeError):
            list(stream())


def stream(split: str = "train") -> datasets.IterableDataset:
    return datasets.load_dataset(NAME, split=split, streaming=True)


def test_the_first_row_of_a_stream_costs_little(parts: Desk) -> None:
    with hf_localize.installed():
        assert next(iter(stream()))["n"] == 0
    assert len(parts.s3.requests) <= 4
    assert sum(request.response_bytes for request in parts.s3.requests) <= 1_000_000
    assert not list(parts.store.rglob("*.arrow")) if parts.store.exists() else True


@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_the_first_row_of_a_larger_dataset_costs_no_more(desk: Desk, who: str) -> None:
    letters = random.Random(1)
    text = [letters.randbytes(250).hex() for _ in range(1_000)] * 20
    desk.publisher().open_public_places()
    made = datasets.Dataset.from_dict({"n": range(20_000), "text": text})
    hf_localize.register_dataset(made, NAME)
    hf_localize.sync_local_dataset_to_s3(NAME, make_public=True)
    desk.teammate() if who == "teammate" else desk.outsider()
    desk.s3.clear()
    with hf_localize.installed():
        rows = iter(stream())
        assert next(rows)["n"] == 0
        for thread in threading.enumerate():  # What is fetched ahead counts too.
            if thread.name == "hf_localize-ahead":
                thread.join()
        assert len(desk.s3.requests) <= 4
        assert sum(request.response_bytes for request in desk.s3.requests) <= 1_000_000
        assert len(list(rows)) == 19_999


def shards_asked_for(desk: Desk, count: int) -> list[str]:
    """Wait until *count* shards were asked for, and return their names, sorted."""
    until = time.monotonic() + 20
    names: set[str] = set()
    while len(names) < count and time.monotonic() < until:
        time.sleep(0.02)
        asked = (request.path.rpartition("/")[2] for request in desk.s3.requests)
        names = {name for name in asked if name.endswith(".arrow")}
    return sorted(names)


def test_who_reads_small_shards_on_has_the_next_ones_under_way(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    made = datasets.Dataset.from_dict({"n": range(200)})
    made.save_to_disk(tmp_path / "saved", num_shards=20)
    hf_localize.register_dataset(tmp_path / "saved", NAME)
    hf_localize.sync_local_dataset_to_s3(NAME)
    desk.teammate()
    desk.s3.clear()
    with hf_localize.installed():
        rows = (row["n"] for row in stream())
        seen = list(itertools.islice(rows, 10))
        assert len(shards_asked_for(desk, 1)) == 1, "who wants the first rows only has no others fetched"
        seen.append(next(rows))
        assert shards_asked_for(desk, 10) == [f"data-{n:05d}-of-00020.arrow" for n in range(10)]
        seen += rows
    assert seen == list(range(200))
    assert len(fetched(desk)) == 20


def test_the_next_shard_begins_before_the_one_that_is_read_has_ended(parts: Desk) -> None:
    with hf_localize.installed():
        tables = stream().with_format("arrow").iter(batch_size=1_000)
        for _ in range(4):  # Of six.
            next(tables)
        assert "data-00001-of-00004.arrow" in shards_asked_for(parts, 2)


@pytest.mark.parametrize("is_kept", ["", "1"])
def test_a_stream_asks_for_each_byte_of_each_shard_once(
    parts: Desk, monkeypatch: pytest.MonkeyPatch, is_kept: str
) -> None:
    monkeypatch.setenv("HGLOC_STREAM_CACHE", is_kept)
    listed = parts.client().list_objects_v2(Bucket=parts.bucket)["Contents"]
    sizes = {k["Key"].split("default_revision/")[-1]: k["Size"] for k in listed if "/train/" in k["Key"]}
    parts.s3.clear()
    with hf_localize.installed():
        assert sum(1 for _ in stream().shuffle(seed=2, buffer_size=10)) == 4 * ROWS
        assert fetched(parts) == {path: size for path, size in sizes.items() if path.endswith(".arrow")}
        assert sum(1 for _ in stream()) == 4 * ROWS
    assert len(fetched(parts)) == (0 if is_kept else 4)


def test_a_stream_resumes_in_the_middle_of_a_shard(parts: Desk) -> None:
    with hf_localize.installed():
        first = stream()
        rows = iter(first)
        seen = [next(rows)["n"] for _ in range(2 * ROWS + 4_500)]
        state = first.state_dict()
        fetched(parts)
        second = stream()
        second.load_state_dict(state)
        assert seen + [row["n"] for row in second] == list(range(4 * ROWS))
    sizes = fetched(parts)
    assert set(sizes) == {f"train/data-0000{n}-of-00004.arrow" for n in (2, 3)}
    whole = sizes["train/data-00003-of-00004.arrow"]
    # The rest of the third shard is a quarter of it; a batch of 1,000 rows is a sixth.
    assert sizes["train/data-00002-of-00004.arrow"] <= whole * (1 / 4 + 1 / 6)


def test_each_shard_is_read_by_one_node(parts: Desk) -> None:
    with hf_localize.installed():
        found = []
        read: list[set[str]] = []
        for rank in range(4):
            found += [row["n"] for row in split_dataset_by_node(stream(), rank, 4)]
            read.append(set(fetched(parts)))
    assert sorted(found) == list(range(4 * ROWS))
    assert [len(names) for names in read] == [1, 1, 1, 1]
    assert len(set.union(*read)) == 4
