"""What HTTP libraries give of a file that is held is what they give of the Hub's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import requests
from huggingface_hub import hf_hub_url
from huggingface_hub.utils import OfflineModeIsEnabled

import hf_localize
from tests.loads.doors.conftest import CARD, DATASET
from tests.rig.held import HeldRepositories
from tests.rig.hub import LoopbackHub, make_repository


def url(path: str = "README.md", dataset: str = DATASET) -> str:
    return hf_hub_url(dataset, path, endpoint=huggingface_hub.constants.ENDPOINT, repo_type="dataset")


@pytest.fixture
def httpx() -> Any:
    """Return the library by which this release of huggingface_hub sends."""
    for name in ("httpx2", "httpx"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    pytest.skip("httpx is not here")


async def gathered(httpx: Any) -> list[Any]:
    """Return what an asynchronous client gets: whole files, parts, streams, nothing."""
    async with httpx.AsyncClient() as client:
        whole = await client.get(url())
        part, head, missing = await asyncio.gather(
            client.get(url("data/train.parquet"), headers={"Range": "bytes=0-3"}),
            client.head(url()),
            client.get(url("nope")),
        )
        async with client.stream("GET", url("data/train.parquet")) as response:
            streamed = b"".join([chunk async for chunk in response.aiter_bytes(1000)])
        listed = await client.post(
            f"{huggingface_hub.constants.ENDPOINT}/api/datasets/{DATASET}/paths-info/main",
            json={"paths": [".dot", "nope"]},
        )
    paths = [item["path"] for item in listed.json()]
    responses = [(r.status_code, r.content[:10], r.headers["X-Repo-Commit"]) for r in (whole, part, missing)]
    return [responses, head.status_code, head.headers["Content-Length"], streamed, paths]


def test_asynchronous_clients_are_answered(
    httpx: Any, hub: LoopbackHub, repositories: HeldRepositories, fresh: Callable[[str], Path]
) -> None:
    fresh("cache")
    expected = asyncio.run(gathered(httpx))
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        assert asyncio.run(gathered(httpx)) == expected
    assert hub.requests == []


def test_asynchronous_clients_are_sent_on_to_the_hub(
    httpx: Any, hub: LoopbackHub, repositories: HeldRepositories, tmp_path: Path, fresh: Callable[[str], Path]
) -> None:
    hub.add(make_repository(tmp_path / "more", "doors/else", "main", {"README.md": b"else"}))
    fresh("cache")

    async def read() -> bytes:
        async with httpx.AsyncClient() as client:
            return (await client.get(url(dataset="doors/else"))).content

    with hf_localize.installed():
        assert asyncio.run(read()) == b"else"
        hub.stop()
        with pytest.raises(OfflineModeIsEnabled):
            asyncio.run(read())


def test_a_slow_place_does_not_stop_the_event_loop(httpx: Any, offline: HeldRepositories) -> None:
    steps = []

    async def read(client: Any) -> None:
        assert (await client.get(url())).content == CARD
        steps.append("read")

    async def step() -> None:
        steps.append("step")

    async def both() -> None:
        async with httpx.AsyncClient() as client:
            await asyncio.gather(read(client), step())

    asyncio.run(both())
    assert steps == ["step", "read"]


def test_hooks_of_a_client_see_each_response(httpx: Any, offline: HeldRepositories) -> None:
    seen = []

    async def look(response: Any) -> None:
        seen.append((await response.aread())[:3])

    async def read() -> None:
        async with httpx.AsyncClient(event_hooks={"response": [look]}) as client:
            await client.get(url())

    asyncio.run(read())
    hooks = [lambda response: seen.append(response.read()[:3]), lambda response: response.raise_for_status()]
    with httpx.Client(event_hooks={"response": hooks}) as client:
        client.get(url())
        with pytest.raises(httpx.HTTPStatusError):
            client.get(url("nope"))
    assert seen == [b"---", b"---", b'{"e']


@pytest.mark.parametrize("address", ["https://huggingface.co", "https://hf.co", "http://huggingface.co"])
def test_each_address_of_the_hub_is_answered(address: str, offline: HeldRepositories) -> None:
    path = f"{address}/datasets/{DATASET}/resolve/main/README.md"
    assert requests.get(path).content == CARD
    assert urllib.request.urlopen(path).read() == CARD


@pytest.mark.parametrize("dataset", [DATASET, "mini", "team/nope"])
def test_copies_that_the_hub_makes_in_parquet_are_missing_without_it(
    dataset: str, hub: LoopbackHub, repositories: HeldRepositories, fresh: Callable[[str], Path]
) -> None:
    """Ray asks for them first, and then reads the dataset that it was given."""
    fresh("cache")
    listed = f"{huggingface_hub.constants.ENDPOINT}/api/datasets/{dataset}/parquet/default/train"
    expected = requests.get(listed, timeout=10)
    with hf_localize.installed():
        assert requests.get(listed, timeout=10).json() == expected.json(), "the Hub answers while it is up"
        hub.stop()
        missing = requests.get(listed, timeout=10)
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert f"datasets/{dataset}/parquet/default/train is not held here" in missing.json()["error"]


def test_urllib_gives_a_response_of_its_own_kind(
    hub: LoopbackHub, repositories: HeldRepositories, fresh: Callable[[str], Path]
) -> None:
    def facts() -> list[Any]:
        with urllib.request.urlopen(url("data/test.csv")) as response:
            told = [response.status, response.reason, response.msg, response.version, response.length]
            told += [response.getheader("Content-Length"), response.geturl(), response.readable()]
            told += [response.peek(1)[:1], response.read1(2), response.readline(), response.length]
            told += [list(response), response.length, response.isclosed()]
        request = urllib.request.Request(url("data/test.csv"), method="HEAD")
        with urllib.request.urlopen(request) as response:
            told += [response.getheader("Content-Length"), response.read()]
        opener = urllib.request.build_opener()
        opener.addheaders = [("range", "bytes=0-2")]  # As programs continue a download.
        with opener.open(url("data/test.csv")) as response:
            told += [response.status, response.read()]
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(url("nope"))
        error = failed.value
        return [*told, error.code, error.reason, error.headers["X-Error-Code"], error.read()]

    fresh("cache")
    expected = facts()
    hub.stop()
    with hf_localize.installed():
        assert facts() == expected


def test_urllib_asks_for_paths_as_the_others_do(offline: HeldRepositories) -> None:
    address = f"{huggingface_hub.constants.ENDPOINT}/api/datasets/{DATASET}/paths-info/main"
    as_json = urllib.request.Request(
        address, data=b'{"paths": ["README.md"]}', headers={"Content-Type": "application/json"}
    )
    for asked in (as_json, urllib.request.Request(address, data=b"paths=README.md")):
        assert [found["path"] for found in json.load(urllib.request.urlopen(asked))] == ["README.md"]
    assert [found["path"] for found in json.load(urllib.request.urlopen(address, b"paths=.dot"))] == [".dot"]


def pieces(body: bytes) -> Iterator[bytes]:
    yield body[:8]
    yield body[8:]


@pytest.mark.parametrize("made", [pieces, io.BytesIO])
def test_a_body_may_come_in_pieces(
    made: Callable[[bytes], Any],
    httpx: Any,
    hub: LoopbackHub,
    repositories: HeldRepositories,
    fresh: Callable[[str], Path],
) -> None:
    """The rig's Hub reads no chunked body, so what is sent on to it must be whole."""
    address = f"{huggingface_hub.constants.ENDPOINT}/api/datasets/{DATASET}/paths-info/main"
    headers, body = {"Content-Type": "application/json"}, b'{"paths": ["README.md"]}'

    def found() -> list[int]:
        by_urllib = urllib.request.Request(address, made(body), headers)
        return [
            len(requests.post(address, data=made(body), headers=headers).json()),
            len(json.load(urllib.request.urlopen(by_urllib))),
        ]

    fresh("cache")
    with hf_localize.installed():
        assert found() == [1, 1]
        assert len(httpx.post(address, content=pieces(body), headers=headers).json()) == 1
        assert hub.requests == []
        repositories.types = {}
        assert found() == [1, 1]
        assert len(hub.requests) == 2


def test_a_client_that_was_closed_sends_nothing(httpx: Any, offline: HeldRepositories) -> None:
    client, later = httpx.Client(), httpx.AsyncClient()
    assert client.get(url()).content == CARD
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get(url())

    async def read() -> None:
        await later.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await later.get(url())

    asyncio.run(read())


def test_a_proxy_that_is_of_no_use_is_the_error_of_the_client(
    hub: LoopbackHub, repositories: HeldRepositories
) -> None:
    with hf_localize.installed(timeout_seconds=1), requests.Session() as session:
        session.trust_env, session.proxies = False, {"http": "http://127.0.0.1:9"}
        with pytest.raises(requests.exceptions.ProxyError):
            session.get(url(dataset="doors/else"))
