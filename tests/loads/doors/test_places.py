"""The doors on the store, the bucket and the public files themselves."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import requests
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.utils import OfflineModeIsEnabled

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.hf.doors import transport
from tests.conftest import Desk
from tests.loads.doors.conftest import use_hub_cache
from tests.rig.hub import LoopbackHub, make_repository

NAME, KIND = "doors/places", {"repo_type": "dataset"}
BIG = os.urandom(3_000_000)
FILES = {"README.md": b"# Hi", "data/a.csv": b"a\n1\n", ".dot": b"x", "big.bin": BIG, "empty": b""}


@pytest.fixture
def shared(hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """Localize a repository by a publisher, for everybody, and stop the Hub."""
    hub.add(make_repository(tmp_path / "hub", NAME, "main", FILES))
    hub.tags[NAME, "v1.0"] = "main"
    use_hub_cache(monkeypatch, tmp_path / "cache")
    HfFileSystem.clear_instance_cache()
    desk.publisher()
    desk.open_public_places()
    download_repository(NAME, repo_type="dataset", make_public=True)
    hub.stop()
    hub.clear()
    yield hub
    assert hub.requests == []
    hub._added.clear()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_everybody_reads_what_one_has_localized(who: str, shared: LoopbackHub, desk: Desk) -> None:
    if who != "publisher":
        getattr(desk, who)()
    with hf_localize.installed():
        assert HfFileSystem().cat_file(f"datasets/{NAME}/big.bin", start=1000, end=1010) == BIG[1000:1010]
        url = hf_hub_url(NAME, "data/a.csv", endpoint=huggingface_hub.constants.ENDPOINT, **KIND)
        assert requests.get(url).content == FILES["data/a.csv"]
        stored = list(desk.store.glob(".hgloc/blobs/*/*"))
        assert bool(stored) == (who == "publisher")  # Ranges store nothing.
        assert sorted(HfApi().list_repo_files(NAME, **KIND)) == sorted(FILES)
        assert [tag.name for tag in HfApi().list_repo_refs(NAME, **KIND).tags] == ["v1.0"]
        folder = Path(snapshot_download(NAME, revision="v1.0", **KIND))
        assert {path: (folder / path).read_bytes() for path in FILES} == FILES
        blobs = [path for path in desk.store.glob(".hgloc/blobs/*/*") if path.stat().st_size == len(BIG)]
        assert [blob.samefile(folder / "big.bin") for blob in blobs] == [True]
        desk.s3.clear()
        assert hf_hub_download(NAME, "README.md", **KIND)
        with pytest.raises(OfflineModeIsEnabled):
            HfApi().dataset_info("doors/else")


def test_the_hub_gives_what_is_lost_of_the_commit_that_is_held(
    hub: LoopbackHub,
    desk: Desk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "hf_localize")
    for revision in ("main", "old"):
        hub.add(make_repository(tmp_path / "hub", NAME, revision, FILES))
    use_hub_cache(monkeypatch, tmp_path / "cache")
    desk.outsider()
    download_repository(NAME, repo_type="dataset", skip_s3_upload=True)
    for blob in desk.store.glob(".hgloc/blobs/*/*"):
        blob.unlink()
    hub.add(make_repository(tmp_path / "hub", NAME, "main", {"README.md": b"# Ho"}))
    url = hf_hub_url(NAME, "README.md", endpoint=huggingface_hub.constants.ENDPOINT, **KIND)
    with hf_localize.installed(sources="local,hub"):
        assert requests.get(url).content == urllib.request.urlopen(url).read() == FILES["README.md"]
        assert Path(hf_hub_download(NAME, "README.md", **KIND)).read_bytes() == FILES["README.md"]
        for ask in (requests.get, urllib.request.urlopen, lambda _: hf_hub_download(NAME, "big.bin", **KIND)):
            hub.stop()
            with pytest.raises(OfflineModeIsEnabled, match="can't be read"):
                ask(url)
    assert "is retried" not in caplog.text  # What is missing stays missing.
    hub._added.clear()


def test_a_repository_is_found_as_soon_as_it_is_stored(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    hub.add(make_repository(tmp_path / "hub", NAME, "main", FILES))
    desk.outsider()
    ask: Callable[[], object] = lambda: HfApi().dataset_info(NAME).id  # noqa: E731
    with hf_localize.installed(sources="local"), pytest.raises(OfflineModeIsEnabled):
        ask()
    with hf_localize.installed():
        download_repository(NAME, repo_type="dataset", skip_s3_upload=True)
    hub.stop()
    with hf_localize.installed(sources="local"):
        assert ask() == NAME
    hub._added.clear()


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "gone"])
def test_files_of_a_repository_that_is_stored_in_part_are_those_of_one_commit(
    is_kept: bool, hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub_cache(monkeypatch, tmp_path / "cache")
    HfFileSystem.clear_instance_cache()
    old = {"a.txt": b"old", "b.txt": b"old", "c.txt": b"old"}
    if is_kept:  # The rig has a commit while a branch has it.
        hub.add(make_repository(tmp_path / "hub", NAME, "kept", old))
    hub.add(make_repository(tmp_path / "hub", NAME, "main", old))
    commit = hub.commit(NAME)
    desk.outsider()
    download_repository(NAME, repo_type="dataset", include=["a.txt"], skip_s3_upload=True)
    for path in ("b.txt", "c.txt"):
        (tmp_path / "hub" / NAME / "main" / path).write_bytes(b"new")
    hub.refresh()
    others = b"old" if is_kept else b"new"
    with hf_localize.installed(sources="local,hub"):
        for revision in (None, "main", *([commit] if is_kept else [])):
            for path in old:
                file = Path(hf_hub_download(NAME, path, revision=revision, **KIND))
                assert file.read_bytes() == (b"old" if path == "a.txt" else others), (path, revision)
                assert (file.parent.name == commit) == (path == "a.txt" or is_kept)
        assert HfApi().dataset_info(NAME).sha == (commit if is_kept else hub.commit(NAME))
        assert HfFileSystem().cat_file(f"datasets/{NAME}/c.txt") == others
        url = hf_hub_url(NAME, "c.txt", endpoint=huggingface_hub.constants.ENDPOINT, **KIND)
        assert requests.get(url).content == urllib.request.urlopen(url).read() == others
        folder = Path(snapshot_download(NAME, **KIND))
        assert (folder / "b.txt").read_bytes() == others
        assert requests.get(url, stream=True).content == others
    hub._added.clear()


def test_a_snapshot_has_all_files_as_soon_as_they_can_be_had(
    hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub_cache(monkeypatch, tmp_path / "cache")
    hub.add(make_repository(tmp_path / "hub", NAME, "main", FILES))
    desk.publisher()
    download_repository(NAME, repo_type="dataset", exclude=["*.bin"])
    desk.teammate()
    for place in ({}, {"local_dir": tmp_path / "mine"}):
        for has_hub in (False, True):
            if not has_hub:
                hub.stop()
            with hf_localize.installed(sources="local,s3,hub"):
                transport.forget()
                folder = Path(snapshot_download(NAME, **place, **KIND))
            assert (folder / "README.md").exists()
            assert (folder / "big.bin").exists() == has_hub
            hub.start()
    hub._added.clear()


def test_an_id_of_one_part_is_told_from_a_path_in_it(
    hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(make_repository(tmp_path / "hub", "models/alone", "main", FILES))
    asked: list[Callable[[], object]] = [
        lambda: [HfApi().repo_exists(name) for name in ("alone", "alone/data")],
        lambda: [HfFileSystem().exists(f"alone/{path}") for path in ("README.md", "data/a.csv", "no")],
        lambda: [HfFileSystem().isdir("alone/data"), HfFileSystem().isfile("alone/nothing")],
    ]

    def answers() -> list[object]:
        HfFileSystem.clear_instance_cache()
        return [ask() for ask in asked]

    expected = answers()
    desk.publisher()
    download_repository("alone", repo_type="model")
    hub.stop()
    for who in (desk.publisher, desk.teammate):
        who()
        with hf_localize.installed(sources="local,s3"):
            assert answers() == expected
            with pytest.raises(OfflineModeIsEnabled):
                HfApi().model_info("other/data")
    hub._added.clear()
