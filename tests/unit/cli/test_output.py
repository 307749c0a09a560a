"""What commands print, and how loud they are."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from hf_localize.cli import COMMANDS, main
from hf_localize.cli.output import fitted
from tests.commands.json_docs import documented


def run(*arguments: str) -> Result:
    """Run a command in this process, where a program reads its output."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_each_command_that_prints_json_is_documented() -> None:
    commands = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    with_json = {name for name, c in commands.items() if c and "as_json" in {p.name for p in c.params}}
    assert {name for name in documented() if name != "Exit status"} == with_json
    assert set(COMMANDS) - with_json == {"run", "serve", "completion", "policy"}


def test_run_passes_on_how_loud_it_is_to_be() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "hf_localize", "run", "-v", "printenv", "HGLOC_LOG_LEVEL"],
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "DEBUG\n", shown.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"_HG_LOCALIZE_COMPLETE={shell}_complete" in script


HEADINGS = ("DATASET", "CONFIG", "REVISION", "COMMIT", "SPLITS", "ROWS", "SIZE", "AGE", "PUBLIC")
LONG = f"an-organization-with-a-long-name/{'a-dataset-with-a-longer-one-' * 5}"
LISTED = [
    ("openai/gsm8k", "main", "-", "7545900", "train, test", "8,792", "4.7 MB", "3 d", "no"),
    ("openai/gsm8k", "socratic", "-", "7545900", "train, test", "8,792", "5.1 MB", "3 d", "no"),
    (
        "team/日本語",
        "2024-01_multilingual_config",
        "release-2024.01",
        None,
        "train",
        "1",
        "2 kB",
        "1 y",
        "yes",
    ),
    (LONG, "default", "-", "7545900", "train", "12,345,678", "1.2 GB", "2 min", "no"),
]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_list_of_any_width_has_each_id_config_and_revision_whole(width: int) -> None:
    order = ("PUBLIC", "SPLITS", "COMMIT", "AGE", "ROWS", "SIZE")
    lines, left_out = fitted(HEADINGS, LISTED, width, order)
    assert tuple(left_out) == order[: len(left_out)]
    assert bool(left_out) == (width < 200)
    words = [line.split() for line in lines]
    for row in LISTED:
        assert sum(row[0] in line for line in words) == 1, "configs of a dataset are below its id"
        assert any({row[1], row[2]} <= set(line) for line in words)
    assert [LONG] in words
    assert all(cell_len(line) <= width for line in lines if line != LONG)


def test_a_list_with_all_columns_may_be_wider_than_the_terminal() -> None:
    lines, left_out = fitted(HEADINGS, LISTED, None, ())
    assert not left_out
    assert lines[4].split() == [LONG, *LISTED[3][1:6], *["1.2", "GB", "2", "min", "no"]]


def test_where_even_the_names_do_not_fit_each_id_is_on_its_own_line() -> None:
    lines, left_out = fitted(HEADINGS, LISTED, 40, HEADINGS[3:])
    assert [line for line in lines if not line.startswith(" ")] == [
        "DATASET",
        "openai/gsm8k",
        "team/日本語",
        LONG,
    ]
    assert len(left_out) == 6
