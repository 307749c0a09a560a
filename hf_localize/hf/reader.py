"""Stock's reader of prepared Arrow files, with less work for each file and none for each split.

Stock starts a pool of threads for each split, which takes longer than to open the files, unless each
takes long; then it makes new metadata for every file's table and drops it. The tables that come out
are stock's own.
"""

from __future__ import annotations

import functools
import operator
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from datasets.arrow_reader import ArrowReader, ReadInstruction
from datasets.table import ConcatenationTable, InMemoryTable, Table
from datasets.utils import tqdm

#: So many files are opened one after another first, and tell whether threads pay for the rest: not where
#: each takes less than this, since threads then mostly wait for each other (three times as long in all).
_FIRST_FILES = 16
_SLOW_SECONDS = 0.001
#: Threads are handed runs of so many.
_RUN_FILES = 64
_NO_ROWS: dict[str, Any] = {"filename": "", "skip": 0, "take": 0}


class Reader(ArrowReader):  # type: ignore[misc]  # datasets has no types.
    """Read the rows of a split from Arrow files, mapped into memory."""

    def get_file_instructions(
        self, name: str, instruction: Any, split_infos: Iterable[Any]
    ) -> list[dict[str, Any]]:
        """Return which rows of which files *instruction* asks for.

        A slice that ends before it begins has no rows. Stock, which prepares most splits as one file, reads
        none then; of several files it finds no instruction, which is an error.
        """
        infos = {info.name: info for info in split_infos}
        if not isinstance(instruction, ReadInstruction):
            instruction = ReadInstruction.from_spec(str(instruction))
        parts = instruction.to_absolute({info.name: info.num_examples for info in infos.values()})
        rest = [part for part in parts if part.from_ <= part.to or not infos[part.splitname].shard_lengths]
        if len(rest) < len(parts):
            if not rest:
                return [_NO_ROWS]
            read = [ReadInstruction(part.splitname, None, part.from_, part.to, "abs") for part in rest]
            instruction = functools.reduce(operator.add, read)
        files: list[dict[str, Any]] = super().get_file_instructions(name, instruction, infos.values())
        return files

    def _read_files(self, files: Sequence[dict[str, Any]], in_memory: bool = False) -> Table:
        if files == [_NO_ROWS]:
            return InMemoryTable.from_batches([], schema=pa.schema(self._info.features.type))
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
