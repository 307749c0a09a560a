"""What hf_localize costs where it has nothing to do: `make bench`.

Each figure is that of pairs, one run without and one with, in turns and in both orders. Shown are
the medians and, as the spread, the middle half of the differences; CPU time too, which other work
on the machine disturbs less. Writes RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Fewer than this say nothing about a spread.
LEAST_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison: milliseconds of each run, paired."""

    title: str
    without_ms: list[float]
    with_ms: list[float]
    target: str

    def row(self) -> str:
        """Return the line of the table."""
        plain, ours = statistics.median(self.without_ms), statistics.median(self.with_ms)
        differences = [b - a for a, b in zip(self.without_ms, self.with_ms, strict=True)]
        low, middle, high = statistics.quantiles(differences, n=4)
        return (
            f"| {self.title} | {len(differences)} | {plain:.2f} | {ours:.2f} | {ours / plain:.3f} "
            f"| {middle:+.2f} ({low:+.2f} to {high:+.2f}) | {self.target} |"
        )


def paired(
    plain: Callable[[], tuple[float, ...]], ours: Callable[[], tuple[float, ...]], pairs: int
) -> list[tuple[list[float], list[float]]]:
    """Measure both in turns; return, for each kind of time that they return, the two columns."""
    plain(), ours()  # Warm caches of files.
    measured = []
    for number in range(max(pairs, LEAST_PAIRS)):
        if number % 2:
            second, first = ours(), plain()
        else:
            first, second = plain(), ours()
        measured.append((first, second))
    kinds = range(len(measured[0][0]))
    return [([first[k] for first, _ in measured], [second[k] for _, second in measured]) for k in kinds]


def child(python: Path | str, code: str, activated: bool) -> Callable[[], tuple[float, float]]:
    """Return what runs *code* in a new Python, and measures wall and CPU time in ms."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HGLOC_", "PYTHON"))}
    if activated:
        env["HGLOC_AUTO_INSTALL"] = "1"

    def run() -> tuple[float, float]:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([python, "-c", code], env=env, check=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return 1000 * wall, 1000 * cpu

    return run


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Call it; return wall and CPU time in ms."""
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - cpu_start)


def calls_that_are_not_ours(folder: Path, pairs: int) -> list[Result]:
    """Measure loads of a csv file and of a local folder, with and without the shim, in this process."""
    os.environ["HF_HOME"], os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = str(folder / "hf"), "1"
    import datasets

    import hf_localize

    (folder / "rows").mkdir()
    (folder / "rows" / "train.csv").write_text("a,b\n" + "1,x\n" * 100)
    calls: dict[str, Callable[[], object]] = {
        'load_dataset("csv", data_files=…)': lambda: datasets.load_dataset(
            "csv", data_files=str(folder / "rows" / "train.csv"), split="train"
        ),
        "load_dataset(a local folder)": lambda: datasets.load_dataset(str(folder / "rows"), split="train"),
        "load_dataset_builder(a local folder)": lambda: datasets.load_dataset_builder(str(folder / "rows")),
    }
    results = []
    for title, call in calls.items():

        def plain(call: Callable[[], object] = call) -> tuple[float, float]:
            with hf_localize.installed():
                pass  # It goes through all modules, which leaves the processor's caches cold.
            return timed(call)

        def ours(call: Callable[[], object] = call) -> tuple[float, float]:
            with hf_localize.installed():
                pass
            with hf_localize.installed():
                return timed(call)

        for kind, (plain_ms, our_ms) in zip(("wall", "CPU"), paired(plain, ours, pairs), strict=True):
            results.append(Result(f"`{title}`, {kind}", plain_ms, our_ms, "< 1 ms more"))
    return results


def starts(folder: Path, pairs: int) -> list[Result]:
    """Measure the start of Pythons that differ in the .pth file, or in the variable, alone."""
    pythons = []
    for name in ("absent", "present"):
        venv.create(folder / name, symlinks=True)
        site = next((folder / name).glob("**/site-packages"))
        (site / "_clone.pth").write_text(f"{ROOT}\n")
        if name == "present":
            shutil.copy(ROOT / "hf_localize.pth", site)
        pythons.append(folder / name / "bin" / "python")
    results = []
    for title, activated, target in (
        (".pth file absent / there, variable unset", False, "not measurable"),
        ("the same, `HGLOC_AUTO_INSTALL=1`", True, ""),
    ):
        columns = paired(child(pythons[0], "pass", activated), child(pythons[1], "pass", activated), pairs)
        for kind, (plain_ms, our_ms) in zip(("wall", "CPU"), columns, strict=True):
            results.append(Result(f"`python -c pass`, {kind}: {title}", plain_ms, our_ms, target))
    return results


def imports(pairs: int) -> list[Result]:
    """Measure ``import datasets`` in a new Python, activated or not."""
    code = "import datasets"
    columns = paired(child(sys.executable, code, False), child(sys.executable, code, True), pairs)
    return [
        Result(f"`python -c 'import datasets'`, {kind}: not activated / activated", a, b, "< 2 % more")
        for kind, (a, b) in zip(("wall", "CPU"), columns, strict=True)
    ]


def report(results: list[Result]) -> str:
    """Return the text of RESULTS.md."""
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("hf_localize", "datasets"))
    lines = [
        "# What hf_localize costs where it has nothing to do",
        "",
        f"By `make bench`, {dt.datetime.now(tz=dt.timezone.utc):%Y-%m-%d}, on {machine()};",
        f"Python {platform.python_version()}, {versions}.",
        "",
        "Medians of pairs in turns; the difference is the median of the pairs', with its middle half.",
        "",
        "| what | pairs | without, ms | with, ms | ratio | difference, ms | target |",
        "|---|---|---|---|---|---|---|",
        *(result.row() for result in results),
        "",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return processor, number of cores and operating system."""
    about = Path("/proc/cpuinfo")
    models = (
        [line for line in about.read_text().splitlines() if "model name" in line] if about.exists() else []
    )
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{model} × {os.cpu_count()}, {platform.system()} {platform.release()}, load average {load}"


def main() -> None:
    """Measure all, print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=15, help="multiplied for what is short or noisy")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hf_localize-bench-") as name:
        folder = Path(name)
        results = [
            *calls_that_are_not_ours(folder, 4 * options.pairs),
            *imports(2 * options.pairs),
            *starts(folder, 20 * options.pairs),
        ]
    text = report(results)
    print(text)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
