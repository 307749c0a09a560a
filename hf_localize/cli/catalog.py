"""The command that makes a catalog."""

from __future__ import annotations

from typing import Any

import click

from hf_localize.cli.options import command, fail
from hf_localize.cli.output import show, show_json


@command(page="catalog.md")
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Write the catalog into this folder.",
)
@click.option("--publish", is_flag=True, help="Upload the catalog to the bucket, under a prefix of its own.")
@click.option(
    "--public", is_flag=True, help="Describe what is shared publicly, as people without credentials see it."
)
@click.option("--title", metavar="TEXT", help="Title of the catalog. Default: the name of the bucket.")
@click.option("--contact", metavar="TEXT", help="Contact for access: an email address, a URL or text.")
@click.option(
    "--rows",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    help="Number of rows to show from each of a dataset's first splits.",
)
def catalog(output: str | None, publish: bool, as_json: bool, **options: Any) -> None:
    """Write a catalog of datasets: web pages that need no server.

    The catalog describes the datasets in the bucket or, without credentials or with --public, those that
    are shared publicly. With --publish, everyone can read a public catalog; a private one needs
    credentials. Prints the location of the first page. A dataset that can't be read has a page that
    says why, and the exit status is then 1.

    Example: hg-localize catalog --output ./catalog
    """
    from hf_localize.catalog.catalog import publish_catalog, write_catalog

    if publish == (output is not None):
        raise click.UsageError("name the target: --output DIR or --publish")
    made = publish_catalog(**options) if output is None else write_catalog(output, **options)
    if as_json:
        show_json(made)
    else:
        show(made.place)
    if made.unread:
        fail(f"These datasets could not be read; their pages say why: {', '.join(map(str, made.unread))}")
