"""What is held, what is not, and who is asked then."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import requests
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled

import hf_localize
from hf_localize import settings
from hf_localize.errors import UnreachableError
from hf_localize.hf.doors import senders
from tests.loads.doors.conftest import CARD, DATASET
from tests.rig.held import HeldRepositories
from tests.rig.hub import Fault, LoopbackHub, make_repository

KIND = {"repo_type": "dataset"}


def url(dataset: str = DATASET, path: str = "README.md") -> str:
    return hf_hub_url(dataset, path, endpoint=huggingface_hub.constants.ENDPOINT, **KIND)


def test_a_file_of_the_store_is_linked_into_the_cache(offline: HeldRepositories) -> None:
    path = Path(hf_hub_download(DATASET, "data/train.parquet", **KIND))
    assert path.samefile(next(p for p in offline._sources.values() if p.name == "train.parquet"))
    assert (offline.localized, offline.opened) == ([], [])  # Neither fetched nor streamed.


def test_a_snapshot_is_fetched_as_one_and_only_what_is_asked_for(offline: HeldRepositories) -> None:
    offline.is_remote = True
    patterns = {"allow_patterns": ["*.md", "data/*"], "ignore_patterns": "*.csv"}
    snapshot_download(DATASET, **patterns, **KIND)
    assert offline.localized[:2] == ["README.md", "data/train.parquet"]
    assert set(offline.localized) == {"README.md", "data/train.parquet"}
    offline.localized.clear()
    snapshot_download(DATASET, **patterns, **KIND)  # The cache has it.
    assert (offline.localized, offline.opened) == ([], [])


def test_a_snapshot_that_the_cache_has_is_found_without_a_request(
    offline: HeldRepositories, caplog: pytest.LogCaptureFixture
) -> None:
    folder = snapshot_download(DATASET, revision="v1.0", **KIND)
    with caplog.at_level("DEBUG", "hf_localize.hf.doors.transport"):
        assert snapshot_download(DATASET, revision="v1.0", **KIND) == folder
        assert caplog.records == []
        assert snapshot_download(DATASET, **KIND) == folder  # Of this name the cache knows nothing yet.
        assert caplog.records != []
    Path(folder, "README.md").unlink()
    assert Path(snapshot_download(DATASET, revision="v1.0", **KIND), "README.md").is_file()


def test_a_revision_that_was_resolved_before_is_the_commit_that_it_was_then(
    offline: HeldRepositories, hub: LoopbackHub
) -> None:
    resolved_revision = getattr(huggingface_hub, "ResolvedRevision", None)
    if resolved_revision is None:
        pytest.skip("this release of huggingface_hub has none")
    snapshot_download(DATASET, **KIND)  # So the cache has main as it is now.
    other = hub.commit(DATASET, "other")
    for _ in range(2):
        folder = Path(snapshot_download(DATASET, revision=resolved_revision(other, "main"), **KIND))
        assert (folder.name, Path(folder, "README.md").read_bytes()) == (other, b"other")


def test_a_place_that_does_not_answer_is_asked_once(
    offline: HeldRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refs(repository: object, revision: str | None = None) -> None:
        asked.append(repository)
        raise UnreachableError("down")

    monkeypatch.setattr(offline, "refs", refs)
    for _ in range(3):
        with pytest.raises(OfflineModeIsEnabled):
            HfApi().dataset_info(DATASET)
    assert len(asked) == 1


@pytest.mark.parametrize("cache", ["cache", "./cache/", "link"])
def test_the_path_of_a_snapshot_is_written_as_the_release_of_huggingface_hub_writes_it(
    cache: str,
    hub: LoopbackHub,
    repositories: HeldRepositories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twice(side: str) -> list[str]:
        folder = tmp_path / side
        (folder / "real").mkdir(parents=True)
        (folder / "link").symlink_to("real")
        monkeypatch.chdir(folder)
        found = [snapshot_download(DATASET, cache_dir=cache, **KIND) for _ in range(2)]
        assert Path(found[1], "README.md").is_file()
        return [path.replace(str(folder), "") for path in found]

    expected = twice("stock")
    hub.stop()
    with hf_localize.installed():
        assert twice("ours") == expected


def test_who_may_read_what_is_held_is_known_without_the_hub_and_asked_of_it_else(
    hub: LoopbackHub, repositories: HeldRepositories
) -> None:
    if not hasattr(huggingface_hub, "auth_check"):
        pytest.skip("this release of huggingface_hub has no auth_check")
    with hf_localize.installed():
        huggingface_hub.auth_check(DATASET, **KIND)
        hub.private[DATASET] = set()
        with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
            huggingface_hub.auth_check(DATASET, **KIND)
        hub.stop()
        huggingface_hub.auth_check(DATASET, **KIND)
        with pytest.raises(OfflineModeIsEnabled):
            huggingface_hub.auth_check("doors/else", **KIND)


@pytest.mark.parametrize("name", ["mine", "blobs"])
def test_a_folder_of_the_user_gets_copies(name: str, offline: HeldRepositories, tmp_path: Path) -> None:
    snapshot_download(DATASET, local_dir=tmp_path / name, **KIND)
    for source in offline._sources.values():
        assert not any(path.samefile(source) for path in (tmp_path / name).rglob("*") if path.is_file())


def test_what_an_aborted_download_has_left_goes(offline: HeldRepositories) -> None:
    blob = Path(hf_hub_download(DATASET, "README.md", **KIND)).resolve()
    part = blob.rename(f"{blob}.incomplete")
    assert Path(hf_hub_download(DATASET, "README.md", **KIND)).is_file()
    assert not part.exists()


def test_an_empty_name_in_an_address_makes_no_other_repository(offline: HeldRepositories) -> None:
    offline.types = {DATASET: "model"}
    url = f"{huggingface_hub.constants.ENDPOINT}//datasets/{DATASET}/resolve/main/README.md"
    with pytest.raises(OfflineModeIsEnabled):
        requests.get(url)


def test_an_endpoint_may_end_in_a_slash(offline: HeldRepositories, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"{huggingface_hub.constants.ENDPOINT}/"
    offline.is_remote = True
    assert Path(hf_hub_download(DATASET, "README.md", endpoint=endpoint, **KIND)).read_bytes() == CARD
    assert HfApi(endpoint=endpoint).dataset_info(DATASET).id == DATASET
    offline.localized.clear()
    snapshot_download(DATASET, endpoint=endpoint, **KIND)
    assert offline.localized == [".dot", "data/test.csv", "data/train.parquet", "sub/deep/more.json"]
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)  # As datasets has HF_ENDPOINT.
    assert datasets.load_dataset_builder("csv", data_files=f"hf://datasets/{DATASET}/data/test.csv")


def test_ranges_are_read_where_they_lie_and_nothing_is_stored(offline: HeldRepositories) -> None:
    file = huggingface_hub.HfFileSystem().open(f"datasets/{DATASET}/data/train.parquet", block_size=1000)
    file.seek(500)
    assert len(file.read(10)) == 10
    assert offline.localized == []
    assert offline.opened
    assert all(stop is not None and stop - start < 61_000 for _, start, stop in offline.opened)


def test_local_files_only_finds_what_is_held(offline: HeldRepositories) -> None:
    assert Path(hf_hub_download(DATASET, "README.md", local_files_only=True, **KIND)).is_file()
    assert Path(snapshot_download(DATASET, local_files_only=True, **KIND), "data", "test.csv").is_file()
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download(DATASET, "nope", local_files_only=True, **KIND)
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("doors/else", "README.md", local_files_only=True, **KIND)


def test_local_files_only_asks_no_hub(
    hub: LoopbackHub, repositories: HeldRepositories, fresh, tmp_path: Path
) -> None:
    hub.add(make_repository(tmp_path / "more", "doors/else", "main", {"README.md": b""}))
    fresh("cache")
    hub.clear()
    with hf_localize.installed():
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("doors/else", "README.md", local_files_only=True, **KIND)
        assert hub.requests == []
        assert hf_hub_download("doors/else", "README.md", **KIND)  # It is on the Hub.


def test_hf_hub_offline_finds_what_is_held(
    offline: HeldRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hf_hub_download(DATASET, "README.md", **KIND)
    assert snapshot_download(DATASET, **KIND)
    assert HfApi().list_repo_files(DATASET, **KIND)
    with pytest.raises(OfflineModeIsEnabled):
        HfApi().list_repo_files("doors/else", **KIND)


def test_offline_for_datasets_alone_leaves_huggingface_hub_its_hub(
    hub: LoopbackHub, repositories: HeldRepositories, fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh("cache")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with hf_localize.installed():
        assert hf_hub_download("openai/gsm8k", "README.md", **KIND)
    assert hub.requests


@pytest.mark.parametrize("settings", [{"offline": True}, {"sources": "local,s3,public"}])
def test_where_the_hub_is_no_source_it_is_not_asked(
    hub: LoopbackHub, repositories: HeldRepositories, fresh, settings: dict[str, object]
) -> None:
    fresh("cache")
    hub.clear()
    with hf_localize.installed(**settings):
        assert hf_hub_download(DATASET, "README.md", **KIND)
        for call in (
            lambda: HfApi().dataset_info("openai/gsm8k"),
            lambda: requests.get(url("openai/gsm8k")),
            lambda: urllib.request.urlopen(url("openai/gsm8k")),
        ):
            with pytest.raises(OfflineModeIsEnabled):
                call()
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("openai/gsm8k", "README.md", **KIND)
    assert hub.requests == []


def test_callers_of_other_libraries_catch_what_they_always_did(
    hub: LoopbackHub, offline: HeldRepositories
) -> None:
    with pytest.raises(urllib.error.URLError) as found:
        urllib.request.urlopen(url("doors/else"))
    assert isinstance(pickle.loads(pickle.dumps(found.value)), urllib.error.URLError)
    if senders._uses_requests():  # Then huggingface_hub would retry it.
        return
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(url("doors/else"))


def test_writes_go_on_to_the_hub(hub: LoopbackHub, repositories: HeldRepositories) -> None:
    hub.writers.add("hf_writer")
    with hf_localize.installed(sources="local"):
        HfApi(token="hf_writer").create_repo("rig-user/new", **KIND)
    assert [request.method for request in hub.requests] == ["POST"]


def test_no_token_is_needed_and_none_reaches_what_is_held(offline: HeldRepositories) -> None:
    assert HfApi(token="hf_" + "secret").dataset_info(DATASET).id == DATASET


@pytest.mark.parametrize("fault", [Fault("", "stall", seconds=60), Fault("", 503)])
def test_a_hub_that_does_not_answer_is_not_waited_for_longer_than_the_limit(
    hub: LoopbackHub, repositories: HeldRepositories, fresh, fault: Fault
) -> None:
    fresh("cache")
    with hf_localize.installed(timeout_seconds=3):
        hub.faults = [fault]
        for call in (
            lambda: hf_hub_download("openai/gsm8k", "README.md", **KIND),
            lambda: HfApi().dataset_info("openai/gsm8k"),
            lambda: snapshot_download("openai/gsm8k", **KIND),
        ):
            begun = time.monotonic()
            with pytest.raises((OSError, huggingface_hub.utils.HfHubHTTPError)):
                call()
            assert time.monotonic() - begun < 12  # huggingface_hub's own retries take 24 s.


def test_other_hosts_are_left_alone(hub: LoopbackHub, repositories: HeldRepositories, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
    hub.clear()
    with hf_localize.installed(sources="local"):
        at = f"{hub.url}/datasets/{DATASET}/resolve/main/README.md"
        assert requests.get(at).status_code == 200
        assert urllib.request.urlopen(at).status == 200
    assert len(hub.requests) == 2


def test_uninstall_gives_everything_back(hub: LoopbackHub, repositories: HeldRepositories, fresh) -> None:
    methods = [requests.Session.send, urllib.request.OpenerDirector.open]
    with hf_localize.installed():
        assert requests.Session.send is not methods[0]
    assert [requests.Session.send, urllib.request.OpenerDirector.open] == methods
    fresh("cache")
    hub.clear()
    assert hf_hub_download(DATASET, "README.md", **KIND)
    assert hub.requests
    hub.stop()
    with pytest.raises(Exception, match=r"huggingface|Force download|connect"):
        hf_hub_download(DATASET, "README.md", force_download=True, **KIND)


def test_a_factory_of_the_user_is_kept(offline: HeldRepositories) -> None:
    from huggingface_hub.utils import _http

    made = []
    is_httpx = hasattr(_http, "set_client_factory")

    def factory():  # type: ignore[no-untyped-def]
        made.append(_http.default_client_factory() if is_httpx else requests.Session())
        return made[-1]

    change = huggingface_hub.set_client_factory if is_httpx else huggingface_hub.configure_http_backend
    try:
        change(factory)
        assert HfApi().dataset_info(DATASET).id == DATASET
        assert made
    finally:
        change(_http.default_client_factory if is_httpx else _http._default_backend_factory)


def test_a_missing_file_is_remembered_as_from_the_hub(offline: HeldRepositories) -> None:
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(DATASET, "nope", **KIND)
    cached = huggingface_hub.try_to_load_from_cache(DATASET, "nope", **KIND)
    assert cached is huggingface_hub._CACHED_NO_EXIST


def _download_in_child(results: multiprocessing.Queue) -> None:
    from hf_localize.hf.doors import transport

    results.put((hf_localize.is_installed(), transport.held_part(url("a/b")) is None))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_are_started_are_answered_too(method: str, offline: HeldRepositories) -> None:
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=_download_in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == (True, True)
    child.join()


_ACTIVATED = """
import sys
import {first}
light = "hf_localize.shim.patch" not in sys.modules and "hf_localize.settings" not in sys.modules
from tests.rig.held import HeldRepositories
from tests.rig.hub import LoopbackHub, make_repository
from pathlib import Path
hub = LoopbackHub(Path(sys.argv[1]))
from hf_localize.hf.doors import transport
held = HeldRepositories(hub, {{"a/b": "dataset"}})
transport.repositories = lambda: held
{call}
print(light)
"""


@pytest.mark.parametrize(
    ("first", "call"),
    [
        ("huggingface_hub", "huggingface_hub.hf_hub_download('a/b', 'README.md', repo_type='dataset')"),
        ("huggingface_hub", "assert huggingface_hub.HfApi().dataset_info('a/b').id == 'a/b'"),
        (
            "requests",
            "assert requests.get('https://huggingface.co/datasets/a/b/resolve/main/README.md').text == 'x'",
        ),
        (
            "urllib.request",
            "urllib.request.urlopen('https://huggingface.co/datasets/a/b/resolve/main/README.md')",
        ),
    ],
)
def test_activation_waits_until_the_hub_is_asked(first: str, call: str, tmp_path: Path) -> None:
    make_repository(tmp_path / "root", "a/b", "main", {"README.md": b"x"})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HGLOC_")}
    environment.update(
        HGLOC_AUTO_INSTALL="1", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home"),
        PYTHONPATH=str(Path(hf_localize.__file__).parent / "shim" / "on_pythonpath"),
    )  # fmt: skip
    code = _ACTIVATED.format(first=first, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "root")],
        env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip().endswith("True"), done.stderr


def test_a_call_of_a_file_that_is_in_the_cache_finds_the_settings_once(
    offline: HeldRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf_hub_download(DATASET, "README.md", **KIND)
    found = []
    look_up = settings._look_up
    monkeypatch.setattr(settings, "_look_up", lambda given: found.append(1) or look_up(given))
    hf_hub_download(DATASET, "README.md", **KIND)
    assert len(found) == 1
