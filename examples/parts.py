"""Workers of Dask or Ray make the parts of a dataset, each on its own; it is registered once, at the end.

python examples/parts.py dask map team/corpus team/upper /shared/folder    # a part: a shard, mapped
python examples/parts.py ray files /data/parquet team/corpus /shared/folder    # a part: a parquet file
(pip install dask distributed, or pip install 'ray[data]')

The folder is one that all machines see. A worker that is killed costs its part: the engine has another one
make it. When the program itself is killed, run it again: parts that are there are not made again.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hf_localize

hf_localize.install()

from datasets import Dataset, IterableDataset, concatenate_datasets, load_dataset, load_from_disk  # noqa: E402
from datasets.distributed import split_dataset_by_node  # noqa: E402


def on_dask(tasks: list[Callable[[], Path]]) -> list[Path]:
    """Return what *tasks* return, each run in a worker of Dask."""
    from dask import compute, delayed
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        return list(compute(*[delayed(task)() for task in tasks]))


def on_ray(tasks: list[Callable[[], Path]]) -> list[Path]:
    """Return what *tasks* return, each run in a worker of Ray."""
    import ray

    with ray.init(num_cpus=2):  # On a cluster: ray.init().
        run = ray.remote(lambda task: task())
        return list(ray.get([run.remote(task) for task in tasks]))


ENGINES = {"dask": on_dask, "ray": on_ray}


def upper(row: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of a row."""
    return {**row, "text": row["text"].upper()}


def mapped_shard(stream: IterableDataset, number: int) -> Dataset:
    """Return one shard, mapped; runs in a worker."""
    rows = split_dataset_by_node(stream, number, stream.num_shards)
    return Dataset.from_list([upper(row) for row in rows], features=stream.features)


def source_file(path: str) -> Dataset:
    """Return the rows of a parquet file; runs in a worker."""
    return load_dataset("parquet", data_files=path, split="train")


def write_part(make: Callable[[], Dataset], done: Path) -> Path:
    """Write a part into a folder of its own, which appears when it is whole; runs in a worker."""
    if not done.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=done.parent))
        make().save_to_disk(unfinished)
        with contextlib.suppress(OSError):  # Another worker was faster.
            unfinished.rename(done)
    return done


def register_parts(engine: str, makers: list[Callable[[], Dataset]], target: str, folder: Path) -> int:
    """Have workers make all parts, register them together as *target*, and return how many rows that is."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = ENGINES[engine](
        [partial(write_part, make, folder / f"part-{n:05}") for n, make in enumerate(makers)]
    )
    made = concatenate_datasets([load_from_disk(part) for part in parts])  # It stays on the disk.
    hf_localize.register_dataset(made, target)
    return len(made)


def main() -> None:
    """Make and register, and say how much it was."""
    engine, way, source, target, folder = sys.argv[1:]
    makers: list[Callable[[], Dataset]]
    if way == "map":
        # The stream is pickled without credentials: each worker uses those of its own environment.
        stream = load_dataset(source, split="train", streaming=True)
        makers = [partial(mapped_shard, stream, number) for number in range(stream.num_shards)]
    else:
        makers = [partial(source_file, str(path)) for path in sorted(Path(source).glob("*.parquet"))]
    print(f"{register_parts(engine, makers, target, Path(folder))} rows")


if __name__ == "__main__":
    main()
