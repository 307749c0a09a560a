"""One store seen by several machines whose file locks don't reach each other: each is a mount of its own.

A lock that a process takes through one mount of bindfs is not seen through another.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_localize
from hf_localize import errors
from hf_localize.sources.session import current_session
from hf_localize.store.staging import staging_folder
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL, wait_until
from tests.faults.killer import NAME, OTHER, rows, save
from tests.rig.s3_proxy import BlackHole, Rule

VIEWS = 8 if IS_ALL else 4
ROUNDS = 25 if IS_ALL else 6
#: What a machine does: it loads, replaces, removes and fetches the same datasets, in an order of its own.
MACHINE = """
import contextlib, json, os, random, sys
import datasets, hf_localize
from hf_localize import errors
NAME, OTHER = "org/x", "org/other"
number, rounds, folder, cache = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[5]
contents = json.loads(sys.argv[4])
rows = contents.__getitem__
chance = random.Random(number)

def load():
    name = chance.choice([NAME, OTHER])
    datasets.config.HF_DATASETS_CACHE = os.path.join(cache, str(chance.random()))
    loaded = {split: data["text"][:] for split, data in hf_localize.load_local_dataset(name).items()}
    tags = ["other"] if name == OTHER else ["old", "new"]
    assert loaded in [rows(tag) for tag in tags], (name, {k: (len(v), v[:1]) for k, v in loaded.items()})

def part():
    with hf_localize.installed():
        loaded = datasets.load_dataset(NAME, split="train[:50%]")["text"][:]
    assert loaded in [rows(tag)["train"][:15] for tag in ("old", "new")], loaded

def replace():
    hf_localize.register_dataset(f"{folder}/{chance.choice(['old', 'new'])}", NAME, skip_s3_upload=True)

def remove():
    with contextlib.suppress(errors.DatasetNotFoundError):
        hf_localize.remove_dataset(chance.choice([NAME, OTHER]))

def fetch():
    hf_localize.download_dataset(OTHER, skip_s3_upload=True)

def repair():
    with contextlib.suppress(errors.DatasetNotFoundError):
        hf_localize.repair_dataset(NAME)

for _ in range(rounds):
    chance.choice([load, load, part, replace, remove, fetch, repair])()
"""


@pytest.fixture
def views(desk: Desk) -> Iterator[list[Path]]:
    """Return the mounts of one store, as it is seen by as many machines."""
    if os.geteuid() != 0 or shutil.which("bindfs") is None or not Path("/dev/fuse").exists():
        pytest.skip("seeing one folder as several machines do takes root, FUSE and bindfs")
    store = desk.folder / "shared"
    store.mkdir()
    mounts = [desk.folder / f"machine-{number}" for number in range(VIEWS)]
    for mount in mounts:
        mount.mkdir()
        subprocess.run(["bindfs", "-o", "attr_timeout=0,entry_timeout=0", store, mount], check=True)
    try:
        yield mounts
    finally:
        for mount in mounts:
            subprocess.run(["umount", "--lazy", mount], check=True)


def test_a_lock_that_is_held_through_one_view_is_free_in_another(views: list[Path]) -> None:
    with (views[0] / "lock").open("w") as one, (views[1] / "lock").open("w") as other:
        for file in (one, other):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def on_machine(desk: Desk, view: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    cache = desk.folder / f"cache-{view.name}"
    environment = {
        **os.environ,
        "HGLOC_DATASETS_STORE_PATH": str(view),
        "HF_DATASETS_CACHE": str(cache),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, str(cache)],
        cwd=desk.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def publish(desk: Desk) -> None:
    desk.publisher()
    for name, tag in ((NAME, "old"), (NAME, "new"), (OTHER, "other")):
        hf_localize.register_dataset(save(desk.folder / tag, tag), name)
    desk.set(HGLOC_SOURCES="local,s3")


def test_machines_whose_locks_do_not_reach_each_other_neither_see_nor_leave_damage(
    desk: Desk, views: list[Path]
) -> None:
    publish(desk)
    contents = json.dumps({tag: rows(tag) for tag in ("old", "new", "other")})
    machines = [
        on_machine(desk, view, MACHINE, str(number), str(ROUNDS), str(desk.folder), contents)
        for number, view in enumerate(views)
    ]
    try:
        failures = [
            err for machine in machines for _, err in [machine.communicate(timeout=600)] if machine.returncode
        ]
    finally:
        for machine in machines:
            machine.kill()
            machine.communicate()
    assert not failures, "\n".join(failures)
    desk.set(HGLOC_DATASETS_STORE_PATH=str(desk.folder / "shared"))
    checked = hf_localize.verify_dataset(deep=True)
    assert all(not found["damaged"] for found in checked), checked
    assert not list((desk.folder / "shared/.hgloc/staging").iterdir())


FETCH = """
import hf_localize
print(sum(row.startswith("new") for row in hf_localize.load_local_dataset("org/x")["train"]["text"]))
"""


@pytest.mark.sampled(0)
def test_a_fetch_under_way_on_another_machine_is_neither_taken_nor_waited_for(
    desk: Desk, views: list[Path]
) -> None:
    publish(desk)
    desk.s3.fail(Rule("GET", r"\.arrow$", BlackHole(), times=2))
    first = on_machine(desk, views[0], FETCH)
    try:
        wait_until(lambda: any(r.path.endswith(".arrow") for r in desk.s3.requests))
        wait_until(lambda: bool(list((desk.folder / "shared/.hgloc/staging").glob("*/*/*"))))
        before = {path: path.stat().st_ino for path in (desk.folder / "shared/.hgloc/staging").rglob("*")}
        second = on_machine(desk, views[1], FETCH)
        out, err = second.communicate(timeout=300)
        assert out == "30\n", err
        assert {path: path.stat().st_ino for path in before} == before
    finally:
        first.kill()
        first.communicate()
    third = on_machine(desk, views[2], FETCH)
    out, err = third.communicate(timeout=300)
    assert out == "30\n", err


def test_what_a_machine_has_left_is_gone_on_with_once_it_is_quiet_and_never_written_to_in_common(
    desk: Desk, views: list[Path]
) -> None:
    """The first machine's process is stopped, not dead: it could still write to the file that it has open."""
    publish(desk)
    desk.set(HGLOC_DATASETS_STORE_PATH=str(views[0]))
    store = current_session().store

    def fail() -> None:
        with staging_folder(store, "key") as folder:
            (folder / "file").write_bytes(b"0123")
            raise errors.UnreachableError

    with pytest.raises(errors.UnreachableError):
        fail()
    with staging_folder(store, "key") as folder:
        assert (folder / "file").read_bytes() == b"0123", "what a failed fetch had was not gone on with"
        foreign = folder.with_name(f"key.another-machine.1-1.{'0' * 32}")
        shutil.copytree(folder, foreign)
    with (foreign / "file").open("r+b") as writer:
        with staging_folder(store, "key") as folder:
            assert not (folder / "file").exists(), "it was taken from a machine that may be at it"
        for path in (foreign, foreign / "file"):
            os.utime(path, (0, path.stat().st_mtime - 3600))
        with staging_folder(store, "key") as folder:
            assert (folder / "file").read_bytes() == b"0123"
            writer.write(b"9999")
            writer.flush()
            assert (folder / "file").read_bytes() == b"0123", "another process writes to it"
