"""Stock's reader of prepared Arrow files, with less work for each file and none for each split.

Stock starts a pool of threads for each split, which takes longer than to open the files, unless each
takes long; then it makes new metadata for every file's table and drops it. The tables that come out
are stock's own.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datasets.arrow_reader import ArrowReader
from datasets.table import ConcatenationTable, Table
from datasets.utils import tqdm

#: So many files are opened one after another first, and tell whether threads pay for the rest: not where
#: each takes less than this, since threads then mostly wait for each other (three times as long in all).
_FIRST_FILES = 16
_SLOW_SECONDS = 0.001
#: Threads are handed runs of so many.
_RUN_FILES = 64


class Reader(ArrowReader):  # type: ignore[misc]  # datasets has no types.
    """Read the rows of a split from Arrow files, mapped into memory."""

    def _read_files(self, files: Sequence[dict[str, Any]], in_memory: bool = False) -> Table:
        if in_memory or not files:
            return super()._read_files(files, in_memory=in_memory)
        placed = [{**file, "filename": os.path.join(self._path, file["filename"])} for file in files]
        tables = [table for table in self._open_all(placed) if len(table)]
        if not tables:  # Stock makes one without rows.
            return super()._read_files(files, in_memory=in_memory)
        if len(tables) == 1:
            return tables[0]
        whole = ConcatenationTable.from_tables(tables)
        return _Joined(whole.table, whole.blocks)

    def _open_all(self, files: Sequence[dict[str, Any]]) -> list[Table]:
        started = time.monotonic()
        tables = self._open_run(files[:_FIRST_FILES])
        rest = files[_FIRST_FILES:]
        if not rest or time.monotonic() - started < _SLOW_SECONDS * len(tables):
            return tables + self._open_run(rest)
        runs = [rest[start : start + _RUN_FILES] for start in range(0, len(rest), _RUN_FILES)]
        with (
            ThreadPoolExecutor(min(len(runs), 16)) as pool,
            tqdm(total=len(rest), desc="Loading dataset shards", disable=None) as bar,
        ):
            for opened in pool.map(self._open_run, runs):
                bar.update(len(opened))
                tables += opened
        return tables

    def _open_run(self, files: Sequence[dict[str, Any]]) -> list[Table]:
        return list(map(self._get_table_from_filename, files))


class _Joined(ConcatenationTable):  # type: ignore[misc]  # datasets has no types.
    """Several tables, one after another, of which `Dataset` makes an ordinary one when it is built."""

    @functools.wraps(ConcatenationTable.replace_schema_metadata)
    def replace_schema_metadata(self, *args: Any, **kwargs: Any) -> ConcatenationTable:
        return ConcatenationTable(self.table.replace_schema_metadata(*args, **kwargs), self.blocks)
