"""Commands for other programs: `run` activates hf_localize in them, `completion` serves shells."""

from __future__ import annotations

import os
import sys

import click

from hf_localize.cli.options import LEVEL, command
from hf_localize.cli.output import show


@command(has_json=False, has_bars=False, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, metavar="[--] COMMAND [ARGUMENT]...")
def run(words: tuple[str, ...]) -> None:
    """Run COMMAND with hf_localize active in every Python process that it starts.

    COMMAND is any program of an environment that has hf_localize: python, torchrun, accelerate,
    pytest, jupyter, ... Its arguments are left as they are, and its exit status is that of this
    command; 127 means that it was not found, 126 that it can't be executed.

    --verbose and --quiet, before COMMAND, set HGLOC_LOG_LEVEL for it.

    Example: hg-localize run -- python train.py --epochs 3
    """
    from hf_localize.settings import current

    current()  # A setting that can't be used is told before the program starts.
    package = os.path.split(os.path.split(__file__)[0])[0]
    folder = os.path.join(package, "shim", "on_pythonpath")
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "HGLOC_AUTO_INSTALL": "1", "PYTHONPATH": path}
    if level := click.get_current_context().meta.get(LEVEL):
        environment["HGLOC_LOG_LEVEL"] = level
    try:  # Its purpose is to run what the user names: bandit and ruff ask whether that is meant.
        if sys.platform == "win32":  # There exec would return to the shell before the command ends.
            import subprocess

            sys.exit(subprocess.call(words, env=environment))  # noqa: S603  # nosec B603
        os.execvpe(words[0], words, environment)  # noqa: S606  # nosec B606
    except OSError as exc:
        show(f"Error: {words[0]!r} can't be run: {exc.strerror}", err=True)
        sys.exit(127 if isinstance(exc, FileNotFoundError) else 126)


@command(has_json=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell script that completes commands and dataset ids.

    \b
    bash: add to ~/.bashrc     eval "$(hg-localize completion bash)"
    zsh:  add to ~/.zshrc      eval "$(hg-localize completion zsh)"
    fish: hg-localize completion fish > ~/.config/fish/completions/hg-localize.fish

    Completes the dataset ids of the local store and of the bucket or, without credentials, of what is public.

    Example: hg-localize completion bash
    """  # noqa: D301  # An escaped b is how click is told to keep the lines.
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "hg-localize", "_HG_LOCALIZE_COMPLETE").source())
