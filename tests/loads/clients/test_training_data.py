"""What programs that train do to get their data runs unchanged where the Hub is out of reach."""

from __future__ import annotations

from tests.loads.clients.conftest import Bench, result_json
from tests.loads.fidelity.repositories import card, config, jsonl

#: Of axolotl, the module that loads data runs as it is. Stubs stand for the package around it, which imports all
#: of axolotl's training, and for the samplers and the trainer, which work on tokens.
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
