"""What a manifest tells, as the ``DatasetInfo`` and the splits of `datasets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import datasets
from datasets.features.features import _FEATURE_TYPES
from datasets.splits import SplitDict, SplitInfo

from hf_localize.capture import dataset_name
from hf_localize.errors import IntegrityError, UnsupportedFeatureError
from hf_localize.features import missing_types, with_large_list_item
from hf_localize.manifest import Manifest, Split
from hf_localize.refs import DatasetRef

_SPLIT_FIELDS = frozenset(field.name for field in dataclasses.fields(SplitInfo))
_INFO_FIELDS = frozenset(field.name for field in dataclasses.fields(datasets.DatasetInfo))
#: Since 4.0 ``Sequence`` is a function, but still read.
_KNOWN_TYPES = frozenset({*_FEATURE_TYPES, "Sequence"})
_FIELDS_OF_LARGE_LIST = getattr(_FEATURE_TYPES.get("LargeList"), "__dataclass_fields__", ())
_LARGE_LIST_ITEM = "dtype" if "dtype" in _FIELDS_OF_LARGE_LIST else "feature"


def dataset_info(manifest: Manifest, ref: DatasetRef) -> datasets.DatasetInfo:
    """Return the ``DatasetInfo`` that a manifest describes, with the name by which *ref* asks for it.

    Raises:
        UnsupportedFeatureError: the installed `datasets` lacks a feature type of the dataset.
    """
    if missing := missing_types(manifest.features, _KNOWN_TYPES):
        raise UnsupportedFeatureError(
            f"{manifest.ref} can't be loaded with datasets {datasets.__version__}: {'; '.join(missing)}. "
            "Upgrade datasets; nothing was fetched."
        )
    known = {key: value for key, value in manifest.info.items() if key in _INFO_FIELDS}
    name = dataset_name(ref.dataset_id)  # As stock does, whatever the id is on the Hub by now.
    splits = SplitDict(dataset_name=name)
    for split in manifest.splits:
        splits.add(split_info(split, name))
    try:
        features = datasets.Features.from_dict(with_large_list_item(manifest.features, _LARGE_LIST_ITEM))
        named = {"dataset_name": name, "features": features, "splits": splits}
        return datasets.DatasetInfo(**{**known, **named})
    except Exception as exc:  # Whatever `datasets` makes of what is none.
        raise IntegrityError(
            f"the manifest of {manifest.ref} has features or info that datasets {datasets.__version__} can't "
            f"read: {exc!r:.300}"
        ) from exc


def split_info(split: Split, dataset_name: str) -> SplitInfo:
    """Return a split as `datasets` describes it."""
    values: Mapping[str, Any] = {
        "name": split.name,
        "num_bytes": split.size_bytes,
        "num_examples": split.rows,
        "shard_lengths": shard_lengths(split),
        "original_shard_lengths": split.original_shard_rows and list(split.original_shard_rows),
        "dataset_name": dataset_name,
    }
    return SplitInfo(**{key: value for key, value in values.items() if key in _SPLIT_FIELDS})


def shard_lengths(split: Split) -> list[int | None] | None:
    """Return the rows of each shard, as `datasets` records them: None for a lone shard."""
    return [shard.rows for shard in split.shards] if len(split.shards) > 1 else None


def config_name_of(manifest: Manifest) -> str:
    """Return the name of the config that was built."""
    return manifest.resolved_config or manifest.config_name or "default"


def version_of(manifest: Manifest) -> str:
    """Return the version of the dataset, as its builder gave it."""
    return manifest.info.get("version") or "0.0.0"
