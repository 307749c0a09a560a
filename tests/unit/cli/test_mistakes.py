"""What people type instead of an id, a command or a variable is understood, or answered with what works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.cli import main
from hf_localize.cli.options import _DatasetId, command
from hf_localize.errors import HfLocalizeError, InvalidRefError
from hf_localize.http import retry


@pytest.fixture(autouse=True)
def _empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", str(tmp_path / "store"))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize(
    "typed",
    [
        "openai/gsm8k",
        "datasets/openai/gsm8k",
        "hf://datasets/openai/gsm8k",
        "hf://datasets/openai/gsm8k@main/README.md",
        "https://huggingface.co/datasets/openai/gsm8k",
        "https://huggingface.co/datasets/openai/gsm8k/",
        "https://huggingface.co/datasets/openai/gsm8k/tree/main",
        "https://hub.corp:8080/datasets/openai/gsm8k/viewer/main/train?row=1#top",
    ],
)
def test_an_id_is_understood_as_people_have_it(typed: str) -> None:
    assert _DatasetId().convert(typed, None, None) == "openai/gsm8k"


def test_the_page_of_an_old_id_is_understood_and_an_owner_may_be_called_datasets() -> None:
    assert _DatasetId().convert("https://huggingface.co/datasets/squad", None, None) == "squad"
    assert _DatasetId().convert("datasets/squad", None, None) == "datasets/squad"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("openai/gsm8k:main", "openai/gsm8k --name main"),
        ("hf://datasets/openai/gsm8k@v1", "openai/gsm8k --revision v1"),
        ("https://huggingface.co/datasets/openai/gsm8k/tree/v1/data", "openai/gsm8k --revision v1"),
    ],
)
def test_a_config_or_revision_in_an_id_is_answered_with_what_works(typed: str, answer: str) -> None:
    with pytest.raises(click.BadParameter, match=answer):
        _DatasetId().convert(typed, None, None)
    assert run("info", typed).exit_code == 2


@pytest.mark.parametrize(
    "typed", ["https://huggingface.co/org/model", "https://huggingface.co/spaces/org/app", "hf://org/model"]
)
def test_the_page_of_a_model_or_space_is_answered_with_what_works(typed: str) -> None:
    ran = run("download", typed)
    assert (ran.exit_code, "write OWNER/NAME" in ran.stderr, "--repo-type" in ran.stderr) == (2, True, True)


@pytest.mark.parametrize(
    "typed", ["hf://datasets/team/corpus", "team/corpus:default", "datasets/team/corpus"]
)
def test_a_list_takes_an_id_as_people_have_it(typed: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("a\n1\n")
    assert run("register", str(tmp_path / "data"), "team/corpus").exit_code == 0
    assert run("list", typed).stdout == "team/corpus\t-\t-\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["-v", "list-local"], "list-local -v"),
        (["--json", "list-local", "a*"], "list-local --json 'a*'"),
        (["--name", "main", "info", "a/b"], "info --name main a/b"),
    ],
)
def test_an_option_before_the_command_is_answered_with_what_works(typed: list[str], meant: str) -> None:
    ran = run(*typed)
    assert ran.exit_code == 2
    assert f"{typed[0]} is before the command. Options come after it: hg-localize {meant}\n" in ran.output


def test_a_mistyped_command_is_answered_with_those_like_it() -> None:
    ran = run("lst-local")
    assert ran.exit_code == 2
    assert "No such command 'lst-local'. Did you mean list-local" in ran.output
    assert "Did you mean" not in run("xyzzy").output


def test_a_variable_that_is_no_setting_is_named_with_the_one_most_like_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "Warning" not in run("list-local").output
    monkeypatch.setenv("HGLOC_S3_BUCKET_NAM", "team")
    told = "HGLOC_S3_BUCKET_NAM is not a setting of hf_localize, so it has no effect. Did you mean HGLOC_S3_BUCKET_NAME?"
    assert run("list-local").output.count(told) == 1
    assert told not in run("list-local", "-qq").output


def test_mistakes_in_a_dotenv_are_named_once_with_their_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HGLOC_S3_BUKET_NAME=team\nFOO\n=3\n")
    (tmp_path / ".env").chmod(0o600)
    shown = subprocess.run(
        [sys.executable, "-m", "hf_localize", "list-local"], capture_output=True, text=True, check=True
    ).stderr
    assert shown.count("HGLOC_S3_BUKET_NAME is not a setting") == 1
    assert shown.count(f"{tmp_path / '.env'}: line 3 is not NAME=VALUE") == 1
    assert "python-dotenv" not in shown


def test_a_variable_of_the_original_tool_is_answered_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_PUBLIC_DATASETS_JSON_KEY", "shared.json")
    shown = run("list-local").output
    assert (
        "It is a setting of hg_localization. In hf_localize, public datasets are recorded in public_datasets.json"
        in shown
    )
    assert "public_datasets.json" in run("doctor").stdout


def test_a_wrong_id_is_answered_with_those_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_pause", lambda *_: None)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "rows.csv").rename(tmp_path / "data" / "rows.csv")
    assert run("register", str(tmp_path / "data"), "team/corpus").exit_code == 0
    for words in ("info", "remove", "verify", "preview", "explain"):
        ran = CliRunner(env={"HGLOC_SOURCES": "local"}).invoke(main, [words, "team/corpos"])
        assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (3, "Did you mean team/corpus?"), words
    for asked, is_like in (("corpus", True), ("taem/corpus", True), ("team/other", False)):
        ran = CliRunner(env={"HGLOC_SOURCES": "local"}).invoke(main, ["info", asked])
        assert ("Did you mean team/corpus?" in ran.stderr) == is_like, asked
    env = {"HGLOC_SOURCES": "local,public", "HGLOC_PUBLIC_URL": "http://127.0.0.1:1"}  # Out of reach.
    for words in ("download", "explain"):
        ran = CliRunner(env=env).invoke(main, [words, "team/corpos"])
        assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (5, "Did you mean team/corpus?"), words


def test_where_nothing_is_found_or_done_a_line_says_so() -> None:
    assert "Nothing to repair." in run("repair").output
    assert "Nothing to remove." in run("prune", "--older-than", "3d").output
    assert "Nothing to verify." in run("verify").output
    assert f"Nothing to list in {Path.cwd() / 'store'}." in run("list").output
    assert "No dataset id matches 'gsm*'." in run("list", "gsm*").output
    assert run("list-s3").stderr == "Error: neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set\n"
    assert "'*gsm*'" in run("list-local", "gsm").output
    assert "'*" not in run("list-local", "gsm*").output


def test_a_bucket_out_of_reach_is_answered_with_the_setting_to_check() -> None:
    env = {
        "HGLOC_S3_BUCKET_NAME": "team",
        "HGLOC_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "HGLOC_AWS_ACCESS_KEY_ID": "a",
        "HGLOC_AWS_SECRET_ACCESS_KEY": "b",
    }
    ran = CliRunner(env=env).invoke(main, ["list-s3"])
    assert (ran.exit_code, ran.stdout) == (5, "")
    told = "s3://team at http://127.0.0.1:1: it could not be reached. Is HGLOC_S3_ENDPOINT_URL correct?"
    assert told in ran.stderr


@pytest.mark.parametrize("words", [("--name", "main"), ("--revision", "v1")])
@pytest.mark.parametrize(
    "command", ["verify", "repair", "diff", "outdated", "status", "lock", "lock --check"]
)
def test_a_config_without_an_id_does_not_select_everything(command: str, words: tuple[str, str]) -> None:
    ran = run(*command.split(), *words)
    assert (ran.exit_code, "also name DATASET_ID" in ran.stderr) == (2, True)


@pytest.mark.parametrize("given", [{"config_name": "main"}, {"name": "main"}, {"revision": "v1"}])
@pytest.mark.parametrize("function", ["verify_dataset", "repair_dataset", "diff_datasets", "list_outdated"])
def test_in_python_neither(function: str, given: dict[str, str]) -> None:
    with pytest.raises(InvalidRefError, match="also give dataset_id"):
        getattr(hf_localize, function)(**given)


@pytest.mark.parametrize("sources", ["local", "local,s3,public"])
@pytest.mark.parametrize("words", [("remove", "--s3"), ("withdraw",)])
def test_what_needs_a_bucket_says_so_where_there_is_none(
    words: tuple[str, ...], sources: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGLOC_SOURCES", sources)
    ran = run(words[0], "org/a", *words[1:])
    assert (ran.exit_code, ran.output) == (
        2,
        "Error: HGLOC_S3_BUCKET_NAME is not set: there is no bucket to use\n",
    )


@pytest.mark.parametrize(
    "error", [ValueError("not enough\nvalues"), KeyError("x"), AttributeError("y"), RuntimeError()]
)
def test_a_defect_is_one_line_that_asks_for_a_report(error: Exception) -> None:
    @command("broken", has_json=False, has_bars=False)
    def broken() -> None:
        raise error

    ran = CliRunner().invoke(broken, [])
    assert ran.exit_code == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: this is a defect of hf_localize. Please report it")
    assert type(error).__name__ in line


def test_what_the_system_says_and_what_follows_a_success_is_no_defect() -> None:
    full, later = OSError(28, "No space left on device"), HfLocalizeError("the bucket refused")
    later.path = "/store/a"
    later.comes_after("the dataset is in /store/a, but was not published")
    for error, stdout, stderr in (
        (full, "", "Error: [Errno 28] No space left on device\n"),
        (
            later,
            "/store/a\n",
            "Error: the dataset is in /store/a, but was not published: the bucket refused\n",
        ),
    ):

        @command("broken", has_json=False, has_bars=False)
        def broken(error: Exception = error) -> None:
            raise error

        ran = CliRunner().invoke(broken, [])
        assert (ran.exit_code, ran.stdout, ran.stderr) == (1, stdout, stderr)


def test_an_empty_list_is_said_and_nothing_is_exported(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# none yet\n")
    ran = run("download", "--from-file", "ids.txt")
    assert (ran.exit_code, "Warning: the list ids.txt names nothing." in ran.stderr) == (0, True)
    ran = run("export", "--from-file", "ids.txt", "-o", "data.tar")
    assert (ran.exit_code, "there is nothing to export" in ran.stderr) == (3, True)
    assert not (tmp_path / "data.tar").exists()


def test_stdout_takes_no_tar_file_and_one_json_document(tmp_path: Path) -> None:
    ran = run("export", "--all", "-o", "-")
    assert (ran.exit_code, "name a file" in ran.stderr, (tmp_path / "-").exists()) == (2, True, False)
    ran = run("lock", "a/b", "-o", "-", "--json")
    assert (ran.exit_code, ran.stdout, "leave out --json" in ran.stderr) == (2, "", True)


@pytest.mark.parametrize("command", [("download", "--dry-run"), ("lock",)])
def test_a_model_that_no_place_has_is_answered_with_the_next_step(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for sources in ("local,s3,public,hub", "local"):
        monkeypatch.setenv("HGLOC_SOURCES", sources)
        ran = run(*command, "team/model", "--repo-type", "model")
        assert ran.exit_code in (3, 5)
        told = "run this where the Hub and the bucket are reachable: hg-localize download team/model --repo-type model"
        assert told in ran.stderr, ran.output


def test_original_files_that_a_removal_leaves_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("a\n1\n")
    for name in ("one", "two"):
        hf_localize.register_dataset("data", "team/corpus", name, revision="v1", keep_files=True)
    hf_localize.remove_dataset("team/corpus", "one", "v1")
    assert "stay" not in caplog.text, "those of the other config"
    hf_localize.remove_dataset("team/corpus", "two", "v1")
    advice = "hg-localize remove team/corpus --name 'original_files' --revision 'v1'"
    assert advice in caplog.text
    hf_localize.remove_dataset("team/corpus", "original_files", "v1")
    assert caplog.text.count("stay") == 1
