"""The calls that must answer the same with the Hub down as stock does with the Hub up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
from datasets import ReadInstruction, Split, load_dataset, load_dataset_builder

GSM8K, MBPP = "openai/gsm8k", "google-research-datasets/mbpp"
SHARDS, THREE, NO_DEFAULT = "made/shards", "made/three", "made/no_default"


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


CALLS: dict[str, Callable[[], Any]] = {
    # load_dataset: forms
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
    # splits
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
    "unknown split": lambda: load_dataset(GSM8K, "main", split="nope"),
    "unknown slice": lambda: load_dataset(GSM8K, "main", split="test[:x]"),
    # options
    "in memory": lambda: load_dataset(GSM8K, "main", split="test", keep_in_memory=True),
    "not in memory": lambda: load_dataset(GSM8K, "main", split="test", keep_in_memory=False),
    "num_proc": lambda: load_dataset(SHARDS, split="train", num_proc=2),
    "reuse dataset": lambda: load_dataset(THREE, download_mode="reuse_dataset_if_exists"),
    "reuse cache": lambda: load_dataset(THREE, download_mode="reuse_cache_if_exists"),
    "no checks": lambda: load_dataset(THREE, verification_mode="no_checks"),
    "all checks": lambda: load_dataset(THREE, verification_mode="all_checks"),
    "save infos": lambda: load_dataset(THREE, save_infos=True),
    "token": lambda: load_dataset(THREE, token=False),
    "unknown download mode": lambda: load_dataset(THREE, download_mode="nonsense"),
    # revisions
    "main": lambda: load_dataset(THREE, revision="main"),
    "tag": lambda: load_dataset(GSM8K, "main", revision="v1.0", split="test"),
    # streams
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
    # builders
    "builder config": lambda: load_dataset_builder(GSM8K, "main").config.name,
    "builder splits": lambda: sorted(load_dataset_builder(GSM8K, "main").info.splits),
    "builder features": lambda: repr(load_dataset_builder(MBPP, "full").info.features),
    "builder unknown config": lambda: load_dataset_builder(GSM8K, "nope"),
    # inspection
    "config names": lambda: datasets.get_dataset_config_names(GSM8K),
    "config names of one": lambda: datasets.get_dataset_config_names("made/csv"),
    "default config name": lambda: datasets.get_dataset_default_config_name(THREE),
    "no default config name": lambda: datasets.get_dataset_default_config_name(NO_DEFAULT),
    "split names": lambda: datasets.get_dataset_split_names(MBPP, "full"),
    "config info": lambda: datasets.get_dataset_config_info(GSM8K, "main").config_name,
    "infos": lambda: sorted(datasets.get_dataset_infos(MBPP)),
    # what stock refuses
    "no config where several exist": lambda: load_dataset(GSM8K),
    "no config and no default": lambda: load_dataset(NO_DEFAULT),
    "unknown config": lambda: load_dataset(GSM8K, "nope"),
    "empty data_files": lambda: load_dataset(GSM8K, "main", data_files=[]),
    # results in use
    "to_pandas": lambda: load_dataset(THREE, "fr", split="train").to_pandas().to_dict(),
    "numpy": lambda: load_dataset(THREE, "n", split="train").with_format("numpy")["n"][:].tolist(),
    "map": lambda: load_dataset(MBPP, "sanitized", split="test").map(lambda row: {"n": len(row["code"])}),
    "filter": lambda: load_dataset(SHARDS, split="train").filter(lambda row: row["n"] < 15),
    "shuffled": lambda: load_dataset(SHARDS, split="train").shuffle(seed=3)["n"][:9],
    "train_test_split": lambda: load_dataset(SHARDS, split="train").train_test_split(0.1, seed=1),
    "concatenated": lambda: datasets.concatenate_datasets([load_dataset(THREE, "n", split="train")] * 2),
    "sorted": lambda: load_dataset(MBPP, "sanitized", split="test").sort("task_id", reverse=True)[0],
    "select": lambda: load_dataset(SHARDS, split="train").select([399, 0, 5]).to_list(),
    "features and rows of lists": lambda: load_dataset(MBPP, "full", split="prompt").to_list(),
}
