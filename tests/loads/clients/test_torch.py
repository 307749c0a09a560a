"""PyTorch's DataLoader and tensors over datasets that are loaded with and without the Hub."""

from __future__ import annotations

import json

import datasets
import pytest
import torch

import hf_localize
from tests.conftest import Desk
from tests.loads.clients.conftest import Bench
from tests.loads.fidelity.repositories import parquet

PROGRAM = """
import json

import datasets
import torch


def main():
    stream = datasets.load_dataset("made/files", split="train", streaming=True)
    found = {"shards": stream.num_shards}
    for method in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(stream, batch_size=5, num_workers=4, multiprocessing_context=method)
        found[method] = [batch["n"].tolist() for batch in loader]
    shuffled = torch.utils.data.DataLoader(stream.shuffle(seed=1, buffer_size=8), num_workers=4)
    found["shuffled"] = [int(batch["n"]) for batch in shuffled]
    whole = datasets.load_dataset("made/files", split="train").with_format("torch")
    found["tensor"] = [str(whole["n"][:].dtype), whole["n"][:].tolist()]
    found["whole"] = [batch["n"].tolist() for batch in torch.utils.data.DataLoader(whole, batch_size=7, num_workers=2)]
    json.dump(found, open("found.json", "w"))


if __name__ == "__main__":
    main()
"""


def test_a_data_loader_gives_the_same_batches_with_4_workers(bench: Bench) -> None:
    files = {f"train-{n}.parquet": parquet(n=list(range(10 * n, 10 * n + 10))) for n in range(8)}
    bench.serve("made/files", files)
    (bench.given / "program.py").write_text(PROGRAM)
    found = bench.compare(
        [("made/files", None)], ["program.py"], lambda folder: json.loads((folder / "found.json").read_text())
    )
    assert found["shards"] == 8
    for method in ("fork", "spawn", "whole"):
        assert sorted(n for batch in found[method] for n in batch) == list(range(80))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_second_epoch_of_4_workers_is_local_with_a_stream_cache(desk: Desk, method: str) -> None:
    desk.publisher()
    folder = desk.folder / "made"
    datasets.Dataset.from_dict({"n": range(8_000)}).save_to_disk(folder, num_shards=8)
    hf_localize.register_dataset(folder, "team/corpus")
    desk.teammate().set(HGLOC_STREAM_CACHE="1")
    with hf_localize.installed():
        stream = datasets.load_dataset("team/corpus", split="train", streaming=True)
    loader = torch.utils.data.DataLoader(
        stream, batch_size=100, num_workers=4, multiprocessing_context=method
    )
    for epoch in range(2):
        desk.s3.clear()
        assert sorted(n for batch in loader for n in batch["n"].tolist()) == list(range(8_000))
        shards = [request for request in desk.s3.requests if request.path.endswith(".arrow")]
        assert len(shards) == 8 * (epoch == 0)
    assert desk.s3.requests == ()
    assert hf_localize.list_local_datasets() == [
        {"dataset_id": "team/corpus", "config_name": None, "revision": None}
    ]
