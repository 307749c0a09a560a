"""A store and a bucket that the original `hg_localization` wrote are read, and it can read ours.

The fixtures are made by hand in its form: `save_to_disk` folders, the same keys, the same JSON.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import Desk, tree
from tests.rig.s3_proxy import Rule, Status

FOLDER = "org_old/en/v1"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a folder that ``save_to_disk`` wrote, of two splits."""
    parts = {"train": {"text": ["a", "b"]}, "test": {"text": ["c"]}}
    made = datasets.DatasetDict({name: datasets.Dataset.from_dict(data) for name, data in parts.items()})
    made.save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def put(desk: Desk, prefix: str, folder: Path) -> None:
    for path, data in tree(folder).items():
        desk.client().put_object(Bucket=desk.bucket, Key=f"{prefix}/{path}", Body=data)


def load() -> dict[str, list[str]]:
    with hf_localize.installed(sources=("local", "s3", "public")):
        loaded = datasets.load_dataset("org/old", "en", revision="v1")
        streamed = datasets.load_dataset("org/old", "en", revision="v1", streaming=True)
    rows = {name: list(part["text"]) for name, part in loaded.items()}
    assert {name: [row["text"] for row in part] for name, part in streamed.items()} == rows
    return rows


EXPECTED = {"train": ["a", "b"], "test": ["c"]}


def test_a_store_of_the_original_form_loads_without_registering(saved: Path, desk: Desk) -> None:
    desk.outsider().store.joinpath("org_old/en").mkdir(parents=True)
    saved.rename(desk.store / FOLDER)
    before = tree(desk.store)
    assert load() == EXPECTED
    assert tree(desk.store) == before
    listed = {"dataset_id": "org_old", "config_name": "en", "revision": "v1"}
    assert hf_localize.list_local_datasets() == [listed]


@pytest.mark.parametrize("may_list", [True, False])
def test_a_bucket_of_the_original_form_is_read(may_list: bool, saved: Path, desk: Desk) -> None:
    put(desk, FOLDER, saved)
    desk.teammate()
    if not may_list:
        desk.s3.fail(Rule("GET", r"^/[^/]+/?$", Status(403, "AccessDenied")))
    assert load() == EXPECTED
    desk.publisher().s3.heal()
    assert hf_localize.list_s3_datasets() == [
        {"dataset_id": "org_old", "config_name": "en", "revision": "v1"}
    ]


def test_an_incomplete_bucket_of_the_original_form_is_an_error_not_half_a_dataset(
    saved: Path, desk: Desk
) -> None:
    put(desk, FOLDER, saved)
    desk.client().delete_object(Bucket=desk.bucket, Key=f"{FOLDER}/test/data-00000-of-00001.arrow")
    desk.teammate()
    with pytest.raises(hf_localize.HfLocalizeError, match="incomplete"):
        load()


def test_a_public_zip_of_the_original_form_is_read(saved: Path, desk: Desk) -> None:
    desk.publisher().open_public_places()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in tree(saved).items():
            archive.writestr(path, data)
    key = "public_datasets_zip/org_old---en---v1.zip"
    record = {"dataset_id": "org/old", "config_name": "en", "revision": "v1", "s3_zip_key": key}
    records = {"org/old---en---v1": {**record, "s3_bucket": desk.bucket}}
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=packed.getvalue(), **acl)
    body = json.dumps(records).encode()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body, **acl)
    desk.outsider()
    assert load() == EXPECTED


def test_the_original_tool_can_read_ours(saved: Path, desk: Desk, tmp_path: Path) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(saved, "org/old", "en", "v1", make_public=True)
    opened = datasets.load_from_disk(str(desk.store / FOLDER))
    assert {name: list(part["text"]) for name, part in opened.items()} == EXPECTED
    # From the bucket: every key under the folder, as it downloads them.
    for key in desk.bucket_keys(f"{FOLDER}/"):
        target = tmp_path / "bucket" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        desk.client().download_file(desk.bucket, key, str(target))
    opened = datasets.load_from_disk(str(tmp_path / "bucket" / FOLDER))
    assert {name: list(part["text"]) for name, part in opened.items()} == EXPECTED
    # From the public ZIP: by its record's key, unpacked as a whole.
    body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    record = json.loads(body)["org/old---en---v1"]
    assert {"dataset_id", "config_name", "revision", "s3_zip_key", "s3_bucket"} <= record.keys()
    data = desk.client().get_object(Bucket=desk.bucket, Key=record["s3_zip_key"])["Body"].read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path / "zip")
    opened = datasets.load_from_disk(str(tmp_path / "zip"))
    assert {name: list(part["text"]) for name, part in opened.items()} == EXPECTED


def test_sync_of_a_folder_of_the_original_form_makes_its_manifest_and_leaves_the_folder(
    saved: Path, desk: Desk
) -> None:
    desk.publisher().store.joinpath("org_old/en").mkdir(parents=True)
    saved.rename(desk.store / FOLDER)
    before = tree(desk.store)
    hf_localize.sync_local_dataset_to_s3("org/old", "en", "v1")
    assert tree(desk.store) == before
    assert hf_localize.list_s3_datasets() == [
        {"dataset_id": "org/old", "config_name": "en", "revision": "v1"}
    ]
    desk.teammate()
    assert load() == EXPECTED


def test_a_folder_without_manifest_is_not_taken_for_another_id(desk: Desk, tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict({"text": ["of a_b/c"]})
    made.info.dataset_name = "c"  # So stock records it for a_b/c.
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "saved"))
    desk.outsider().store.joinpath("a_b_c/default_config").mkdir(parents=True)
    (tmp_path / "saved").rename(desk.store / "a_b_c/default_config/default_revision")
    assert hf_localize.load_local_dataset("a_b/c")["train"].to_list() == [{"text": "of a_b/c"}]
    with pytest.raises(FileNotFoundError):
        hf_localize.load_local_dataset("a/b_c")


def test_a_folder_of_data_files_put_there_by_hand_loads_and_syncs(desk: Desk) -> None:
    folder = desk.publisher().store / "org_csv/default_config/default_revision"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("a,b\n1,2\n3,4\n")
    with hf_localize.installed(sources=("local",)):
        loaded = datasets.load_dataset("org/csv", split="train")
    assert loaded.to_list() == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert loaded.info.dataset_name == "csv"
    hf_localize.sync_local_dataset_to_s3("org_csv")
    kept = list((desk.store / ".hgloc" / "kept").iterdir())
    assert (kept[0] / "train.csv").read_text() == "a,b\n1,2\n3,4\n"
    desk.teammate()
    assert hf_localize.load_local_dataset("org_csv")["train"].to_list() == loaded.to_list()
