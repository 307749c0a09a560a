"""As torchrun_stream.py, for a training that is interrupted: it goes on behind the last row that was saved.

torchrun --nproc-per-node 4 examples/torchrun_resume.py team/corpus checkpoints
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hf_localize

hf_localize.install()

from datasets import load_dataset  # noqa: E402
from datasets.distributed import split_dataset_by_node  # noqa: E402

#: A checkpoint after so many rows. In a training, save the state of the model and the optimizer with it.
EVERY = 100


def my_rows(dataset_id: str, checkpoints: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of this process that come after its last checkpoint."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    stream = load_dataset(dataset_id, split="train", streaming=True)
    stream = split_dataset_by_node(stream, rank, world_size)
    saved = checkpoints / f"{rank}-of-{world_size}.json"
    if saved.exists():
        stream.load_state_dict(json.loads(saved.read_text()))
    for count, row in enumerate(stream, 1):
        yield row
        if count % EVERY == 0:  # The row has been used: the loop has asked for the next.
            unfinished = saved.with_suffix(".new")
            unfinished.write_text(json.dumps(stream.state_dict()))
            unfinished.replace(saved)


def main() -> None:
    """Read, and say which rows; a training step would stand in the loop."""
    checkpoints = Path(sys.argv[2])
    checkpoints.mkdir(parents=True, exist_ok=True)
    count = 0
    for _row in my_rows(sys.argv[1], checkpoints):
        count += 1
    print(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {count} rows")


if __name__ == "__main__":
    main()
