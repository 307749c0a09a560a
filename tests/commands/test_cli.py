"""The command line: what it prints where, and with which exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository

GSM8K = "openai/gsm8k"


def test_download_prints_the_path_and_lists_print_the_true_names(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", GSM8K, "--name", "socratic", "--revision", "main")
    assert ran.returncode == 0, ran.stderr
    folder = Path(ran.stdout.strip())
    assert folder == desk.store / "openai_gsm8k/socratic/main"
    assert (folder / "README.md").read_bytes().startswith(b"---")
    for command in ("list-local", "list-s3"):
        listed = run_cli(command)
        assert (listed.returncode, listed.stdout.split("\n")[0].split("\t")[:2]) == (0, [GSM8K, "socratic"])


def test_a_failure_prints_one_message_to_stderr(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", "org/nowhere")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "Error: Dataset org/nowhere could not be found" in ran.stderr
    assert "Hugging Face Hub: Dataset 'org/nowhere' doesn't exist on the Hub" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_usage_errors_exit_with_2(desk: Desk) -> None:
    assert run_cli("download").returncode == 2
    assert run_cli("register", "nowhere", "org/x").returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_command_runs_where_standard_streams_are_closed(closed: str, desk: Desk) -> None:
    desk.outsider()
    shell = f"{sys.executable} -m hf_localize register . own/x --no-s3-upload {closed}"
    Path("data.csv").write_bytes(b"n\n1\n")
    ran = subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, "Error" in ran.stderr) == (0, False)
    assert (desk.store / "own_x/default_config/default_revision/.hgloc.json").is_file()


@pytest.mark.parametrize("command", ["doctor", "list-local"])
def test_a_command_ends_without_a_word_where_its_reader_has_gone(command: str, desk: Desk) -> None:
    desk.outsider()
    Path("data.csv").write_bytes(b"n\n1\n")
    assert run_cli("register", ".", "own/x", "--no-s3-upload").returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "hf_localize", command]
    ran = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (ran.returncode, "Error" in ran.stderr, "Broken pipe" in ran.stderr) == (1, False, False)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("words", ["--help", "--version", "list-local --help", "list-local --json -qq"])
def test_what_can_not_be_printed_ends_a_command_with_one_line(words: str, desk: Desk) -> None:
    desk.outsider()
    for stdout, status, said in (
        (">/dev/full", 1, "Error: [Errno 28] No space left on device: 'stdout'\n"),
        (">&-", 0, ""),
        ("| true; exit 0", 0, ""),
    ):
        shell = f"{sys.executable} -m hf_localize {words} {stdout}"
        ran = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True, timeout=120)
        assert (ran.returncode, ran.stderr) == (status, said), shell


def test_a_setting_that_can_not_be_used_is_named(desk: Desk) -> None:
    ran = run_cli("list-local", HGLOC_SOURCES="ftp")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "HGLOC_SOURCES" in ran.stderr


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["parquet", "csv", "json", "text", "imagefolder", "save_to_disk"])
def test_register_takes_folders_of_data_files_and_saved_datasets(form: str, desk: Desk) -> None:
    folder = desk.publisher().folder / "own"
    folder.mkdir()
    made = _write(form, folder)
    ran = run_cli("register", str(folder), "org/own", "--revision", "v1")
    assert ran.returncode == 0, ran.stderr
    for who in (desk, desk.teammate()):
        code = "import hf_localize; print(hf_localize.load_local_dataset('org/own', revision='v1')['train'].column_names)"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert shown.stdout.strip() == str(made), (who, shown.stderr)


def _write(form: str, folder: Path) -> list[str]:
    import datasets

    rows = datasets.Dataset.from_dict({"a": [1, 2], "b": ["x", "y"]})
    if form == "parquet":
        rows.to_parquet(str(folder / "train.parquet"))
    elif form == "csv":
        rows.to_csv(str(folder / "train.csv"))
    elif form == "json":
        rows.to_json(str(folder / "train.jsonl"))
    elif form == "save_to_disk":
        rows.save_to_disk(str(folder))
    elif form == "text":
        (folder / "train.txt").write_text("x\ny\n")
        return ["text"]
    else:
        from PIL import Image

        for label in ("cat", "dog"):
            (folder / "train" / label).mkdir(parents=True)
            Image.new("RGB", (4, 4), "red").save(folder / "train" / label / "1.png")
        return ["image", "label"]
    return ["a", "b"]


def test_registered_images_decode_where_only_the_entry_is(desk: Desk) -> None:
    folder = desk.publisher().folder / "own"
    folder.mkdir()
    _write("imagefolder", folder)
    assert run_cli("register", str(folder), "org/pictures").returncode == 0
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    desk.teammate()
    import hf_localize

    (first, _) = hf_localize.load_local_dataset("org/pictures")["train"]
    assert first["image"].getpixel((0, 0))[0] > 250


def test_a_script_dataset_says_what_to_do_where_scripts_are_not_run(hub: LoopbackHub, desk: Desk) -> None:
    hub.add(
        make_repository(
            desk.folder / "repositories", "made/script", "main", {"script.py": b"raise SystemExit"}
        )
    )
    desk.publisher()
    ran = run_cli("download", "made/script", "--trust-remote-code")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "datasets<4" in ran.stderr
    assert "--trust-remote-code" in ran.stderr


def test_an_outsider_lists_and_downloads_what_is_shared(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    assert run_cli("download", GSM8K, "-n", "socratic", "--make-public").returncode == 0
    hub.stop()
    desk.outsider()
    assert run_cli("list-s3").stdout == f"{GSM8K}\tsocratic\t-\n"
    ran = run_cli("download", GSM8K, "-n", "socratic")
    assert ran.returncode == 0, ran.stderr
    assert "← public ZIP" in ran.stderr
    assert Path(ran.stdout.strip()).is_dir()


def test_register_by_name_takes_that_config_of_a_folder_that_declares_some(desk: Desk) -> None:
    folder = desk.publisher().folder / "own"
    folder.mkdir()
    card = "configs:\n- config_name: one\n  data_files: one.csv\n- config_name: two\n  data_files: two.csv\n"
    for name, text in (("README.md", f"---\n{card}---\n"), ("one.csv", "a\n1\n"), ("two.csv", "a\n2\n")):
        (folder / name).write_text(text)
    import hf_localize

    hf_localize.register_dataset(folder, "org/own", "two")
    assert hf_localize.load_local_dataset("org/own", "two")["train"].to_list() == [{"a": 2}]


def test_a_raw_folder_with_a_config_name_loads_without_registering(desk: Desk) -> None:
    folder = desk.outsider().store / "team_raw/cfg/default_revision"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("a\n1\n")
    import hf_localize

    loaded = hf_localize.load_local_dataset("team/raw", "cfg")["train"]
    assert (loaded.to_list(), loaded.info.config_name) == ([{"a": 1}], "cfg")


def test_register_refuses_what_datasets_could_not_load_again(desk: Desk) -> None:
    import datasets

    import hf_localize

    desk.outsider()
    rows = datasets.Dataset.from_dict({"a": [1]})
    other = datasets.Dataset.from_dict({"b": ["x"]})
    for data, said in (
        ({}, "no split"),
        ({"my-split": rows, "my_split": rows}, "my-split"),  # `datasets` would call both `my_split`.
        ({"train": rows, "test": other}, "features"),
    ):
        with pytest.raises(ValueError, match=said):
            hf_localize.register_dataset(datasets.DatasetDict(data), "org/x")
    assert hf_localize.list_local_datasets() == []


def test_an_empty_split_is_registered_and_behaves_as_in_stock(desk: Desk) -> None:
    import datasets

    import hf_localize

    desk.outsider()
    rows = datasets.Dataset.from_dict({"a": [1, 2]})
    hf_localize.register_dataset(datasets.DatasetDict({"train": rows, "test": rows.select([])}), "org/x")
    opened = datasets.load_from_disk(str(desk.store / "org_x/default_config/default_revision"))
    assert opened.num_rows == {"train": 2, "test": 0}
    with hf_localize.installed(sources=("local",)):
        assert datasets.load_dataset("org/x", split="train").to_list() == [{"a": 1}, {"a": 2}]
        with pytest.raises(ValueError, match="corresponds to no data"):  # Stock's own words.
            datasets.load_dataset("org/x")
