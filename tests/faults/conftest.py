"""What the tests that break things share."""

from __future__ import annotations

import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import IS_ALL as IS_ALL
from tests.faults.runner import Runner

#: Runs the rest of its arguments where a folder of root, in which Python lies, lets everybody in.
ENTERED = (
    'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$1" && shift 2 && exec "$@"'
)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Return when *is_true* says so; fail after a minute."""
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Return a warm process that runs commands."""
    made = Runner(tmp_path_factory.mktemp("runner"))
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points were tried."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in getattr(report, "user_properties", ()):
            if report.when == "call" and name.startswith("points "):
                counts[name.removeprefix("points ")] += value
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count} kill points: {name}")
    if counts:
        terminalreporter.write_line(f"{counts.total()} kill points in all")


def python_for_everybody(top: Path) -> list[str]:
    """Return what runs a command where users other than root get at this Python; *top* is for its mounts."""
    python = (Path(sys.base_prefix), *Path(sys.base_prefix).parents)
    closed = [folder for folder in python if not folder.stat().st_mode & stat.S_IXOTH]
    for name in ("upper", "work"):
        (top / name).mkdir()
        (top / name).chmod(0o755)
    return ["unshare", "--mount", "sh", "-c", ENTERED, "sh", str(closed[-1]), str(top)] if closed else []
