"""The commands that bring datasets: from the Hub or a folder into the store, and from there to the bucket."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import (
    ANY_DATASET_ID,
    ANY_DATASET_IDS,
    CONFIG_NAMES,
    DRY_RUN,
    FILES,
    KEEP_FILES,
    LIST_FILE,
    MAKE_PUBLIC,
    NAME,
    NO_CHECKS,
    NO_UPLOAD,
    ONE_DATASET,
    RAW_FILES,
    REPO_TYPE,
    REVISION,
    SHARE_RESTRICTED,
    TRUST_REMOTE_CODE,
    call_either,
    command,
    fail_for,
)
from hf_localize.cli.output import named, names, say, show, show_found, show_json, size
from hf_localize.text import plural

if TYPE_CHECKING:
    from hf_localize.api.batch import Download, Sync
    from hf_localize.api.plan import Planned
    from hf_localize.format.listfile import RepositoryRef
    from hf_localize.format.refs import DatasetRef
    from hf_localize.format.repository import RepoType

_PLANNED = ("DATASET", "CONFIG", "REVISION", "ACTION", "BYTES", "PLACE")


@command()
@ANY_DATASET_IDS
@REPO_TYPE
@CONFIG_NAMES
@click.option("--all-configs", is_flag=True, help="Download every config of the repository.")
@REVISION
@LIST_FILE
@click.option(
    "--locked",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Download exactly the content that this lock file names: all of it, or each DATASET_ID. Uploads "
    "nothing.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Replace stored datasets by what the bucket, the public ZIPs or the Hub have now. Without "
    "DATASET_ID: all that differ. With --repo-type or --files-only, only of DATASET_ID.",
)
@click.option(
    "--files-only", is_flag=True, help="Store the files of the repository as they are, and prepare nothing."
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="For models, Spaces and --files-only: store, upload and share only these files.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="For models, Spaces and --files-only: leave these out.",
)
@TRUST_REMOTE_CODE
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@FILES
@NO_CHECKS
@DRY_RUN
def download(
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    all_configs: bool,
    from_file: str | None,
    locked: str | None,
    repo_type: RepoType,
    files_only: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Download datasets, models or Spaces into the local store and upload them to the bucket.

    Each DATASET_ID is looked for in the local store, the private bucket, the public ZIPs and the Hub, in
    this order. With credentials, it is also uploaded to the bucket, unless the bucket has it. Prints the
    path of the local copy. Several datasets or configs are downloaded in parallel, and a failure does not
    stop the others. To resume, run the same command again.

    \b
    Examples:
      hg-localize download openai/gsm8k --name main
      hg-localize download openai/gsm8k --all-configs --make-public
      hg-localize download --from-file datasets.txt --dry-run
    """  # noqa: D301  # An escaped b is how click is told to keep the lines.
    if repo_type != "dataset" or files_only or include or exclude:
        others = [options.pop(name) for name in ("trust_remote_code", "verification_mode")]
        others += [config_names, all_configs, from_file, locked]
        if any(others) or options.pop("keep_files") is not None:
            raise click.UsageError(
                "--files-only, --include, --exclude and --repo-type store files and no dataset: with them, "
                "use only --revision, --update and the options for publishing. To share a dataset without "
                "its files: --make-public --no-files"
            )
        _download_files(dataset_ids, repo_type, dry_run, as_json, include=include, exclude=exclude, **options)
        return
    if all_configs and config_names:
        raise click.UsageError("--all-configs and --name exclude each other.")
    if locked is not None:
        _refuse_with_locked(config_names or all_configs or from_file, **options)
        from hf_localize.api.lock import download_locked, lock_in_force

        if dry_run:
            with lock_in_force(locked, dataset_ids) as refs:
                _show_planned(dict.fromkeys(refs), as_json, **options)
            return
        how = {name: options[name] for name in ("trust_remote_code", "verification_mode")}
        show_results(download_locked(locked, dataset_ids, **how), as_json)
    elif from_file is not None or (options["update"] and not dataset_ids):
        revision = options.pop("revision")
        if dataset_ids or config_names or all_configs or revision:
            raise click.UsageError(
                "With --from-file, or --update of everything, leave out DATASET_ID, --name, "
                "--all-configs and --revision."
            )
        from hf_localize.api.batch import download_refs, download_repositories

        refs, repositories = listed(from_file)
        if dry_run:
            _show_planned(dict.fromkeys(refs), as_json, repositories, **options)
        elif not refs and from_file is None:
            if as_json:
                show_json([])
            say("Everything is up to date.")
        else:
            done = download_refs(refs, **options)
            how = {name: options[name] for name in ("make_public", "skip_s3_upload", "share_restricted")}
            show_results([*done, *download_repositories(repositories, **how)], as_json)
    elif not dataset_ids:
        raise click.UsageError(
            "name what to download: DATASET_ID..., --from-file FILE, --locked FILE, or --update"
        )
    elif dry_run:
        from hf_localize.api.batch import refs_named

        how = {"all_configs": all_configs, "trust_remote_code": options["trust_remote_code"]}
        needed = refs_named(dataset_ids, config_names or (None,), options["revision"], **how)
        _show_planned(needed, as_json, **options)
    elif all_configs or len(dataset_ids) > 1 or len(config_names) > 1:
        from hf_localize.api.batch import download_datasets

        names = config_names or (None,)
        show_results(download_datasets(dataset_ids, names, all_configs=all_configs, **options), as_json)
    else:
        _download_one(dataset_ids[0], config_names[0] if config_names else None, as_json, **options)


def _download_files(
    repo_ids: tuple[str, ...],
    repo_type: RepoType,
    dry_run: bool,
    as_json: bool,
    *,
    revision: str | None,
    **options: Any,
) -> None:
    if not repo_ids:
        raise click.UsageError("name what to download: DATASET_ID...")
    from hf_localize.api.batch import download_repositories
    from hf_localize.api.plan import planned_repositories
    from hf_localize.format.listfile import RepositoryRef
    from hf_localize.format.repository import Repository

    refs = [RepositoryRef(Repository(repo_type, repo_id), revision) for repo_id in repo_ids]
    if dry_run and options["update"]:
        raise click.UsageError("--update of files has no --dry-run: hg-localize outdated shows what differs.")
    if dry_run:
        patterns = {name: options[name] for name in ("include", "exclude")}
        is_public = options["make_public"] and not options["skip_s3_upload"]
        show_plan(planned_repositories(refs, make_public=is_public, **patterns), as_json)
    else:
        show_results(download_repositories(refs, **options), as_json)


def _show_planned(
    needed: Mapping[DatasetRef, Download | None],
    as_json: bool,
    repositories: Sequence[RepositoryRef] = (),
    **options: Any,
) -> None:
    from hf_localize.api.plan import Planned, planned_downloads, planned_repositories

    is_public = options["make_public"] and not options["skip_s3_upload"]
    how = {name: options[name] for name in ("trust_remote_code", "update", "keep_files")}
    unknown = [(ref, known) for ref, known in needed.items() if known is not None]
    plan = [Planned(*ref.parts, error=known.error, error_kind=known.error_kind) for ref, known in unknown]
    plan += planned_downloads([r for r in needed if needed[r] is None], make_public=is_public, **how)
    show_plan([*plan, *planned_repositories(repositories, make_public=is_public)], as_json)


def _refuse_with_locked(others: Any, **options: Any) -> None:
    changing = ("revision", "update", "make_public", "share_restricted", "keep_files")
    if others or any(options[name] for name in changing):
        raise click.UsageError(
            "--locked downloads exactly what the file names. It can be used with --trust-remote-code and "
            "--no-checks only."
        )


def listed(from_file: str | None) -> tuple[list[DatasetRef], list[RepositoryRef]]:
    """Return what a list names; None: all datasets of the store of which a source has other content."""
    if from_file is None:
        from hf_localize.api.compare import refs_to_update

        return refs_to_update(), []
    from hf_localize.format.listfile import RepositoryRef, parse_list, read_list

    listed = parse_list(sys.stdin, "stdin") if from_file == "-" else read_list(Path(from_file))
    if not listed:
        where = "stdin" if from_file == "-" else from_file
        show(f"Warning: the list {where} names nothing.", err=True)
    repositories = [ref for ref in listed if isinstance(ref, RepositoryRef)]
    return [ref for ref in listed if not isinstance(ref, RepositoryRef)], repositories


def _download_one(dataset_id: str, name: str | None, as_json: bool, **options: Any) -> None:
    from hf_localize.api.datasets import download_dataset

    try:
        path = download_dataset(dataset_id, name, **options).message_or_path
    except Exception as exc:
        if as_json:
            from hf_localize.api.batch import Download, failed
            from hf_localize.format.refs import DatasetRef

            show_json([failed(Download, DatasetRef(dataset_id, name, options["revision"]), exc)])
        raise
    if not as_json:
        show(path)
        return
    from hf_localize.api.batch import Download

    show_json([Download(dataset_id, name, options["revision"], path=path)])


def show_results(
    results: Sequence[Download] | Sequence[Sync], as_json: bool, what: str = "downloads"
) -> None:
    """Show what became of many; the exit status is that of the failures, where they have one."""
    if as_json:
        show_json(list(results))
    else:
        from hf_localize.api.batch import Sync

        for result in results:
            shown = result.message if isinstance(result, Sync) else result.path
            if shown is not None:  # One that is here, but could not be published, has a path and an error.
                show(shown)
    fail_for(results, what)
    say(f"{plural(len(results), what.removesuffix('s'))} done.")


def show_plan(plan: Sequence[Planned], as_json: bool) -> None:
    """Show what would be done, and how much it is in total; the exit status is that of what would fail."""
    done = [one for one in plan if one.success]
    rows = [[*names(one), one.action, one.size_bytes, one.place] for one in done]
    show_found(plan if as_json else done, as_json, rows, _PLANNED, ("PLACE",))
    known = sum(one.size_bytes or 0 for one in done)
    unknown = sum(one.size_bytes is None for one in done)
    more = f", and {unknown} of unknown size" if unknown else ""
    say(f"Nothing was changed. In total: {size(known)}{more}.")
    if files := sum(one.files_bytes or 0 for one in done):
        say(
            f"The files of the repositories, which are stored too, add {size(files)} (to leave them out: "
            "--no-files)."
        )
    fail_for(plan, "dry runs")


@command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@ONE_DATASET
@MAKE_PUBLIC
@SHARE_RESTRICTED
@NO_UPLOAD
@KEEP_FILES
def register(path: str, dataset_id: str, as_json: bool, **options: Any) -> None:
    """Add a folder of your own data as a dataset, and upload it to the bucket.

    PATH is a folder that save_to_disk wrote, or a folder of data files (parquet, csv, json, text, images).
    The data is copied, and DATASET_ID becomes its name. Prints the path of the local copy.

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
@click.option("--all", "-a", "is_all", is_flag=True, help="Upload everything in the local store.")
@RAW_FILES
@NAME
@REVISION
@MAKE_PUBLIC
@SHARE_RESTRICTED
@click.option(
    "--force",
    is_flag=True,
    help="Replace other content in the bucket even by a copy that was fetched from there, and upload again "
    "what has been removed there.",
)
@DRY_RUN
def sync_local_to_s3(
    dataset_id: str | None,
    is_all: bool,
    repo_type: RepoType,
    files_only: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Upload datasets, or files of a repository, from the local store to the bucket.

    If the bucket has the dataset with the same content, it is skipped; other content is replaced. But a copy
    that was fetched from the bucket replaces other content only with --force, because what the bucket has
    now may be newer. With --all, several are uploaded in parallel, and a failure does not stop the others.
    What was fetched from the bucket and has been removed there is left out; if it is named, it is uploaded
    again, with a warning. To resume, run the same command again.

    \b
    Examples:
      hg-localize sync-local-to-s3 team/corpus --revision v2
      hg-localize sync-local-to-s3 team/corpus --make-public
      hg-localize sync-local-to-s3 --all --dry-run
    """  # noqa: D301  # An escaped b is how click is told to keep the lines.
    if is_all == (dataset_id is not None):
        raise click.UsageError("name what to upload: either DATASET_ID or --all")
    names = {name: options[name] for name in ("config_name", "revision")}
    if is_all and any(names.values()):
        raise click.UsageError("--all uploads every config and revision: leave out --name and --revision")
    if dry_run:
        if dataset_id is not None and (repo_type != "dataset" or files_only):
            from hf_localize.api.plan import planned_files

            how = {name: options[name] for name in ("revision", "make_public")} | {"repo_type": repo_type}
            show_plan(planned_files("upload", dataset_id, **how), as_json)
            return
        from hf_localize.api.plan import planned_uploads
        from hf_localize.format.refs import DatasetRef

        ref = None if dataset_id is None else DatasetRef(dataset_id, **names)
        show_plan(planned_uploads(ref, make_public=options["make_public"], force=force), as_json)
        return
    if dataset_id is None:
        from hf_localize.api.batch import sync_local_datasets_to_s3, sync_local_repositories_to_s3

        options = {name: value for name, value in options.items() if name not in names}
        sent = [*sync_local_datasets_to_s3(force=force, **options), *sync_local_repositories_to_s3(**options)]
        show_results(sent, as_json, "uploads")
        return
    from hf_localize.api.datasets import sync_local_dataset_to_s3
    from hf_localize.api.repositories import sync_local_repository_to_s3

    sync = functools.partial(sync_local_dataset_to_s3, force=force)
    chosen = {"repo_type": repo_type, "files_only": files_only, **options}
    done = call_either(sync, sync_local_repository_to_s3, dataset_id, **chosen).message_or_path
    if as_json:
        from hf_localize.api.batch import Sync

        show_json([Sync(dataset_id, options["config_name"], options["revision"], message=done)])
    else:
        show(done)
