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
from tests.conftest import Desk, run_cli, run_python, tree
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
    records = {name: {**record, "s3_bucket": desk.bucket} for name in ("org/old---en---v1", "the same again")}
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=packed.getvalue(), **acl)
    body = json.dumps(records).encode()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body, **acl)
    desk.outsider()
    assert load() == EXPECTED
    names = {"dataset_id": "org/old", "config_name": "en", "revision": "v1"}
    assert hf_localize.list_public_datasets() == [names]


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
    after = {path: data for path, data in tree(desk.store).items() if not path.startswith(".hgloc/")}
    assert after == before
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
    said = pytest.raises(FileNotFoundError, match=r"s3://others at .*: to load it, configure that bucket")
    with said, hf_localize.installed(sources=("local",)):
        rows_of("nyu-mll/glue", "sst2")
    ran = run_cli("list-local")
    assert ran.stdout == f"{GLUE}\tmrpc\t-\n"
    assert ran.stderr.count("from another bucket, s3://others") == 2
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
    for endpoint in ("http://[no-url/", desk.s3.url):
        metadata |= {"s3_bucket_name": "others", "s3_endpoint_url": endpoint}
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
    assert "org_old [en]@v1 was not uploaded, because its id is not known" in ran.stdout
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


# A bucket in which it and hf_localize publish.


def put_original(desk: Desk, dataset_id: str, name: str, rows: list[str], *, indexed: bool = True) -> None:
    """Put a dataset into the bucket as the original tool does, and into its private index."""
    folder = f"{dataset_id.replace('/', '_')}/{name}/{REVISION}"
    put(desk, folder, keep(desk.folder / f"made-{name}", folder, rows, (desk.bucket, desk.s3.url, "")))
    if indexed:
        document = original_index(desk) or {}
        document[f"{dataset_id}---{name}---{REVISION}"] = {
            "dataset_id": dataset_id,
            "config_name": name,
            "revision": None,
            "s3_prefix": folder,
            "s3_bucket": desk.bucket,
            "has_card": True,
            "last_updated": "1748323200.0",
        }
        body = json.dumps(document, indent=2).encode()
        desk.client().put_object(Bucket=desk.bucket, Key=INDEX, Body=body)


INDEX = "private_datasets_index.json"


def original_index(desk: Desk) -> dict[str, dict[str, object]] | None:
    if INDEX not in desk.bucket_keys(INDEX):
        return None
    return json.loads(desk.client().get_object(Bucket=desk.bucket, Key=INDEX)["Body"].read())


def in_bucket(**options: bool) -> list[tuple[str, str | None, str | None]]:
    return [tuple(item.values()) for item in hf_localize.list_s3_datasets(**options)]


@pytest.mark.parametrize("indexed", [True, False])
def test_other_configs_of_an_id_are_listed_and_checked_beside_ours(indexed: bool, desk: Desk) -> None:
    desk.publisher()
    put_original(desk, "nyu-mll/glue", "mrpc", ["of mrpc"], indexed=indexed)
    put_original(desk, "nyu-mll/glue", "sst2", ["of sst2"], indexed=indexed)
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["ours"]})})
    hf_localize.register_dataset(made, "nyu-mll/glue", "cola")
    id_of_theirs = "nyu-mll/glue" if indexed else GLUE
    expected = sorted([("nyu-mll/glue", "cola"), (id_of_theirs, "mrpc"), (id_of_theirs, "sst2")])
    assert [found[:2] for found in in_bucket()] == expected
    checked = hf_localize.verify_dataset(s3=True)
    assert sorted((item["dataset_id"], item["config_name"]) for item in checked) == expected
    assert not any(item["damaged"] for item in checked)


def test_what_the_original_tool_lists_but_has_not_is_not_listed(desk: Desk) -> None:
    desk.publisher()
    put_original(desk, "org/there", "en", ["a"])
    body = json.loads(desk.client().get_object(Bucket=desk.bucket, Key=INDEX)["Body"].read())
    body["org/gone---en---v1"] = {**body[f"org/there---en---{REVISION}"], "dataset_id": "org/gone"}
    body |= {"a": None, "b": {"dataset_id": "../../x"}, "c": {"dataset_id": ["x"]}, "d": [], "e": 7}
    desk.client().put_object(Bucket=desk.bucket, Key=INDEX, Body=json.dumps(body).encode())
    assert in_bucket() == [("org/there", "en", None)]


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"a":' * 5000])
def test_a_damaged_index_of_the_original_tool_stops_nothing_and_stays(body: bytes, desk: Desk) -> None:
    desk.publisher()
    put_original(desk, "org/old", "en", ["a"])
    desk.client().put_object(Bucket=desk.bucket, Key=INDEX, Body=body)
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["ours"]})})
    hf_localize.register_dataset(made, "org/ours")
    assert in_bucket() == [("org/ours", None, None), ("org_old", "en", None)]
    hf_localize.remove_dataset("org/ours", s3=True)
    assert in_bucket() == [("org_old", "en", None)]
    assert desk.client().get_object(Bucket=desk.bucket, Key=INDEX)["Body"].read() == body


def test_the_index_of_the_original_tool_follows_what_is_published_and_removed(desk: Desk) -> None:
    desk.publisher()
    put_original(desk, "org/old", "en", ["a"])
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["ours"]})})
    hf_localize.register_dataset(made, "org/ours", revision="v2")
    document = original_index(desk)
    ours = document["org/ours---default_config---v2"]
    told = {"dataset_id": "org/ours", "config_name": None, "revision": "v2", "has_card": False}
    assert told.items() <= ours.items()
    assert ours["s3_prefix"] == "org_ours/default_config/v2"
    assert ours["s3_bucket"] == desk.bucket
    assert datasets.load_from_disk(str(desk.store / str(ours["s3_prefix"])))["train"]["text"] == ["ours"]
    hf_localize.sync_local_dataset_to_s3("org/ours", revision="v2")
    assert original_index(desk) == document  # Nothing has changed, so it is not written.
    hf_localize.register_dataset(  # Its files lie elsewhere now, where the original tool does not look.
        datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["b"]})}),
        "org/ours",
        revision="v2",
    )
    assert list(original_index(desk)) == [f"org/old---en---{REVISION}"]
    hf_localize.remove_dataset("org/old", "en", s3=True)
    assert original_index(desk) == {}
    assert desk.bucket_keys("org_old/") == []


def test_no_index_of_the_original_tool_is_made_where_there_is_none(desk: Desk) -> None:
    desk.publisher()
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["ours"]})})
    hf_localize.register_dataset(made, "org/ours")
    hf_localize.remove_dataset("org/ours", s3=True)
    assert original_index(desk) is None


def test_the_card_of_the_original_tool_is_the_card(desk: Desk) -> None:
    desk.publisher()
    put_original(desk, "org/old", "en", ["a"])
    keep(desk.store, f"org_own/en/{REVISION}", ["b"], None)
    hf_localize.sync_local_dataset_to_s3("org/own", "en")
    entry = hf_localize.register_dataset(desk.store / f"org_own/en/{REVISION}", "org/registered")
    assert (Path(entry.message_or_path) / "README.md").read_text() == "# The card\n"
    from hf_localize.catalog.gathering import BucketShelf
    from hf_localize.sources.session import current_session

    session = current_session()
    shelf = BucketShelf(session.bucket, session.public_files, 4)
    assert {ref.dataset_id for ref in shelf.refs()} == {"org/old", "org/own", "org/registered"}
    assert all("The card" in str(shelf.read(ref, 0).card) for ref in shelf.refs())


# What a hand-placed folder is called.


def test_a_hand_placed_folder_has_the_name_under_which_it_was_sent(desk: Desk) -> None:
    folder = keep(desk.publisher().store, f"my_team_custom_data/default_config/{REVISION}", ["a"], None)
    before = tree(folder)
    assert listed() == [("my_team_custom_data", None, None)]
    hf_localize.sync_local_dataset_to_s3("my_team/custom_data")
    assert listed() == in_bucket() == [("my_team/custom_data", None, None)]
    assert [item.state for item in hf_localize.diff_datasets()] == ["same"]
    for _ in range(2):
        assert all(done.success for done in hf_localize.sync_local_datasets_to_s3())
        hf_localize.sync_local_dataset_to_s3("my_team_custom_data")  # By its folder's name: it is the same.
    assert in_bucket() == [("my_team/custom_data", None, None)]
    assert tree(folder) == before
    assert rows_of("my_team/custom_data") == rows_of("my_team_custom_data") == ["a"]
    with pytest.raises(FileNotFoundError), hf_localize.installed(sources=("local",)):
        hf_localize.load_local_dataset("my/team_custom_data")
    parts = {"train": datasets.Dataset.from_dict({"text": ["other"]})}
    datasets.DatasetDict(parts).save_to_disk(str(folder))
    assert [item.state for item in hf_localize.diff_datasets()] == ["unknown"]


# From which bucket a local copy came.


@pytest.fixture
def two_buckets(desk: Desk) -> str:
    """Return the name of another bucket than the desk's; ``org/x`` is in both, and was fetched from the desk's."""
    desk.server.create_bucket(f"{desk.bucket}-b")
    for bucket, text in ((f"{desk.bucket}-b", "b"), (desk.bucket, "a")):
        desk.publisher().set(HGLOC_S3_BUCKET_NAME=bucket)
        made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": [text]})})
        hf_localize.register_dataset(made, "org/x")
    desk.teammate()
    assert rows_of("org/x") == ["a"]
    return f"{desk.bucket}-b"


LOAD = "import hf_localize as h; print(h.load_local_dataset('org/x')['train']['text'][0])\n"


def test_a_copy_from_another_bucket_is_told_once_and_without_a_request(two_buckets: str, desk: Desk) -> None:
    ran = run_python(LOAD, cwd=desk.folder)
    assert "came from" not in ran.stderr  # Where it came from is configured.
    desk.set(HGLOC_S3_BUCKET_NAME=two_buckets)
    desk.s3.clear()
    ran = run_python(LOAD * 2, cwd=desk.folder)
    assert ran.stdout == "a\na\n"
    assert ran.stderr.count(f"came from s3://{desk.bucket} at {desk.s3.url}") == 1, ran.stderr
    assert f"the configured bucket is s3://{two_buckets}" in ran.stderr
    assert not desk.s3.requests


def test_lists_info_and_explain_tell_from_which_bucket_a_copy_came(two_buckets: str, desk: Desk) -> None:
    desk.set(HGLOC_S3_BUCKET_NAME=two_buckets)
    where = f"s3://{desk.bucket} at {desk.s3.url}"
    assert json.loads(run_cli("list-local", "--json").stdout)[0]["came_from"] == where
    assert where in run_cli("list-local", "--long").stdout
    assert f"from {where}" in run_cli("info", "org/x").stdout
    assert f"which came from {where}" in run_cli("explain", "org/x").stdout


def test_what_came_from_no_bucket_has_no_origin(desk: Desk) -> None:
    desk.publisher()
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["own"]})})
    hf_localize.register_dataset(made, "org/own")
    assert hf_localize.list_local_datasets(details=True)[0]["came_from"] is None


def test_a_copy_that_is_taken_anew_has_the_new_origin(two_buckets: str, desk: Desk) -> None:
    desk.set(HGLOC_S3_BUCKET_NAME=two_buckets)
    hf_localize.remove_dataset("org/x")
    assert rows_of("org/x") == ["b"]
    came_from = hf_localize.list_local_datasets(details=True)[0]["came_from"]
    assert came_from == f"s3://{two_buckets} at {desk.s3.url}"


def test_the_origin_is_in_no_manifest_and_without_credentials(two_buckets: str, desk: Desk) -> None:
    manifest = (desk.store / f"org_x/default_config/{REVISION}/.hgloc.json").read_text()
    records = "".join(data.decode() for path, data in tree(desk.store / ".hgloc/origin").items())
    assert desk.bucket in records
    assert desk.bucket not in manifest
    assert desk.server.secret_key not in records


def test_a_config_that_the_original_tool_publishes_after_ours_is_listed(desk: Desk) -> None:
    desk.publisher()
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["ours"]})})
    hf_localize.register_dataset(made, "nyu-mll/glue", "cola")
    put_original(desk, "nyu-mll/glue", "mrpc", ["of mrpc"])
    put_original(desk, "org/other", "en", ["a"])
    assert in_bucket() == [
        ("nyu-mll/glue", "cola", None),
        ("nyu-mll/glue", "mrpc", None),
        ("org/other", "en", None),
    ]
    assert in_bucket(all_folders=True) == in_bucket()
    assert [found["config_name"] for found in hf_localize.list_s3_datasets(pattern="org/*")] == ["en"]
