"""Loads that name files or change features: answered from kept original files, else a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.hub import HubFilesSource
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, run_python
from tests.loads.fidelity.repositories import SCRIPT, card, config
from tests.loads.fidelity.snapshots import snapshot
from tests.rig.hub import LoopbackHub, make_repository

GSM8K, MBPP = "openai/gsm8k", "google-research-datasets/mbpp"
ONE = "main/test-00000-of-00001.parquet"
LOADS: dict[str, Callable[[], Any]] = {
    "one file": lambda: datasets.load_dataset(GSM8K, data_files=ONE),
    "glob": lambda: datasets.load_dataset(GSM8K, data_files="main/*.parquet"),
    "dict": lambda: datasets.load_dataset(GSM8K, data_files={"eval": ONE}, split="eval"),
    "list": lambda: datasets.load_dataset(GSM8K, data_files=[ONE, "socratic/test*"], split="train"),
    "data_dir": lambda: datasets.load_dataset(GSM8K, data_dir="socratic"),
    "config kwargs": lambda: datasets.load_dataset(GSM8K, "main", columns=["answer"], split="test"),
    "streaming": lambda: datasets.load_dataset(GSM8K, data_files=ONE, split="train", streaming=True),
    "features": lambda: datasets.load_dataset(
        GSM8K,
        "main",
        split="test",
        features=datasets.Features(dict.fromkeys(("question", "answer"), datasets.Value("large_string"))),
    ),
}


@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_kept_files_answer_what_names_files(who: str, hub: LoopbackHub, desk: Desk) -> None:
    expected = {name: snapshot(load()) for name, load in LOADS.items()}
    desk.publisher().open_public_places()
    done = run_cli("download", GSM8K, "-n", "main", "--keep-files", "--make-public")
    assert done.returncode == 0, done.stderr
    hub.stop()
    hub.clear()
    if who != "publisher":
        getattr(desk, who)()
    with hf_localize.installed():
        for name, load in LOADS.items():
            assert snapshot(load()) == expected[name], name
    assert hub.requests == []


def test_without_kept_files_the_error_names_the_option(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "main", keep_files=False)
    hub.stop()
    code = f"""
import hf_localize; hf_localize.install()
import datasets
for asked in ({{"data_files": "{ONE}"}}, {{"data_dir": "main"}}, {{"name": "main", "columns": ["answer"]}}):
    try:
        datasets.load_dataset("{GSM8K}", **asked)
    except ConnectionError as exc:
        assert "hg-localize download openai/gsm8k --keep-files" in str(exc), exc
        assert list(asked)[-1] in str(exc), exc
    else:
        raise SystemExit("no error")
"""
    # With a cache of its own: stock would answer from its cache what it has loaded before.
    done = run_python(code, cwd=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 0, done.stderr


def test_with_the_hub_in_reach_stock_answers_what_no_kept_file_does(hub: LoopbackHub, desk: Desk) -> None:
    desk.teammate()
    expected = snapshot(datasets.load_dataset(GSM8K, data_files=ONE))
    with hf_localize.installed():
        assert snapshot(datasets.load_dataset(GSM8K, data_files=ONE)) == expected


def test_a_registered_folder_keeps_its_files_where_asked(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "extra").mkdir(parents=True)
    (folder / "train.csv").write_text("a;b\n1;2\n")
    (folder / "extra" / "more.csv").write_text("a;b\n3;4\n")
    desk.publisher()
    done = run_cli("register", str(folder), "team/corpus", "-r", "v1", "--keep-files")
    assert done.returncode == 0, done.stderr
    (folder / "train.csv").write_text("spoilt")
    desk.teammate()
    with hf_localize.installed(sources=("local", "s3")):
        load = datasets.load_dataset
        more = load("team/corpus", data_files="extra/more.csv", sep=";", revision="v1", split="train")
        assert more.to_dict() == {"a": [3], "b": [4]}
        assert load("team/corpus", sep=";", revision="v1", split="train").to_dict()["a"] == [1]
        with pytest.raises(ConnectionError, match="keep-files"):
            load("team/corpus", data_files="extra/more.csv")


def test_files_that_are_not_there_can_not_be_kept(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    data = datasets.Dataset.from_dict({"a": [1]})
    data.save_to_disk(str(tmp_path / "saved"))
    for nothing in (data, tmp_path / "saved"):
        with pytest.raises(FileNotFoundError, match=r"original files|data files"):
            hf_localize.register_dataset(nothing, "org/x", keep_files=True)
    assert hf_localize.list_local_datasets() == []


def add(hub: LoopbackHub, desk: Desk, name: str, files: dict[str, bytes]) -> None:
    hub.add(make_repository(desk.folder / "repositories", name, "main", files))


def test_a_forced_load_passes_over_the_kept_files(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/forced", {"a.csv": b"n\n1\n"})
    desk.publisher()
    hf_localize.download_dataset("made/forced", skip_s3_upload=True, keep_files=True)
    add(hub, desk, "made/forced", {"a.csv": b"n\n2\n"})
    with hf_localize.installed():
        for mode, expected in (("reuse_dataset_if_exists", [1]), ("force_redownload", [2])):
            loaded = datasets.load_dataset(
                "made/forced", data_files="a.csv", split="train", download_mode=mode
            )
            assert loaded["n"][:] == expected
        hub.stop()
        with pytest.raises(ConnectionError, match="are stored, but not used: leave out force_redownload"):
            datasets.load_dataset("made/forced", data_files="a.csv", download_mode="force_redownload")


def test_kept_files_are_not_read_in_place_of_running_a_script(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/script", {"script.py": SCRIPT, "data/a.csv": b"not_what_the_script_gives\n1\n"})
    desk.publisher()
    ref = DatasetRef("made/script").files
    current_session().resolver(HubFilesSource(offline=False, timeout_seconds=5)).localize(ref)
    hub.stop()
    with hf_localize.installed(), pytest.raises(ConnectionError, match="data_dir of made/script can't be"):
        datasets.load_dataset("made/script", data_dir="data")


def test_a_config_may_have_the_name_under_which_files_are_kept(hub: LoopbackHub, desk: Desk) -> None:
    configs = card(config("original_files", "a.csv"), config("other", "b.csv", default=True))
    add(hub, desk, "made/named", {"README.md": configs, "a.csv": b"n\n1\n", "b.csv": b"n\n2\n"})
    desk.publisher()
    with hf_localize.installed():
        assert datasets.load_dataset("made/named", "original_files", split="train")["n"][:] == [1]
        assert datasets.load_dataset("made/named", data_files="b.csv", split="train")["n"][:] == [2]


def test_a_stream_over_kept_files_reads_one_entry_though_it_is_replaced(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    desk.publisher()

    def register(*values: int) -> None:
        for name, value in zip("ab", values, strict=True):
            (folder / f"{name}.csv").write_text(f"n\n{value}\n")
        hf_localize.register_dataset(folder, "team/corpus", keep_files=True)

    register(1, 2)
    with hf_localize.installed(sources=("local",)):
        stream = datasets.load_dataset("team/corpus", data_files="*.csv", split="train", streaming=True)
        rows = iter(stream)
        assert next(rows) == {"n": 1}
        register(7, 8)
        assert [row["n"] for row in rows] == [2]
        again = datasets.load_dataset("team/corpus", data_files="*.csv", split="train")
        assert again["n"][:] == [7, 8]
