"""Commands for other programs: `run` activates hf_localize in them, `serve` is a Hub to them."""

from __future__ import annotations

import os
import sys

import click

from hf_localize.cli.options import LEVEL, command
from hf_localize.cli.output import put, show


@command(
    has_json=False,
    has_bars=False,
    page="guides/python.md",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--serve", "serves", is_flag=True, help="While COMMAND runs, also serve, and set HF_ENDPOINT.")
@click.argument("words", nargs=-1, required=True, metavar="[--] COMMAND [ARGUMENT]...")
def run(serves: bool, words: tuple[str, ...]) -> None:
    """Run COMMAND with hf_localize active in every Python process that it starts.

    COMMAND is any program of an environment that has hf_localize: python, torchrun, accelerate, pytest,
    jupyter, ... It gets its arguments unchanged. The exit status is that of COMMAND; 127 if it is not found,
    126 if it can't be executed. --verbose and --quiet, before COMMAND, set HGLOC_LOG_LEVEL for it.

    With --serve, programs in other languages can read the stored repositories too: while COMMAND runs, the
    server of "hg-localize serve" listens on a free port of this machine, and HF_ENDPOINT names it.

    \b
    Examples:
      hg-localize run -- python train.py --epochs 3
      hg-localize run torchrun --nproc-per-node 8 train.py
      hg-localize run --serve -- bash fetch.sh
    """  # noqa: D301  # An escaped b is how click is told to keep the lines.
    import signal

    from hf_localize.settings import current

    current()  # A setting that can't be used is told before the program starts.
    package = os.path.split(os.path.split(__file__)[0])[0]
    folder = os.path.join(package, "shim", "on_pythonpath")
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "HGLOC_AUTO_INSTALL": "1", "PYTHONPATH": path}
    if level := click.get_current_context().meta.get(LEVEL):
        environment["HGLOC_LOG_LEVEL"] = level
    try:  # Its purpose is to run what the user names: bandit and ruff ask whether that is meant.
        if serves:
            from hf_localize.api.serve import serving

            with serving() as url:
                sys.exit(_called(words, {**environment, "HF_ENDPOINT": url}))
        if sys.platform == "win32":  # There exec would return to the shell before the command ends.
            sys.exit(_called(words, environment))
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # By Python, and so by whatever it becomes.
            signal.signal(ignored, signal.SIG_DFL)
        os.execvpe(words[0], words, environment)  # noqa: S606  # nosec B606
    except OSError as exc:
        show(f"Error: {words[0]!r} can't be run: {exc.strerror}", err=True)
        sys.exit(127 if isinstance(exc, FileNotFoundError) else 126)


def _called(words: tuple[str, ...], environment: dict[str, str]) -> int:
    """Return the exit status of a command, which decides itself what it does at Ctrl-C and SIGTERM."""
    import signal
    import subprocess

    with subprocess.Popen(words, env=environment) as process:  # noqa: S603  # nosec B603

        def pass_on(number: int, _frame: object) -> None:
            if number != signal.SIGINT or not os.isatty(0):  # A terminal sends it to both.
                process.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, pass_on)
        status = process.wait()
    return status if status >= 0 else 128 - status


@command(has_json=False, has_bars=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: a free one."
)
def serve(host: str, port: int) -> None:
    """Serve the stored repositories to other programs, as a read-only Hub.

    Set HF_ENDPOINT to the address that is shown. Then curl, the hf command and programs in other languages
    read the repositories of the local store, the bucket and the public files. Nothing can be written.
    The real Hub is never asked, so other repositories are not found.

    Everyone who reaches the address can read what you can read. By default, only this machine reaches it;
    --host names another address. Needs the package waitress: pip install 'hf-localize[serve]'. Stop it with
    Ctrl-C.

    Example: hg-localize serve --port 8765
    """
    import threading

    from hf_localize.api.serve import serving

    with serving(host, port) as url:
        show(f"Serving at {url} (set HF_ENDPOINT to it)", err=True)
        threading.Event().wait()


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
    put(made(ctx.find_root().command, {}, "hg-localize", "_HG_LOCALIZE_COMPLETE").source())
