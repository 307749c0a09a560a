"""Calls of libraries that read the Hub give the same from what is held as from the Hub."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import requests
from huggingface_hub import DatasetCard, HfApi, HfFileSystem, hf_hub_download, hf_hub_url, snapshot_download

import hf_localize
from hf_localize.api.repositories import download_repository
from tests.conftest import Desk
from tests.loads.doors.conftest import DATASET
from tests.loads.fidelity import report
from tests.rig.held import HeldRepositories
from tests.rig.hub import LoopbackHub

KIND = {"repo_type": "dataset"}
ROOT = f"datasets/{DATASET}"


def content(path: str) -> Any:
    """Return what is at a path: names with hashes; of a file in the cache, also that of its blob."""
    place = Path(path)
    if place.is_dir():
        files = [one for one in sorted(place.rglob("*")) if one.is_file() and ".cache" not in one.parts]
        return {one.relative_to(place).as_posix(): content(str(one)) for one in files}
    return place.name, place.resolve().name, hashlib.sha256(place.read_bytes()).hexdigest()


def url(path: str, **options: str) -> str:
    return hf_hub_url(DATASET, path, endpoint=huggingface_hub.constants.ENDPOINT, **KIND, **options)


def without_commits(items: Any) -> list[dict[str, Any]]:
    """Return what a tree tells but for what is not kept: when a path was changed, and hashes of folders."""
    kept = []
    for item in items:
        told = dict(item if isinstance(item, dict) else vars(item))
        for name in ("last_commit", "lastCommit", "security", "tree_id", "treeId"):
            told.pop(name, None)
        kept.append({name: value for name, value in told.items() if value is not None})
    return kept


def facts(info: Any) -> dict[str, Any]:
    names = ("id", "author", "sha", "private", "gated", "disabled")
    return {**{name: getattr(info, name) for name in names}, "siblings": info.siblings}


def pandas_parquet() -> Any:
    import pandas as pd

    return pd.read_parquet(f"hf://{ROOT}/data/train.parquet").to_dict()


def pyarrow_rows() -> Any:
    import pyarrow.parquet as pq

    with HfFileSystem().open(f"{ROOT}/data/train.parquet") as file:
        return pq.ParquetFile(file).read(columns=["a"]).to_pydict()


def loaded(**options: Any) -> Any:
    from datasets import load_dataset

    return [list(split) for split in load_dataset(**options).values()]


GROUPS: dict[str, dict[str, Callable[[], Any]]] = {
    "`hf_hub_download`": {
        "hf_hub_download": lambda: content(hf_hub_download(DATASET, "data/train.parquet", **KIND)),
        "hf_hub_download(tag)": lambda: content(hf_hub_download(DATASET, "README.md", revision="v1.0", **KIND)),
        "hf_hub_download(subfolder)": lambda: content(hf_hub_download(DATASET, "more.json", subfolder="sub/deep", **KIND)),
        "hf_hub_download(force)": lambda: content(hf_hub_download(DATASET, "README.md", force_download=True, **KIND)),
        "hf_hub_download(missing)": lambda: hf_hub_download(DATASET, "nope", **KIND),
        "hf_hub_download(no revision)": lambda: hf_hub_download(DATASET, "README.md", revision="nope", **KIND),
    },
    "`snapshot_download`": {
        "snapshot_download": lambda: content(snapshot_download(DATASET, **KIND)),
        "snapshot_download(branch)": lambda: content(snapshot_download(DATASET, revision="other", **KIND)),
        "snapshot_download(allow)": lambda: content(snapshot_download(DATASET, allow_patterns="data/*", **KIND)),
        "snapshot_download(ignore)": lambda: content(snapshot_download(DATASET, ignore_patterns=["*.csv"], **KIND)),
        "snapshot_download(*)": lambda: Path(snapshot_download(DATASET, ignore_patterns=["*"], **KIND)).name,
    },
    "`HfApi`: listings, information, refs": {
        "list_repo_files": lambda: sorted(HfApi().list_repo_files(DATASET, **KIND)),
        "list_repo_refs": lambda: HfApi().list_repo_refs(DATASET, **KIND),
        "list_repo_tree": lambda: without_commits(HfApi().list_repo_tree(DATASET, recursive=True, **KIND)),
        "list_repo_tree(expand)": lambda: without_commits(HfApi().list_repo_tree(DATASET, "data", expand=True, **KIND)),
        "list_repo_tree(missing)": lambda: list(HfApi().list_repo_tree(DATASET, "nope", **KIND)),
        "repo_info": lambda: facts(HfApi().repo_info(DATASET, **KIND)),
        "repo_info(no revision)": lambda: HfApi().repo_info(DATASET, revision="nope", **KIND),
        "dataset_info": lambda: facts(HfApi().dataset_info(DATASET, files_metadata=True)),
        "dataset_info(sha)": lambda: HfApi().dataset_info(DATASET, revision="v1.0").sha,
        "file_exists": lambda: [HfApi().file_exists(DATASET, name, **KIND) for name in ("README.md", "nope")],
        "repo_exists": lambda: HfApi().repo_exists(DATASET, **KIND),
        "revision_exists": lambda: [HfApi().revision_exists(DATASET, name, **KIND) for name in ("v1.0", "nope")],
        "get_paths_info": lambda: without_commits(HfApi().get_paths_info(DATASET, ["data", ".dot", "nope"], **KIND)),
    },
    "`HfFileSystem`": {
        "ls": lambda: HfFileSystem().ls(f"{ROOT}/data", detail=False),
        "ls(detail)": lambda: without_commits(HfFileSystem().ls(f"{ROOT}/data")),
        "glob": lambda: HfFileSystem().glob(f"{ROOT}/**/*.csv"),
        "find": lambda: HfFileSystem().find(ROOT),
        "walk": lambda: list(HfFileSystem().walk(ROOT)),
        "cat": lambda: HfFileSystem().cat(f"{ROOT}@other/README.md"),
        "cat(many)": lambda: HfFileSystem().cat([f"{ROOT}/README.md", f"{ROOT}/.dot"]),
        "info": lambda: without_commits([HfFileSystem().info(f"{ROOT}/data/train.parquet")]),
        "exists": lambda: [HfFileSystem().exists(f"{ROOT}/{name}") for name in ("README.md", "nope")],
        "open": lambda: HfFileSystem().open(f"{ROOT}/data/train.parquet").read(100),
        "open(missing)": lambda: HfFileSystem().open(f"{ROOT}/nope").read(),
    },
    "pandas, pyarrow and `DatasetCard`": {
        "pandas": pandas_parquet,
        "pyarrow": pyarrow_rows,
        "card": lambda: DatasetCard.load(DATASET).data.to_dict(),
    },
    "`load_dataset` of data files by `hf://` and URL": {
        "load_dataset(hf://)": lambda: loaded(path="csv", data_files=f"hf://{ROOT}/data/test.csv"),
        "load_dataset(URL)": lambda: loaded(path="csv", data_files=url("data/test.csv")),
        "load_dataset(hf://, streaming)": lambda: loaded(path="csv", data_files=f"hf://{ROOT}/data/test.csv", streaming=True),
        "load_dataset(URL, streaming)": lambda: loaded(path="csv", data_files=url("data/test.csv"), streaming=True),
    },
    "`requests` and `urllib`": {
        "requests": lambda: requests.get(url("README.md")).text,
        "requests(range)": lambda: requests.get(url("README.md"), headers={"Range": "bytes=4-9"}).content,
        "requests(head)": lambda: requests.head(url("README.md")).headers["X-Repo-Commit"],
        "requests(missing)": lambda: requests.get(url("nope")).status_code,
        "requests(stream)": lambda: b"".join(requests.get(url("data/train.parquet"), stream=True).iter_content(1000)),
        "urllib": lambda: urllib.request.urlopen(url("README.md")).read(),
        "urllib(missing)": lambda: urllib.request.urlopen(url("nope")).read(),
        "urllib(request)": lambda: urllib.request.urlopen(urllib.request.Request(url("README.md"), headers={"Range": "bytes=0-2"})).read(),
    },
}  # fmt: skip
CALLS = {name: call for calls in GROUPS.values() for name, call in calls.items()}


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:
        return type(exc).__name__


@pytest.mark.sampled(3)
@pytest.mark.parametrize("place", report.PLACES)
def test_calls_give_the_same_without_the_hub(
    place: str, hub: LoopbackHub, desk: Desk, repository: None, fresh: Callable[[str], Path]
) -> None:
    """Each call finds an empty cache; in the bucket or among the public files, also an empty store."""
    calls = dict(CALLS)
    if not has_pandas():
        del calls["pandas"]
    expected = {}
    for name, call in calls.items():
        fresh("stock")
        expected[name] = outcome(call)
    desk.publisher().open_public_places()
    download_repository(DATASET, repo_type="dataset", make_public=True)
    download_repository(DATASET, repo_type="dataset", revision="other", make_public=True)
    hub.stop()
    hub.clear()
    got = {}
    for name, call in calls.items():
        if place != "local":
            desk.teammate() if place == "private" else desk.outsider()
        fresh("ours")
        with hf_localize.installed():
            got[name] = outcome(call)
    if report.FOLDER:
        equal = {
            group: [got[name] == expected[name] for name in names if name in calls]
            for group, names in GROUPS.items()
        }
        counts = {group: (sum(found), len(found)) for group, found in equal.items()}
        report.record("which calls", huggingface_hub.__version__, place, counts)
    assert {n: (expected[n], got[n]) for n in calls if got[n] != expected[n]} == {}
    assert hub.requests == []


def has_pandas() -> bool:
    """Tell whether pandas is here, with an fsspec that it can use."""
    try:
        pytest.importorskip("pandas", minversion="1")
        pytest.importorskip("fsspec", minversion="2025.7")  # Which newer releases of pandas need.
    except pytest.skip.Exception:
        return False
    return True


def test_the_calls_are_answered_with_the_hub_up_too_and_without_asking_it(
    hub: LoopbackHub, repositories: HeldRepositories, fresh: Callable[[str], Path]
) -> None:
    fresh("ours")
    hub.clear()
    with hf_localize.installed():
        for name in ("snapshot_download", "list_repo_refs", "ls", "card", "requests", "urllib"):
            CALLS[name]()
    assert hub.requests == []


def test_models_and_spaces_are_answered(hub: LoopbackHub, offline: HeldRepositories) -> None:
    for repo_type in ("model", "space"):
        offline.types = {DATASET: repo_type}
        assert HfApi().repo_info(DATASET, repo_type=repo_type).id == DATASET
        assert content(hf_hub_download(DATASET, ".dot", repo_type=repo_type))[0] == ".dot"
