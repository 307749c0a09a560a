"""Why stock `datasets` could not prepare a dataset, in a line: which file, and what is wrong with it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from hf_localize.errors import HfLocalizeError, PreparationError, StoreError, without_queries
from hf_localize.hf.source_rows import read_by
from hf_localize.transfer.disk_space import NO_ROOM

#: The errors of the checks that ``verification_mode="no_checks"`` leaves out, by name: releases differ.
_CHECKS = frozenset({"ChecksumVerificationError", "SplitsVerificationError", "SplitsVerificationException"})
_MAX_LENGTH = 400
#: How its error begins if it finds no room before it begins; the closing bracket of the sizes is missing.
_NO_ROOM_OF_STOCK = "Not enough disk space"
#: How stock shows a split whose number of rows is not the recorded one.
_SIZES = re.compile(
    r"'expected': SplitInfo\(name='(?P<split>[^']*)'.*?num_examples=(?P<expected>\d+)"
    r".*?'recorded': SplitInfo\(.*?num_examples=(?P<found>\d+)"
)
#: How stock calls a file of a repository.
_URL = re.compile(r"hf://datasets/[^@]+@[^/]+/")
_SETS = {
    "ExpectedMoreSplitsError": "the card records splits that the files do not have: {}",
    "UnexpectedSplitsError": "the files have splits that the card does not record: {}",
}


@contextlib.contextmanager
def telling_why(
    builder: datasets.DatasetBuilder, what: str, advice: str = "", on_sizes: str = ""
) -> Iterator[None]:
    """Raise PreparationError, which tells the cause, where *builder* can't prepare *what*.

    Args:
        advice: text that ends the message.
        on_sizes: text that ends it instead if only the recorded sizes are wrong.
    """
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.CRITICAL)  # It would log the same, in its own words.
    try:
        yield
    except HfLocalizeError:
        raise
    except Exception as exc:  # Whatever a builder raises over its files.
        if isinstance(exc.__cause__, OSError) and exc.__cause__.errno in NO_ROOM:
            raise exc.__cause__ from exc
        if isinstance(exc, OSError) and exc.errno is not None:  # It is the disk's.
            raise
        if isinstance(exc, OSError) and str(exc).startswith(_NO_ROOM_OF_STOCK):
            raise StoreError(
                f"{what} can't be prepared in {builder._output_dir}: {str(exc).removesuffix(')')}). "
                "Free space, for example with hg-localize prune, or set HGLOC_DATASETS_STORE_PATH"
            ) from exc
        why = without_queries(why_unprepared(builder, exc))
        advice = on_sizes if is_of_checks(exc) else advice
        # contextlib takes a RuntimeError whose cause is a StopIteration for that StopIteration.
        cause = None if isinstance(exc, StopIteration) else exc
        raise PreparationError(f"{what} can't be prepared: {why}{advice}") from cause
    finally:
        datasets.logging.set_verbosity(verbosity)


def is_of_checks(exc: BaseException) -> bool:
    """Tell whether stock prepared everything, and then found other sizes than the card or script records."""
    return any(kind.__name__ in _CHECKS for kind in type(exc).__mro__)


def why_unprepared(builder: datasets.DatasetBuilder, exc: BaseException) -> str:
    """Return the cause of *exc*, which ended the preparation by *builder*, without line breaks."""
    if is_of_checks(exc):
        return _in_a_line(_differing_sizes(exc))
    cause = exc
    while isinstance(cause, DatasetGenerationError) and (below := cause.__cause__ or cause.__context__):
        cause = below
    reading = read_by(builder)
    where, what = reading.file, f"{type(cause).__name__}: {cause}"
    if isinstance(cause, StopIteration):  # So stock ends where it looks for the first row of JSON.
        what = "no row was found"
    details: Any = getattr(cause, "details", None)  # Which columns differ, where stock tells that.
    if callable(details):
        what = f"it has other columns than the files before it: {details()}"
    elif reading.odd and "Schema at index" in what:  # Stock tells of tables of one row that way.
        where, columns = reading.odd
        what = "it has other columns than the files before it: " + ", ".join(
            f"{kind} columns {sorted(names)}"
            for kind, names in (("new", columns - reading.columns), ("missing", reading.columns - columns))
            if names
        )
    return _in_a_line(f"{_URL.sub('', where)}: {what}" if where else what)


def _differing_sizes(exc: BaseException) -> str:
    kind = type(exc).__name__
    if kind in _SETS:
        return _SETS[kind].format(exc)
    found = [
        f"split {match['split']!r} has {match['found']} rows, and the card records {match['expected']}"
        for match in _SIZES.finditer(str(exc))
    ]
    return "; ".join(found) or f"{kind}: {exc}"


def _in_a_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]}…"
