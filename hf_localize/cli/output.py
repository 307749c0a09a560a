"""How commands show what they found: tables for people, lines with tabs for programs, JSON where asked."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from hf_localize import text
from hf_localize.errors import printable

_IN_ONE_LINE = str.maketrans("\t\n\v\f\r", " " * 5)
#: The columns that are aligned on the right, and how many blanks are between two columns.
_NUMBERS, _GAP = frozenset({"ROWS", "SIZE", "AGE", "BYTES"}), 2
_AGES = ((86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def is_terminal() -> bool:
    """Tell whether a person, not a program, reads stdout."""
    return sys.stdout.isatty()


def show_json(value: Any) -> None:
    """Print *value*, which may hold dataclasses, as one JSON document."""
    import json

    from hf_localize.format.record import plain

    # Click writes UTF-8 where the encoding is ASCII.
    is_ascii = codecs.lookup(sys.stdout.encoding or "utf-8").name not in ("utf-8", "ascii")
    text = json.dumps(value, indent=2, ensure_ascii=is_ascii, allow_nan=False, default=plain)
    if printable(text) != text:  # JSON demands escapes of the first 32 characters only.
        text = "".join([c if printable(c) == c else _in_json(c) for c in text])
    put(text)


def _in_json(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def show_lines(rows: Iterable[Sequence[Any]]) -> None:
    """Print one line a row, columns divided by tabs; ``-`` stands for what is not given."""
    lines = ["\t".join(["-" if cell is None else clean(str(cell)) for cell in row]) for row in rows]
    if lines:
        show("\n".join(lines))


def show_list(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], *, gives_way: Sequence[str] | None = ()
) -> None:
    """Print a table of datasets, of which id, config and revision are never folded, cut or left out.

    Args:
        gives_way: the headings of columns that are left out, in this order, until the table is as wide as
            the terminal; None: the table may be wider.
    """
    import shutil

    width = None if gives_way is None else shutil.get_terminal_size().columns
    (first, *lines), left_out = fitted(headings, rows, width, gives_way or ())
    show(paint(first, bold=True))
    for line in lines:
        show(line)
    if left_out:
        say(
            f"Columns left out, because the terminal is narrow: {', '.join(left_out)}. To see them, "
            "use a wider terminal or --json"
        )


def fitted(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None, gives_way: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the lines of a table of datasets, at most *width* wide if they can be, and what is left out.

    An id that is too long is alone on its line. The configs of one dataset are below its id.
    """
    from rich.cells import cell_len

    cells = [list(headings), *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    kept, left_out = list(range(len(headings))), []
    if width is not None and widths[0] > width // 2:
        short = [cell_len(row[0]) for row in cells if cell_len(row[0]) <= width // 2]
        widths[0] = max(short)
    for heading in gives_way:
        if width is None or _GAP * (len(kept) - 1) + sum(widths[i] for i in kept) <= width:
            break
        left_out.append(heading)
        kept.remove(headings.index(heading))
    if width is not None and _GAP * (len(kept) - 1) + sum(widths[i] for i in kept) > width:
        widths[0] = _GAP  # Each id is on a line of its own.
    lines, above = [], ""
    for row in cells:
        name = "" if row[0] == above else row[0]
        above = row[0]
        if cell_len(name) > widths[0]:
            lines.append(name)
            name = ""
        shown = [name, *(row[i] for i in kept[1:])]
        padded = []
        for cell, i in zip(shown, kept, strict=True):
            padding = " " * (widths[i] - cell_len(cell))
            padded.append(padding + cell if headings[i] in _NUMBERS else cell + padding)
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines, left_out


def _cell(value: Any) -> str:
    return "-" if value is None else clean(str(value))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Print a table as wide as the terminal, in which long cells are folded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        table.add_column(Text(clean(heading)), overflow="fold")
    for row in rows:  # What others wrote is no markup.
        table.add_row(*(Text("-" if cell is None else clean(cell)) for cell in row))
    Console(highlight=False).print(table)


def show_found(
    found: Any,
    as_json: bool,
    rows: Iterable[Sequence[Any]],
    headings: Sequence[str],
    gives_way: Sequence[str] = (),
) -> None:
    """Print *found* as JSON where asked, else *rows*: on a terminal as a table, else as lines."""
    if as_json:
        show_json(found)
    elif not found:
        return
    elif is_terminal():
        show_list(headings, rows, gives_way=gives_way)
    else:
        show_lines(rows)


class Painted(str):
    """Text that is safe to show as it is: all other text is, where it is shown, made printable."""

    __slots__ = ()


def paint(text: str, **style: Any) -> Painted:
    """Return *text* in a style of ``click.style``, where a person reads it who has not said NO_COLOR."""
    from hf_localize.settings import no_color

    text = printable(text)
    return Painted(click.style(text, **style) if is_terminal() and not no_color() else text)


def show(*parts: str, err: bool = False) -> None:
    """Print a line of *parts*, on stdout or on stderr. Nothing that others wrote steers the terminal."""
    put("".join([p if isinstance(p, Painted) else printable(p) for p in parts]), err=err)


def put(text: str | bytes, *, err: bool = False, nl: bool = True) -> None:
    """Print *text* as it is. An error names stdout or stderr, so that nobody thinks the store is full."""
    try:
        click.echo(text, err=err, nl=nl)
    except OSError as exc:
        exc.filename = "stderr" if err else "stdout"
        raise


def is_quiet() -> bool:
    """Tell whether only results, warnings and errors are wanted."""
    import logging

    return not logging.getLogger("hf_localize").isEnabledFor(logging.INFO)


def say(message: str) -> None:
    """Say on stderr what a person may want to know; not with ``--quiet``."""
    if not is_quiet():
        show(message, err=True)


def names(item: Any) -> list[str]:
    """Return what names the dataset that *item* tells of; ``-`` stands for the default."""
    return [getattr(item, name) or "-" for name in ("dataset_id", "config_name", "revision")]


def named(dataset_id: str, config_name: str | None, revision: str | None, **_: Any) -> dict[str, Any]:
    """Return what names a dataset, of the options of a command."""
    return {"dataset_id": dataset_id, "config_name": config_name, "revision": revision}


def size(size_bytes: float | None) -> str | None:
    """Return a number of bytes as people read it, or None where it is not known."""
    return None if size_bytes is None else text.size(size_bytes)


def duration(seconds: float | None) -> str | None:
    """Return a time as people read it, such as ``3 d``."""
    if seconds is None:
        return None
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def clean(text: str) -> str:
    """Return *text*, which others may have written, as one line."""
    return text if text.isprintable() else printable(text.translate(_IN_ONE_LINE))
