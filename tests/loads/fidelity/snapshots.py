"""What a load returned, as a value that two loads can be compared by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import datasets


def snapshot(loaded: Any) -> dict[str, Any]:
    """Return type, features, columns, rows, splits and info of what ``load_dataset`` returned."""
    if isinstance(loaded, dict):
        parts = {name: snapshot(part) for name, part in loaded.items()}
        return {"type": type(loaded).__name__, "splits": list(loaded), "parts": parts}
    rows = list(loaded)
    return {
        "type": type(loaded).__name__,
        "split": str(loaded.split),
        "features": repr(loaded.features),
        "columns": loaded.column_names,
        "rows": len(rows),
        "hash": hashlib.sha256(json.dumps(rows, default=repr).encode()).hexdigest(),
        "shards": shards(loaded),
        "info": info_snapshot(loaded.info),
    }


def shards(loaded: Any) -> int | None:
    """Return the number of shards of a stream; ``n_shards`` is its name before 3.0."""
    if not isinstance(loaded, datasets.IterableDataset):
        return None
    return loaded.num_shards if hasattr(loaded, "num_shards") else loaded.n_shards


def info_snapshot(info: datasets.DatasetInfo) -> dict[str, Any]:
    """Return the parts of an info that do not depend on the machine.

    ``shard_lengths`` tells how the prepared data lies in Arrow files, not what it is.
    """
    splits = {
        name: {key: value for key, value in asdict(split).items() if key != "shard_lengths"}
        for name, split in (info.splits or {}).items()
    }
    names = ("config_name", "dataset_name", "builder_name", "description", "citation", "license", "homepage")
    return {
        **{name: getattr(info, name) for name in names},
        "version": str(info.version),
        "features": repr(info.features),
        "splits": splits,
        "sizes": (info.download_size, info.dataset_size),
    }
