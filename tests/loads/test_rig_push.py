"""The loopback Hub takes what the real clients push, and serves it to the next load."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.utils import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.conftest import DATA
from tests.rig.hub import LoopbackHub, make_repository

WRITER, READER = "hf_writer", "hf_reader"
FEATURES = datasets.Features(
    {
        "n": datasets.Value("int32"),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["no", "yes"]),
        "parts": [{"x": datasets.Value("float64")}],
    }
)


def rows(count: int, start: int = 0) -> datasets.Dataset:
    columns = {
        "n": list(range(start, start + count)),
        # Hashes, so that Parquet can't make the file small.
        "text": [hashlib.sha256(b"%d" % n).hexdigest() for n in range(start, start + count)],
        "label": [n % 2 for n in range(count)],
        "parts": [[{"x": n / 3}] * (n % 3) for n in range(count)],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURES)


def same(got: datasets.Dataset, expected: datasets.Dataset) -> bool:
    return got.features == expected.features and got.to_dict() == expected.to_dict()


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    hub.writers.add(WRITER)
    hub.gated["made/nothing"] = {READER}  # So the Hub knows this token.
    return HfApi(token=WRITER)


@pytest.fixture
def repo(api: HfApi, tmp_path: Path) -> str:
    """An id that no other test has: datasets caches what it loads by id."""
    return f"writer/{hashlib.sha1(str(tmp_path).encode()).hexdigest()[:12]}"


def test_a_pushed_dataset_loads_with_the_same_rows_and_features(hub: LoopbackHub, repo: str) -> None:
    hub.writers.add(WRITER)
    pushed = datasets.DatasetDict({"train": rows(3000), "test": rows(5)})
    pushed.push_to_hub(repo, token=WRITER)
    loaded = datasets.load_dataset(repo)
    assert list(loaded) == ["train", "test"]
    assert all(same(loaded[split], pushed[split]) for split in pushed)
    assert [r.status for r in hub.requests if r.path.startswith("/uploads/")] == [200, 200]
    assert not any(r.status >= 500 for r in hub.requests)


def test_a_second_push_replaces_a_split_and_keeps_the_others(hub: LoopbackHub, repo: str) -> None:
    hub.writers.add(WRITER)
    datasets.DatasetDict({"train": rows(10), "test": rows(5)}).push_to_hub(repo, token=WRITER)
    before = hub.commit(repo)
    rows(7, start=100).push_to_hub(repo, split="train", token=WRITER)
    assert hub.commit(repo) != before
    loaded = datasets.load_dataset(repo)
    assert same(loaded["train"], rows(7, start=100))
    assert same(loaded["test"], rows(5))
    # What was there before is there still, by its SHA.
    assert datasets.load_dataset(repo, revision=before, split="train").num_rows == 10


def test_configs_shards_and_branches(hub: LoopbackHub, repo: str, api: HfApi) -> None:
    rows(10).push_to_hub(repo, config_name="small", token=WRITER)
    rows(4000).push_to_hub(repo, config_name="large", max_shard_size="100KB", token=WRITER)
    rows(3).push_to_hub(repo, config_name="small", revision="next", token=WRITER)
    assert sorted(datasets.get_dataset_config_names(repo)) == ["large", "small"]
    files = api.list_repo_files(repo, repo_type="dataset")
    assert sum(path.startswith("large/") for path in files) > 1
    assert same(datasets.load_dataset(repo, "large", split="train"), rows(4000))
    assert same(datasets.load_dataset(repo, "small", split="train"), rows(10))
    assert same(datasets.load_dataset(repo, "small", split="train", revision="next"), rows(3))


def test_a_private_push_is_its_writers_alone(hub: LoopbackHub, repo: str, api: HfApi) -> None:
    rows(4).push_to_hub(repo, private=True, token=WRITER)
    assert api.dataset_info(repo).private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=READER).dataset_info(repo)
    assert same(datasets.load_dataset(repo, split="train", token=WRITER), rows(4))


def test_without_the_right_to_write_clients_raise_what_their_users_know(
    hub: LoopbackHub, repo: str, api: HfApi
) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        rows(4).push_to_hub(repo, token=False)
    with pytest.raises(HfHubHTTPError, match="403"):
        rows(4).push_to_hub(repo, token=READER)
    api.create_repo(repo, repo_type="dataset")
    for token, status in ((False, "401"), (READER, "403"), ("hf_nobodys", "401")):
        with pytest.raises(HfHubHTTPError, match=status):
            HfApi(token=token).upload_file(
                path_or_fileobj=b"", path_in_repo="a", repo_id=repo, repo_type="dataset"
            )
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id="writer/none", repo_type="dataset")
    assert api.list_repo_files(repo, repo_type="dataset") == [".gitattributes"]


def test_what_hf_api_writes(hub: LoopbackHub, repo: str, api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "deep" / "large.bin").write_bytes(bytes(range(256)) * 100)
    ours = {"repo_id": repo, "repo_type": "dataset"}
    url = api.create_repo(**ours)
    assert (url.repo_id, url.repo_type) == (repo, "dataset")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(**ours)
    api.create_repo(**ours, exist_ok=True)
    first = api.upload_folder(folder_path=folder, **ours).oid
    assert first == hub.commit(repo) == api.dataset_info(repo).sha
    api.create_tag(tag="v1", **ours)
    api.create_branch(branch="old", revision="v1", **ours)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch(branch="old", **ours)
    api.upload_file(path_or_fileobj=b"x\n1\n2\n", path_in_repo="a.csv", **ours)
    api.delete_file("deep/large.bin", **ours)
    with pytest.raises(EntryNotFoundError):
        api.delete_file("deep/large.bin", **ours)
    assert api.list_repo_files(**ours) == [".gitattributes", "a.csv"]
    for revision, content in {"main": "x\n1\n2\n", "v1": "x\n1\n", "old": "x\n1\n", first: "x\n1\n"}.items():
        assert Path(hf_hub_download(filename="a.csv", revision=revision, **ours)).read_text() == content
    refs = api.list_repo_refs(**ours)
    assert [one.name for one in refs.branches] == ["main", "old"]
    assert [(one.name, one.target_commit) for one in refs.tags] == [("v1", first)]
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(tag="v2", revision="none", **ours)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(path_or_fileobj=b"", path_in_repo="b", parent_commit=first, **ours)
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", **ours)
    api.delete_repo(**ours)
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info(repo)


def test_a_commit_is_made_whole_or_not_at_all_and_none_is_lost(
    hub: LoopbackHub, repo: str, api: HfApi
) -> None:
    ours = {"repo_id": repo, "repo_type": "dataset"}
    api.create_repo(**ours)
    before = hub.commit(repo)
    operations = [CommitOperationAdd("a", b"a"), CommitOperationDelete("none")]
    with pytest.raises(EntryNotFoundError):
        api.create_commit(operations=operations, commit_message="both", **ours)
    assert hub.commit(repo) == before

    def upload(number: int) -> None:
        api.upload_file(path_or_fileobj=b"%d" % number, path_in_repo=f"{number}.bin", **ours)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(16)))
    files = api.list_repo_files(**ours)
    assert sorted(files) == sorted([".gitattributes", *(f"{number}.bin" for number in range(16))])


def test_a_write_never_changes_the_root(hub: LoopbackHub, api: HfApi) -> None:
    ours = {"repo_id": "openai/gsm8k", "repo_type": "dataset"}
    before = {path: path.stat().st_mtime_ns for path in DATA.rglob("*")}
    old = hub.commit("openai/gsm8k")
    api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", **ours)
    assert api.file_exists(filename="new.txt", **ours)
    assert hub.commit("openai/gsm8k", old) == old
    assert {path: path.stat().st_mtime_ns for path in DATA.rglob("*")} == before
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=READER).delete_file("new.txt", **ours)
    with LoopbackHub(DATA) as bare:
        bare.writers.add(WRITER)
        with pytest.raises(HfHubHTTPError, match="403") as caught:
            HfApi(endpoint=bare.url, token=WRITER).create_tag(tag="v9", **ours)
        assert "read-only" in str(caught.value)


def test_a_converted_revision_loads(hub: LoopbackHub, repo: str, tmp_path: Path) -> None:
    make_repository(tmp_path, repo, "main", {"data.csv": b"x\n1\n"})
    hub.add(make_repository(tmp_path, repo, "refs/convert/parquet", {"d/train/0000.csv": b"x\n1\n2\n"}))
    for revision, count in {"main": 1, "refs/convert/parquet": 2}.items():
        assert datasets.load_dataset(repo, revision=revision, split="train").num_rows == count


def test_the_dataset_viewer_answers_at_once(hub: LoopbackHub, repo: str, tmp_path: Path) -> None:
    hub.add(make_repository(tmp_path, repo, "main", {"data.csv": b"x\n1\n"}))
    datasets.load_dataset(repo)
    asked = [r.status for r in hub.requests if "/info?" in r.path]
    # Only datasets 2.x waits for it, and it asks by `requests`, which knows the way.
    assert asked == [404] or not datasets.__version__.startswith("2.")


def test_an_id_in_other_letter_case_leads_to_the_repository(hub: LoopbackHub, api: HfApi) -> None:
    assert api.dataset_info("OpenAI/GSM8K").id == "openai/gsm8k"
    assert {r.status for r in hub.requests if "OpenAI" in r.path} == {307}
    hub.clear()
    loaded = datasets.load_dataset("openai/GSM8k", "main", split="test")
    assert loaded.num_rows == datasets.load_dataset("openai/gsm8k", "main", split="test").num_rows
    hub.private["openai/gsm8k"] = {READER}
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("openai/GSM8K")
    assert HfApi(token=READER).dataset_info("openai/GSM8K").id == "openai/gsm8k"
