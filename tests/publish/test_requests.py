"""What is asked of the bucket, counted at the server: lookups, listings, and changes of a little."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import Request, Rule, Status

GSM8K = "openai/gsm8k"


def asked(desk: Desk) -> list[str]:
    """Return what was asked since the record was cleared, without the host and bucket."""
    return [f"{r.method} {r.path.removeprefix(f'/{desk.bucket}')}" for r in desk.s3.requests]


def numbers(*texts: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(texts)})


def test_finding_an_entry_is_one_request_and_a_miss_at_most_three(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "socratic")
    desk.publisher().s3.clear()
    resolver = current_session().resolver(only=("s3",))
    found = resolver.find(DatasetRef(GSM8K, "socratic"))
    assert asked(desk) == ["GET /.hgloc/index/openai%2Fgsm8k/socratic/default_revision.json"]
    desk.s3.clear()
    same = resolver.find(DatasetRef("OpenAI/GSM8K", "socratic", "main"))
    assert same.digest == found.digest
    assert len(asked(desk)) == 3, asked(desk)
    for missing in (DatasetRef(GSM8K, "main"), DatasetRef("org/none")):
        desk.s3.clear()
        with pytest.raises(errors.DatasetNotFoundError) as caught:
            resolver.find(missing)
        assert len(desk.s3.requests) <= 3, asked(desk)
        assert ("it has openai/gsm8k [socratic]" in str(caught.value)) == (missing.config_name == "main")


def shards_of(folder: Path, changed: int | None, count: int) -> Path:
    """Write a saved dataset of *count* shards into *folder*, of which one may be changed."""
    made = datasets.DatasetDict({"train": numbers(*(f"row {n}" for n in range(count)))})
    made.save_to_disk(str(folder), num_shards={"train": count})
    if changed is not None:
        numbers(f"row {changed} again").save_to_disk(str(folder / "one"))
        (folder / "one" / "data-00000-of-00001.arrow").rename(
            folder / "train" / f"data-{changed:05}-of-{count:05}.arrow"
        )
        shutil.rmtree(folder / "one")
        state = folder / "train" / "state.json"  # A person who saves it anew gets another fingerprint.
        state.write_text(state.read_text().replace('"_fingerprint": "', '"_fingerprint": "f'))
    return folder


@pytest.mark.sampled(0)
def test_a_sync_of_one_changed_shard_of_many_sends_that_shard(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    hf_localize.register_dataset(shards_of(tmp_path / "a", None, 200), "org/x")
    hf_localize.register_dataset(shards_of(tmp_path / "b", 100, 200), "org/x", skip_s3_upload=True)
    desk.s3.clear()
    assert "uploaded" in hf_localize.sync_local_dataset_to_s3("org/x").message_or_path
    data = [line for line in asked(desk) if line.endswith(".arrow")]
    assert len(data) == 1
    assert data[0].startswith("PUT ")
    assert len(desk.s3.requests) - 1 <= 5, asked(desk)
    desk.teammate().s3.clear()
    loaded = hf_localize.load_local_dataset("org/x")["train"]
    assert [text for text in loaded["text"] if "again" in text] == ["row 100 again"]
    # And again, so that what lies elsewhere is carried on, and what nobody names is gone.
    desk.publisher()
    hf_localize.register_dataset(shards_of(tmp_path / "c", 7, 200), "org/x")
    desk.teammate()
    loaded = hf_localize.load_local_dataset("org/x")["train"]
    assert [text for text in loaded["text"] if "again" in text] == ["row 7 again"]
    assert sum(key.endswith(".arrow") for key in desk.bucket_keys()) == 200


def test_content_that_comes_back_is_whole(desk: Desk, tmp_path: Path) -> None:
    for number, changed in enumerate((None, 1, None, 1)):
        desk.publisher()
        hf_localize.register_dataset(shards_of(tmp_path / str(number), changed, 3), "org/x")
        desk.teammate()
        loaded = hf_localize.load_local_dataset("org/x")["train"]["text"][:]
        assert ("row 1 again" in loaded) == (changed == 1)
    manifests = [key for key in desk.bucket_keys() if key.endswith((".hgloc.json", ".arrow"))]
    assert len(manifests) == 4, manifests


def test_a_publication_of_other_content_leaves_no_file_that_nobody_names(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(numbers("old"), "org/x")
    hf_localize.register_dataset(numbers("new", "er"), "org/x")
    mark = json.loads(
        desk.client()
        .get_object(Bucket=desk.bucket, Key=".hgloc/index/org%2Fx/default_config/default_revision.json")[
            "Body"
        ]
        .read()
    )
    named = {mark["elsewhere"].get(f["path"], f"{mark['folder']}/{f['path']}") for f in mark["files"]}
    assert {
        key for key in desk.bucket_keys() if not key.endswith("hgloc.json") and ".hgloc/" not in key
    } == named


def test_no_write_asks_first_whether_it_will_be_taken(desk: Desk) -> None:
    """That is a round trip for each, and a second where the server does not know the question."""
    desk.publisher()
    hf_localize.register_dataset(numbers("a"), "org/x")
    writes = [request for request in desk.s3.requests if request.method in ("PUT", "POST")]
    assert len(writes) > 5
    assert [request.path for request in writes if "expect" in request.headers] == []


def rounds_of(desk: Desk, work: Callable[[], object]) -> list[list[str]]:
    """Return the requests of *work* in rounds: those in flight together, with which no other would begin.

    The server answers none of them until nothing more has come for a second.
    """
    rounds: list[list[str]] = []
    is_open, lock = False, threading.Lock()

    def watch(request: Request) -> None:
        nonlocal is_open
        with lock:
            if not is_open:
                rounds.append([])
            is_open, own = True, rounds[-1]
            own.append(
                f"{request.method} {request.path.removeprefix(f'/{desk.bucket}')} {dict(request.query)}"
            )
        count = 0
        while count != len(own):
            count = len(own)
            time.sleep(1)
        with lock:
            is_open = is_open and rounds[-1] is not own

    desk.s3.watch = watch
    try:
        work()
    finally:
        desk.s3.watch = None
    return rounds


@pytest.mark.parametrize("revision", [None, "v2"])
def test_an_upload_that_replaces_nothing_is_at_most_eight_requests_one_after_another(
    revision: str | None, desk: Desk, tmp_path: Path
) -> None:
    """Also where the server is not known yet; *v2* shares files, which the server copies."""
    desk.publisher()
    if revision:
        hf_localize.register_dataset(shards_of(tmp_path / "a", None, 5), "org/x")
        desk.publisher()
    saved = shards_of(tmp_path / "b", 3, 5)
    rounds = rounds_of(desk, lambda: hf_localize.register_dataset(saved, "org/x", revision=revision))
    assert 4 < len(rounds) <= 8, json.dumps(rounds, indent=1)
    desk.teammate()
    assert "row 3 again" in hf_localize.load_local_dataset("org/x", revision=revision)["train"]["text"]


@pytest.mark.parametrize("may_copy", [True, False])
def test_what_another_revision_has_is_copied_by_the_server(
    may_copy: bool, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher()
    hf_localize.register_dataset(shards_of(tmp_path / "a", None, 20), "org/x", revision="v1")
    hf_localize.register_dataset(
        shards_of(tmp_path / "b", 3, 20), "org/x", revision="v2", skip_s3_upload=True
    )
    desk.s3.clear()
    if not may_copy:
        desk.s3.fail(Rule("PUT", ".", Status(501, "NotImplemented"), header="x-amz-copy-source"))
    hf_localize.sync_local_dataset_to_s3("org/x", revision="v2")
    sent = [r for r in desk.s3.requests if r.method == "PUT" and r.path.endswith(".arrow")]
    moved = [r for r in sent if r.request_bytes]
    assert len(moved) == (1 if may_copy else 20)
    desk.teammate()
    assert "row 3 again" in hf_localize.load_local_dataset("org/x", None, "v2")["train"]["text"][:]


def test_what_another_entry_of_the_store_has_is_linked_not_fetched(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    for revision, changed in (("v1", None), ("v2", 3)):
        hf_localize.register_dataset(shards_of(tmp_path / revision, changed, 20), "org/x", None, revision)
    desk.teammate()
    hf_localize.load_local_dataset("org/x", None, "v1")
    desk.s3.clear()
    loaded = hf_localize.load_local_dataset("org/x", None, "v2")
    assert "row 3 again" in loaded["train"]["text"][:]
    assert sum(line.endswith(".arrow") for line in asked(desk)) == 1
    inodes = Counter(path.stat().st_ino for path in desk.store.rglob("*.arrow"))
    assert list(inodes.values()).count(2) == 19


def test_a_damaged_file_of_another_entry_is_neither_linked_nor_touched(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    for revision in ("v1", "v2"):
        hf_localize.register_dataset(shards_of(tmp_path / revision, None, 2), "org/x", None, revision)
    desk.teammate()
    hf_localize.load_local_dataset("org/x", None, "v1")
    damaged = sorted(desk.store.rglob("*.arrow"))[0]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole.replace(b"row", b"rot", 1))
    assert hf_localize.load_local_dataset("org/x", None, "v2")["train"]["text"][:] == ["row 0", "row 1"]
    assert damaged.read_bytes() != whole


def test_an_index_that_names_a_key_of_somebody_else_is_refused(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(numbers("x"), "org/x")
    key = ".hgloc/index/org%2Fx/default_config/default_revision.json"
    mark = json.loads(desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read())
    path = next(f["path"] for f in mark["files"] if f["path"].endswith(".arrow"))
    for wrong in ("org_y/default_config/default_revision/data.arrow", f"{mark['folder']}/../secret", 3):
        mark["elsewhere"] = {path: wrong}
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=json.dumps(mark).encode())
        desk.teammate()
        with pytest.raises(errors.DatasetCorruptError):
            hf_localize.load_local_dataset("org/x")


@pytest.mark.sampled(0)
def test_a_listing_of_many_entries_costs_a_request_for_each_thousand(desk: Desk) -> None:
    desk.publisher()
    count = 1_100
    with hf_localize.installed(s3_endpoint_url=desk.server.endpoint_url):  # Past the proxy: 2,200 requests.
        client, bucket = desk.client(), current_session().bucket
    empty = hashlib.sha256(b"").hexdigest()
    for n in range(count):
        for key in (
            f".hgloc/index/org%2F{n:05}/default_config/default_revision.json",
            f"org_{n:05}/default_config/default_revision/x",
        ):
            bucket.put_file(key, b"", empty)
    old = "old_one/default_config/default_revision"
    for name in ("dataset_dict.json", "train/data-00000-of-00001.arrow"):
        client.put_object(Bucket=desk.bucket, Key=f"{old}/{name}", Body=b"")
        client.put_object(Bucket=desk.bucket, Key=f"z{old}/{name}", Body=b"")
    desk.s3.clear()
    ran = run_cli("list-s3")
    assert len(ran.stdout.splitlines()) == count + 1  # With one of the two that no index names.
    assert "--all-folders" in ran.stderr
    # Two of the index, one of the folders, two for the original tool's lists, whose keys come after those
    # folders, and three for the folder without index.
    assert len(desk.s3.requests) == 2 + 1 + 2 + 3, asked(desk)
    assert len(run_cli("list-s3", "--all-folders").stdout.splitlines()) == count + 2


def test_without_index_no_object_costs_a_request(desk: Desk) -> None:
    desk.publisher()
    client = desk.client()
    for n in range(5):
        folder = f"org_{n}/default_config/default_revision"
        for name in ("dataset_dict.json", *(f"train/data-{k:05}.arrow" for k in range(30))):
            client.put_object(Bucket=desk.bucket, Key=f"{folder}/{name}", Body=os.urandom(4))
    desk.s3.clear()
    assert len(hf_localize.list_s3_datasets()) == 5
    assert len(desk.s3.requests) == 2 + 3 * 5, asked(desk)


@pytest.mark.parametrize("between", [0, 1_500])
def test_what_lies_under_several_prefixes_is_listed_by_one_request_where_it_is_little(
    between: int, desk: Desk
) -> None:
    desk.publisher()
    names = ["a/x/1", "a/x/2", *(f"a/y/{n:04}" for n in range(between)), "a~1/x/1", "a~1/x@1/1", "a~2/1", "b"]
    bucket, empty = current_session().bucket, hashlib.sha256(b"").hexdigest()
    for name in names:
        bucket.put_file(name, b"", empty)
    desk.s3.clear()
    prefixes = ("a~1/x@", "a/x/", "a~2/")
    found = [info.key for info in current_session().bucket.list_all(prefixes)]
    assert found == [name for name in names if name.startswith(prefixes)]
    assert len(desk.s3.requests) == (2 if between else 1)
