"""Run by each version of `datasets`: publish what the installed one writes, for each reader.

Arguments: the folder that the loopback Hub serves, then the versions that will read.
Prints the dataset ids that it published, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets

import hf_localize
from tests.loads.fidelity.repositories import SCRIPT
from tests.loads.matrix.columns import INSTALLED, NOT_IN_PARQUET, Column, columns, dataset, only_since


def main(hub_root: Path, readers: list[str]) -> list[str]:
    chosen = {
        f"{group}-for-{reader}": columns(tuple(map(int, reader.split(".")[:2])), group)
        for reader in readers
        for group in ("plain", "decoded")
    }
    newer = {
        f"new-since-{a}.{b}": only_since((a, b))
        for a, b in ((3, 1), (4, 0), (4, 7), (5, 0))
        if (a, b) <= INSTALLED
    }
    return [
        *(i for name, picked in {**chosen, **newer}.items() for i in publish(name, picked, hub_root)),
        *(publish_script(hub_root) if INSTALLED < (4, 0) else ()),
    ]


def publish(name: str, picked: dict[str, Column], hub_root: Path) -> list[str]:
    """Publish the columns in each way in which data comes in: from memory, a folder, the Hub."""
    data = dataset(picked)
    owner = f"by-{datasets.__version__}"
    ids = [f"{owner}/{way}-{name}" for way in ("memory", "folder", "hub")]
    hf_localize.register_dataset(data, ids[0], make_public=True)
    data.save_to_disk(f"saved-{name}")
    hf_localize.register_dataset(f"saved-{name}", ids[1], make_public=True)
    repository = hub_root / ids[2] / "main"
    repository.mkdir(parents=True)
    data.remove_columns(list(NOT_IN_PARQUET & picked.keys())).to_parquet(str(repository / "train.parquet"))
    hf_localize.download_dataset(ids[2], make_public=True)
    return ids


def publish_script(hub_root: Path) -> list[str]:
    name = f"script_{datasets.__version__.replace('.', '_')}"  # It becomes a module's name.
    dataset_id = f"made/{name}"
    repository = hub_root / dataset_id / "main"
    repository.mkdir(parents=True)
    (repository / f"{name}.py").write_bytes(SCRIPT)
    hf_localize.download_dataset(dataset_id, trust_remote_code=True, make_public=True)
    return [dataset_id]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
