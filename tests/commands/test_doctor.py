"""The doctor: what is well, what is not, and what to do; nothing of what it tries is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hf_localize
from hf_localize.upkeep.findings import Finding
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.
from tests.conftest import SECRET, Desk, tree
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import RecordingProxy
from tests.security.policies.servers import EnforcingMoto, documented, without


def found() -> dict[tuple[str, str], Finding]:
    findings = hf_localize.diagnose()
    assert len({(f.area, f.name) for f in findings}) == len(findings)
    return {(f.area, f.name): f for f in findings}


def states(area: str) -> dict[str, str]:
    return {name: f.state for (where, name), f in found().items() if where == area}


def test_a_publisher_with_all_rights_is_told_so_and_nothing_is_left(
    desk: Desk, hub: LoopbackHub, tmp_path: Path
) -> None:
    desk.publisher().open_public_places()
    desk.store.mkdir()
    keys, files = desk.bucket_keys(), tree(desk.store)
    told = found()
    assert not [f for f in told.values() if f.state == "fail"]
    rights = ("GetObject", "PutObject", "DeleteObject", "ListBucket")
    rights += ("ListBucketMultipartUploads", "ListMultipartUploadParts", "AbortMultipartUpload")
    assert {told["bucket", f"right s3:{name}"].state for name in rights} == {"ok"}
    assert told["bucket", "conditional writes"].state == "ok"
    # moto takes whatever comes, and this is plain http.
    assert told["bucket", "checksums"].state == ("warn" if desk.server.name == "moto" else "ok")
    assert "everyone can read what --make-public shares" in told["bucket", "ACLs"].told
    for name in ("hard links", "locks (flock)", "renames", "cache of datasets", "space", "permissions"):
        assert told["store", name].state == "ok", told["store", name]
    assert told["hub", "reachability"].told == f"{hub.url} answers"
    assert told["versions", "datasets"].state == "ok"
    assert (desk.bucket_keys(), tree(desk.store)) == (keys, files)
    assert not [key for key in desk.bucket_keys() if "probe" in key]


def test_offline_no_bucket_is_missed_and_an_upload_that_is_asked_for_is_made(
    desk: Desk, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/reference/settings.md says."""
    desk.publisher().set(HGLOC_SOURCES="local,hub")
    hf_localize.download_dataset("openai/gsm8k", "main", skip_s3_upload=True)
    desk.set(HGLOC_OFFLINE="1")
    hf_localize.sync_local_dataset_to_s3("openai/gsm8k", "main")
    assert desk.bucket_keys()
    monkeypatch.delenv("HGLOC_S3_BUCKET_NAME")
    assert states("bucket") == {"name": "ok"}
    desk.set(HGLOC_OFFLINE="0", HGLOC_SOURCES="local,s3")
    assert states("bucket") == {"name": "warn"}


def test_it_shows_where_settings_come_from_and_no_secret(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    (Path.cwd() / ".env").write_text("HGLOC_WRITE_BACK=off\n")
    desk.set(HGLOC_AWS_SESSION_TOKEN=SECRET, HF_TOKEN=SECRET, HTTPS_PROXY=f"http://u:{SECRET}@proxy:3128")
    desk.set(HTTP_PROXY=f"http://u:1/2@{SECRET}@proxy:3128")
    desk.set(AWS_REGION="eu-west-1", NO_PROXY="127.0.0.1")
    ran = run("doctor", "--json")
    items = json.loads(ran.stdout)
    used = f"settings of {Path.cwd() / '.env'} are used: HGLOC_WRITE_BACK"
    assert [(item["state"], item["told"]) for item in items if item["name"] == ".env"] == [("ok", used)]
    told = {item["name"]: item["told"] for item in items if item["area"] == "settings"}
    assert told["HGLOC_WRITE_BACK"] == f"off  ← {Path.cwd() / '.env'}"
    assert told["HGLOC_S3_BUCKET_NAME"] == f"{desk.bucket}  ← environment"
    assert told["HGLOC_AWS_DEFAULT_REGION"] == "eu-west-1  ← environment (AWS_REGION)"
    assert told["HGLOC_SOURCES"] == "local,s3,public,hub  ← default"
    assert told["HGLOC_AWS_SECRET_ACCESS_KEY"] == "(set)  ← environment"
    assert told["HTTPS_PROXY"] == "http://…@proxy:3128  ← environment"
    for secret in (SECRET, desk.server.secret_key, desk.server.access_key):
        assert secret not in ran.stdout + ran.stderr


def test_what_is_wrong_is_named_with_what_to_do_and_the_status_is_1(
    desk: Desk, hub: LoopbackHub, tmp_path: Path
) -> None:
    desk.publisher()
    desk.set(HGLOC_S3_BUCKET_NAME="nowhere", HGLOC_DATASETS_STORE_PATH=str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    hub.stop()
    ran = run("doctor")
    assert ran.exit_code == 1
    lines = {tuple(line.split("\t")[1:3]): line.split("\t") for line in ran.stdout.splitlines()}
    assert lines["bucket", "reachability"][0] == "fail"
    assert "there is no such bucket" in lines["bucket", "reachability"][3]
    assert "HGLOC_S3_BUCKET_NAME" in lines["bucket", "reachability"][4]
    assert lines["store", "path"][0] == "fail"
    assert lines["hub", "reachability"][0] == "warn"
    desk.publisher().s3.stop()
    assert states("bucket") == {"reachability": "fail"}
    desk.outsider()
    assert states("bucket") == {"credentials": "warn"}
    desk.set(HGLOC_SOURCES="ftp")
    ran = run("doctor", "-q")
    assert ran.exit_code == 1
    assert "fail\tsettings\tvalues\tHGLOC_SOURCES" in ran.stdout


@pytest.fixture
def enforcing(tmp_path: Path):  # type: ignore[no-untyped-def]
    server = EnforcingMoto(tmp_path / "iam")
    yield server
    server.server.stop()


@pytest.mark.sampled(0)
def test_each_right_is_tried(enforcing: EnforcingMoto, desk: Desk, hub: LoopbackHub) -> None:
    bucket = "doctor-bucket"
    enforcing.server.create_bucket(bucket)
    client = enforcing.server.client()
    client.put_object(Bucket=bucket, Key="some/key", Body=b"x")
    with RecordingProxy(enforcing.server.endpoint_url) as proxy:

        def sit_down(user: str, statements: object) -> dict[str, str]:
            key, secret = enforcing.grant(bucket, user, statements)  # type: ignore[arg-type]
            desk.sit_down(user, key=key, secret=secret)
            desk.set(HGLOC_S3_BUCKET_NAME=bucket, HGLOC_S3_ENDPOINT_URL=proxy.url)
            return {name.removeprefix("right s3:"): state for name, state in states("bucket").items()}

        consumer = documented("consumer", bucket)
        told = sit_down("consumer", consumer)
        assert (told["GetObject"], told["ListBucket"], told["publishing"]) == ("ok", "ok", "ok")
        assert sit_down("blind", without(consumer, "s3:ListBucket"))["ListBucket"] == "warn"
        assert sit_down("locked-out", without(consumer, "s3:GetObject"))["GetObject"] == "fail"
        publisher = documented("publisher", bucket)
        told = sit_down("publisher", publisher)
        assert {told[right] for right in ("PutObject", "DeleteObject", "AbortMultipartUpload")} == {"ok"}
        for right in ("DeleteObject", "ListMultipartUploadParts", "AbortMultipartUpload"):
            told = sit_down(f"no-{right}", without(publisher, f"s3:{right}"))
            assert (told["PutObject"], told[right]) == ("ok", "warn")
        enforcing.unlock()
        keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [".hgloc/probe/doctor", "some/key"], "more is left than what could not be removed"
