"""`reshard()` divides the stream of an entry, as stock divides a stream of parquet files by their row groups."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, make_repository

pytestmark = pytest.mark.skipif(
    not hasattr(datasets.IterableDataset, "reshard"), reason="datasets has reshard() since 4.7"
)
NAME = "made/groups"
ROWS = list(range(20_000))
KINDS = ("local", "s3", "public")


def parquet(rows: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": rows}), sink, row_group_size=2_500)
    return sink.getvalue()


@pytest.fixture
def stock(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> datasets.IterableDataset:
    """Return stock's stream of two files of four row groups, which each source has too."""
    files = {f"data/train-{n}.parquet": parquet(ROWS[n * 10_000 :][:10_000]) for n in range(2)}
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", files))
    stream = datasets.load_dataset(NAME, split="train", streaming=True)
    desk.publisher().open_public_places()
    hf_localize.download_dataset(NAME, make_public=True)
    return stream


def streamed(source: str, desk: Desk) -> datasets.IterableDataset:
    if source != "local":
        desk.teammate().set(HGLOC_SOURCES=source)
    with hf_localize.installed():
        return datasets.load_dataset(NAME, split="train", streaming=True)


@pytest.mark.parametrize("source", KINDS)
def test_a_stream_is_divided_at_least_as_finely_as_by_stock(
    source: str, stock: datasets.IterableDataset, desk: Desk
) -> None:
    ours = streamed(source, desk)
    assert ours.num_shards == stock.num_shards == 2
    divided, by_stock = ours.reshard(), stock.reshard()
    assert by_stock.num_shards == (
        8 if datasets.__version__ >= "5" else 2
    )  # Before, it divides no row groups.
    assert divided.num_shards >= by_stock.num_shards
    assert [row["n"] for row in divided] == [row["n"] for row in by_stock] == ROWS
    assert divided.reshard().num_shards == divided.num_shards


@pytest.mark.sampled(0)
def test_the_parts_together_have_each_row_once(stock: datasets.IterableDataset, desk: Desk) -> None:
    divided = streamed("s3", desk).reshard()
    parts = [divided.shard(8, index) for index in range(8)]
    assert [row["n"] for part in parts for row in part] == ROWS
    shuffled = [row["n"] for row in divided.shuffle(seed=1, buffer_size=1)]
    assert shuffled != ROWS
    assert sorted(shuffled) == ROWS


@pytest.mark.parametrize("seen", [1, 999, 1_000, 1_001, 10_500, 19_999])
def test_a_divided_stream_goes_on_where_it_was(
    seen: int, stock: datasets.IterableDataset, desk: Desk
) -> None:
    divided = streamed("local", desk).reshard()
    rows = iter(divided)
    before = [next(rows)["n"] for _ in range(seen)]
    again = streamed("local", desk).reshard()
    again.load_state_dict(divided.state_dict())
    assert before + [row["n"] for row in again] == ROWS
