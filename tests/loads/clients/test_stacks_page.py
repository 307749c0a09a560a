"""What docs/guides/stacks.md shows runs, as it stands there, where the Hub is out of reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import Block, blocks_of
from tests.loads.clients.conftest import ACTIVATION, Bench
from tests.loads.clients.models import DUMMY_TOKENIZER, tiny_model
from tests.loads.clients.test_clients import TEST, TRAIN, nano_beir, sums
from tests.loads.fidelity.repositories import jsonl

PAGE = ROOT / "docs" / "guides" / "stacks.md"
SHOWN = {name: block for block in blocks_of(PAGE) if (name := block.mark("client"))}


def arguments_of(block: Block) -> list[str]:
    """Return the arguments for a Python that does what *block* says."""
    if block.language == "python":
        return ["-c", block.text]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return [
        "-c",
        f"import os; os.environ['PATH'] = {path!r}; os.execvp('bash', ['bash', '-ec', {block.text!r}])",
    ]


def test_the_page_shows_these() -> None:
    assert SHOWN.keys() == {"lm_eval", "trl", "sentence_transformers", "setfit"}


@pytest.mark.parametrize("name", SHOWN)
def test_what_the_page_shows_runs_without_the_hub(name: str, bench: Bench) -> None:
    published: list[tuple[str, str | None]] = []
    if name in ("lm_eval", "trl"):
        tiny_model(bench.given / "model")
    if name == "lm_eval":
        published = [("openai/gsm8k", "main")]
        tiny_model(bench.given / DUMMY_TOKENIZER)
    elif name == "trl":
        bench.serve("team/sums", sums())
        published = [("team/sums", None)]
    elif name == "sentence_transformers":
        bench.serve("sentence-transformers/NanoBEIR-en", nano_beir())
        published = [("sentence-transformers/NanoBEIR-en", name) for name in ("corpus", "queries", "qrels")]
    else:
        bench.serve("SetFit/toys", {"train.jsonl": jsonl(*TRAIN), "test.jsonl": jsonl(*TEST)})
        published = [("SetFit/toys", None)]
    bench.publish_and_stop_the_hub(published)
    ran = bench.run("shown", arguments_of(SHOWN[name]), **ACTIVATION)
    assert ran.status == 0, ran.said
    assert ran.met == {bench.desk.s3.url}
