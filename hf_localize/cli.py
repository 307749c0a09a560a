"""The ``hg-localize`` command: options and rendering only.

Results go to stdout, everything else to stderr; the exit status is 0 only if all was done. What a
command needs is imported when it runs, so that ``--help`` takes little more than click itself.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from hf_localize import __version__
from hf_localize.errors import HfLocalizeError, without_queries
from hf_localize.interrupts import ended_by_signals

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_name = click.option(
    "--name", "-n", "config_name", metavar="TEXT", help="Config name. Default: the default config."
)
_revision = click.option("--revision", "-r", metavar="TEXT", help="Branch, tag or commit SHA. Default: main.")
_make_public = click.option(
    "--make-public/--no-make-public",
    default=False,
    help="Also share it as a public ZIP, readable without credentials.",
)
_share_restricted = click.option(
    "--share-restricted",
    multiple=True,
    metavar="DATASET_ID",
    help="Let --make-public share this dataset though it is gated or private on the Hub.",
)
_keep_files = click.option(
    "--keep-files/--no-keep-files",
    default=False,
    help="Also keep the original files, for loads with data_files=, data_dir=, features= and the like.",
)
_no_upload = click.option(
    "--no-s3-upload/--s3-upload",
    "skip_s3_upload",
    default=False,
    help="Do not publish anything. Wins over --make-public.",
)


_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Show what goes wrong as one message on stderr and exit with 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (HfLocalizeError, OSError, ValueError, RuntimeError) as exc:
            import logging

            logging.getLogger(__name__).debug("the command failed", exc_info=True)
            _fail(f"Error: {without_queries(str(exc))}")

    return run


def _log_handler() -> Any:
    """Return a handler for stderr that leaves out of tracebacks what others say of presigned URLs."""
    import logging

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return without_queries(super().format(record))

    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    return handler


class _Commands(click.Group):
    """The commands, each of which a signal ends in good order."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that *ctx* names."""
        with ended_by_signals(functools.partial(click.echo, err=True)):
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="hg-localize")
def main() -> None:
    """Bring Hugging Face datasets to where the Hub is out of reach.

    Settings are HGLOC_* environment variables, or lines of a .env file.
    """
    import logging

    from hf_localize.settings import current

    try:
        level = current().log_level or "INFO"
    except HfLocalizeError as exc:
        _fail(f"Error: {exc}")
    logger = logging.getLogger("hf_localize")
    logger.setLevel(level)
    logger.handlers[:] = [_log_handler()]  # In place of the one that activation may have set.


@main.command()
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
@_revision
@click.option(
    "--trust-remote-code/--no-trust-remote-code",
    default=False,
    help="Run the dataset's loading script (datasets < 4).",
)
@_make_public
@_share_restricted
@_no_upload
@_keep_files
@_reporting
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
        _fail(f"{len(failed)} of {len(results)} downloads failed.")


@main.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.argument("dataset_id")
@_name
@_revision
@_make_public
@_share_restricted
@_no_upload
@_keep_files
@_reporting
def register(path: str, dataset_id: str, **options: Any) -> None:
    """Make the folder PATH the localized dataset DATASET_ID, and publish it.

    PATH is what save_to_disk wrote, or a folder of data files (parquet, csv, json, text,
    images). It is copied. Prints the path of the local copy.

    Example: hg-localize register ./my_corpus team/corpus --revision v2
    """
    from hf_localize.api import register_dataset

    click.echo(register_dataset(path, dataset_id, **options).message_or_path)


@main.command("sync-local-to-s3")
@click.argument("dataset_id")
@_name
@_revision
@_make_public
@_share_restricted
@_reporting
def sync_local_to_s3(dataset_id: str, **options: Any) -> None:
    """Bring DATASET_ID from the local store to the bucket, if it is missing there or differs.

    Example: hg-localize sync-local-to-s3 team/corpus --make-public
    """
    from hf_localize.api import sync_local_dataset_to_s3

    click.echo(sync_local_dataset_to_s3(dataset_id, **options).message_or_path)


@main.command("list-local")
@_reporting
def list_local() -> None:
    """List the datasets of the local store: dataset id, config name, revision.

    Those of which loads have brought only a part are no datasets for other commands: they are
    named on stderr, with what is here and the command that brings the rest.

    Example: hg-localize list-local
    """
    from hf_localize.api import list_local_datasets, list_partial_datasets
    from hf_localize.entries import download_command

    _show(list_local_datasets())
    for ref, summary in list_partial_datasets():
        click.echo(f"only a part of {ref}: {summary}. All of it: {download_command(ref)}", err=True)


@main.command("list-s3")
@click.option(
    "--all-folders",
    is_flag=True,
    help="Where there is an index: look for data without one in all folders, not in 1,000.",
)
@_reporting
def list_s3(all_folders: bool) -> None:
    """List the datasets of the bucket; without credentials, those that are shared publicly.

    Example: hg-localize list-s3
    """
    from hf_localize.api import list_s3_datasets

    _show(list_s3_datasets(all_folders))


@main.command()
@click.argument("dataset_id", required=False)
@_name
@_revision
@click.option("--deep", is_flag=True, help="Read all bytes and compare their sha256, not sizes only.")
@click.option("--s3", is_flag=True, help="Check the bucket, not the local store.")
@click.option("--public", is_flag=True, help="Check the public ZIPs, as outsiders read them.")
@_reporting
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
        click.echo("\t".join([*_names(item), state, item["place"]]))
        for damage in item["damaged"]:
            click.echo(f"damaged: {damage}", err=True)
    if any(item["damaged"] for item in found):
        _fail("What is damaged in the local store can be mended by: hg-localize repair")


@main.command()
@click.argument("dataset_id", required=False)
@_name
@_revision
@_reporting
def repair(dataset_id: str | None, **options: Any) -> None:
    """Mend what is damaged of DATASET_ID, or of all, in the local store.

    Damaged files, and no others, come from the next source that has the same content. Prints a line
    for each that was mended: dataset id, config name, revision, file, source.

    Example: hg-localize repair openai/gsm8k --name main
    """
    from hf_localize.upkeep import repair_dataset

    for item in repair_dataset(dataset_id, **options):
        for path in item["mended"]:
            click.echo("\t".join([*_names(item), path, item["source"]]))


@main.command()
@click.argument("dataset_id")
@_name
@_revision
@click.option("--s3", is_flag=True, help="Remove it from the bucket, not from the local store.")
@_yes
@_reporting
def remove(dataset_id: str, s3: bool, yes: bool, **options: Any) -> None:
    """Remove DATASET_ID from the local store, or from the bucket.

    Asks first if nobody else is known to have it: it did not come from the Hub, and store, bucket and
    public ZIPs have no other copy. What is public stays so: hg-localize withdraw.

    Example: hg-localize remove openai/gsm8k --name main --s3
    """
    from hf_localize.upkeep import remove_dataset

    _confirm(yes, dataset_id, place="s3" if s3 else "local", **options)
    click.echo(remove_dataset(dataset_id, s3=s3, **options).message_or_path)


@main.command()
@click.argument("dataset_id")
@_name
@_revision
@_yes
@_reporting
def withdraw(dataset_id: str, yes: bool, **options: Any) -> None:
    """Take DATASET_ID out of what is public: its record, then its ZIP.

    Asks first if nobody else is known to have it. The bucket's private copy stays.

    Example: hg-localize withdraw openai/gsm8k --name socratic
    """
    from hf_localize.upkeep import withdraw_dataset

    _confirm(yes, dataset_id, place="public", **options)
    click.echo(withdraw_dataset(dataset_id, **options).message_or_path)


@main.command()
@click.option("--max-size", metavar="SIZE", help="Remove until the store has no more, such as 50GB.")
@click.option("--older-than", metavar="TIME", help="Remove what was not used for so long, such as 30d.")
@click.option("--keep", multiple=True, metavar="PATTERN", help="Dataset ids that stay, such as 'openai/*'.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@_reporting
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
        click.echo("\t".join([*_names(item), str(item["size_bytes"])]))


@main.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="[--] COMMAND [ARGUMENT]...")
def run(command: tuple[str, ...]) -> None:
    """Run COMMAND with hf_localize activated in every Python that it starts.

    COMMAND is any program of an environment that has hf_localize: python, torchrun, accelerate,
    pytest, jupyter, ... Its arguments are left as they are, and its exit status is that of this
    command; 127 means that it was not found, 126 that it can't be executed.

    Example: hg-localize run -- python train.py --epochs 3
    """
    folder = os.path.join(os.path.split(__file__)[0], "on_pythonpath")
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "HGLOC_AUTO_INSTALL": "1", "PYTHONPATH": path}
    try:  # Its purpose is to run what the user names: bandit and ruff ask whether that is meant.
        if sys.platform == "win32":  # There exec would return to the shell before the command ends.
            import subprocess

            sys.exit(subprocess.call(command, env=environment))  # noqa: S603  # nosec B603
        os.execvpe(command[0], command, environment)  # noqa: S606  # nosec B606
    except OSError as exc:
        click.echo(f"Error: {command[0]!r} can't be run: {exc.strerror}", err=True)
        sys.exit(127 if isinstance(exc, FileNotFoundError) else 126)


def _show(found: list[dict[str, str | None]]) -> None:
    """Print one line a dataset, columns divided by tabs; ``-`` stands for the default."""
    click.echo("dataset_id\tconfig_name\trevision", err=True)
    if found:
        click.echo("\n".join(["\t".join(_names(item)) for item in found]))


def _names(item: dict[str, Any]) -> list[str]:
    """Return what names a dataset; ``-`` stands for the default."""
    return [item[name] or "-" for name in ("dataset_id", "config_name", "revision")]


def _confirm(yes: bool, dataset_id: str, **where: Any) -> None:
    """Ask whether the only copy that is known of a dataset shall go; where nobody can answer, it stays."""
    from hf_localize.upkeep import is_last_copy

    if yes or not is_last_copy(dataset_id, **where):
        return
    known = f"No other copy of {dataset_id} is known: it can't be got back."
    if not sys.stdin.isatty():
        _fail(f"Error: {known} To remove it all the same: --yes")
    click.confirm(f"{known} Remove it?", abort=True, err=True)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)
