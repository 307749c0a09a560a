"""What moves a second time, counted at the wire: after an interruption, and after a small change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import ROOT, Line, timed_python
from benchmarks.harness.made import copy_entry, make_entry, write_saved
from benchmarks.harness.servers import Desk, seaweed_desk
from hf_localize.format import save_to_disk
from tests.rig.s3_proxy import RecordingProxy

SECTION = "1 moving"
_FETCH = "import hf_localize; hf_localize.download_dataset({name!r}, skip_s3_upload=True)"
_SEND = "import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r})"
_REGISTER = """
import hf_localize
hf_localize.register_dataset({path!r}, {name!r}, None, {revision!r}, skip_s3_upload=True)
"""
#: Bytes are the same each time, but for what the threads had under way.
_CUTS = 2
#: Slow enough to be cut where it shall be.
_RATE = "200MB/s"


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for interruptions and for changes of a little."""
    with ExitStack() as stack:
        direct = stack.enter_context(seaweed_desk(folder))
        proxy = stack.enter_context(RecordingProxy(direct.server.endpoint_url))
        desk = Desk(direct.server, folder / "desk", endpoint_url=proxy.url)
        publisher = replace(desk, folder=folder / "publisher")
        return [
            *_interrupted(desk, publisher, proxy, min(runs, _CUTS)),
            *_changed(publisher, proxy, folder),
        ]


def _moved(proxy: RecordingProxy) -> int:
    return sum(request.request_bytes + request.response_bytes for request in proxy.requests)


def _interrupted(desk: Desk, publisher: Desk, proxy: RecordingProxy, runs: int) -> list[Line]:
    """Cut fetch and upload of 1 GiB at 70 %, by SIGKILL, and count what the second run moves."""
    name, size = "made/cut", 8 * (128 << 20)
    make_entry(publisher.store, name, 8, 128 << 20)
    uploads, fetches = [], []
    for number in range(runs):
        again = f"{name}-{number}"
        copy_entry(publisher.store, name, again)  # So that the bucket knows nothing of it.
        uploads.append(_cut(_SEND.format(name=again), publisher, proxy, size))
        shutil.rmtree(desk.folder, ignore_errors=True)
        fetches.append(_cut(_FETCH.format(name=again), desk, proxy, size))
    what = "8 × 128 MiB, cut at 70 %: bytes of the second run"
    return [
        Line(SECTION, f"fetch {what}", 35, fetches, unit="%"),
        Line(SECTION, f"upload {what}", 35, uploads, unit="%"),
    ]


def _cut(code: str, desk: Desk, proxy: RecordingProxy, size: int) -> float:
    """Run *code*, kill it when 70 % of *size* have moved, run it again; return the percentage moved then."""
    env = {**desk.environment(HGLOC_MAX_BANDWIDTH=_RATE), "PYTHONPATH": str(ROOT)}
    proxy.clear()
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    while _moved(proxy) < 0.7 * size:
        if process.poll() is not None:
            raise RuntimeError("it ended before it could be cut")
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    proxy.clear()
    timed_python(code, desk.environment())
    return 100 * _moved(proxy) / size


def _changed(desk: Desk, proxy: RecordingProxy, folder: Path) -> list[Line]:
    """Change 1 of 1,000 shards, under the same revision and under another one."""
    name, env = "made/thousand", desk.environment()

    def asked(code: str) -> tuple[int, int]:
        proxy.clear()
        timed_python(code, env)
        puts = [
            r for r in proxy.requests if r.method == "PUT" and r.path.endswith(".arrow") and r.request_bytes
        ]
        return len(puts), len(proxy.requests) - len(puts)

    _register(desk, _saved(folder / "first", None), name, None)
    asked(_SEND.format(name=name))
    _register(desk, _saved(folder / "second", 500), name, None)
    puts, others = asked(_SEND.format(name=name))
    _register(desk, folder / "second", name, "v2")
    copied, _ = asked(f"import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r}, None, 'v2')")
    return [
        Line(SECTION, "sync, 1 of 1,000 shards changed: data sent", 1, [puts], unit="PUTs"),
        Line(SECTION, "sync, 1 of 1,000 shards changed: other requests", 5, [others], unit="requests"),
        Line(SECTION, "sync of another revision with the same shards: data sent", 0, [copied], unit="PUTs"),
    ]


def _saved(folder: Path, changed: int | None) -> Path:
    """Write 1,000 shards that are the same each time, but for the one that is *changed*."""
    write_saved(folder, {"train": (1000, 4 << 10)}, kind="text")
    if changed is not None:
        other = folder.with_name(f"{folder.name}-other")
        write_saved(other, {"train": (1, 8 << 10)}, kind="text")
        shard = folder / "train" / save_to_disk.shard_name(changed, 1000)
        (other / "train" / save_to_disk.shard_name(0, 1)).replace(shard)
    return folder


def _register(desk: Desk, saved: Path, name: str, revision: str | None) -> None:
    timed_python(_REGISTER.format(path=str(saved), name=name, revision=revision), desk.environment())
