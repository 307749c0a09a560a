"""A stream as a dataset of Ray: each task reads one shard, so that every row is read once.

python examples/ray_stream.py team/corpus    # pip install 'ray[data]'
"""

import sys
from collections.abc import Iterator
from functools import partial

import hf_localize

hf_localize.install()

import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
from datasets import IterableDataset, load_dataset  # noqa: E402
from datasets.distributed import split_dataset_by_node  # noqa: E402


def rows_of_shards(stream: IterableDataset, numbers: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of shards, a thousand at a time; runs in a worker."""
    for number in numbers["item"].to_pylist():
        shard = split_dataset_by_node(stream, number, stream.num_shards)
        yield from shard.with_format("arrow").iter(1000)


def rows(dataset_id: str) -> ray.data.Dataset:
    """Return the rows, not yet read: for ``map_batches``, ``streaming_split`` or a trainer of Ray."""
    # The stream is pickled for the workers. It holds the address of the bucket but no credentials: each
    # worker uses those of its own environment.
    stream = load_dataset(dataset_id, split="train", streaming=True)
    numbers = ray.data.from_items(list(range(stream.num_shards)), override_num_blocks=stream.num_shards)
    return numbers.map_batches(partial(rows_of_shards, stream), batch_size=1, batch_format="pyarrow")


def main() -> None:
    """Read, and say how much it was."""
    with ray.init(num_cpus=2):  # On a cluster: ray.init().
        print(f"{rows(sys.argv[1]).count()} rows")


if __name__ == "__main__":
    main()
