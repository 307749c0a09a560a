"""The commands that bring datasets: from the Hub or a folder into the store, and from there to the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import (
    DATASET_ID,
    DATASET_IDS,
    KEEP_FILES,
    MAKE_PUBLIC,
    NAME,
    NO_UPLOAD,
    REVISION,
    SHARE_RESTRICTED,
    command,
    fail,
)
from hf_localize.cli.output import named, show_json

if TYPE_CHECKING:
    from hf_localize.many import Download


@command()
@DATASET_IDS
@click.option(
    "--name",
    "-n",
    "config_names",
    multiple=True,
    metavar="TEXT",
    help="Config name; may be given several times. Default: the default config.",
)
@click.option("--all-configs", is_flag=True, help="Every config of the repository.")
@REVISION
@click.option(
    "--trust-remote-code/--no-trust-remote-code",
    default=False,
    help="Run the dataset's loading script (datasets < 4).",
)
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@KEEP_FILES
def download(
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    all_configs: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring datasets into the local store, and publish them to the bucket.

    Asked in order for each DATASET_ID: local store, private bucket, public ZIPs, Hub. With
    credentials, the bucket gets a copy if it lacks one. Prints the path of the local copy. Of several
    datasets or configs some are downloaded at a time, and one that fails does not stop the others.

    Example: hg-localize download openai/gsm8k --name main --make-public
    """
    if all_configs and config_names:
        raise click.UsageError("--all-configs and --name exclude each other.")
    if all_configs or len(dataset_ids) > 1 or len(config_names) > 1:
        from hf_localize.many import download_datasets

        names = config_names or (None,)
        _show(download_datasets(dataset_ids, names, all_configs=all_configs, **options), as_json)
    else:
        _download_one(dataset_ids[0], config_names[0] if config_names else None, as_json, **options)


def _download_one(dataset_id: str, name: str | None, as_json: bool, **options: Any) -> None:
    from hf_localize.api import download_dataset

    try:
        path = download_dataset(dataset_id, name, **options).message_or_path
    except Exception as exc:
        if as_json:
            from hf_localize.many import failed
            from hf_localize.refs import DatasetRef

            show_json([failed(DatasetRef(dataset_id, name, options["revision"]), exc)])
        raise
    if not as_json:
        click.echo(path)
        return
    from hf_localize.many import Download

    show_json([Download(dataset_id, name, options["revision"], path=path)])


def _show(results: Sequence[Download], as_json: bool) -> None:
    """Show what became of many downloads; the exit status is that of the failures, where they have one."""
    failed = [result for result in results if not result.success]
    if as_json:
        show_json(list(results))
    else:
        for result in results:
            if result.success:
                click.echo(result.path)
    for result in failed:
        click.echo(f"Error: {result}: {result.error}", err=True)
    if failed:
        kinds = {result.error_kind or "failed" for result in failed}
        fail(
            f"{len(failed)} of {len(results)} downloads failed.", kinds.pop() if len(kinds) == 1 else "failed"
        )


@command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@DATASET_ID
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@KEEP_FILES
def register(path: str, dataset_id: str, as_json: bool, **options: Any) -> None:
    """Make a folder of your own data a dataset, and publish it.

    PATH is what save_to_disk wrote, or a folder of data files (parquet, csv, json, text, images). It
    is copied, and DATASET_ID names it from then on. Prints the path of the local copy.

    Example: hg-localize register ./my_corpus team/corpus --revision v2
    """
    from hf_localize.api import register_dataset

    made = register_dataset(path, dataset_id, **options).message_or_path
    if as_json:
        show_json({**named(dataset_id, **options), "path": made})
    else:
        click.echo(made)


@command("sync-local-to-s3")
@DATASET_ID
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
def sync_local_to_s3(dataset_id: str, as_json: bool, **options: Any) -> None:
    """Bring what the local store has to the bucket.

    Nothing is sent of DATASET_ID if the bucket has the same; what differs is replaced.

    Example: hg-localize sync-local-to-s3 team/corpus --make-public
    """
    from hf_localize.api import sync_local_dataset_to_s3

    done = sync_local_dataset_to_s3(dataset_id, **options).message_or_path
    if as_json:
        show_json([{**named(dataset_id, **options), "message": done}])
    else:
        click.echo(done)
