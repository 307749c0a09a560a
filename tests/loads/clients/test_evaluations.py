"""Programs that evaluate models run unchanged where the Hub is out of reach."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_localize.format.repository import Repository
from tests.conftest import DATA, tree
from tests.loads.clients.conftest import Bench, result_json, rows
from tests.loads.clients.models import DUMMY_TOKENIZER, tiny_model
from tests.loads.fidelity.repositories import parquet

#: In place of the Space of that name: a metric that runs the code of a model.
CODE_EVAL = b"""
import datasets
import evaluate


class CodeEval(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": datasets.Sequence(text), "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, k=(1,)):
        passed = [self._passes(codes[0], test) for codes, test in zip(predictions, references)]
        return {"pass@1": sum(passed) / len(passed)}, {}

    def _passes(self, code, test):
        try:
            exec(f"{code}\\n{test}", {})
        except Exception:
            return False
        return True
"""
#: What the dummy model writes after a prompt is a comment in the first, and an error in the second.
PROMPTS = ("def one():\n    return 1\n# ", "def two():\n    return ")


def test_lm_eval_scores_humaneval_by_a_metric_of_the_hub(bench: Bench) -> None:
    problems = {
        "task_id": ["made/0", "made/1"],
        "prompt": list(PROMPTS),
        "canonical_solution": ["", "2\n"],
        "test": [f"def check(candidate):\n    assert candidate() == {number}\n" for number in (1, 2)],
        "entry_point": ["one", "two"],
    }
    humaneval = "openai/openai_humaneval"
    bench.serve(humaneval, {"openai_humaneval/test-00000-of-00001.parquet": parquet(**problems)})
    bench.serve("spaces/evaluate-metric/code_eval", {"code_eval.py": CODE_EVAL, "README.md": b"# Code Eval"})
    tiny_model(bench.given / DUMMY_TOKENIZER)

    def samples(folder: Path) -> Any:
        (file,) = folder.rglob("samples_humaneval_*.jsonl")
        found = [json.loads(line) for line in file.read_text().splitlines()]
        return sorted(
            (sample["doc"]["task_id"], sample["doc"]["prompt"], sample["pass@1"]) for sample in found
        )

    task = "--tasks humaneval --confirm_run_unsafe_code"
    # `evaluate` asks for the tag of its own version.
    bench.hub.tags["spaces/evaluate-metric/code_eval", f"v{version('evaluate')}"] = "main"
    found = bench.compare(
        [(humaneval, None), Repository("space", "evaluate-metric/code_eval")],
        f"-m lm_eval --model dummy {task} --output_path out --log_samples".split(),
        samples,
        stores=False,
        HF_ALLOW_CODE_EVAL="1",
    )
    assert found == [("made/0", PROMPTS[0], 1.0), ("made/1", PROMPTS[1], 0.0)]


#: The commits that these programs ask for.
GSM8K = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
STS12 = "a0d554a64d88156834ff5ae9920b964011b16384"


#: It counts the tokens of a model's context by a table that it downloads from elsewhere.
INSPECT = """
import sys, tiktoken

class Words:
    def encode(self, text, **options):
        return text.split()

tiktoken.get_encoding = lambda name: Words()
from inspect_ai._cli.main import main
sys.argv[1:] = "eval inspect_evals/gsm8k --limit 4 --model mockllm/model --log-format json".split()
main()
"""


def test_inspect_evals_scores_gsm8k(bench: Bench) -> None:
    bench.serve("openai/gsm8k", tree(DATA / "openai" / "gsm8k" / "main"), GSM8K)

    def samples(folder: Path) -> Any:
        (file,) = folder.glob("logs/*.json")
        log = json.loads(file.read_text())
        assert log["status"] == "success"
        shown = ("id", "input", "target", "metadata")
        samples = [
            {**{key: sample[key] for key in shown}, "system": sample["messages"][0]["content"]}
            for sample in log["samples"]
        ]
        return sorted(samples, key=lambda sample: sample["id"])

    found = bench.compare([("openai/gsm8k", "main", GSM8K)], ["-c", INSPECT], samples)
    documents = rows("openai/gsm8k/main/main/test-00000-of-00001.parquet")[:4]
    assert {sample["input"]: sample["target"] for sample in found} == {
        row["question"]: row["answer"].split("#### ")[1] for row in documents
    }
    questions = [row["question"] for row in rows("openai/gsm8k/main/main/train-00000-of-00001.parquet")]
    assert sum(question in found[0]["system"] for question in questions) == 10


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
