"""A wire that fails in mixed ways: loads succeed all the same, with right bytes, and say so in measure."""

from __future__ import annotations

import logging
import random
import re
import shutil
import threading
import time

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.sources.session import current_session
from hf_localize.store.integrity import verify_folder
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL
from tests.faults.killer import NAME, rows, save
from tests.rig.s3_proxy import Action, Narrow, Page, Request, Reset, Rule, Stall, Status, Truncate, WrongBytes

#: 3 splits of 18 shards, two JSON files for each, and one: 61 files.
SHARDS = 18
LOADS = 50 if IS_ALL else 3
SEED = 20261125


class Flaky:
    """Break a tenth of the requests, each in one of many ways, always the same by the number of the request."""

    def __init__(self, share: float = 0.1) -> None:
        self._chance = random.Random(SEED)
        self._share = share
        self._lock = threading.Lock()
        self.broken = 0

    def __call__(self, request: Request) -> Action | None:
        ways: list[Action] = [
            Status(500),
            Status(503, "SlowDown"),
            Status(429, "TooManyRequests", {"Retry-After": "1"}),
            Reset(),
            Reset(100),
            Truncate(100),
            WrongBytes(),
            Stall(0.5),
            Stall(0.5, 100),
        ]
        if request.method == "POST" or "x-amz-copy-source" in request.headers:
            ways.append(Status(200, "InternalError"))
        with self._lock:
            if self._chance.random() >= self._share:
                return None
            self.broken += 1
            return self._chance.choice(ways)


@pytest.fixture
def many_files(desk: Desk) -> Desk:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(save(desk.folder / "data", "new", SHARDS), NAME, make_public=True)
    return desk


@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_loads_over_a_flaky_wire_succeed_with_right_bytes(who: str, many_files: Desk) -> None:
    many_files.s3.watch = flaky = Flaky()
    for _ in range(LOADS if who == "teammate" else max(1, LOADS // 5)):
        getattr(many_files, who)().set(HGLOC_SOURCES="local,s3" if who == "teammate" else "local,public")
        loaded = hf_localize.load_local_dataset(NAME)
        assert {name: split["text"][:] for name, split in loaded.items()} == rows("new")
        (entry,) = current_session().store.entries()
        verify_folder(entry.folder, entry.manifest)
        assert len(entry.manifest.files) == 61
        shutil.rmtree(many_files.store)
    assert flaky.broken >= LOADS


def test_a_publication_over_a_flaky_wire_is_right(many_files: Desk) -> None:
    many_files.publisher()
    # Two entries of the same content but one shard: the server copies most of it.
    hf_localize.register_dataset(
        save(many_files.folder / "again", "old", SHARDS), NAME, revision="v2", skip_s3_upload=True
    )
    many_files.s3.watch = flaky = Flaky()
    hf_localize.sync_local_dataset_to_s3(NAME, revision="v2")
    many_files.s3.watch = None
    assert flaky.broken
    many_files.teammate().set(HGLOC_SOURCES="s3")
    loaded = hf_localize.load_local_dataset(NAME, revision="v2")
    assert {name: split["text"][:] for name, split in loaded.items()} == rows("old")


@pytest.mark.parametrize("way", ["PUT", "copy", "complete"])
def test_an_error_under_the_status_200_is_an_error(way: str, desk: Desk) -> None:
    desk.publisher()
    size = 9 << 20 if way == "complete" else 10
    made = datasets.Dataset.from_dict(
        {"text": [random.Random(n).randbytes(1 << 9).hex() for n in range(size >> 10 or 1)]}
    )
    if way == "copy":
        hf_localize.register_dataset(made, NAME)
    hf_localize.register_dataset(made, NAME, revision="v2", skip_s3_upload=True)
    rules = {
        "PUT": Rule("PUT", r"\.arrow$", Status(200, "SlowDown"), times=2),
        "copy": Rule("PUT", ".", Status(200, "InternalError"), times=2, header="x-amz-copy-source"),
        "complete": Rule("POST", ".", Status(200, "InternalError"), times=2, query="uploadId"),
    }
    desk.s3.fail(rules[way])
    desk.s3.clear()
    hf_localize.sync_local_dataset_to_s3(NAME, revision="v2")
    assert len([r for r in desk.s3.requests if rules[way].matches(r)]) >= 3
    desk.teammate().set(HGLOC_SOURCES="s3")
    assert hf_localize.load_local_dataset(NAME, revision="v2")["train"]["text"][:] == made["text"][:]


#: The requests that another server answers in place of the S3 server, with a page.
WRITES = {
    "object": Rule("PUT", r"\.arrow$", Page(200), times=1),
    "manifest": Rule("PUT", r"\.hgloc\.json$", Page(200), times=1),
    "index": Rule("PUT", "/index/", Page(200), times=1),
    "copy": Rule("PUT", r"\.arrow$", Page(200), times=1, header="x-amz-copy-source"),
    "part": Rule("PUT", ".", Page(200), times=1, query="partNumber"),
    "complete": Rule("POST", ".", Page(200), times=1, query="uploadId"),
}


@pytest.mark.sampled(len(WRITES))
@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_no_s3_server_confirms_is_not_taken_for_done(what: str, desk: Desk) -> None:
    desk.publisher()
    size = 9 << 10 if what in ("part", "complete") else 10
    made = datasets.Dataset.from_dict(
        {"text": [random.Random(n).randbytes(1 << 9).hex() for n in range(size)]}
    )
    if what == "copy":
        hf_localize.register_dataset(made, NAME)
    hf_localize.register_dataset(made, NAME, revision="v2", skip_s3_upload=True)
    desk.s3.fail(WRITES[what])
    desk.s3.clear()
    try:
        hf_localize.sync_local_dataset_to_s3(NAME, revision="v2")
    except errors.PublishError:
        hf_localize.sync_local_dataset_to_s3(NAME, revision="v2")
    assert any(WRITES[what].matches(r) for r in desk.s3.requests)
    desk.teammate().set(HGLOC_SOURCES="s3")
    assert hf_localize.load_local_dataset(NAME, revision="v2")["train"]["text"][:] == made["text"][:]


def test_a_list_that_is_cut_without_saying_where_it_goes_on_is_not_taken_for_all(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME)
    cut = b"<ListBucketResult><Name>x</Name><IsTruncated>true</IsTruncated></ListBucketResult>"
    desk.s3.fail(Rule("GET", ".", Page(200, cut, "application/xml"), query="list-type"))
    with pytest.raises(errors.HfLocalizeError, match="not one of S3"):
        hf_localize.list_s3_datasets()


def test_a_removal_that_no_s3_server_confirms_is_not_taken_for_done(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME)
    desk.s3.fail(Rule("POST", ".", Page(200), times=1, query="delete"))
    desk.s3.clear()
    hf_localize.remove_dataset(NAME, s3=True)
    assert [r for r in desk.s3.requests if "delete" in r.query]
    assert desk.bucket_keys("org_x/") == []


@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_retry_after_is_honored(who: str, many_files: Desk) -> None:
    getattr(many_files, who)().set(
        HGLOC_SOURCES="s3" if who == "teammate" else "public", HGLOC_MAX_CONCURRENCY="1"
    )
    came: list[tuple[float, str]] = []

    def watch(request: Request) -> None:
        came.append((time.monotonic(), f"{request.path} {request.headers.get('range')}"))

    many_files.s3.watch = watch
    data = r"data-00000-of-.*\.arrow$" if who == "teammate" else r"\.zip$"
    many_files.s3.fail(Rule("GET", data, Status(503, "SlowDown", {"Retry-After": "2"}), times=1))
    hf_localize.load_local_dataset(NAME)
    twice = [
        path for _, path in came if [p for _, p in came].count(path) == 2 and re.search(data, path.split()[0])
    ]
    assert twice
    first, second = (moment for moment, path in came if path == twice[0])
    assert second - first >= 2  # What the server asked for; no upper bound is asserted.


def test_what_is_tried_again_is_told_once_a_file_and_once_a_load(
    many_files: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    many_files.teammate().set(HGLOC_SOURCES="s3")
    many_files.s3.fail(Rule("GET", r"data-0000[0-4].*\.arrow$", Status(500), times=20))
    with caplog.at_level(logging.DEBUG, "hf_localize"):
        hf_localize.load_local_dataset(NAME)
    told = [r for r in caplog.records if "is retried" in r.getMessage()]
    assert [r.levelname for r in told].count("WARNING") == 1
    files = [r.args[0] for r in told]
    assert len(files) == len(set(files)) > 3


def test_a_narrow_wire_is_no_failure(many_files: Desk) -> None:
    many_files.teammate().set(HGLOC_SOURCES="s3", HGLOC_TIMEOUT_SECONDS="5")
    many_files.s3.fail(Rule("GET", r"\.arrow$", Narrow(2_000)))
    loaded = hf_localize.load_local_dataset(NAME)
    assert {name: split["text"][:] for name, split in loaded.items()} == rows("new")
