"""Actors of Ray train as torchrun_resume.py does; one that is killed continues after its last checkpoint.

python examples/ray_resume.py team/corpus /shared/checkpoints    # pip install ray
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from torchrun_resume import my_rows


def step(row: dict[str, Any]) -> None:
    """Learn from a row."""


@ray.remote(max_restarts=-1, max_task_retries=-1)  # Ray restarts a killed actor and repeats its call.
class Trainer:
    """One of the processes that train."""

    def train(self, dataset_id: str, checkpoints: Path, step: Callable[[dict[str, Any]], None]) -> int:
        """Read this process's rows, and return how many it has read since it was last started."""
        count = 0
        for row in my_rows(dataset_id, checkpoints):
            step(row)
            count += 1
        return count


def trainers(count: int) -> list[ray.actor.ActorHandle]:
    """Return actors that know which of all they are, as torchrun's processes do."""
    places = ({"RANK": str(rank), "WORLD_SIZE": str(count)} for rank in range(count))
    return [Trainer.options(runtime_env={"env_vars": place}).remote() for place in places]


def main() -> None:
    """Train, and say how much was read."""
    checkpoints = Path(sys.argv[2])
    checkpoints.mkdir(parents=True, exist_ok=True)
    with ray.init(num_cpus=2):  # On a cluster: ray.init().
        counts = ray.get([one.train.remote(sys.argv[1], checkpoints, step) for one in trainers(2)])
    print(*(f"trainer {rank}: {count} rows" for rank, count in enumerate(counts)), sep="\n")


if __name__ == "__main__":
    main()
