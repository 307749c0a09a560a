"""Programs that evaluate models run unchanged where the Hub is out of reach."""

from __future__ import annotations

from tests.loads.clients.conftest import Bench, result_json
from tests.loads.fidelity.repositories import parquet

#: The commit that mteb asks for.
STS12 = "a0d554a64d88156834ff5ae9920b964011b16384"

MTEB = """
import json
import mteb
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

task = mteb.get_task("STS12")
task.load_data()
words = sorted({word for row in task.dataset["test"] for text in (row["sentence1"], row["sentence2"]) for word in text.split()})
model = SentenceTransformer(modules=[BoW(words)], device="cpu")
(result,) = mteb.evaluate(model, task, cache=None).task_results
json.dump([list(task.dataset["test"]), result.scores["test"][0]], open("result.json", "w"))
"""


def test_mteb_evaluates_on_a_task(bench: Bench) -> None:
    pairs = [("a red fox", "a red fox", 5.0), ("a red fox", "a blue whale", 2.0), ("a red fox", "rain", 0.0)]
    columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*pairs, strict=True)), strict=True))
    bench.serve("mteb/sts12-sts", {"data/test-00000-of-00001.parquet": parquet(**columns)}, STS12)
    found, scores = bench.compare([("mteb/sts12-sts", None, STS12)], ["-c", MTEB], result_json)
    assert [tuple(row.values()) for row in found] == pairs
    assert scores["main_score"] == 1.0
