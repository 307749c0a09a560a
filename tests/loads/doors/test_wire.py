"""A Hub whose connections break, or that fails: callers see what stock shows them, and wait no longer."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import requests
from huggingface_hub import HfApi, HfFileSystem, get_hf_file_metadata, hf_hub_download, snapshot_download

import hf_localize
from hf_localize.hf.doors import transport
from tests.rig.hub import Fault, LoopbackHub, make_repository

NAME, KIND = "doors/wire", {"repo_type": "dataset"}
FILES = {"README.md": b"# Hi\n" * 50, "big.bin": b"0123456789" * 10_000}
CALLS: dict[str, Callable[[], Any]] = {
    "HEAD": lambda: get_hf_file_metadata(url()).size,
    "info": lambda: HfApi().dataset_info(NAME).sha,
    "list": lambda: sorted(HfApi().list_repo_files(NAME, **KIND)),
    "paths": lambda: len(HfApi().get_paths_info(NAME, ["README.md"], **KIND)),
    "exists": lambda: HfApi().file_exists(NAME, "README.md", **KIND),
    "download": lambda: Path(hf_hub_download(NAME, "big.bin", **KIND)).read_bytes(),
    "snapshot": lambda: sorted(path.name for path in Path(snapshot_download(NAME, **KIND)).iterdir()),
    "open": lambda: HfFileSystem().open(f"datasets/{NAME}/big.bin").read(),
    "range": lambda: HfFileSystem().cat_file(f"datasets/{NAME}/big.bin", start=5, end=500),
    "stream": lambda: HfFileSystem().open(f"datasets/{NAME}/big.bin", block_size=0).read(),
    "requests": lambda: requests.get(url()).content,
    "requests, HEAD": lambda: requests.head(url()).status_code,
    "requests, stream": lambda: b"".join(requests.get(url(), stream=True).iter_content(1000)),
    "urllib": lambda: urllib.request.urlopen(url()).read(),
}
FAULTS = {
    "before the headers": lambda: Fault("", "reset", times=1),
    "in the headers": lambda: Fault("", "cut", times=1),
    "in the body": lambda: Fault("GET|POST", "reset", times=1, after_bytes=100),
}


def url() -> str:
    endpoint = huggingface_hub.constants.ENDPOINT
    return huggingface_hub.hf_hub_url(NAME, "big.bin", endpoint=endpoint, **KIND)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:
        return type(exc), re.sub("[0-9a-f-]{36}", "ID", str(exc))  # Some releases number requests at random.


@pytest.fixture
def served(hub: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", FILES))
    yield hub
    hub._added.clear()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("where", FAULTS)
def test_a_broken_connection_is_told_and_repeated_as_without_hf_localize(
    where: str, served: LoopbackHub, fresh: Callable[[str], Path]
) -> None:
    def seen(call: Callable[[], Any]) -> Any:
        fresh("cache")
        served.clear()
        served.faults = [FAULTS[where]()]
        got = outcome(call)
        served.faults = []
        return got, sorted(request.method for request in served.requests)

    expected = {name: seen(call) for name, call in CALLS.items()}
    with hf_localize.installed(sources="local,hub"):
        got = {}
        for name, call in CALLS.items():
            transport.forget()
            got[name] = seen(call)
    assert {name: (expected[name], got[name]) for name in CALLS if got[name] != expected[name]} == {}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "fault", [Fault("", 500), Fault("", "reset"), Fault("/resolve/", 500)], ids=["500", "reset", "files"]
)
def test_a_hub_that_fails_at_once_is_not_asked_for_longer_than_the_limit(
    fault: Fault, hub: LoopbackHub, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    files = {f"{number}.txt": b"%d" % number for number in range(16)}
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", files))
    calls = (
        lambda: hf_hub_download(NAME, "3.txt", **KIND),
        lambda: snapshot_download(NAME, **KIND),
        lambda: list(HfApi().list_repo_tree(NAME, **KIND)),
        lambda: HfFileSystem().cat_file(f"datasets/{NAME}/3.txt"),
    )
    with hf_localize.installed(sources="local,hub", timeout_seconds=3):
        for call in calls:
            fresh("cache")
            transport.forget()
            hub.faults = [fault]
            begun = time.monotonic()
            outcome(call)
            assert time.monotonic() - begun < 3.5  # huggingface_hub's own retries take 23 s.
    hub._added.clear()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("sent_bytes", [0, 3])
def test_a_body_that_stalls_is_not_waited_for_longer_than_the_limit(
    sent_bytes: int, hub: LoopbackHub, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", {"a.txt": b"a" * 1000}))
    with hf_localize.installed(sources="local,hub", timeout_seconds=3):
        for call in (lambda: hf_hub_download(NAME, "a.txt", **KIND), lambda: snapshot_download(NAME, **KIND)):
            fresh("cache")
            transport.forget()
            hub.faults = [Fault("GET .*/resolve/", "stall", after_bytes=sent_bytes, seconds=60)]
            begun = time.monotonic()
            assert outcome(call)[0].__name__ == "OfflineModeIsEnabled"
            assert time.monotonic() - begun < 3.5  # Stock's retries wait for a minute.
            hub.faults = []
            transport.forget()
            call()
    hub._added.clear()


def test_after_a_pause_the_hub_has_all_of_the_time_to_answer(
    served: LoopbackHub, fresh: Callable[[str], Path]
) -> None:
    fresh("cache")
    with hf_localize.installed(sources="local,hub", timeout_seconds=2):
        served.faults = [Fault("", "stall", seconds=60)]
        assert outcome(CALLS["info"])[0].__name__ == "OfflineModeIsEnabled"
        served.faults = [Fault("", "stall", seconds=1.4)]
        time.sleep(2.1)
        assert CALLS["info"]() == served.commit(NAME)
