"""The ``hg-localize`` command: options and rendering only.

Results go to stdout, everything else to stderr. A command lies in a module of its family, which is
imported when the command is asked for; what it needs of the library is imported when it runs. So
``--help`` takes little more than click itself.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import shlex
import sys
from typing import Any

import click

from hf_localize._version import __version__
from hf_localize.cli.options import EXIT_HELP, INTERRUPTED, KEPT, fail, log_to_stderr
from hf_localize.cli.signals import ended_by_signals
from hf_localize.errors import kind_of, message_of

#: The module of each command, below headings. In the module the command is a function of the same
#: name, with ``_`` for ``-``, and with ``_`` after it where Python has that name already.
FAMILIES: dict[str, dict[str, str]] = {
    "Get and publish": {
        "download": "datasets",
        "register": "datasets",
        "sync-local-to-s3": "datasets",
        "scan": "scan",
        "export": "archive",
        "import": "archive",
    },
    "Show": {
        "list": "listing",
        "list-local": "listing",
        "list-s3": "listing",
        "list-public": "listing",
        "info": "inspect",
        "preview": "inspect",
        "explain": "inspect",
        "status": "compare",
        "catalog": "catalog",
    },
    "Maintain": {
        "verify": "upkeep",
        "repair": "upkeep",
        "remove": "upkeep",
        "withdraw": "upkeep",
        "prune": "upkeep",
        "diff": "compare",
        "outdated": "compare",
        "lock": "lock",
        "doctor": "doctor",
        "policy": "policy",
    },
    "Use": {
        "run": "use",
        "serve": "use",
        "completion": "use",
    },
}
COMMANDS = {name: module for family in FAMILIES.values() for name, module in family.items()}
#: Other names of commands, with the words for which they stand.
ALIASES = {"push": ("sync-local-to-s3",), "pull": ("download", "--no-s3-upload")}


class _Commands(click.Group):
    """The commands, each imported when it is asked for, and ended by a signal in good order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return [*COMMANDS, *ALIASES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name."""
        name = ALIASES.get(cmd_name, (cmd_name,))[0]
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"hf_localize.cli.{COMMANDS[name]}")
        function = name.replace("-", "_")
        command: click.Command = getattr(module, function if hasattr(module, function) else f"{function}_")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands before the command; fail with what to type where that is an option of it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            at = next((i for i, word in enumerate(typed) if word in self.list_commands(ctx)), None)
            if at is None:
                raise
            meant = shlex.join([typed[at], *typed[:at], *typed[at + 1 :]])
            ctx.fail(f"{exc.option_name} is before the command. Options come after it: hg-localize {meant}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name; fail with the names that are like a mistyped one."""
        args = [*ALIASES.get(args[0], args[:1]), *args[1:]]
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, family by family."""
        width = max(map(len, COMMANDS))
        for heading, family in FAMILIES.items():
            with formatter.section(heading):
                shown = [(name.ljust(width), self.get_command(ctx, name)) for name in family]
                formatter.write_dl([(name, c.get_short_help_str(100)) for name, c in shown if c])
        with formatter.section("Other names"):
            formatter.write_dl([(name.ljust(width), " ".join(words)) for name, words in ALIASES.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; what can't be printed of a help page ends it as any other error."""
        try:
            return super().main(*args, **kwargs)
        except OSError as exc:
            exc.filename = exc.filename or "stdout"
            fail(f"Error: {message_of(exc)}", kind_of(exc))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that *ctx* names."""
        _open_standard_streams()
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # As stderr has it.
        with ended_by_signals(lambda: click.echo(INTERRUPTED + ctx.meta.get(KEPT, ""), err=True)):
            return super().invoke(ctx)


def _open_standard_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed, as cron and some supervisors leave them.

    Else a file that the command opens would get their number, and whatever is printed would go there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # Until the end.


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_HELP)
@click.version_option(__version__, prog_name="hg-localize")
def main() -> None:
    """Use Hugging Face datasets where the Hub is out of reach.

    Settings are HGLOC_* environment variables, or lines of a .env file.
    """
    log_to_stderr()
