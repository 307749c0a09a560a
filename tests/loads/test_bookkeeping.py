"""What is only for our records never ends a call that stock answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import datasets
import pytest

import hf_localize
from hf_localize.hf.source_rows import count_source_rows
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, make_repository

ID = "made/rows"


@pytest.fixture
def person(hub: LoopbackHub, desk: Desk) -> Desk:
    hub.add(make_repository(desk.folder / "repositories", ID, "main", {"train.csv": b"n\n1\n2\n"}))
    desk.outsider().set(HGLOC_SOURCES="local,hub", HGLOC_RECORD=str(desk.folder / "record.jsonl"))
    return desk


class Foreign:
    """What another library may put in the place of a builder: it has nothing but what it was given."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


class Slotted:
    """A builder that takes no further attributes."""

    __slots__ = ("kwargs",)

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


@pytest.mark.parametrize("arguments", [{"base_path": "theirs"}, {}], ids=["own arguments", "plain"])
@pytest.mark.parametrize("made", [Foreign, Slotted])
@pytest.mark.parametrize("the_hub", ["is up", "is down", "is switched off"])
def test_a_builder_of_any_class_is_returned_as_stock_returns_it(
    the_hub: str, made: type[Any], arguments: dict[str, str], person: Desk, hub: LoopbackHub
) -> None:
    if the_hub == "is switched off":
        person.set(HF_HUB_OFFLINE="1")
    if the_hub == "is down":
        hub.stop()
    with hf_localize.installed(), patch.object(datasets.load, "dataset_module_factory") as module:
        module.return_value = SimpleNamespace(
            builder_kwargs={},
            builder_configs_parameters=SimpleNamespace(builder_configs=[], default_config_name=None),
            dataset_infos={},
            hash=None,
        )
        made._use_legacy_cache_dir_if_possible = lambda *_: None
        with patch.object(datasets.load, "get_dataset_builder_class", return_value=made):
            builder = datasets.load_dataset_builder(ID, **arguments)
    assert type(builder) is made
    assert builder.kwargs.get("base_path") == arguments.get("base_path")


def test_an_error_that_stock_raises_without_the_hub_is_raised(hub: LoopbackHub, person: Desk) -> None:
    class OwnError(Exception):
        pass

    def load() -> tuple[bool, int]:
        """Tell whether what stock meets in its cache is raised, and how often that is looked at."""
        with patch("huggingface_hub.file_download._get_metadata_or_catch_error") as ask:
            ask.side_effect = OwnError
            with pytest.raises(Exception) as caught:  # noqa: PT011  # Releases before 3 raise what they met before it.
                datasets.load_dataset("made/else", token="own")
        return caught.type is OwnError, ask.call_count

    hub.stop()
    by_stock = load()
    with hf_localize.installed():
        assert load() == by_stock
    assert by_stock == ((True, 1) if datasets.__version__ >= "3" else (False, 0))


@pytest.mark.parametrize("place", ["/dev/full", "a/file/record", "\0", "folder\udcff"])
def test_a_record_that_can_not_be_written_ends_no_load(place: str, person: Desk) -> None:
    (person.folder / "a").write_text("")
    path = place if place.startswith("/") else str(person.folder / place)
    with hf_localize.installed(record=path):
        for _ in range(2):  # From the Hub, then from the store.
            assert datasets.load_dataset(ID, split="train")["n"] == [1, 2]


def test_what_can_not_be_kept_was_loaded_all_the_same(person: Desk, caplog: pytest.LogCaptureFixture) -> None:
    (person.folder / "store").write_text("a file")
    person.set(HGLOC_DATASETS_STORE_PATH=str(person.folder / "store"))
    with caplog.at_level(logging.WARNING), hf_localize.installed():
        assert datasets.load_dataset(ID, split="train")["n"][:] == [1, 2]
    assert "could not be kept" in caplog.text


class _OddKey:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Keyed(datasets.GeneratorBasedBuilder):  # type: ignore[misc]  # datasets has no types.
    """A builder of somebody's own, whose keys are *keys*."""

    keys: tuple[Any, ...] = ()

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=datasets.Features({"n": datasets.Value("int64")}))

    def _split_generators(self, _: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator("train", gen_kwargs={"files": ["a", "b"]})]

    def _generate_examples(self, files: list[str]) -> Iterator[Any]:
        yield from ((key, {"n": n}) for n, key in enumerate(self.keys) if files)


def _prepared(keys: tuple[Any, ...], cache: str, *, counted: bool) -> Any:
    builder = Keyed(cache_dir=cache)
    builder.keys = keys
    builder._generate_examples = own = builder._generate_examples  # On the instance, as tools put it there.
    if counted:
        count_source_rows(builder)
    try:
        builder.download_and_prepare(verification_mode="no_checks")
    except Exception as exc:  # Releases differ in what they take.
        return type(exc)
    assert builder._generate_examples is own
    return builder.as_dataset(split="train")["n"][:]


@pytest.mark.parametrize(
    "keys",
    [(0, 1, 2), ((), (), ()), (_OddKey(), _OddKey(), 1), ("é", "9" * 30, -1)],
    ids=["numbers", "tuples", "no text", "other text"],
)
def test_rows_are_prepared_whatever_the_keys_are(keys: tuple[Any, ...], person: Desk) -> None:
    stock = _prepared(keys, str(person.folder / "stock"), counted=False)
    assert _prepared(keys, str(person.folder / "counted"), counted=True) == stock
