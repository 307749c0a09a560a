"""How commands show what they found: tables for people, lines with tabs for programs, JSON where asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import click

from hf_localize import text
from hf_localize.errors import printable

_IN_ONE_LINE = str.maketrans("\t\n\v\f\r", " " * 5)
_AGES = ((86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def is_terminal() -> bool:
    """Tell whether a person, not a program, reads stdout."""
    return sys.stdout.isatty()


def show_json(value: Any) -> None:
    """Print *value*, which may hold dataclasses, as one JSON document."""
    import dataclasses
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=dataclasses.asdict)
    if printable(text) != text:  # JSON demands escapes of the first 32 characters only.
        text = "".join([c if printable(c) == c else _in_json(c) for c in text])
    click.echo(text)


def _in_json(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def show_lines(rows: Iterable[Sequence[Any]]) -> None:
    """Print one line a row, columns divided by tabs; ``-`` stands for what is not given."""
    lines = ["\t".join(["-" if cell is None else clean(str(cell)) for cell in row]) for row in rows]
    if lines:
        show("\n".join(lines))


def show_table(
    headings: Sequence[str], rows: Iterable[Sequence[str | None]], *, numbers: Sequence[str] = ()
) -> None:
    """Print a table as wide as the terminal.

    Args:
        numbers: the headings of the columns that are aligned on the right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        is_number = heading in numbers
        justify: Literal["right", "left"] = "right" if is_number else "left"
        table.add_column(Text(clean(heading)), justify=justify, no_wrap=is_number, overflow="fold")
    for row in rows:  # What others wrote is no markup.
        table.add_row(*(Text("-" if cell is None else clean(cell)) for cell in row))
    Console(highlight=False).print(table)


def show_found(
    found: Any, as_json: bool, rows: Iterable[Sequence[Any]], headings: Sequence[str] = ()
) -> None:
    """Print *found* as JSON where asked, else *rows*: with *headings* on a terminal, else as lines."""
    if as_json:
        show_json(found)
    elif headings and is_terminal():
        show_table(headings, rows)
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
    click.echo("".join([p if isinstance(p, Painted) else printable(p) for p in parts]), err=err)


def is_quiet() -> bool:
    """Tell whether only results, warnings and errors are wanted."""
    import logging

    return not logging.getLogger("hf_localize").isEnabledFor(logging.INFO)


def say(message: str) -> None:
    """Say on stderr what a person may want to know; not with ``--quiet``."""
    if not is_quiet():
        show(message, err=True)


def names(item: Mapping[str, Any]) -> list[str]:
    """Return what names a dataset; ``-`` stands for the default."""
    return [item[name] or "-" for name in ("dataset_id", "config_name", "revision")]


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
