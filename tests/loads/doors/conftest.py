"""Repositories that are held, on a Hub that can be stopped, and caches of huggingface_hub for each use."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize.hf.doors import transport
from tests.conftest import Desk
from tests.rig.held import HeldRepositories
from tests.rig.hub import LoopbackHub, make_repository

DATASET = "doors/data"
CARD = b"---\nlicense: mit\n---\n# Data\n"


def use_hub_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have huggingface_hub keep files in *folder*; old releases have the name in each module."""
    for name in ("constants", "file_download", "_snapshot_download"):
        module = importlib.import_module(f"huggingface_hub.{name}")
        if name == "constants" or hasattr(module, "HF_HUB_CACHE"):
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(folder))


@pytest.fixture
def repository(hub: LoopbackHub, tmp_path: Path) -> Iterator[None]:
    """Give the Hub a dataset with a branch and a tag."""
    root = tmp_path / "repositories"
    table = pa.table({"a": list(range(5000)), "b": [f"text {i}" for i in range(5000)]})
    pq.write_table(table, tmp_path / "one.parquet")
    files = {
        "README.md": CARD,
        "data/train.parquet": (tmp_path / "one.parquet").read_bytes(),
        "data/test.csv": b"a,b\n1,x\n",
        "sub/deep/more.json": b"{}",
        ".dot": b"dot",
    }
    made = make_repository(root, DATASET, "main", files)
    make_repository(root, DATASET, "other", {"README.md": b"other"})
    hub.add(made)
    hub.tags[DATASET, "v1.0"] = "main"
    transport._said.clear()
    yield
    hub._added.clear()


@pytest.fixture
def repositories(hub: LoopbackHub, repository: None, monkeypatch: pytest.MonkeyPatch) -> HeldRepositories:
    """Return what is held: what the Hub has."""
    held = HeldRepositories(hub, {DATASET: "dataset"})
    monkeypatch.setattr(transport, "repositories", lambda: held)
    return held


@pytest.fixture
def fresh(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Return a function that gives huggingface_hub an empty cache."""

    def make(name: str) -> Path:
        cache = tmp_path / name
        shutil.rmtree(cache, ignore_errors=True)
        use_hub_cache(monkeypatch, cache)
        huggingface_hub.HfFileSystem.clear_instance_cache()
        desk.use_cache(str(tmp_path / f"{name}-datasets"))
        return cache

    return make


@pytest.fixture
def offline(hub: LoopbackHub, repositories: HeldRepositories, fresh) -> Iterator[HeldRepositories]:  # type: ignore[no-untyped-def]
    """Install hf_localize, and stop the Hub."""
    fresh("cache")
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        yield repositories
    assert hub.requests == []
