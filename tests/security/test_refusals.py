"""What is refused: names before any I/O, archives and manifests that lead outside."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import SECRET, Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository

BAD_PARTS = [
    "..",
    ".",
    "",
    ".hidden",
    "../x",
    "a/../b",
    "/etc",
    "x\ny",
    "x\x00",
    "\x7f",
    "\ud800",
    "x" * 5000,
]
BAD_IDS = [*BAD_PARTS, "a/b/c", "a\\b", "a/", "/", "a//b"]


@pytest.mark.parametrize("dataset_id", BAD_IDS)
def test_ids_that_can_not_name_a_dataset_are_refused_before_any_io(
    dataset_id: str, hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher()
    for call in (
        hf_localize.download_dataset,
        hf_localize.load_local_dataset,
        hf_localize.sync_local_dataset_to_s3,
    ):
        with pytest.raises(errors.InvalidRefError):
            call(dataset_id)
    with pytest.raises(errors.InvalidRefError):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), dataset_id)
    assert (hub.requests, desk.s3.requests, desk.store.exists()) == ([], (), False)


@pytest.mark.parametrize("part", BAD_PARTS)
def test_configs_and_revisions_that_lead_elsewhere_are_refused_before_any_io(
    part: str, hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher()
    with hf_localize.installed():
        for config, revision in ((part, None), (None, part)):
            if part:  # To `load_dataset`, an empty name is no name.
                with pytest.raises(ValueError, match="is refused"):
                    datasets.load_dataset("org/x", config, revision=revision)
            with pytest.raises(errors.InvalidRefError):
                hf_localize.download_dataset("org/x", config, revision)
    assert (hub.requests, desk.s3.requests, desk.store.exists()) == ([], (), False)


def test_the_command_line_refuses_them_with_a_message(desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", "../etc")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "dataset id '../etc' is refused" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["download", "preview"])
def test_an_id_that_the_hub_can_not_have_is_wrong_usage(command: str, desk: Desk) -> None:
    desk.publisher()  # Own data may have such an id, so the store and the bucket are asked.
    ran = run_cli(command, "org/b--c")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "'org/b--c'" in ran.stderr


def hostile_zip(path: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> None:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(member, "x")


def test_a_hostile_public_zip_of_the_original_form_leaves_no_trace(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hostile_zip(desk.folder / "h.zip", "../../../escaped.txt")
    key = "public_datasets_zip/org_x---default_config---default_revision.zip"
    record = {"dataset_id": "org/x", "config_name": None, "revision": None, "s3_zip_key": key}
    records = {"org/x---default_config---default_revision": {**record, "s3_bucket": desk.bucket}}
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    for name, body in (
        (key, (desk.folder / "h.zip").read_bytes()),
        ("public_datasets.json", json.dumps(records)),
    ):
        desk.client().put_object(Bucket=desk.bucket, Key=name, Body=body, **acl)
    desk.outsider()
    with pytest.raises(errors.IntegrityError, match="refused"):
        hf_localize.load_local_dataset("org/x")
    assert not list(desk.folder.rglob("escaped.txt"))
    assert hf_localize.list_local_datasets() == []


@pytest.mark.parametrize(
    "zip_key", ["../secret.zip", "public_datasets_zip/../../x.zip", "/etc/passwd", "file:///x"]
)
def test_a_record_that_leads_to_another_place_is_not_followed(zip_key: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    records = {"k": {"dataset_id": "org/x", "s3_zip_key": zip_key}}
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    body = json.dumps(records).encode()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body, **acl)
    desk.outsider()
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/x")
    # The records may be read twice (for the dataset, for its configs); nothing else is asked for.
    assert {r.path for r in desk.s3.requests} == {f"/{desk.bucket}/public_datasets.json"}


def test_a_dataset_that_names_a_file_of_this_machine_is_not_captured(hub: LoopbackHub, desk: Desk) -> None:
    secret = desk.folder / "credentials"
    secret.write_bytes(SECRET.encode())
    features = datasets.Features({"image": datasets.Image()})
    table = pa.table({"image": [{"bytes": None, "path": str(secret)}]}).cast(features.arrow_schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    files = {"train.parquet": sink.getvalue()}
    hub.add(make_repository(desk.folder / "repositories", "evil/images", "main", files))
    desk.publisher()
    ran = run_cli("download", "evil/images")
    assert ran.returncode == 6
    assert "did not come with the dataset" in ran.stderr
    kept = [path.read_bytes() for path in desk.store.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in kept)
    assert desk.bucket_keys() == []
