"""How the bytes of files move: what an interruption leaves, how much memory it takes, and how fast it may be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import Desk, run_python
from tests.rig.s3_proxy import Request, Stall

NAME = "made/large"
SIZE = 80 << 20
CUT = SIZE * 7 // 10
FETCH = f"import hf_localize; hf_localize.load_local_dataset({NAME!r})"
SEND = f"import hf_localize; hf_localize.sync_local_dataset_to_s3({NAME!r})"


@pytest.fixture
def large(desk: Desk) -> Desk:
    """Return a publisher's desk whose store has a dataset with one shard of 80 MiB."""
    desk.publisher()
    data = datasets.Dataset.from_dict({"noise": [os.urandom(1 << 20) for _ in range(SIZE >> 20)]})
    hf_localize.register_dataset(data, NAME, skip_s3_upload=True)
    desk.s3.clear()
    return desk


def moved(desk: Desk) -> int:
    return sum(r.request_bytes + r.response_bytes for r in desk.s3.requests)


def kill_when(code: str, is_time: Callable[[], bool], cwd: Path) -> None:
    """Run *code* at 40 MB/s and kill it as soon as *is_time*."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "HGLOC_MAX_BANDWIDTH": "40MB/s"}
    )
    deadline = time.monotonic() + 60
    while not is_time():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.sampled(0)
def test_a_fetch_that_was_killed_is_gone_on_with(large: Desk) -> None:
    hf_localize.sync_local_dataset_to_s3(NAME)
    large.teammate()

    def arrived() -> bool:
        found = large.store.rglob("*.arrow") if large.store.exists() else ()
        return sum(path.stat().st_size for path in found) >= CUT

    kill_when(FETCH, arrived, large.folder)
    assert hf_localize.list_local_datasets() == []
    large.s3.clear()
    assert run_python(FETCH, cwd=large.folder).returncode == 0
    assert moved(large) <= SIZE * 0.35


@pytest.mark.sampled(0)
def test_an_upload_that_was_killed_is_gone_on_with(large: Desk) -> None:
    # What was sent of a part that is not whole is lost: as many parts as there are threads.
    large.set(HGLOC_MAX_CONCURRENCY="1")
    kill_when(SEND, lambda: moved(large) >= CUT, large.folder)
    assert hf_localize.list_s3_datasets() == []
    large.s3.clear()
    ran = run_python(SEND, cwd=large.folder)
    assert ran.returncode == 0, ran.stderr
    assert moved(large) <= SIZE * 0.35
    large.teammate()
    assert len(hf_localize.load_local_dataset(NAME)["train"]) == SIZE >> 20


@pytest.mark.parametrize("what", ["upload", "sharing", "fetch", "fetch of a ZIP"])
def test_parts_of_large_data_move_several_at_a_time_to_the_end(what: str, large: Desk) -> None:
    large.open_public_places()
    if what != "upload":
        hf_localize.sync_local_dataset_to_s3(NAME, make_public=what == "fetch of a ZIP")
    if what == "fetch":
        large.teammate()
    elif what == "fetch of a ZIP":
        large.outsider()
    under_way = []

    def is_data(request: Request) -> bool:
        if what.startswith("fetch"):
            return request.path.endswith((".arrow", ".zip")) and "range" in request.headers
        return "partNumber" in request.query

    def watch(request: Request) -> Stall | None:
        if not is_data(request):
            return None
        open_ones = [r for r in large.s3.requests if is_data(r) and r.status is None]
        under_way.append(len(open_ones))
        return Stall(0.4)

    large.s3.watch = watch
    if what.startswith("fetch"):
        hf_localize.load_local_dataset(NAME)
    else:
        hf_localize.sync_local_dataset_to_s3(NAME, make_public=what == "sharing")
    large.s3.watch = None
    assert len(under_way) >= SIZE >> 23
    assert under_way[-1] >= 3, under_way


@pytest.mark.sampled(0)
def test_moving_takes_a_bounded_amount_of_memory(large: Desk) -> None:
    code = (
        "import resource, json, hf_localize, botocore.session, datasets\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from hf_localize.sources.session import current_session; current_session().bucket.list_folder('')\n"
        "before = peak()\n{}\nprint(json.dumps((peak() - before) * 1024))"
    )
    for step in (SEND, FETCH):
        if step is FETCH:
            large.publisher()
        ran = run_python(code.format(step), cwd=large.folder)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout) <= 250_000_000


def test_a_cap_on_the_bandwidth_holds(large: Desk) -> None:
    hf_localize.sync_local_dataset_to_s3(NAME)
    large.teammate().set(HGLOC_MAX_BANDWIDTH="80MB/s")
    begun = time.monotonic()
    hf_localize.load_local_dataset(NAME)
    assert time.monotonic() - begun >= SIZE / 80e6
