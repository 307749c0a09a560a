"""The splits of an entry as stock names their files, and which of them a load with ``split=`` needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datasets.arrow_reader import ReadInstruction, make_file_instructions
from datasets.naming import filenames_for_dataset_split

from hf_localize.format.manifest import Manifest, Split
from hf_localize.hf.info import shard_lengths, split_info


@dataclass(frozen=True, slots=True)
class NeededSplit:
    """What a load with ``split=`` needs of an entry: the shards that hold those rows.

    ``split`` is a spec as ``load_dataset`` takes it, or a list or dict of such.
    """

    split: Any

    def __call__(self, manifest: Manifest) -> frozenset[str] | None:
        """Return the paths of the shards; None where the rows of shards are not known.

        Of a split that there is not, nothing is needed: stock will say so.
        """
        if any(shard.rows is None for split in manifest.splits for shard in split.shards):
            return None
        infos = [split_info(split, "x") for split in manifest.splits]
        paths = {
            name: shard.path
            for split in manifest.splits
            for name, shard in zip(file_names(split, "x"), split.shards, strict=True)
        }
        try:
            specs = list(_specs(self.split, [info.name for info in infos]))
            read = [make_file_instructions("x", infos, spec, "arrow", "") for spec in specs]
        except (ValueError, AssertionError, TypeError):
            return frozenset()
        # Stock's reader skips files without rows, but a stream opens each.
        whole = {shard.path for split in manifest.splits if split.name in specs for shard in split.shards}
        return frozenset(whole.union(paths[f["filename"]] for found in read for f in found.file_instructions))


def file_names(split: Split, dataset_name: str) -> list[str]:
    """Return the names by which stock's reader looks for the shards of a split in its cache folder."""
    names: list[str] = filenames_for_dataset_split(
        "", dataset_name, split.name, "arrow", shard_lengths(split)
    )
    return names


def _specs(split: Any, names: list[str]) -> Iterator[Any]:
    """Yield each spec of a ``split`` argument; for ``all``, the *names* of all splits."""
    if isinstance(split, Mapping):
        split = list(split.values())
    if isinstance(split, (list, tuple)):
        for item in split:
            yield from _specs(item, names)
    elif isinstance(split, ReadInstruction):
        yield split
    else:
        yield from names if str(split) == "all" else (str(split),)
