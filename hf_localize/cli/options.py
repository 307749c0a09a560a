"""The options that commands share, and how an error ends a command."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from hf_localize.errors import HfLocalizeError, without_queries

NAME = click.option(
    "--name", "-n", "config_name", metavar="TEXT", help="Config name. Default: the default config."
)
REVISION = click.option("--revision", "-r", metavar="TEXT", help="Branch, tag or commit SHA. Default: main.")
MAKE_PUBLIC = click.option(
    "--make-public/--no-make-public",
    default=False,
    help="Also share it as a public ZIP, readable without credentials.",
)
SHARE_RESTRICTED = click.option(
    "--share-restricted",
    multiple=True,
    metavar="DATASET_ID",
    help="Let --make-public share this dataset though it is gated or private on the Hub.",
)
KEEP_FILES = click.option(
    "--keep-files/--no-keep-files",
    default=False,
    help="Also keep the original files, for loads with data_files=, data_dir=, features= and the like.",
)
NO_UPLOAD = click.option(
    "--no-s3-upload/--s3-upload",
    "skip_s3_upload",
    default=False,
    help="Do not publish anything. Wins over --make-public.",
)
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Show what goes wrong as one message on stderr and exit with 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (HfLocalizeError, OSError, ValueError, RuntimeError) as exc:
            import logging

            logging.getLogger(__name__).debug("the command failed", exc_info=True)
            fail(f"Error: {without_queries(str(exc))}")

    return run


def fail(message: str) -> NoReturn:
    """End the command with *message* on stderr and the exit status 1."""
    click.echo(message, err=True)
    sys.exit(1)
