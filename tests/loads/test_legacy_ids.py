"""Ids of one segment, as datasets had them once: found where the dataset is stored by its present id."""

from __future__ import annotations

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.refs import DatasetRef
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"


def outcome(dataset_id: str) -> tuple[type, str]:
    """Return what a load gives: the type and the first line of its error, or that of the dataset."""
    try:
        return datasets.Dataset, str(datasets.load_dataset(dataset_id, "main", split="test"))
    except Exception as exc:
        return type(exc), str(exc).splitlines()[0]


@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_a_short_id_loads_what_is_stored_by_the_present_one(who: str, hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "main", make_public=True)
    hub.stop()
    if who != "publisher":
        getattr(desk, who)()
    explained = hf_localize.explain_dataset("gsm8k", "main")
    desk.s3.clear()
    with hf_localize.installed(sources=("local", "s3", "public")):
        loaded = datasets.load_dataset("gsm8k", "main", split="test")
        assert (len(loaded), loaded.info.dataset_name) == (1319, "gsm8k")
        assert datasets.get_dataset_config_names("gsm8k") == ["main", "socratic"]
        assert len(list(datasets.load_dataset("GSM8K", "main", split="test", streaming=True).take(2))) == 2
        assert who != "publisher" or desk.s3.requests == ()
    expected = {"publisher": "local", "teammate": "s3", "outsider": "public"}[who]
    assert explained["takes"] == expected
    assert len(hf_localize.load_local_dataset("gsm8k", "main")["test"]) == 1319
    assert {item["dataset_id"] for item in hf_localize.list_local_datasets()} == {GSM8K}


def test_an_own_dataset_of_that_name_comes_first(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["theirs"]}), GSM8K)
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["mine"]}), "gsm8k")
    desk.teammate()
    assert hf_localize.load_local_dataset("gsm8k")["train"]["text"] == ["mine"]


def test_what_is_not_localized_is_stocks_to_answer(hub: LoopbackHub, desk: Desk) -> None:
    hub.redirects.update(gsm8k=GSM8K, unheard_of=GSM8K)
    desk.publisher()
    for dataset_id in ("glue", "unheard_of"):
        kind, said = outcome(dataset_id)  # Older releases load what the Hub redirects.
        with hf_localize.installed(write_back="off"):
            ours = outcome(dataset_id)
        assert issubclass(ours[0], kind)
        assert ours[1] == said
    hf_localize.download_dataset("unheard_of", "main")  # By this id it is known from now on.
    hub.stop()
    with hf_localize.installed():
        assert len(datasets.load_dataset("unheard_of", "main", split="test")) == 1319
        with pytest.raises(FileNotFoundError, match=r"as nyu-mll/glue: not in"):
            datasets.load_dataset("glue", "mrpc")


def test_a_damaged_pointer_keeps_nothing_from_being_loaded(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local")
    made = datasets.Dataset.from_dict({"n": [1, 2]})
    hf_localize.register_dataset(made, "team/own", skip_s3_upload=True)
    pointer = desk.store / DatasetRef("team/other").alias_key
    pointer.parent.mkdir(parents=True)
    pointer.write_bytes(b"")
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("team/other")
    hf_localize.register_dataset(made, "team/other", skip_s3_upload=True)
    assert hf_localize.load_local_dataset("team/other")["train"]["n"][:] == [1, 2]
