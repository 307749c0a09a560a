"""The command that makes a catalogue."""

from __future__ import annotations

import click

from hf_localize.cli.options import command, fail
from hf_localize.cli.output import show, show_json


@command()
@click.option(
    "--output", "-o", metavar="DIR", type=click.Path(file_okay=False), help="Write it into this folder."
)
@click.option("--publish", is_flag=True, help="Upload it to the bucket, into a place of its own.")
@click.option("--public", is_flag=True, help="Of what is shared publicly, as outsiders see it.")
@click.option("--title", metavar="TEXT", help="Default: after the bucket.")
@click.option("--contact", metavar="TEXT", help="Whom to ask for access: a mail address, a URL or words.")
@click.option(
    "--rows",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    help="Rows that are shown of each of a dataset's first splits; 0: none.",
)
def catalog(
    output: str | None,
    publish: bool,
    public: bool,
    title: str | None,
    contact: str | None,
    rows: int,
    as_json: bool,
) -> None:
    """Make a catalogue to look at: pages for browsers that need no server.

    Of what is in the bucket; without credentials, or with --public, of what is shared publicly. With
    --publish a public catalogue lies where everybody can read it, the other where only people with
    credentials can. Prints where it begins. A dataset that can't be read has a page that says why, and
    the exit status is 1 then.

    Example: hg-localize catalog --output ./catalog
    """
    from hf_localize.catalog.catalog import publish_catalog, write_catalog

    if publish == (output is not None):
        raise click.UsageError("say where it goes: --output DIR or --publish")
    if output is not None:
        made = write_catalog(output, public, title, contact, rows)
    else:
        made = publish_catalog(public, title, contact, rows)
    if as_json:
        show_json(made)
    else:
        show(made.place)
    if made.unread:
        fail(f"Its pages say why these could not be read: {', '.join(map(str, made.unread))}")
