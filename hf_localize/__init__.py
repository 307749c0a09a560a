"""Use Hugging Face datasets where the Hub is out of reach.

    import hf_localize; hf_localize.install()
    from datasets import load_dataset
    load_dataset("openai/gsm8k", "main")   # local store → private S3 → public ZIPs → Hub

Importing this package loads neither `datasets` nor `boto3`.
"""

from __future__ import annotations

import sys

from hf_localize._version import __version__ as __version__

TYPE_CHECKING = False  # Activation imports this when a Python starts, and typing takes a while.
if TYPE_CHECKING:
    from typing import Any

    from hf_localize.api.archive import export_datasets, import_datasets
    from hf_localize.api.batch import Download, download_datasets, sync_local_datasets_to_s3
    from hf_localize.api.compare import diff_datasets, list_outdated, status_of_datasets
    from hf_localize.api.datasets import (
        DATASETS_STORE_PATH,
        download_dataset,
        load_local_dataset,
        register_dataset,
        sync_local_dataset_to_s3,
    )
    from hf_localize.api.doctor import diagnose
    from hf_localize.api.inspect import describe_dataset, explain_dataset
    from hf_localize.api.listing import list_local_datasets, list_public_datasets, list_s3_datasets
    from hf_localize.api.lock import download_locked, lock_datasets
    from hf_localize.api.preview import preview_dataset
    from hf_localize.api.repositories import download_repository, sync_local_repository_to_s3
    from hf_localize.api.upkeep import (
        prune_datasets,
        remove_dataset,
        repair_dataset,
        verify_dataset,
        withdraw_dataset,
    )
    from hf_localize.catalog.catalog import Catalog, publish_catalog, write_catalog
    from hf_localize.errors import HfLocalizeError
    from hf_localize.shim.patch import install, installed, is_installed, uninstall

__all__ = [
    "DATASETS_STORE_PATH",
    "Catalog",
    "Download",
    "HfLocalizeError",
    "describe_dataset",
    "diagnose",
    "diff_datasets",
    "download_dataset",
    "download_datasets",
    "download_locked",
    "download_repository",
    "explain_dataset",
    "export_datasets",
    "import_datasets",
    "install",
    "installed",
    "is_installed",
    "list_local_datasets",
    "list_outdated",
    "list_public_datasets",
    "list_s3_datasets",
    "load_local_dataset",
    "lock_datasets",
    "preview_dataset",
    "prune_datasets",
    "publish_catalog",
    "register_dataset",
    "remove_dataset",
    "repair_dataset",
    "status_of_datasets",
    "sync_local_dataset_to_s3",
    "sync_local_datasets_to_s3",
    "sync_local_repository_to_s3",
    "uninstall",
    "verify_dataset",
    "withdraw_dataset",
    "write_catalog",
]

_HOMES = {
    "HfLocalizeError": "errors",
    **dict.fromkeys(
        ("prune_datasets", "remove_dataset", "repair_dataset", "verify_dataset", "withdraw_dataset"),
        "api.upkeep",
    ),
    **dict.fromkeys(("describe_dataset", "explain_dataset"), "api.inspect"),
    "preview_dataset": "api.preview",
    **dict.fromkeys(("list_local_datasets", "list_public_datasets", "list_s3_datasets"), "api.listing"),
    **dict.fromkeys(("diff_datasets", "list_outdated", "status_of_datasets"), "api.compare"),
    **dict.fromkeys(("export_datasets", "import_datasets"), "api.archive"),
    **dict.fromkeys(("download_repository", "sync_local_repository_to_s3"), "api.repositories"),
    "diagnose": "api.doctor",
    **dict.fromkeys(("download_locked", "lock_datasets"), "api.lock"),
    **dict.fromkeys(("Download", "download_datasets", "sync_local_datasets_to_s3"), "api.batch"),
    **dict.fromkeys(("Catalog", "publish_catalog", "write_catalog"), "catalog.catalog"),
    **dict.fromkeys(("install", "installed", "is_installed", "uninstall"), "shim.patch"),
}


if not TYPE_CHECKING:  # For mypy only the names above are there: a misspelt one is an error.

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        if _HOMES.get(name) == "shim.patch" and "hf_localize.shim.activation" in sys.modules:
            sys.modules["hf_localize.shim.activation"].settle()  # So that they say, and undo, what is so.
        module = importlib.import_module(f"hf_localize.{_HOMES.get(name, 'api.datasets')}")
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
