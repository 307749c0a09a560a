"""The differential suite: stock with the Hub up against the shim with the Hub down."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

import hf_localize
from tests.conftest import Desk
from tests.fidelity.calls import CALLS, GSM8K
from tests.fidelity.repositories import CONFIGS, REPOSITORIES, make_all
from tests.fidelity.snapshots import snapshot
from tests.rig.hub import LoopbackHub

PLACES = ("local", "private", "public")


def outcome(call: Any) -> Any:
    """Return what *call* gave, or what it raised: type and first line."""
    try:
        got = call()
    except Exception as exc:  # Whatever stock raises is what is expected.
        return {"raised": type(exc).__name__, "said": str(exc).splitlines()[:1]}
    if isinstance(got, list) and got and isinstance(got[0], datasets.Dataset):
        return [snapshot(part) for part in got]
    known = (datasets.Dataset, datasets.IterableDataset, datasets.DatasetDict, datasets.IterableDatasetDict)
    return snapshot(got) if isinstance(got, known) else repr(got)


@pytest.mark.parametrize("place", PLACES)
def test_each_call_answers_as_stock_does(
    place: str, hub: LoopbackHub, desk: Desk, record_property: Any
) -> None:
    hub.tags[(GSM8K, "v1.0")] = "main"
    make_all(hub, desk.folder / "repositories")
    expected = {name: outcome(call) for name, call in CALLS.items()}
    desk.publisher().open_public_places()
    refs = [(i, c, None) for i in (*REPOSITORIES, *CONFIGS) for c in CONFIGS.get(i, (None,))]
    for dataset_id, config, revision in dict.fromkeys([*refs, (GSM8K, "main", "v1.0")]):
        hf_localize.download_dataset(dataset_id, config, revision, make_public=place == "public")
    {"local": lambda: desk, "private": desk.teammate, "public": desk.outsider}[place]()
    desk.set(HGLOC_SOURCES="local,s3,public,hub")
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        got = {name: outcome(call) for name, call in CALLS.items()}
    record_property("calls", len(CALLS))
    different = {name: (expected[name], got[name]) for name in CALLS if got[name] != expected[name]}
    assert different == {}
    assert hub.requests == []
