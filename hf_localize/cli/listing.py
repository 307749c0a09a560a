"""The commands that list what is stored, and where."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from hf_localize.cli.options import PATTERN, command, together
from hf_localize.cli.output import duration, is_terminal, names, say, show_json, show_lines, show_list, size
from hf_localize.text import plural

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from hf_localize.format.repository import RepoType

    Place: TypeAlias = Literal["local", "s3", "public"]
#: What a place has: its names, or also details.
Found = Sequence[Mapping[str, Any]]

_COLUMNS = (
    *("dataset_id", "config_name", "revision"),
    *("commit", "splits", "rows", "size_bytes", "created", "is_public", "came_from"),
)
#: The same in a table, and the order in which columns are left out where the terminal is too narrow for all.
_HEADINGS = ("DATASET", "CONFIG", "REVISION", "COMMIT", "SPLITS", "ROWS", "SIZE", "AGE", "PUBLIC", "FROM")
_GIVES_WAY = ("FROM", "PUBLIC", "SPLITS", "COMMIT", "AGE", "ROWS", "SIZE")
#: By what a list can be sorted.
_SORTS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "id": lambda item: [item[name] or "" for name in _COLUMNS[:3]],
    "rows": lambda item: None if item["rows"] is None else -item["rows"],
    "size": lambda item: None if item["size_bytes"] is None else -item["size_bytes"],
    "age": lambda item: _age(item),
}
#: What JSON has of each dataset, null where it is not known.
_FIELDS = (
    *("dataset_id", "config_name", "revision", "canonical_id", "commit", "origin", "created", "license"),
    *("restriction", "splits", "rows", "size_bytes", "digest", "is_public", "place", "came_from"),
)
#: Of more datasets than these the table of a bucket has names only: the rest costs a request for each.
_MAX_LOOKED_AT = 200

_SORT = click.option(
    "--sort",
    type=click.Choice([*_SORTS]),
    default="id",
    help="Sort by this column: rows and size with the largest first, age with the newest first. Default: id.",
)
_REVERSE = click.option("--reverse", is_flag=True, help="Reverse the order.")
_LONG = click.option(
    *("--long", "-l", "--no-truncate", "is_long"),
    is_flag=True,
    help="Show all columns, also on a narrow terminal and if stdout is not a terminal.",
)
_LISTING = together(PATTERN, _LONG, _SORT, _REVERSE)


_RAW_TYPE = click.option(
    "--repo-type",
    type=click.Choice(("dataset", "model", "space")),
    help="List repositories of this type whose files are stored as they are, with their commits.",
)


@command("list")
@_LISTING
@click.option(
    "--in",
    "place",
    type=click.Choice(("local", "s3", "public")),
    default="local",
    show_default=True,
    help="Where: the local store, the bucket, or what is shared publicly.",
)
@_RAW_TYPE
def list_(place: Place, repo_type: RepoType | None, **options: Any) -> None:
    """List the datasets in the local store, in the bucket, or shared publicly.

    The same as list-local, list-s3 and list-public, which have more options.

    Example: hg-localize list 'openai/*' --in s3
    """
    _list(place, repo_type, **options)


def _list(place: Place, repo_type: RepoType | None, *, all_folders: bool = False, **options: Any) -> None:
    if repo_type is not None:
        from hf_localize.api.stored_repositories import list_repositories

        find: Callable[..., Found] = functools.partial(list_repositories, repo_type, place=place)
        _show(find, is_costly=place != "local", **options)
    elif place == "local":
        _show_local(**options)
    else:
        from hf_localize.api.listing import list_public_datasets, list_s3_datasets

        find = functools.partial(list_s3_datasets, all_folders) if place == "s3" else list_public_datasets
        _show(find, is_costly=place == "s3", **options)


@command("list-local")
@_LISTING
@_RAW_TYPE
def list_local(**options: Any) -> None:
    """List the datasets in the local store.

    PATTERN, such as 'openai/*', selects dataset ids. On a terminal, the list is a table. If it is too
    narrow, columns are left out in this order: from, public, splits, commit, age, rows, size. Otherwise,
    each line has tab-separated columns: dataset id, config name, revision; with --long also commit, splits,
    rows, bytes, time (UTC), whether it is public, and the bucket that the copy came from.

    Datasets that are stored only in part are not listed, because other commands can't use them. They are
    named on stderr, with the command that downloads the rest.

    Example: hg-localize list-local 'openai/*' --sort size
    """
    _list("local", **options)


def _show_local(**options: Any) -> None:
    from hf_localize.api.listing import (
        list_datasets_of_other_buckets,
        list_local_datasets,
        list_partial_datasets,
    )
    from hf_localize.settings import current
    from hf_localize.sources.base import download_command

    _show(list_local_datasets, where=f" in {current().datasets_store_path}", **options)
    for ref, summary in list_partial_datasets():
        say(f"{ref} is stored only in part: {summary}. To download the rest: {download_command(ref)}")
    for ref, origin in list_datasets_of_other_buckets():
        say(f"{ref} is from another bucket, {origin}. It is loaded only if that bucket is configured.")


@command("list-s3")
@_LISTING
@click.option(
    "--all-folders",
    is_flag=True,
    help="Look for datasets without an index entry in all folders, not in the first 1,000.",
)
@_RAW_TYPE
def list_s3(**options: Any) -> None:
    """List the datasets in the bucket.

    Without credentials, lists the datasets that are shared publicly. The columns are those of list-local.
    Columns other than the names cost one request for each dataset. They are shown with --long, with --sort,
    and in the table of up to 200 datasets on a terminal. Without --long, --json has null for them.

    Example: hg-localize list-s3 'openai/*' --long
    """
    _list("s3", **options)


@command("list-public")
@_LISTING
@_RAW_TYPE
def list_public(**options: Any) -> None:
    """List the datasets that are shared publicly.

    This is what people without credentials see. The columns are those of list-local; the size is that of
    the ZIP. With --repo-type, which needs credentials, lists the public repositories.

    Example: hg-localize list-public --json
    """
    _list("public", **options)


def _show(
    find: Callable[..., Found],
    *,
    pattern: str | None,
    as_json: bool,
    is_long: bool,
    sort: str,
    reverse: bool,
    is_costly: bool = False,
    where: str = "",
) -> None:
    """Show what *find* returns, which takes ``pattern`` and ``details``.

    Args:
        is_costly: each detail costs a request, so they are found where they are asked for, or few.
    """
    is_wanted = is_long or sort != "id"
    details = is_wanted or (not is_costly and (as_json or is_terminal()))
    found = find(pattern=pattern, details=details)
    if is_costly and not is_wanted and not as_json and is_terminal():
        if len(found) <= _MAX_LOOKED_AT:
            found = find(pattern=pattern, details=True)
        else:
            say(
                f"{plural(len(found), 'dataset')}. To see rows, sizes and more, give a PATTERN such as "
                "'openai/*', or --long"
            )
    if not found and not pattern:
        say(f"Nothing to list{where}.")
    elif not found and set(pattern or "") & set("*?["):
        say(f"No dataset id matches {pattern!r}.")
    elif not found:
        say(f"No dataset id is {pattern!r}. To find ids that contain it: '*{pattern}*'")
    found = _sorted(found, sort, reverse=reverse)
    if as_json:
        show_json([{field: item.get(field) for field in _FIELDS} for item in found])
    elif is_terminal():
        _show_table(found, is_long=is_long)
    else:
        columns = _COLUMNS if is_long else _COLUMNS[:3]
        say("\t".join(columns))
        show_lines([_cell(item, column) for column in columns] for item in found)


def _sorted(found: Found, sort: str, *, reverse: bool) -> Found:
    """Return *found* in order; what the order needs and is not known comes last."""
    keys = [(_SORTS[sort](item), item) for item in found]
    known = [pair for pair in keys if pair[0] is not None]
    others = [item for key, item in keys if key is None]
    return [item for _, item in sorted(known, key=itemgetter(0), reverse=reverse)] + others


def _age(item: Mapping[str, Any]) -> float | None:
    """Return how many seconds ago a dataset was localized, or None where nobody has written that down."""
    with contextlib.suppress(TypeError, ValueError):
        return (datetime.now(timezone.utc) - datetime.fromisoformat(item["created"])).total_seconds()
    return None


def _cell(item: Mapping[str, Any], column: str) -> Any:
    value = item.get(column)
    if column == "splits" and value is not None:
        return ",".join(value) or None
    if column == "is_public" and value is not None:
        return "yes" if value else "no"
    return value


def _show_table(found: Sequence[Mapping[str, Any]], *, is_long: bool) -> None:
    if not found or "place" not in found[0]:
        show_list(_HEADINGS[:3], [names(item) for item in found])
        return
    rows = [_row(item) for item in found]
    count = len(_HEADINGS) - (not any(item["came_from"] for item in found))
    gives_way = None if is_long else [name for name in _GIVES_WAY if name in _HEADINGS[:count]]
    show_list(_HEADINGS[:count], [row[:count] for row in rows], gives_way=gives_way)


def _row(item: Mapping[str, Any]) -> list[str | None]:
    return [
        *names(item),
        item["commit"] and item["commit"][:7],
        _cell(item, "splits") and ", ".join(item["splits"]),
        None if item["rows"] is None else f"{item['rows']:,}",
        size(item["size_bytes"]),
        duration(_age(item)),
        _cell(item, "is_public"),
        item["came_from"],
    ]
