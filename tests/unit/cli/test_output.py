"""What commands print, and how loud they are."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from hf_localize.cli import COMMANDS, main
from tests.commands.json_docs import documented


def run(*arguments: str) -> Result:
    """Run a command in this process, where a program reads its output."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_each_command_that_prints_json_is_documented() -> None:
    commands = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    with_json = {name for name, c in commands.items() if c and "as_json" in {p.name for p in c.params}}
    assert {name for name in documented() if name != "Exit status"} == with_json
    assert set(COMMANDS) - with_json == {"run", "serve", "completion"}


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
