"""The command that writes lock files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import (
    ANY_DATASET_IDS,
    CONFIG_NAMES,
    EXIT_CODES,
    RAW_FILES,
    REVISION,
    TRUST_REMOTE_CODE,
    command,
    fail_for,
    output_file,
)
from hf_localize.cli.output import names, put, say, show, show_found, show_json
from hf_localize.errors import LockError
from hf_localize.text import plural

if TYPE_CHECKING:
    from hf_localize.format.repository import RepoType


@command(page="guides/lock-files.md")
@ANY_DATASET_IDS
@CONFIG_NAMES
@REVISION
@RAW_FILES
@TRUST_REMOTE_CODE
@click.option(
    "--from-record",
    type=click.Path(exists=True),
    metavar="PATH",
    help="Lock what a run recorded in this file or folder. Default, without DATASET_ID: the value of "
    "HGLOC_RECORD.",
)
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Read a list, as hg-localize download --from-file takes it.",
)
@click.option(
    "--by-commit", is_flag=True, help="Pin the commit on the Hub instead of the digest, if there is one."
)
@output_file("File to write. Default: datasets.lock; - is stdout.", default="datasets.lock")
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing. Exit with status 6 if the content differs from the lock file that --output names.",
)
@click.pass_context
def lock(
    ctx: click.Context,
    /,
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    from_record: str | None,
    from_file: str | None,
    output: str,
    check: bool,
    repo_type: RepoType,
    files_only: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a lock file that pins the exact content of datasets and repositories.

    Names the datasets of a recorded run, or the given datasets, with their id, config, revision, commit and
    digest. For each repository whose files the run read, names the commit and these files. hg-localize
    download --locked FILE, install(lock=FILE) and HGLOC_LOCK=FILE then use exactly this content, or fail.

    If DATASET_ID is given and the lock file exists, only the entries of these datasets are replaced or added.
    A record or a list replaces the whole file.

    With --check, for CI, nothing is written. A line for each dataset tells whether its content is still the
    same, by the recorded digests and commits. No data is read; hg-localize verify --deep checks it.

    Example: hg-localize lock --from-record loads.jsonl -o datasets.lock
    """
    from hf_localize.api.lock import lock_datasets
    from hf_localize.format.lockfile import as_json as as_document
    from hf_localize.settings import current

    if not dataset_ids and (config_names or options["revision"] is not None):
        raise click.UsageError("--name and --revision select from datasets: also name DATASET_ID")
    options["repo_type"] = repo_type if repo_type != "dataset" or files_only else None
    if check:
        if from_record is not None:
            raise click.UsageError("--check compares with the current content: leave out --from-record")
        _check(ctx, dataset_ids, config_names, from_file, output, as_json, **options)
        return
    if output == "-" and as_json:
        raise click.UsageError("-o - prints the lock file, which is JSON of its own: leave out --json")
    record = current().record
    if not dataset_ids and from_file is None and from_record is None:
        if record is None:
            raise click.UsageError(
                "name what to lock: DATASET_ID..., --from-file FILE, or --from-record PATH (HGLOC_RECORD)"
            )
        from_record = str(record)
    made = lock_datasets(
        dataset_ids, config_names or (None,), from_record=from_record, from_file=from_file, **options
    )
    if output == "-":
        put(made.to_bytes(), nl=False)
        return
    kept = 0
    if from_record is None and from_file is None and Path(output).is_file() and Path(output).stat().st_size:
        from hf_localize.format.lockfile import read_lock

        with contextlib.suppress(LockError):  # `write` refuses a file that is no lock file.
            before, named = read_lock(Path(output)), made
            made = before.updated_by(named)
            kept = len(made.datasets) + len(made.repositories) - len(named.datasets) - len(named.repositories)
    made.write(output)
    if as_json:
        repositories = [as_document(item) for item in made.repositories]
        datasets = [as_document(item) for item in made.datasets]
        show_json({"path": output, "datasets": datasets, "repositories": repositories})
    else:
        show(output)
        others = plural(len(made.repositories), "repository", "repositories")
        unchanged = f" ({kept} of them as before)" if kept else ""
        say(f"Locked: {plural(len(made.datasets), 'dataset')}, {others}{unchanged}")


def _check(
    ctx: click.Context,
    dataset_ids: tuple[str, ...],
    config_names: tuple[str, ...],
    from_file: str | None,
    output: str,
    as_json: bool,
    **options: Any,
) -> None:
    from hf_localize.api.lock import check_lock, refs_named

    named = {name: options[name] for name in ("revision", "repo_type")}
    refs = refs_named(dataset_ids, config_names or (None,), from_file=from_file, **named)
    found = check_lock(output, refs, trust_remote_code=options["trust_remote_code"])
    rows = ([*names(item), item.state, item.locked, item.now] for item in found)
    headings = ("DATASET", "CONFIG", "REVISION", "STATE", "LOCKED", "NOW")
    show_found(found, as_json, rows, headings, headings[:3:-1])
    fail_for(found, "checks")
    same = sum(item.state == "same" for item in found)
    say(f"{same} of {len(found)} are as in {output}")
    if same < len(found):
        ctx.exit(EXIT_CODES["conflict"])
