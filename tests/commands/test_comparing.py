"""What is stored beside the bucket, and beside the Hub as it is now; many datasets from a list."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize.format.refs import DatasetRef
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.
from tests.commands.test_locking import MADE, Moving, rows
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import Rule, Status


def lines(*arguments: str, status: int = 0) -> list[list[str]]:
    ran = run(*arguments)
    assert ran.exit_code == status, ran.output
    return [line.split("\t") for line in ran.stdout.splitlines()]


def test_diff_tells_what_is_here_or_there_only_and_which_files_differ(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    for name in ("same", "changed", "there"):
        hf_localize.register_dataset(rows(name), f"org/{name}")
    hf_localize.register_dataset(
        datasets.DatasetDict(train=rows("changed"), test=rows("b")), "org/changed", skip_s3_upload=True
    )
    hf_localize.register_dataset(rows("here"), "org/here", skip_s3_upload=True)
    hf_localize.remove_dataset("org/there")
    desk.s3.clear()
    found = {item.dataset_id: item for item in hf_localize.diff_datasets()}
    assert {name: item.state for name, item in found.items()} == {
        "org/changed": "different",
        "org/here": "only local",
        "org/same": "same",
        "org/there": "only s3",
    }
    assert not [r for r in desk.s3.requests if r.path.endswith(".arrow")]
    files = {file.path: file for file in found["org/changed"].files}
    added = files["test/data-00000-of-00001.arrow"]
    assert (added.s3_bytes, bool(added.local_bytes)) == (None, True)
    assert "train/data-00000-of-00001.arrow" not in files
    assert [line[0] for line in lines("diff")] == ["org/changed", "org/here", "org/there"]
    assert lines("diff", "org/same", "--exit-code")[0][3] == "same"
    lines("diff", "--exit-code", status=6)
    lines("diff", "org/none", status=3)

    done = lines("sync-local-to-s3", "--all")
    assert len(done) == 3
    assert [line[0] for line in lines("diff")] == ["org/there"]
    assert lines("sync-local-to-s3", status=2) == lines("sync-local-to-s3", "org/same", "--all", status=2)


def test_what_is_damaged_in_the_bucket_does_not_keep_the_others_from_being_compared(
    desk: Desk, hub: LoopbackHub
) -> None:
    def put(key: str, body: bytes) -> None:
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=body)

    desk.publisher()
    for name in ("both", "there", "whole"):
        hf_localize.register_dataset(rows(name), f"org/{name}")
    hf_localize.download_dataset("openai/gsm8k", "socratic", keep_files=False)
    hf_localize.remove_dataset("org/there")
    hf_localize.register_dataset(rows("half"), "org/half", skip_s3_upload=True)
    for dataset_id in ("org/both", "org/there"):
        put(DatasetRef(dataset_id).index_key, b"{")
    # As an upload by the original tool that was interrupted leaves it.
    put(f"{DatasetRef('org/half').folders[0]}/dataset_dict.json", b'{"splits": ["train"]}')
    ran = run("diff", "--json")
    assert {item["dataset_id"]: item["state"] for item in json.loads(ran.stdout)} == {
        "org/both": "different",
        "org/half": "only local",
        "org/there": "only s3",
        "org_half": "only s3",
    }
    assert all(f"{name} in s3://" in ran.stderr for name in ("org/both", "org/there", "org_half")), ran.stderr
    told = {line[0]: line[3:] for line in lines("status")}
    assert (told["org/both"], told["org/whole"]) == (["different", "own"], ["same", "own"])
    assert [item.dataset_id for item in hf_localize.list_outdated(s3=True)] == ["openai/gsm8k"]

    desk.teammate().set(HGLOC_SOURCES="local,s3")
    store = desk.store
    for dataset_id, config in (("openai/gsm8k", "socratic"), ("org/whole", None)):
        hf_localize.download_dataset(dataset_id, config, skip_s3_upload=True)
    desk.publisher()
    hf_localize.register_dataset(rows("newest"), "org/whole")
    put(DatasetRef("openai/gsm8k", "socratic").index_key, b"{")
    desk.teammate().set(HGLOC_SOURCES="local,s3", HGLOC_DATASETS_STORE_PATH=str(store))
    ran = run("pull", "--update", "--json")
    assert ran.exit_code == 6, ran.stderr
    assert {item["dataset_id"]: item["error_kind"] for item in json.loads(ran.stdout)} == {
        "openai/gsm8k": "corrupt",
        "org/whole": None,
    }
    assert list(hf_localize.load_local_dataset("org/whole")["train"]["text"]) == ["newest"]


def test_one_upload_that_fails_does_not_stop_the_others(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    for name in ("a", "b"):
        hf_localize.register_dataset(rows(name), f"org/{name}", skip_s3_upload=True)
    desk.s3.fail(Rule("PUT", "/org_a/", Status(403, "AccessDenied")))
    ran = run("sync-local-to-s3", "--all", "--json")
    assert ran.exit_code == 4, ran.stderr
    assert [bool(item["error"]) for item in json.loads(ran.stdout)] == [True, False]
    assert "1 of 2 uploads failed." in ran.stderr
    desk.s3.heal()
    assert len(lines("sync-local-to-s3", "--all")) == 2


@pytest.fixture
def moving(hub: LoopbackHub, desk: Desk) -> Moving:
    return Moving(hub, desk.folder)


def test_what_is_outdated_is_named_and_updated_here_and_in_the_bucket(
    moving: Moving, desk: Desk, hub: LoopbackHub
) -> None:
    desk.publisher()
    assert run("download", MADE, "-r", moving.first).exit_code == 0
    assert run("download", MADE).exit_code == 0
    hf_localize.register_dataset(rows("x"), "org/own")
    assert lines("outdated") == []
    moving.push("new")
    second = hub.commit(MADE)
    assert lines("outdated") == [[MADE, "-", "-", "outdated", moving.first[:12], second[:12]]]
    assert [item.state for item in hf_localize.list_outdated(s3=True)] == ["outdated", "pinned"]
    desk.teammate()
    hf_localize.download_dataset(MADE)  # An older copy, which the bucket gave.
    copy = desk.store
    desk.publisher()
    hf_localize.download_dataset(MADE)
    assert lines("download", "--update")[0] == [
        str(desk.store / "made_pinned/default_config/default_revision")
    ]
    assert lines("outdated") == []
    with hf_localize.installed(sources=("s3",)):
        assert datasets.load_dataset(MADE, split="train")["text"] == ["new"]
    desk.set(HGLOC_DATASETS_STORE_PATH=str(copy))
    hub.clear()
    hf_localize.download_dataset(MADE, update=True)
    assert not [r for r in hub.requests if "/resolve/" in r.path], "a colleague's copy is as new"
    with hf_localize.installed(sources=("local",)):
        assert datasets.load_dataset(MADE, split="train")["text"] == ["new"]
    hub.stop()
    lines("outdated", status=5)
    lines("download", MADE, "--update", status=5)


def test_a_list_is_downloaded_and_gone_on_with(moving: Moving, desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    listed = Path.cwd() / "datasets.txt"
    listed.write_text(
        f"# what the team needs\n\n{MADE}\nopenai/gsm8k socratic main  # a comment\n{MADE} - {moving.first}\n"
        f"org/nowhere\n{MADE}\n"
    )
    ran = run("download", "--from-file", "datasets.txt")
    assert ran.exit_code == 3, ran.stderr
    assert len(ran.stdout.splitlines()) == 3
    assert "1 of 4 downloads failed." in ran.stderr
    hub.clear()
    listed.write_text(listed.read_text().replace("org/nowhere\n", ""))
    ran = run("download", "--from-file", "datasets.txt")
    assert ran.exit_code == 0, ran.stderr
    assert "3 downloads done." in ran.stderr
    assert hub.requests == []
    lines("download", MADE, "--from-file", "datasets.txt", status=2)
    lines("download", status=2)
