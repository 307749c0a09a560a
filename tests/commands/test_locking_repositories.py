"""Lock files name the files that a run has read, through every door, and exactly these are given again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.format.lockfile import parse_lock, read_lock
from tests.commands.test_cli_output import run
from tests.conftest import Desk, run_python
from tests.rig.hub import LoopbackHub, make_repository

WEIGHTS, OTHER = b"weights" * 1000, b"other" * 1000
CODE = """
import sys, hf_localize; hf_localize.install()
from huggingface_hub import hf_hub_download, HfFileSystem, snapshot_download
import urllib.request, requests, os
print(open(hf_hub_download("team/model", "config.json")).read())
print(len(HfFileSystem().read_bytes("team/model/model.bin")))
print(requests.get(os.environ["HF_ENDPOINT"] + "/spaces/evaluate-metric/own/resolve/main/own.py").text)
print(urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/datasets/team/data/resolve/v1/a.csv").read())
"""


def _push(hub: LoopbackHub, desk: Desk, value: str, branch: str = "main") -> None:
    folder = desk.folder / "repositories"
    files = {"config.json": value.encode(), "model.bin": WEIGHTS, "other.bin": OTHER}
    hub.add(make_repository(folder, "models/team/model", branch, files))
    hub.add(make_repository(folder, "spaces/evaluate-metric/own", branch, {"own.py": value.encode()}))
    hub.add(make_repository(folder, "team/data", "v1", {"a.csv": b"n\n1\n"}))
    hub.add(make_repository(folder, "team/data", branch, {"a.csv": value.encode()}))


@pytest.fixture
def recorded(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> Path:
    """Return the lock file of a run that has read files of three repositories, two of which go on since."""
    _push(hub, desk, "old")
    _push(hub, desk, "old", "kept")  # The rig's Hub has a commit only while a branch has.
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    record = tmp_path / "reads.jsonl"
    ran = run_python(CODE, cwd=tmp_path, HGLOC_RECORD=str(record), HF_HOME=str(tmp_path / "one"))
    assert ran.stdout.splitlines() == ["old", "7000", "old", "b'n\\n1\\n'"], ran.stderr[-3000:]
    lock = tmp_path / "a.lock"
    assert run("lock", "--from-record", str(record), "-o", str(lock)).exit_code == 0
    _push(hub, desk, "new")
    return lock


def test_files_that_were_read_through_any_door_are_locked_and_given_again(
    recorded: Path, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    named = {(str(item.repository), item.revision): item.files for item in read_lock(recorded).repositories}
    assert named["space evaluate-metric/own", "main"] == ("own.py",)
    assert named["dataset team/data", "v1"] == ("a.csv",)
    read = {path for (name, _), files in named.items() if name == "model team/model" for path in files or ()}
    assert read == {"config.json", "model.bin"}
    assert parse_lock(read_lock(recorded).to_bytes(), "x") == parse_lock(recorded.read_bytes(), "x")
    hub.clear()
    ran = run("download", "--locked", str(recorded), "--json")
    assert [item["error"] for item in json.loads(ran.stdout)] == [None] * len(named), ran.output
    assert not [r for r in hub.requests if "other.bin" in r.path]
    assert run("lock", "--check", "-o", str(recorded)).exit_code == 6  # The Hub has gone on.
    hub.stop()
    ran = run_python(CODE, cwd=tmp_path, HGLOC_LOCK=str(recorded), HF_HOME=str(tmp_path / "two"))
    assert ran.stdout.splitlines() == ["old", "7000", "old", "b'n\\n1\\n'"], ran.stderr[-3000:]


def test_a_download_under_a_lock_file_takes_the_locked_commit_of_two_that_are_stored(
    recorded: Path, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    assert run("download", "--locked", str(recorded)).exit_code == 0
    hub.redirects.clear()
    for revision in ("kept", "main"):
        download_repository("team/model", repo_type="model", revision=revision, skip_s3_upload=True)
    hub.stop()
    for lock, content in ((recorded, "old"), (None, "new")):
        with hf_localize.installed(lock=lock, sources="local"):
            for options in ({"cache_dir": tmp_path / content}, {"local_dir": tmp_path / f"{content}-folder"}):
                for repo_id in ("team/model", "Team/MODEL"):
                    path = Path(hf_hub_download(repo_id, "config.json", **options))
                    assert path.read_text() == content
    with hf_localize.installed(sources="local"):
        snapshot_download("team/model", revision="kept", cache_dir=tmp_path / "new")
    with (
        hf_localize.installed(lock=recorded, sources="local"),
        pytest.raises(RevisionNotFoundError, match="not in the lock file"),
    ):  # The cache has it.
        snapshot_download("team/model", revision="kept", cache_dir=tmp_path / "new")


def test_under_a_lock_file_the_hub_gives_the_commit_that_is_locked_and_nothing_else(
    recorded: Path, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    desk.outsider()
    with hf_localize.installed(lock=recorded, sources=("local", "hub")):
        path = hf_hub_download("team/model", "config.json", cache_dir=tmp_path / "cache")
        assert Path(path).read_text() == "old"
        with pytest.raises(RevisionNotFoundError, match="not in the lock file"):
            hf_hub_download("team/model", "config.json", revision="kept-2", cache_dir=tmp_path / "cache")
        with pytest.raises(RepositoryNotFoundError, match="not in the lock file"):
            hf_hub_download("team/else", "config.json", cache_dir=tmp_path / "cache")


def test_a_repository_is_locked_by_its_name_too(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    _push(hub, desk, "old")
    desk.publisher()
    download_repository("team/model", repo_type="model")
    lock = tmp_path / "a.lock"
    ran = run("lock", "team/model", "--repo-type", "model", "-o", str(lock), "--json")
    (item,) = json.loads(ran.stdout)["repositories"]
    assert (item["repo_id"], item["revision"], item["files"]) == ("team/model", "main", None)
    assert item["commit"] == hub.commit("models/team/model")
    assert run("lock", "--check", "-o", str(lock)).exit_code == 0
    desk.teammate()
    hub.stop()
    assert run("download", "--locked", str(lock)).exit_code == 0


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "in the cache"])
def test_files_that_are_read_without_a_request_are_recorded(
    is_held: bool, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    _push(hub, desk, "old")
    desk.publisher()
    if is_held:
        download_repository("team/model", repo_type="model")
    commit, cache, folder = hub.commit("models/team/model"), tmp_path / "cache", tmp_path / "folder"
    some = {"allow_patterns": ["model.bin"]}
    readers = {
        "snapshot": lambda: snapshot_download("team/model", cache_dir=cache, **some),
        "folder": lambda: snapshot_download("team/model", local_dir=folder, **some),
        "commit": lambda: hf_hub_download("team/model", "model.bin", revision=commit, cache_dir=cache),
        # As transformers does once it has read a file of that commit.
        "found": lambda: try_to_load_from_cache("team/model", "model.bin", cache, commit),
    }
    if not is_held:
        for read in readers.values():
            read()
    for name, read in readers.items():
        record = tmp_path / f"{name}.jsonl"
        desk.set(HGLOC_RECORD=str(record))
        with hf_localize.installed():
            assert read()
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        assert {path for line in lines for path in line["files"]} == {"model.bin"}, name
        assert {line["commit"] for line in lines} == {commit}
