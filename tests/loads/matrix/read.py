"""Run by each version of `datasets`: load ids, and say what was not as it was written.

Arguments: the ids. Prints a JSON object {id: what is wrong, or null}.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

import hf_localize
from hf_localize.errors import UnsupportedFeatureError
from tests.loads.matrix.columns import (
    INSTALLED,
    NOT_IN_PARQUET,
    STRUCT,
    cells,
    columns,
    dataset,
    features,
    only_since,
)


def main(ids: list[str]) -> dict[str, str | None]:
    with hf_localize.installed():
        return {dataset_id: check(dataset_id) for dataset_id in ids}


def check(dataset_id: str) -> str | None:
    name = dataset_id.split("/")[1]
    if name.startswith("script"):
        loaded = datasets.load_dataset(dataset_id, split="train")
        return None if loaded["n"][:] == [0, 1, 2] else f"{loaded}"
    group, kind, version = re.fullmatch(r"\w+-(\w+)-(for|since)-([\d.]+)", name).groups()
    picked = tuple(map(int, version.split(".")[:2]))
    if kind == "since" and picked > INSTALLED:
        return check_refused(dataset_id, list(only_since(picked)))
    # The writer may have been older than the reader for which it wrote.
    writer = tuple(map(int, dataset_id.split("/")[0].removeprefix("by-").split(".")[:2]))
    chosen = only_since(picked) if kind == "since" else columns(min(picked, writer), group)
    if name.startswith("hub-"):
        chosen = {name: column for name, column in chosen.items() if name not in NOT_IN_PARQUET}
    needed, expected = features(chosen), cells(dataset(chosen).data.table)
    if "struct of lists" in needed and writer >= (4, 0):  # Since 4.0 it is written as what it is.
        needed["struct of lists"] = {name: datasets.Sequence(item) for name, item in STRUCT.items()}
    loaded = datasets.load_dataset(dataset_id, split="train")
    stream = datasets.load_dataset(dataset_id, split="train", streaming=True)
    for how, found, table in (
        ("loaded", loaded.features, loaded.data.table),
        ("streamed", stream.features, pa.concat_tables(stream.with_format("arrow"))),
    ):
        if found != needed:
            return f"{how}: features {[(n, found.get(n), f) for n, f in needed.items() if found.get(n) != f]}"
        if cells(table) != expected:
            different = {n: (c, expected[n]) for n, c in cells(table).items() if c != expected[n]}
            return f"{how}: cells {different}"
    return None


def check_refused(dataset_id: str, names: list[str]) -> str | None:
    """Check that the error names column, type and version, and that nothing was fetched."""
    before = stored()
    for streaming in (False, True):
        try:
            got: Any = datasets.load_dataset(dataset_id, streaming=streaming)
        except UnsupportedFeatureError as exc:
            if not all(
                re.search(rf"column '{name}' needs \w+, which datasets has since \d", str(exc))
                for name in names
            ):
                return f"unclear error: {exc}"
        else:
            return f"no error, but {got}"
    return None if stored() == before else "something was fetched"


def stored() -> list[str]:
    return sorted(str(path) for path in Path(os.environ["HGLOC_DATASETS_STORE_PATH"]).rglob("*.arrow"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])))
