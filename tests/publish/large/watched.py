"""Run one Python process and watch it: its peak memory, and how many files and sockets it has open."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.05
#: Starts the process from a small one: Linux counts the memory of who starts a process as its own.
_LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=2)
print(process.pid, flush=True)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024]))
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process took: the most bytes of memory, and the most open files at one time."""

    peak_bytes: int
    open_files: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.peak_bytes / 1e6:.0f} MB at most, {self.open_files} files open, {self.seconds:.0f} s"


def run_watched(code: str, env: Mapping[str, str]) -> Seen:
    """Run *code* in a fresh interpreter.

    Raises:
        RuntimeError: it failed; the message ends with what it wrote.
    """
    started = time.monotonic()
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, code],
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    folder = Path("/proc") / launcher.stdout.readline().strip() / "fd"
    most = [0]

    def count() -> None:
        while launcher.poll() is None:
            try:
                most[0] = max(most[0], sum(1 for _ in folder.iterdir()))
            except OSError:
                return
            time.sleep(_EVERY_SECONDS)

    counter = threading.Thread(target=count)
    counter.start()
    out, said = launcher.communicate()
    counter.join()
    code_of_exit, peak = json.loads(out)
    if code_of_exit:
        raise RuntimeError(f"it ended with {code_of_exit}:\n{said[-3000:]}")
    return Seen(peak, most[0], time.monotonic() - started)
