"""Measure over links, and write the table into docs/performance.md: `make bench-links`."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import LEAST_RUNS, ROOT, Line, machine, table
from benchmarks.harness.link import FAST, SLOW, USUAL, Kind, Link, enter_namespace
from benchmarks.harness.servers import seaweed_desk
from benchmarks.links import loading, moving
from benchmarks.links.rivals import versions
from tests.loads.fidelity.report import put_between

_KINDS = {"fast": FAST, "usual": USUAL, "slow": SLOW}
_PAGE = ROOT / "docs" / "performance.md"
#: With so many connections, since one alone does not fill a link that loses packets.
_CHECK_CONNECTIONS, _CHECK_SECONDS = 32, 3


def main() -> None:
    """Measure, print the tables, and write them if all was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.links", description=__doc__)
    parser.add_argument("links", nargs="*", choices=[*_KINDS, []], help="default: all, and write the page")
    parser.add_argument("--runs", type=int, default=LEAST_RUNS)
    parser.add_argument("--quick", action="store_true", help="each line once with little data; write nothing")
    options = parser.parse_args()
    if why := enter_namespace():
        print(f"skipped: {why}")
        return
    lines, checks = [], []
    for name in options.links or _KINDS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"hf_localize-links-{name}-") as folder:
            check, measured = _measure(
                _KINDS[name], Path(folder), 1 if options.quick else options.runs, is_quick=options.quick
            )
        checks.append(check)
        lines += measured
        print(f"{check}; {time.monotonic() - started:.0f} s", table(measured), sep="\n\n", flush=True)
    if not (options.links or options.quick):
        _write(lines, checks)


def _measure(kind: Kind, folder: Path, runs: int, *, is_quick: bool) -> tuple[str, list[Line]]:
    with Link(kind) as link, _apart(link), seaweed_desk(folder) as desk:
        check = _check(link, folder)
        lines = [
            *moving.measure(link, desk, folder, runs, is_quick=is_quick),
            *loading.measure(link, desk, folder, runs, is_quick=is_quick),
        ]
    return check, lines


@contextmanager
def _apart(link: Link) -> Iterator[None]:
    """On the fast link give the servers one core, and the clients another."""
    cores = sorted(os.sched_getaffinity(0))
    if link.kind is FAST and len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
        link.client_core = cores[1]
    yield
    os.sched_setaffinity(0, cores)


def _check(link: Link, folder: Path) -> str:
    """Return what the link carries by `curl`, and how long a connection takes."""
    size = int(link.kind.bits_per_second / 8 * _CHECK_SECONDS / _CHECK_CONNECTIONS)
    with open(folder / "zeros", "wb") as zeros:
        zeros.truncate(size)
    command = [sys.executable, "-m", "benchmarks.harness.files", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/zeros"
        curl = ["curl", "-sSf", "-Z", "--parallel-immediate", "-w", "%{time_connect}\n"]
        curl += [*["-o", "/dev/null", url] * _CHECK_CONNECTIONS, "--parallel-max", str(_CHECK_CONNECTIONS)]
        started = time.monotonic()
        ran = subprocess.run(link.command(*curl), check=True, capture_output=True, text=True)
        rate = size * _CHECK_CONNECTIONS * 8 / (time.monotonic() - started)
        server.terminate()
    connect = min(map(float, ran.stdout.split()))
    return (
        f"{link.kind.name}: `curl` gets {rate / 1e6:,.0f} Mbit/s, a connection takes {1000 * connect:.1f} ms"
    )


def _write(lines: list[Line], checks: list[str]) -> None:
    met = [line.is_met for line in lines if line.is_met is not None]
    text = "\n".join(
        [
            f"By `make bench-links`, {dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}, on {machine()};",
            f"Python {platform.python_version()}, {versions()}.",
            f"{sum(met)} of {len(met)} goals are met. The links by {_CHECK_CONNECTIONS} connections at once:",
            "",
            *(f"- {check}" for check in checks),
            "",
            table(lines),
        ]
    )
    put_between(_PAGE, "links", text)


if __name__ == "__main__":
    main()
