"""What programs that train do to get their data runs unchanged where the Hub is out of reach."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from hf_localize.format.repository import Repository
from tests.loads.clients.conftest import Bench, result_json
from tests.loads.fidelity.repositories import card, config, jsonl, parquet

#: The module of axolotl that loads data runs unchanged. Stubs replace the package around it, which imports all of
#: axolotl's training, and the samplers and the trainer, which work on tokens.
AXOLOTL = """
import json, sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock
import axolotl.utils

around = sys.modules["axolotl.utils.data"] = ModuleType("axolotl.utils.data")
around.__path__ = [str(Path(axolotl.utils.__file__).parent / "data")]
for name in ("samplers", "samplers.utils", "trainer"):
    sys.modules[f"axolotl.utils.{name}"] = MagicMock()

from axolotl.utils.data.shared import datasets_with_name_generator, load_dataset_with_config, merge_datasets
from axolotl.utils.dict import DictDefault

def load(streaming=False, **given):
    configs = datasets_with_name_generator([DictDefault(split="train", **given)])
    loaded = [load_dataset_with_config(one, False, streaming=streaming) for one in configs]
    return list(loaded[0] if streaming else merge_datasets(loaded, DictDefault(seed=0)))

found = {
    "configs": load(path="made/talks", name=["short", "long"]),
    "files": load(path="made/talks", name="short", data_files="more/extra.jsonl"),
    "revision": load(path="made/talks", name="long", revision="main"),
    "streamed": load(streaming=True, path="made/talks", name="long"),
}
json.dump(found, open("result.json", "w"))
"""


def test_axolotl_loads_what_its_configuration_names(bench: Bench) -> None:
    short, long, extra = [[{"text": f"{name} {n}"} for n in range(3)] for name in ("short", "long", "extra")]
    files = {
        "README.md": card(config("short", "short.jsonl"), config("long", "long.jsonl")),
        "short.jsonl": jsonl(*short),
        "long.jsonl": jsonl(*long),
        "more/extra.jsonl": jsonl(*extra),
    }
    bench.serve("made/talks", files)
    published = [("made/talks", "short"), ("made/talks", "long")]
    found = bench.compare(published, ["-c", AXOLOTL], result_json, HGLOC_SOURCES="local,s3")
    assert found == {"configs": short + long, "files": extra, "revision": long, "streamed": long}


#: Of torchvision, only what decodes images and videos is used, of which there are none.
LEROBOT = """
import json, sys
from types import ModuleType
import datasets

stub = sys.modules["torchvision"] = ModuleType("torchvision")
stub.transforms = None

from lerobot.datasets.lerobot_dataset import LeRobotDataset

whole = LeRobotDataset("made/arm", delta_timestamps={"action": [0, 0.1]})
one = LeRobotDataset("made/arm", root="elsewhere", episodes=[1])
frames = [{key: value if isinstance(value, str) else value.tolist() for key, value in f.items()} for f in whole]
shown = [whole.revision, whole.num_episodes, frames, [frame["index"].item() for frame in one]]
json.dump(shown, open("result.json", "w"))
"""
EPISODES, FRAMES, FPS = 2, 3, 10


def arm() -> dict[str, bytes]:
    """Return the files of what a robot arm did, in version 3.0 of LeRobot's format."""
    number = range(EPISODES * FRAMES)
    table = {
        "action": [[float(n), float(-n)] for n in number],
        "timestamp": [n % FRAMES / FPS for n in number],
        "frame_index": [n % FRAMES for n in number],
        "episode_index": [n // FRAMES for n in number],
        "index": list(number),
        "task_index": [0 for _ in number],
    }
    episodes: dict[str, list[Any]] = {
        "episode_index": list(range(EPISODES)),
        "tasks": [["wave"] for _ in range(EPISODES)],
        "length": [FRAMES for _ in range(EPISODES)],
        "dataset_from_index": [FRAMES * n for n in range(EPISODES)],
        "dataset_to_index": [FRAMES * (n + 1) for n in range(EPISODES)],
        **{
            f"{kind}/{of}": [0] * EPISODES
            for kind in ("data", "meta/episodes")
            for of in ("chunk_index", "file_index")
        },
    }
    features = {
        name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
        for name in table
    }
    features["action"] = {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    info = {
        "codebase_version": "v3.0",
        "robot_type": "made",
        "total_episodes": EPISODES,
        "total_frames": EPISODES * FRAMES,
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{EPISODES}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
    return {
        "data/chunk-000/file-000.parquet": parquet(**table),
        "meta/episodes/chunk-000/file-000.parquet": parquet(**episodes),
        "meta/info.json": json.dumps(info).encode(),
        "meta/stats.json": json.dumps({"action": {"min": [0.0, -5.0], "max": [5.0, 0.0]}}).encode(),
        "meta/tasks.parquet": pd.DataFrame({"task_index": [0]}, index=["wave"]).to_parquet(),
    }


def test_lerobot_reads_the_tag_of_its_format(bench: Bench) -> None:
    bench.serve("made/arm", arm())
    bench.serve("made/arm", {"meta/episodes.jsonl": b""}, "older")
    bench.hub.tags.update({("made/arm", "v3.0"): "main", ("made/arm", "v2.1"): "older"})
    found = bench.compare([Repository("dataset", "made/arm")], ["-c", LEROBOT], result_json)
    revision, episodes, frames, chosen = found
    assert (revision, episodes, chosen) == ("v3.0", EPISODES, [3, 4, 5])
    assert [frame["index"] for frame in frames] == list(range(6))
    assert frames[1]["action"] == [[1.0, -1.0], [2.0, -2.0]]
    assert {frame["task"] for frame in frames} == {"wave"}
