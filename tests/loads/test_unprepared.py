"""Datasets that stock `datasets` can't prepare: what is said, and what is kept all the same."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize.errors import DatasetCorruptError, PreparationError
from hf_localize.hf.unprepared import telling_why
from tests.conftest import Desk, run_cli, tree
from tests.loads.fidelity.repositories import parquet
from tests.rig.hub import LoopbackHub, make_repository


def card(metadata: dict[str, object]) -> bytes:
    return f"---\n{json.dumps(metadata)}\n---\n# Card\n".encode()


#: Repositories, and what the first line about each must name: the file, the place in it, what differs.
BROKEN: dict[str, tuple[dict[str, bytes], tuple[str, ...]]] = {
    "made/columns": (
        {"a.csv": b"n,m\n1,2\n", "b.csv": b"n,other\n3,4\n"},
        ("b.csv", "new columns", "'other'", "missing columns", "'m'"),
    ),
    "made/fields": ({"a.csv": b"n\n1\n", "b.csv": b"n\n1\n2\n3,4\n5\n"}, ("b.csv", "line 4", "saw 2")),
    "made/json": (
        {"a.jsonl": b'{"n": 1}\n', "b.jsonl": b'{"n": 1}\n{"n": "x\n'},
        ("b.jsonl", "JSON parse error"),
    ),
    "made/types": ({"a.jsonl": b'{"n": 1}\n' * 3, "b.jsonl": b'{"n": "word"}\n' * 3}, ("b.jsonl", "int64")),
    "made/parquet": ({"a.parquet": parquet(n=[1]), "b.parquet": b"PAR1 no parquet at all"}, ("b.parquet",)),
}
SIZES = "made/sizes"
CARD = card(
    {
        "dataset_info": {
            "features": [{"name": "n", "dtype": "int64"}],
            "splits": [{"name": "train", "num_bytes": 8, "num_examples": 5}],
            "download_size": 6,
            "dataset_size": 8,
        }
    }
)
WRONG_SIZES = {"train.csv": b"n\n1\n2\n", "README.md": CARD}


def add(hub: LoopbackHub, desk: Desk, name: str, files: dict[str, bytes]) -> None:
    hub.add(make_repository(desk.folder / "repositories", name, "main", files))


@pytest.mark.parametrize("name", BROKEN)
def test_the_cause_is_told_in_two_lines(name: str, hub: LoopbackHub, desk: Desk) -> None:
    files, expected = BROKEN[name]
    add(hub, desk, name, files)
    desk.publisher()
    with pytest.raises(PreparationError) as raised:
        hf_localize.download_dataset(name)
    cause, advice = str(raised.value).splitlines()
    assert cause.startswith(f"{name} can't be prepared: ")
    assert all(word in cause for word in expected), cause
    assert f"hg-localize download {name} --keep-files" in advice


def test_a_command_tells_the_cause_and_nothing_else(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/fields", BROKEN["made/fields"][0])
    desk.publisher()
    done = run_cli("download", "made/fields", "--no-s3-upload", "-qq")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2), done.stderr
    assert done.stderr.startswith("Error: made/fields can't be prepared: b.csv: ParserError: ")


def test_of_several_ids_each_ones_cause_is_told(hub: LoopbackHub, desk: Desk) -> None:
    for name, (files, _) in BROKEN.items():
        add(hub, desk, name, files)
    add(hub, desk, "made/fine", {"a.csv": b"n\n1\n"})
    desk.publisher()
    results = {
        result.dataset_id: result
        for result in hf_localize.download_datasets([*BROKEN, "made/fine"], skip_s3_upload=True)
    }
    assert results.pop("made/fine").error is None
    for name, result in results.items():
        assert result.error is not None
        assert result.error.count("\n") == 1
        assert all(word in result.error.splitlines()[0] for word in BROKEN[name][1]), result.error


def test_files_without_any_row_are_told_of(tmp_path: Path) -> None:
    """Newer `datasets` ends with StopIteration where JSON is empty."""
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n')
    builder = datasets.load_dataset_builder(str(tmp_path))
    with pytest.raises(PreparationError, match="made/empty can't be prepared: no row was found"):  # noqa: SIM117
        with telling_why(builder, "made/empty"):
            raise StopIteration


def test_a_load_raises_what_stock_raises(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/columns", BROKEN["made/columns"][0])
    desk.publisher()
    with hf_localize.installed(), pytest.raises(datasets.exceptions.DatasetGenerationError):
        datasets.load_dataset("made/columns")


@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_original_files_are_kept_though_nothing_can_be_made_of_them(
    who: str, hub: LoopbackHub, desk: Desk
) -> None:
    name = "made/columns"
    add(hub, desk, name, BROKEN[name][0])
    desk.publisher().open_public_places()
    with pytest.raises(PreparationError) as raised:
        hf_localize.download_dataset(name, keep_files=True, make_public=True)
    cause, kept = str(raised.value).splitlines()
    folder = raised.value.path
    assert folder is not None
    assert "b.csv" in cause
    assert folder in kept
    assert tree(Path(folder))["b.csv"] == BROKEN[name][0]["b.csv"]
    if who != "publisher":
        getattr(desk, who)()
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        for streaming in (False, True):
            load = datasets.load_dataset(name, data_files="b.csv", split="train", streaming=streaming)
            assert [dict(row) for row in load] == [{"n": 3, "other": 4}]
    assert hub.requests == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_held_files_of_which_nothing_is_prepared_answer_as_the_hub_does(
    who: str, hub: LoopbackHub, desk: Desk
) -> None:
    name = "made/numbers"
    add(hub, desk, name, {"a.csv": b"n\n1\n", "b.csv": b"n\n2.5\n"})
    desk.publisher().open_public_places()
    with pytest.raises(PreparationError):
        hf_localize.download_dataset(name, keep_files=True, make_public=True)
    if who != "publisher":
        getattr(desk, who)()
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        stream = datasets.load_dataset(name, split="train", streaming=True)
        assert [row["n"] for row in stream] == [1, 2.5]
        with pytest.raises(datasets.exceptions.DatasetGenerationError):
            datasets.load_dataset(name)
        assert datasets.get_dataset_config_names(name) == ["default"]
        assert datasets.get_dataset_split_names(name) == ["train"]


def test_held_files_answer_for_a_config_that_was_not_downloaded(hub: LoopbackHub, desk: Desk) -> None:
    configs = ("main", "socratic")
    stock = {name: datasets.load_dataset("openai/gsm8k", name)["test"][:3] for name in configs}
    desk.publisher()
    hf_localize.download_dataset("openai/gsm8k", "main", keep_files=True)
    hub.stop()
    for who in ("publisher", "teammate"):
        if who == "teammate":
            desk.teammate()
        with hf_localize.installed(sources="local,s3"):
            for name in reversed(configs):
                assert datasets.load_dataset("openai/gsm8k", name)["test"][:3] == stock[name], who
                assert "test" in datasets.get_dataset_split_names("openai/gsm8k", name)
                stream = datasets.load_dataset("openai/gsm8k", name, split="test", streaming=True)
                assert next(iter(stream))["question"] == stock[name]["question"][0]
            if (
                who == "publisher" or not desk.server.enforces_auth
            ):  # Else the ids in the bucket can't be listed.
                assert datasets.load_dataset("OpenAI/GSM8K", "socratic")["test"][:3] == stock["socratic"]
            with pytest.raises(ValueError, match="none"):
                datasets.load_dataset("openai/gsm8k", "none")


def test_a_part_of_the_files_does_not_answer_for_all(hub: LoopbackHub, desk: Desk) -> None:
    name = "made/numbers"
    add(hub, desk, name, {"a.csv": b"n\n1\n", "b.csv": b"n\n2\n"})
    desk.publisher()
    hf_localize.download_repository(name, include=["a.csv"])
    hub.stop()
    with hf_localize.installed(), pytest.raises(datasets.exceptions.DatasetNotFoundError):
        datasets.load_dataset(name, streaming=True)


def test_original_files_are_kept_where_a_config_must_be_chosen(hub: LoopbackHub, desk: Desk) -> None:
    configs = [{"config_name": name, "data_files": f"{name}.csv"} for name in ("a", "b")]
    add(
        hub,
        desk,
        "made/two",
        {"a.csv": b"n\n1\n", "b.csv": b"m\n2\n", "README.md": card({"configs": configs})},
    )
    desk.publisher()
    with pytest.raises(PreparationError, match=r"(?s)Config name is missing.*are stored"):
        hf_localize.download_dataset("made/two", keep_files=True)
    hub.stop()
    with hf_localize.installed():
        assert datasets.load_dataset("made/two", data_files="b.csv", split="train")["m"] == [2]


def test_sizes_that_the_card_has_wrong_are_named_and_can_be_passed_over(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, SIZES, WRONG_SIZES)
    desk.publisher()
    with pytest.raises(PreparationError) as raised:
        hf_localize.download_dataset(SIZES)
    cause, advice = str(raised.value).splitlines()
    assert "split 'train' has 2 rows, and the card records 5" in cause
    assert f"hg-localize download {SIZES} --no-checks" in advice
    assert run_cli("download", SIZES, "--no-checks", "-qq").returncode == 0
    desk.teammate()
    hub.stop()
    with hf_localize.installed():
        loaded = datasets.load_dataset(SIZES, split="train")
        assert (loaded["n"], loaded.info.splits["train"].num_examples) == ([1, 2], 2)
        assert [row["n"] for row in datasets.load_dataset(SIZES, split="train", streaming=True)] == [1, 2]


def test_sizes_can_be_passed_over_for_several_ids_and_from_python(hub: LoopbackHub, desk: Desk) -> None:
    names = (SIZES, "made/sizes2")
    for name in names:
        add(hub, desk, name, WRONG_SIZES)
    desk.publisher()
    hf_localize.download_dataset(SIZES, verification_mode="no_checks")
    assert all(d.success for d in hf_localize.download_datasets(names, verification_mode="no_checks"))


def test_a_refused_capture_does_not_advise_the_command_that_was_run(hub: LoopbackHub, desk: Desk) -> None:
    name = "made/elsewhere"
    features = card({"dataset_info": {"features": [{"name": "x", "dtype": "image"}]}})
    add(hub, desk, name, {"train.jsonl": b'{"x": "/nowhere/one.png"}\n', "README.md": features})
    desk.publisher()
    with pytest.raises(DatasetCorruptError) as raised:
        hf_localize.download_dataset(name)
    assert "/nowhere/one.png" in str(raised.value)
    assert "publish it" not in str(raised.value)
    assert [line for line in str(raised.value).splitlines() if f"hg-localize download {name}" in line] == [
        str(raised.value).splitlines()[-1]
    ]
    assert str(raised.value).endswith("--keep-files")
    with pytest.raises(PreparationError, match="are stored") as raised_again:
        hf_localize.download_dataset(name, keep_files=True)
    assert "hg-localize download" not in str(raised_again.value)


@pytest.mark.parametrize("sources", [("local",), ("local", "s3", "hub")])
def test_a_forced_load_of_what_is_only_here_says_so(
    sources: tuple[str, ...], hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), "team/own", skip_s3_upload=True)
    with hf_localize.installed(sources=sources):
        for streaming in (False, True):
            with pytest.raises(FileNotFoundError, match="it is here, but not used") as raised:
                datasets.load_dataset("team/own", download_mode="force_redownload", streaming=streaming)
            assert "leave out force_redownload" in str(raised.value)
            assert "no source is enabled" not in str(raised.value)
        with pytest.raises(FileNotFoundError, match="not in ") as raised:
            datasets.load_dataset("team/none", download_mode="force_redownload")
        assert "leave out" not in str(raised.value)


@pytest.mark.parametrize("keep_files", [False, True])
def test_what_is_no_dataset_is_refused_by_name(keep_files: bool, desk: Desk) -> None:
    desk.publisher()
    data = datasets.Dataset.from_dict({"n": [1]})
    given = {
        "IterableDataset": data.to_iterable_dataset(),
        "IterableDatasetDict": datasets.IterableDatasetDict(train=data.to_iterable_dataset()),
        "dict": {"train": data},
        "list": [{"n": 1}],
        "NoneType": None,
        "generator": (row for row in data),
    }
    for name, value in given.items():
        with pytest.raises(TypeError, match=rf"can be registered, not {name}\b"):
            hf_localize.register_dataset(value, "team/own", keep_files=keep_files)  # type: ignore[arg-type]
    assert hf_localize.list_local_datasets() == []
