"""The commands: their names, options and help."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner

from hf_localize.cli import COMMANDS, main
from tests.conftest import ROOT

ALL = {name: command for name in COMMANDS if (command := main.get_command(click.Context(main), name))}


def test_each_command_has_help_with_an_example() -> None:
    for name, command in ALL.items():
        assert command.help, name
        assert f"hg-localize {name}" in command.help, name
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_help_has_own_options_first_three_examples_where_people_live_and_a_page() -> None:
    for name in ALL:
        shown = CliRunner().invoke(main, [name, "--help"], env={"COLUMNS": "200"}).output
        headings = re.findall(r"^(\w+):$", shown, flags=re.MULTILINE)
        assert [one for one in headings if one in ("Options", "Publishing", "Output")] == sorted(
            {*headings} & {"Options", "Publishing", "Output"}, key=("Options", "Publishing", "Output").index
        )
        assert "--help" in shown.partition("Output:")[2], name
        (page,) = re.findall(r"Documentation: https://\S+?/docs/(\S+)$", shown, flags=re.MULTILINE)
        assert (ROOT / "docs" / page).is_file(), page
        if name in ("download", "run", "sync-local-to-s3"):
            assert len(re.findall(f"^    hg-localize {name} ", shown, flags=re.MULTILINE)) == 3, name


def test_the_options_are_those_of_the_specification() -> None:
    options = {name: {o for p in c.params for o in (*p.opts, *p.secondary_opts)} for name, c in ALL.items()}
    loud = {"--verbose", "-v", "--quiet", "-q"}
    assert all(loud <= found for found in options.values())
    assert {name for name, found in options.items() if "--json" not in found} == {
        "run",
        "serve",
        "completion",
        "policy",
    }
    options = {name: found - loud - {"--json"} for name, found in options.items()}
    public = {"--make-public", "--no-make-public", "--share-restricted"}
    ref = {"dataset_id", "--name", "-n", "--revision", "-r"}
    upload = {"--no-s3-upload", "--s3-upload"}
    trust = {"--trust-remote-code", "--no-trust-remote-code"}
    keep = {"--keep-files", "--no-keep-files"}
    many = {"dataset_ids", "--all-configs"}
    others = {"--from-file", "--locked", "--update", "--no-checks"}
    files = {"--repo-type", "--files-only"}
    assert options["download"] == (
        (ref - {"dataset_id"}) | many | public | upload | trust | keep | others | files
    ) | {"--include", "--exclude", "--dry-run", "--no-files"}
    assert options["register"] == ref | public | upload | keep | {"path"}
    assert options["sync-local-to-s3"] == ref | public | files | {"--all", "-a", "--dry-run", "--force"}
    assert options["diff"] == ref | files | {"--all", "-a", "--exit-code"}
    assert options["outdated"] == ref | files | {"--all", "-a", "--in", "--s3"}
    assert options["lock"] == (ref - {"dataset_id"}) | trust | files | {
        *("dataset_ids", "--from-record", "--from-file", "--by-commit", "--output", "-o", "--check")
    }
    assert options["doctor"] == set()
    assert options["verify"] == ref | files | {"--deep", "--in", "--s3", "--public", "--repair"}
    assert options["status"] == ref
    assert options["export"] == (ref - {"dataset_id"}) | files | {
        *("dataset_ids", "--all", "-a", "--from-file", "--output", "-o")
    }
    assert options["import"] == {"file", "--replace"}
    assert options["policy"] == {"kind", "--bucket"}
    assert options["repair"] == ref | files
    assert options["remove"] == ref | files | {"--in", "--s3", "--yes", "-y", "--dry-run"}
    assert options["withdraw"] == ref | files | {"--yes", "-y", "--dry-run"}
    assert options["prune"] == {"--max-size", "--older-than", "--keep", "--dry-run"}
    listed = {"pattern", "--long", "-l", "--no-truncate", "--sort", "--reverse"}
    assert options["list-public"] == listed | {"--repo-type"}
    assert options["list"] == listed | {"--in", "--repo-type"}
    assert options["list-local"] == listed | {"--repo-type"}
    assert options["list-s3"] == listed | {"--repo-type", "--all-folders"}
    assert options["info"] == options["explain"] == ref | files
    assert options["preview"] == ref | {"--split", "--rows"}
    assert options["catalog"] == {"--output", "-o", "--publish", "--public", "--title", "--contact", "--rows"}
    assert set(options) >= {
        *("download", "register", "sync-local-to-s3", "list-local", "list-s3", "list-public", "run"),
        *("info", "preview", "explain", "completion"),
        *("verify", "repair", "remove", "withdraw", "prune"),
    }


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).parent / "hg-localize"
    assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout.startswith(
        "hg-localize"
    )


def test_other_names_of_commands_are_these_commands() -> None:
    context = click.Context(main)
    assert main.get_command(context, "push") is main.get_command(context, "sync-local-to-s3")
    _, command, words = main.resolve_command(context, ["pull", "openai/gsm8k"])  # type: ignore[attr-defined]
    assert (command, words) == (main.get_command(context, "download"), ["--no-s3-upload", "openai/gsm8k"])
    assert "push" in CliRunner().invoke(main, ["--help"]).output
