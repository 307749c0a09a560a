"""The calls that must answer the same with the Hub down as stock does with the Hub up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from datasets import ReadInstruction, Split, load_dataset, load_dataset_builder

from tests.loads.fidelity.snapshots import info_snapshot

GSM8K, MBPP = "openai/gsm8k", "google-research-datasets/mbpp"
SHARDS, THREE, NO_DEFAULT = "made/shards", "made/three", "made/no_default"
TEST_FILE = "main/test-00000-of-00001.parquet"
#: Set by the test: the commit of GSM8K's main branch.
commit = ""


def abs_n(row: dict[str, int]) -> dict[str, int]:
    return {"m": abs(row["n"])}


def _instruction(rounding: str) -> ReadInstruction:
    return ReadInstruction("test", from_=33, to=66, unit="%", rounding=rounding)


def _streamed(*args: Any, **kwargs: Any) -> Any:
    return load_dataset(*args, streaming=True, **kwargs)


def _resumed() -> list[Any]:
    stream = _streamed(GSM8K, "main", split="test")
    rows, state = [], None
    for number, row in enumerate(stream):
        rows.append(row)
        if number == 20:
            state = stream.state_dict()
            break
    again = _streamed(GSM8K, "main", split="test")
    again.load_state_dict(state)
    return rows + list(again.take(5))


def _nodes() -> Any:
    from datasets.distributed import split_dataset_by_node

    stream = _streamed(SHARDS, split="train")
    rows = [row["n"] for node in range(4) for row in split_dataset_by_node(stream, node, 4)]
    return sorted(rows)


def _prepared_as_parquet() -> dict[str, Any]:
    builder = load_dataset_builder(THREE, "n")
    builder.download_and_prepare("prepared", file_format="parquet")
    return {
        p.name: load_dataset("parquet", data_files=str(p))["train"].to_dict()
        for p in Path("prepared").glob("*.parquet")
    }


def _as_dataset() -> Any:
    builder = load_dataset_builder(GSM8K, "main")
    builder.download_and_prepare()
    return builder.as_dataset(split="test")


def _saved() -> Any:
    load_dataset(MBPP, "sanitized").save_to_disk("saved")
    return datasets.load_from_disk("saved")


def _mixed(**options: Any) -> list[int]:
    return [row["n"] for row in _streamed(SHARDS, split="train").shuffle(seed=5, **options)]


def _node_shards() -> list[list[int]]:
    from datasets.distributed import split_dataset_by_node

    stream = _streamed(SHARDS, split="train")
    return [[row["n"] for row in split_dataset_by_node(stream, node, 4)] for node in range(4)]


def _pickled() -> Any:
    import pickle

    return pickle.loads(pickle.dumps(_streamed(GSM8K, "main", split="test")))


def _resumed_in_a_later_shard() -> list[int]:
    stream = _streamed(SHARDS, split="train")
    for row in stream:
        if row["n"] == 123:
            break
    again = _streamed(SHARDS, split="train")
    again.load_state_dict(stream.state_dict())
    return [row["n"] for row in again]


def _images() -> list[Any]:
    rows = load_dataset("made/images", split="train")
    return [(row["image"].size, row["image"].getpixel((0, 0))) for row in rows]


def _undecoded(dataset_id: str, column: str, kind: Any) -> list[Any]:
    rows = load_dataset(dataset_id, split="train").cast_column(column, kind(decode=False)).to_list()
    cells = [row.pop(column) for row in rows]
    for row in rows:
        # Stock has the path of a shard in its cache where an entry has its address on the Hub.
        row.pop("__url__", None)
    # Stock has the path of a file in its cache where an entry has its bytes.
    return [rows, [cell["bytes"] or Path(cell["path"]).read_bytes() for cell in cells]]


def _numbers(split: str = "train") -> Any:
    return load_dataset(THREE, "n", split=split)


#: What the same ``except`` catches, in other words: the Hub alone could tell, or it names places.
CAUGHT: dict[str, Callable[[], Any]] = {
    "unknown revision": lambda: load_dataset(GSM8K, "main", revision="nope"),
    "unknown dataset": lambda: load_dataset("made/nothing"),
    "unknown owner": lambda: load_dataset("nobody/nothing", "main", split="train", streaming=True),
    "data_files that are not there": lambda: load_dataset("made/csv", data_files="nope.csv"),
    "data_dir that is not there": lambda: load_dataset("made/csv", data_dir="nope"),
    "unknown config argument": lambda: load_dataset("made/csv", nonsense=1),
    "unknown dataset's builder": lambda: load_dataset_builder("made/nothing"),
}

GROUPS: dict[str, dict[str, Callable[[], Any]]] = {
    "forms of a call, shapes and types of data": {
        "id and name": lambda: load_dataset(GSM8K, "main"),
        "keywords": lambda: load_dataset(path=GSM8K, name="main"),
        "split by position": lambda: load_dataset(GSM8K, "main", None, None, "test"),
        "csv": lambda: load_dataset("made/csv"),
        "jsonl": lambda: load_dataset("made/jsonl"),
        "txt": lambda: load_dataset("made/txt"),
        "one row": lambda: load_dataset("made/one_row"),
        "40 shards": lambda: load_dataset(SHARDS),
        "nested": lambda: load_dataset("made/nested"),
        "lists": lambda: load_dataset(MBPP, "full"),
        "4 splits": lambda: load_dataset(MBPP, "sanitized"),
        "odd split": lambda: load_dataset("made/odd_split", split="train.clean_v2"),
        "single config unnamed": lambda: load_dataset("made/odd_split"),
        "default config": lambda: load_dataset(THREE),
        "other config": lambda: load_dataset(THREE, "fr"),
        "third config": lambda: load_dataset(THREE, name="n"),
        "empty name": lambda: load_dataset(THREE, ""),
        "no README": lambda: load_dataset("made/csv", split="test"),
        "README only in parts": lambda: load_dataset("made/txt"),
        "empty split": lambda: load_dataset("made/empty_split"),
        "empty split alone": lambda: load_dataset("made/empty_split", split="test"),
        "rows over many files": lambda: load_dataset("made/uneven"),
        "image folder": lambda: _undecoded("made/imagefolder", "image", datasets.Image),
        "image folder's splits": lambda: load_dataset("made/imagefolder").num_rows,
        "webdataset": lambda: load_dataset("made/webdataset", split="train").column_names,
        "webdataset's bytes": lambda: _undecoded("made/webdataset", "png", datasets.Image),
        "gated": lambda: load_dataset("made/gated"),
        "gated with its token": lambda: load_dataset("made/gated", token="gate-token"),
        "every plain type": lambda: load_dataset("made/types"),
        "images decode": _images,
        "sounds keep their bytes": lambda: _undecoded("made/sounds", "audio", datasets.Audio),
    },
    "splits and slices": {
        "split": lambda: load_dataset(GSM8K, "main", split="test"),
        "split object": lambda: load_dataset(GSM8K, "main", split=Split.TEST),
        "percent": lambda: load_dataset(GSM8K, "main", split="test[:10%]"),
        "rows": lambda: load_dataset(GSM8K, "main", split="test[10:20]"),
        "last rows": lambda: load_dataset(GSM8K, "main", split="test[-5:]"),
        "second half": lambda: load_dataset(GSM8K, "main", split="test[50%:]"),
        "sum": lambda: load_dataset(GSM8K, "main", split="train[:10]+test[:5]"),
        "list of splits": lambda: load_dataset(GSM8K, "main", split=["test", "train[:3]"]),
        "all": lambda: load_dataset(MBPP, "sanitized", split="all"),
        "closest": lambda: load_dataset(GSM8K, "main", split=_instruction("closest")),
        "pct1_dropremainder": lambda: load_dataset(GSM8K, "main", split=_instruction("pct1_dropremainder")),
        "instruction": lambda: load_dataset(GSM8K, "main", split=ReadInstruction("test", to=7, unit="abs")),
        "across shards": lambda: load_dataset(SHARDS, split="train[95:205]"),
        "instruction of a slice": lambda: load_dataset(
            GSM8K, "main", split=ReadInstruction.from_spec("test[2%:5%]")
        ),
        "sum of instructions": lambda: load_dataset(
            GSM8K,
            "main",
            split=ReadInstruction("test", to=3, unit="abs") + ReadInstruction("train", to=2, unit="abs"),
        ),
        "negative percent": lambda: load_dataset(GSM8K, "main", split="test[-10%:]"),
        "beyond the end": lambda: load_dataset(GSM8K, "main", split="test[1300:9999]"),
        "empty slice": lambda: load_dataset(GSM8K, "main", split="test[5:5]"),
        "dict of splits": lambda: load_dataset(MBPP, "sanitized", split={"a": "test", "b": "train[:2]"}),
        "unknown split in a sum": lambda: load_dataset(GSM8K, "main", split="test+nope"),
        "unknown split": lambda: load_dataset(GSM8K, "main", split="nope"),
        "unknown slice": lambda: load_dataset(GSM8K, "main", split="test[:x]"),
    },
    "options": {
        "in memory": lambda: load_dataset(GSM8K, "main", split="test", keep_in_memory=True),
        "not in memory": lambda: load_dataset(GSM8K, "main", split="test", keep_in_memory=False),
        "num_proc": lambda: load_dataset(SHARDS, split="train", num_proc=2),
        "reuse dataset": lambda: load_dataset(THREE, download_mode="reuse_dataset_if_exists"),
        "reuse cache": lambda: load_dataset(THREE, download_mode="reuse_cache_if_exists"),
        "no checks": lambda: load_dataset(THREE, verification_mode="no_checks"),
        "all checks": lambda: load_dataset(THREE, verification_mode="all_checks"),
        "save infos": lambda: load_dataset(THREE, save_infos=True),
        "token": lambda: load_dataset(THREE, token=False),
        "force redownload": lambda: load_dataset(THREE, download_mode="force_redownload"),
        "force redownload's enum": lambda: load_dataset(
            THREE, download_mode=datasets.DownloadMode.FORCE_REDOWNLOAD
        ),
        "basic checks": lambda: load_dataset(THREE, verification_mode="basic_checks"),
        "unknown checks": lambda: load_dataset(THREE, verification_mode="nonsense"),
        "cache_dir": lambda: load_dataset(THREE, cache_dir="some/cache"),
        "cache_dir, streamed": lambda: _streamed(THREE, cache_dir="some/cache"),
        "a token": lambda: load_dataset(THREE, token="some-token"),
        "no code": lambda: load_dataset(THREE, trust_remote_code=False),
        "trusted code": lambda: load_dataset(THREE, trust_remote_code=True),
        "split in memory": lambda: load_dataset(SHARDS, split="train[:15]", keep_in_memory=True),
        "num_proc of several splits": lambda: load_dataset("made/uneven", num_proc=2),
    },
    "data_files, data_dir, features, config arguments (kept original files)": {
        "features": lambda: load_dataset(
            "made/csv",
            features=datasets.Features({"a": datasets.Value("int8"), "b": datasets.Value("large_string")}),
        ),
        "other features": lambda: load_dataset(
            "made/csv", features=datasets.Features({"z": datasets.Value("int8")})
        ),
        "data_files": lambda: load_dataset(GSM8K, data_files=TEST_FILE),
        "data_files, a glob": lambda: load_dataset(GSM8K, data_files="main/*.parquet"),
        "data_files, a dict": lambda: load_dataset(GSM8K, data_files={"x": TEST_FILE, "y": "socratic/test*"}),
        "data_files, a list": lambda: load_dataset(GSM8K, data_files=[TEST_FILE, "socratic/test*"]),
        "data_files, a split": lambda: load_dataset(GSM8K, data_files={"eval": TEST_FILE}, split="eval[:5]"),
        "data_files, streamed": lambda: _streamed(GSM8K, data_files=TEST_FILE, split="train"),
        "data_dir": lambda: load_dataset(GSM8K, data_dir="socratic"),
        "config arguments": lambda: load_dataset("made/csv", sep=";", header=None),
        "empty data_dir": lambda: load_dataset(THREE, data_dir=""),
        "unknown download mode": lambda: load_dataset(THREE, download_mode="nonsense"),
    },
    "revisions, commits, ids": {
        "main": lambda: load_dataset(THREE, revision="main"),
        "tag": lambda: load_dataset(GSM8K, "main", revision="v1.0", split="test"),
        "full SHA": lambda: load_dataset(GSM8K, "main", revision=commit, split="test"),
        "short SHA": lambda: load_dataset(GSM8K, "main", revision=commit[:8], split="test"),
        "streamed SHA": lambda: _streamed(GSM8K, "main", revision=commit, split="test"),
        "branch": lambda: load_dataset("made/branches", revision="next"),
        "converted": lambda: load_dataset("made/branches", revision="refs/convert/parquet"),
        "another letter case": lambda: load_dataset("OpenAI/GSM8K", "main", split="test"),
    },
    "streams": {
        "stream of a split object": lambda: _streamed(GSM8K, "main", split=Split.TEST),
        "stream of a list": lambda: _streamed(GSM8K, "main", split=["test", "train"]),
        "stream of an instruction": lambda: _streamed(GSM8K, "main", split=ReadInstruction("test")),
        "stream of an empty split": lambda: _streamed("made/empty_split", split="test"),
        "stream of uneven files": lambda: _streamed("made/uneven", split="train"),
        "stream in memory": lambda: _streamed(THREE, keep_in_memory=True),
        "stream of an unknown config": lambda: _streamed(GSM8K, "nope"),
        "stream of every type": lambda: _streamed("made/types", split="train"),
        "stream of images": lambda: [row["image"].size for row in _streamed("made/images", split="train")],
        "stream of a webdataset": lambda: [sorted(r) for r in _streamed("made/webdataset", split="train")],
        "stream of an image folder": lambda: [
            r["image"].size for r in _streamed("made/imagefolder", split="train")
        ],
        "stream's columns": lambda: (
            _streamed(GSM8K, "main", split="test").select_columns("answer").column_names
        ),
        "stream as numpy": lambda: list(_streamed(THREE, "n", split="train").with_format("numpy")),
        "stream as arrow": lambda: [
            t.to_pydict() for t in _streamed(THREE, "n", split="train").with_format("arrow")
        ],
        "shuffle 40 shards": lambda: _mixed(buffer_size=30),
        "shuffle shards only": lambda: _mixed(buffer_size=1),
        "second epoch": lambda: [
            [row["n"] for row in stream]
            for stream in [_streamed(SHARDS, split="train").shuffle(seed=1)]
            if not stream.set_epoch(1)
        ],
        "each node's rows": _node_shards,
        "pickled": _pickled,
        "state_dict in a later shard": _resumed_in_a_later_shard,
        "skip over shards": lambda: [row["n"] for row in _streamed(SHARDS, split="train").skip(205).take(10)],
        "shard of a stream": lambda: (
            [row["n"] for row in _streamed(SHARDS, split="train").shard(num_shards=8, index=3)]
            if hasattr(datasets.IterableDataset, "shard")
            else None
        ),
        "stream concatenated": lambda: list(
            datasets.concatenate_datasets([_streamed(THREE, "n", split="train")] * 2)
        ),
        "stream interleaved": lambda: list(
            datasets.interleave_datasets(
                [_streamed(THREE, "n", split="train"), _streamed("made/one_row", split="train")]
            )
        ),
        "stream": lambda: _streamed(GSM8K, "main", split="test"),
        "stream every split": lambda: _streamed(MBPP, "sanitized"),
        "stream sum": lambda: _streamed(MBPP, "sanitized", split="prompt+validation"),
        "stream all": lambda: _streamed(MBPP, "sanitized", split="all"),
        "stream slice": lambda: _streamed(GSM8K, "main", split="test[:10]"),
        "stream unknown split": lambda: _streamed(GSM8K, "main", split="nope"),
        "stream with num_proc": lambda: _streamed(GSM8K, "main", num_proc=2),
        "stream 40 shards": lambda: _streamed(SHARDS, split="train"),
        "take": lambda: list(_streamed(GSM8K, "main", split="test").take(7)),
        "skip": lambda: list(_streamed(MBPP, "sanitized", split="test").skip(250)),
        "skip and take": lambda: list(_streamed(SHARDS, split="train").skip(15).take(20)),
        "shuffle one file": lambda: list(
            _streamed(MBPP, "sanitized", split="test").shuffle(seed=1, buffer_size=20)
        ),
        "stream map": lambda: list(_streamed(THREE, "n", split="train").map(lambda row: {"m": row["n"] * 2})),
        "stream filter": lambda: list(_streamed(SHARDS, split="train").filter(lambda row: row["n"] % 7 == 0)),
        "stream batch": lambda: [b["n"] for b in _streamed(SHARDS, split="train").batch(64)],
        "stream twice": lambda: [list(s) for s in [_streamed(THREE, "n", split="train")] for _ in range(2)],
        "state_dict": _resumed,
        "4 nodes": _nodes,
    },
    "load_dataset_builder": {
        "builder config": lambda: load_dataset_builder(GSM8K, "main").config.name,
        "builder splits": lambda: sorted(load_dataset_builder(GSM8K, "main").info.splits),
        "builder features": lambda: repr(load_dataset_builder(MBPP, "full").info.features),
        "builder info": lambda: info_snapshot(load_dataset_builder(GSM8K, "main").info),
        "builder names": lambda: [
            (b.name, b.dataset_name, b.config.name) for b in [load_dataset_builder(THREE)]
        ],
        "builder's configs": lambda: sorted(load_dataset_builder(THREE).builder_configs),
        "builder as dataset": _as_dataset,
        "builder as stream": lambda: load_dataset_builder(GSM8K, "main").as_streaming_dataset(split="test"),
        "builder as streams": lambda: load_dataset_builder(MBPP, "sanitized").as_streaming_dataset(),
        "builder to parquet": _prepared_as_parquet,
        "builder of no config": lambda: load_dataset_builder(NO_DEFAULT),
        "builder unknown config": lambda: load_dataset_builder(GSM8K, "nope"),
    },
    "get_dataset_* functions": {
        "config names": lambda: datasets.get_dataset_config_names(GSM8K),
        "config names of one": lambda: datasets.get_dataset_config_names("made/csv"),
        "default config name": lambda: datasets.get_dataset_default_config_name(THREE),
        "no default config name": lambda: datasets.get_dataset_default_config_name(NO_DEFAULT),
        "split names": lambda: datasets.get_dataset_split_names(MBPP, "full"),
        "config info": lambda: datasets.get_dataset_config_info(GSM8K, "main").config_name,
        "infos": lambda: sorted(datasets.get_dataset_infos(MBPP)),
        "default config name of several": lambda: datasets.get_dataset_default_config_name(GSM8K),
        "config names of a revision": lambda: datasets.get_dataset_config_names(
            "made/branches", revision="next"
        ),
        "split names of a default": lambda: datasets.get_dataset_split_names(THREE),
        "split names of an unknown config": lambda: datasets.get_dataset_split_names(GSM8K, "nope"),
        "config info whole": lambda: info_snapshot(datasets.get_dataset_config_info(MBPP, "full")),
        "infos whole": lambda: {n: repr(i.features) for n, i in datasets.get_dataset_infos(GSM8K).items()},
    },
    "what stock refuses": {
        "no config where several exist": lambda: load_dataset(GSM8K),
        "no config and no default": lambda: load_dataset(NO_DEFAULT),
        "unknown config": lambda: load_dataset(GSM8K, "nope"),
        "empty data_files": lambda: load_dataset(GSM8K, "main", data_files=[]),
    },
    "results in use": {
        "to_pandas": lambda: load_dataset(THREE, "fr", split="train").to_pandas().to_dict(),
        "numpy": lambda: load_dataset(THREE, "n", split="train").with_format("numpy")["n"][:].tolist(),
        "pandas": lambda: [
            frame.to_dict()
            for frame in load_dataset(SHARDS, split="train[:25]").to_pandas(batch_size=10, batched=True)
        ],
        "columns": lambda: _numbers()["n"][:],
        "rows by slice": lambda: load_dataset(SHARDS, split="train")[15:25],
        "saved and read back": _saved,
        "renamed": lambda: _numbers().rename_column("n", "m").add_column("k", [7, 8]),
        "cast": lambda: _numbers().cast_column("n", datasets.Value("string")),
        "encoded": lambda: (
            load_dataset(MBPP, "sanitized", split="test")
            .class_encode_column("prompt")
            .features["prompt"]
            .num_classes
        ),
        "unique": lambda: (
            load_dataset(SHARDS, split="train").map(lambda row: {"m": row["n"] % 3}).unique("m")
        ),
        "batched map": lambda: load_dataset(SHARDS, split="train").map(
            lambda b: {"m": b["n"]}, batched=True, batch_size=7
        ),
        "map over splits": lambda: load_dataset(THREE, "n").map(lambda row: {"n": -row["n"]}),
        "map in processes": lambda: load_dataset(SHARDS, split="train").map(abs_n, num_proc=2),
        "cleaned up": lambda: load_dataset(THREE, "fr").cleanup_cache_files(),
        "flattened": lambda: load_dataset("made/nested", split="train").flatten(),
        "indexed twice": lambda: [len(load_dataset(GSM8K, "main", split="test")) for _ in range(3)],
        "as iterable": lambda: load_dataset(SHARDS, split="train").to_iterable_dataset(num_shards=4),
        "to csv": lambda: [_numbers().to_csv("n.csv"), Path("n.csv").read_text()],
        "map": lambda: load_dataset(MBPP, "sanitized", split="test").map(lambda row: {"n": len(row["code"])}),
        "filter": lambda: load_dataset(SHARDS, split="train").filter(lambda row: row["n"] < 15),
        "shuffled": lambda: load_dataset(SHARDS, split="train").shuffle(seed=3)["n"][:9],
        "train_test_split": lambda: load_dataset(SHARDS, split="train").train_test_split(0.1, seed=1),
        "concatenated": lambda: datasets.concatenate_datasets([load_dataset(THREE, "n", split="train")] * 2),
        "sorted": lambda: load_dataset(MBPP, "sanitized", split="test").sort("task_id", reverse=True)[0],
        "select": lambda: load_dataset(SHARDS, split="train").select([399, 0, 5]).to_list(),
        "features and rows of lists": lambda: load_dataset(MBPP, "full", split="prompt").to_list(),
    },
}
#: Every call of every group, by its name.
CALLS = {name: call for group in GROUPS.values() for name, call in group.items()}
