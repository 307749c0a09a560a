"""The commands that take care of what is stored: check, mend, remove, withdraw, make room."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from hf_localize.cli.datasets import show_plan
from hf_localize.cli.options import (
    ANY_DATASET,
    DRY_RUN,
    ONE_DATASET,
    RAW_FILES,
    YES,
    are_files,
    call_either,
    command,
    fail,
    in_places,
)
from hf_localize.cli.output import named, names, say, show, show_found, show_json

if TYPE_CHECKING:
    from hf_localize.api.values import RepairedDataset
    from hf_localize.format.repository import RepoType


@command()
@ANY_DATASET
@click.option("--deep", is_flag=True, help="Compare the sha256 of all bytes, not only sizes.")
@in_places(
    "s3", "public", text="Check the local store, the bucket, or the public ZIPs as read without credentials."
)
@click.option("--repair", "repairs", is_flag=True, help="First replace damaged files, as repair does.")
@RAW_FILES
def verify(dataset_id: str | None, as_json: bool, repairs: bool, **options: Any) -> None:
    """Check that stored files are complete and undamaged.

    Checks DATASET_ID, or everything. Prints a line for each entry: dataset id, config name, revision, "ok"
    or "damaged", location. Files of repositories are checked too. They have a line only if
    they are damaged, or with --repo-type or --files-only; their number is on stderr. Damaged files are named
    on stderr, and the exit status is then 6.

    Example: hg-localize verify openai/gsm8k --name main --deep
    """
    if repairs:
        if options["s3"] or options["public"]:
            raise click.UsageError("--repair works on the local store: leave out --in")
        named = ("config_name", "revision", "repo_type", "files_only")
        _repaired(dataset_id, **{name: options[name] for name in named})
    from hf_localize.api.repository_upkeep import verify_repositories
    from hf_localize.api.upkeep import verify_dataset

    found = call_either(verify_dataset, verify_repositories, dataset_id, **options)
    rows = ([*names(item), "damaged" if item["damaged"] else "ok", item["place"]] for item in found)
    show_found(found, as_json, rows, ("DATASET", "CONFIG", "REVISION", "STATE", "PLACE"), ("PLACE",))
    if not found and not as_json:
        say("Nothing to verify.")
    for item in found:
        for damage in item["damaged"]:
            show(f"damaged: {' '.join(names(item))}: {damage}", err=True)
    if any(item["damaged"] for item in found):
        from hf_localize.sources.session import current_session

        again = "HGLOC_VERIFY=always hg-localize sync-local-to-s3 DATASET_ID"
        cures = {
            "s3": f"To repair the bucket, on a machine that has an intact copy: {again}",
            "public": f"To repair a public ZIP, on a machine that has an intact copy: {again} --make-public",
        }
        asked = [cure for place, cure in cures.items() if options[place]]
        here = "To repair the local store: hg-localize repair"
        if current_session().enabled == ("local",):
            here = (
                "To repair the local store, import a tar file that has what is damaged: hg-localize import "
                "FILE. Or enable another source, and run: hg-localize repair"
            )
        fail("\n".join(asked or [here]), "corrupt")


@command()
@ANY_DATASET
@RAW_FILES
def repair(as_json: bool, **options: Any) -> None:
    """Replace damaged files in the local store.

    Repairs DATASET_ID, or everything. Only damaged files are replaced, from the next source that has the
    same content. Prints a line for each: dataset id, config name, revision, file, source.

    Example: hg-localize repair openai/gsm8k --name main
    """
    mended = _repaired(**options)
    rows = ([*names(item), path, item["source"]] for item in mended for path in item["mended"])
    show_found(mended, as_json, rows, ("DATASET", "CONFIG", "REVISION", "FILE", "SOURCE"))
    if not as_json and not any(item["mended"] for item in mended):
        say("Nothing to repair.")


def _repaired(dataset_id: str | None, **named: Any) -> list[RepairedDataset]:
    from hf_localize.api.repository_upkeep import repair_repositories
    from hf_localize.api.upkeep import repair_dataset

    return call_either(repair_dataset, repair_repositories, dataset_id, **named)


@command()
@ONE_DATASET
@RAW_FILES
@in_places("s3", text="Remove it from the local store or from the bucket.")
@DRY_RUN
@YES
def remove(s3: bool, **options: Any) -> None:
    """Remove a dataset, or files of a repository, from the local store or from the bucket.

    Asks for confirmation if this is the last known copy: the dataset is not from the Hub, and neither the
    store, the bucket nor the public ZIPs have another one. A public copy stays; to remove it, use
    hg-localize withdraw.

    Example: hg-localize remove openai/gsm8k --name main --in s3
    """
    _take_away("s3" if s3 else "local", **options)


@command()
@ONE_DATASET
@RAW_FILES
@DRY_RUN
@YES
def withdraw(**options: Any) -> None:
    """Stop sharing a dataset, or files of a repository, publicly.

    Removes its public record, its ZIP, its page in the public catalog, and the public files of its
    repository, because they hold all configs. With --files-only, only the files are removed. Asks for
    confirmation if this is the last known copy. The private copies in the bucket stay.

    Example: hg-localize withdraw openai/gsm8k --name socratic
    """
    _take_away("public", **options)


def _take_away(
    place: Literal["local", "s3", "public"],
    dataset_id: str,
    repo_type: RepoType,
    files_only: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove what *place* has of a dataset, or of the files of a repository."""
    from hf_localize.api.upkeep import remove_dataset, withdraw_dataset

    if are_files(repo_type, files_only, options["config_name"]):
        del options["config_name"]
        if dry_run:
            from hf_localize.api.plan import planned_files

            action = "withdraw" if place == "public" else "remove"
            show_plan(planned_files(action, dataset_id, repo_type=repo_type, place=place, **options), as_json)
            return
        from hf_localize.api.stored_repositories import remove_repository

        done = remove_repository(dataset_id, repo_type=repo_type, place=place, **options)
        options["config_name"] = None
    elif dry_run:
        from hf_localize.api.plan import planned_removals
        from hf_localize.format.refs import DatasetRef

        show_plan(planned_removals(DatasetRef(dataset_id, **options), place), as_json)
        return
    else:
        _confirm(yes, place, dataset_id, **options)
        if place == "public":
            done = withdraw_dataset(dataset_id, **options)
        else:
            done = remove_dataset(dataset_id, s3=place == "s3", **options)
    if as_json:
        show_json({**named(dataset_id, **options), "message": done.message_or_path})
    else:
        show(done.message_or_path)


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
@DRY_RUN
def prune(
    max_size: str | None, older_than: str | None, keep: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Remove the least recently used datasets and repositories from the local store.

    Removes only datasets that came from the Hub, or that are in the bucket or public. Datasets that a
    process has open, or that were used within the last hour, stay. The time of last use is as exact as the
    file system records it (relatime: one day). Prints a line for each: dataset id, config name, revision,
    bytes.

    Example: hg-localize prune --older-than 30d --keep 'team/*' --dry-run
    """
    from hf_localize.api.upkeep import prune_datasets
    from hf_localize.settings import parse_bytes, parse_seconds

    if max_size is None and older_than is None:
        raise click.UsageError("give a limit: --max-size, --older-than, or both")
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


def _confirm(yes: bool, place: str, dataset_id: str, **options: Any) -> None:
    """Ask whether the only copy that is known of a dataset shall go; where nobody can answer, it stays."""
    from hf_localize.api.plan import planned_removal
    from hf_localize.errors import DatasetNotFoundError
    from hf_localize.format.refs import DatasetRef

    if yes:
        return
    try:
        planned, is_last_copy = planned_removal(DatasetRef(dataset_id, **options), place)
    except DatasetNotFoundError:  # Something may be left of it all the same.
        return
    if not is_last_copy:
        return
    config, revision = planned.config_name or "default", planned.revision or "main"
    known = (
        f"No other copy of {planned.dataset_id}, config {config}, revision {revision}, is known, so "
        "it can't be restored."
    )
    if not sys.stdin.isatty():
        fail(f"Error: {known} To remove it anyway: --yes")
    click.confirm(f"{known} Remove it?", abort=True, err=True)
