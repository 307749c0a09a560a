"""What the doctor says of a store's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_localize.store.store import Store
from hf_localize.upkeep.findings import FAIL, OK, WARN
from hf_localize.upkeep.store_probe import probe_store


def states(store: Path, cache: Path) -> dict[str, str]:
    return {found.name: found.state for found in probe_store(Store(store), cache)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o755)
    return folder


def test_nothing_is_left_behind_in_a_store_that_is_well(store: Path, tmp_path: Path) -> None:
    found = states(store, tmp_path / "cache")
    assert (found["path"], found["permissions"], found["writing"]) == (OK, OK, OK)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["store"]


def test_a_store_that_all_may_write_to_is_a_warning(store: Path, tmp_path: Path) -> None:
    store.chmod(0o777)
    assert states(store, tmp_path / "cache")["permissions"] == WARN
    store.chmod(0o1777)
    assert states(store, tmp_path / "cache")["permissions"] == OK


def test_a_file_in_place_of_the_store_is_a_failure(store: Path, tmp_path: Path) -> None:
    store.rmdir()
    store.write_text("")
    assert states(store, tmp_path / "cache")["path"] == FAIL
