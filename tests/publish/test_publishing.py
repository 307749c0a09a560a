"""Publishing: who sees what, and what nobody sees."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.publish import bucket as bucket_module
from hf_localize.publish import public
from hf_localize.publish.bucket import upload
from hf_localize.s3.bucket import Bucket
from hf_localize.sources.session import current_session
from hf_localize.store.entry import LocalEntry
from tests.conftest import SECRET, Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import IgnoreConditions, Request, Rule, Stall, Status

GSM8K = "openai/gsm8k"


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


def test_a_failed_upload_is_a_failure_and_no_reader_sees_the_dataset(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x", skip_s3_upload=True)
    publisher = desk.store
    desk.s3.fail(Rule("PUT", r"data-00000", Status(403, "AccessDenied")))
    with pytest.raises(errors.PublishError, match=r"org/x was not published.*AccessDenied"):
        hf_localize.sync_local_dataset_to_s3("org/x")
    ran = run_cli("sync-local-to-s3", "org/x")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert hf_localize.list_s3_datasets() == []
    desk.teammate().s3.heal()
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/x")
    desk.publisher().set(HGLOC_DATASETS_STORE_PATH=str(publisher))
    assert "uploaded" in hf_localize.sync_local_dataset_to_s3("org/x").message_or_path
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["x"]


def test_a_download_with_keys_that_may_only_read_prints_its_path_and_fails(
    desk: Desk, hub: LoopbackHub
) -> None:
    desk.publisher().s3.fail(Rule("PUT", ".", Status(403, "AccessDenied")))
    path = f"{desk.store}/openai_gsm8k/main/default_revision"
    ran = run_cli("download", "openai/gsm8k", "--name", "main")
    assert (ran.returncode, ran.stdout) == (4, f"{path}\n")
    assert f"Error: the dataset is in the local store at {path}; publishing it failed: " in ran.stderr
    ran = run_cli("download", "openai/gsm8k", "--name", "main", "--json")
    (told,) = json.loads(ran.stdout)
    assert (ran.returncode, told["path"], told["error_kind"]) == (4, path, "denied")
    ran = run_cli("download", "openai/gsm8k", "--name", "main", "--name", "nothing")
    assert ran.stdout == f"{path}\n"
    assert ran.stderr.count("Error: openai/gsm8k") == 2


@pytest.mark.parametrize("refused", ["data-00000", "dataset_dict", r"\.hgloc\.json", r"\.hgloc/index"])
def test_whichever_object_is_refused_no_reader_sees_half_an_entry(refused: str, desk: Desk) -> None:
    desk.publisher().s3.fail(Rule("PUT", refused, Status(403, "AccessDenied")))
    with pytest.raises(errors.PublishError):
        hf_localize.register_dataset(rows("x"), "org/x")
    desk.teammate().s3.heal()
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/x")
    desk.publisher()
    assert hf_localize.list_s3_datasets() == []


def test_a_publication_that_is_cut_off_leaves_the_former_content_whole(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("old"), "org/x")
    mine = desk.store
    for refused in ("data-00000", r"\.hgloc/index"):
        desk.s3.fail(Rule("PUT", refused, Status(403, "AccessDenied")))
        with pytest.raises(errors.PublishError):
            hf_localize.register_dataset(rows("new", "er"), "org/x")
        desk.s3.heal()
        desk.teammate()
        assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["old"]
        desk.publisher().set(HGLOC_DATASETS_STORE_PATH=str(mine))
    hf_localize.sync_local_dataset_to_s3("org/x")
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["new", "er"]


def test_two_publishers_of_different_content_end_in_one_of_the_two_whole(desk: Desk) -> None:
    desk.publisher()
    entries = []
    for text in ("one", "two"):
        hf_localize.register_dataset(rows(text), "org/x", skip_s3_upload=True)
        (entry,) = current_session().store.entries()
        kept = desk.folder / text
        shutil.copytree(entry.folder, kept)
        entries.append(replace(entry, folder=kept, identity=None))
    desk.s3.fail(Rule("PUT", r"\.hgloc\.json", Stall(0.3)))
    bucket = current_session().bucket

    def publish(entry: LocalEntry) -> object:
        try:
            return upload(entry, bucket, replace=True, workers=2)
        except errors.ConflictError as exc:
            return exc

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(publish, entries))
    assert True in outcomes
    desk.teammate()
    loaded = hf_localize.load_local_dataset("org/x")["train"]["text"][:]
    winners = [text for text, outcome in zip(("one", "two"), outcomes, strict=True) if outcome is True]
    assert loaded[0] in winners


def test_a_folder_that_another_publisher_has_claimed_all_the_same_is_left_to_him(desk: Desk) -> None:
    """Some servers, such as Swift's, let several writers at once put an object where there is none."""
    desk.publisher()
    folder, theirs = DatasetRef("org/x").folders[0], desk.folder / "theirs"
    hf_localize.register_dataset(rows("theirs"), "org/x", skip_s3_upload=True)
    shutil.copytree(desk.store / folder, theirs)
    hf_localize.register_dataset(rows("ours"), "org/x", skip_s3_upload=True)

    def publish_theirs(request: Request) -> None:
        if request.method == "PUT" and "/.hgloc/index/" in request.path:
            desk.s3.watch = None
            for name in (MANIFEST_NAME, "train/state.json"):
                desk.client().upload_file(str(theirs / name), desk.bucket, f"{folder}/{name}")

    desk.s3.watch = publish_theirs
    assert hf_localize.sync_local_dataset_to_s3("org/x").success
    assert desk.s3.watch is None
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["ours"]


def test_main_and_no_revision_may_both_be_stored(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("none"), "org/x")
    hf_localize.register_dataset(rows("main"), "org/x", revision="main")
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["none"]
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x", None, "main")["train"]["text"][:] == ["main"]


def test_features_with_shapes_can_be_shared_publicly(desk: Desk) -> None:
    desk.publisher().open_public_places()
    features = datasets.Features({"grid": datasets.Array2D(shape=(2, 2), dtype="int32")})
    made = datasets.Dataset.from_dict({"grid": [[[1, 2], [3, 4]]]}, features=features)
    hf_localize.register_dataset(made, "org/grid", make_public=True)
    desk.outsider()
    loaded = hf_localize.load_local_dataset("org/grid")["train"]
    assert loaded.features == features
    assert loaded[0]["grid"] == [[1, 2], [3, 4]]


def test_eight_publishers_at_once_make_eight_records(desk: Desk) -> None:
    desk.publisher().open_public_places()
    names = [f"org/set{n}" for n in range(8)]
    entries = [hf_localize.register_dataset(rows(n), n, skip_s3_upload=True) and n for n in names]
    session = current_session()
    found = {e.manifest.dataset_id: e for e in session.store.entries()}

    def publish(name: str) -> bool:
        return public.make_public(found[name], session.bucket, session.public_files, workers=4)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(publish, entries))
    body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    assert sorted(r["dataset_id"] for r in json.loads(body).values()) == names


def test_a_publisher_on_a_server_without_conditional_writes_succeeds(desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.s3.fail(Rule(None, ".", IgnoreConditions()))
    for name in ("org/a", "org/b"):
        hf_localize.register_dataset(rows(name), name, make_public=True)
    desk.outsider()
    assert {found["dataset_id"] for found in hf_localize.list_s3_datasets()} == {"org/a", "org/b"}


@pytest.mark.parametrize("broken", [b"{broken", b"[]", b"\xff\xfe", b'{"a": ' + b"[" * 100_000])
def test_an_unreadable_public_datasets_json_is_never_overwritten(broken: bytes, desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=broken)
    with pytest.raises(errors.IntegrityError, match=r"public_datasets\.json"):
        hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    kept = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    assert kept == broken


def test_fields_of_other_tools_in_public_datasets_json_are_kept(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    document = json.loads(
        desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    )
    document["org/x---default_config---default_revision"]["note"] = "ours"
    document["other---c---r"] = {"unknown": "form"}
    desk.client().put_object(
        Bucket=desk.bucket, Key="public_datasets.json", Body=json.dumps(document).encode()
    )
    hf_localize.register_dataset(rows("y"), "org/x", make_public=True)
    after = json.loads(
        desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    )
    assert after["other---c---r"] == {"unknown": "form"}
    assert after["org/x---default_config---default_revision"]["note"] == "ours"


def test_no_manifest_and_no_zip_holds_a_bucket_host_credential_or_local_path(
    hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher().open_public_places()
    folder = desk.folder / "my data"
    folder.mkdir()
    (folder / "rows.csv").write_text("a,b\n1,2\n")
    hf_localize.register_dataset(folder, "org/x", make_public=True)
    hf_localize.download_dataset(GSM8K, "socratic", make_public=True)
    keys = desk.bucket_keys()
    bodies = {k: desk.client().get_object(Bucket=desk.bucket, Key=k)["Body"].read() for k in keys}
    secrets = [desk.bucket, desk.s3.url.split("//")[1], desk.server.endpoint_url.split("//")[1], SECRET]
    secrets += [
        desk.server.secret_key,
        str(desk.folder),
        "127.0.0.1",
        "localhost",
        hub.url.split("//")[1],
        "/tmp/",
    ]
    manifests = [k for k in keys if k.endswith(".hgloc.json") or ".hgloc/" in k]
    assert len(manifests) > 4
    for key in manifests:
        assert not [s for s in secrets if s.encode() in bodies[key]], key
    zips = [k for k in keys if k.endswith(".zip")]
    assert len(zips) == 2
    for key in zips:
        with zipfile.ZipFile(io.BytesIO(bodies[key])) as archive:
            for name in archive.namelist():
                assert not [s for s in secrets if s.encode() in archive.read(name)], f"{name} in {key}"


def test_a_read_only_credential_without_listing_rights_can_load(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x", "en")
    desk.teammate()
    desk.s3.fail(Rule("GET", r"^/[^/]+/?$", Status(403, "AccessDenied")))  # ListBucket
    desk.s3.fail(Rule("HEAD", r"^/[^/]+/?$", Status(403, "AccessDenied")))  # HeadBucket
    desk.s3.fail(Rule("PUT", ".", Status(403, "AccessDenied")))
    desk.s3.fail(Rule("GET", "missing", Status(403, "AccessDenied")))  # As AWS answers without ListBucket.
    assert hf_localize.load_local_dataset("org/x", "en")["train"]["text"][:] == ["x"]
    with pytest.raises(errors.DatasetNotFoundError, match="not here, or not permitted") as caught:
        hf_localize.load_local_dataset("org/missing")
    assert not isinstance(caught.value, PermissionError)


def test_make_public_where_acls_are_disabled_fails_with_the_policy_that_would_help(desk: Desk) -> None:
    desk.publisher()
    desk.s3.fail(Rule(None, ".", Status(400, "AccessControlListNotSupported"), header="x-amz-acl"))
    folder = desk.folder / "data"
    folder.mkdir()
    (folder / "rows.csv").write_text("a\n1\n")
    ran = run_cli("register", str(folder), "org/x", "--make-public")
    assert (ran.returncode, ran.stdout) == (1, f"{desk.store}/org_x/default_config/default_revision\n")
    assert "the dataset is in the local store" in ran.stderr
    assert f"uploaded to s3://{desk.bucket}" in ran.stderr
    policy = ran.stderr[ran.stderr.index("{") : ran.stderr.rindex("}") + 1]
    arn = f"arn:aws:s3:::{desk.bucket}"
    (statement,) = json.loads(policy)["Statement"]
    places = ("public_datasets.json", "public_datasets_zip/*", "public_repositories/*")
    assert statement["Resource"] == [f"{arn}/{place}" for place in places]
    assert [k for k in desk.bucket_keys() if "public" in k] == []
    desk.client().put_bucket_policy(Bucket=desk.bucket, Policy=policy)
    assert run_cli("sync-local-to-s3", "org/x", "--make-public").returncode == 0
    desk.outsider()
    assert hf_localize.load_local_dataset("org/x")["train"].to_list() == [{"a": 1}]


def test_publishing_needs_a_bucket_and_credentials_before_any_work(desk: Desk, hub: LoopbackHub) -> None:
    desk.outsider()
    with pytest.raises(errors.SettingsError, match="HGLOC_AWS_ACCESS_KEY_ID"):
        hf_localize.download_dataset(GSM8K, "main", make_public=True)
    desk.set(HGLOC_S3_BUCKET_NAME="")
    with pytest.raises(errors.SettingsError, match="HGLOC_S3_BUCKET_NAME"):
        hf_localize.sync_local_dataset_to_s3("org/x")
    assert (hub.requests, desk.s3.requests, desk.store.exists()) == ([], (), False)


def test_sync_brings_changed_local_data_and_download_says_that_two_copies_differ(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("old"), "org/x")
    hf_localize.register_dataset(rows("new"), "org/x", skip_s3_upload=True)
    with pytest.raises(errors.ConflictError, match="differs from the local copy, and may be newer"):
        hf_localize.download_dataset("org/x")
    assert "uploaded" in hf_localize.sync_local_dataset_to_s3("org/x").message_or_path
    assert "has it already" in hf_localize.sync_local_dataset_to_s3("org/x").message_or_path
    desk.teammate()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["new"]


def test_sync_make_public_replaces_a_zip_of_other_content_and_keeps_one_that_is_right(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("old"), "org/x", make_public=True)
    hf_localize.register_dataset(rows("new"), "org/x", skip_s3_upload=True)
    assert (
        "shared publicly" in hf_localize.sync_local_dataset_to_s3("org/x", make_public=True).message_or_path
    )
    desk.s3.clear()
    done = hf_localize.sync_local_dataset_to_s3("org/x", make_public=True)
    assert done.message_or_path.endswith("shared publicly already")
    assert [r for r in desk.s3.requests if r.method == "PUT"] == []
    desk.outsider()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["new"]


def test_sync_refuses_an_entry_whose_files_differ_from_its_manifest(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x" * 100), "org/x", skip_s3_upload=True)
    (shard,) = desk.store.rglob("*.arrow")
    shard.write_bytes(shard.read_bytes().replace(b"xxxx", b"yyyy", 1))
    with pytest.raises(errors.IntegrityError, match=r"data-00000.*differs"):
        hf_localize.sync_local_dataset_to_s3("org/x")
    assert hf_localize.list_s3_datasets() == []
    desk.teammate()
    with pytest.raises(errors.DatasetNotFoundError):
        hf_localize.load_local_dataset("org/x")


def test_no_s3_upload_wins_over_make_public(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "socratic", make_public=True, skip_s3_upload=True)
    assert desk.bucket_keys() == []


def test_download_makes_public_also_when_the_private_copy_was_there(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "socratic")
    hub.stop()
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "socratic", make_public=True)
    assert "public_datasets_zip/openai_gsm8k---socratic---default_revision.zip" in desk.bucket_keys()


def test_the_same_entry_gives_the_same_zip(desk: Desk) -> None:
    from hf_localize.format.zip.writer import PackedZip

    desk.publisher()
    words = datasets.Dataset.from_dict({"text": [f"the same words again, number {n}" for n in range(60_000)]})
    noise = datasets.Dataset.from_dict({"text": [os.urandom(64).hex() for _ in range(8_000)]})
    noise = noise.cast_column("text", datasets.Value("binary")).map(
        lambda row: {"text": os.urandom(300)}, load_from_cache_file=False
    )
    hf_localize.register_dataset(words, "org/x", "words", skip_s3_upload=True)
    hf_localize.register_dataset(noise, "org/x", "noise", skip_s3_upload=True)
    methods = set()
    for entry in current_session().store.entries():
        first, second = (b"".join(map(bytes, PackedZip(entry.folder, entry.manifest).pieces())) for _ in "12")
        assert first == second
        with zipfile.ZipFile(io.BytesIO(first)) as opened:
            assert opened.testzip() is None
            methods |= {i.compress_type for i in opened.infolist() if i.filename.endswith(".arrow")}
            for file in entry.manifest.files:
                assert opened.read(file.path) == (entry.folder / file.path).read_bytes()
    assert methods == {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def test_a_prefix_keeps_everything_under_it(desk: Desk) -> None:
    desk.publisher().set(HGLOC_S3_DATA_PREFIX="teams/nlp")
    desk.open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    assert all(key.startswith("teams/nlp/") for key in desk.bucket_keys())
    assert [found["dataset_id"] for found in hf_localize.list_s3_datasets()] == ["org/x"]
    desk.outsider()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["x"]


def test_the_catalog_lists_the_publisher_who_was_first(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, versions = DatasetRef("made/twice"), []
    for text in ("old", "one", "other"):
        files = {"a.csv": f"text\n{text}\n".encode()}
        hub.add(make_repository(desk.folder / text, made.dataset_id, "main", files))
        desk.publisher().set(HGLOC_SOURCES="local,hub")
        hf_localize.download_dataset(made.dataset_id, skip_s3_upload=text != "old", keep_files=False)
        versions.append(current_session().store.find(made))
    hub._added.clear()
    _, one, other = versions
    bucket, stock = current_session().bucket, bucket_module._enter_catalogs

    def meanwhile(*args: Any) -> None:
        """Have the other publisher do all that he does before this one does more."""
        monkeypatch.setattr(bucket_module, "_enter_catalogs", stock)
        upload(other, Bucket(current_session().settings), replace=True, workers=2)
        stock(*args)

    monkeypatch.setattr(bucket_module, "_enter_catalogs", meanwhile)
    with pytest.raises(errors.ConflictError, match="another publisher changed made/twice"):
        upload(one, bucket, replace=True, workers=2)
    assert [checked["damaged"] for checked in hf_localize.verify_dataset(s3=True)] == [[]]
