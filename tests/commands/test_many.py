"""Many downloads in one command: what comes, what is said of the rest, and how many at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import hf_localize
from hf_localize.errors import InvalidRefError, SettingsError
from tests.conftest import Desk, run_cli, tree
from tests.rig.hub import Fault, LoopbackHub, Request, make_repository

GSM8K = "openai/gsm8k"
CONFIGS = 9


@pytest.fixture
def many(hub: LoopbackHub, desk: Desk) -> str:
    """Return the id of a repository on the Hub with several configs."""
    names = [f"c{number}" for number in range(CONFIGS)]
    card = f"# {uuid.uuid4()}\n"  # Else another test has its files in huggingface_hub's cache already.
    card += "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in names)
    files = {f"{name}.csv": f"a\n{number}\n".encode() for number, name in enumerate(names)}
    files["README.md"] = f"---\nconfigs:\n{card}---\n".encode()
    hub.add(make_repository(desk.folder / "repositories", "made/many", "main", files))
    return "made/many"


def test_all_configs_come_in_order_and_each_is_what_it_is_alone(many: str, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", many, "--all-configs")
    assert ran.returncode == 0, ran.stderr
    folders = [Path(line) for line in ran.stdout.splitlines()]
    assert folders == [desk.store / f"made_many/c{n}/default_revision" for n in range(CONFIGS)]
    for number in (0, CONFIGS - 1):
        loaded = hf_localize.load_local_dataset(many, f"c{number}")
        assert loaded["train"].to_list() == [{"a": number}]
    assert len(hf_localize.list_s3_datasets()) == CONFIGS
    together = tree(folders[3])
    desk.publisher()
    alone = run_cli("download", many, "--name", "c3", "--no-s3-upload", HGLOC_SOURCES="hub")
    for name, content in tree(Path(alone.stdout.strip())).items():
        assert name == ".hgloc.json" or content == together[name], name  # That has the time.


def test_a_config_that_no_folder_can_be_named_after_does_not_stop_the_others(
    hub: LoopbackHub, desk: Desk
) -> None:
    configs = "".join(f"- config_name: {name}\n  data_files: a.csv\n" for name in (".hid", "ok", ".too"))
    files = {"a.csv": b"a\n1\n", "README.md": f"---\nconfigs:\n{configs}---\n".encode()}
    hub.add(make_repository(desk.folder / "repositories", "made/dots", "main", files))
    desk.publisher()
    ran = run_cli("download", "made/dots", "--all-configs", "--no-files")
    assert [Path(line).parts[-2] for line in ran.stdout.splitlines()] == ["ok"]
    for name in (".hid", ".too"):
        assert f"config name '{name}' is refused: no segment may be empty or begin with a dot" in ran.stderr
    assert ran.returncode == 2


def test_ids_and_names_make_a_download_each_and_what_is_named_twice_is_one(many: str, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", many, GSM8K, many, "-n", "c1", "-n", "main", "--no-s3-upload")
    assert [Path(line).parts[-3:-1] for line in ran.stdout.splitlines()] == [
        ("made_many", "c1"),
        ("openai_gsm8k", "main"),
    ]
    assert ran.returncode == 3  # Neither has the other's config.
    assert "Error: made/many [main]: BuilderConfig 'main' not found" in ran.stderr
    assert "Error: openai/gsm8k [c1]: BuilderConfig 'c1' not found" in ran.stderr
    assert ran.stderr.endswith("2 of 4 downloads failed.\n")
    assert "Traceback" not in ran.stderr


def test_one_that_fails_does_not_stop_the_others(many: str, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", "org/nowhere", many, "--all-configs", "--no-s3-upload")
    assert ran.returncode == 3
    assert len(ran.stdout.splitlines()) == CONFIGS
    assert "Error: org/nowhere: its configs are not known:" in ran.stderr
    results = hf_localize.download_datasets(["org/nowhere", many], ["c0"], skip_s3_upload=True)
    assert [(r.dataset_id, r.config_name, r.success) for r in results] == [
        ("org/nowhere", "c0", False),
        (many, "c0", True),
    ]
    assert "could not be found" in str(results[0].error)
    assert results[1].path == str(desk.store / "made_many/c0/default_revision")


def test_in_python_one_string_is_one_name(many: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    (one,) = hf_localize.download_datasets(many, "c0", skip_s3_upload=True)
    assert (one.config_name, one.success) == ("c0", True)
    hf_localize.lock_datasets(many, "c0").write(tmp_path / "a.lock")
    assert [done.success for done in hf_localize.download_locked(tmp_path / "a.lock", many)] == [True]
    assert [ref.config_name for ref in hf_localize.export_datasets(many, tmp_path / "a.tar", "c0")] == ["c0"]
    for path in desk.store.rglob("*"):
        os.utime(path, (0, 0))
    assert hf_localize.prune_datasets(older_than_seconds=1, keep=many, dry_run=True) == []
    assert hf_localize.prune_datasets(older_than_seconds=1, keep=[many[:4]], dry_run=True) != []


def test_a_process_that_is_killed_is_a_download_that_failed(many: str, desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    stalled = Fault(r"/resolve/.*/c1\.csv", "stall", seconds=60)
    hub.faults = [stalled]
    results: list[hf_localize.Download] = []
    asking = threading.Thread(
        target=lambda: results.extend(
            hf_localize.download_datasets([many], ["c0", "c1"], skip_s3_upload=True)
        )
    )
    asking.start()
    done = desk.store / "made_many/c0/default_revision/.hgloc.json"
    _wait_until(lambda: stalled.used > 0 and done.exists() and len(multiprocessing.active_children()) == 1)
    for child in multiprocessing.active_children():
        child.kill()
    asking.join(30)
    assert [result.success for result in results] == [True, False]
    assert results[1].error == "its process ended unexpectedly (status -9)"


def test_an_interruption_ends_all_of_them(many: str, desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    stalled = [Fault(rf"/resolve/.*/c{number}\.csv", "stall", seconds=60) for number in (0, 1)]
    hub.faults = stalled
    command = [sys.executable, "-m", "hf_localize", "download", many, "-n", "c0", "-n", "c1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _wait_until(lambda: all(fault.used for fault in stalled))
        children = _children(process.pid)
        assert len(children) == 2
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert said == ""
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize(
    "path", ["/api/", "/c1.csv"]
)  # One request; those of an executor, which waits for them.
def test_an_interruption_ends_a_download_while_the_hub_stalls(
    path: str, many: str, desk: Desk, hub: LoopbackHub
) -> None:
    desk.publisher()
    stalled = Fault(path, "stall", seconds=60)
    folder = desk.store / "made_many/c0/default_revision"
    asked: list[str] = []

    def fault_of(request: Request) -> Fault | None:
        asked.append(request.path)  # The rig's own list has it only once it is answered.
        return stalled if folder.exists() and path in request.path else None

    hub.faults = fault_of
    command = [sys.executable, "-m", "hf_localize", "download", many, "-n", "c0", "--keep-files"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _wait_until(lambda: stalled.used > 0)
        asked.clear()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "Interrupted" in err
    assert [one for one in asked if "/api/" in one] == []


def _wait_until(is_so: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < 60
        time.sleep(0.05)


def _children(of: int) -> list[int]:
    found = Path(f"/proc/{of}/task").glob("*/children")
    return [int(number) for path in found for number in path.read_text().split()]


def test_what_is_wrong_with_the_call_is_said_before_anything_is_done(
    desk: Desk, hub: LoopbackHub, many: str
) -> None:
    desk.outsider()
    with pytest.raises(InvalidRefError):
        hf_localize.download_datasets([many, "a//b"])
    with pytest.raises(SettingsError, match="credentials"):
        hf_localize.download_datasets([many], make_public=True)
    assert run_cli("download", many, "--all-configs", "-n", "c0").returncode == 2
    assert hub.requests == []
    assert hf_localize.list_local_datasets() == []


@pytest.mark.sampled(0)
def test_several_share_publicly_at_the_same_time(many: str, desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher().open_public_places()
    assert run_cli("download", many, "--all-configs", "--make-public").returncode == 0
    hub.stop()
    desk.outsider()
    ran = run_cli("download", many, "--all-configs")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == CONFIGS
