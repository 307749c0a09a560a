"""The command that runs another one with hf_localize activated."""

from __future__ import annotations

import os
import sys

import click


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="[--] COMMAND [ARGUMENT]...")
def run(command: tuple[str, ...]) -> None:
    """Run COMMAND with hf_localize activated in every Python that it starts.

    COMMAND is any program of an environment that has hf_localize: python, torchrun, accelerate,
    pytest, jupyter, ... Its arguments are left as they are, and its exit status is that of this
    command; 127 means that it was not found, 126 that it can't be executed.

    Example: hg-localize run -- python train.py --epochs 3
    """
    package = os.path.split(os.path.split(__file__)[0])[0]
    folder = os.path.join(package, "on_pythonpath")
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "HGLOC_AUTO_INSTALL": "1", "PYTHONPATH": path}
    try:  # Its purpose is to run what the user names: bandit and ruff ask whether that is meant.
        if sys.platform == "win32":  # There exec would return to the shell before the command ends.
            import subprocess

            sys.exit(subprocess.call(command, env=environment))  # noqa: S603  # nosec B603
        os.execvpe(command[0], command, environment)  # noqa: S606  # nosec B606
    except OSError as exc:
        click.echo(f"Error: {command[0]!r} can't be run: {exc.strerror}", err=True)
        sys.exit(127 if isinstance(exc, FileNotFoundError) else 126)
