"""The command that writes lock files."""

from __future__ import annotations

from typing import Any

import click

from hf_localize.cli.options import ANY_DATASET_IDS, CONFIG_NAMES, REVISION, TRUST_REMOTE_CODE, command
from hf_localize.cli.output import say, show, show_json


@command()
@ANY_DATASET_IDS
@CONFIG_NAMES
@REVISION
@TRUST_REMOTE_CODE
@click.option(
    "--from-record",
    type=click.Path(exists=True),
    metavar="PATH",
    help="Lock what was loaded while HGLOC_RECORD named this file or folder. Default, without DATASET_ID: "
    "the one that it names now.",
)
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Read datasets from a file with lines of ID [CONFIG [REVISION]].",
)
@click.option("--by-commit", is_flag=True, help="Pin the commit on the Hub, if there is one.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    default="datasets.lock",
    metavar="FILE",
    help="File to write. Default: datasets.lock; - is stdout.",
)
def lock(
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    from_record: str | None,
    from_file: str | None,
    output: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a lock file that pins the exact content of datasets.

    The file names, for each dataset that was loaded or is given, its id, config, revision, commit and
    digest. hg-localize download --locked FILE, install(lock=FILE) and HGLOC_LOCK=FILE then use exactly this
    content, or fail.

    Example: hg-localize lock --from-record loads.jsonl -o datasets.lock
    """
    from hf_localize.api.lock import lock_datasets
    from hf_localize.format.lockfile import as_json as as_document
    from hf_localize.settings import current

    record = current().record
    if not dataset_ids and from_file is None and from_record is None:
        if record is None:
            raise click.UsageError("say what: DATASET_ID..., --from-file FILE, or --from-record PATH")
        from_record = str(record)
    made = lock_datasets(
        dataset_ids, config_names or (None,), from_record=from_record, from_file=from_file, **options
    )
    if output == "-":
        click.echo(made.to_bytes(), nl=False)
        return
    made.write(output)
    if as_json:
        show_json({"path": output, "datasets": [as_document(item) for item in made.datasets]})
    else:
        show(output)
        say(f"{len(made.datasets)} datasets are locked")
