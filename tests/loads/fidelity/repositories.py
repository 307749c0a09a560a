"""Made repositories: the shapes of data that datasets have on the Hub."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import datasets
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from tests.loads.matrix.columns import INSTALLED, NOT_IN_PARQUET, columns, dataset
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


def no_rows(column: str = "a") -> bytes:
    sink = io.BytesIO()
    pq.ParquetWriter(sink, pa.schema({column: pa.int64()})).close()
    return sink.getvalue()


def jsonl(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def card(*configs: str, **extra: str) -> bytes:
    lines = [f"{key}: {value}" for key, value in extra.items()]
    return "\n".join(["---", *lines, *(["configs:", *configs] if configs else []), "---", "# Card"]).encode()


def config(name: str, data_files: str, default: bool = False) -> str:
    return f"- config_name: {name}\n  data_files: {data_files}" + ("\n  default: true" if default else "")


def png(shade: int) -> bytes:
    sink = io.BytesIO()
    PIL.Image.new("RGB", (4, 2), (shade, 0, 0)).save(sink, "PNG")
    return sink.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def embedded(column: str, feature: object, values: list[bytes]) -> bytes:
    """Return a parquet file with media inside, as ``push_to_hub`` writes it."""
    features = datasets.Features({column: feature})
    table = pa.table({column: [{"bytes": value, "path": None} for value in values]}).cast(
        features.arrow_schema
    )
    sink = io.BytesIO()
    datasets.Dataset(table, info=datasets.DatasetInfo(features=features)).to_parquet(sink)
    return sink.getvalue()


def every_type() -> bytes:
    """Return a parquet file with a column of each plain type of the installed `datasets`."""
    picked = {
        n: c for n, c in columns(INSTALLED, "plain").items() if n not in NOT_IN_PARQUET and "array" not in n
    }
    sink = io.BytesIO()
    dataset(picked).to_parquet(sink)
    return sink.getvalue()


GATE_TOKEN = "gate-token"
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
    "made/empty_split": {
        "train.parquet": parquet(a=[1, 2]),
        "test.parquet": no_rows(),
    },
    "made/uneven": {
        f"{split}-{n}.csv": b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(rows))
        for split, lengths in (("train", (3, 1, 7, 2500, 2)), ("test", (4,)))
        for n, rows in enumerate(lengths)
    },
    "made/imagefolder": {
        **{f"train/{n}.png": png(n) for n in range(3)},
        "train/metadata.jsonl": jsonl(*({"file_name": f"{n}.png", "caption": f"c{n}"} for n in range(3))),
        "test/9.png": png(9),
        "test/metadata.jsonl": jsonl({"file_name": "9.png", "caption": "c9"}),
    },
    "made/webdataset": {
        f"train-{n}.tar": tar(
            {f"{n}{k}.{kind}": data for k in range(3) for kind, data in (("png", png(k)), ("txt", b"t"))}
        )
        for n in range(2)
    },
    "made/gated": {"train.csv": b"a\n1\n", "README.md": card(license="mit")},
    "made/images": {"train.parquet": embedded("image", datasets.Image(), [png(1), png(2)])},
    "made/sounds": {"train.parquet": embedded("audio", datasets.Audio(), [b"RIFF-one", b"RIFF-two"])},
    "made/types": {"train.parquet": every_type()},
    "made/branches": {"train.csv": b"a\n0\n"},
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
    hub.add(make_repository(root, "made/branches", "next", {"train.csv": b"a\n1\n", "test.csv": b"a\n2\n"}))
    converted = {"default/train/0000.parquet": parquet(a=[0])}
    hub.add(make_repository(root, "made/branches", "refs/convert/parquet", converted))
    hub.gated["made/gated"] = {GATE_TOKEN}
    hub.tags["made/three", "1.0.0"] = "main"
