"""Datasets that are loading scripts: localized where `datasets` runs them (< 4)."""

from __future__ import annotations

import datasets
import pytest

import hf_localize
from tests.conftest import Desk, run_cli
from tests.loads.fidelity.repositories import SCRIPT
from tests.rig.hub import LoopbackHub, make_repository


@pytest.mark.skipif(int(datasets.__version__.split(".")[0]) >= 4, reason="datasets 4 runs no scripts")
def test_a_script_is_run_where_it_is_trusted_and_only_there(hub: LoopbackHub, desk: Desk) -> None:
    hub.add(make_repository(desk.folder / "repositories", "made/script", "main", {"script.py": SCRIPT}))
    desk.publisher()
    refused = run_cli("download", "made/script")
    assert refused.returncode == 1
    assert "trust_remote_code" in refused.stderr
    assert run_cli("download", "made/script", "--trust-remote-code").returncode == 0
    hub.stop()
    desk.teammate()
    with hf_localize.installed():
        loaded = datasets.load_dataset("made/script", split="train")
    assert loaded["n"] == [0, 1, 2]
    assert (loaded.info.description, str(loaded.info.version)) == ("made", "1.2.3")
