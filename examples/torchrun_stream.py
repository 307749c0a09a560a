"""Each process that torchrun starts reads its own part of a stream, so that every row is read once.

torchrun --nproc-per-node 4 examples/torchrun_stream.py team/corpus
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import hf_localize

hf_localize.install()

from datasets import load_dataset  # noqa: E402
from datasets.distributed import split_dataset_by_node  # noqa: E402


def my_rows(dataset_id: str) -> Iterator[dict[str, Any]]:
    """Yield the rows that are this process's."""
    # torchrun, srun with a wrapper, Kubernetes' PyTorchJob, … set these.
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    stream = load_dataset(dataset_id, split="train", streaming=True)
    # Where the shards can be shared out evenly, each process asks for its own only. Where they
    # can't, every process reads all of them and keeps one row in `world_size`.
    yield from split_dataset_by_node(stream, rank, world_size)


def main() -> None:
    """Read, and say how much it was; a training step would stand in the loop."""
    count = 0
    for _row in my_rows(sys.argv[1]):
        count += 1
    print(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {count} rows")


if __name__ == "__main__":
    main()
