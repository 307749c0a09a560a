"""The commands that carry datasets in a tar file."""

from __future__ import annotations

import click

from hf_localize.cli.datasets import show_results
from hf_localize.cli.options import DATASET_IDS, REVISION, STORED_NAMES, command
from hf_localize.cli.output import say, show, show_json
from hf_localize.text import plural


@command()
@DATASET_IDS
@STORED_NAMES
@REVISION
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    required=True,
    help="Tar file to write.",
)
def export(
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    revision: str | None,
    output: str,
    as_json: bool,
) -> None:
    """Write datasets of the local store into a tar file, for a machine without a network.

    If no config is named, all stored configs of an id are written. Each file is checked. To resume, run the
    same command again. Read the file with hg-localize import, or unpack it with tar into a local store.

    Example: hg-localize export openai/gsm8k team/corpus -o datasets.tar
    """
    from hf_localize.api.archive import export_datasets

    made = export_datasets(dataset_ids, output, config_names or (None,), revision)
    if as_json:
        show_json({"path": output, "datasets": [ref.as_dict() for ref in made]})
    else:
        show(output)
        say(f"{plural(len(made), 'dataset')} written: {', '.join(map(str, made))}")


@command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def import_(file: str, as_json: bool) -> None:
    """Read the datasets of a tar file into the local store.

    FILE is a tar file that hg-localize export wrote. Each file in it is checked against its sha256. Prints
    the path of each dataset. To resume, run the same command again.

    Example: hg-localize import datasets.tar
    """
    from hf_localize.api.archive import import_datasets

    show_results(import_datasets(file), as_json, "imports")
