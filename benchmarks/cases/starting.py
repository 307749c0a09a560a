"""What hf_localize costs where it has nothing to do: programs that start, and calls that are not ours.

The differences are small, so there are many pairs of them, in turns and in both orders; CPU time,
which other work on the machine disturbs less, is shown beside.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import ROOT, Line, Run, clean_environment, in_turns, ratio_line, timed_process
from benchmarks.harness.workers import Worker

SECTION = "7 at start"
#: So many pairs for each run that was asked for: what is short takes more.
_MORE_STARTS, _MORE_IMPORTS, _MORE_CALLS = 12, 4, 10
_ACTIVE = {"HGLOC_AUTO_INSTALL": "1"}
_CALLS = {
    '`load_dataset("csv", data_files=…)`': "datasets.load_dataset('csv', data_files={csv!r}, split='train')",
    "`load_dataset(a local folder)`": "datasets.load_dataset({folder!r}, split='train')",
    "`load_dataset_builder(a local folder)`": "datasets.load_dataset_builder({folder!r})",
}


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for Pythons that start, for ``import datasets``, and for calls that are not ours."""
    return [
        *_starts(folder, runs * _MORE_STARTS),
        *_imports(runs * _MORE_IMPORTS),
        _own_import(runs * _MORE_STARTS),
        *_calls(folder, runs * _MORE_CALLS),
    ]


def _starts(folder: Path, pairs: int) -> list[Line]:
    """Return the lines for Pythons that differ in the .pth file, and in the variable, alone."""
    without, having = (_bare_python(folder / name, pth=name == "having") for name in ("without", "having"))
    plain = _program(without, "pass", {})
    lines = []
    for what, goal, env in (
        ("`HGLOC_AUTO_INSTALL=1 python -c pass`, by a Python without hf_localize", 1.15, _ACTIVE),
        ("`python -c pass` with hf_localize and the variable unset, by one without", None, {}),
    ):
        lines += _ratios(what, goal, in_turns(_program(having, "pass", env), plain, pairs))
    return lines


def _bare_python(folder: Path, *, pth: bool) -> Path:
    venv.create(folder, symlinks=True)
    site = next(folder.glob("**/site-packages"))
    (site / "_clone.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    if pth:
        shutil.copy(ROOT / "hf_localize.pth", site)
    return folder / "bin" / "python"


def _imports(pairs: int) -> list[Line]:
    python = Path(sys.executable)
    ours, plain = (_program(python, "import datasets", env) for env in (_ACTIVE, {}))
    return _ratios("`import datasets` under activation, by plain", 1.02, in_turns(ours, plain, pairs))


def _own_import(pairs: int) -> Line:
    """Return the line for what a program waits for ``import hf_localize``."""
    python = Path(sys.executable)
    measured = in_turns(_program(python, "import hf_localize", {}), _program(python, "pass", {}), pairs)
    values = [1000 * (ours.wall_seconds - plain.wall_seconds) for ours, plain in measured]
    return Line(SECTION, "`import hf_localize`, beyond `pass`", 15.0, values, unit="ms")


def _program(python: Path, code: str, env: dict[str, str]) -> Callable[[], Run]:
    """Return what runs *code* in a new *python*."""
    return functools.partial(timed_process, [python, "-c", code], clean_environment(**env))


def _ratios(what: str, goal: float | None, pairs: Sequence[tuple[Run, Run]]) -> list[Line]:
    names = ("ours", "plain")
    in_cpu = [(Run(ours.cpu_seconds), Run(plain.cpu_seconds)) for ours, plain in pairs]
    return [
        ratio_line(SECTION, what, goal, pairs, names=names),
        ratio_line(SECTION, f"{what}, CPU", None, in_cpu, names=names),
    ]


def _calls(folder: Path, pairs: int) -> list[Line]:
    rows = folder / "rows"
    rows.mkdir()
    (rows / "train.csv").write_text("a,b\n" + "1,x\n" * 100, encoding="utf-8")
    env = clean_environment(HF_HOME=str(folder / "hf"), HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    with Worker("import datasets, hf_localize", env) as worker:
        return [
            _call(worker, title, call.format(csv=str(rows / "train.csv"), folder=str(rows)), pairs)
            for title, call in _CALLS.items()
        ]


def _call(worker: Worker, title: str, call: str, pairs: int) -> Line:
    """Return the line for what *call* takes more while hf_localize is installed."""

    def timed(*, installed: bool) -> Run:
        # Installing goes through all modules, which leaves the processor's caches cold; so both do.
        worker.timed("hf_localize.install()")
        worker.timed("hf_localize.uninstall()")
        if installed:
            worker.timed("hf_localize.install()")
        run = worker.timed(call)
        worker.timed("hf_localize.uninstall()")
        return run

    found = in_turns(lambda: timed(installed=True), lambda: timed(installed=False), pairs)
    more = [1000 * (ours.wall_seconds - plain.wall_seconds) for ours, plain in found]
    cpu = statistics.median(1000 * (ours.cpu_seconds - plain.cpu_seconds) for ours, plain in found)
    plain = statistics.median(1000 * plain.wall_seconds for _, plain in found)
    note = f"of {plain:.1f} ms; CPU {cpu:+.2f} ms"
    return Line(SECTION, f"{title}, more than stock", 1, more, unit="ms", note=note)
