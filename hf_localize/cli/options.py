"""What commands share: their options, how loud they are, and how an error ends a command."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from hf_localize.api.dataset_ids import dataset_ids, near_ids
from hf_localize.cli.output import show
from hf_localize.errors import (
    DatasetNotFoundError,
    HfLocalizeError,
    kind_of,
    message_of,
    printable,
    without_queries,
)
from hf_localize.format.refs import link_in

if TYPE_CHECKING:
    from hf_localize.api.batch import Outcome

_T = TypeVar("_T")
#: The exit status of a command, by the kind of what went wrong (see :func:`~hf_localize.errors.kind_of`).
EXIT_CODES = {
    "failed": 1,
    "usage": 2,
    "not found": 3,
    "denied": 4,
    "unreachable": 5,
    "corrupt": 6,
    "conflict": 6,
}
EXIT_HELP = (
    "Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 denied, 5 unreachable, 6 corrupt or conflict; "
    "130 after Ctrl-C, 143 after SIGTERM."
)

#: If more fail, no error suggests an id, because each suggestion reads all known ids.
_MAX_HINTS = 5
#: Where the context of a command has the level that --verbose or --quiet asks for.
LEVEL = "hf_localize.level"
#: The message of an interrupted command, and the key of its context for what a transfer adds to it.
INTERRUPTED, KEPT = "Interrupted.", "hf_localize.kept"


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator that does what *decorators* do in this order."""
    return lambda function: functools.reduce(lambda made, add: add(made), reversed(decorators), function)


def _dataset_ids(_ctx: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # It would stand in the line that is being typed.
    try:
        return dataset_ids(incomplete)
    finally:
        logging.disable(before)


class _DatasetId(click.ParamType):  # type: ignore[type-arg]  # Generic in newer releases of click only.
    """A dataset id, also as it stands in a link to the dataset."""

    name = "dataset id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id that *value* names; fail where it names a config or a revision too."""
        if link := link_in(value):
            revision = re.match(r"@([^/]+)|/(?:tree|blob|resolve)/([^/]+)", link[2])
            if revision and "main" not in revision.groups():
                self.fail(f"write {link[1]} --revision {revision[1] or revision[2]}", param, ctx)
            return link[1]
        dataset_id, _, config = value.partition(":")
        if "://" in value:
            self.fail("write OWNER/NAME of a dataset; for a model or a Space, add --repo-type", param, ctx)
        if config and "\\" not in config:  # Else it is a path of Windows.
            self.fail(f"write {dataset_id} --name {config}", param, ctx)
        dataset_id, _, branch = value.partition("@")
        if branch:
            self.fail(f"write {dataset_id} --revision {branch}", param, ctx)
        return value


class _Pattern(click.ParamType):  # type: ignore[type-arg]
    """A pattern of dataset ids, or an id, also as it stands in a link or before a config."""

    name = "pattern"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the pattern."""
        link = link_in(value)
        return link[1] if link else value.partition(":")[0]


#: A dataset that must be named; one that may be; several that may be; those of a list.
_ID: Any = {"type": _DatasetId(), "shell_complete": _dataset_ids}
DATASET_ID = click.argument("dataset_id", **_ID)
ANY_DATASET_ID = click.argument("dataset_id", required=False, **_ID)
ANY_DATASET_IDS = click.argument("dataset_ids", metavar="[DATASET_ID]...", nargs=-1, **_ID)
PATTERN = click.argument("pattern", required=False, type=_Pattern(), shell_complete=_dataset_ids)


def _name(default: str, *, multiple: bool = False) -> Callable[[Any], Any]:
    text = f"Config name{'; can be given several times' if multiple else ''}. Default: {default}."
    parameter = "config_names" if multiple else "config_name"
    return click.option("--name", "-n", parameter, multiple=multiple, metavar="TEXT", help=text)


def _refuse_without_id(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def run(*args: Any, dataset_id: str | None, **options: Any) -> Any:
        if dataset_id is None and not (options["config_name"] is options["revision"] is None):
            raise click.UsageError("--name and --revision select from one dataset: also name DATASET_ID")
        return function(*args, dataset_id=dataset_id, **options)

    return run


NAME, CONFIG_NAMES = _name("the default config"), _name("the default config", multiple=True)
STORED_NAMES = _name("all stored configs", multiple=True)
REVISION = click.option(
    *("--revision", "-r"),
    metavar="TEXT",
    help="Branch, tag or commit SHA; of your own data, any name. Default: main.",
)
STORED_REVISIONS = click.option(
    "--revision", "-r", metavar="TEXT", help="Branch, tag or commit SHA. Default: all stored revisions."
)
LIST_FILE = click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Read a list: lines of ID [CONFIG [REVISION]] or ID [REVISION] --repo-type TYPE, and # comments; "
    "- is stdin.",
)
ONE_DATASET = together(DATASET_ID, NAME, REVISION)
ANY_DATASET = together(ANY_DATASET_ID, _name("all stored configs"), REVISION, _refuse_without_id)
REPO_TYPE = click.option(
    "--repo-type",
    type=click.Choice(("dataset", "model", "space")),
    default="dataset",
    help="Type of the repository. For models and Spaces, the files are stored as they are.",
)
RAW_FILES = together(
    REPO_TYPE, click.option("--files-only", is_flag=True, help="The files of the repository as they are.")
)


def are_files(repo_type: str, files_only: bool, config_name: str | None = None) -> bool:
    """Tell whether options ask for a repository as the files it is; these have no configs.

    Raises:
        UsageError: a config is named, too.
    """
    is_asked = repo_type != "dataset" or files_only
    if is_asked and config_name is not None:
        raise click.UsageError("repository files have no configs: leave out --name")
    return is_asked


def call_either(
    of_dataset: Callable[..., _T],
    of_files: Callable[..., _T],
    dataset_id: str | None,
    *,
    repo_type: str,
    files_only: bool,
    config_name: str | None,
    **options: Any,
) -> _T:
    """Call *of_files* where options ask for a repository as the files it is, else *of_dataset*."""
    if are_files(repo_type, files_only, config_name):
        return of_files(dataset_id, repo_type=repo_type, **options)
    return of_dataset(dataset_id, config_name, **options)


MAKE_PUBLIC = click.option(
    "--make-public/--no-make-public",
    default=False,
    help="Also share it with everybody: a public ZIP, and the stored files of its repository, which hold all "
    "configs. If another config is kept private, only the ZIP is shared.",
)
SHARE_RESTRICTED = click.option(
    "--share-restricted",
    multiple=True,
    metavar="DATASET_ID",
    help="Let --make-public share this dataset even if it is, or may be, gated or private on the Hub.",
)
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code/--no-trust-remote-code",
    default=False,
    help="Run the loading script of the dataset (datasets < 4).",
)
KEEP_FILES = click.option(
    "--keep-files/--no-keep-files",
    default=False,
    help="Also store the original files, for loads with data_files=, data_dir=, features= and the like.",
)
#: Of a download: without either, they are stored where they are not large.
FILES = click.option(
    "--keep-files/--no-files",
    " /--no-keep-files",
    "keep_files",
    default=None,
    help="Also store the repository's files as they are, for hf_hub_download, data_files= and the like. "
    "Default: if they have 5 GB or less.",
)
NO_CHECKS = click.option(
    "--no-checks",
    "verification_mode",
    flag_value="no_checks",
    default=None,
    help="Do not compare a dataset from the Hub with the sizes on its card (verification_mode=no_checks).",
)
NO_UPLOAD = click.option(
    "--no-s3-upload/--s3-upload",
    "skip_s3_upload",
    default=False,
    help="Upload nothing. Overrides --make-public.",
)


def output_file(text: str, **attributes: Any) -> Callable[[Any], Any]:
    """Return the option ``--output``, which names a file to write; *attributes* of ``click.Option``."""
    kind = click.Path(dir_okay=False)
    return click.option("--output", "-o", type=kind, metavar="FILE", help=text, **attributes)


DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show what would be done, and how many bytes. Nothing is changed."
)


def in_places(*others: str, text: str) -> Callable[[Any], Any]:
    """Return the option ``--in``: the local store, or one of *others*, which the command gets as flags.

    The flags (``--s3``, ``--public``), which stood in its place, are still taken, but not shown.
    """

    def add(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def run(*args: Any, place: str, **options: Any) -> Any:
            chosen = {name: options[name] or place == name for name in others}
            return function(*args, **options | chosen)

        flags = (click.option(f"--{name}", is_flag=True, hidden=True) for name in others)
        choice = click.Choice(("local", *others))
        return together(
            click.option("--in", "place", type=choice, default="local", show_default=True, help=text), *flags
        )(run)

    return add


YES = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


#: The options of many commands, below headings of their own; others stand first.
_GROUPS = {
    "Publishing": ("make_public", "share_restricted", "skip_s3_upload"),
    "Output": ("as_json", "verbose", "quiet"),
}
_DOCS = "https://github.com/hf-localize/hf_localize/blob/main/docs"


class _Command(click.Command):
    """A command whose help has its own options first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        grouped = {name: heading for heading, names in _GROUPS.items() for name in names}
        for heading in ("Options", *_GROUPS):
            options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
            headings = [
                "Output" if "--help" in p.opts else grouped.get(p.name or "", "Options") for p in options
            ]
            own = [param for param, group in zip(options, headings, strict=True) if group == heading]
            records = [record for param in own if (record := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def command(
    name: str | None = None,
    *,
    has_json: bool = True,
    has_bars: bool = True,
    page: str = "guides/commands.md",
    **attributes: Any,
) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes a function a command.

    The command has ``--verbose`` and ``--quiet``, and ends with one message and the exit status that
    fits when the function raises.

    Args:
        has_json: the function takes ``as_json``, and prints one JSON document then.
        has_bars: what it moves is shown on a terminal, and nobody else's bars elsewhere.
        page: of the documentation, to which the help leads.
        attributes: of ``click.Command``.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        shared = [*([_JSON] if has_json else []), _VERBOSE, _QUIET]
        for option in reversed(shared):
            function = option(function)
        shown = reporting(_showing(function) if has_bars else function)
        epilog = f"\b\nDocumentation: {_DOCS}/{page}"  # An escaped b is how click is told to keep the line.
        made: click.Command = click.command(name, cls=_Command, epilog=epilog, **attributes)(shown)
        return made

    return decorate


def reporting(function: Callable[..., None]) -> Callable[..., None]:
    """Show what goes wrong as one message on stderr, and exit with the status of its kind."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        _warn_of_unknown_settings()
        try:
            function(*args, **kwargs)
        # Click itself handles these.
        except (click.Abort, click.exceptions.Exit, click.ClickException, BrokenPipeError):
            raise
        except Exception as exc:  # Also a defect ends a command with one line.
            import logging

            logging.getLogger(__name__).debug("the command failed", exc_info=True)
            if isinstance(exc, HfLocalizeError) and exc.path is not None and not kwargs.get("as_json"):
                show(exc.path)  # Only what was to follow has failed.
            kind = kind_of(exc)
            message, near = message_of(exc), ""
            ids = [*kwargs.get("dataset_ids", ()), *filter(None, [kwargs.get("dataset_id")])]
            if isinstance(exc, DatasetNotFoundError) and len(ids) == 1:
                near = near_ids(ids[0], kind, message)
            fail(f"Error: {message}{near}", kind)

    return run


def _showing(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        from hf_localize.cli import progress

        context = click.get_current_context()
        context.meta[KEPT] = " Transferred data is kept. To resume, run the command again."
        with progress.shown():
            function(*args, **kwargs)

    return run


def fail(message: str, kind: str = "failed") -> NoReturn:
    """End the command with *message* on stderr and the exit status for *kind*."""
    show(message, err=True)
    sys.exit(EXIT_CODES[kind])


def fail_for(results: Sequence[Outcome], what: str) -> None:
    """End the command if some of *results* are failures, with the exit status of these if they share one."""
    failed = [result for result in results if not result.success]
    for result in failed:
        is_hinted = len(failed) <= _MAX_HINTS
        near = near_ids(result.dataset_id, result.error_kind, str(result.error)) if is_hinted else ""
        show(f"Error: {result}: {result.error}{near}", err=True)
    if failed:
        kinds = {result.error_kind or "failed" for result in failed}
        kind = kinds.pop() if len(kinds) == 1 else "failed"
        fail(f"{len(failed)} of {len(results)} {what} failed.", kind)


def log_to_stderr() -> None:
    """Show what the library logs, as HGLOC_LOG_LEVEL says, else at INFO."""
    import logging

    from hf_localize.settings import current

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            # What others say in tracebacks: presigned URLs, and whatever.
            return printable(without_queries(super().format(record)))

    class Handler(logging.StreamHandler):  # type: ignore[type-arg]  # Generic since Python 3.11 only.
        def emit(self, record: logging.LogRecord) -> None:
            from hf_localize.cli import progress

            if not progress.print_above(self.format(record)):
                super().emit(record)

    handler = Handler()
    handler.setFormatter(Formatter())
    logger = logging.getLogger("hf_localize")
    logger.handlers[:] = [handler]  # In place of the one that activation may have set.
    try:
        logger.setLevel(current().log_level or "INFO")
    except HfLocalizeError:  # A command that needs the settings says what is wrong with them.
        logger.setLevel("INFO")


def _warn_of_unknown_settings() -> None:
    """Name each ``HGLOC_`` variable that is no setting, and the setting most like it; not with ``-qq``."""
    import logging

    from hf_localize.settings import unknown_variables

    if not logging.getLogger("hf_localize").isEnabledFor(logging.WARNING):
        return
    for name, advice in unknown_variables():
        show(f"Warning: {name} is not a setting of hf_localize, so it has no effect. {advice}", err=True)


def _set_level(ctx: click.Context, _option: click.Parameter, count: int, *, levels: tuple[str, ...]) -> None:
    if count and not ctx.resilient_parsing:
        import logging

        level = ctx.meta[LEVEL] = levels[min(count, len(levels)) - 1]
        logging.getLogger("hf_localize").setLevel(level)


_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/json.md).")
_VERBOSE = click.option(
    "--verbose",
    "-v",
    count=True,
    expose_value=False,
    callback=functools.partial(_set_level, levels=("DEBUG",)),
    help="Also show what each source answers.",
)
_QUIET = click.option(
    "--quiet",
    "-q",
    count=True,
    expose_value=False,
    callback=functools.partial(_set_level, levels=("WARNING", "ERROR")),
    help="Results, warnings and errors only; -qq: no warnings.",
)
