"""The commands that compare what is stored: with the bucket, and with the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import ANY_DATASET, EXIT_CODES, RAW_FILES, call_either, command, in_places
from hf_localize.cli.output import names, say, show, show_found

if TYPE_CHECKING:
    from hf_localize.api.values import Difference, Status

_SHORT = 12
_ALL = click.option("--all", "-a", "is_all", is_flag=True, help="Also list datasets without a difference.")


@command()
@ANY_DATASET
@RAW_FILES
@_ALL
@click.option("--exit-code", is_flag=True, help="Exit with status 6 if anything differs.")
@click.pass_context
def diff(
    ctx: click.Context,
    /,
    dataset_id: str | None,
    is_all: bool,
    exit_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare the local store with the bucket.

    Compares all datasets, or DATASET_ID, by digests and files, without reading data. Prints a line for each
    difference: dataset id, config name, revision, state ("different", "only local", "only s3", or "unknown"
    if no sha256 is recorded), local digest, remote digest; and then the files that differ.

    Example: hg-localize diff openai/gsm8k --name main
    """
    from hf_localize.api.compare import diff_datasets
    from hf_localize.api.repository_upkeep import diff_repositories

    found = call_either(diff_datasets, diff_repositories, dataset_id, **options)
    shown = [item for item in found if is_all or dataset_id is not None or item.state != "same"]
    rows = ([*names(item), item.state, _short(item.local_digest), _short(item.s3_digest)] for item in shown)
    headings = ("DATASET", "CONFIG", "REVISION", "STATE", "DIGEST HERE", "DIGEST THERE")
    show_found(shown, as_json, rows, headings, headings[:3:-1])
    for item, file in [(one, file) for one in shown for file in one.files if not as_json]:
        both = (file.local_bytes, "here"), (file.s3_bytes, "there")
        sizes = (f"{'none' if n is None else n} {where}" for n, where in both)
        show(f"  {item.dataset_id}: {file.path} ({', '.join(sizes)} bytes)", err=True)
    if not as_json:
        _tell_more(found)
    say(f"{sum(item.state == 'same' for item in found)} of {len(found)} are the same here and in the bucket")
    if exit_code and any(item.state != "same" for item in found):
        ctx.exit(EXIT_CODES["conflict"])


@command()
@ANY_DATASET
@RAW_FILES
@_ALL
@in_places("s3", text="Look at the datasets in the local store or in the bucket.")
def outdated(dataset_id: str | None, is_all: bool, as_json: bool, **options: Any) -> None:
    """List the datasets that have a newer commit on the Hub.

    Looks at datasets from the Hub that are stored under a branch or tag. Prints a line for each: dataset
    id, config name, revision, state ("outdated", "gone" from the Hub, or "unknown"), stored commit, commit
    on the Hub. To download the newer commits, use hg-localize download --update.

    Example: hg-localize outdated
    """
    from hf_localize.api.compare import list_outdated
    from hf_localize.api.repository_upkeep import outdated_repositories

    found = call_either(list_outdated, outdated_repositories, dataset_id, **options)
    shown = [item for item in found if is_all or item.state not in ("current", "pinned")]
    rows = ([*names(item), item.state, _short(item.commit), _short(item.hub_commit)] for item in shown)
    headings = ("DATASET", "CONFIG", "REVISION", "STATE", "COMMIT", "ON THE HUB")
    show_found(shown, as_json, rows, headings, headings[:3:-1])
    if not as_json:
        say(f"{sum(item.state == 'outdated' for item in found)} of {len(found)} from the Hub are outdated")
        why = next((r for item in found if (r := item.reason or "").startswith("not asked")), None)
        if why is not None:
            say(f"The Hub was {why}. To compare with the bucket: hg-localize diff")


@command()
@ANY_DATASET
def status(dataset_id: str | None, as_json: bool, **options: Any) -> None:
    """Compare each stored dataset with the bucket and with the Hub.

    Shows the results of diff and outdated in one table: dataset id, config name, revision; whether the
    bucket has the same content ("same", "different", "only local", "only s3", "unknown"); and whether the
    Hub has a newer commit ("current", "outdated", "pinned", "gone", "unknown", or "own" for data that is not
    from the Hub).

    Example: hg-localize status
    """
    from hf_localize.api.compare import status_of_datasets

    found = status_of_datasets(dataset_id, **options)
    rows = ([*names(item), item.bucket, item.hub] for item in found)
    show_found(found, as_json, rows, ("DATASET", "CONFIG", "REVISION", "BUCKET", "HUB"), ())
    if not found:
        say("Nothing is stored.")
    if not as_json:
        _tell_more(found)


def _tell_more(found: Iterable[Difference | Status]) -> None:
    """Tell which datasets were removed from the bucket, and which are only partly stored."""
    from hf_localize.sources.base import download_command

    for item in found:
        if item.is_partial:
            rest = f"To download the rest: {download_command(item.ref)}"
            say(f"{item.ref}: only a part of it is in the local store. {rest}")
        if item.was_removed:
            say(
                f"{item.ref} was fetched from the bucket, and has been removed there. The local copy is kept."
            )


def _short(text: str | None) -> str | None:
    return text and text[:_SHORT]
