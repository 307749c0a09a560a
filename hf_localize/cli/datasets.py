"""The commands that bring datasets: from the Hub or a folder into the store, and from there to the bucket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import (
    ANY_DATASET_ID,
    ANY_DATASET_IDS,
    CONFIG_NAMES,
    DATASET_ID,
    KEEP_FILES,
    MAKE_PUBLIC,
    NAME,
    NO_CHECKS,
    NO_UPLOAD,
    REVISION,
    SHARE_RESTRICTED,
    TRUST_REMOTE_CODE,
    command,
    fail,
)
from hf_localize.cli.output import named, say, show, show_json

if TYPE_CHECKING:
    from hf_localize.api.batch import Download, Sync
    from hf_localize.format.refs import DatasetRef


@command()
@ANY_DATASET_IDS
@CONFIG_NAMES
@click.option("--all-configs", is_flag=True, help="Every config of the repository.")
@REVISION
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="What a list names: lines of ID [CONFIG [REVISION]], # for comments; - is stdin.",
)
@click.option(
    "--locked",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Exactly what this lock file names, or of it each DATASET_ID; nothing is published.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Take the Hub's newest commit in place of an older one; of all that is outdated, if none is named.",
)
@TRUST_REMOTE_CODE
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@KEEP_FILES
@NO_CHECKS
def download(
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    all_configs: bool,
    from_file: str | None,
    locked: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring datasets into the local store, and publish them to the bucket.

    Asked in order for each DATASET_ID: local store, private bucket, public ZIPs, Hub. With
    credentials, the bucket gets a copy if it lacks one. Prints the path of the local copy. Of several
    datasets or configs some are downloaded at a time, and one that fails does not stop the others.
    The same command again goes on with what is missing.

    Example: hg-localize download openai/gsm8k --name main --make-public
    """
    if all_configs and config_names:
        raise click.UsageError("--all-configs and --name exclude each other.")
    if locked is not None:
        _refuse_with_locked(config_names or all_configs or from_file, **options)
        from hf_localize.api.lock import download_locked

        how = {name: options[name] for name in ("trust_remote_code", "verification_mode")}
        _show(download_locked(locked, dataset_ids, **how), as_json)
    elif from_file is not None or (options["update"] and not dataset_ids):
        revision = options.pop("revision")
        if dataset_ids or config_names or all_configs or revision:
            raise click.UsageError("A list names configs and revisions itself.")
        from hf_localize.api.batch import download_refs

        _show(download_refs(_listed(from_file), **options), as_json)
    elif not dataset_ids:
        raise click.UsageError("say what: DATASET_ID..., --from-file FILE, --locked FILE, or --update")
    elif all_configs or len(dataset_ids) > 1 or len(config_names) > 1:
        from hf_localize.api.batch import download_datasets

        names = config_names or (None,)
        _show(download_datasets(dataset_ids, names, all_configs=all_configs, **options), as_json)
    else:
        _download_one(dataset_ids[0], config_names[0] if config_names else None, as_json, **options)


def _refuse_with_locked(others: Any, **options: Any) -> None:
    changing = ("revision", "update", "make_public", "share_restricted", "keep_files")
    if others or any(options[name] for name in changing):
        raise click.UsageError(
            "--locked takes what the file names, as it is: only --trust-remote-code and --no-checks fit."
        )


def _listed(from_file: str | None) -> list[DatasetRef]:
    """Return what a list names; None: all of the store that is outdated."""
    if from_file is None:
        from hf_localize.api.compare import list_outdated

        return [item.ref for item in list_outdated() if item.state == "outdated"]
    from hf_localize.format.listfile import parse_list, read_list

    return parse_list(sys.stdin, "stdin") if from_file == "-" else read_list(Path(from_file))


def _download_one(dataset_id: str, name: str | None, as_json: bool, **options: Any) -> None:
    from hf_localize.api.datasets import download_dataset

    try:
        path = download_dataset(dataset_id, name, **options).message_or_path
    except Exception as exc:
        if as_json:
            from hf_localize.api.batch import failed
            from hf_localize.format.refs import DatasetRef

            show_json([failed(DatasetRef(dataset_id, name, options["revision"]), exc)])
        elif here := getattr(exc, "path", None):  # Only its publishing has failed.
            show(str(here))
        raise
    if not as_json:
        show(path)
        return
    from hf_localize.api.batch import Download

    show_json([Download(dataset_id, name, options["revision"], path=path)])


def _show(results: Sequence[Download] | Sequence[Sync], as_json: bool, what: str = "downloads") -> None:
    """Show what became of many; the exit status is that of the failures, where they have one."""
    failed = [result for result in results if not result.success]
    if as_json:
        show_json(list(results))
    else:
        from hf_localize.api.batch import Sync

        for result in results:
            shown = result.message if isinstance(result, Sync) else result.path
            if shown is not None:  # One that is here, but could not be published, has a path and an error.
                show(shown)
    for result in failed:
        show(f"Error: {result}: {result.error}", err=True)
    if not failed:
        say(f"{len(results)} {what} done.")
    else:
        kinds = {result.error_kind or "failed" for result in failed}
        fail(f"{len(failed)} of {len(results)} {what} failed.", kinds.pop() if len(kinds) == 1 else "failed")


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
    from hf_localize.api.datasets import register_dataset

    made = register_dataset(path, dataset_id, **options).message_or_path
    if as_json:
        show_json({**named(dataset_id, **options), "path": made})
    else:
        show(made)


@command("sync-local-to-s3")
@ANY_DATASET_ID
@click.option("--all", "-a", "is_all", is_flag=True, help="Everything that the local store has.")
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
def sync_local_to_s3(dataset_id: str | None, is_all: bool, as_json: bool, **options: Any) -> None:
    """Bring what the local store has to the bucket.

    Nothing is sent of DATASET_ID if the bucket has the same; what differs is replaced. With --all several
    are sent at a time, and one that fails does not stop the others; the same command again goes on.

    Example: hg-localize sync-local-to-s3 team/corpus --make-public
    """
    if is_all == (dataset_id is not None):
        raise click.UsageError("say what: DATASET_ID, or --all")
    if dataset_id is None:
        from hf_localize.api.batch import sync_local_datasets_to_s3

        if options.pop("config_name") or options.pop("revision"):
            raise click.UsageError("--all is every config and revision that is here")
        _show(sync_local_datasets_to_s3(**options), as_json, "uploads")
        return
    from hf_localize.api.datasets import sync_local_dataset_to_s3

    done = sync_local_dataset_to_s3(dataset_id, **options).message_or_path
    if as_json:
        from hf_localize.api.batch import Sync

        show_json([Sync(dataset_id, options["config_name"], options["revision"], message=done)])
    else:
        show(done)
