"""The commands that bring datasets: from the Hub or a folder into the store, and from there to the bucket."""

from __future__ import annotations

from typing import Any

import click

from hf_localize.cli.options import (
    KEEP_FILES,
    MAKE_PUBLIC,
    NAME,
    NO_UPLOAD,
    REVISION,
    SHARE_RESTRICTED,
    fail,
    reporting,
)


@click.command()
@click.argument("dataset_ids", metavar="DATASET_ID...", nargs=-1, required=True)
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
@reporting
def download(
    dataset_ids: tuple[str, ...], config_names: tuple[str, ...], all_configs: bool, **options: Any
) -> None:
    """Bring each DATASET_ID into the local store, and publish it to the team's bucket.

    Asked in order: local store, private bucket, public ZIPs, Hub. With credentials, the bucket
    gets a copy if it lacks one. Prints the path of the local copy. Of several datasets or configs
    some are downloaded at a time, and one that fails does not stop the others.

    Example: hg-localize download openai/gsm8k --name main --make-public
    """
    if all_configs and config_names:
        raise click.UsageError("--all-configs and --name exclude each other.")
    if all_configs or len(dataset_ids) > 1 or len(config_names) > 1:
        _download_many(dataset_ids, config_names or (None,), all_configs=all_configs, **options)
        return
    from hf_localize.api import download_dataset

    name = config_names[0] if config_names else None
    click.echo(download_dataset(dataset_ids[0], name, **options).message_or_path)


def _download_many(
    dataset_ids: tuple[str, ...], config_names: tuple[str | None, ...], **options: Any
) -> None:
    from hf_localize.many import download_datasets

    results = download_datasets(dataset_ids, config_names, **options)
    failed = [result for result in results if not result.success]
    for result in results:
        if result.success:
            click.echo(result.path)
    for result in failed:
        click.echo(f"Error: {result}: {result.error}", err=True)
    if failed:
        fail(f"{len(failed)} of {len(results)} downloads failed.")


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.argument("dataset_id")
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@KEEP_FILES
@reporting
def register(path: str, dataset_id: str, **options: Any) -> None:
    """Make the folder PATH the localized dataset DATASET_ID, and publish it.

    PATH is what save_to_disk wrote, or a folder of data files (parquet, csv, json, text,
    images). It is copied. Prints the path of the local copy.

    Example: hg-localize register ./my_corpus team/corpus --revision v2
    """
    from hf_localize.api import register_dataset

    click.echo(register_dataset(path, dataset_id, **options).message_or_path)


@click.command("sync-local-to-s3")
@click.argument("dataset_id")
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
@reporting
def sync_local_to_s3(dataset_id: str, **options: Any) -> None:
    """Bring DATASET_ID from the local store to the bucket, if it is missing there or differs.

    Example: hg-localize sync-local-to-s3 team/corpus --make-public
    """
    from hf_localize.api import sync_local_dataset_to_s3

    click.echo(sync_local_dataset_to_s3(dataset_id, **options).message_or_path)
