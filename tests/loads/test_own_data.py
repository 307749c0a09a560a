"""Own data, registered or put into the store by hand: asked about and streamed as stock does with such data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize.errors import StoreError, UnusableDataError
from hf_localize.format.refs import DatasetRef
from tests.conftest import Desk
from tests.loads.fidelity.repositories import card, config, parquet, png
from tests.loads.fidelity.snapshots import shards

NAME = "team/own"
Put = Callable[[Desk, Path, "str | None", "str | None"], None]


def rows(number: int = 1) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"n": [number]})


def registered(desk: Desk, _: Path, name: str | None, revision: str | None) -> None:
    hf_localize.register_dataset(rows(), NAME, name, revision, make_public=True)


def saved_by_hand(desk: Desk, _: Path, name: str | None, revision: str | None) -> None:
    datasets.DatasetDict(train=rows()).save_to_disk(
        str(desk.store / DatasetRef(NAME, name, revision).folders[0])
    )


def files_by_hand(desk: Desk, _: Path, name: str | None, revision: str | None) -> None:
    folder = desk.store / DatasetRef(NAME, name, revision).folders[0]
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("n\n1\n")


def ask(default: str | None, *names: str, revision: str | None = None) -> None:
    """Ask everything that `datasets` has to ask about a dataset, and load each config."""
    assert datasets.get_dataset_config_names(NAME, revision=revision) == [*names]
    assert datasets.get_dataset_default_config_name(NAME, revision=revision) == default
    assert set(datasets.get_dataset_infos(NAME, revision=revision)) == {*names}
    for name in (*names, *([None] if default else [])):
        assert datasets.get_dataset_split_names(NAME, name, revision=revision) == ["train"]
        assert datasets.load_dataset_builder(NAME, name, revision=revision).config.name == (name or default)
        for streaming in (False, True):
            loaded = datasets.load_dataset(NAME, name, revision=revision, split="train", streaming=streaming)
            assert [row["n"] for row in loaded] == [1]


@pytest.mark.parametrize("put", [registered, saved_by_hand, files_by_hand])
@pytest.mark.parametrize("name", [None, "default"])
@pytest.mark.parametrize("revision", [None, "main"])
def test_the_default_config_and_main_are_found_by_either_name(
    put: Put, name: str | None, revision: str | None, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher().open_public_places()
    put(desk, tmp_path, name, revision)
    with hf_localize.installed(sources=("local",)):
        for asked in (None, "main"):
            ask("default", "default", revision=asked)
        with pytest.raises(FileNotFoundError):
            datasets.load_dataset(NAME, "other")
        with pytest.raises(FileNotFoundError):
            datasets.load_dataset(NAME, revision="v2")


@pytest.mark.parametrize("place", ["local", "s3", "public"])
def test_each_registered_config_is_one_of_the_dataset(place: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher().open_public_places()
    registered(desk, tmp_path, "en", None)
    for names, default in ((("en",), "en"), (("en", "fr"), None), (("default", "en", "fr"), "default")):
        if default != "en":
            registered(desk, tmp_path, "fr" if default is None else None, None)
        with hf_localize.installed(sources=(place,)):
            ask(default, *names)
    registered(desk, tmp_path, "later", "v2")
    with hf_localize.installed(sources=(place,)):
        ask("later", "later", revision="v2")
        ask("default", "default", "en", "fr")


def test_configs_that_the_card_of_a_persons_folder_declares_are_loaded(desk: Desk) -> None:
    folder = desk.publisher().store / DatasetRef(NAME).folders[0]
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text("n\n1\n")
    (folder / "README.md").write_bytes(card(config("a", "a.csv", default=True), config("b", "b.csv")))
    with hf_localize.installed(sources=("local",)):
        ask("a", "a", "b")


FILES = {
    "csv": {f"{n}.csv": b"n\n1\n2\n" for n in range(8)},
    "parquet": {f"{n}.parquet": parquet(n=[n, n]) for n in range(8)},
    "jsonl": {f"{n}.jsonl": b'{"n": 1}\n' * (n + 1) for n in range(8)},
    "text": {f"{n}.txt": b"a\nb\n" for n in range(3)},
    "splits": {f"{split}-{n}.csv": b"n\n1\n2\n" for split in ("train", "test") for n in range(3)},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("how", ["registered", "registered again", "sent by hand"])
def test_each_file_of_a_folder_is_a_shard(kind: str, how: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    folder = desk.store / DatasetRef(NAME).folders[0] if how == "sent by hand" else tmp_path / "files"
    folder.mkdir(parents=True)
    for name, data in FILES[kind].items():
        (folder / name).write_bytes(data)
    stock = datasets.load_dataset(str(folder), streaming=True)
    expected = {split: (shards(stream), list(stream)) for split, stream in stock.items()}
    if how == "sent by hand":
        hf_localize.sync_local_dataset_to_s3(NAME)
    else:
        for _ in range(2 if how == "registered again" else 1):
            hf_localize.register_dataset(folder, NAME)
    for who in ("publisher", "teammate"):
        if who == "teammate":
            desk.teammate()
        with hf_localize.installed(sources=("local", "s3")):
            streams = datasets.load_dataset(NAME, streaming=True)
            assert {split: (shards(s), list(s)) for split, s in streams.items()} == expected
            loaded = datasets.load_dataset(NAME)
            assert {split: list(loaded[split]) for split in loaded} == {
                s: r for s, (_, r) in expected.items()
            }


def test_a_saved_folder_keeps_its_shards_where_its_media_are_written_anew(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    values = [{"bytes": png(n), "path": None} for n in range(8)]
    features = datasets.Features({"x": datasets.Image()})
    images = datasets.Dataset.from_dict({"x": values}, features=features)
    images.save_to_disk(str(tmp_path / "saved"), num_shards=4)
    hf_localize.register_dataset(tmp_path / "saved", NAME, skip_s3_upload=True)
    with hf_localize.installed(sources=("local",)):
        assert shards(datasets.load_dataset(NAME, split="train", streaming=True)) == 4


def test_a_folder_that_stock_can_not_prepare_is_refused_with_the_cause(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    (tmp_path / "b.csv").write_text("n\n1\n2,3\n")
    desk.publisher()
    with pytest.raises(hf_localize.errors.PreparationError, match=r"b\.csv: ParserError: .*line 3, saw 2"):
        hf_localize.register_dataset(tmp_path, NAME)
    assert hf_localize.list_local_datasets() == []


def test_a_split_without_rows_is_warned_of_and_streams(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.DatasetDict(train=rows(), test=rows().select([])), NAME)
    assert "split 'test' has no rows" in caplog.text
    with hf_localize.installed():
        assert list(datasets.load_dataset(NAME, split="test", streaming=True)) == []
        assert datasets.load_dataset(NAME, split="train").num_rows == 1


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        ("cut", UnusableDataError, "own can't be loaded: ArrowInvalid"),
        ("gone", FileNotFoundError, "data-00000-of-00001.arrow"),
        ("state", UnusableDataError, "own can't be loaded: JSONDecodeError"),
        ("no rows", UnusableDataError, "own can't be loaded: a split has no rows"),
        ("no data", FileNotFoundError, "No .*data files.* found in .*own"),
        ("no columns", UnusableDataError, "split 'train' has no columns"),
    ],
)
def test_a_folder_that_can_not_be_registered_is_named_and_the_store_is_not_blamed(
    damage: str, error: type[Exception], told: str, desk: Desk, tmp_path: Path
) -> None:
    folder: Path | datasets.Dataset = tmp_path / "own"
    assert isinstance(folder, Path)
    rows().save_to_disk(str(folder))
    if damage == "no rows":  # So stock writes it, by the release.
        (state := folder / "state.json").write_text(
            json.dumps({**json.loads(state.read_text()), "_data_files": []})
        )
    elif damage == "cut":
        os.truncate(folder / "data-00000-of-00001.arrow", 100)
    elif damage == "gone":
        (folder / "data-00000-of-00001.arrow").unlink()
    elif damage == "state":
        (folder / "state.json").write_text("{")
    elif damage == "no data":
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "sheet.xlsx").write_bytes(b"")
    elif damage == "no columns":
        folder = rows().remove_columns("n")
    desk.publisher()
    with pytest.raises(error, match=told) as caught:
        hf_localize.register_dataset(folder, NAME)
    assert not isinstance(caught.value, StoreError)
