"""Loaded datasets in use: caches and streams over several processes, and pushing to the Hub."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import Desk, run_python
from tests.loads.fidelity.repositories import make_all
from tests.loads.fidelity.snapshots import snapshot
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"


@pytest.fixture
def stored(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a desk with datasets in its store and in its bucket; the Hub is down."""
    make_all(hub, desk.folder / "repositories")
    desk.publisher()
    for dataset_id, config in ((GSM8K, "main"), ("made/shards", None), ("made/images", None)):
        hf_localize.download_dataset(dataset_id, config)
    hub.stop()
    return desk


IN_USE = """
import hf_localize; hf_localize.install()
import datasets, json, pathlib

def grown(row):
    with open("calls", "a") as log:
        log.write("x")
    return {"n": len(row["question"])}

loaded = datasets.load_dataset("openai/gsm8k", "main", split="test[:20]")
grown = loaded.map(grown)
kept = loaded.filter(lambda row: len(row["question"]) > 100)
calls = pathlib.Path("calls")
print(json.dumps([
    loaded._fingerprint, grown._fingerprint, kept._fingerprint, sum(grown["n"]), len(calls.read_text()),
    datasets.load_dataset("openai/gsm8k", "main", split="test[:20]")._fingerprint,
]))
"""


def test_maps_and_fingerprints_are_the_same_in_the_next_process(stored: Desk, tmp_path: Path) -> None:
    runs = [run_python(IN_USE, cwd=tmp_path) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second, "the second run computed something anew"
    assert first[4] == 20
    assert first[5] == first[0], "another load in the same process has another fingerprint"


def test_replaced_data_has_another_fingerprint(desk: Desk) -> None:
    desk.publisher()
    prints = []
    for text in ("old", "new"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"text": [text]}), "org/x")
        with hf_localize.installed():
            prints.append(datasets.load_dataset("org/x", split="train")._fingerprint)
    assert prints[0] != prints[1]


def test_cleaning_up_removes_the_maps_and_nothing_else(stored: Desk) -> None:
    with hf_localize.installed():
        loaded = datasets.load_dataset(GSM8K, "main", split="test")
        loaded.map(lambda row: {"n": len(row["answer"])})
        before = snapshot(loaded)
        assert loaded.cleanup_cache_files() == 1
        assert snapshot(datasets.load_dataset(GSM8K, "main", split="test")) == before


SEND = """
import hf_localize; hf_localize.install()
import datasets, pickle
for name, how in (("made/shards", {"split": "train"}), ("made/shards", {"split": "train", "streaming": True})):
    pickle.dump(datasets.load_dataset(name, **how), open(f"{len(how)}.pickle", "wb"))
"""
RECEIVE = """
import pickle
for name in "12":
    print([row["n"] for row in pickle.load(open(f"{name}.pickle", "rb"))] == list(range(400)))
"""


@pytest.mark.parametrize("who", ["publisher", "teammate"])
def test_a_dataset_and_a_stream_travel_to_a_process_that_has_not_installed(
    who: str, stored: Desk, tmp_path: Path
) -> None:
    if who == "teammate":
        stored.teammate()
    sent = run_python(SEND, cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    assert not any(
        os.environ["HGLOC_AWS_SECRET_ACCESS_KEY"].encode() in p.read_bytes()
        for p in tmp_path.glob("*.pickle")
    )
    received = run_python(RECEIVE, cwd=tmp_path)
    assert received.stdout.split() == ["True", "True"], received.stderr


def test_images_decode_on_a_machine_that_has_the_entry_alone(stored: Desk, tmp_path: Path) -> None:
    stored.teammate()
    code = """
import hf_localize; hf_localize.install()
import datasets
print([row["image"].size for row in datasets.load_dataset("made/images", split="train")])
"""
    done = run_python(code, cwd=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert done.stdout.strip() == "[(4, 2), (4, 2)]", done.stderr


@pytest.mark.sampled(0)
def test_what_was_loaded_from_the_store_can_be_pushed_to_the_hub(stored: Desk, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "empty", uploads=tmp_path / "uploads") as hub:
        hub.writers = {"write-token"}
        code = """
import hf_localize; hf_localize.install()
import datasets
loaded = datasets.load_dataset("openai/gsm8k", "main")
loaded.push_to_hub("team/copy", token="write-token")
copy = datasets.load_dataset("team/copy", download_mode="force_redownload")
assert {k: v.to_dict() for k, v in copy.items()} == {k: v.to_dict() for k, v in loaded.items()}
assert copy["train"].features == loaded["train"].features
"""
        done = run_python(code, cwd=tmp_path, **hub.client_environment)
        assert done.returncode == 0, done.stderr
        assert any(request.method == "POST" for request in hub.requests)


def test_a_hub_that_swallows_packets_does_not_slow_a_hit_and_bounds_a_miss(
    stored: Desk, hub: LoopbackHub, tmp_path: Path
) -> None:
    code = f"""
import hf_localize; hf_localize.install()
import datasets, time
started = time.monotonic()
assert len(datasets.load_dataset("{GSM8K}", "main", split="test")) == 1319
hit = time.monotonic() - started
try:
    datasets.load_dataset("made/nothing")
except datasets.exceptions.DatasetNotFoundError as exc:
    assert isinstance(exc, ConnectionError)
    assert all(source in str(exc) for source in ("local store", "private S3", "public ZIP", "Hugging Face Hub")), exc
print(hit, time.monotonic() - started)
"""
    with _silent_server() as url:
        done = run_python(code, cwd=tmp_path, HF_ENDPOINT=url, HGLOC_TIMEOUT_SECONDS="4")
    assert done.returncode == 0, done.stderr
    hit, whole = map(float, done.stdout.split())
    # Bounds of correctness, not of speed: stock waits for minutes here.
    assert hit < 4
    assert whole < 4 + 4 + 4


def test_what_only_stock_has_cached_is_found_while_the_hub_swallows_packets(
    hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    make_all(hub, desk.folder / "repositories")
    desk.teammate()
    load = "import datasets; print(len(datasets.load_dataset('made/csv', split='train')))"
    home = {"HF_HOME": str(tmp_path / "hf")}
    assert run_python(load, cwd=tmp_path, **home).stdout == "3\n"
    with _silent_server() as url:
        env = {**home, "HF_ENDPOINT": url, "HGLOC_TIMEOUT_SECONDS": "2"}
        done = run_python(f"import hf_localize; hf_localize.install()\n{load}", cwd=tmp_path, **env)
    assert done.stdout == "3\n", done.stderr
    assert "is taken from the cache of datasets" in done.stderr


@contextlib.contextmanager
def _silent_server() -> Iterator[str]:
    """Give the URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
