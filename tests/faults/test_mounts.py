"""Stores and caches on real mounts of other kinds: dead ones, image layers, file systems without links."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hf_localize
from tests.conftest import Desk
from tests.faults.conftest import wait_until
from tests.faults.killer import NAME, OTHER, save
from tests.faults.test_stores import AS_ANY_USER

#: Does what people do, and says what came of each: the first row, or the error.
DEAD = """
import contextlib, io, json, logging, sys
import datasets, hf_localize
from hf_localize import errors
told = io.StringIO()
logging.basicConfig(stream=told, level=logging.WARNING)

def row(**how):
    with hf_localize.installed():
        return next(iter(datasets.load_dataset("org/x", split="train", **how)))["text"][:3]

def outcome(work):
    try:
        return work()
    except Exception as exc:
        return [type(exc).__name__, isinstance(exc, errors.HfLocalizeError), str(exc)]

print(json.dumps({
    "load": outcome(row),
    "stream": outcome(lambda: row(streaming=True)),
    "list": outcome(lambda: [str(e) for e in hf_localize.list_local_datasets()]),
    "download": outcome(lambda: hf_localize.download_dataset("org/x", skip_s3_upload=True).path),
    "doctor": [[f.name, f.state, f.told] for f in hf_localize.diagnose() if f.area == "store"],
    "told": told.getvalue(),
}))
"""
needs_mounts = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not Path("/dev/fuse").exists(),
    reason="mounting takes root and FUSE",
)


@pytest.fixture
def published(desk: Desk) -> Desk:
    """Return a teammate's desk with a store of its own; the bucket has two datasets."""
    desk.publisher()
    for name, tag in ((NAME, "new"), (OTHER, "other")):
        hf_localize.register_dataset(save(desk.folder / tag, tag), name)
    desk.teammate()
    desk.store.mkdir()
    desk.set(HGLOC_SOURCES="local,s3", HGLOC_STREAM_CACHE="1")
    return desk


def dead_fuse(store: Path, tmp_path: Path) -> list[str]:
    """Have the server of the store's FUSE mount die: each call ends in ENOTCONN."""
    if shutil.which("bindfs") is None:
        pytest.skip("a mount whose server has died takes bindfs")
    (tmp_path / "behind").mkdir()
    server = subprocess.Popen(["bindfs", "-f", tmp_path / "behind", store])
    wait_until(lambda: os.path.ismount(store))
    server.send_signal(signal.SIGKILL)
    server.wait()
    return []


def closed(store: Path, _: Path) -> list[str]:
    """Give the store to another user, who lets nobody in (EACCES)."""
    if shutil.which("setpriv") is None:
        pytest.skip("reading as another user takes setpriv")
    os.chown(store, 65534, 65534)
    store.chmod(0o700)
    return AS_ANY_USER


@pytest.fixture
def unmounted(published: Desk) -> Iterator[None]:
    yield
    subprocess.run(["umount", "--lazy", published.store], check=False, stderr=subprocess.DEVNULL)


@needs_mounts
@pytest.mark.parametrize(
    ("fail", "kind", "errno"),
    [(dead_fuse, "UnreachableError", 107), (closed, "AccessDeniedError", 13)],
)
@pytest.mark.usefixtures("unmounted")
def test_of_a_store_that_can_not_be_read_the_next_source_answers(
    fail: Callable[[Path, Path], list[str]], kind: str, errno: int, published: Desk, tmp_path: Path
) -> None:
    through = fail(published.store, tmp_path)
    ran = subprocess.run([*through, sys.executable, "-c", DEAD], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    came = json.loads(ran.stdout)
    assert (came["load"], came["stream"]) == ("new", "new"), came
    assert came["list"][:2] == [kind, True], came["list"]
    assert str(published.store) in came["list"][2]
    assert came["download"][:2] == ["StoreError", True], came["download"]
    assert (
        f"local store failed and is passed over: {published.store} can't be read: [Errno {errno}]"
        in (came["told"])
    )
    assert [finding[:2] for finding in came["doctor"]] == [["path", "fail"]], came["doctor"]
    assert f"{published.store} can't be read: [Errno {errno}]" in came["doctor"][0][2]
