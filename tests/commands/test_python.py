"""The Python functions as a program uses them: their examples, values, keywords and types."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import json
import pickle
from pathlib import Path
from typing import get_type_hints

import datasets
import pytest

import hf_localize
from hf_localize.settings import _DERIVED, Settings
from hf_localize.settings.options import Options
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"
FUNCTIONS = [name for name in hf_localize.__all__ if inspect.isfunction(getattr(hf_localize, name))]


def test_the_examples_of_the_docstrings_hold(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher().open_public_places()
    for name in ("main", "socratic"):
        hf_localize.download_dataset(GSM8K, name)
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["a"]}), "team/corpus")
    finder, names = doctest.DocTestFinder(), {"hf_localize": hf_localize, "datasets": datasets}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    with_example = set()
    for name in sorted(FUNCTIONS, key="remove_dataset".__eq__):
        for test in finder.find(getattr(hf_localize, name), name, module=False, globs=dict(names)):
            runner.run(test, out=said.append)
            with_example |= {name} if test.examples else set()
    assert not said, "".join(said)
    assert with_example >= {*FUNCTIONS} - {"uninstall", "is_installed"}


def test_some_twenty_names_are_offered_and_all_others_can_be_imported() -> None:
    assert 18 <= len(hf_localize.__all__) <= 24
    for name in dir(hf_localize):
        assert getattr(hf_localize, name) is not None or name.startswith("_")


def test_each_returned_type_is_frozen_exported_and_has_plain_values(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    result = hf_localize.download_dataset(GSM8K, "main")
    assert (result.path, result.to_dict()["path"]) == (tuple(result)[1], result.path)
    assert hf_localize.sync_local_dataset_to_s3(GSM8K, "main").path is None
    shard = next(Path(str(result.path)).rglob("*.arrow"))
    shard.write_bytes(b"")
    returned = [
        *hf_localize.verify_dataset(GSM8K),
        *hf_localize.repair_dataset(GSM8K),
        *hf_localize.list_local_datasets(),
        *hf_localize.list_local_datasets(details=True),
        *hf_localize.list_s3_datasets(details=True),
        (explanation := hf_localize.explain_dataset(GSM8K, "main")),
        *explanation.sources,
        (description := hf_localize.describe_dataset(GSM8K, "main")),
        *description.splits,
        *description.places,
        hf_localize.preview_dataset(GSM8K, "main"),
        *hf_localize.diff_datasets(),
        *hf_localize.list_outdated(),
        *hf_localize.status_of_datasets(),
        *hf_localize.diagnose(),
        *hf_localize.download_datasets([GSM8K], ["main"]),
        *hf_localize.sync_local_datasets_to_s3(),
        *hf_localize.prune_datasets(max_bytes=0, dry_run=True),
        hf_localize.lock_datasets(GSM8K, ["main"]),
    ]
    assert len({type(value) for value in returned}) == 17
    for value in returned:
        kind = type(value)
        assert getattr(hf_localize, kind.__name__) is kind
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(kind)[0].name, None)
        plain = value.to_dict()
        assert json.loads(json.dumps(plain)) == plain
        assert pickle.loads(pickle.dumps(value)) == value


def test_what_was_a_dict_can_be_read_like_one(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["a"]}), "org/a", name="c")
    (item,) = hf_localize.list_local_datasets(details=True)
    assert (item["rows"], item.rows, item.get("no"), "place" in item) == (1, 1, None, True)
    assert hf_localize.list_local_datasets() == [
        {"dataset_id": "org/a", "config_name": "c", "revision": None}
    ]
    with pytest.raises(KeyError):
        item["ref"]


def test_a_local_load_takes_the_arguments_of_load_dataset(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    data = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"x": [1, 2, 3]}), test=datasets.Dataset.from_dict({"x": [4]})
    )
    hf_localize.register_dataset(data, "org/a")
    load = hf_localize.load_local_dataset
    assert load("org/a", split="train[1:]")["x"][:] == [2, 3]
    assert [part["x"][:] for part in load("org/a", split=["test", "train"])] == [[4], [1, 2, 3]]
    assert list(load("org/a", streaming=True)["test"]) == [{"x": 4}]
    assert list(load("org/a", split="train", streaming=True)) == [{"x": 1}, {"x": 2}, {"x": 3}]
    cache = desk.folder / "own-cache"
    (file,) = load("org/a", split="test", cache_dir=str(cache), num_proc=1).cache_files
    assert cache in Path(file["filename"]).parents
    assert load("org/a", split="test", keep_in_memory=True).cache_files == []
    with pytest.raises(TypeError):
        load("org/a", splits="test")  # type: ignore[call-overload]
    desk.teammate()
    assert load("org/a", split="test")["x"][:] == [4]
    assert hf_localize.list_local_datasets() == [], "only a part of it was fetched"


def test_the_keywords_of_install_are_the_settings() -> None:
    settings = {item.name for item in dataclasses.fields(Settings)} - _DERIVED
    assert set(get_type_hints(Options)) == settings
