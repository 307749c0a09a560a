"""The commands that take care of what is stored: check, mend, remove, withdraw, make room."""

from __future__ import annotations

import sys
from typing import Any

import click

from hf_localize.cli.options import NAME, REVISION, YES, fail, reporting
from hf_localize.cli.output import names


@click.command()
@click.argument("dataset_id", required=False)
@NAME
@REVISION
@click.option("--deep", is_flag=True, help="Read all bytes and compare their sha256, not sizes only.")
@click.option("--s3", is_flag=True, help="Check the bucket, not the local store.")
@click.option("--public", is_flag=True, help="Check the public ZIPs, as outsiders read them.")
@reporting
def verify(dataset_id: str | None, **options: Any) -> None:
    """Check whether DATASET_ID, or all that is stored, is still what was stored.

    Prints a line for each entry: dataset id, config name, revision, "ok" or "damaged", place. Each
    damaged file is named on stderr, and the exit status is 1 then.

    Example: hg-localize verify openai/gsm8k --name main --deep
    """
    from hf_localize.upkeep import verify_dataset

    found = verify_dataset(dataset_id, **options)
    for item in found:
        state = "damaged" if item["damaged"] else "ok"
        click.echo("\t".join([*names(item), state, item["place"]]))
        for damage in item["damaged"]:
            click.echo(f"damaged: {damage}", err=True)
    if any(item["damaged"] for item in found):
        fail("What is damaged in the local store can be mended by: hg-localize repair")


@click.command()
@click.argument("dataset_id", required=False)
@NAME
@REVISION
@reporting
def repair(dataset_id: str | None, **options: Any) -> None:
    """Mend what is damaged of DATASET_ID, or of all, in the local store.

    Damaged files, and no others, come from the next source that has the same content. Prints a line
    for each that was mended: dataset id, config name, revision, file, source.

    Example: hg-localize repair openai/gsm8k --name main
    """
    from hf_localize.upkeep import repair_dataset

    for item in repair_dataset(dataset_id, **options):
        for path in item["mended"]:
            click.echo("\t".join([*names(item), path, item["source"]]))


@click.command()
@click.argument("dataset_id")
@NAME
@REVISION
@click.option("--s3", is_flag=True, help="Remove it from the bucket, not from the local store.")
@YES
@reporting
def remove(dataset_id: str, s3: bool, yes: bool, **options: Any) -> None:
    """Remove DATASET_ID from the local store, or from the bucket.

    Asks first if nobody else is known to have it: it did not come from the Hub, and store, bucket and
    public ZIPs have no other copy. What is public stays so: hg-localize withdraw.

    Example: hg-localize remove openai/gsm8k --name main --s3
    """
    from hf_localize.upkeep import remove_dataset

    _confirm(yes, dataset_id, place="s3" if s3 else "local", **options)
    click.echo(remove_dataset(dataset_id, s3=s3, **options).message_or_path)


@click.command()
@click.argument("dataset_id")
@NAME
@REVISION
@YES
@reporting
def withdraw(dataset_id: str, yes: bool, **options: Any) -> None:
    """Take DATASET_ID out of what is public: its record, then its ZIP.

    Asks first if nobody else is known to have it. The bucket's private copy stays.

    Example: hg-localize withdraw openai/gsm8k --name socratic
    """
    from hf_localize.upkeep import withdraw_dataset

    _confirm(yes, dataset_id, place="public", **options)
    click.echo(withdraw_dataset(dataset_id, **options).message_or_path)


@click.command()
@click.option("--max-size", metavar="SIZE", help="Remove until the store has no more, such as 50GB.")
@click.option("--older-than", metavar="TIME", help="Remove what was not used for so long, such as 30d.")
@click.option("--keep", multiple=True, metavar="PATTERN", help="Dataset ids that stay, such as 'openai/*'.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@reporting
def prune(max_size: str | None, older_than: str | None, keep: tuple[str, ...], dry_run: bool) -> None:
    """Remove from the local store what was used longest ago.

    Only what came from the Hub, or is in the bucket or public too; never what a process has open or
    what was used less than an hour ago. When a dataset was used last is as exact as the file system
    records accesses (relatime: to a day). Prints a line for each: dataset id, config name, revision,
    bytes.

    Example: hg-localize prune --older-than 30d --keep 'team/*' --dry-run
    """
    from hf_localize.settings import parse_bytes, parse_seconds
    from hf_localize.upkeep import prune_datasets

    if max_size is None and older_than is None:
        raise click.UsageError("say what is too much: --max-size, --older-than, or both")
    pruned = prune_datasets(
        max_bytes=None if max_size is None else int(parse_bytes("--max-size", max_size)),
        older_than_seconds=None if older_than is None else parse_seconds("--older-than", older_than),
        keep=keep,
        dry_run=dry_run,
    )
    for item in pruned:
        click.echo("\t".join([*names(item), str(item["size_bytes"])]))


def _confirm(yes: bool, dataset_id: str, **where: Any) -> None:
    """Ask whether the only copy that is known of a dataset shall go; where nobody can answer, it stays."""
    from hf_localize.upkeep import is_last_copy

    if yes or not is_last_copy(dataset_id, **where):
        return
    known = f"No other copy of {dataset_id} is known: it can't be got back."
    if not sys.stdin.isatty():
        fail(f"Error: {known} To remove it all the same: --yes")
    click.confirm(f"{known} Remove it?", abort=True, err=True)
