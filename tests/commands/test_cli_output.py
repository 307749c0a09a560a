"""What commands print: tables for people, lines for programs, JSON as it is documented; and exit statuses."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.api.dataset_ids import dataset_ids
from hf_localize.cli import main
from hf_localize.cli.options import log_to_stderr
from hf_localize.errors import PublishError, UnreachableError, printable
from hf_localize.format.manifest_json import manifest_bytes, read_manifest
from tests.commands.json_docs import assert_documented
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import BlackHole, Rule, Status

GSM8K = "openai/gsm8k"


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    """Give the logger back, which a command has log to the stderr of its time."""
    logger = logging.getLogger("hf_localize")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


def run(*arguments: str) -> Result:
    """Run a command in this process, where a program reads its output."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def on_terminal(*arguments: str, columns: int = 200, **env: str) -> str:
    """Return what a command shows on a terminal."""
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    command = [sys.executable, "-m", "hf_localize", *arguments]
    with subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, env=environment) as process:
        os.close(its)
        shown = b""
        try:
            while data := os.read(mine, 65536):
                shown += data
        except OSError:  # It has ended: Linux says EIO.
            pass
        _, said = process.communicate(timeout=60)
    os.close(mine)
    assert process.returncode == 0, said
    return shown.decode().replace("\r\n", "\n")


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


@pytest.fixture
def three(desk: Desk) -> Desk:
    """Return a publisher's desk with three datasets, one of them public."""
    desk.publisher().open_public_places()
    desk.set(HGLOC_SOURCES="local,s3,public")
    hf_localize.register_dataset(datasets.DatasetDict(train=rows(*"abc"), test=rows("d")), "org/b")
    hf_localize.register_dataset(rows("x" * 50_000), "org/a", "cfg", "v1", make_public=True)
    hf_localize.register_dataset(rows("y"), "team/c")
    return desk


# --- JSON ---


def test_json_is_as_it_is_documented(three: Desk, tmp_path: Path) -> None:
    rows("new").save_to_disk(str(tmp_path / "own"))
    damaged = next((three.store / "team_c").rglob("*.arrow"))
    whole = damaged.read_bytes()

    def printed(command: str, *arguments: str, status: int = 0) -> object:
        ran = run(command, *arguments, "--json")
        assert ran.exit_code == status, ran.output
        return assert_documented(command, ran.stdout)

    printed("register", str(tmp_path / "own"), "org/own")
    printed("sync-local-to-s3", "org/own")
    hf_localize.register_dataset(rows("newer"), "org/own", skip_s3_upload=True)
    assert [item["state"] for item in printed("diff", "--all")].count("different") == 1
    assert len(printed("sync-local-to-s3", "--all")) == 4
    assert printed("outdated", "--all") == []
    printed("doctor")
    assert len(printed("lock", "org/own", "-o", str(tmp_path / "a.lock"))["datasets"]) == 1
    assert len(printed("download", "org/a", "-n", "cfg", "-r", "v1")) == 1
    assert len(printed("list-local")) == len(printed("list-s3", "--long")) == 4
    assert len(printed("list-s3")) == 4
    (shared,) = printed("list-public")
    assert (shared["rows"], shared["is_public"], shared["splits"]) == (1, True, {"train": 1})
    printed("info", "org/b")
    printed("preview", "org/b", "--rows", "2")
    printed("explain", "org/b")
    printed("explain", "org/none", status=3)
    damaged.write_bytes(whole[:-20])
    assert [bool(item["damaged"]) for item in printed("verify", status=6)].count(True) == 1
    assert printed("repair")[0]["source"] == "private S3"
    printed("withdraw", "org/a", "-n", "cfg", "-r", "v1", "--yes")
    printed("remove", "org/own", "--yes")
    assert printed("prune", "--older-than", "1d") == []
    for path in three.store.rglob("*"):
        os.utime(path, (0, 0))
    assert len(printed("prune", "--older-than", "1d", "--dry-run")) == 3
    (failed,) = printed("download", "org/none", status=3)
    assert (failed["path"], failed["error_kind"]) == (None, "not found")


# --- exit statuses, and how loud it is ---


def test_the_exit_status_tells_what_kind_of_failure_it_was(
    three: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("info", "org/b").exit_code == 0
    assert run("info", "../b").exit_code == 2
    assert run("info").exit_code == 2
    assert run("info", "org/none").exit_code == 3
    assert run("remove", "org/none").exit_code == 3
    assert run("preview", "org/b", "--split", "none").exit_code == 3
    assert run("list-local", "--sort", "luck").exit_code == 2
    three.teammate()
    three.s3.fail(Rule("GET", ".", Status(403, "InvalidAccessKeyId")))
    for command in (["info", "org/b"], ["explain", "org/b"], ["list-s3"], ["download", "org/b", "org/c"]):
        assert run(*command).exit_code == 4, command
    three.s3.heal()
    three.s3.fail(Rule(None, ".", BlackHole()))
    three.set(HGLOC_TIMEOUT_SECONDS="1")
    for command in (["info", "org/b"], ["explain", "org/b"]):
        assert run(*command).exit_code == 5, command
    three.s3.heal()
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    assert run("list-s3").exit_code == 5
    monkeypatch.setenv("HGLOC_SOURCES", "ftp")
    assert run("list-local").exit_code == 2
    assert run("list-local", "--help").exit_code == 0, "help needs no settings"


def test_quiet_leaves_results_and_errors_and_verbose_adds_answers(three: Desk) -> None:
    three.teammate()
    usual = run("download", "org/b")
    assert "← private S3" in usual.stderr
    assert run("list-local", "--quiet").stderr == ""
    assert "dataset_id" in run("list-local").stderr
    three.teammate()
    quiet = run("download", "-q", "org/b")
    assert (quiet.stderr, bool(quiet.stdout)) == ("", True)
    assert "local store: not in" in run("download", "-v", "org/a", "-n", "cfg", "-r", "v1").stderr
    failed = run("download", "-qq", "org/none")
    assert failed.stderr.startswith("Error: Dataset org/none could not be found")


# --- lists ---


def test_a_list_that_a_program_reads_has_three_columns(three: Desk) -> None:
    lines = "org/a\tcfg\tv1\norg/b\t-\t-\nteam/c\t-\t-\n"
    assert run("list-local").stdout == run("list-s3").stdout == lines
    assert run("list-public").stdout == lines.splitlines(keepends=True)[0]
    for command in ("list-local", "list-s3"):
        long = [line.split("\t") for line in run(command, "--long").stdout.splitlines()]
        assert {tuple(line[:3]) for line in long} == {tuple(line.split("\t")) for line in lines.splitlines()}
        assert {(*line[3:6], line[8]) for line in long} == {
            ("-", "train", "1", "yes"),
            ("-", "train,test", "4", "no"),
            ("-", "train", "1", "no"),
        }
        assert all(re.fullmatch(r"\d+", line[6]) and line[7].endswith("+00:00") for line in long)


def test_lists_are_sorted_and_filtered(three: Desk) -> None:
    def listed(*arguments: str) -> list[str]:
        return [line.split("\t")[0] for line in run(*arguments).stdout.splitlines()]

    for command in ("list-local", "list-s3"):
        assert listed(command, "--sort", "rows")[0] == "org/b"
        assert listed(command, "--sort", "size")[0] == "org/a"
        assert listed(command, "--sort", "size", "--reverse")[-1] == "org/a"
        assert listed(command, "--reverse") == ["team/c", "org/b", "org/a"]
        assert listed(command, "org/*") == ["org/a", "org/b"]
        assert listed(command, "*/[bc]") == ["org/b", "team/c"]
        assert listed(command, "org/b") == ["org/b"]
        assert listed(command, "org") == []
    assert listed("list-public", "team/*") == []


def test_a_list_of_a_bucket_asks_no_more_than_it_must(three: Desk) -> None:
    three.publisher().s3.clear()
    assert len(run("list-s3", "--json").stdout.splitlines()) > 3
    assert len(three.s3.requests) == 2
    three.s3.clear()
    run("list-s3", "org/*")
    assert [r.query["prefix"] for r in three.s3.requests] == [".hgloc/index/org%2F", "org_"]
    three.s3.clear()
    run("list-s3", "--long")
    assert len(three.s3.requests) == 2 + 3 + 1


def test_what_is_public_is_not_known_where_that_can_not_be_asked(three: Desk) -> None:
    three.s3.fail(Rule(None, "public_datasets", Status(500, "InternalError")))
    assert {item["is_public"] for item in json.loads(run("list-local", "--json").stdout)} == {None}
    three.s3.heal()
    three.set(HGLOC_OFFLINE="1")
    three.s3.clear()
    assert {item["is_public"] for item in json.loads(run("list-local", "--json").stdout)} == {None}
    assert not three.s3.requests


def test_on_a_terminal_a_list_is_a_table_and_colors_can_be_had_without(three: Desk) -> None:
    hf_localize.register_dataset(rows("e"), "org/[red]")
    for command in ("list-local", "list-s3"):
        shown = on_terminal(command)
        table = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert table[0].split() == [
            "DATASET",
            "CONFIG",
            "REVISION",
            "COMMIT",
            "SPLITS",
            "ROWS",
            "SIZE",
            "AGE",
            "PUBLIC",
        ]
        (line,) = [line for line in table if line.startswith("org/b")]
        assert re.match(r"org/b +- +- +- +train, test +4 +[0-9.]+ kB +[0-9]+ (s|min) +no", line)
        assert any(line.startswith("org/[red]") for line in table), "ids are no markup"
    assert "\x1b" in on_terminal("explain", "org/b")
    assert "\x1b" not in on_terminal("explain", "org/b", NO_COLOR="1")
    assert "\x1b" not in run("explain", "org/b").stdout


# --- info, preview, explain ---


def test_info_tells_what_it_is_and_where_it_lies(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    stored = run("info", GSM8K, "-n", "socratic")
    assert "Places\n  http" in stored.stdout, "the Hub is asked if nobody else has it"
    assert "question: string" in stored.stdout
    hf_localize.download_dataset(GSM8K, "socratic", make_public=True)
    told = json.loads(run("info", GSM8K, "-n", "socratic", "--json").stdout)
    assert [place["source"] for place in told["places"]] == ["local", "s3", "public"]
    assert {place["is_same"] for place in told["places"]} == {True}
    assert (told["license"], told["configs"]) == ("mit", ["main", "socratic"])
    assert told["features"]["question"] == {"dtype": "string", "_type": "Value"}
    shown = run("info", GSM8K, "-n", "socratic").stdout
    for said in ("License      mit", f"Commit       {told['commit']}", "question: string", f"  {desk.store}"):
        assert said in shown
    hf_localize.register_dataset(rows("other"), "org/x")
    hf_localize.register_dataset(rows("new"), "org/x", skip_s3_upload=True)
    assert "other content" in run("info", "org/x").stdout


def test_features_are_told_in_words(desk: Desk) -> None:
    features = {
        "label": datasets.ClassLabel(names=["neg", "pos"]),
        "pair": datasets.Sequence(datasets.Value("int8"), length=2),
        "parts": [{"image": datasets.Image(), "n": datasets.Value("float32")}],
    }
    desk.publisher()
    data = datasets.Dataset.from_dict({name: [] for name in features}, datasets.Features(features))
    hf_localize.register_dataset(data, "org/x", skip_s3_upload=True)
    shown = run("info", "org/x").stdout
    for said in (
        "label: class label, 2 names: neg, pos",
        "pair: list of 2 × int8",
        "parts: list of {image: image, n: float32}",
    ):
        assert f"  {said}\n" in shown


def test_preview_shows_the_first_rows_and_fetches_little(desk: Desk) -> None:
    desk.publisher()
    many = datasets.DatasetDict(
        train=datasets.Dataset.from_dict(
            {"n": list(range(8_000)), "text": [f"row\t{n}\x1b[2J" * 40 for n in range(8_000)]}
        ),
        test=datasets.Dataset.from_dict({"n": [7], "text": ["é"]}),
    )
    hf_localize.register_dataset(many, "org/many")
    desk.teammate().s3.clear()
    ran = run("preview", "org/many", "--rows", "2")
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == ["0", "1"]
    assert "\x1b" not in ran.stdout, "what a dataset holds does not steer a terminal"
    assert "split train; others: test" in ran.stderr
    assert sum(request.response_bytes for request in desk.s3.requests) < 1_000_000
    assert hf_localize.list_local_datasets() == []
    assert run("preview", "org/many", "--split", "test").stdout == "7\té\n"
    assert "  n: 0\n" in re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("preview", "org/many", columns=20))


#: Sets the window's title, colors, clears; as 8-bit control; deletes; reorders; breaks a line in other words.
EVIL = "\x1b]0;evil\x07\x1b[31m\x1b[2J\x9b31m\x7f\u202eevil\u2066\u2028\r"


def assert_harmless(shown: str) -> None:
    """Assert that only our own colors and line ends are in *shown*."""
    assert "evil" in shown
    plain = re.sub(r"\x1b\[(?:0|1|[39]\d|1;\d+)m", "", shown.replace("\\x1b[31m", ""))
    assert {c for c in plain if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} <= {"\n", "\t"}
    assert "\x1b[31m\x1b" not in shown


def texts(value: object) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@pytest.fixture
def steering(desk: Desk) -> Desk:
    """Return a desk with a dataset of which everything that is text would steer a terminal."""
    desk.publisher().open_public_places()
    desk.set(HGLOC_SOURCES="local,s3,public")
    features = datasets.Features({f"col{EVIL}": datasets.ClassLabel(names=[f"label{EVIL}"])})
    info = datasets.DatasetInfo(license=f"mit{EVIL}", features=features)
    data = datasets.Dataset.from_dict({f"col{EVIL}": [0]}, features=features, info=info)
    text = datasets.Dataset.from_dict({f"text{EVIL}": [f"value{EVIL}"]})
    hf_localize.register_dataset(data, "org/x", make_public=True)
    hf_localize.register_dataset(text, "org/text")
    path = next(desk.store.glob("org_x/*/*/.hgloc.json"))
    manifest = read_manifest(path.read_bytes(), "m")
    lying = replace(manifest, origin=f"o{EVIL}", created=f"c{EVIL}", written_by={f"w{EVIL}": f"1{EVIL}"})
    path.write_bytes(manifest_bytes(lying))
    return desk


def test_nothing_that_others_wrote_steers_the_terminal(steering: Desk) -> None:
    for command in (("info", "org/x"), ("preview", "org/x"), ("preview", "org/text")):
        assert_harmless(run(*command).output)
        assert_harmless(on_terminal(*command))
        as_json = run(*command, "--json")
        assert_harmless(as_json.stdout)
        assert any(EVIL in text for text in texts(json.loads(as_json.stdout)))
    assert_harmless(on_terminal("preview", "org/text", columns=20))
    assert_harmless(run("list-public", "--long", "--json").stdout)


def test_nothing_that_a_server_says_steers_the_terminal(steering: Desk) -> None:
    said = "evil\u202e\x9b31m"  # XML has no place for others.
    steering.s3.fail(Rule(None, ".", Status(403, said, headers={"Location": "http://evil"})))
    steering.set(HGLOC_SOURCES="s3,public")
    for command in (
        *(("explain", "org/x"), ("info", "org/x"), ("list-s3",), ("diff",), ("verify", "--s3")),
        *(("list-public",), ("-v", "explain", "org/x"), ("doctor",)),
    ):
        ran = CliRunner().invoke(main, [*command[1:2], *command[2:]] if command[0] == "-v" else command)
        assert not isinstance(ran.exception, UnicodeError)
        assert {c for c in ran.output if unicodedata.category(c) in ("Cc", "Cf")} <= {"\n", "\t"}, command


def test_no_error_and_no_line_of_a_log_steers_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert str(UnreachableError(EVIL)) == printable(EVIL) != EVIL
    assert str(PublishError("two\nlines\tand \u200d, \u3000")) == "two\nlines\tand \u200d, \u3000"
    code = (
        "import logging, sys, hf_localize; hf_localize.install(log_level='INFO');"
        "logging.getLogger('hf_localize.x').warning('%s', sys.argv[1])"
    )
    said = subprocess.run([sys.executable, "-c", code, EVIL], capture_output=True, text=True, check=True)
    assert_harmless(said.stderr)
    main.main(["explain", "--help"], standalone_mode=False)
    log_to_stderr()
    logging.getLogger("hf_localize.x").warning(EVIL)
    assert_harmless(capfd.readouterr().err)


def test_preview_names_the_variable_where_the_cache_of_datasets_can_not_be_written(desk: Desk) -> None:
    desk.publisher()
    made = datasets.Dataset.from_dict({"text": ["a"]})
    hf_localize.register_dataset(made, "org/b", skip_s3_upload=True)
    ran = run_cli("preview", "org/b", HF_DATASETS_CACHE="/dev/null/cache")
    assert (ran.returncode, "Set HF_HOME to a folder" in ran.stderr) == (1, True), ran.stderr


def test_preview_shows_media_by_name_and_size(desk: Desk) -> None:
    from PIL import Image

    folder = desk.publisher().folder / "own"
    (folder / "train").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(folder / "train" / "1.png")
    hf_localize.register_dataset(folder, "org/pictures")
    (row,) = json.loads(run("preview", "org/pictures", "--json").stdout)["rows"]
    assert row["image"]["path"] == "train/1.png"
    assert 0 < row["image"]["size_bytes"] < 1000
    assert re.fullmatch(r"<train/1.png, \d+ bytes>\n", run("preview", "org/pictures").stdout)


def test_preview_of_what_only_the_hub_has(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    told = json.loads(run("preview", GSM8K, "-n", "main", "--rows", "1", "--json").stdout)
    assert (told["split"], told["columns"], len(told["rows"])) == ("train", ["question", "answer"], 1)
    assert desk.bucket_keys() == []


def test_explain_tells_what_each_source_says_and_what_a_load_would_do(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()

    def explained(*arguments: str) -> tuple[dict[str, str], dict[str, object]]:
        told = json.loads(run("explain", *arguments, "--json").stdout)
        return {source["source"]: source["answer"] for source in told["sources"]}, told

    answers, told = explained(GSM8K, "-n", "socratic")
    assert answers == {"local": "not_here", "s3": "not_here", "public": "not_here", "hub": "has_it"}
    assert told["takes"] == "hub"
    sizes = [
        path.stat().st_size
        for path in Path(hub.root).rglob("*.parquet")
        if "gsm8k" in str(path) and "socratic" in str(path)
    ]
    assert (told["transfer_files"], told["transfer_bytes"]) == (len(sizes), sum(sizes))
    assert not desk.store.exists()
    hf_localize.download_dataset(GSM8K, "socratic", make_public=True)
    answers, told = explained(GSM8K, "-n", "socratic")
    assert set(answers.values()) == {"has_it"}
    assert (told["takes"], told["transfer_bytes"]) == ("local", 0)
    hub.stop()
    desk.teammate()
    answers, told = explained(GSM8K, "-n", "socratic")
    assert answers["hub"] == "unreachable"
    desk.s3.clear()
    hf_localize.download_dataset(GSM8K, "socratic")
    fetched = [r for r in desk.s3.requests if not r.path.endswith(".json")]
    of_repository = sum(r.response_bytes for r in fetched if "/blobs/" in r.path)
    assert told["takes"] == "s3"
    of_dataset = sum(r.response_bytes for r in fetched) - of_repository
    assert told["transfer_bytes"] == pytest.approx(of_dataset, rel=0.1)
    assert told["repository"]["transfer_bytes"] == pytest.approx(of_repository, rel=0.1)
    desk.outsider()
    answers, told = explained(GSM8K, "-n", "socratic")
    assert (answers["s3"], told["takes"]) == ("not_asked", "public")
    shown = run("explain", GSM8K, "-n", "main").stdout
    assert "not among the records" in shown
    assert "it has openai/gsm8k [socratic]" in shown
    assert "A load would fail: no source could provide it, and Hugging Face Hub failed" in shown
    desk.set(HGLOC_OFFLINE="1")
    assert "HGLOC_OFFLINE is set" in run("explain", GSM8K).stdout


# --- completion ---


def completed(*words: str) -> list[str]:
    """Return what bash completes the last of *words* to, by the script that the command prints."""
    binary = Path(sys.executable).parent
    script = (
        'eval "$(hg-localize completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'complete -p hg-localize >/dev/null; _hg_localize_completion hg-localize; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "hg-localize", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{binary}{os.pathsep}{os.environ['PATH']}"},
        timeout=60,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


def test_bash_completes_commands_and_dataset_ids_of_store_and_bucket(three: Desk, tmp_path: Path) -> None:
    three.set(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert completed("list-l") == ["list-local"]
    hf_localize.register_dataset(rows("l"), "org/local", skip_s3_upload=True)
    hf_localize.remove_dataset("org/b")
    three.s3.clear()
    assert dataset_ids("org/") == ["org/a", "org/b", "org/local"]
    assert len(three.s3.requests) == 1
    assert completed("info", "org/") == ["org/a", "org/b", "org/local"]
    assert completed("download", "x/y", "org/l") == ["org/local"]
    assert len(three.s3.requests) == 1, "what was told a moment ago is good"
    assert dataset_ids("te") == dataset_ids("team/") == ["team/c"]
    assert len(three.s3.requests) == 2, "what is known of org/ says nothing of te"
    (kept,) = (tmp_path / "cache" / "hf_localize").iterdir()
    assert kept.stat().st_mode & 0o077 == 0


def test_completion_waits_for_no_bucket_and_says_nothing_of_it(three: Desk, tmp_path: Path) -> None:
    three.set(XDG_CACHE_HOME=str(tmp_path / "cache"))
    three.s3.fail(Rule(None, ".", BlackHole()))
    assert dataset_ids("org/") == ["org/a", "org/b"], "those of the store"
    asked = len(three.s3.requests)
    assert dataset_ids("team/") == ["team/c"]
    assert len(three.s3.requests) == asked, "it is left alone for a while"
    three.set(HGLOC_SOURCES="luck")
    assert dataset_ids("org/") == []


def test_an_outsider_completes_what_is_public(three: Desk, tmp_path: Path) -> None:
    three.outsider().set(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert dataset_ids("o") == ["org/a"]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_what_the_encoding_of_stdout_lacks_is_escaped_and_ends_no_command(encoding: str, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"s": ["☃"]}), "org/☃", skip_s3_upload=True)
    env = {"PYTHONIOENCODING": encoding, "HGLOC_SOURCES": "local"}
    shown = "☃" if encoding == "ascii" else r"\u2603"
    for command in (
        ["list-local"],
        ["preview", "org/☃"],
        ["verify"],
        ["download", "org/☃", "--no-s3-upload"],
    ):
        ran = run_cli(*command, **env)
        assert (ran.returncode, shown in ran.stdout) == (0, True), ran.stderr
    ran = run_cli("list-local", "--json", **env)
    assert json.loads(ran.stdout)[0]["dataset_id"] == "org/☃"
