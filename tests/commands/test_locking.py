"""Lock files: what a run has loaded is written down, and exactly that is given again, or nothing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.lockfile import Lock, Locked, parse_lock, read_lock
from hf_localize.format.refs import DatasetRef
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, Repository, make_repository

MADE = "made/pinned"


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


class Moving:
    """A repository on the Hub whose main branch goes on."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self._hub, self._folder = hub, folder / "repositories"
        self._card = f"# {uuid.uuid4()}\n"  # Else another test's files are in huggingface_hub's cache.
        self.push("old")
        self._make("first", "old")  # So its commit can still be had.
        self.first = hub.commit(MADE)

    def push(self, value: str) -> None:
        self._hub.add(self._make("main", value))
        self._hub.refresh()

    def _make(self, revision: str, value: str) -> Repository:
        files = {"train.csv": f"text\n{value}\n".encode(), "README.md": self._card.encode()}
        return make_repository(self._folder, MADE, revision, files)


@pytest.fixture
def moving(hub: LoopbackHub, desk: Desk) -> Moving:
    return Moving(hub, desk.folder)


def loaded(dataset_id: str, **arguments: object) -> list[str]:
    return [row["text"] for row in datasets.load_dataset(dataset_id, split="train", **arguments)]


def test_what_a_run_has_loaded_is_given_again_elsewhere_and_later(
    moving: Moving, desk: Desk, hub: LoopbackHub
) -> None:
    note = desk.publisher().folder / "loads.jsonl"
    desk.set(HGLOC_RECORD=str(note))
    hf_localize.register_dataset(rows("mine"), "org/own", revision="v1")
    with hf_localize.installed():
        for _ in range(2):
            assert loaded(MADE) == ["old"]
        assert loaded("org/own", revision="v1") == ["mine"]
        assert len(list(datasets.load_dataset("org/own", split="train", revision="v1", streaming=True))) == 1
    lines = [json.loads(line) for line in note.read_text().splitlines()]
    # A local hit of what came from the Hub is the same content: it is no line of its own.
    assert [(line["dataset_id"], line["revision"], line["source"]) for line in lines] == [
        (MADE, None, "Hugging Face Hub"),
        ("org/own", "v1", "local store"),
    ]
    assert lines[0]["commit"] == moving.first
    ran = run("lock", "-o", str(desk.folder / "a.lock"))
    assert (ran.exit_code, ran.stdout) == (0, f"{desk.folder / 'a.lock'}\n"), ran.stderr
    lock = read_lock(desk.folder / "a.lock")
    assert [(item.ref, item.digest) for item in lock.datasets] == [
        (DatasetRef(MADE), lines[0]["digest"]),
        (DatasetRef("org/own", None, "v1"), lines[1]["digest"]),
    ]
    named = hf_localize.lock_datasets([MADE, "org/own"][:1])
    assert (named.datasets[0].digest, named.to_bytes()) == (lines[0]["digest"], named.to_bytes())
    hf_localize.sync_local_dataset_to_s3(MADE)

    moving.push("new")
    desk.teammate()
    hub.clear()
    ran = run("download", "--locked", str(desk.folder / "a.lock"), "--json")
    assert ran.exit_code == 0, ran.stderr
    assert [item["error"] for item in json.loads(ran.stdout)] == [None, None]
    assert hub.requests == []
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert (loaded(MADE), loaded(MADE, revision=moving.first)) == (["old"], ["old"])
        assert loaded("org/own", revision="v1") == ["mine"]


def test_where_nobody_keeps_it_the_hub_gives_the_commit_that_is_locked(
    moving: Moving, desk: Desk, hub: LoopbackHub
) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    with hf_localize.installed():
        assert loaded(MADE) == ["old"]
    hf_localize.lock_datasets(MADE).write(desk.folder / "a.lock")
    moving.push("new")
    desk.outsider()
    with hf_localize.installed():
        assert loaded(MADE) == ["new"]
    for _ in range(2):  # From the Hub; then from the store, where it lies beside the newer one.
        with hf_localize.installed(lock=desk.folder / "a.lock"):
            assert loaded(MADE) == ["old"]
            assert next(iter(datasets.load_dataset(MADE, split="train", streaming=True)))["text"] == "old"
    revisions = {item["revision"] for item in hf_localize.list_local_datasets()}
    assert revisions == {None, moving.first}
    hub.stop()
    with hf_localize.installed():
        assert loaded(MADE) == ["new"]
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded(MADE) == ["old"]


def test_what_was_downloaded_with_a_lock_file_is_loaded_without_it(moving: Moving, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    hf_localize.download_dataset(MADE)
    path = desk.folder / "a.lock"
    hf_localize.lock_datasets(MADE).write(path)
    moving.push("new")
    desk.outsider()
    assert run("download", "--locked", str(path)).exit_code == 0
    desk.set(HGLOC_OFFLINE="1")
    with hf_localize.installed():
        assert loaded(MADE) == ["old"]


def test_where_a_locked_commit_is_stored_beside_the_error_names_the_lock_file(
    moving: Moving, desk: Desk
) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    hf_localize.lock_datasets(MADE).write(desk.folder / "a.lock")  # By its commit: nothing is downloaded.
    assert run("download", "--locked", str(desk.folder / "a.lock")).exit_code == 0
    desk.set(HGLOC_OFFLINE="1")
    with hf_localize.installed(), pytest.raises(errors.DatasetNotFoundError, match="set HGLOC_LOCK"):
        loaded(MADE)
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded(MADE) == ["old"]


def test_a_stream_from_the_hub_is_locked_by_its_commit(moving: Moving, desk: Desk) -> None:
    note = desk.outsider().folder / "loads"
    note.mkdir()  # A folder: each process has a file of its own.
    desk.set(HGLOC_SOURCES="local,hub", HGLOC_RECORD=str(note))
    with hf_localize.installed():
        assert len(list(datasets.load_dataset(MADE, split="train", streaming=True))) == 1
        datasets.load_dataset(MADE, data_files="train.csv", split="train")
    lock = hf_localize.lock_datasets(from_record=note)
    found = {item.ref: (item.digest, item.commit) for item in lock.datasets}
    assert found == {DatasetRef(MADE): (None, moving.first), DatasetRef(MADE).files: (None, moving.first)}
    lock.write(desk.folder / "a.lock")
    moving.push("new")
    assert all(done.success for done in hf_localize.download_locked(desk.folder / "a.lock"))
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded(MADE) == ["old"]
        assert loaded(MADE, data_files="train.csv") == ["old"]
        with pytest.raises(errors.NotLockedError):
            datasets.load_dataset("org/other", data_files="train.csv")


def test_other_content_is_not_taken_and_the_error_says_what_is_where(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("first"), "org/own")
    lock = hf_localize.lock_datasets("org/own")
    lock.write(desk.folder / "a.lock")
    hf_localize.register_dataset(rows("second"), "org/own")
    second = hf_localize.lock_datasets("org/own").datasets[0].digest
    desk.teammate()
    ran = run("download", "--locked", str(desk.folder / "a.lock"))
    assert (ran.exit_code, ran.stdout) == (6, "")
    for part in (
        f"Dataset org/own as {desk.folder / 'a.lock'} has it (digest {lock.datasets[0].digest[:12]}…)",
        f"private S3: org/own there has digest {second[:12]}…",
        "local store: not in",
        "No other content is used instead",
    ):
        assert part in ran.stderr, ran.stderr
    assert hf_localize.list_local_datasets() == []
    with (
        hf_localize.installed(lock=desk.folder / "a.lock"),
        pytest.raises(datasets.exceptions.DatasetNotFoundError, match="No other content is used") as caught,
    ):
        loaded("org/own")
    assert isinstance(caught.value, errors.ConflictError)

    desk.teammate()  # Who has the second, and finds a bucket that has the first again.
    hf_localize.download_dataset("org/own")
    copy = desk.store
    desk.publisher()
    hf_localize.register_dataset(rows("first"), "org/own")
    desk.set(HGLOC_DATASETS_STORE_PATH=str(copy))
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded("org/own") == ["first"]
    with hf_localize.installed(sources=("local",)):
        assert loaded("org/own") == ["second"], "what the store had was replaced"
    desk.set(HGLOC_SOURCES="local")
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded("org/own") == ["first"], "it was not kept beside the other"


def test_what_is_not_in_the_lock_file_is_not_loaded(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("a"), "org/own", "cfg")
    hf_localize.register_dataset(rows("b"), "org/other")
    hf_localize.lock_datasets("org/own", ["cfg"]).write(desk.folder / "a.lock")
    hub.clear()
    desk.set(HGLOC_LOCK=str(desk.folder / "a.lock"))
    with hf_localize.installed():
        assert len(datasets.load_dataset("org/own", "cfg")) == 1
        for name, said in (("org/other", "is not in the lock file"), ("org/own", r"it has org/own \[cfg\]")):
            with pytest.raises(datasets.exceptions.DatasetNotFoundError, match=said) as caught:
                datasets.load_dataset(name)
            assert isinstance(caught.value, errors.NotLockedError)
    assert hub.requests == []
    assert run("download", "org/other").exit_code == 3
    assert run("download", "org/own", "-n", "cfg").exit_code == 0
    assert run("verify").exit_code == 0  # What cares for the store does not ask the lock file.
    assert run("sync-local-to-s3", "org/other").exit_code == 0


def test_explain_tells_what_a_load_does_under_the_lock_file(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("first"), "org/own")
    hf_localize.register_dataset(rows("other"), "org/other")
    hf_localize.lock_datasets("org/own").write(desk.folder / "a.lock")
    desk.teammate()
    desk.set(HGLOC_LOCK=str(desk.folder / "a.lock"), HGLOC_SOURCES="local,s3")
    told = hf_localize.explain_dataset("org/own")
    assert (told["takes"], told["transfer_files"] > 0) == ("s3", True)
    told = hf_localize.explain_dataset("org/other")
    assert told["takes"] is None
    assert "fail: org/other is not in the lock file" in told["does"]
    assert [one["answer"] for one in told["sources"][:2]] == ["not_here", "has_it"]
    desk.publisher()
    hf_localize.register_dataset(rows("second"), "org/own")
    desk.teammate()
    told = hf_localize.explain_dataset("org/own")
    assert told["takes"] is None
    assert f"as {desk.folder / 'a.lock'} has it (digest " in told["does"]
    with hf_localize.installed(), pytest.raises(errors.DatasetConflictError):
        loaded("org/own")


def test_a_lock_file_that_has_the_present_id_gives_it_by_the_old_one(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("a"), "openai/gsm8k")
    hf_localize.lock_datasets("openai/gsm8k").write(desk.folder / "a.lock")
    desk.teammate()
    with hf_localize.installed(lock=desk.folder / "a.lock", sources=("local", "s3")):
        assert hf_localize.explain_dataset("gsm8k")["takes"] == "s3"
        assert loaded("gsm8k") == loaded("openai/gsm8k") == ["a"]


def test_a_lock_file_that_can_not_be_read_lets_nothing_pass(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("a"), "org/own")
    with pytest.raises(errors.LockError, match="can't be read"):
        hf_localize.install(lock=desk.folder / "none.lock")
    assert not hf_localize.is_installed()
    for content, said in (("{}", "not a lock file"), ('{"format_version": 2}', "Upgrade"), ("", "not JSON")):
        (desk.folder / "a.lock").write_text(content)
        desk.set(HGLOC_LOCK=str(desk.folder / "a.lock"))
        with hf_localize.installed(), pytest.raises(errors.LockError, match=said):
            datasets.load_dataset("org/own")
    assert run("download", "--locked", str(desk.folder / "none.lock")).exit_code == 2
    good = Lock((Locked(DatasetRef("a", "b", "c"), digest="0" * 64),))
    assert parse_lock(good.to_bytes(), "x").datasets == good.datasets
    for bad in (b'"digest": "1"', b'"digest": null', b'"digest": 3'):
        with pytest.raises(errors.LockError):
            parse_lock(good.to_bytes().replace(b'"digest": "' + b"0" * 64 + b'"', bad), "x")


def test_data_files_that_a_person_put_into_the_store_are_locked_by_their_bytes(desk: Desk) -> None:
    folder = desk.outsider().store / "team_raw/cfg/default_revision"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text\na\n")
    desk.set(HGLOC_RECORD=str(desk.folder / "loads.jsonl"), HGLOC_SOURCES="local")
    assert hf_localize.load_local_dataset("team/raw", "cfg")["train"]["text"] == ["a"]
    lock = hf_localize.lock_datasets(from_record=desk.folder / "loads.jsonl")
    assert lock.datasets == hf_localize.lock_datasets("team/raw", ["cfg"]).datasets
    lock.write(desk.folder / "a.lock")
    with hf_localize.installed(lock=desk.folder / "a.lock"):
        assert loaded("team/raw", name="cfg") == ["a"]
        (folder / "train.csv").write_text("text\nb\n")
        with pytest.raises(errors.ConflictError, match="No other content is used"):
            loaded("team/raw", name="cfg")


def test_a_list_that_names_nothing_does_not_empty_a_lock_file(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing yet\n")
    (tmp_path / "a.lock").write_text("kept")
    for more in ([], ["--check"]):
        ran = run("lock", "--from-file", str(tmp_path / "list.txt"), "-o", str(tmp_path / "a.lock"), *more)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert "names nothing" in ran.stderr
    assert (tmp_path / "a.lock").read_text() == "kept"
