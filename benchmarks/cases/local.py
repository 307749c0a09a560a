"""Loads of what is here already, beside stock's from its own cache; and of a part of what is not."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import ROOT, Line, Run, clean_environment, in_turns, ratio_line, timed_python
from benchmarks.harness.made import ROW_BYTES, make_entries, make_entry, write_saved
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import RecordingProxy

SECTION = "2 asked for"
#: A call takes milliseconds, so it is repeated so many times for each run that was asked for.
_MORE_CALLS = 10
_ENTRIES = 10_000
_SHARDS = 1_000
_GSM8K = "'openai/gsm8k', 'main'"
_STOCK = """
import os, shutil
import datasets
def prepare(name):
    builder = datasets.load_dataset_builder(name)
    builder.download_and_prepare(
        download_mode=datasets.DownloadMode.REUSE_DATASET_IF_EXISTS,
        verification_mode=datasets.VerificationMode.BASIC_CHECKS,
    )
def forget():
    shutil.rmtree(datasets.config.HF_DATASETS_CACHE, ignore_errors=True)
"""
_OURS = f"import hf_localize\nhf_localize.install()\n{_STOCK}"
_SEND = "import hf_localize; hf_localize.download_dataset({arguments})"
_SHARE = """
import hf_localize
from hf_localize.publish import public
from hf_localize.sources.session import current_session
bucket = current_session().bucket
with bucket.connection.client("") as client:
    client.put_bucket_policy(Bucket={bucket!r}, Policy=public.public_policy(bucket))
hf_localize.register_dataset({path!r}, "made/parts", make_public=True, share_restricted="made/parts")
"""
#: Each of these asks about a dataset without loading it.
_QUESTIONS = (
    "load_dataset_builder",
    "get_dataset_config_names",
    "get_dataset_default_config_name",
    "get_dataset_split_names",
    "get_dataset_config_info",
)
#: One split of what is in the bucket and in a ZIP: shards, bytes of each.
_SPLITS = {"train": (8, 4 << 20), "test": (2, 4 << 20)}
_ALLOWED_BYTES = 64 << 10


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for hits in the local store, and for what a part of a dataset costs."""
    hub = LoopbackHub(ROOT / "tests" / "data").start()
    try:
        with seaweed_desk(folder) as desk, _recorded(desk) as proxy:
            return [
                *_hits(desk, hub, proxy, runs * _MORE_CALLS),
                *_questions(desk, hub, proxy),
                *_parts(desk, proxy),
                _by_entries(folder, runs * _MORE_CALLS),
                *_by_shards(folder, runs),
            ]
    finally:
        hub.close()


@contextlib.contextmanager
def _recorded(desk: Desk) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(desk.server.endpoint_url)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


def _at(desk: Desk, proxy: RecordingProxy, folder: Path, **more: str) -> dict[str, str]:
    """Return the settings of a machine that has its store and caches in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"HGLOC_DATASETS_STORE_PATH": str(folder / "store"), "HF_HOME": str(folder / "hf")}
    return {**desk.environment(), "HGLOC_S3_ENDPOINT_URL": proxy.url, **own, **more}


def _hub_settings(hub: LoopbackHub) -> dict[str, str]:
    """Return the settings of a machine that reaches the Hub too."""
    quiet = {
        "HGLOC_SOURCES": "local,s3,public,hub",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return {**hub.client_environment, **quiet, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


def _hits(desk: Desk, hub: LoopbackHub, proxy: RecordingProxy, runs: int) -> list[Line]:
    ours_env = _at(desk, proxy, desk.folder / "ours", **_hub_settings(hub))
    stock_env = {**clean_environment(), **_hub_settings(hub), "HF_HOME": str(desk.folder / "stock")}
    load = f"datasets.load_dataset({_GSM8K})"
    timed_python(f"{_OURS}\n{load}", ours_env)
    timed_python(f"{_STOCK}\n{load}", stock_env)
    with (
        Worker(_OURS, ours_env) as ours,
        Worker(_STOCK, {**stock_env, "HF_HUB_OFFLINE": "1"}) as offline,
        Worker(_STOCK, stock_env) as online,
    ):
        ours.timed(load)
        hub.clear()
        proxy.clear()
        ours.timed(load)
        requests = len(hub.requests) + len(proxy.requests)
        beside = in_turns(lambda: ours.timed(load), lambda: offline.timed(load), runs)
        asking = in_turns(lambda: ours.timed(load), lambda: online.timed(load), runs)
    return [
        Line(SECTION, "a hit in the local store asks", 0, [requests], unit="requests"),
        ratio_line(SECTION, "a hit, by stock's warm offline load", 0.9, beside, names=("ours", "stock")),
        ratio_line(SECTION, "a hit, by stock's warm load with a Hub", 0.25, asking, names=("ours", "stock")),
    ]


def _questions(desk: Desk, hub: LoopbackHub, proxy: RecordingProxy) -> list[Line]:
    publisher = _at(desk, proxy, desk.folder / "ours", **_hub_settings(hub))
    for config in ("main", "socratic"):
        timed_python(_SEND.format(arguments=f"'openai/gsm8k', '{config}'"), publisher)
    asked = []
    with Worker(_OURS, _at(desk, proxy, desk.folder / "asking")) as teammate:
        for function in _QUESTIONS:
            name = "'openai/gsm8k'" if "config_n" in function else _GSM8K
            proxy.clear()
            teammate.timed(f"datasets.{function}({name})")
            asked.append(len(proxy.requests))
        proxy.clear()
        teammate.timed("datasets.get_dataset_infos('openai/gsm8k')")
        each = len(proxy.requests) / 2
    note = ", ".join(f"{name} {count}" for name, count in zip(_QUESTIONS, asked, strict=True))
    what = "questions about a dataset in the bucket ask, at most"
    return [
        Line(SECTION, what, 2, [max(asked)], unit="requests", note=note),
        Line(SECTION, "`get_dataset_infos` asks, for each config", 2, [each], unit="requests"),
    ]


def _parts(desk: Desk, proxy: RecordingProxy) -> list[Line]:
    """Return the lines for the bytes of a load of one split."""
    publisher = _at(desk, proxy, desk.folder / "publisher")
    write_saved(desk.folder / "saved", _SPLITS)
    timed_python(_SHARE.format(path=str(desk.folder / "saved"), bucket=BUCKET), publisher)
    entry = next((desk.folder / "publisher" / "store").glob("made_parts/*/*"))
    lines = []
    for place, sources in (("the bucket", "local,s3"), ("a public ZIP", "local,public")):
        proxy.clear()
        reader = _at(desk, proxy, desk.folder / f"reader-{sources}", HGLOC_SOURCES=sources)
        timed_python(f"{_OURS}\ndatasets.load_dataset('made/parts', split='test')", reader)
        moved = sum(request.response_bytes for request in proxy.requests)
        needed = sum(path.stat().st_size for path in entry.glob("test/*.arrow"))
        what = f"a load of one split from {place}: bytes beyond those of its shards"
        note = f"{needed:,} bytes of shards in {len(proxy.requests)} requests"
        over = (moved - needed) / 1024
        lines.append(Line(SECTION, what, _ALLOWED_BYTES / 1024, [over], unit="KiB", note=note))
    return lines


def _by_entries(folder: Path, runs: int) -> Line:
    """Return the line for a hit among many entries, by one in a store that has nothing else."""
    settings = {}
    for name, count in (("one", 1), ("many", _ENTRIES)):
        place = folder / f"store-of-{name}"
        place.mkdir()
        make_entries(place / "store", count)
        settings[name] = _only_local(place)
    load = "datasets.load_dataset('made/entry-00000')"
    with Worker(_OURS, settings["many"]) as many, Worker(_OURS, settings["one"]) as one:
        pairs = in_turns(lambda: many.timed(load), lambda: one.timed(load), runs)
    what = f"a hit among {_ENTRIES:,} entries, by one among 1"
    return ratio_line(SECTION, what, 1.05, pairs, names=(f"of {_ENTRIES:,}", "of 1"))


def _only_local(place: Path) -> dict[str, str]:
    return clean_environment(
        HGLOC_DATASETS_STORE_PATH=str(place / "store"),
        HGLOC_SOURCES="local",
        HF_HOME=str(place / "hf"),
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    )


def _by_shards(folder: Path, runs: int) -> list[Line]:
    """Return the lines for what each 100 shards more cost."""
    place = folder / "shards"
    place.mkdir()
    folders = {n: make_entry(place / "store", f"made/of-{n}", n, ROW_BYTES) for n in (1, _SHARDS)}

    def growth(worker: Worker, call: Callable[[int], str], before: str | None = None) -> list[float]:
        def timed(count: int) -> Run:
            if before is not None:
                worker.timed(before)
            return worker.timed(call(count))

        pairs = in_turns(lambda: timed(_SHARDS), lambda: timed(1), runs)
        return [(a.wall_seconds - b.wall_seconds) * 1000 / (_SHARDS / 100) for a, b in pairs]

    with Worker(_OURS, _only_local(place)) as ours, Worker(_STOCK, _only_local(place)) as stock:
        load = "datasets.load_dataset('made/of-{}')".format
        found = growth(ours, "prepare('made/of-{}')".format)
        again = growth(ours, load)
        first = growth(ours, load, before="forget()")
        opened = growth(stock, lambda count: f"datasets.load_from_disk({str(folders[count])!r})")
    note = f"stock's load_from_disk of the same files {statistics.median(opened):.2f} ms"
    each = "for each 100 shards"
    return [
        Line(SECTION, f"a hit, {each}: to find it and have it prepared", 1, found, unit="ms"),
        Line(SECTION, f"a hit, {each}: with `datasets` opening each file", 1, again, unit="ms", note=note),
        Line(SECTION, f"a first load, {each}: with the links made", None, first, unit="ms"),
    ]
