"""How cost grows: with the size of a dataset, its shards, the entries beside it, loaders at once.

`make bench-scaling` writes a plot for each, and all figures, into `benchmarks/scaling/`. Beside each
line of ours is what s5cmd, or stock `datasets`, takes for the same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import ROOT, clean_environment, machine, timed_process, timed_python
from benchmarks.harness.made import copy_entry, make_entry
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from hf_localize.format.arrow.shards import link_or_copy
from hf_localize.format.manifest import FileRecord
from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from hf_localize.store.commit import commit
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store

OUTPUT = ROOT / "benchmarks" / "scaling"
_FETCH = "import hf_localize; hf_localize.download_dataset({name!r}, skip_s3_upload=True)"
_SEND = "import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r})"
#: Times one load in a process that has imported everything and loaded once.
_WARM_LOAD = """
import time, datasets, hf_localize
hf_localize.install()
def load(): return datasets.load_dataset({name!r}, split="train")
load()
times = []
for _ in range(9):
    started = time.perf_counter(); load(); times.append(time.perf_counter() - started)
print(sorted(times)[4])
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured over one quantity: seconds of each way of doing it, by its value."""

    name: str
    quantity: str
    title: str
    seconds: dict[str, dict[float, float]]

    def rows(self) -> list[str]:
        """Return the rows of a Markdown table."""
        names = list(self.seconds)
        values = sorted({value for line in self.seconds.values() for value in line})
        head = [f"| {self.quantity} | {' | '.join(f'{name}, s' for name in names)} |"]
        head.append("|---" * (len(names) + 1) + "|")
        return head + [
            f"| {value:,g} | " + " | ".join(_cell(self.seconds[name].get(value)) for name in names) + " |"
            for value in values
        ]


def _cell(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.4f}" if seconds < 0.1 else f"{seconds:.2f}"


def by_size(folder: Path, megabytes: Iterable[int], runs: int) -> Curve:
    """Fetch datasets of more and more shards of 128 MiB (all of the same content, as no source knows)."""
    return _fetches(
        folder,
        Curve("size", "MB", "Fetch of a cold dataset, shards of 128 MiB", {}),
        [(size, max(1, size * 1_000_000 // (128 << 20)), 128 << 20) for size in megabytes],
        runs,
    )


def by_shards(folder: Path, counts: Iterable[int], runs: int, total_bytes: int = 256 << 20) -> Curve:
    """Fetch datasets of the same size in more and more shards."""
    return _fetches(
        folder,
        Curve("shards", "shards", f"Fetch of a cold dataset of {total_bytes >> 20} MiB", {}),
        [(count, count, total_bytes // count) for count in counts],
        runs,
    )


def _fetches(folder: Path, curve: Curve, cases: list[tuple[int, int, int]], runs: int) -> Curve:
    ways = {"hf_localize, verified": _fetch, "s5cmd cp": _copy}
    lines: dict[str, dict[float, float]] = {way: {} for way in ways}
    with seaweed_desk(folder, on_disk=True) as desk:
        for value, count, size in cases:
            name = f"made/of-{value}"
            publisher = Desk(desk.server, folder / "publisher")
            _repeat_shard(publisher.store, name, count, size)
            timed_python(_SEND.format(name=name), publisher.environment())
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(runs):
                for way, fetch in ways.items():
                    found[way].append(fetch(desk, name))
            for way, seconds in found.items():
                lines[way][value] = sorted(seconds)[runs // 2]
            for place in (desk.folder, publisher.folder):
                shutil.rmtree(place)
            timed_process(["s5cmd", "rm", f"s3://{BUCKET}/*"], desk.aws_environment())
            _tell(curve.name, value, lines)
    return replace(curve, seconds=lines)


def _fetch(desk: Desk, name: str) -> float:
    _empty(desk)
    return timed_python(_FETCH.format(name=name), desk.environment()).wall_seconds


def _copy(desk: Desk, name: str) -> float:
    _empty(desk)
    return timed_process([*_copy_command(name), f"{desk.folder}/"], desk.aws_environment()).wall_seconds


def _copy_command(name: str) -> list[str]:
    return ["s5cmd", "cp", f"s3://{BUCKET}/{name.replace('/', '_')}/*"]


def _empty(desk: Desk) -> None:
    shutil.rmtree(desk.folder, ignore_errors=True)
    desk.folder.mkdir()


def _tell(name: str, value: int, lines: dict[str, dict[float, float]]) -> None:
    print(
        f"{name} {value}: " + ", ".join(f"{way} {line[value]:.3f} s" for way, line in lines.items()),
        flush=True,
    )


def by_entries(folder: Path, counts: Iterable[int], runs: int) -> Curve:
    """Load a dataset from a store, and list the store, as the entries beside it become more."""
    lines: dict[str, dict[float, float]] = {
        "load_dataset, local hit": {},
        "hg-localize list-local": {},
        "stock load_dataset, offline, warm": {},
    }
    hit, listing, stock = lines.values()
    store = folder / "store"
    make_entry(store, "made/one", 1, 1 << 20)
    env = clean_environment(
        HGLOC_DATASETS_STORE_PATH=str(store), HF_HOME=str(folder / "hf"), HGLOC_SOURCES="local",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    command = [sys.executable, "-m", "hf_localize", "list-local"]
    made, stock_seconds = 1, _stock_warm(folder)
    for count in sorted(counts):
        for number in range(made, count):
            copy_entry(store, "made/one", f"made/entry-{number:05d}")
        made = max(made, count)
        hit[count] = _middle(lambda: _said(_WARM_LOAD.format(name="made/one"), env), runs)
        listing[count] = _middle(lambda: timed_process(command, env).wall_seconds, runs)
        stock[count] = stock_seconds
        _tell("entries", count, lines)
    return Curve("entries", "entries in the store", "One of many datasets", lines)


def by_loaders(folder: Path, counts: Iterable[int], runs: int) -> Curve:
    """Load one cold dataset of 256 MiB in many processes of one machine at the same time."""
    ours: dict[float, float] = {}
    theirs: dict[float, float] = {}
    lines = {"hf_localize, one store": ours, "s5cmd cp, a folder each": theirs}
    name = "made/shared"
    with seaweed_desk(folder) as desk:
        publisher = Desk(desk.server, folder / "publisher")
        make_entry(publisher.store, name, 8, 32 << 20)
        timed_python(_SEND.format(name=name), publisher.environment())
        env = {**desk.environment(), "PYTHONPATH": str(ROOT)}
        for count in counts:
            loads = [[sys.executable, "-c", _FETCH.format(name=name)]] * count
            copies = [[*_copy_command(name), f"{desk.folder}/{n}/"] for n in range(count)]
            ours[count] = _middle(functools.partial(_at_once, desk, loads, env), runs)
            theirs[count] = _middle(functools.partial(_at_once, desk, copies, desk.aws_environment()), runs)
            _tell("loaders", count, lines)
    return Curve(
        "loaders", "processes at once", "One cold dataset of 256 MiB, loaded by many processes", lines
    )


def _at_once(desk: Desk, commands: list[list[str]], env: dict[str, str]) -> float:
    _empty(desk)
    started = time.perf_counter()
    processes = [
        subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"{commands[0]} ended with {codes}")
    return time.perf_counter() - started


def _middle(run: Callable[[], float], runs: int) -> float:
    return sorted(run() for _ in range(runs))[runs // 2]


def _said(code: str, env: dict[str, str]) -> float:
    return float(
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout
    )


def _stock_warm(folder: Path) -> float:
    """Return the seconds of stock's own warm load of the same data, offline, as median of nine."""
    code = _WARM_LOAD.replace("hf_localize.install()", "").replace(", hf_localize", "")
    code = code.replace(
        "datasets.load_dataset({name!r}", 'datasets.load_dataset("arrow", data_files={name!r}'
    )
    shard = next((folder / "store").rglob("*.arrow"))
    env = clean_environment(
        HF_HOME=str(folder / "stock"), HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1"
    )
    return _said(code.format(name=str(shard)), env)


def _repeat_shard(store: Path, name: str, count: int, size: int) -> None:
    """Put a dataset into *store* whose shards are links to one file, so that 12 GB take little room."""
    one = make_entry(store, f"{name}-one", 1, size)
    manifest = read_manifest((one / MANIFEST_NAME).read_bytes(), str(one))
    split = manifest.splits[0]
    shards = [split.shards[0]._replace(path=f"train/data-{n:05d}-of-{count:05d}.arrow") for n in range(count)]
    record = manifest.file(split.shards[0].path)
    others = [file for file in manifest.files if file.path != record.path]
    whole = replace(
        manifest,
        dataset_id=name,
        files=(*others, *(FileRecord(s.path, record.size_bytes, record.sha256) for s in shards)),
        splits=(split._replace(rows=split.rows * count, size_bytes=size * count, shards=tuple(shards)),),
    )
    with staging_folder(Store(store), "made") as staging:
        for file in whole.files:
            (staging / file.path).parent.mkdir(parents=True, exist_ok=True)
            source = record.path if file.sha256 == record.sha256 else file.path
            link_or_copy(one / source, staging / file.path)
        commit(Store(store), staging, whole)


def plot(curve: Curve, folder: Path) -> None:
    """Write the curve as a picture, both axes logarithmic: what is proportional is a straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for name, line in curve.seconds.items():
        values = sorted(line)
        style = "--" if "s5cmd" in name or "stock" in name else "-"
        axes.plot(values, [line[value] for value in values], style, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel=curve.quantity, ylabel="seconds", title=curve.title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / f"{curve.name}.png", dpi=120)


CURVES: dict[str, tuple[Callable[[Path, Iterable[int], int], Curve], tuple[int, ...]]] = {
    "size": (by_size, (100, 400, 1600, 6000, 12000)),
    "shards": (by_shards, (1, 10, 100, 1000, 4000)),
    "entries": (by_entries, (1, 10, 100, 1000, 10000)),
    "loaders": (by_loaders, (1, 2, 4, 8, 16)),
}


def main() -> None:
    """Measure, and write plots and figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", nargs="*", choices=[*CURVES, []], help="default: all")
    parser.add_argument("--runs", type=int, default=3, help="of each point; the middle one counts")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    for name in options.curves or CURVES:
        measure, values = CURVES[name]
        with tempfile.TemporaryDirectory(prefix=f"hf_localize-bench-{name}-") as folder:
            curve = measure(Path(folder), values, options.runs)
        (OUTPUT / f"{name}.json").write_text(json.dumps(_document(curve), indent=1) + "\n", encoding="utf-8")
        plot(curve, OUTPUT)
        print("\n".join(curve.rows()), flush=True)


def _document(curve: Curve) -> dict[str, object]:
    return {
        "title": curve.title,
        "quantity": curve.quantity,
        "date": f"{dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}",
        "machine": machine(),
        "seconds": curve.seconds,
    }


if __name__ == "__main__":
    main()
