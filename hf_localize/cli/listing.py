"""The commands that list what is stored, and where."""

from __future__ import annotations

import click

from hf_localize.cli.options import reporting
from hf_localize.cli.output import show


@click.command("list-local")
@reporting
def list_local() -> None:
    """List the datasets of the local store: dataset id, config name, revision.

    Those of which loads have brought only a part are no datasets for other commands: they are
    named on stderr, with what is here and the command that brings the rest.

    Example: hg-localize list-local
    """
    from hf_localize.api import list_local_datasets, list_partial_datasets
    from hf_localize.entries import download_command

    show(list_local_datasets())
    for ref, summary in list_partial_datasets():
        click.echo(f"only a part of {ref}: {summary}. All of it: {download_command(ref)}", err=True)


@click.command("list-s3")
@click.option(
    "--all-folders",
    is_flag=True,
    help="Where there is an index: look for data without one in all folders, not in 1,000.",
)
@reporting
def list_s3(all_folders: bool) -> None:
    """List the datasets of the bucket; without credentials, those that are shared publicly.

    Example: hg-localize list-s3
    """
    from hf_localize.api import list_s3_datasets

    show(list_s3_datasets(all_folders))
