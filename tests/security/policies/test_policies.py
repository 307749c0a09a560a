"""Least privilege: each command with exactly the rights that docs/permissions.md lists, and without each."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_cli
from tests.rig.ceph import missing_programs
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import RecordingProxy, Reset, Rule, Status
from tests.security.policies.servers import (
    KIND,
    EnforcingCeph,
    EnforcingMoto,
    Statements,
    documented,
    start,
    without,
)

GSM8K = "openai/gsm8k"
_MISSING = missing_programs() if KIND == "ceph" else []
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"Ceph is not installed: no {', '.join(_MISSING)}")
needs_ceph = pytest.mark.skipif(KIND != "ceph", reason="moto with authorization takes no anonymous request")


@pytest.fixture(scope="session")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnforcingMoto | EnforcingCeph]:
    running = start(tmp_path_factory.mktemp("policies"))
    yield running
    running.server.stop()


class Office:
    """A desk at a server where who sits down has rights by a policy."""

    def __init__(self, enforcing: EnforcingMoto | EnforcingCeph, desk: Desk) -> None:
        self.enforcing = enforcing
        self.desk = desk

    def sit_down(self, who: str, statements: Statements | None = None) -> Desk:
        """Start with an empty store as *who*, with the documented rights or with *statements*."""
        rights = documented(who, self.desk.bucket) if statements is None else statements
        key, secret = self.enforcing.grant(self.desk.bucket, who, rights)
        self.desk.sit_down(who.replace(" ", "-"), key=key, secret=secret)
        self.desk.s3.clear()
        return self.desk

    def refused(self) -> list[str]:
        """Return what the server has refused since somebody sat down."""
        signed = [r for r in self.desk.s3.requests if "authorization" in r.headers]
        if KIND == "ceph":  # It wants a right on the bucket for this; each is removed by itself then.
            signed = [r for r in signed if "delete" not in r.query]
        return [f"{r.method} {r.path} {dict(r.query)}" for r in signed if r.status == 403]

    def stored(self) -> list[str]:
        self.enforcing.unlock()
        return self.desk.bucket_keys()


@pytest.fixture(params=["unversioned", "versioned"] if KIND == "ceph" else ["unversioned"])
def office(
    request: pytest.FixtureRequest,
    enforcing: EnforcingMoto | EnforcingCeph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Office]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    proxy = RecordingProxy(enforcing.server.endpoint_url)
    proxy.start()
    desk = Desk(tmp_path, enforcing.server, proxy, monkeypatch)
    desk.bucket = f"team-{uuid.uuid4().hex[:12]}"
    enforcing.unlock()
    enforcing.server.create_bucket(desk.bucket)
    if request.param == "versioned":
        enabled = {"Status": "Enabled"}
        desk.client().put_bucket_versioning(Bucket=desk.bucket, VersioningConfiguration=enabled)
    yield Office(enforcing, desk)
    proxy.close()


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


def large(fill: str) -> datasets.Dataset:
    """Return a dataset that is sent in three parts."""
    return datasets.Dataset.from_dict({"text": [f"{n:08}{fill * 4088}" for n in range(5_000)]})


def texts(dataset_id: str, revision: str | None = None) -> list[str]:
    return list(hf_localize.load_local_dataset(dataset_id, None, revision)["train"]["text"])


def test_a_consumer_loads_streams_and_lists_with_two_rights(office: Office) -> None:
    office.sit_down("publisher")
    hf_localize.register_dataset(rows("x", "y"), "org/x")
    office.sit_down("consumer")
    assert texts("org/x") == ["x", "y"]
    assert hf_localize.list_s3_datasets()[0]["dataset_id"] == "org/x"
    desk = office.sit_down("consumer")
    with hf_localize.installed(sources=("s3",)):
        stream = datasets.load_dataset("org/x", split="train", streaming=True)
        assert [row["text"] for row in stream] == ["x", "y"]
    ran = run_cli("download", "org/x", "--no-s3-upload", HGLOC_SOURCES="local,s3")
    assert (ran.returncode, ran.stdout.strip().startswith(str(desk.store))) == (0, True), ran.stderr
    with pytest.raises(errors.DatasetNotFoundError, match="not in s3"):
        hf_localize.load_local_dataset("org/none")
    assert office.refused() == []


def test_a_consumer_needs_no_right_to_list_to_load(office: Office) -> None:
    office.sit_down("publisher")
    hf_localize.register_dataset(rows("x"), "org/x")
    office.sit_down("consumer", without(documented("consumer", office.desk.bucket), "s3:ListBucket"))
    assert texts("org/x") == ["x"]
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/none")
    ran = run_cli("list-s3")
    assert ran.returncode == 4
    assert "lack the permission s3:ListBucket" in ran.stderr, ran.stderr


def test_a_consumer_who_publishes_is_told_which_right_is_missing(office: Office) -> None:
    office.sit_down("consumer")
    with pytest.raises(errors.PublishError, match=r"lack the permission s3:PutObject, "):
        hf_localize.register_dataset(rows("x"), "org/x")
    assert office.stored() == []


def test_who_may_not_read_is_told_which_right_is_missing(office: Office) -> None:
    office.sit_down("publisher")
    hf_localize.register_dataset(rows("x"), "org/x")
    office.sit_down("consumer", without(documented("consumer", office.desk.bucket), "s3:GetObject"))
    with pytest.raises(errors.DatasetNotFoundError, match="lack the permission s3:GetObject"):
        hf_localize.load_local_dataset("org/x")


def test_a_publisher_downloads_registers_replaces_and_resumes_without_a_refusal(
    hub: LoopbackHub, office: Office
) -> None:
    desk = office.sit_down("publisher")
    ran = run_cli("download", GSM8K, "--name", "socratic")
    assert ran.returncode == 0, ran.stderr
    hf_localize.register_dataset(rows("old"), "org/x", revision="v1")
    hf_localize.register_dataset(rows("new"), "org/x", revision="v1")
    hf_localize.register_dataset(rows("new"), "org/x", revision="v2")  # The server may copy.
    desk.s3.fail(Rule("PUT", r"large.*\.arrow", Reset(1000), query="partNumber"))
    hf_localize.register_dataset(large("a"), "org/large", skip_s3_upload=True)
    with pytest.raises(errors.PublishError):
        hf_localize.sync_local_dataset_to_s3("org/large")
    desk.s3.heal()
    ran = run_cli("sync-local-to-s3", "org/large")
    assert ran.returncode == 0, ran.stderr
    assert len(hf_localize.list_s3_datasets()) == 4
    assert office.refused() == []
    office.sit_down("consumer")
    assert texts("org/x", "v1") == texts("org/x", "v2") == ["new"]
    assert len(texts("org/large")) == 5_000


def test_a_publisher_removes_and_a_consumer_verifies_without_a_refusal(office: Office) -> None:
    office.sit_down("publisher")
    hf_localize.register_dataset(rows("x"), "org/x")
    hf_localize.register_dataset(large("d"), "org/large")
    office.sit_down("consumer")
    ran = run_cli("verify", "--s3", "--deep")
    assert ran.returncode == 0, ran.stderr
    ran = run_cli("remove", "org/x", "--s3", "--yes")
    assert ran.returncode == 4
    assert "lack the permission s3:DeleteObject" in ran.stderr, ran.stderr
    office.sit_down("publisher")
    ran = run_cli("remove", "org/large", "--s3", "--yes")
    assert ran.returncode == 0, ran.stderr
    assert office.refused() == []
    assert [found["dataset_id"] for found in hf_localize.list_s3_datasets()] == ["org/x"]


# On Ceph, who has written an object may read it.
_NEEDED = ["s3:PutObject"] if KIND == "ceph" else ["s3:GetObject", "s3:PutObject"]


@pytest.mark.parametrize("right", _NEEDED)
def test_a_publisher_without_a_right_that_is_needed_publishes_nothing(right: str, office: Office) -> None:
    office.sit_down("publisher", without(documented("publisher", office.desk.bucket), right))
    with pytest.raises(errors.HfLocalizeError, match=f"lack the permission .*{right}") as caught:
        hf_localize.register_dataset(rows("x"), "org/x")
    assert isinstance(caught.value, (errors.PublishError, PermissionError))
    written = [r for r in office.desk.s3.requests if r.method == "PUT" and r.status == 200]
    assert right != "s3:PutObject" or written == []


def test_a_publisher_who_may_not_remove_replaces_and_is_told_what_stays(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.sit_down("publisher", without(documented("publisher", office.desk.bucket), "s3:DeleteObject"))
    hf_localize.register_dataset(rows("old"), "org/x")
    before = set(office.stored())
    with caplog.at_level(logging.WARNING, "hf_localize"):
        office.sit_down("publisher", without(documented("publisher", office.desk.bucket), "s3:DeleteObject"))
        hf_localize.register_dataset(rows("new"), "org/x")
    assert "lack the permission s3:DeleteObject" in caplog.text
    assert before <= set(office.stored())
    office.sit_down("consumer")
    assert texts("org/x") == ["new"]


@pytest.mark.parametrize(
    "right", ["s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"]
)
def test_a_publisher_without_a_right_for_interrupted_uploads_begins_anew(right: str, office: Office) -> None:
    desk = office.sit_down("publisher", without(documented("publisher", office.desk.bucket), right))
    hf_localize.register_dataset(large("b"), "org/large", skip_s3_upload=True)
    desk.s3.fail(Rule("PUT", r"large.*\.arrow", Status(403, "AccessDenied"), query="partNumber"))
    with pytest.raises(errors.PublishError, match="lack the permission s3:PutObject"):
        hf_localize.sync_local_dataset_to_s3("org/large")
    desk.s3.heal()
    hf_localize.sync_local_dataset_to_s3("org/large")
    office.sit_down("consumer")
    assert len(texts("org/large")) == 5_000


@needs_ceph
def test_a_publisher_who_may_not_list_publishes_nothing_and_is_told_why(office: Office) -> None:
    office.sit_down("publisher", without(documented("publisher", office.desk.bucket), "s3:ListBucket"))
    with pytest.raises(errors.HfLocalizeError, match="they lack s3:ListBucket"):
        hf_localize.register_dataset(rows("x"), "org/x")
    assert office.stored() == []


@needs_ceph
def test_a_public_publisher_opens_exactly_the_two_public_places(office: Office) -> None:
    bucket = office.desk.bucket
    rights = documented("publisher", bucket) + documented("public publisher", bucket)
    desk = office.sit_down("public publisher", rights)
    folder = desk.folder / "own"
    folder.mkdir()
    (folder / "rows.csv").write_text("a\n1\n")
    ran = run_cli("register", str(folder), "org/x", "--make-public")
    assert ran.returncode == 0, ran.stderr
    hf_localize.register_dataset(large("c"), "org/large", make_public=True)
    assert office.refused() == []
    open_keys = {key for key in office.stored() if _status(f"{desk.s3.url}/{bucket}/{key}") == 200}
    assert open_keys == {key for key in office.stored() if key.startswith("public_datasets")}
    assert len(open_keys) == 3
    assert _status(f"{desk.s3.url}/{bucket}?list-type=2") == 403
    desk.outsider()
    assert hf_localize.load_local_dataset("org/x")["train"].to_list() == [{"a": 1}]
    office.sit_down("public publisher", rights)
    ran = run_cli("withdraw", "org/x", "--yes")
    assert ran.returncode == 0, ran.stderr
    assert office.refused() == []
    desk.outsider()
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/x")


@needs_ceph
def test_withdraw_closes_each_former_version_that_object_lock_keeps(office: Office) -> None:
    desk, bucket = office.desk, f"{office.desk.bucket}-locked"
    client = desk.client()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
    )
    desk.bucket = bucket
    rights = documented("publisher", bucket) + documented("public publisher", bucket)
    office.sit_down("public publisher", rights)
    for text in ("old", "new"):
        hf_localize.register_dataset(rows(text), "org/x", make_public=True)
    listed = client.list_object_versions(Bucket=bucket, Prefix="public_datasets_zip/")["Versions"]
    urls = [f"{desk.s3.url}/{bucket}/{v['Key']}?versionId={v['VersionId']}" for v in listed]
    assert {_status(url) for url in urls} == {200}
    hf_localize.withdraw_dataset("org/x")
    assert {_status(url) for url in urls} == {403}
    assert office.refused() == []
    hf_localize.remove_dataset("org/x", s3=True)
    assert hf_localize.list_s3_datasets() == []


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
