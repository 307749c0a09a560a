"""Folders that a person saved with ``save_to_disk`` and put into a store: what `load_from_disk` gives of them."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize.errors import DatasetCorruptError, IntegrityError
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, DatasetRef
from tests.conftest import Desk

NAME = "team/saved"
REF = DatasetRef(NAME)


def labelled(*names: str, label: int = 0) -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=[*names])}
    )
    return datasets.Dataset.from_dict({"text": ["a"], "label": [label]}, features=features)


def typed(**columns: object) -> datasets.Dataset:
    features = datasets.Features(columns)
    return datasets.Dataset.from_dict({name: [None] for name in columns}, features=features)


#: Splits that `load_from_disk` opens, each with features of its own.
DIFFERENT = {
    "labels": (labelled("neg", "pos"), labelled("pos", "neg")),
    "more labels": (labelled("neg", "pos"), labelled("neg", "pos", "other")),
    "nested labels": (
        typed(s={"l": datasets.ClassLabel(names=["a", "b"])}),
        typed(s={"l": datasets.ClassLabel(names=["b", "a"])}),
    ),
    "types": (typed(n=datasets.Value("int32")), typed(n=datasets.Value("int64"))),
    "columns": (typed(n=datasets.Value("int32")), typed(m=datasets.Value("int32"))),
    "lengths": (
        typed(n=datasets.Sequence(datasets.Value("int32"), length=2)),
        typed(n=datasets.Sequence(datasets.Value("int32"))),
    ),
}


def put_by_hand(desk: Desk, data: datasets.Dataset | datasets.DatasetDict) -> Path:
    """Save *data* into the store of who sits at the desk; of a publisher, where nobody does."""
    if desk.store == desk.folder:
        desk.publisher()
    place = desk.store / REF.folders[0]
    place.parent.mkdir(parents=True)
    data.save_to_disk(str(place))
    return place


@pytest.mark.parametrize("case", DIFFERENT)
@pytest.mark.parametrize("streaming", [False, True])
def test_splits_with_different_features_are_refused_by_name(case: str, streaming: bool, desk: Desk) -> None:
    train, test = DIFFERENT[case]
    saved = put_by_hand(desk, datasets.DatasetDict(train=train, test=test))
    own = datasets.load_from_disk(str(saved))
    assert own["train"].features != own["test"].features
    with hf_localize.installed(sources=("local",)), pytest.raises(DatasetCorruptError) as raised:
        datasets.load_dataset(NAME, streaming=streaming)
    assert str(saved) in str(raised.value)
    assert "split 'test' has other features than 'train': column" in str(raised.value)
    assert hf_localize.list_local_datasets() == []
    (found,) = hf_localize.verify_dataset()
    assert "has other features" in found["damaged"][0]


def test_splits_with_different_features_are_not_published(desk: Desk) -> None:
    desk.publisher()
    saved = put_by_hand(desk, datasets.DatasetDict(train=labelled("neg", "pos"), test=labelled("pos", "neg")))
    with pytest.raises(IntegrityError, match="has other features"):
        hf_localize.sync_local_dataset_to_s3(NAME, make_public=True)
    for data in (saved, datasets.load_from_disk(str(saved))):
        with pytest.raises(ValueError, match="has other features"):
            hf_localize.register_dataset(data, NAME)
    assert desk.bucket_keys() == []
    assert datasets.load_from_disk(str(saved))["train"].features["label"].names == ["neg", "pos"]

    # As the error advises.
    for split in ("train", "test"):
        hf_localize.register_dataset(saved / split, NAME, split)
    desk.teammate()
    with hf_localize.installed(sources=("s3",)):
        for split, names in (("train", ["neg", "pos"]), ("test", ["pos", "neg"])):
            loaded = datasets.load_dataset(NAME, split)
            assert [s.features["label"].names for s in loaded.values()] == [names]


@pytest.mark.parametrize("place", ["s3", "public"])
@pytest.mark.parametrize("streaming", [False, True])
def test_those_of_the_original_tool_are_refused_from_bucket_and_public_zip(
    place: str, streaming: bool, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher()
    desk.open_public_places()
    data = datasets.DatasetDict(train=labelled("neg", "pos"), test=labelled("pos", "neg"))
    data.save_to_disk(str(tmp_path / "saved"))
    put_as_the_original_tool(desk, tmp_path / "saved", place)
    with (
        hf_localize.installed(sources=(place,)),
        pytest.raises(DatasetCorruptError, match="has other features"),
    ):
        datasets.load_dataset(NAME, streaming=streaming)


def put_as_the_original_tool(desk: Desk, saved: Path, place: str) -> None:
    client = desk.client()
    paths = {path.relative_to(saved).as_posix(): path for path in saved.rglob("*") if path.is_file()}
    if place == "s3":
        for name, path in paths.items():
            client.put_object(Bucket=desk.bucket, Key=f"{REF.folders[0]}/{name}", Body=path.read_bytes())
        return
    with zipfile.ZipFile(saved.parent / "all.zip", "w") as packed:
        for name, path in paths.items():
            packed.write(path, name)
    record = {"dataset_id": NAME, "config_name": None, "revision": None, "s3_zip_key": REF.zip_key}
    records = json.dumps({REF.record_key: {**record, "s3_bucket": desk.bucket}}).encode()
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    body = (saved.parent / "all.zip").read_bytes()
    client.put_object(Bucket=desk.bucket, Key=REF.zip_key, Body=body, **acl)
    client.put_object(Bucket=desk.bucket, Key=PUBLIC_RECORDS_KEY, Body=records, **acl)


def test_splits_whose_features_are_only_spelled_or_ordered_otherwise_are_loaded(desk: Desk) -> None:
    """Another release of `datasets` wrote one of them, or its columns stand in another order."""
    train = datasets.Dataset.from_dict({"n": [[1]], "s": [{"a": 1, "b": 2}], "l": [[{"a": 1}]]})
    test = datasets.Dataset.from_dict({"l": [[{"a": 3}]], "s": [{"b": 4, "a": 3}], "n": [[3]]})
    saved = put_by_hand(desk, datasets.DatasetDict(train=train, test=test))
    info = json.loads((saved / "test/dataset_info.json").read_text())
    older = {
        "feature": {"dtype": "int64", "id": None, "_type": "Value"},
        "length": -1,
        "id": None,
        "_type": "Sequence",
    }
    info["features"]["n"] = older
    (saved / "test/dataset_info.json").write_text(json.dumps(info))
    with hf_localize.installed(sources=("local",)):
        loaded, streamed = datasets.load_dataset(NAME), datasets.load_dataset(NAME, streaming=True)
    for split, own in datasets.load_from_disk(str(saved)).items():
        assert loaded[split].column_names == own.column_names
        assert list(loaded[split]) == list(streamed[split]) == list(own)


def test_the_labels_are_those_of_the_info_file_whatever_the_arrow_file_says(desk: Desk) -> None:
    """As `load_from_disk` has it; somebody may have mended the file by hand."""
    saved = put_by_hand(desk, datasets.DatasetDict(train=labelled("neg", "pos")))
    path = saved / "train/dataset_info.json"
    path.write_text(path.read_text().replace('"neg"', '"negative"'))
    own = datasets.load_from_disk(str(saved))["train"]
    with hf_localize.installed(sources=("local",)):
        for loaded in (
            datasets.load_dataset(NAME, split="train"),
            datasets.load_dataset(NAME, split="train", streaming=True),
        ):
            assert loaded.features == own.features
            assert loaded.features["label"].names == ["negative", "pos"]


def test_columns_that_the_info_file_does_not_have_are_refused_by_name(desk: Desk) -> None:
    desk.publisher()
    saved = put_by_hand(desk, datasets.DatasetDict(train=labelled("neg", "pos")))
    path = saved / "train/dataset_info.json"
    path.write_text(path.read_text().replace('"text"', '"words"'))
    with pytest.raises(ValueError, match="Keys mismatch"):
        datasets.load_from_disk(str(saved))
    with pytest.raises(IntegrityError, match="has other columns than dataset_info"):
        hf_localize.sync_local_dataset_to_s3(NAME)
    assert desk.bucket_keys() == []


@pytest.mark.parametrize(
    ("said", "split"),
    [
        ("train[:10%]", "train"),
        ("test[5:]+test[:2]", "test"),
        ("train+test", "train"),
        ("all", "all_"),
        (None, "train"),
    ],
)
def test_a_lone_dataset_is_the_split_that_it_was_read_from(said: str | None, split: str, desk: Desk) -> None:
    desk.publisher()
    rows = datasets.Dataset.from_dict({"n": [1, 2]}, split=said)
    put_by_hand(desk, rows)
    hf_localize.register_dataset(rows, "team/registered", skip_s3_upload=True)
    with hf_localize.installed(sources=("local",)):
        for name in (NAME, "team/registered"):
            for streaming in (False, True):
                loaded = datasets.load_dataset(name, streaming=streaming)
                assert {key: [row["n"] for row in rows] for key, rows in loaded.items()} == {split: [1, 2]}
            assert datasets.load_dataset(name, split=split)[:]["n"] == [1, 2]


KEYS = {
    "train-clean": "train_clean",
    "test other": "test_other",
    "dev.100": "dev.100",
    ".odd..": "odd",
    "prüf": "prüf",
    "all": "all_",
    "few[:10%]": "few",
}


@pytest.mark.parametrize("way", ["by hand", "from the folder", "from memory"])
def test_any_key_of_a_dataset_dict_is_loaded_by_a_name_that_a_load_can_ask_for(
    way: str, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.publisher()
    data = datasets.DatasetDict({key: datasets.Dataset.from_dict({"n": [n]}) for n, key in enumerate(KEYS)})
    with caplog.at_level(logging.WARNING):
        if way == "by hand":
            put_by_hand(desk, data)
        else:
            data.save_to_disk(str(desk.folder / "saved"))
            where = data if way == "from memory" else desk.folder / "saved"
            hf_localize.register_dataset(where, NAME, skip_s3_upload=True)
        with hf_localize.installed(sources=("local",)):
            loaded = datasets.load_dataset(NAME)
            streamed = datasets.load_dataset(NAME, streaming=True)
            assert datasets.load_dataset(NAME, split="train_clean")[:]["n"] == [0]
    expected = {name: [n] for n, name in enumerate(KEYS.values())}
    assert {name: split[:]["n"] for name, split in loaded.items()} == expected
    assert {name: [row["n"] for row in split] for name, split in streamed.items()} == expected
    assert caplog.text.count("split 'train-clean' is loaded as 'train_clean'") == 1


@pytest.mark.parametrize(
    "keys", [("train-clean", "train_clean"), ("Train", "train"), ("a[:1]", "a[1:]"), ("-", "_"), ("..",)]
)
def test_keys_that_a_load_can_not_tell_apart_are_refused_by_name(keys: tuple[str, ...], desk: Desk) -> None:
    desk.publisher()
    data = datasets.DatasetDict({key: datasets.Dataset.from_dict({"n": [1]}) for key in keys})
    with pytest.raises(ValueError, match="can't be told apart") as raised:
        hf_localize.register_dataset(data, NAME)
    assert all(repr(key) in str(raised.value) for key in keys)
    assert desk.bucket_keys() == []


def test_a_folder_that_is_one_dataset_and_several_is_taken_as_load_from_disk_takes_it(desk: Desk) -> None:
    """Somebody saved twice into the same folder."""
    saved = put_by_hand(desk, datasets.DatasetDict(train=labelled("neg", "pos")))
    datasets.Dataset.from_dict({"n": [1]}).save_to_disk(str(saved))
    own = datasets.load_from_disk(str(saved))
    assert own.column_names == ["n"]
    with hf_localize.installed(sources=("local",)):
        assert list(datasets.load_dataset(NAME, split="train")) == list(own)
