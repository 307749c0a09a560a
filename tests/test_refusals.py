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
from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.public import unpack
from tests.conftest import SECRET, Desk, run_cli, tree
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


def hostile_zip(path: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> None:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(member, "x")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "C:/x", "a\\..\\x", "./x", "a//x", "x\x01", ".hgloc.JSON"]
)
def test_a_zip_that_would_write_outside_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "hostile.zip", tmp_path / "inside"
    folder.mkdir()
    hostile_zip(path, name)
    before = tree(tmp_path)
    with pytest.raises(errors.UnsafeArchiveError, match=r"hostile\.zip"):
        unpack(path, folder, None, limit_bytes=1000, workers=1)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_zip_with_a_link_or_a_device_is_refused(kind: int, tmp_path: Path) -> None:
    hostile_zip(tmp_path / "hostile.zip", "x", kind | 0o777)
    with pytest.raises(errors.UnsafeArchiveError, match="not a regular file"):
        unpack(tmp_path / "hostile.zip", tmp_path, None, limit_bytes=1000, workers=1)


def test_a_zip_with_names_that_meet_or_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", bytes(10_000_000))
        opened.writestr("A.TXT", "y")
    with pytest.raises(errors.UnsafeArchiveError, match="twice"):
        unpack(path, tmp_path, None, limit_bytes=10**9, workers=1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", bytes(10_000_000))
    with pytest.raises(errors.UnsafeArchiveError, match="more than 1000 bytes"):
        unpack(path, tmp_path, None, limit_bytes=1000, workers=1)


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


def manifest_json(**changes: object) -> bytes:
    file = {"path": "a.arrow", "size_bytes": 1, "sha256": "0" * 64}
    document = {"format_version": 1, "dataset_id": "org/x", "files": [file], "splits": []}
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    "path", ["../a", "/a", "a/../b", "a\\b", "C:a", "", ".", "a\n", ".hgloc.json", "a//b", "a/"]
)
def test_a_manifest_or_key_that_leads_outside_the_entry_is_refused(path: str) -> None:
    record = {"path": path, "size_bytes": 1, "sha256": "0" * 64}
    with pytest.raises(errors.UnsafeArchiveError):
        read_manifest(manifest_json(files=[record]), "m")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        manifest_json(format_version=2),
        manifest_json(files=None),
        manifest_json(files=[{"path": "a"}]),
        manifest_json(files=[{"path": "a", "size_bytes": -1, "sha256": "0" * 64}]),
        manifest_json(splits=[{"name": "s", "rows": 1, "size_bytes": 1, "shards": [{"path": "b"}]}]),
        manifest_json(dataset_id="../x"),
        manifest_json(dataset_id=None),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_a_named_error(data: bytes) -> None:
    with pytest.raises(errors.IntegrityError):
        read_manifest(data, "m")


def test_a_manifest_of_an_unknown_version_says_what_to_do() -> None:
    with pytest.raises(errors.IntegrityError, match="Upgrade hf_localize"):
        read_manifest(manifest_json(format_version=99), "m")


def test_a_ref_that_fits_is_accepted() -> None:
    for dataset_id in ("glue", "a/b", "Ünï/code", "a.b/c-d_e"):
        assert DatasetRef(dataset_id).dataset_id == dataset_id
    assert io.StringIO(str(DatasetRef("a/b", "c d", "feat#1"))).read() == "a/b [c d]@feat#1"


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
