"""Locks that are held by a process that is stopped, or by one of a machine that has died."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hf_localize
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from hf_localize.store import locks
from tests.conftest import Desk, tree
from tests.faults.conftest import IS_ALL
from tests.faults.killer import NAME, rows, save

#: Holds a lock of the store that its arguments name, and keeps its process number on stdout.
HOLD = """
import pathlib, sys, time
from hf_localize.sources.session import current_session
from hf_localize.store.locks import changing, lock
from hf_localize.store.staging import staging_folder
kind, key = sys.argv[1:]
store = current_session().store
with {"staging": staging_folder, "place": changing, "partial": lock}[kind](store, key) as folder:
    print("held", flush=True)
    for _ in range(600):
        time.sleep(0.1)
        if folder is not None and (folder / "moves").exists():
            (folder / "moves").touch()
"""
Hold = Callable[[str, str], subprocess.Popen[str]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Return what has a process hold a lock of the store."""
    holders: list[subprocess.Popen[str]] = []

    def held(kind: str, key: str) -> subprocess.Popen[str]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, kind, key], env={**os.environ}, stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    yield held
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture
def reader(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return the desk of one whose bucket has a dataset, and who is not patient."""
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "new", "new"), NAME)
    desk.teammate()
    desk.set(HGLOC_SOURCES="local,s3")
    if not IS_ALL:
        monkeypatch.setattr(locks, "_TELL_SECONDS", 0.3)
        monkeypatch.setattr(locks, "_IDLE_SECONDS", 1.5)
    return desk


def key_of(kind: str) -> str:
    """Return the key of the lock of that *kind* that a download of the dataset takes."""
    ref = DatasetRef(NAME)
    entry = current_session().resolver(only=("s3",)).find(ref)
    return {"staging": entry.digest, "place": ref.folders[0], "partial": f"{ref.suffix[1:]}-partial"}[kind]


def rows_of(load: str | None = None) -> dict[str, list[str]]:
    import datasets

    with hf_localize.installed():
        loaded = datasets.load_dataset(NAME, split=load)
    return {"": loaded["text"][:]} if load else {split: data["text"][:] for split, data in loaded.items()}


@pytest.mark.parametrize(
    ("kind", "split"),
    [("staging", None), ("place", None), ("partial", "train[:50%]")],
)
def test_a_lock_of_a_stopped_process_is_told_and_then_given_up(
    kind: str, split: str | None, reader: Desk, hold: Hold, caplog: pytest.LogCaptureFixture
) -> None:
    holder = hold(kind, key_of(kind))
    os.kill(holder.pid, signal.SIGSTOP)
    with caplog.at_level(logging.WARNING, "hf_localize"):
        loaded = rows_of(split)
    assert loaded == ({"": rows("new")["train"][:15]} if split else rows("new"))
    told = [message for message in caplog.messages if ".lock" in message]
    named = f"held by process {holder.pid} of this machine, which is stopped"
    assert [message.split(" ", 1)[0] for message in told] == ["waiting", "continuing"]
    assert all(named in message for message in told) or not Path("/proc/locks").exists()
    os.kill(holder.pid, signal.SIGCONT)  # What it does then does not harm what has come meanwhile.
    holder.terminate()
    assert hf_localize.load_local_dataset(NAME)["train"]["text"][:] == rows("new")["train"]


def test_a_holder_that_is_at_work_is_waited_for(
    reader: Desk, hold: Hold, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_TELL_SECONDS", 0.3)
    monkeypatch.setattr(locks, "_IDLE_SECONDS", 1.5)
    key = key_of("staging")
    holder = hold("staging", key)
    folder = next((reader.store / ".hgloc/staging").glob(f"{key}.*"))
    (folder / "moves").touch()
    watched = time.monotonic() + 4
    ended: list[float] = []
    import threading

    def end() -> None:
        time.sleep(4)
        ended.append(time.monotonic())
        holder.kill()

    thread = threading.Thread(target=end)
    thread.start()
    assert rows_of() == rows("new")
    assert ended
    assert time.monotonic() >= watched
    thread.join()
    assert not [message for message in caplog.messages if message.startswith("going on")]


def test_the_machine_is_named_of_a_holder_that_is_elsewhere(
    reader: Desk, hold: Hold, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that the server of a shared folder still holds for a machine is in no list of this one."""
    key = key_of("staging")
    holder = hold("staging", key)
    os.kill(holder.pid, signal.SIGSTOP)
    folder = next((reader.store / ".hgloc/staging").glob(f"{key}.*"))
    folder.rename(folder.with_name(f"{key}.node17-0badcafe.4711-99.{'0' * 32}"))
    monkeypatch.setattr(locks, "holder_of", lambda _: None)
    assert rows_of() == rows("new")
    assert any("held by process 4711 of node17-0badcafe" in message for message in caplog.messages)


def test_readers_wait_for_no_lock(reader: Desk, hold: Hold, caplog: pytest.LogCaptureFixture) -> None:
    hf_localize.download_dataset(NAME)
    for kind in ("staging", "place", "partial"):
        os.kill(hold(kind, key_of(kind)).pid, signal.SIGSTOP)
    before = tree(reader.store)
    assert rows_of() == rows("new")
    assert tree(reader.store) == before
    assert not [message for message in caplog.messages if ".lock" in message]
