"""A store and a bucket that the original `hg_localization` wrote are read, and it can read ours.

The fixtures are made by hand in its form: `save_to_disk` folders, the same keys, the same JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import Desk, run_cli, tree
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


# Its store since mid-2025: what comes from a bucket lies in a folder of that bucket.


def keep(
    root: Path, folder: str, rows: list[str], bucket: tuple[str, str | None, str] | None, shelf: str = ""
) -> Path:
    """Write a dataset into a store as the original tool does since mid-2025, with its metadata and card.

    Args:
        bucket: its name, endpoint and prefix; None: none was configured.
        shelf: ``public`` for what was shared with everybody.
    """
    base = root / shelf
    if bucket is not None:
        name, endpoint, _ = bucket
        digest = hashlib.md5(endpoint.encode()).hexdigest()[:8] if endpoint else ""
        base = base / "by_bucket" / (f"{name}_{digest}" if digest else name)
    place = base / folder
    place.mkdir(parents=True)
    parts = {"train": datasets.Dataset.from_dict({"text": rows})}
    datasets.DatasetDict(parts).save_to_disk(str(place))
    name, endpoint, prefix = bucket or (None, None, "")
    told = {"s3_bucket_name": name, "s3_endpoint_url": endpoint, "s3_data_prefix": prefix}
    metadata = {**told, "cached_timestamp": "1748323200.0", "is_public": shelf == "public"}
    (place / ".hg_localization_bucket_metadata.json").write_text(json.dumps(metadata, indent=2))
    (place / "dataset_card.md").write_text("# The card\n")
    return place


def rows_of(dataset_id: str, name: str | None = None, revision: str | None = None) -> list[str]:
    return list(hf_localize.load_local_dataset(dataset_id, name, revision)["train"]["text"])


def listed() -> list[tuple[str, str | None, str | None]]:
    return [tuple(item.values()) for item in hf_localize.list_local_datasets()]


GLUE = "nyu-mll_glue"
REVISION = "default_revision"


@pytest.mark.parametrize("shelf", ["", "public"])
def test_the_store_of_the_configured_bucket_is_read_by_id_config_and_revision(shelf: str, desk: Desk) -> None:
    here = (desk.bucket, desk.s3.url, "")
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["of mrpc"], here, shelf)
    keep(desk.store, f"{GLUE}/sst2/v1", ["of sst2"], here, shelf)
    before = tree(desk.store)
    assert rows_of("nyu-mll/glue", "mrpc") == ["of mrpc"]
    assert rows_of("nyu-mll/glue", "sst2", "v1") == ["of sst2"]
    assert listed() == [(GLUE, "mrpc", None), (GLUE, "sst2", "v1")]
    told = json.loads(run_cli("info", "nyu-mll/glue", "--name", "mrpc", "--json").stdout)
    assert told["places"][0]["came_from"] == f"s3://{desk.bucket} at {desk.s3.url}"
    named = json.loads(run_cli("list-local", "--json").stdout)
    assert {item["came_from"] for item in named} == {f"s3://{desk.bucket} at {desk.s3.url}"}
    assert tree(desk.store) == before


def test_a_copy_of_another_bucket_answers_only_where_that_bucket_is_configured(desk: Desk) -> None:
    here, other = (desk.bucket, desk.s3.url, ""), ("others", desk.s3.url, "")
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["ours"], here)
    keep(desk.store, f"{GLUE}/mrpc/{REVISION}", ["theirs"], other)
    keep(desk.store, f"{GLUE}/sst2/{REVISION}", ["only theirs"], other)
    assert rows_of("nyu-mll/glue", "mrpc") == ["ours"]
    assert listed() == [(GLUE, "mrpc", None)]
    said = pytest.raises(FileNotFoundError, match=r"s3://others at .*: configure that bucket")
    with said, hf_localize.installed(sources=("local",)):
        rows_of("nyu-mll/glue", "sst2")
    ran = run_cli("list-local")
    assert ran.stdout == f"{GLUE}\tmrpc\t-\n"
    assert ran.stderr.count("of another bucket, s3://others") == 2
    desk.set(HGLOC_S3_BUCKET_NAME="others")
    assert rows_of("nyu-mll/glue", "mrpc") == ["theirs"]
    assert rows_of("nyu-mll/glue", "sst2") == ["only theirs"]


def test_another_prefix_of_the_same_bucket_is_another_origin(desk: Desk) -> None:
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["of a"], (desk.bucket, desk.s3.url, "a"))
    desk.set(HGLOC_S3_DATA_PREFIX="b")
    assert listed() == []
    desk.set(HGLOC_S3_DATA_PREFIX="a")
    assert rows_of("nyu-mll/glue", "mrpc") == ["of a"]


def test_without_a_bucket_a_copy_of_one_bucket_answers_and_copies_of_two_do_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["of a"], ("a", desk.s3.url, ""))
    monkeypatch.delenv("HGLOC_S3_BUCKET_NAME")
    monkeypatch.delenv("HGLOC_S3_ENDPOINT_URL")
    with hf_localize.installed(sources=("local",)):
        assert rows_of("nyu-mll/glue", "mrpc") == ["of a"]
        keep(desk.store, f"{GLUE}/mrpc/{REVISION}", ["of b"], ("b", None, ""))
        with pytest.raises(FileNotFoundError, match=r"s3://a at .*, s3://b at AWS"):
            rows_of("nyu-mll/glue", "mrpc")
    places = [item["came_from"] for item in hf_localize.list_local_datasets(details=True)]
    assert places == [f"s3://a at {desk.s3.url}", "s3://b at AWS"]


def test_a_store_of_the_time_between_tells_the_bucket_by_its_metadata_alone(desk: Desk) -> None:
    place = keep(desk.outsider().store, "org_old/en/v1", ["theirs"], None)
    metadata = json.loads((place / ".hg_localization_bucket_metadata.json").read_text())
    metadata |= {"s3_bucket_name": "others", "s3_endpoint_url": desk.s3.url}
    (place / ".hg_localization_bucket_metadata.json").write_text(json.dumps(metadata))
    assert listed() == []
    desk.set(HGLOC_S3_BUCKET_NAME="others")
    assert rows_of("org/old", "en", "v1") == ["theirs"]


@pytest.mark.parametrize(
    "metadata", ["", "[]", "{", '{"s3_bucket_name": 7}', '{"s3_endpoint_url": {}}', "\x00", '{"a":' * 5000]
)
def test_metadata_that_is_damaged_does_not_keep_a_copy_from_its_bucket(metadata: str, desk: Desk) -> None:
    here = (desk.bucket, desk.s3.url, "")
    place = keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["ours"], here)
    (place / ".hg_localization_bucket_metadata.json").write_text(metadata)
    assert rows_of("nyu-mll/glue", "mrpc") == ["ours"]


def test_no_credential_of_the_metadata_is_shown(desk: Desk) -> None:
    other = ("others", "https://key:SECRET@s3.example.com/?token=SECRET", "")
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["theirs"], other)
    ran = run_cli("list-local")
    assert "others" in ran.stderr
    assert "SECRET" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("endpoint", [True, False])
def test_sync_of_all_leaves_the_folders_of_the_original_tool_and_sends_no_phantom(
    endpoint: bool, desk: Desk
) -> None:
    here = (desk.bucket, desk.s3.url if endpoint else None, "")
    keep(desk.publisher().store, f"{GLUE}/mrpc/{REVISION}", ["of mrpc"], here)
    keep(desk.store, f"squad/{REVISION}/v1", ["of squad"], here, "public")
    keep(desk.store, "org_old/en/v1", ["old"], None)
    keep(desk.store, f"plain/default_config/{REVISION}", ["plain"], None, "public")
    notes = desk.store / "notes/2024/meeting"
    notes.mkdir(parents=True)
    (notes / "minutes.txt").write_text("not for others\n")
    before = tree(desk.store)
    ran = run_cli("sync-local-to-s3", "--all")
    assert ran.returncode == 0, ran.stderr
    assert {path: data for path, data in tree(desk.store).items() if path in before} == before
    assert "org_old [en]@v1: not sent, since its id is not known" in ran.stdout
    squad = [("squad", REVISION, "v1")] if endpoint else []
    sent = [tuple(item.values()) for item in hf_localize.list_s3_datasets()]
    assert sent == [("plain", None, None), *squad]
    assert not [key for key in desk.bucket_keys() if "by_bucket" in key or "notes" in key]


def test_sync_by_id_sends_what_the_original_tool_keeps_and_leaves_it_there(desk: Desk) -> None:
    keep(desk.publisher().store, f"{GLUE}/mrpc/{REVISION}", ["of mrpc"], (desk.bucket, desk.s3.url, ""))
    before = tree(desk.store / "by_bucket")
    hf_localize.sync_local_dataset_to_s3("nyu-mll/glue", "mrpc")
    assert tree(desk.store / "by_bucket") == before
    desk.teammate()
    assert rows_of("nyu-mll/glue", "mrpc") == ["of mrpc"]


def test_an_id_that_the_checksums_of_datasets_name_is_listed_and_sent(desk: Desk) -> None:
    here = (desk.bucket, desk.s3.url, "")
    place = keep(desk.publisher().store, f"{GLUE}/mrpc/{REVISION}", ["of mrpc"], here)
    info = json.loads((place / "train/dataset_info.json").read_text())
    url = "hf://datasets/nyu-mll/glue@bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c/mrpc/train.parquet"
    info["download_checksums"] = {url: {"num_bytes": 1, "checksum": None}}
    (place / "train/dataset_info.json").write_text(json.dumps(info))
    assert listed() == [("nyu-mll/glue", "mrpc", None)]
    hf_localize.sync_local_datasets_to_s3()
    assert [tuple(item.values()) for item in hf_localize.list_s3_datasets()] == listed()


NOTHING: list[dict[str, object]] = []


@pytest.mark.parametrize(
    "look",
    [
        hf_localize.list_local_datasets,
        hf_localize.verify_dataset,
        lambda: hf_localize.list_local_datasets(details=True),
        lambda: hf_localize.prune_datasets(max_bytes=0),
        hf_localize.repair_dataset,
        hf_localize.list_outdated,
        hf_localize.diff_datasets,
    ],
)
def test_a_folder_three_levels_deep_is_no_dataset_before_it_is_named(
    look: Callable[[], object], desk: Desk
) -> None:
    inside = desk.publisher().store / "org/corpus"  # What save_to_disk wrote, two levels deep.
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})}).save_to_disk(str(inside))
    notes = desk.store / "notes/2024/meeting"
    notes.mkdir(parents=True)
    (notes / "minutes.txt").write_text("one\ntwo\n")
    before = tree(desk.store)
    assert look() == NOTHING
    assert tree(desk.store) == before
    loaded = hf_localize.load_local_dataset("notes", "2024", "meeting")
    assert list(loaded["train"]["text"]) == ["one", "two"]
    assert tree(desk.store) == before


def test_a_folder_of_datasets_is_not_loaded_as_data_files(desk: Desk) -> None:
    here = (desk.bucket, None, "")
    keep(desk.outsider().store, f"{GLUE}/mrpc/{REVISION}", ["of mrpc"], here)
    keep(desk.store, f"{GLUE}/sst2/{REVISION}", ["of sst2"], here)
    with pytest.raises(FileNotFoundError):
        hf_localize.load_local_dataset("by_bucket", desk.bucket, GLUE)


def test_a_dataset_called_public_is_not_taken_for_a_shelf_of_the_original_tool(desk: Desk) -> None:
    desk.publisher()
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})})
    hf_localize.register_dataset(made, "public", "en", "v1")
    assert listed() == [("public", "en", "v1")]
    assert rows_of("public", "en", "v1") == ["a"]


def test_what_the_original_tool_keeps_is_removed_by_id_and_never_pruned(desk: Desk) -> None:
    here = (desk.publisher().bucket, desk.s3.url, "")
    kept = [keep(desk.store, f"{GLUE}/mrpc/{REVISION}", ["a"], here, shelf) for shelf in ("", "public")]
    other = keep(desk.store, f"{GLUE}/mrpc/{REVISION}", ["a"], ("others", None, ""))
    hf_localize.sync_local_dataset_to_s3("nyu-mll/glue", "mrpc")
    manifest = desk.client().get_object(Bucket=desk.bucket, Key=f"{GLUE}/mrpc/{REVISION}/.hgloc.json")
    (kept[0] / ".hgloc.json").write_bytes(manifest["Body"].read())  # As it comes by its own download.
    assert hf_localize.prune_datasets(max_bytes=0, older_than_seconds=0) == []
    hf_localize.remove_dataset("nyu-mll/glue", "mrpc")
    assert [place.exists() for place in (*kept, other)] == [False, False, True]
