"""`download ID` keeps the files of the repository too, for calls that read these."""

from __future__ import annotations

import collections
import json
import logging
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from click.testing import CliRunner

import hf_localize
from hf_localize import errors, text
from hf_localize.cli import main
from hf_localize.format.repository import Repository
from hf_localize.sources.session import current_session
from tests.conftest import SECRET, Desk, run_cli, run_python
from tests.loads.fidelity.repositories import card, config
from tests.loads.fidelity.snapshots import snapshot
from tests.rig.hub import Fault, LoopbackHub, make_repository

GSM8K = "openai/gsm8k"
SOCRATIC = "socratic/test-00000-of-00001.parquet"


def _fetched(hub: LoopbackHub) -> collections.Counter[str]:
    """Return how often each file was sent: redirects and the older spelling of a revision count too."""
    sent = [r.path for r in hub.requests if r.method == "GET" and "/resolve/" in r.path]
    return collections.Counter(path.partition("/resolve/")[2].partition("/")[2] for path in sent)


def _paths(dataset_id: str, revision: str | None = None) -> list[str]:
    """Return the files of a repository that are in the local store."""
    local, repository = current_session().repositories.local, Repository("dataset", dataset_id)
    refs = local.refs(repository)
    commit = refs.resolve(revision) if refs else None
    held = local.snapshot(repository, commit) if commit else None
    return [file.path for file in held.files if local.local_path(file)] if held else []


@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_one_download_serves_loads_of_files_and_huggingface_hub(
    who: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    expected = snapshot(datasets.load_dataset(GSM8K, data_dir="main"))
    content = Path(huggingface_hub.hf_hub_download(GSM8K, SOCRATIC, repo_type="dataset")).read_bytes()
    desk.publisher().open_public_places()
    done = run_cli("download", GSM8K, "--name", "main", "--make-public")
    assert done.returncode == 0, done.stderr
    hub.stop()
    hub.clear()
    if who != "publisher":
        getattr(desk, who)()
    with hf_localize.installed():
        assert snapshot(datasets.load_dataset(GSM8K, data_dir="main")) == expected
        path = huggingface_hub.hf_hub_download(GSM8K, SOCRATIC, repo_type="dataset", cache_dir=tmp_path)
        assert Path(path).read_bytes() == content
    assert hub.requests == []


def test_files_of_a_revision_are_read_from_the_bucket_where_the_store_knows_its_name_alone(
    hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    make_repository(tmp_path, "made/two", "next", {"train.csv": b"a\n2\n"})
    hub.add(make_repository(tmp_path, "made/two", "main", {"train.csv": b"a\n1\n"}))
    desk.publisher()
    for revision in (None, "next"):
        hf_localize.download_dataset("made/two", None, revision)
    hub.stop()
    desk.teammate()
    hf_localize.download_repository("made/two", repo_type="dataset")
    with hf_localize.installed():
        loaded = datasets.load_dataset("made/two", data_files="*.csv", revision="next", split="train")
        assert loaded["a"][:] == [2]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_programs_that_are_told_to_be_offline_load_the_files(
    variable: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    """The dataset has no card, for which `datasets` asks first."""
    hub.add(make_repository(tmp_path / "repositories", "raw/bare", "main", {"csv/a.csv": b"a\n1\n"}))
    desk.publisher()
    done = run_cli("download", "raw/bare", "--files-only")
    assert done.returncode == 0, done.stderr
    hub.clear()
    code = """
import hf_localize
hf_localize.install()
from datasets import get_dataset_config_names, load_dataset
for name in ("raw/else", "raw/bare"):
    try:
        load_dataset(name, data_files="nope/*.csv")
    except Exception as exc:
        print(isinstance(exc, ConnectionError), isinstance(exc, FileNotFoundError))
print(load_dataset("raw/bare", data_files="csv/*.csv", split="train")["a"][:])
print(list(load_dataset("raw/bare", data_dir="csv", split="train", streaming=True)))
print(get_dataset_config_names("raw/bare", data_files="csv/*.csv"))
print(load_dataset("csv", data_files="hf://datasets/raw/bare/csv/a.csv", split="train")["a"][:])
"""
    environment = {variable: "1", "HF_HOME": str(tmp_path / "hf")}
    done = run_python(code, cwd=tmp_path, **environment)
    assert done.stdout.splitlines() == [
        "True False",
        "False True",
        "[1]",
        "[{'a': 1}]",
        "['default']",
        "[1]",
    ], done
    assert hub.requests == []
    hub._added.clear()


@pytest.mark.parametrize("configs", [("main",), ("main", "socratic")])
def test_no_file_is_fetched_from_the_hub_twice(
    configs: tuple[str, ...], hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher()
    options = [word for name in configs for word in ("--name", name)]
    done = run_cli("download", GSM8K, *options, HF_HOME=str(tmp_path / "hf"), HF_DATASETS_CACHE="")
    assert done.returncode == 0, done.stderr
    fetched = _fetched(hub)
    assert {path: fetched[path] for path in _paths(GSM8K) if path.endswith(".parquet")} == dict.fromkeys(
        (path for path in _paths(GSM8K) if path.endswith(".parquet")), 1
    )
    assert len(_paths(GSM8K)) == 4
    hub.clear()
    assert run_cli("download", GSM8K, *options).returncode == 0
    assert hub.requests == []


@pytest.mark.parametrize("options", [("--no-files",), ("--no-files", "--name", "main", "--name", "socratic")])
def test_no_files_are_kept_where_that_is_asked_for(
    options: tuple[str, ...], hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher()
    name = () if "--name" in options else ("--name", "main")
    assert run_cli("download", GSM8K, *name, *options).returncode == 0
    assert _paths(GSM8K) == []
    assert not [key for key in desk.bucket_keys() if "/repositories/" in key or "/blobs/" in key]
    assert run_cli("download", GSM8K, "--files-only", "--no-files").returncode == 2


def test_large_files_are_kept_only_where_that_is_asked_for(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hf_localize.api.repositories.MAX_KEPT_BYTES", 1000)
    desk.publisher()
    with caplog.at_level(logging.INFO, "hf_localize"):
        hf_localize.download_dataset(GSM8K, "main")
    assert f"hg-localize download {GSM8K} --name 'main' --keep-files" in caplog.text
    assert _paths(GSM8K) == []
    hf_localize.download_dataset(GSM8K, "main", keep_files=True)
    assert SOCRATIC in _paths(GSM8K)


def test_files_that_can_not_be_had_fail_no_download(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hub.faults = [Fault("GET .*/refs", 403)]
    assert hf_localize.download_dataset(GSM8K, "main").success
    assert _paths(GSM8K) == []
    hub.faults = []
    assert hf_localize.download_dataset(GSM8K, "main").success
    assert SOCRATIC in _paths(GSM8K)


def test_of_own_data_the_hub_is_not_asked_for_files(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), GSM8K)
    hub.clear()
    hf_localize.download_dataset(GSM8K)
    assert hub.requests == []


def test_the_files_are_those_of_the_commit_that_was_prepared(
    hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    folder = desk.folder / "repositories"
    hub.add(make_repository(folder, "made/moved", "main", {"a.csv": b"n\n1\n"}))
    desk.publisher()
    hf_localize.download_dataset("made/moved")
    former = hub.commit("made/moved")
    make_repository(folder, "made/moved", "main", {"a.csv": b"n\n2\n"})
    hub.refresh()
    hf_localize.download_dataset("made/moved", update=True)
    assert hub.commit("made/moved") != former
    hub.stop()
    desk.teammate()
    with hf_localize.installed():
        for revision, expected in ((None, b"n\n2\n"), (former, b"n\n1\n")):
            path = huggingface_hub.hf_hub_download(
                "made/moved", "a.csv", repo_type="dataset", revision=revision, cache_dir=tmp_path
            )
            assert Path(path).read_bytes() == expected
        assert datasets.load_dataset("made/moved", data_files="a.csv", split="train")["n"][:] == [2]
        with pytest.raises(ConnectionError, match=r"stored at main, but not at nope.*--revision 'nope'"):
            datasets.load_dataset("made/moved", revision="nope", data_files="a.csv")


def test_the_files_are_published_and_removed_with_the_dataset(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "main", skip_s3_upload=True)
    hf_localize.download_dataset(GSM8K, "socratic", skip_s3_upload=True)
    assert desk.bucket_keys() == []
    for name in ("main", "socratic"):
        hf_localize.sync_local_dataset_to_s3(GSM8K, name, make_public=True)

    def held(prefix: str) -> bool:
        return any("/repositories/" in key and "refs.json" not in key for key in desk.bucket_keys(prefix))

    assert held(".hgloc/")
    assert held("public_repositories/")
    hf_localize.withdraw_dataset(GSM8K, "socratic")  # The files are those of both.
    assert not desk.bucket_keys("public_repositories/blobs/")
    assert held(".hgloc/")
    hf_localize.remove_dataset(GSM8K, "main", s3=True)
    assert held(".hgloc/")
    hf_localize.remove_dataset(GSM8K, "socratic", s3=True)
    assert not held(".hgloc/")
    hf_localize.remove_dataset(GSM8K, "main")
    assert SOCRATIC in _paths(GSM8K)
    hf_localize.remove_dataset(GSM8K, "socratic")
    assert _paths(GSM8K) == []


def test_a_restricted_repository_is_not_shared_by_the_dataset(hub: LoopbackHub, desk: Desk) -> None:
    hub.gated[GSM8K] = {SECRET}
    desk.publisher().set(HF_TOKEN=SECRET)
    desk.open_public_places()
    hf_localize.download_dataset(GSM8K, "main")
    with pytest.raises(errors.RestrictedError):
        hf_localize.sync_local_dataset_to_s3(GSM8K, "main", make_public=True)
    assert not [key for key in desk.bucket_keys() if key.startswith("public")]


def test_explain_tells_the_size_of_the_files_too(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publisher()
    size_bytes = sum(len(data) for data in _contents(hub, GSM8K).values())
    for missing in (size_bytes, 0):  # Of what the Hub has, and of what is here.
        told = hf_localize.explain_dataset(GSM8K, "main")["repository"]
        assert told == {"files": 4, "size_bytes": size_bytes, "transfer_bytes": missing, "is_kept": True}
        ran = CliRunner().invoke(main, ["download", GSM8K, "--all-configs", "--dry-run", "--json"])
        assert [item["files_bytes"] for item in json.loads(ran.stdout)] == [missing, None]
        hf_localize.download_dataset(GSM8K, "main")
    shown = CliRunner().invoke(main, ["explain", GSM8K, "--name", "main"]).stdout
    assert f"The repository has 4 files, {text.size(size_bytes)}. A download stores them too" in shown
    monkeypatch.setattr("hf_localize.api.repositories.MAX_KEPT_BYTES", 1000)
    shown = CliRunner().invoke(main, ["explain", GSM8K, "--name", "main"]).stdout
    assert "Only download --keep-files stores them" in shown


def _contents(hub: LoopbackHub, dataset_id: str) -> dict[str, bytes]:
    api = huggingface_hub.HfApi(endpoint=hub.url)
    names = api.list_repo_files(dataset_id, repo_type="dataset")
    folder = Path(api.snapshot_download(dataset_id, repo_type="dataset"))
    return {name: (folder / name).read_bytes() for name in names}


def test_what_is_asked_of_the_hub_is_not_answered_from_older_files(hub: LoopbackHub, desk: Desk) -> None:
    folder = desk.folder / "repositories"

    def push(value: int) -> None:
        configs = [config(name, f"{name}.csv") for name in ("a", "b")]
        files = {"README.md": card(*configs), **{f"{name}.csv": f"n\n{value}\n".encode() for name in "ab"}}
        hub.add(make_repository(folder, "made/pushed", "main", files))
        hub.refresh()

    push(1)
    desk.publisher()
    hf_localize.download_dataset("made/pushed", "a", skip_s3_upload=True)
    push(2)
    with hf_localize.installed():
        assert datasets.load_dataset("made/pushed", "a", split="train")["n"][:] == [1]
        assert datasets.load_dataset("made/pushed", data_files="a.csv", split="train")["n"][:] == [1]
        assert datasets.load_dataset("made/pushed", "b", split="train")["n"][:] == [2]
        for how in ({"name": "a"}, {"data_files": "a.csv"}):
            loaded = datasets.load_dataset(
                "made/pushed", split="train", download_mode="force_redownload", **how
            )
            assert loaded["n"][:] == [2], how


@pytest.mark.skipif(
    [int(part) for part in datasets.__version__.split(".")[:2]] < [4, 8],
    reason="datasets knows such paths since 4.8",
)
def test_a_hub_path_is_the_dataset_whatever_lies_in_the_working_directory(
    hub: LoopbackHub, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, commit = f"hf://datasets/{GSM8K}", hub.commit(GSM8K)
    expected = snapshot(datasets.load_dataset(path, "main"))
    names = datasets.get_dataset_config_names(path)
    files = snapshot(datasets.load_dataset(path, data_dir="main"))
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "main")
    (tmp_path / GSM8K).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with hf_localize.installed():  # What is not here comes from the Hub.
        rows = datasets.load_dataset(f"{path}@{commit}", "socratic", split="test").num_rows
    assert rows == datasets.load_dataset(path, "socratic", split="test").num_rows
    hub.stop()
    hub.clear()
    desk.teammate()
    with hf_localize.installed():
        for spelling in (path, f"{path}@main", f"{path}@{commit}"):
            assert snapshot(datasets.load_dataset(spelling, "main")) == expected, spelling
            assert datasets.get_dataset_config_names(spelling) == names
            assert snapshot(datasets.load_dataset(spelling, data_dir="main")) == files, spelling
        assert datasets.load_dataset(path, "main", revision="main", streaming=True)["train"]
        with pytest.raises(ConnectionError):
            datasets.load_dataset(f"{path}@none", "main")
    assert hub.requests == []
