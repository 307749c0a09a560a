"""Two workers of Dask read a stream, a shard at a time, so that every row is read once.

python examples/dask_stream.py team/corpus    # pip install dask distributed
"""

import sys
from collections.abc import Callable
from typing import Any

import hf_localize

hf_localize.install()

from dask import bag, delayed  # noqa: E402
from dask.distributed import Client, LocalCluster  # noqa: E402
from datasets import IterableDataset, load_dataset  # noqa: E402
from datasets.distributed import split_dataset_by_node  # noqa: E402


def rows_of_shard(stream: IterableDataset, number: int) -> list[dict[str, Any]]:
    """Return the rows of one shard; runs in a worker."""
    return list(split_dataset_by_node(stream, number, stream.num_shards))


def mapped(dataset_id: str, function: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Return what *function* makes of each row, computed where the row was read."""
    # The stream is pickled for the workers. It holds the address of the bucket but no credentials: each
    # worker uses those of its own environment.
    stream = load_dataset(dataset_id, split="train", streaming=True)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        shards = [delayed(rows_of_shard)(stream, number) for number in range(stream.num_shards)]
        return bag.from_delayed(shards).map(function).compute()


def main() -> None:
    """Read, and say how much it was."""
    print(f"{sum(mapped(sys.argv[1], lambda _row: 1))} rows")


if __name__ == "__main__":
    main()
