"""All that imports `datasets` and huggingface_hub, and what is done to them.

`shim.patch` wraps these functions of `datasets`: ``load.load_dataset``, ``load.load_dataset_builder``,
``inspect.get_dataset_config_names`` and ``inspect.get_dataset_default_config_name``. Its other public
functions call these. ``utils.file_utils._raise_if_offline_mode_is_enabled`` is wrapped, too: it passes where
files that are held are read. Everything below works with `datasets` 2.21 to 5.x. Look here first when a
release breaks it.

``builder``
    ``LocalizedDataset`` is a subclass of ``ArrowBasedBuilder``. It overrides ``_download_and_prepare``,
    which links shards into the cache directory, and ``as_streaming_dataset``. Splits, slices, fingerprints
    and the caches of ``map`` are stock's own code. The class is alone in its module, because stock patches
    ``open`` in the module of a builder that streams. Before 4.0 it is kept from that, since it locks a file
    beside the package of the builder, where a user may not write.
``reader``
    A subclass of ``ArrowReader`` opens shards in threads, and one of ``ConcatenationTable`` joins them
    once. Stock needs seconds for thousands of shards.
``streaming``
    The class of a stream's ``ArrowExamplesIterable`` (and, before 4.0,
    ``ShuffledDataSourcesArrowExamplesIterable``) is replaced by a subclass of the same name, because stock
    writes that name into the state of a stream. A stream that resumes in the middle of a shard then reads
    from there. Stock reads the rows before it and drops them.
``source_rows``
    ``_prepare_split`` of stock's builder is wrapped while a dataset is captured, and ``max_shard_size`` is
    an ``int`` that compares as exceeded where a source file ends. A stream of an entry then has the shards
    that a stream of the repository's files has.
``capture``
    Reads what stock has prepared in its cache directory, so an entry has the bytes that stock has made.
``hub``
    Does not accept the builder of stock's offline ``Cache`` as an answer of the Hub.
``errors``
    Classes that are both ours and stock's ``DatasetNotFoundError``, so that existing ``except`` clauses
    catch them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # Activation imports this when a Python starts.
if TYPE_CHECKING:
    from collections.abc import Collection


def packaged_builders() -> Collection[str]:
    """Return the names of the builders that `datasets` brings, such as ``csv``."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    names: Collection[str] = _PACKAGED_DATASETS_MODULES
    return names
