"""Integrity from end to end: what is changed on its way is noticed, on the way up and on the way down."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, tree
from tests.rig.s3_proxy import Rule, WrongBytes, WrongUpload
from tests.rig.tls import TlsFront

MARK = ".hgloc/index/org%2Fx/default_config/default_revision.json"


def rows(count: int = 1) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": [f"{n:08}{'x' * 4088}" for n in range(count)]})


LARGE = 5_000  # 20 MB: four parts.


@pytest.mark.parametrize("at_byte", [0, 3_000_000])
def test_a_byte_changed_in_a_part_on_its_way_up_is_noticed_and_the_part_sent_again(
    at_byte: int, strict_desk: Desk
) -> None:
    strict_desk.publisher().s3.fail(
        Rule("PUT", r"\.arrow$", WrongUpload(at_byte), times=1, query="partNumber")
    )
    hf_localize.register_dataset(rows(LARGE), "org/x")
    sent = [r for r in strict_desk.s3.requests if "partNumber" in r.query]
    assert sorted(r.status or 0 for r in sent) == [200, 200, 200, 200, 400]
    assert_stored_as_recorded(strict_desk)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("what", [r"\.arrow$", r"dataset_info\.json$", r"\.hgloc"])
def test_where_each_try_is_damaged_nothing_is_committed(what: str, strict_desk: Desk) -> None:
    strict_desk.publisher().s3.fail(Rule("PUT", what, WrongUpload(11)))
    with pytest.raises(errors.HfLocalizeError):
        hf_localize.register_dataset(rows(LARGE), "org/x")
    stored = strict_desk.bucket_keys()
    assert MARK not in stored
    assert not [key for key in stored if key.endswith(".arrow") and what.startswith(r"\.arrow")]


def test_a_byte_changed_in_a_public_zip_on_its_way_up_is_noticed(strict_desk: Desk) -> None:
    strict_desk.publisher().open_public_places()
    hf_localize.register_dataset(noise(), "org/x", skip_s3_upload=True)
    strict_desk.s3.fail(Rule("PUT", r"\.zip$", WrongUpload(3_000_000), times=1, query="partNumber"))
    hf_localize.sync_local_dataset_to_s3("org/x", make_public=True)
    assert [r.status for r in strict_desk.s3.requests if "partNumber" in r.query].count(400) == 1
    (key,) = [k for k in strict_desk.bucket_keys() if k.endswith(".zip")]
    body = strict_desk.client().get_object(Bucket=strict_desk.bucket, Key=key)["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None
    records = strict_desk.client().get_object(Bucket=strict_desk.bucket, Key="public_datasets.json")
    (record,) = json.loads(records["Body"].read()).values()
    assert record["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_bytes_changed_on_their_way_down_are_never_served(who: str, strict_desk: Desk) -> None:
    strict_desk.publisher().open_public_places()
    hf_localize.register_dataset(rows(3), "org/x", make_public=True)
    getattr(strict_desk, who)().s3.fail(Rule("GET", r"\.(arrow|zip)$", WrongBytes()))
    with pytest.raises(errors.DatasetNotFoundError) as caught:
        hf_localize.load_local_dataset("org/x")
    assert isinstance(caught.value, errors.IntegrityError)
    assert hf_localize.list_local_datasets() == []
    strict_desk.s3.heal()
    assert len(hf_localize.load_local_dataset("org/x")["train"]) == 3


def test_everything_goes_over_tls_with_a_ca_of_ones_own(
    strict_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict_desk.publisher().open_public_places()
    front = TlsFront(strict_desk.s3.url, strict_desk.folder)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(front.ca_file))
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", front.url)
    hf_localize.register_dataset(rows(LARGE), "org/x", revision="v1")
    hf_localize.register_dataset(noise(), "org/noise", make_public=True)
    parts = [r for r in strict_desk.s3.requests if "partNumber" in r.query]
    assert {r.headers["x-amz-content-sha256"] for r in parts} == {"UNSIGNED-PAYLOAD"}  # TLS checks it.
    assert all(r.headers.get("content-encoding") != "aws-chunked" for r in strict_desk.s3.requests)
    mine = tree(strict_desk.store)
    for who in ("teammate", "outsider"):
        getattr(strict_desk, who)()
        monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", front.url)
        hf_localize.load_local_dataset("org/noise")
        shards = {path: data for path, data in tree(strict_desk.store).items() if path.endswith(".arrow")}
        assert {path: mine[path] for path in shards} == shards
        assert shards
    front.close()


@pytest.mark.parametrize("who", ["publisher", "outsider"])
def test_a_server_with_an_unknown_ca_is_sent_nothing(
    who: str, strict_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = TlsFront(strict_desk.s3.url, tmp_path)
    getattr(strict_desk, who)()
    monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", front.url)
    strict_desk.s3.clear()
    with pytest.raises(errors.DatasetUnreachableError):
        hf_localize.load_local_dataset("org/x")
    assert strict_desk.s3.requests == ()
    front.close()


def noise() -> datasets.Dataset:
    """Return 20 MB that do not compress."""
    import random

    source = random.Random(7)
    return datasets.Dataset.from_dict({"value": [source.randbytes(4096) for _ in range(LARGE)]})


def assert_stored_as_recorded(desk: Desk) -> None:
    """Check each object of the entry in the bucket against its manifest."""
    client = desk.client()
    mark = json.loads(client.get_object(Bucket=desk.bucket, Key=MARK)["Body"].read())
    for file in mark["files"]:
        key = mark["elsewhere"].get(file["path"], f"{mark['folder']}/{file['path']}")
        body = client.get_object(Bucket=desk.bucket, Key=key)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == file["sha256"], key
