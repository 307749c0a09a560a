"""Use Hugging Face datasets where the Hub is out of reach.

    import hf_localize; hf_localize.install()
    from datasets import load_dataset
    load_dataset("openai/gsm8k", "main")   # local store → private S3 → public ZIPs → Hub

Importing this package loads neither `datasets` nor `boto3`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # Activation imports this when a Python starts, and typing takes a while.
if TYPE_CHECKING:
    from typing import Any

    from hf_localize._version import __version__ as __version__
    from hf_localize.api.archive import export_datasets as export_datasets
    from hf_localize.api.archive import import_datasets as import_datasets
    from hf_localize.api.batch import Download as Download
    from hf_localize.api.batch import Sync as Sync
    from hf_localize.api.batch import download_datasets
    from hf_localize.api.batch import sync_local_datasets_to_s3 as sync_local_datasets_to_s3
    from hf_localize.api.compare import diff_datasets as diff_datasets
    from hf_localize.api.compare import list_outdated as list_outdated
    from hf_localize.api.compare import status_of_datasets as status_of_datasets
    from hf_localize.api.datasets import (
        DATASETS_STORE_PATH,
        download_dataset,
        load_local_dataset,
        register_dataset,
        sync_local_dataset_to_s3,
    )
    from hf_localize.api.doctor import diagnose as diagnose
    from hf_localize.api.inspect import describe_dataset, explain_dataset
    from hf_localize.api.listing import list_local_datasets, list_public_datasets, list_s3_datasets
    from hf_localize.api.lock import LockState as LockState
    from hf_localize.api.lock import check_lock as check_lock
    from hf_localize.api.lock import download_locked, lock_datasets
    from hf_localize.api.preview import preview_dataset
    from hf_localize.api.repositories import download_repository as download_repository
    from hf_localize.api.repositories import sync_local_repository_to_s3 as sync_local_repository_to_s3
    from hf_localize.api.upkeep import prune_datasets as prune_datasets
    from hf_localize.api.upkeep import remove_dataset, verify_dataset
    from hf_localize.api.upkeep import repair_dataset as repair_dataset
    from hf_localize.api.upkeep import withdraw_dataset as withdraw_dataset
    from hf_localize.api.values import Age as Age
    from hf_localize.api.values import CheckedDataset as CheckedDataset
    from hf_localize.api.values import DatasetName as DatasetName
    from hf_localize.api.values import DescribedPlace as DescribedPlace
    from hf_localize.api.values import DescribedSplit as DescribedSplit
    from hf_localize.api.values import Description as Description
    from hf_localize.api.values import Difference as Difference
    from hf_localize.api.values import Explanation as Explanation
    from hf_localize.api.values import FileDifference as FileDifference
    from hf_localize.api.values import Preview as Preview
    from hf_localize.api.values import PrunedDataset as PrunedDataset
    from hf_localize.api.values import RepairedDataset as RepairedDataset
    from hf_localize.api.values import RepositoryFiles as RepositoryFiles
    from hf_localize.api.values import Result as Result
    from hf_localize.api.values import SourceAnswer as SourceAnswer
    from hf_localize.api.values import Status as Status
    from hf_localize.api.values import StoredDataset as StoredDataset
    from hf_localize.catalog.catalog import Catalog as Catalog
    from hf_localize.catalog.catalog import publish_catalog as publish_catalog
    from hf_localize.catalog.catalog import write_catalog as write_catalog
    from hf_localize.errors import HfLocalizeError
    from hf_localize.format.lockfile import Lock as Lock
    from hf_localize.shim.patch import install, installed, is_installed, uninstall
    from hf_localize.upkeep.findings import Finding as Finding

#: What most programs use. The other public names can be imported, too.
__all__ = [
    "DATASETS_STORE_PATH",
    "HfLocalizeError",
    "describe_dataset",
    "download_dataset",
    "download_datasets",
    "download_locked",
    "explain_dataset",
    "install",
    "installed",
    "is_installed",
    "list_local_datasets",
    "list_public_datasets",
    "list_s3_datasets",
    "load_local_dataset",
    "lock_datasets",
    "preview_dataset",
    "register_dataset",
    "remove_dataset",
    "sync_local_dataset_to_s3",
    "uninstall",
    "verify_dataset",
]

#: The public names, by the module that has them.
_NAMES = {
    "_version": "__version__",
    "api.archive": "export_datasets import_datasets",
    "api.batch": "Download Sync download_datasets sync_local_datasets_to_s3",
    "api.compare": "diff_datasets list_outdated status_of_datasets",
    "api.datasets": (
        "DATASETS_STORE_PATH download_dataset load_local_dataset register_dataset sync_local_dataset_to_s3"
    ),
    "api.doctor": "diagnose",
    "api.inspect": "describe_dataset explain_dataset",
    "api.listing": "list_local_datasets list_public_datasets list_s3_datasets",
    "api.lock": "LockState check_lock download_locked lock_datasets",
    "api.preview": "preview_dataset",
    "api.repositories": "download_repository sync_local_repository_to_s3",
    "api.upkeep": "prune_datasets remove_dataset repair_dataset verify_dataset withdraw_dataset",
    "api.values": (
        "Age CheckedDataset DatasetName DescribedPlace DescribedSplit Description Difference Explanation "
        "FileDifference Preview PrunedDataset RepairedDataset RepositoryFiles Result SourceAnswer Status "
        "StoredDataset"
    ),
    "catalog.catalog": "Catalog publish_catalog write_catalog",
    "errors": "HfLocalizeError",
    "format.lockfile": "Lock",
    "shim.patch": "install installed is_installed uninstall",
    "upkeep.findings": "Finding",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # For mypy only the names above are there: a misspelt one is an error.

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        if _HOMES[name] == "shim.patch" and "hf_localize.shim.activation" in sys.modules:
            sys.modules["hf_localize.shim.activation"].settle()  # So that they say, and undo, what is so.
        module = importlib.import_module(f"hf_localize.{_HOMES[name]}")
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
