"""Libraries that call `datasets` inside run unchanged where the Hub is out of reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_localize.format.repository import Repository
from tests.conftest import tree
from tests.loads.clients.conftest import ACTIVATION, Bench, result_json, rows
from tests.loads.clients.models import DUMMY_TOKENIZER, WORDS, tiny_model
from tests.loads.fidelity.repositories import card, jsonl, parquet


def test_lm_eval_scores_gsm8k(bench: Bench) -> None:
    def samples(folder: Path) -> Any:
        (file,) = folder.rglob("samples_gsm8k_*.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]

    # For its report the dummy model wants a tokenizer of the Hub; a folder of that name does.
    tiny_model(bench.given / DUMMY_TOKENIZER)
    task = "--tasks gsm8k --num_fewshot 2 --limit 4"
    found = bench.compare(
        [("openai/gsm8k", "main")],
        f"-m lm_eval --model dummy {task} --output_path out --log_samples".split(),
        samples,
    )
    strict = [sample for sample in found if sample["filter"] == "strict-match"]
    documents = rows("openai/gsm8k/main/main/test-00000-of-00001.parquet")[:4]
    assert [sample["doc"] for sample in strict] == documents
    assert [sample["target"] for sample in strict] == [document["answer"] for document in documents]
    shown = [row["answer"] for row in rows("openai/gsm8k/main/main/train-00000-of-00001.parquet")]
    prompt = strict[0]["arguments"]["gen_args_0"]["arg_0"]
    assert sum(answer in prompt for answer in shown) == 2


NANO_BEIR = """
import json
from sentence_transformers import SentenceTransformer
from sentence_transformers.evaluation import NanoBEIREvaluator
from sentence_transformers.sentence_transformer.modules import BoW

evaluator = NanoBEIREvaluator(dataset_names=["msmarco", "nq"])
parts = {part.name: [part.queries, part.corpus] for part in evaluator.evaluators}
words = {word for part in evaluator.evaluators for text in (*part.queries, *part.corpus) for word in text.split()}
scores = evaluator(SentenceTransformer(modules=[BoW(sorted(words))], device="cpu"))
json.dump({"parts": parts, "scores": scores}, open("result.json", "w"))
"""


NANO_QUERIES = {
    "NanoMSMARCO": {"q1": "blue whale size", "q2": "red fox food"},
    "NanoNQ": {"q1": "capital of france", "q2": "longest river"},
}
NANO_ANSWERS = {
    "NanoMSMARCO": {"d1": "the blue whale size record", "d2": "the red fox food chain", "d3": "nothing"},
    "NanoNQ": {"d1": "paris is capital of france", "d2": "the nile is longest river", "d3": "nothing"},
}
NANO_CONFIGS = ("corpus", "queries", "qrels")


def nano_beir() -> dict[str, bytes]:
    """Return the files of a made NanoBEIR repository."""
    files = {}
    for split in NANO_QUERIES:
        for config, texts in (("queries", NANO_QUERIES[split]), ("corpus", NANO_ANSWERS[split])):
            files[f"{config}/{split}.parquet"] = parquet(_id=list(texts), text=list(texts.values()))
        files[f"qrels/{split}.parquet"] = parquet(**{"query-id": ["q1", "q2"], "corpus-id": ["d1", "d2"]})
    files["README.md"] = card(
        *(
            f"- config_name: {config}\n  data_files:"
            + "".join(f"\n  - split: {split}\n    path: {config}/{split}.parquet" for split in NANO_QUERIES)
            for config in NANO_CONFIGS
        )
    )
    return files


def test_sentence_transformers_evaluates_on_nano_beir(bench: Bench) -> None:
    dataset_id = "sentence-transformers/NanoBEIR-en"
    bench.serve(dataset_id, nano_beir())
    found = bench.compare([(dataset_id, config) for config in NANO_CONFIGS], ["-c", NANO_BEIR], result_json)
    assert found["parts"] == {
        split: [list(NANO_QUERIES[split].values()), list(NANO_ANSWERS[split].values())]
        for split in NANO_QUERIES
    }
    assert found["scores"]["NanoBEIR_mean_cosine_accuracy@1"] == 1.0


SETFIT = """
import json
from setfit import get_templated_dataset
from setfit.utils import load_data_splits

train, test = load_data_splits("toys", sample_sizes=[2])
made = get_templated_dataset(reference_dataset="SetFit/toys", template="It is {}")
shown = {"test": test.to_list(), "templated": made.to_list(), "train": {k: v.to_list() for k, v in train.items()}}
json.dump(shown, open("result.json", "w"))
"""


def toys(numbers: range) -> list[dict[str, Any]]:
    kinds = ("bad", "good")
    return [{"text": f"toy {n}", "label": n % 2, "label_text": kinds[n % 2]} for n in numbers]


TRAIN, TEST = toys(range(12)), toys(range(12, 16))


def test_setfit_makes_its_few_shot_splits(bench: Bench) -> None:
    bench.serve("SetFit/toys", {"train.jsonl": jsonl(*TRAIN), "test.jsonl": jsonl(*TEST)})
    found = bench.compare([("SetFit/toys", None)], ["-c", SETFIT], result_json)
    assert found["test"] == TEST
    assert {row["text"] for row in found["templated"]} == {"It is bad", "It is good"}
    drawn = [row for split in found["train"].values() for row in split]
    assert drawn
    assert all(row in TRAIN for row in drawn)


QUESTIONS = [f"how much is {a} plus {b} ?" for a in WORDS[4:7] for b in WORDS[4:7]]


def sums() -> dict[str, bytes]:
    """Return the files of a made repository to fine-tune on."""
    return {"train.jsonl": jsonl(*({"prompt": q, "completion": "three"} for q in QUESTIONS))}


def test_trl_fine_tunes_for_one_step(bench: Bench) -> None:
    bench.serve("made/sums", sums())

    def logged(folder: Path) -> Any:
        state = json.loads((folder / "out" / "checkpoint-1" / "trainer_state.json").read_text())
        return [
            {key: step.get(key) for key in ("loss", "num_tokens", "grad_norm")}
            for step in state["log_history"]
        ]

    tiny_model(bench.given / "tiny")
    model = "--model_name_or_path tiny --dtype float32"
    steps = f"--max_steps 1 --logging_steps 1 --per_device_train_batch_size {len(QUESTIONS)}"
    machine = "--use_cpu --bf16 false --report_to none --output_dir out"
    found = bench.compare(
        [("made/sums", None)],
        f"-m trl.scripts.sft --dataset_name made/sums {model} {steps} {machine}".split(),
        logged,
    )
    words = sum(len(question.split()) + len(["three", "</s>"]) for question in QUESTIONS)
    assert found[0]["num_tokens"] == words
    assert found[0]["loss"] > 0


TRANSFORMERS = """
import json
from transformers import AutoModel, AutoTokenizer, pipeline

tokenizer = AutoTokenizer.from_pretrained("made/tiny")
model = AutoModel.from_pretrained("made/tiny")
text = "how much is one plus two ?"
ids = tokenizer(text, return_tensors="pt")
states = model(**ids).last_hidden_state
made = pipeline("text-generation", "made/tiny")(text, do_sample=False, max_new_tokens=4)
json.dump([ids["input_ids"].tolist(), states.tolist(), made], open("result.json", "w"))
"""


def test_transformers_loads_a_tokenizer_and_a_model(bench: Bench) -> None:
    tiny_model(bench.desk.folder / "tiny")
    bench.serve("models/made/tiny", tree(bench.desk.folder / "tiny"))
    model = Repository("model", "made/tiny")
    # It also asks for files that the repository lacks, which only a complete copy of it can tell.
    ids, states, made = bench.compare([model], ["-c", TRANSFORMERS], result_json, stores=False)
    assert ids == [[5, 6, 4, 7, 10, 8, 11]]
    assert [len(states[0]), len(states[0][0])] == [7, 16]
    assert made[0]["generated_text"].startswith("how much is one plus two ?")


def test_without_activation_the_same_program_fails_at_the_hub(bench: Bench) -> None:
    bench.serve("SetFit/toys", {"train.jsonl": jsonl(*TRAIN), "test.jsonl": jsonl(*TEST)})
    bench.publish_and_stop_the_hub([("SetFit/toys", None)])
    ran = bench.run("without", ["-c", SETFIT])
    assert ran.status != 0
    assert "Couldn't reach 'SetFit/toys' on the Hub" in ran.said
    assert bench.hub.url in ran.met


def test_the_guard_sees_and_refuses_whatever_leaves_the_machine(bench: Bench) -> None:
    program = ["-c", "import socket; socket.create_connection(('192.0.2.1', 9))"]
    ran = bench.run("leaving", program, **ACTIVATION)
    assert "PermissionError" in ran.said
    assert ran.met == {"http://192.0.2.1:9"}
