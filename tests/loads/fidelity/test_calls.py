"""The differential suite: stock with the Hub up against the shim with the Hub down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize.sources.session import current_session
from tests.conftest import Desk
from tests.loads.fidelity import calls, report
from tests.loads.fidelity.calls import CALLS, CAUGHT, GROUPS, GSM8K
from tests.loads.fidelity.repositories import CONFIGS, GATE_TOKEN, REPOSITORIES, make_all
from tests.loads.fidelity.snapshots import snapshot
from tests.rig.hub import LoopbackHub


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


def test_each_call_answers_as_stock_does(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one place for each release of `datasets`; at all where a report is written (``make test-versions``)."""
    hub.tags[(GSM8K, "v1.0")] = "main"
    make_all(hub, desk.folder / "repositories")
    monkeypatch.setattr(calls, "commit", hub.commit(GSM8K))
    monkeypatch.setenv("HF_TOKEN", GATE_TOKEN)
    desk.use_cache(str(desk.folder / "stock's cache"))
    expected = {name: outcome(call) for name, call in {**CAUGHT, **CALLS}.items()}
    desk.publisher().open_public_places()
    for (dataset_id, config, revision), keep_files in published().items():
        hf_localize.download_dataset(
            dataset_id,
            config,
            revision,
            make_public=True,
            keep_files=keep_files,
            share_restricted="made/gated",
        )
    entries = [entry for entry in current_session().store.entries() if entry.is_saved]
    assert {Path(f.path).suffix for e in entries for f in e.manifest.files} == {".json", ".arrow", ".md"}
    monkeypatch.delenv("HF_TOKEN")
    hub.stop()
    hub.clear()
    places = {"local": lambda: None, "private": desk.teammate, "public": desk.outsider}
    assert tuple(places) == report.PLACES
    different = []
    if not report.FOLDER:
        place = report.PLACES[int(datasets.__version__.partition(".")[0]) // 2 % len(places)]
        places = {place: places[place]}
    for place, sit in places.items():
        sit()
        desk.set(HGLOC_SOURCES="local,s3,public,hub")
        with hf_localize.installed():
            # In the order of stock's calls: some look into what those before have left in the cache.
            missed = {name: raised(call) for name, call in CAUGHT.items()}
            got = {name: outcome(call) for name, call in CALLS.items()}
        alike = {name: expected[name]["raised"] in kinds for name, kinds in missed.items()}
        if report.FOLDER:
            equal = {name: got[name] == expected[name] for name in CALLS}
            report.record("what works", datasets.__version__, place, counts(equal, alike))
        different += [
            f"{place}: {n}: {differences(expected[n], got[n])}" for n in CALLS if got[n] != expected[n]
        ]
        different += [f"{place}: {n}: {missed[n]}" for n, is_alike in alike.items() if not is_alike]
    assert not different, "\n".join(different)
    assert hub.requests == []


def counts(equal: dict[str, bool], caught: dict[str, bool]) -> dict[str, tuple[int, int]]:
    """Return {group: (calls that answered as stock, calls)}."""
    groups = {group: [equal[name] for name in names] for group, names in GROUPS.items()}
    groups["errors in other words, which the same `except` catches"] = list(caught.values())
    return {group: (sum(found), len(found)) for group, found in groups.items()}


def differences(stock: Any, ours: Any) -> Any:
    """Return where two outcomes differ, as (stock's, ours) at each place."""
    if isinstance(stock, dict) and isinstance(ours, dict):
        keys = sorted(stock.keys() | ours.keys())
        return {k: differences(stock.get(k), ours.get(k)) for k in keys if stock.get(k) != ours.get(k)}
    if isinstance(stock, list) and isinstance(ours, list) and len(stock) == len(ours):
        return [differences(*pair) for pair in zip(stock, ours, strict=True) if pair[0] != pair[1]]
    return stock, ours


def published() -> dict[tuple[str, str | None, str | None], bool]:
    """Return what the publisher downloads: {(id, config, revision): whether files are kept}."""
    refs = [(i, c, None) for i in (*REPOSITORIES, *CONFIGS) for c in CONFIGS.get(i, (None,))]
    refs += [(GSM8K, "main", "v1.0"), ("made/three", "en", "1.0.0")]
    refs += [("made/branches", None, revision) for revision in ("next", "refs/convert/parquet")]
    return {ref: ref[0] == "made/csv" or ref == (GSM8K, "main", None) for ref in refs}


def raised(call: Any) -> list[str]:
    """Return the names of the classes that an ``except`` could catch what *call* raises by."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Which one is what is asked.
        call()
    return [kind.__name__ for kind in caught.type.__mro__]
