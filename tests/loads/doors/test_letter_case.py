"""The Hub redirects an id in another letter case. So do all doors, and a load, without the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import requests
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.utils import OfflineModeIsEnabled

import hf_localize
from hf_localize.api.repositories import download_repository
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, make_repository

NAME, ASKED, KIND = "Doors/Case", "doors/cASE", {"repo_type": "dataset"}
FILES = {"README.md": b"# Hi", "train.csv": b"a\n1\n2\n"}
CALLS: dict[str, Callable[[], Any]] = {
    "load_dataset": lambda: datasets.load_dataset(ASKED, split="train")["a"][:],
    "hf_hub_download": lambda: Path(hf_hub_download(ASKED, "train.csv", **KIND)).parts[-4:],
    "snapshot_download": lambda: sorted(path.parts[-4:] for path in Path(snapshot_download(ASKED, **KIND)).iterdir()),
    "dataset_info": lambda: (HfApi().dataset_info(ASKED).id, HfApi().dataset_info(ASKED).sha),
    "list_repo_files": lambda: sorted(HfApi().list_repo_files(ASKED, **KIND)),
    "HfFileSystem": lambda: HfFileSystem().cat_file(f"datasets/{ASKED}/train.csv"),
    "requests": lambda: requests.get(hf_hub_url(ASKED, "train.csv", endpoint=huggingface_hub.constants.ENDPOINT, **KIND)).content,
}  # fmt: skip


@pytest.fixture
def shared(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> LoopbackHub:
    hub.add(make_repository(tmp_path / "hub", NAME, "main", FILES))
    hub.add(make_repository(tmp_path / "hub", f"models/{NAME}", "main", {"a.bin": b"a"}))
    yield hub
    hub._added.clear()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_an_id_in_another_letter_case_is_answered_as_by_the_hub(
    who: str, shared: LoopbackHub, desk: Desk, fresh: Callable[[str], Path]
) -> None:
    expected = {}
    for name, call in CALLS.items():
        fresh("stock")
        expected[name] = call()
    desk.publisher().open_public_places()
    hf_localize.download_dataset(NAME, make_public=True)
    download_repository(NAME, repo_type="model", make_public=True)
    shared.stop()
    if who != "publisher":
        getattr(desk, who)()
    got = {}
    with hf_localize.installed():
        for name, call in CALLS.items():
            fresh("ours")
            got[name] = call()
        if who == "publisher" or (who == "teammate" and desk.server.reader_access_key is None):
            # Others can't list the models: an outsider, and a reader who may not list the bucket.
            assert HfApi().model_info(ASKED).id == NAME
    assert got == expected


def test_an_id_that_is_not_held_is_compared_in_any_letter_case(shared: LoopbackHub, desk: Desk) -> None:
    desk.outsider()
    download_repository(NAME, repo_type="dataset", skip_s3_upload=True)
    Path(desk.store, ".hgloc/repositories/dataset/.somebody's").mkdir()
    with hf_localize.installed(sources="local"):
        assert HfApi().dataset_info(ASKED).id == NAME
    with (
        hf_localize.installed(sources="local"),
        pytest.raises(OfflineModeIsEnabled, match="Did you mean Doors/Case"),
    ):
        HfApi().dataset_info("doors/CASES")
