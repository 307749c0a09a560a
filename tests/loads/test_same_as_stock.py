"""What the shim returns with the Hub down is what stock returns with the Hub up."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from tests.conftest import Desk
from tests.loads.fidelity.snapshots import info_snapshot, snapshot
from tests.rig.hub import LoopbackHub

GSM8K, MBPP = "openai/gsm8k", "google-research-datasets/mbpp"
LOADS: dict[str, Callable[[], Any]] = {
    "every split": lambda: datasets.load_dataset(GSM8K, "main"),
    "keywords": lambda: datasets.load_dataset(path=GSM8K, name="socratic"),
    "a split": lambda: datasets.load_dataset(GSM8K, "main", split="test"),
    "slices": lambda: datasets.load_dataset(GSM8K, "main", split="train[:10%]+test"),
    "a list of splits": lambda: datasets.load_dataset(GSM8K, "main", split=["test", "train[:5]"]),
    "streaming": lambda: datasets.load_dataset(GSM8K, "main", split="test", streaming=True),
    "streaming every split": lambda: datasets.load_dataset(MBPP, "sanitized", streaming=True),
    "revision": lambda: datasets.load_dataset(GSM8K, "main", revision="v1.0", split="test"),
    "in memory": lambda: datasets.load_dataset(GSM8K, "main", split="test", keep_in_memory=True),
    "lists as features": lambda: datasets.load_dataset(MBPP, "full"),
}
PUBLISHED = (
    (GSM8K, "main", None),
    (GSM8K, "socratic", None),
    (GSM8K, "main", "v1.0"),
    (MBPP, "full", None),
    (MBPP, "sanitized", None),
)


def as_snapshots(loaded: Any) -> Any:
    return [snapshot(part) for part in loaded] if isinstance(loaded, list) else snapshot(loaded)


@pytest.fixture
def published(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a desk whose bucket has the datasets, privately and publicly."""
    hub.tags[(GSM8K, "v1.0")] = "main"
    desk.publisher().open_public_places()
    for dataset_id, config, revision in PUBLISHED:
        hf_localize.download_dataset(dataset_id, config, revision, make_public=True)
    return desk


def test_a_load_writes_nothing_beside_the_package(desk: Desk) -> None:
    """A user may have no right to write there. `datasets` before 4.0 locks a file beside a builder's package."""
    lock = Path(hf_localize.__file__).parent.with_suffix(".lock")
    lock.unlink(missing_ok=True)
    desk.outsider()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x", skip_s3_upload=True)
    with hf_localize.installed():
        builder = pickle.loads(pickle.dumps(datasets.load_dataset_builder("org/x")))
        assert [row["a"] for row in builder.as_streaming_dataset(split="train")] == [1]
        assert datasets.load_dataset("org/x", split="train")["a"][:] == [1]
    assert not lock.exists()


@pytest.mark.parametrize("place", ["local", "private", "public"])
def test_same_type_features_order_splits_rows_and_info_as_stock(
    place: str, published: Desk, hub: LoopbackHub
) -> None:
    datasets.load_dataset(MBPP, "sanitized")  # Stock's streams know of their splits what it has prepared.
    expected = {name: as_snapshots(load()) for name, load in LOADS.items()}
    expected_builder = info_snapshot(datasets.load_dataset_builder(GSM8K, "main").info)
    hub.stop()
    {"local": lambda: None, "private": published.teammate, "public": published.outsider}[place]()
    hub.clear()
    with hf_localize.installed():
        for name, load in LOADS.items():
            assert as_snapshots(load()) == expected[name], f"{name}, {place}"
        builder = datasets.load_dataset_builder(GSM8K, "main")
    assert hub.requests == []
    assert info_snapshot(builder.info)["features"] == expected_builder["features"]


def test_a_builder_gives_info_without_data_and_then_the_dataset(published: Desk, hub: LoopbackHub) -> None:
    expected = snapshot(datasets.load_dataset(GSM8K, "main"))
    hub.stop()
    desk = published.teammate()
    desk.s3.clear()
    with hf_localize.installed():
        builder = datasets.load_dataset_builder(GSM8K, "main")
        assert list(builder.info.splits) == ["train", "test"]
        assert builder.info.version.tuple == (0, 0, 0)
        assert [r.path for r in desk.s3.requests if r.path.endswith(".arrow")] == []
        assert list(next(iter(builder.as_streaming_dataset("test")))) == ["question", "answer"]
        builder.download_and_prepare()
        assert snapshot(builder.as_dataset()) == expected
        names = datasets.get_dataset_split_names(GSM8K, "main")
    assert names == ["train", "test"]
