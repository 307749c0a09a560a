"""How the benchmarks measure: two ways of doing one thing in turns, their ratio, and its goal."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Fewer say nothing about a spread.
LEAST_RUNS = 5
#: Settings of whoever runs the benchmarks, which must not take part in them.
_FOREIGN = ("HGLOC_", "AWS_", "HF_", "PYTHON")


@dataclass(frozen=True, slots=True)
class Run:
    """One run: seconds of wall and CPU time, the largest memory of the process, and what it wrote.

    ``written_bytes`` counts what the process changed in files, also in those that are gone.
    """

    wall_seconds: float
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was measured, the goal, and a value for each run.

    The median counts. ``goal`` is what it may be at most, or at least where ``at_least`` is set;
    None where the line only informs.
    """

    section: str
    what: str
    goal: float | None
    values: Sequence[float]
    unit: str = "×"
    at_least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """Return the middle value."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Tell whether the goal is reached; None: there is none."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.at_least else self.median <= self.goal

    def row(self) -> str:
        """Return the line as a row of a Markdown table."""
        goal = (
            "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {_number(self.goal)} {self.unit}"
        )
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}" if len(self.values) > 1 else ""
        verdict = {True: "pass", False: "**miss**", None: ""}[self.is_met]
        measured = f"{_number(self.median)} {self.unit}"
        return (
            f"| {self.section} | {self.what} | {goal} | {measured} | {spread} | {len(self.values)} "
            f"| {verdict} | {self.note} |"
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"


def ratio_line(
    section: str,
    what: str,
    goal: float | None,
    pairs: Sequence[tuple[Run, Run]],
    *,
    names: tuple[str, str] = ("ours", "theirs"),
    inverse: bool = False,
    at_least: bool = False,
) -> Line:
    """Return the line for the ratio of wall times, first by second, of each pair.

    Args:
        names: what the two are called in the note, which has their medians.
        inverse: second by first: how many times faster the first is.
    """
    ratios = [a.wall_seconds / b.wall_seconds for a, b in pairs]
    middles = [statistics.median(run.wall_seconds for run in column) for column in zip(*pairs, strict=True)]
    note = ", ".join(f"{name} {_seconds(middle)}" for name, middle in zip(names, middles, strict=True))
    values = [1 / ratio for ratio in ratios] if inverse else ratios
    return Line(section, what, goal, values, at_least=at_least, note=note)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def in_turns(
    first: Callable[[], Run], second: Callable[[], Run], runs: int = LEAST_RUNS, *, warm: bool = True
) -> list[tuple[Run, Run]]:
    """Run both in turns, in both orders, and return the pairs.

    Args:
        warm: run each once before, uncounted.
    """
    if warm:
        first(), second()
    pairs = []
    for number in range(runs):
        if number % 2:
            late, early = second(), first()
            pairs.append((early, late))
        else:
            pairs.append((first(), second()))
    return pairs


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment without anybody's settings, and with *extra*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **extra}


#: Starts the command from a small process: Linux counts the memory of who starts a process as its own.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=2)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([code, wall, cpu, usage.ru_maxrss * 1024, usage.ru_oublock * 512]))
"""


def timed_process(
    command: Sequence[str | os.PathLike[str]], env: Mapping[str, str], *, cwd: Path | None = None
) -> Run:
    """Run *command* to its end, and measure the whole process.

    It begins when nothing waits to be written to the disk: what one leaves to the system, which `s5cmd`
    does with all of it, would otherwise be written in the time of the other.

    Raises:
        RuntimeError: it failed; the message ends with what it wrote.
    """
    if hasattr(os, "sync"):  # Windows has none.
        os.sync()
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(os.fspath, command)]
    ran = subprocess.run(launcher, env=dict(env), cwd=cwd, capture_output=True, check=True)
    code, *measured = json.loads(ran.stdout)
    if code:
        said = ran.stderr.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with {code}:\n{said}")
    return Run(*measured)


def timed_python(code: str, env: Mapping[str, str], *, cwd: Path | None = None) -> Run:
    """Run *code* in a fresh interpreter, and measure the whole process.

    Raises:
        RuntimeError: it failed.
    """
    return timed_process(python(code), env, cwd=cwd)


def python(code: str) -> list[str]:
    """Return the command by which a fresh interpreter, which has this checkout's modules, runs *code*."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]


_HEAD = "| section | what | goal | median | spread | runs | | beside |"


def table(lines: Sequence[Line]) -> str:
    """Return *lines* as a Markdown table."""
    rule = "|" + "---|" * _HEAD.strip("|").count("|") + "---|"
    return "\n".join([_HEAD, rule, *(line.row() for line in lines), ""])


def machine() -> str:
    """Return processor, number of cores, operating system and load."""
    about = Path("/proc/cpuinfo")
    text = about.read_text(encoding="utf-8") if about.exists() else ""
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    model = models[0] if models else platform.machine()
    return f"{model} × {os.cpu_count()}, {platform.system()} {platform.release()}, load average {load}"
