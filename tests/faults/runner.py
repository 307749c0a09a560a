"""Run ``hg-localize`` again and again in processes of its own that are forked from one that is warm.

A fresh interpreter takes two seconds to import what a command needs; a forked one has it. Each
child leaves its parent's session, so that it can be killed with all that it starts. It counts what
it changes on the disk by an audit hook of Python's, and may send a signal to itself at the n-th
change, before the change is made. Nothing of ours is patched.

Speaks JSON, a line a message, on stdin and stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What Python tells of before it does it: https://docs.python.org/3/library/audit_events.html
_CHANGES = {
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.symlink": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.truncate": (0,),
    "os.utime": (0,),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command; *changes* are those it made on the disk, the last may be unfinished."""

    status: int
    output: str
    changes: list[str] = field(default_factory=list)

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Runner:
    """A warm process, and the commands that it runs one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.runner"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        #: The process group of the command under way.
        self.group = 0
        self.is_known = threading.Event()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def run(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        watched: Path | None = None,
        at_change: int | None = None,
        signal_number: int = signal.SIGKILL,
    ) -> Ran:
        """Run ``hg-localize`` with *arguments*, and return what became of it.

        Args:
            watched: changes below this folder count.
            at_change: which of them ends it, counted from 1.
            signal_number: what it sends itself then.
        """
        log, changes = self._folder / "command.log", self._folder / "changes.log"
        job = {
            "arguments": arguments,
            "cwd": str(cwd),
            "env": {**os.environ, **(env or {})},
            "watched": str(watched) if watched else None,
            "at_change": at_change,
            "signal": signal_number,
            "log": str(log),
            "changes": str(changes),
        }
        self._say(job)
        self.group = self._hear()["pid"]
        self.is_known.set()
        status = self._hear()["status"]
        self.is_known.clear()
        return Ran(status, log.read_text(), changes.read_text().splitlines())

    def end(self, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to the command under way and all that it has started."""
        assert self.is_known.wait(30)
        os.killpg(self.group, signal_number)

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard: dict[str, Any] = json.loads(self._process.stdout.readline())
        return heard


def _serve() -> None:
    import botocore.session  # noqa: F401  # It is warm then.
    import datasets  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_the_command(job)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


def _be_the_command(job: Mapping[str, Any]) -> None:
    status = 70
    try:
        os.setsid()
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["env"])
        import datasets

        datasets.config.HF_DATASETS_CACHE = Path(job["env"]["HF_DATASETS_CACHE"])
        _count_changes(job)
        from hf_localize.cli import main

        sys.argv = ["hg-localize", *job["arguments"]]
        try:
            main()
            status = 0
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 71
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _count_changes(job: Mapping[str, Any]) -> None:
    changes = os.open(job["changes"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    watched, last = job["watched"], job["at_change"]
    if watched is None:
        return
    count = 0
    lock = threading.RLock()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        places = _places(event, arguments)
        if not any(place == watched or place.startswith(f"{watched}/") for place in places):
            return
        with lock:
            count += 1
            told = " → ".join(place.removeprefix(watched) for place in places)
            os.write(changes, f"{event} {told}\n".encode())
            if count == last:
                os.kill(os.getpid(), job["signal"])

    sys.addaudithook(hook)


def _places(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """Return the paths that an event is about to change."""
    if event == "open":
        path, _, flags = arguments
        return [_text(path)] if flags & _WRITING and isinstance(path, (str, bytes)) else []
    places = [_text(arguments[n]) for n in _CHANGES.get(event, ())]
    if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # As shutil.rmtree does it.
        places = [str(Path(f"/proc/self/fd/{arguments[1]}").readlink() / place) for place in places]
    return places


def _text(path: Any) -> str:
    return str(path) if isinstance(path, int) else os.fsdecode(path)


if __name__ == "__main__":
    _serve()
