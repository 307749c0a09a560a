"""How many rows each source file of a repository has, as stock's builder prepares them.

A stream's shards are the repository's files; what stock writes does not tell where one ends.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import datasets
import pyarrow as pa
from datasets.utils.py_utils import convert_file_size_to_int

from hf_localize.errors import bookkeeping

_log = logging.getLogger(__name__)
#: Files of one row each, such as documents, are shards up to this number, since a load opens each shard.
MAX_SINGLE_ROWS = 256
#: The attribute of a builder that has {split: rows of each source file}.
_SOURCE_ROWS = "_hgloc_source_rows"
#: The attribute of a builder that has what it was last told to read.
_READING = "_hgloc_reading"
#: The attribute of a builder that makes a prepared file of each source file.
_CUTS = "_hgloc_cuts_at_files"


def count_source_rows(builder: datasets.DatasetBuilder) -> None:
    """Have *builder* count the rows of each source file while it prepares them in this process.

    Nothing else of it changes: it streams as before, and can be pickled.
    """
    if "_prepare_split" not in vars(builder):  # Else somebody has put his own in its place.
        builder._prepare_split = functools.partial(_prepare_and_count, builder)


def cut_at_files(builder: datasets.DatasetBuilder) -> None:
    """Have *builder*, which counts, also begin a prepared file where a source file begins.

    For data that is prepared for an entry, not for the cache of `datasets`.
    """
    setattr(builder, _CUTS, True)


class _FileEnds(int):
    """A largest size of a prepared file, which one has reached where its source file ends.

    Stock asks ``bytes written > this`` before it writes the next table. Where a source file ends
    is known once the next table came.
    """

    is_reached: bool | None = None

    def __lt__(self, written: int) -> bool:
        return int(self) < written if self.is_reached is None else self.is_reached


class Reading:
    """What a builder is reading: the arguments of its generator, and the columns of the files' tables."""

    arguments: tuple[Any, ...] = ()
    #: The first table's columns.
    columns: frozenset[str] = frozenset()
    #: The file of the first table that has others, and which it has.
    odd: tuple[str | None, frozenset[str]] | None = None
    _last: str | None = None

    @property
    def file(self) -> str | None:
        """Return the source file that is read, or was read last, as stock names it; None: not known."""
        for value in self.arguments:
            # Stock notes in its lists, and in what it iterates over, which item came last.
            while (last := getattr(value, "last_item", None)) is not None:
                value = last
            if isinstance(value, str):
                origin = getattr(value, "get_origin", None)  # Of a file that was downloaded.
                return str(origin() if origin else value)
        return self._last

    def note(self, names: Iterable[str]) -> None:
        """Take note of a table of the current file."""
        self._last, columns = self.file, frozenset(names)
        self.columns = self.columns or columns
        if columns != self.columns and self.odd is None:
            self.odd = self._last, columns


def _prepare_and_count(
    builder: Any, split_generator: datasets.SplitGenerator, *args: Any, **kwargs: Any
) -> Any:
    counters: dict[str, Any] = {}
    with bookkeeping(f"the rows of each source file of {split_generator.name} are not counted"):
        counters = _counters(builder, split_generator, kwargs)
    attributes = vars(builder)
    own = {name: attributes[name] for name in counters if name in attributes}
    attributes.update(counters)
    try:
        return type(builder)._prepare_split(builder, split_generator, *args, **kwargs)
    finally:
        for name in counters:
            del attributes[name]
        attributes.update(own)


def _counters(
    builder: Any, split_generator: datasets.SplitGenerator, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return what takes the place of the builder's generators; *kwargs* of the preparation may change."""
    # As stock counts the shards of a stream.
    lengths = {len(value) for value in split_generator.gen_kwargs.values() if isinstance(value, list)}
    rows = [0] * (lengths.pop() if len(lengths) == 1 else 1)
    setattr(builder, _SOURCE_ROWS, {**getattr(builder, _SOURCE_ROWS, {}), split_generator.name: rows})
    names = [name for name in ("_generate_tables", "_generate_examples") if hasattr(builder, name)]
    ends = _FileEnds(convert_file_size_to_int(kwargs.get("max_shard_size") or datasets.config.MAX_SHARD_SIZE))
    if getattr(builder, _CUTS, False) and "_generate_tables" in names:  # A file of examples is one example.
        kwargs["max_shard_size"] = ends
    reading = Reading()
    setattr(builder, _READING, reading)
    return {name: _counting(getattr(builder, name), rows, ends, reading) for name in names}


def _counting(
    generate: Callable[..., Any], rows: list[int], ends: _FileEnds, reading: Reading
) -> Callable[..., Any]:
    """Return *generate*, adding to *rows* what it yields as long as its keys name the files in order.

    Before it yields, *ends* knows whether a file that is a shard has ended, and *reading* what was read.
    """

    def count(key: Any, data: Any, last: int) -> int:
        file = _file_of(key)
        ends.is_reached = None
        if file is None or not last <= file < len(rows):
            return last
        ends.is_reached = file > last and (rows[last] > 1 or len(rows) <= MAX_SINGLE_ROWS)
        rows[file] += data.num_rows if isinstance(data, pa.Table) else 1
        return file

    def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
        reading.arguments = tuple(kwargs.values())
        last = 0
        for key, data in generate(*args, **kwargs):
            if isinstance(data, pa.Table):
                reading.note(data.column_names)
            try:
                last = count(key, data, last)
            except Exception as exc:  # noqa: BLE001  # Keys may be anything.
                _log.debug("rows are not counted: a key is of %s: %s", type(key), type(exc).__name__)
                rows.clear()
            yield key, data

    return run


def _file_of(key: Any) -> int | None:
    """Return the number of the source file that a key of the packaged builders names.

    They are ``Key(file, …)`` since 4.5; before, ``(file, …)``, ``"file_…"``, or the number alone.
    """
    number = getattr(key, "original_shard_id", key[0] if isinstance(key, tuple) else key)
    found = re.match(r"\d{1,6}(?=_|$)", str(number))
    return int(found.group()) if found else None


def source_rows(builder: datasets.DatasetBuilder, split: str) -> list[int] | None:
    """Return the rows of each source file, if there are several and each one's are known."""
    rows = getattr(builder, _SOURCE_ROWS, {}).get(split, [])
    are_shards = len(rows) > 1 and (max(rows) > 1 or len(rows) <= MAX_SINGLE_ROWS)
    is_known = sum(rows) == builder.info.splits[split].num_examples
    return list(rows) if is_known and are_shards else None


def read_by(builder: datasets.DatasetBuilder) -> Reading:
    """Return what *builder* has read last, as far as it was counted."""
    reading: Reading = getattr(builder, _READING, None) or Reading()
    return reading
