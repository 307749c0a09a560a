"""What moves is counted exactly once, and shown where somebody looks: nowhere else, and never on stdout."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import progress
from tests.conftest import Desk, run_python
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import RecordingProxy, Reset, Rule, Status

#: Some 3 MB take a second so.
SLOW = {"HGLOC_MAX_BANDWIDTH": "3MB/s"}


@pytest.fixture(autouse=True)
def _as_a_persons_shell_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def noise(megabytes: int) -> datasets.Dataset:
    """Return what does not compress."""
    source = random.Random(7)
    return datasets.Dataset.from_dict({"value": [source.randbytes(4096) for _ in range(256 * megabytes)]})


class Recorder(progress.Watcher):
    """Takes note of each task, and draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[progress.Task] = []

    def begin(self, task: progress.Task) -> None:
        self.tasks.append(task)

    def end(self, task: progress.Task) -> None:
        assert task in self.tasks

    def seen(self) -> list[str]:
        """Return what the tasks were called, each having come to exactly its end."""
        for task in self.tasks:
            assert task.done == task.total, (task.verb, task.done, task.total)
            assert not task.under_way or task.sizes is None
            assert task.sizes is None or task.files_done == len(task.sizes), task.verb
        names = [f"{task.verb} {task.what}" for task in self.tasks]
        self.tasks.clear()
        return names


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_everything_that_moves_is_a_task_that_comes_to_its_end(
    recorder: Recorder, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher().open_public_places()
    with progress.watched_by(recorder):
        hf_localize.download_dataset("openai/gsm8k", "main", make_public=True, keep_files=False)
        name = "openai/gsm8k [main]"
        verbs = ["Capturing", "Hashing", "Uploading", "Sending ZIP of", "Packing"]
        assert recorder.seen() == [f"{verb} {name}" for verb in verbs]
        hf_localize.verify_dataset("openai/gsm8k", "main", deep=True)
        hf_localize.verify_dataset("openai/gsm8k", "main", deep=True, s3=True, public=True)
        assert recorder.seen() == [f"Checking {name}"] * 3
        noise(40).save_to_disk(str(tmp_path / "mine"))
        recorder.tasks.clear()
        hf_localize.register_dataset(tmp_path / "mine", "org/x", make_public=True)
        copying, *others = recorder.seen()
        assert copying.startswith("Copying")
        assert [name.rpartition(" ")[0] for name in others] == verbs[1:]
        for who in ("teammate", "outsider"):
            getattr(desk, who)()
            hf_localize.load_local_dataset("org/x")
            assert recorder.seen() == ["Fetching org/x"], who
        hf_localize.load_local_dataset("org/x")
        assert recorder.seen() == []  # It is here.


def test_what_is_tried_again_or_gone_on_with_counts_once(recorder: Recorder, desk: Desk) -> None:
    desk.publisher()
    faulty: RecordingProxy = desk.s3
    faulty.fail(Rule("PUT", r"[.]arrow$", Status(503, "SlowDown"), times=2))
    with progress.watched_by(recorder):
        hf_localize.register_dataset(noise(20), "org/x")
        assert recorder.seen() == ["Hashing org/x", "Uploading org/x"]
        desk.teammate()
        faulty.fail(Rule("GET", r"[.]arrow$", Reset(after_bytes=3 << 20), times=2))
        hf_localize.load_local_dataset("org/x")
        assert recorder.seen() == ["Fetching org/x"]


def test_a_display_that_fails_or_a_forked_process_disturbs_nothing(desk: Desk) -> None:
    class Broken(progress.Watcher):
        calls = 0

        def draw(self, tasks: list[progress.Task]) -> None:
            self.calls += 1
            raise OSError("the terminal is gone")

        def drop(self, task: progress.Task) -> None:
            raise OSError("the terminal is gone")

    broken = Broken()
    with progress.watched_by(broken), progress.task("Fetching", "x", [progress.Item("a", 3)]) as task:
        assert task is not None
        progress.counter("a")(3)
        progress.counter("of another task")(5)
        done = threading.Event()
        while not broken.calls:
            done.wait(0.05)
        child = os.fork()
        if child == 0:  # There nobody draws, so there is no task.
            with progress.task("Fetching", "y", [progress.Item("b", 3)]) as other:
                os._exit(0 if other is None else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert (task.done, task.files_done, broken.calls) == (3, 1, 1)


def on_terminal(*arguments: str, **env: str) -> tuple[str, str]:
    """Return what ``hg-localize`` writes to stdout, and to the terminal that its stderr is."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "hf_localize", *arguments]
    with subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=theirs) as ran:
        os.close(theirs)
        seen = []
        with contextlib.suppress(OSError):  # So the terminal's end is told.
            while got := os.read(ours, 64 << 10):
                seen.append(got)
        os.close(ours)
        assert ran.stdout is not None
        stdout = ran.stdout.read().decode()
    said = b"".join(seen).decode()
    assert ran.returncode == 0, said
    return stdout, said


def piped(*arguments: str, **env: str) -> tuple[str, str]:
    """Return what ``hg-localize`` writes to stdout and stderr where neither is a terminal."""
    command = [sys.executable, "-m", "hf_localize", *arguments]
    ran = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, ran.stderr


@pytest.mark.sampled(0)
def test_commands_show_bars_on_a_terminal_and_nowhere_else(desk: Desk) -> None:
    desk.publisher()
    for name in ("org/x", "org/y"):
        hf_localize.register_dataset(noise(3), name)

    def sit_down() -> list[str]:
        desk.teammate()
        return ["download", "org/x", "--no-s3-upload"]

    command = sit_down()
    stdout, seen = on_terminal(*command, **SLOW)
    assert stdout == f"{desk.store / 'org_x' / 'default_config' / 'default_revision'}\n"
    assert re.search(r"Fetching org/x .*%.*/3[.]\d MB.* MB/s.*\d:\d\d", seen)
    assert "\x1b[3" in seen  # Colors.
    log_line = next(line for line in seen.splitlines() if "private S3" in line)
    assert "Fetching" not in log_line.rpartition("\x1b[2K")[2]
    _, seen = on_terminal(*sit_down(), NO_COLOR="1", **SLOW)
    assert "Fetching org/x" in seen
    assert not re.search(r"\x1b\[[0-9;]*m", seen.replace("\x1b[0m", "").replace("\x1b[1m", ""))
    for quiet in (["-q"], []):
        env = {} if quiet else {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        _, seen = on_terminal(*sit_down(), *quiet, **env, **SLOW)
        assert "Fetching" not in seen
    stdout, stderr = piped(*sit_down(), **SLOW)
    assert "Fetching" not in stderr
    assert "\x1b" not in stdout + stderr
    sit_down()
    _, seen = on_terminal("download", "org/x", "org/y", "--no-s3-upload", **SLOW)
    assert re.search(r"Downloading 2 datasets .*0/2", seen)  # One row for all of them.
    assert "Fetching" not in seen


def test_what_comes_from_the_hub_shows_its_bars_on_a_terminal_only(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub", HF_HOME=str(desk.folder / "hf"))
    command = ["download", "openai/gsm8k", "--name", "main", "--no-s3-upload"]
    desk.use_cache(str(desk.folder / "one"))
    _, seen = on_terminal(*command)
    assert "Generating train split" in seen
    desk.outsider().set(HF_HOME=str(desk.folder / "hf2"))
    _, stderr = piped(*command)
    assert "%" not in stderr, stderr


LOADS = """
import sys
import datasets, hf_localize

def load(number):
    print(f"--- {number}", file=sys.stderr)
    with hf_localize.installed(datasets_store_path=f"store-{number}"):
        datasets.load_dataset("org/x", split="train", cache_dir=f"cache-{number}")

load(1)
datasets.disable_progress_bars()
load(2)
"""


@pytest.mark.parametrize("switch", ["", "1"])
def test_a_load_shows_the_bars_of_datasets_which_its_switches_silence(switch: str, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(noise(3), "org/x")
    desk.teammate()
    env = {**SLOW, **({"HF_DATASETS_DISABLE_PROGRESS_BARS": switch} if switch else {})}
    ran = run_python(LOADS, cwd=desk.folder, **env)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    _, first, second = ran.stderr.split("---")
    if switch:
        assert first == " 1\n"
    else:
        assert re.search(r"Fetching org/x: +\d+%.*\d[.]\d+M/3[.]\d+M .*B/s, \d/\d files", first)
        assert "Fetching org/x: 100%" in first
    assert second == " 2\n"
