"""Lock files and records of loads."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from hf_localize import errors
from hf_localize.format.lockfile import Locked, lock_of, read_record
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.recording import record
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.


def _note(path: Path, number: int, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    for of in range(50):
        item = Locked(DatasetRef(f"org/d{number}-{of}" + "x" * 60), digest="0" * 64)
        record(path, item.ref, lambda item=item: item, "local store")  # type: ignore[misc]


def test_many_processes_share_a_record_and_it_never_stops_a_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "loads.jsonl"
    context = multiprocessing.get_context("fork")
    start = context.Barrier(6)
    processes = [context.Process(target=_note, args=(path, number, start)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(path.read_text().splitlines()) == len(read_record(path)) == 300
    with path.open("a") as file:
        file.write('{"dataset_id": "cut')
    assert len(read_record(path)) == 300
    record(tmp_path / "no" / "folder", DatasetRef("a"), lambda: Locked(DatasetRef("a"), digest="0" * 64), "x")
    assert "could not be recorded" in caplog.text
    with pytest.raises(errors.LockError, match="can't be read"):
        read_record(tmp_path / "no" / "folder")


def test_two_contents_of_one_dataset_are_no_lock() -> None:
    one, other = (Locked(DatasetRef("a"), digest=digit * 64, commit="c" * 40) for digit in "01")
    with pytest.raises(errors.ConflictError, match="two contents: digest 000000000000…"):
        lock_of([one, other])
    assert lock_of([one, one.by_commit()]).datasets == (one,)
    assert lock_of([item.by_commit() for item in (one, other)]).datasets[0].digest is None
    with pytest.raises(errors.LockError, match="neither its digest nor its commit"):
        lock_of([Locked(DatasetRef("a"))])
    ran = run("lock")
    assert ran.exit_code == 2
    assert "name what to lock" in ran.stderr
