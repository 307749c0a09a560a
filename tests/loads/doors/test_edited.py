"""Files of the cache of huggingface_hub that a user edits in place: others get what the Hub has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem, hf_hub_download, snapshot_download

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.errors import HfLocalizeError
from tests.conftest import Desk
from tests.loads.doors.conftest import use_hub_cache
from tests.rig.hub import LoopbackHub, make_repository

NAME = "doors/edited"
KIND = {"repo_type": "dataset"}
DATA = b'{"a": 1}\n' * 4000


@pytest.fixture
def stored(hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Publish a repository whose files are already in a cache of huggingface_hub."""
    hub.add(make_repository(tmp_path / "hub", NAME, "main", {"train.jsonl": DATA}))
    use_hub_cache(monkeypatch, tmp_path / "first")
    hf_hub_download(NAME, "train.jsonl", **KIND)
    desk.publisher()
    download_repository(NAME, repo_type="dataset")
    hub.stop()
    hub._added.clear()
    return desk


def _edit(path: str) -> None:
    """Change one digit, as `sed` and editors that keep the file do."""
    with open(path, "r+b") as file:
        file.seek(6)
        file.write(b"2")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_an_edit_in_a_cache_stays_in_that_cache(
    stored: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, is_emptied: bool
) -> None:
    def path(cache: str) -> str:
        use_hub_cache(monkeypatch, tmp_path / cache)
        if whole:
            return snapshot_download(NAME, **KIND) + "/train.jsonl"
        return hf_hub_download(NAME, "train.jsonl", **KIND)

    with hf_localize.installed(sources="local,s3"):
        for cache in ("first", "second"):
            mine = path(cache)
            _edit(mine)
            if is_emptied:  # The store's file has no other link any more.
                os.unlink(os.path.realpath(mine))
            assert Path(path(f"after-{cache}")).read_bytes() == DATA
            HfFileSystem.clear_instance_cache()
            assert HfFileSystem().read_bytes(f"datasets/{NAME}/train.jsonl") == DATA
    if not is_emptied:
        assert Path(mine).read_bytes() != DATA


def test_an_edited_file_is_told_where_nothing_else_has_it(
    stored: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _edit(str(next(tmp_path.glob("first/*/snapshots/*/train.jsonl"))))
    use_hub_cache(monkeypatch, tmp_path / "other")
    with hf_localize.installed(sources="local"), pytest.raises((OSError, HfLocalizeError)):
        hf_hub_download(NAME, "train.jsonl", **KIND)
