"""What a manifest tells, as the ``DatasetInfo`` and the splits of `datasets`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.features.features import _FEATURE_TYPES
from datasets.splits import SplitDict, SplitInfo

from hf_localize.errors import IntegrityError, UnsupportedFeatureError
from hf_localize.format.arrow.shards import METADATA_KEY, check_shards
from hf_localize.format.features import missing_types, with_large_list_item
from hf_localize.format.manifest import Manifest, Split
from hf_localize.format.manifest_json import count
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.capture import dataset_name

_SPLIT_FIELDS = frozenset(field.name for field in dataclasses.fields(SplitInfo))
_INFO_FIELDS = frozenset(field.name for field in dataclasses.fields(datasets.DatasetInfo))
_SIZES = frozenset({"download_size", "post_processing_size", "dataset_size", "size_in_bytes"})
#: Since 4.0 ``Sequence`` is a function, but still read.
_KNOWN_TYPES = frozenset({*_FEATURE_TYPES, "Sequence"})
_FIELDS_OF_LARGE_LIST = getattr(_FEATURE_TYPES.get("LargeList"), "__dataclass_fields__", ())
_LARGE_LIST_ITEM = "dtype" if "dtype" in _FIELDS_OF_LARGE_LIST else "feature"


def dataset_info(manifest: Manifest, ref: DatasetRef) -> datasets.DatasetInfo:
    """Return the ``DatasetInfo`` that a manifest describes, with the name by which *ref* asks for it.

    Whatever else a builder takes from the manifest can be used then: the name of its config, the version.

    Raises:
        UnsupportedFeatureError: the installed `datasets` lacks a feature type of the dataset.
        IntegrityError: the manifest is none that `datasets` can read.
    """
    _require_types(manifest.features, str(manifest.ref))
    known = {key: value for key, value in manifest.info.items() if key in _INFO_FIELDS}
    name = dataset_name(ref.dataset_id)  # As stock does, whatever the id is on the Hub by now.
    try:
        splits = SplitDict(dataset_name=name)
        for split in manifest.splits:
            splits.add(split_info(split, name))
        features = _decoded(manifest.features) if manifest.features else None
        datasets.BuilderConfig(config_name_of(manifest), version_of(manifest))
        if not isinstance(known.get("builder_name") or "", str):
            raise TypeError("the name of the builder is not text")
        for field in _SIZES & known.keys():
            count(known[field] or 0)
        named = {"dataset_name": name, "features": features, "splits": splits}
        return datasets.DatasetInfo(**{**known, **named})
    except Exception as exc:  # Whatever `datasets` makes of what is none.
        raise IntegrityError(
            f"the manifest of {manifest.ref} has features or info that datasets {datasets.__version__} can't "
            f"read: {exc!r:.300}"
        ) from exc


def check_entry(folder: Path, manifest: Manifest, paths: Collection[str] | None = None) -> None:
    """Check that `datasets` can open the shards in *folder*, and that they are what *manifest* says.

    Args:
        paths: of the shards that are looked at; None: all.

    Raises:
        UnsupportedFeatureError: the installed `datasets` lacks a feature type of the dataset.
        IntegrityError: it can't, or they are not.
    """
    features = dataset_info(manifest, manifest.ref).features
    check_shards(folder, manifest.splits, paths)
    known: set[bytes] = set()
    for path in manifest.shard_paths() if paths is None else manifest.shard_paths() & set(paths):
        try:
            with pa.memory_map(str(folder / path)) as source, pa.ipc.open_stream(source) as reader:
                schema = reader.schema
                for batch in reader:  # Of a mapped file, that reads the heads of its batches alone.
                    batch.validate()
        except (pa.ArrowException, OSError) as exc:
            raise IntegrityError(f"{folder / path} is not an Arrow stream: {exc}") from exc
        written = schema.serialize().to_pybytes()
        if written not in known:
            check_schema(schema, features, str(folder / path))
            known.add(written)


def check_schema(schema: pa.Schema, features: datasets.Features | None, where: str) -> None:
    """Check that an Arrow file of that *schema* has *features* (None: whatever it has), as `datasets` does.

    Raises:
        UnsupportedFeatureError: the installed `datasets` lacks a feature type of the file.
        IntegrityError: it has others, or `datasets` can't read its schema.
    """
    try:
        recorded = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
        _require_types((recorded.get("info") or {}).get("features") or {}, where)
        found = datasets.Features.from_arrow_schema(schema)
        is_right = features is None or features.reorder_fields_as(found).type == found.type
    except UnsupportedFeatureError:
        raise
    except Exception as exc:  # Whatever `datasets` makes of what is none.
        raise IntegrityError(f"{where} has a schema that datasets can't read: {exc!r:.300}") from exc
    if not is_right:
        raise IntegrityError(f"{where} has other columns or types than its manifest says")


def _require_types(features: Mapping[str, Any], what: str) -> None:
    if missing := missing_types(features, _KNOWN_TYPES):
        raise UnsupportedFeatureError(
            f"{what} can't be loaded with datasets {datasets.__version__}: {'; '.join(missing)}. "
            "Upgrade datasets; nothing was fetched."
        )


def _decoded(features: Mapping[str, Any]) -> datasets.Features:
    decoded = datasets.Features.from_dict(with_large_list_item(features, _LARGE_LIST_ITEM))
    _ = decoded.type  # It is made when a table is; then it would be too late.
    return decoded


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


def version_of(manifest: Manifest) -> datasets.Version:
    """Return the version of the dataset, as its builder gave it."""
    version = manifest.info.get("version") or "0.0.0"
    # A mapping is how `datasets` writes it.
    return datasets.Version(version["version_str"] if isinstance(version, Mapping) else version)
