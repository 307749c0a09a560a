"""After a process has written to a stored repository, it reads that repository from the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, HfApi, snapshot_download

import hf_localize
from hf_localize.api.repositories import download_repository
from tests.conftest import Desk
from tests.loads.test_rig_push import WRITER, rows
from tests.rig.hub import LoopbackHub

REPO, KIND = "writer/held", {"repo_type": "dataset"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("sources", ["local,hub", "local"])
def test_a_config_that_is_pushed_stands_beside_those_that_others_have_pushed(
    sources: str, hub: LoopbackHub, desk: Desk, fresh: Callable[[str], Path]
) -> None:
    fresh("cache")
    desk.outsider()
    hub.writers.add(WRITER)
    rows(3).push_to_hub(REPO, "ours", token=WRITER)
    download_repository(REPO, **KIND, skip_s3_upload=True)
    rows(3).push_to_hub(REPO, "theirs", token=WRITER)
    with hf_localize.installed(sources=sources):
        for name in ("one", "two"):
            rows(3).push_to_hub(REPO, name, token=WRITER)
        HfApi(token=WRITER).delete_file("two/train-00000-of-00001.parquet", REPO, **KIND)
        folder = Path(snapshot_download(REPO, **KIND))
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["one", "ours", "theirs"]
    configs = DatasetCard.load(REPO).data.to_dict()["configs"]
    assert sorted(config["config_name"] for config in configs) == ["one", "ours", "theirs", "two"]
