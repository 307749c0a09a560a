"""The commands that carry the local store in a tar file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hf_localize.cli.datasets import listed, show_results
from hf_localize.cli.options import (
    ANY_DATASET_IDS,
    LIST_FILE,
    RAW_FILES,
    STORED_NAMES,
    STORED_REVISIONS,
    are_files,
    command,
    output_file,
)
from hf_localize.cli.output import say, show, show_json
from hf_localize.text import plural

if TYPE_CHECKING:
    from hf_localize.format.listfile import RepositoryRef
    from hf_localize.format.refs import DatasetRef
    from hf_localize.format.repository import RepoType


@command(page="start/air-gap.md")
@ANY_DATASET_IDS
@click.option("--all", "-a", "is_all", is_flag=True, help="Write everything in the local store.")
@LIST_FILE
@RAW_FILES
@STORED_NAMES
@STORED_REVISIONS
@output_file("Tar file to write.", required=True)
def export(
    dataset_ids: tuple[str, ...],
    is_all: bool,
    from_file: str | None,
    repo_type: RepoType,
    files_only: bool,
    config_names: tuple[str, ...],
    revision: str | None,
    output: str,
    as_json: bool,
) -> None:
    """Write what is in the local store into a tar file, for a machine without a network.

    With a dataset, the files of its repository are written too, if they are stored. Each file is checked. To
    resume, run the same command again. Read the tar file with hg-localize import, or unpack it with tar into
    an empty local store.

    \b
    Examples:
      hg-localize export --all -o carried.tar
      hg-localize export openai/gsm8k team/corpus -o datasets.tar
    """  # noqa: D301  # An escaped b is how click is told to keep the lines.
    if [bool(dataset_ids), is_all, from_file is not None].count(True) != 1:
        raise click.UsageError("name what to write, by one of DATASET_ID..., --from-file FILE and --all")
    if output == "-":
        raise click.UsageError("a tar file can't be written to stdout, because it is resumed: name a file")
    if not dataset_ids and (config_names or revision or files_only or repo_type != "dataset"):
        raise click.UsageError("--name, --revision, --repo-type and --files-only need DATASET_ID...")
    from hf_localize.api.archive import export_all, export_refs
    from hf_localize.format.listfile import RepositoryRef
    from hf_localize.format.refs import DatasetRef
    from hf_localize.format.repository import Repository

    refs: list[DatasetRef | RepositoryRef] = []
    if from_file is not None:
        datasets, repositories = listed(from_file)
        refs = [*datasets, *repositories]
    elif are_files(repo_type, files_only, config_names[0] if config_names else None):
        refs = [RepositoryRef(Repository(repo_type, one), revision) for one in dataset_ids]
    else:
        refs = [DatasetRef(one, name, revision) for one in dataset_ids for name in config_names or (None,)]
    written, files = export_all(output) if is_all else export_refs(refs, output)
    if as_json:
        documents = {
            "datasets": [ref.as_dict() for ref in written],
            "repositories": [f.as_dict() for f in files],
        }
        show_json({"path": output, **documents})
        return
    show(output)
    for ref in written:
        say(str(ref))
    for item in files:
        say(f"files of {item.repository}@{item.revision}")
    count = len({item.repository for item in files})
    files_of = f" and the files of {plural(count, 'repository', 'repositories')}" if count else ""
    say(f"{plural(len(written), 'dataset')}{files_of} written.")


@command("import", page="start/air-gap.md")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--replace", is_flag=True, help="Replace datasets that are stored under the same name with other content."
)
def import_(file: str, replace: bool, as_json: bool) -> None:
    """Read a tar file into the local store.

    FILE is a tar file that hg-localize export wrote, or one of a whole store. Each file in it is checked
    against its sha256. Datasets that are already stored are checked too, and replaced if damaged; which
    these are is on stderr. Prints the path of each dataset, and of the file list of each repository. To
    resume, run the same command again.

    Example: hg-localize import carried.tar
    """
    from hf_localize.api.archive import import_datasets

    show_results(import_datasets(file, replace=replace), as_json, "imports")
