"""What version 0.1.0 of November 2026 stored, published, shared and locked is of use to this one."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from tests.conftest import DATA, Desk, run_cli

ARCHIVE = DATA / "earlier" / "0.1.0.tar.xz"
#: A dataset of the Hub, and own data under two names: (id, config, revision).
STORED = {("openai/gsm8k", "socratic", None), ("team/rows", None, None), ("team/rows", "second", "v2")}
SHARED = {("openai/gsm8k", "socratic", None), ("team/rows", None, None)}
ROWS = {"train": [{"n": n, "text": f"row {n}"} for n in range(10)], "test": [{"n": 7, "text": "é"}]}


@pytest.fixture
def earlier(desk: Desk, tmp_path: Path) -> Path:
    """Return the unpacked archive; its objects are in the bucket, its store is the publisher's."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "earlier", filter="data")
    desk.publisher().open_public_places()
    name, objects = (tmp_path / "earlier" / "name").read_bytes(), tmp_path / "earlier" / "bucket"
    for path in filter(Path.is_file, objects.rglob("*")):
        body = path.read_bytes().replace(b'"' + name + b'"', f'"{desk.bucket}"'.encode())
        key = path.relative_to(objects).as_posix()
        access = {"ACL": "public-read"} if key.startswith("public_") else {}
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=body, **access)  # type: ignore[arg-type]
    shutil.copytree(tmp_path / "earlier" / "store", desk.store, dirs_exist_ok=True)
    return tmp_path / "earlier"


def names(found: list[dict[str, Any]]) -> set[tuple[str, str | None, str | None]]:
    return {(item["dataset_id"], item["config_name"], item["revision"]) for item in found}


def assert_loads(source: str) -> None:
    with hf_localize.installed(sources=(source,)):
        assert len(datasets.load_dataset("openai/gsm8k", "socratic", split="test")) == 1319
        loaded = datasets.load_dataset("team/rows")
        assert {name: split.to_list() for name, split in loaded.items()} == ROWS
        streamed = datasets.load_dataset("team/rows", streaming=True)
        assert {name: list(split) for name, split in streamed.items()} == ROWS
        if source != "public":
            assert datasets.load_dataset("team/rows", "second", revision="v2").num_rows == {
                "train": 10,
                "test": 1,
            }


def test_its_store_is_listed_loaded_and_verified(earlier: Path) -> None:
    assert names(hf_localize.list_local_datasets()) == STORED
    assert [item["damaged"] for item in hf_localize.verify_dataset(deep=True)] == [[], [], []]
    assert_loads("local")


def test_its_bucket_is_listed_verified_and_loaded(desk: Desk, earlier: Path) -> None:
    assert names(hf_localize.list_s3_datasets()) == STORED
    assert [item["damaged"] for item in hf_localize.verify_dataset(s3=True, deep=True)] == [[], [], []]
    desk.teammate()
    assert_loads("s3")


def test_its_public_zips_are_listed_verified_and_loaded(desk: Desk, earlier: Path) -> None:
    desk.outsider()
    assert names(hf_localize.list_public_datasets()) == SHARED
    assert [item["damaged"] for item in hf_localize.verify_dataset(public=True, deep=True)] == [[], []]
    assert_loads("public")


def test_its_lock_file_names_what_is_loaded(desk: Desk, earlier: Path) -> None:
    desk.teammate().set(HGLOC_LOCK=str(earlier / "datasets.lock"), HGLOC_SOURCES="local,s3,public")
    assert hf_localize.load_local_dataset("openai/gsm8k", "socratic")["test"].num_rows == 1319
    with pytest.raises(hf_localize.HfLocalizeError, match="lock"):
        hf_localize.load_local_dataset("team/rows")


def test_what_it_published_is_not_sent_again_and_can_be_withdrawn(desk: Desk, earlier: Path) -> None:
    desk.s3.clear()
    synced = hf_localize.sync_local_datasets_to_s3()
    assert [done.success for done in synced] == [True, True, True]
    sent = [r.path for r in desk.s3.requests if r.method == "PUT" and ".arrow" in r.path]
    assert sent == []
    assert run_cli("withdraw", "team/rows", "--yes").returncode == 0
    assert names(hf_localize.list_public_datasets()) == SHARED - {("team/rows", None, None)}
    assert names(hf_localize.list_s3_datasets()) == STORED
