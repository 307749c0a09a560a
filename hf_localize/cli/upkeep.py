"""The commands that take care of what is stored: check, mend, remove, withdraw, make room."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from hf_localize.cli.options import ANY_DATASET, ONE_DATASET, RAW_FILES, YES, command, fail
from hf_localize.cli.output import named, names, say, show, show_found, show_json

if TYPE_CHECKING:
    from hf_localize.format.repository import RepoType


@command()
@ANY_DATASET
@click.option("--deep", is_flag=True, help="Compare the sha256 of all bytes, not only sizes.")
@click.option("--s3", is_flag=True, help="Check the bucket, not the local store.")
@click.option(
    "--public", is_flag=True, help="Check the public ZIPs, as people without credentials read them."
)
@RAW_FILES
def verify(
    dataset_id: str | None, as_json: bool, repo_type: RepoType, files_only: bool, **options: Any
) -> None:
    """Check that stored files are complete and undamaged.

    Checks DATASET_ID, or everything. Prints a line for each entry: dataset id, config name, revision, "ok"
    or "damaged", location. Damaged files are named on stderr, and the exit status is then 6.

    Example: hg-localize verify openai/gsm8k --name main --deep
    """
    if repo_type != "dataset" or files_only:
        if dataset_id is None or options["s3"] or options["public"] or options["config_name"]:
            raise click.UsageError("files as they are: name the repository; only the store's are checked")
        from hf_localize.api.repositories import verify_repository

        found = verify_repository(dataset_id, repo_type=repo_type, revision=options["revision"])
    else:
        from hf_localize.api.upkeep import verify_dataset

        found = verify_dataset(dataset_id, **options)
    rows = ([*names(item), "damaged" if item["damaged"] else "ok", item["place"]] for item in found)
    show_found(found, as_json, rows, ("DATASET", "CONFIG", "REVISION", "STATE", "PLACE"), ("PLACE",))
    for item in found:
        for damage in item["damaged"]:
            show(f"damaged: {damage}", err=True)
    if any(item["damaged"] for item in found):
        again = "HGLOC_VERIFY=always hg-localize sync-local-to-s3 DATASET_ID"
        cures = {
            "s3": f"What is damaged in the bucket can be sent again by who has it: {again}",
            "public": f"A damaged public ZIP can be sent again by who has the dataset: {again} --make-public",
        }
        asked = [cure for place, cure in cures.items() if options[place]]
        here = "What is damaged in the local store can be mended by: hg-localize repair"
        fail("\n".join(asked or [here]), "corrupt")


@command()
@ANY_DATASET
def repair(dataset_id: str | None, as_json: bool, **options: Any) -> None:
    """Replace damaged files in the local store.

    Repairs DATASET_ID, or everything. Only damaged files are replaced, from the next source that has the
    same content. Prints a line for each: dataset id, config name, revision, file, source.

    Example: hg-localize repair openai/gsm8k --name main
    """
    from hf_localize.api.upkeep import repair_dataset

    mended = repair_dataset(dataset_id, **options)
    rows = ([*names(item), path, item["source"]] for item in mended for path in item["mended"])
    show_found(mended, as_json, rows, ("DATASET", "CONFIG", "REVISION", "FILE", "SOURCE"))
    if not as_json and not any(item["mended"] for item in mended):
        say("Nothing to repair.")


@command()
@ONE_DATASET
@RAW_FILES
@click.option("--s3", is_flag=True, help="Remove it from the bucket, not from the local store.")
@YES
def remove(
    dataset_id: str,
    repo_type: RepoType,
    files_only: bool,
    s3: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove a dataset, or files of a repository, from the local store or from the bucket.

    Asks for confirmation if this is the last known copy: the dataset is not from the Hub, and neither the
    store, the bucket nor the public ZIPs have another one. A public copy stays; to remove it, use
    hg-localize withdraw.

    Example: hg-localize remove openai/gsm8k --name main --s3
    """
    if repo_type != "dataset" or files_only:
        _remove_files(dataset_id, "s3" if s3 else "local", repo_type, as_json, **options)
        return
    from hf_localize.api.upkeep import remove_dataset

    _confirm(yes, dataset_id, place="s3" if s3 else "local", **options)
    _show_done(remove_dataset(dataset_id, s3=s3, **options).message_or_path, as_json, dataset_id, **options)


@command()
@ONE_DATASET
@RAW_FILES
@YES
def withdraw(
    dataset_id: str, repo_type: RepoType, files_only: bool, yes: bool, as_json: bool, **options: Any
) -> None:
    """Stop sharing a dataset, or files of a repository, publicly.

    Removes its public record, then its ZIP. Asks for confirmation if this is the last known copy. The
    private copy in the bucket stays.

    Example: hg-localize withdraw openai/gsm8k --name socratic
    """
    if repo_type != "dataset" or files_only:
        _remove_files(dataset_id, "public", repo_type, as_json, **options)
        return
    from hf_localize.api.upkeep import withdraw_dataset

    _confirm(yes, dataset_id, place="public", **options)
    _show_done(withdraw_dataset(dataset_id, **options).message_or_path, as_json, dataset_id, **options)


def _remove_files(
    repo_id: str,
    place: Literal["local", "s3", "public"],
    repo_type: RepoType,
    as_json: bool,
    *,
    config_name: str | None,
    revision: str | None,
) -> None:
    if config_name is not None:
        raise click.UsageError("files as they are have no configs")
    from hf_localize.api.repositories import remove_repository

    done = remove_repository(repo_id, repo_type=repo_type, revision=revision, place=place)
    _show_done(done.message_or_path, as_json, repo_id, config_name=None, revision=revision)


@command()
@click.option(
    "--max-size", metavar="SIZE", help="Remove datasets until the store has at most this size, such as 50GB."
)
@click.option(
    "--older-than", metavar="TIME", help="Remove datasets that were not used for this time, such as 30d."
)
@click.option(
    "--keep", multiple=True, metavar="PATTERN", help="Keep datasets with these ids, such as 'openai/*'."
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
def prune(
    max_size: str | None, older_than: str | None, keep: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Remove the least recently used datasets from the local store.

    Removes only datasets that came from the Hub, or that are in the bucket or public. Datasets that a
    process has open, or that were used within the last hour, stay. The time of last use is as exact as the
    file system records it (relatime: one day). Prints a line for each: dataset id, config name, revision,
    bytes.

    Example: hg-localize prune --older-than 30d --keep 'team/*' --dry-run
    """
    from hf_localize.api.upkeep import prune_datasets
    from hf_localize.settings import parse_bytes, parse_seconds

    if max_size is None and older_than is None:
        raise click.UsageError("say what is too much: --max-size, --older-than, or both")
    pruned = prune_datasets(
        max_bytes=None if max_size is None else int(parse_bytes("--max-size", max_size)),
        older_than_seconds=None if older_than is None else parse_seconds("--older-than", older_than),
        keep=keep,
        dry_run=dry_run,
    )
    rows = ([*names(item), item["size_bytes"]] for item in pruned)
    show_found(pruned, as_json, rows, ("DATASET", "CONFIG", "REVISION", "BYTES"))
    if not as_json and not pruned:
        say("Nothing to remove.")


def _show_done(message: str, as_json: bool, dataset_id: str, **options: Any) -> None:
    if as_json:
        show_json({**named(dataset_id, **options), "message": message})
    else:
        show(message)


def _confirm(yes: bool, dataset_id: str, **where: Any) -> None:
    """Ask whether the only copy that is known of a dataset shall go; where nobody can answer, it stays."""
    from hf_localize.api.upkeep import is_last_copy

    if yes or not is_last_copy(dataset_id, **where):
        return
    known = f"No other copy of {dataset_id} is known: it can't be got back."
    if not sys.stdin.isatty():
        fail(f"Error: {known} To remove it all the same: --yes")
    click.confirm(f"{known} Remove it?", abort=True, err=True)
