"""All that imports `datasets` and huggingface_hub."""

from __future__ import annotations

from collections.abc import Collection


def packaged_builders() -> Collection[str]:
    """Return the names of the builders that `datasets` brings, such as ``csv``."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    names: Collection[str] = _PACKAGED_DATASETS_MODULES
    return names
