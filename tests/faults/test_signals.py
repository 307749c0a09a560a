"""Ctrl-C and SIGTERM end a command at once and in good order; threads and forked workers don't deadlock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

import hf_localize
from tests.conftest import Desk, run_python
from tests.faults.conftest import IS_ALL
from tests.faults.killer import NAME, World, save
from tests.faults.runner import Runner
from tests.faults.test_kills import SCENARIOS
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import BlackHole, Rule, Stall

#: Two seconds are promised; this machine may be busy with other tests.
AT_ONCE_SECONDS = 2.0 + 8.0
WAYS = {
    "fetch": ("GET", r"\.arrow$", ("download", NAME, "--no-s3-upload")),
    "upload": ("PUT", r"\.arrow$", ("sync-local-to-s3", NAME)),
    "make public": ("PUT", r"\.zip$", ("sync-local-to-s3", NAME, "--make-public")),
    "look up": ("GET", r"/index/", ("download", NAME, "--no-s3-upload")),
}


@pytest.fixture
def ready(desk: Desk) -> Callable[[str], Desk]:
    def make(way: str) -> Desk:
        desk.publisher().open_public_places()
        is_fetch = way in ("fetch", "look up")
        hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME, skip_s3_upload=not is_fetch)
        if is_fetch:
            desk.teammate().set(HGLOC_SOURCES="local,s3")
        desk.s3.clear()
        return desk

    return make


def until_under_way(desk: Desk, rule: Rule, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not any(rule.matches(request) for request in desk.s3.requests):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_during_a_transfer_ends_the_command_at_once_with_a_message(
    way: str, number: signal.Signals, times: int, ready: Callable[[str], Desk]
) -> None:
    if times == 2 and way != "fetch":
        pytest.skip("the second signal does the same wherever the first was met")
    desk = ready(way)
    method, path, arguments = WAYS[way]
    rule = Rule(method, path, BlackHole())
    desk.s3.fail(rule)
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_localize", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_under_way(desk, rule, process)
    begun = time.monotonic()
    for _ in range(times):
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < AT_ONCE_SECONDS
    assert process.returncode == 128 + number
    assert out == ""
    assert "Traceback" not in err
    assert "Interrupted" in err or times == 2
    desk.s3.heal()
    again = subprocess.run([sys.executable, "-m", "hf_localize", *arguments], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["fetch from the bucket", "register in place of other content"])
def test_a_signal_at_any_step_tears_nothing(
    name: str,
    number: signal.Signals,
    desk: Desk,
    runner: Runner,
    hub: LoopbackHub,
    record_property: Callable[[str, object], None],
) -> None:
    world = World(SCENARIOS[name], desk, runner, hub)
    ended = 0
    for kind in SCENARIOS[name].kinds:
        steps = world.steps(kind)
        for step in range(2, steps, max(1, steps // (6 if IS_ALL else 1))):
            ended += world.check_kill(kind, step, signal_number=number)
    record_property(f"points {name}, {number.name}", ended)
    assert ended


def test_a_command_in_the_background_whose_interrupts_are_ignored_goes_on(
    ready: Callable[[str], Desk],
) -> None:
    desk = ready("fetch")
    rule = Rule("GET", r"\.arrow$", Stall(1.0))
    desk.s3.fail(rule)
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_localize", "download", NAME, "--no-s3-upload"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    until_under_way(desk, rule, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


IN_A_THREAD = f"""
import threading, hf_localize
hf_localize.install()
from datasets import load_dataset
got = []
threads = [threading.Thread(target=lambda: got.append(len(load_dataset({NAME!r})["train"]))) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(got)
"""
IN_A_FORK = f"""
import os, sys, threading, hf_localize
hf_localize.install()
from datasets import load_dataset
stream = load_dataset({NAME!r}, split="test", streaming=True)
assert len(list(stream)) == 30  # The parent has connections and threads by now.
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        ok = len(load_dataset({NAME!r})["train"]) == 30 and len(list(stream)) == 30
        os._exit(0 if ok else 1)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


@pytest.mark.parametrize(("code", "result"), [(IN_A_THREAD, "[30, 30, 30, 30]"), (IN_A_FORK, "[0, 0, 0]")])
def test_a_load_in_a_thread_or_a_forked_worker_does_not_deadlock(
    code: str, result: str, ready: Callable[[str], Desk]
) -> None:
    desk = ready("fetch")
    ran = run_python(code, cwd=desk.folder)
    assert ran.stdout.strip() == result, ran.stderr


def test_a_fork_in_the_middle_of_a_fetch_does_not_deadlock(ready: Callable[[str], Desk]) -> None:
    desk = ready("fetch")
    desk.s3.fail(Rule("GET", r"\.arrow$", Stall(0.5)))
    code = f"""
import os, threading, time, hf_localize, hf_localize.hf.load, hf_localize.sources.bucket
from hf_localize.sources.session import current_session
t = threading.Thread(target=lambda: hf_localize.load_local_dataset({NAME!r})); t.start()
while not list(current_session().store.path.glob(".hgloc/staging/*/*")):
    time.sleep(0.01)
pid = os.fork()
if pid == 0:
    os._exit(0 if len(hf_localize.load_local_dataset({NAME!r})["train"]) == 30 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
t.join(); print(status)
"""
    ran = run_python(code, cwd=desk.folder)
    assert ran.stdout.strip() == "0", ran.stderr
