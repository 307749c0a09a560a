"""Made repositories: the shapes of data that datasets have on the Hub."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.rig.hub import LoopbackHub, make_repository

#: A dataset that is a loading script, which `datasets` below 4 runs.
SCRIPT = b"""
import datasets

class Made(datasets.GeneratorBasedBuilder):
    VERSION = datasets.Version("1.2.3")
    def _info(self):
        return datasets.DatasetInfo(description="made", features=datasets.Features({"n": datasets.Value("int32")}))
    def _split_generators(self, dl_manager):
        return [datasets.SplitGenerator(name="train", gen_kwargs={})]
    def _generate_examples(self):
        for n in range(3):
            yield n, {"n": n}
"""


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def jsonl(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def card(*configs: str, **extra: str) -> bytes:
    lines = [f"{key}: {value}" for key, value in extra.items()]
    return "\n".join(["---", *lines, *(["configs:", *configs] if configs else []), "---", "# Card"]).encode()


def config(name: str, data_files: str, default: bool = False) -> str:
    return f"- config_name: {name}\n  data_files: {data_files}" + ("\n  default: true" if default else "")


REPOSITORIES: dict[str, dict[str, bytes]] = {
    "made/csv": {"train.csv": b"a,b\n1,x\n2,y\n3,z\n", "test.csv": b"a,b\n4,w\n"},
    "made/jsonl": {"data.jsonl": jsonl(*({"text": f"t{n}", "n": n} for n in range(7)))},
    "made/txt": {"train.txt": b"one\ntwo\n", "README.md": card(license="mit")},
    "made/one_row": {"train.parquet": parquet(a=[1])},
    "made/shards": {
        f"data/train-{n:05d}-of-00040.parquet": parquet(n=list(range(10 * n, 10 * n + 10))) for n in range(40)
    },
    "made/three": {
        "README.md": card(
            config("en", "en.jsonl", default=True), config("fr", "fr.jsonl"), config("n", "n.jsonl")
        ),
        "en.jsonl": jsonl({"text": "hello"}),
        "fr.jsonl": jsonl({"texte": "salut", "n": 1}),
        "n.jsonl": jsonl({"n": 1}, {"n": 2}),
    },
    "made/no_default": {
        "README.md": card(config("one", "one.csv"), config("two", "two.csv"), license="cc0-1.0"),
        "one.csv": b"a\n1\n",
        "two.csv": b"a\n2\n",
    },
    "made/odd_split": {
        "README.md": card("- config_name: c\n  data_files:\n  - split: train.clean_v2\n    path: x.csv"),
        "x.csv": b"a\n1\n2\n",
    },
    "made/nested": {
        "train.jsonl": jsonl(
            {
                "id": 1,
                "who": {"name": "a", "tags": ["x", "y"]},
                "list": [[1, 2], [3]],
                "turns": [{"q": "?", "a": 1}],
            },
            {"id": 2, "who": {"name": "b", "tags": []}, "list": [[]], "turns": []},
        )
    },
}
CONFIGS = {
    "made/three": ("en", "fr", "n"),
    "made/no_default": ("one", "two"),
    "made/odd_split": ("c",),
    "openai/gsm8k": ("main", "socratic"),
    "google-research-datasets/mbpp": ("full", "sanitized"),
}


def make_all(hub: LoopbackHub, root: Path) -> None:
    """Serve every made repository from *hub*."""
    for dataset_id, files in REPOSITORIES.items():
        hub.add(make_repository(root, dataset_id, "main", files))
