"""A repository of 100,000 files: what it takes on the wire, and how long a listing takes."""

from __future__ import annotations

import json
import random
import time

import pytest

from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    Snapshot,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.hf.doors.answer import Request, answer
from tests.unit.format.test_repository import pointer
from tests.unit.hf.test_answer import Places

FILES = 100_000


@pytest.mark.sampled(1)
@pytest.mark.parametrize("is_lfs", [True, False])
def test_the_manifest_is_small_on_the_wire(is_lfs: bool) -> None:
    draw = random.Random(1)
    files = []
    for number in range(FILES):
        sha256, size = draw.randbytes(32).hex(), draw.randrange(1 << 20)
        oid = pointer(sha256, size) if is_lfs else draw.randbytes(20).hex()
        path = f"train/{draw.randrange(100):03}/{number:08}.jpg"
        files.append(RepositoryFile(path, size, sha256, oid, is_lfs))
    repository = Repository("model", "team/bert")
    data = snapshot_bytes(Snapshot(repository, "a" * 40, tuple(files)))
    assert len(data) <= 5_000_000
    read = read_snapshot(data, "there", repository, "a" * 40)
    assert len(read.files) == FILES
    if is_lfs:
        assert set(read.files) == set(files)


def test_all_files_are_listed_in_time() -> None:
    files = tuple(RepositoryFile(f"d{i % 100}/f{i}.bin", 1, f"{i:064x}", f"{i:040x}") for i in range(FILES))
    places, begun = Places(files=files), time.monotonic()
    url, count = "/api/datasets/org/data/tree/main?recursive=1", 0
    while url:
        reply = answer(Request("GET", *url.split("?"), endpoint=""), places)
        count += len(json.loads(reply.body))
        url = reply.headers.get("Link", "")[1:].partition(">")[0]
    assert count == FILES + 100  # Folders are listed too.
    assert time.monotonic() - begun < 10  # The promise is 2 s, with the time of a busy machine.
