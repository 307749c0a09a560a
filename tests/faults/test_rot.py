"""One byte that has flipped, in each file and object: never served by a fetch, named, mended."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.manifest_json import manifest_document, read_manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.sealed_json import is_as_written
from hf_localize.sources.public import PublicSource
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, tree
from tests.faults.conftest import IS_ALL
from tests.rig.hub import LoopbackHub, make_repository

NAME = "made/rot"
ROWS = list(range(300))
ENTRY = "made_rot/default_config/default_revision"
#: Inverts the lowest bit: JSON often stays JSON.
MASK = 0x01


def parquet(values: list[int]) -> bytes:
    sink = io.BytesIO()
    text = [f"the same words again {value % 7}" for value in values]
    pq.write_table(pa.table({"n": pa.array(values), "text": pa.array(text)}), sink)
    return sink.getvalue()


@pytest.fixture
def commit(hub: LoopbackHub, desk: Desk) -> str:
    """Return the commit of a dataset of two splits, which the bucket has, and which is public."""
    files = {
        "data/train-00000-of-00001.parquet": parquet(ROWS),
        "README.md": b"---\nlicense: mit\n---\n# Rot\n",
    }
    files["data/test-00000-of-00001.parquet"] = parquet([1000, 1001])
    hub.add(make_repository(desk.folder / "repositories", NAME, "main", files))
    desk.publisher().open_public_places()
    hf_localize.download_dataset(NAME, make_public=True, keep_files=False)
    hub.stop()
    found = current_session().store.find(DatasetRef(NAME))
    assert found is not None
    assert found.manifest.commit
    return found.manifest.commit


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ MASK]) + data[at + 1 :]


def places(data: bytes) -> list[int]:
    """Return the offsets of the first, the middle and the last byte."""
    return sorted({0, len(data) // 2, len(data) - 1})


def rows(revision: str | None = None) -> list[int] | None:
    """Return what a load gives, None where it fails as it should."""
    try:
        return list(hf_localize.load_local_dataset(NAME, revision=revision)["train"]["n"])
    except errors.DatasetNotFoundError:
        return None


def rotten_files(folder: Path) -> Iterator[Path]:
    """Flip, one after another, bytes of each file of *folder*; each is as it was afterwards."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        right = path.read_bytes()
        assert right, path
        for at in places(right):
            path.unlink()
            path.write_bytes(flipped(right, at))
            yield path
            path.unlink(missing_ok=True)
            path.write_bytes(right)


def test_every_byte_of_a_manifest_is_watched(commit: str, desk: Desk) -> None:
    data = (desk.store / ENTRY / ".hgloc.json").read_bytes()
    for at in range(len(data)):
        changed = flipped(data, at)
        try:
            manifest = read_manifest(changed, "m")
        except errors.IntegrityError:
            continue
        assert not is_as_written(changed, manifest_document(manifest)), at
        assert manifest == read_manifest(data, "m"), "a reader took what was changed"


def test_verify_names_each_rotten_file_of_the_store(commit: str, desk: Desk) -> None:
    count = 0
    for path in rotten_files(desk.store / ENTRY):
        (found,) = hf_localize.verify_dataset(NAME, deep=True)
        relative = path.relative_to(desk.store / ENTRY).as_posix()
        assert [damage.split()[0] for damage in found["damaged"]] == [relative]
        count += 1
    assert count >= 8 * 3
    (found,) = hf_localize.verify_dataset(NAME, deep=True)
    assert (found["damaged"], found["is_hashed"]) == ([], True)


def test_a_wary_load_refuses_each_rotten_file_and_fetches_it_again(commit: str, desk: Desk) -> None:
    desk.set(HGLOC_VERIFY="always", HGLOC_SOURCES="local,s3")
    for number, path in enumerate(rotten_files(desk.store / ENTRY)):
        desk.use_cache(str(desk.folder / f"cache-{number}"))
        desk.s3.clear()
        assert rows() == ROWS
        asked = [request.path for request in desk.s3.requests]
        assert any("/.hgloc/index/" in path for path in asked)
        assert path.name == ".hgloc.json" or any(name.endswith(f"/{path.name}") for name in asked)
        (found,) = hf_localize.verify_dataset(NAME, deep=True)
        assert found["damaged"] == []


def test_a_wary_load_of_what_is_right_asks_nobody(commit: str, desk: Desk) -> None:
    desk.set(HGLOC_VERIFY="always")
    desk.s3.clear()
    assert rows() == ROWS
    assert desk.s3.requests == ()


def test_a_wary_load_refuses_what_is_rotten_where_nobody_else_has_it(commit: str, desk: Desk) -> None:
    desk.set(HGLOC_VERIFY="always", HGLOC_SOURCES="local")
    shard = next((desk.store / ENTRY / "train").glob("*.arrow"))
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(flipped(data, len(data) // 2))
    with pytest.raises(
        errors.DatasetCorruptError, match=r"train/data-00000.*differs from the entry's manifest"
    ):
        hf_localize.load_local_dataset(NAME)


def test_a_wary_load_of_a_part_replaces_a_rotten_shard(commit: str, desk: Desk) -> None:
    desk.teammate().set(HGLOC_SOURCES="local,s3")
    with hf_localize.installed():
        assert list(datasets.load_dataset(NAME, split="test")["n"]) == [1000, 1001]
        (shard,) = (desk.store / ".hgloc/partial").rglob("*.arrow")
        right = shard.read_bytes()
        shard.unlink()
        shard.write_bytes(flipped(right, len(right) // 2))
        (found,) = hf_localize.verify_dataset(NAME, deep=True)
        assert (found["is_partial"], found["files"]) == (True, 1)
        assert found["damaged"][0].startswith("test/data-00000-of-00001.arrow differs")
        desk.set(HGLOC_VERIFY="always")
        assert list(datasets.load_dataset(NAME, split="test")["n"]) == [1000, 1001]
    assert shard.read_bytes() == right
    (found,) = hf_localize.verify_dataset(NAME, deep=True)
    assert found["damaged"] == []


@pytest.mark.parametrize("source", ["s3", "public"])
def test_repair_moves_what_is_damaged_and_nothing_else(source: str, commit: str, desk: Desk) -> None:
    desk.set(HGLOC_SOURCES=f"local,{source}")
    before = tree(desk.store / ENTRY)
    for path in rotten_files(desk.store / ENTRY):
        relative = path.relative_to(desk.store / ENTRY).as_posix()
        desk.s3.clear()
        (done,) = hf_localize.repair_dataset(NAME)
        assert done["mended"] == [relative]
        assert tree(desk.store / ENTRY) == before
        if source == "s3":
            moved = {r.path.split(f"{ENTRY}/")[-1] for r in desk.s3.requests if f"/{ENTRY}/" in r.path}
            assert moved == {relative} - {".hgloc.json"}
    assert hf_localize.repair_dataset(NAME) == []


def test_repair_never_writes_into_what_is_linked_elsewhere(commit: str, desk: Desk) -> None:
    shard = next((desk.store / ENTRY / "train").glob("*.arrow"))
    linked = desk.folder / "linked.arrow"
    data = shard.read_bytes()
    with open(shard, "r+b") as file:
        file.write(flipped(data, 0)[:1])
    linked.hardlink_to(shard)
    ran = run_cli("repair", NAME)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{NAME}\t-\t-\ttrain/data-00000-of-00001.arrow\tprivate S3\n"
    assert (shard.read_bytes(), linked.read_bytes()) == (data, flipped(data, 0))


def test_repair_of_a_missing_manifest_of_other_content_says_what_to_do(commit: str, desk: Desk) -> None:
    local = datasets.Dataset.from_dict({"n": [1, 2, 3]})
    hf_localize.register_dataset(local, "org/own", skip_s3_upload=True)
    shard = next((desk.store / "org_own").rglob("*.arrow"))
    shard.write_bytes(flipped(shard.read_bytes(), 9))
    before = tree(desk.store)
    with pytest.raises(errors.IntegrityError, match=r"could not be repaired:\n  - org/own in "):
        hf_localize.repair_dataset("org/own")
    after = tree(desk.store)
    assert {k: v for k, v in after.items() if "locks" not in k} == {
        k: v for k, v in before.items() if "locks" not in k
    }
    ran = run_cli("repair")
    assert (ran.returncode, ran.stdout) == (6, "")
    assert "org/own" in ran.stderr


def test_repair_from_the_hub_brings_the_whole_dataset(commit: str, hub: LoopbackHub, desk: Desk) -> None:
    desk.set(HGLOC_SOURCES="local,hub")
    hub.start()
    shard = next((desk.store / ENTRY / "train").glob("*.arrow"))
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(flipped(data, len(data) // 2))
    (done,) = hf_localize.repair_dataset(NAME)
    assert done["source"] == "Hugging Face Hub"
    (found,) = hf_localize.verify_dataset(NAME, deep=True)
    assert (found["damaged"], shard.read_bytes()) == ([], data)


def rotten_objects(
    desk: Desk, keys: list[str], at: Callable[[str, bytes], list[int]]
) -> Iterator[tuple[str, int]]:
    """Flip, one after another, bytes of objects; each is as it was afterwards."""
    client = desk.client()
    for key in keys:
        found = client.get_object(Bucket=desk.bucket, Key=key)
        right, extra = found["Body"].read(), {"Metadata": found["Metadata"]}
        if desk.server.supports_acl and key.startswith("public_"):
            extra["ACL"] = "public-read"
        for place in at(key, right):
            client.put_object(Bucket=desk.bucket, Key=key, Body=flipped(right, place), **extra)
            yield key, place
        client.put_object(Bucket=desk.bucket, Key=key, Body=right, **extra)


@pytest.mark.sampled(0)
def test_a_rotten_object_of_the_bucket_is_never_served_and_is_named(commit: str, desk: Desk) -> None:
    keys = [key for key in desk.bucket_keys() if not key.startswith("public_")]
    assert len(keys) >= 8 + 3
    desk.set(HGLOC_SOURCES="s3")
    for key, _ in rotten_objects(desk, keys if IS_ALL else keys[::3], lambda _, data: places(data)):
        desk.publisher()
        (found,) = hf_localize.verify_dataset(NAME, deep=True, s3=True)
        assert [damage.split()[0] for damage in found["damaged"]] == [key]
        for revision in (None, commit):
            desk.teammate()
            assert rows(revision) in (ROWS, None)
            data_keys = key.startswith(ENTRY) and not key.endswith(".hgloc.json")
            if data_keys or ("/index/" in key and revision is None):
                assert hf_localize.list_local_datasets() == [] or rows(revision) == ROWS
    desk.publisher()
    (found,) = hf_localize.verify_dataset(NAME, deep=True, s3=True)
    assert (found["damaged"], found["is_hashed"]) == ([], True)


def zip_places(desk: Desk) -> Callable[[str, bytes], list[int]]:
    """Return offsets: for the ZIP, of each member's first, middle and last byte and of much else.

    `make test` tries one in thirty of them.
    """

    def at(key: str, data: bytes) -> list[int]:
        if not key.endswith(".zip"):
            # A wrong ETag has the publisher send the ZIP again, and shows to nobody else.
            hint = range(data.index(b'"etag"'), data.index(b"\n", data.index(b'"etag"')))
            found = [place for place in (*places(data), *range(7, len(data), 41)) if place not in hint]
            return sampled(found)
        source = PublicSource(current_session().public_files, 1)
        (record,) = source.records() or ()
        contents = source.open_record(record).contents  # type: ignore[attr-defined]
        found = {*places(data), *range(5, len(data), 401)}
        for member in contents.members.values():
            last = member.data_offset + member.packed_bytes - 1
            found |= {member.data_offset, (member.data_offset + last) // 2, last, member.offset}
        return sampled(sorted(found))

    return at


def sampled(offsets: list[int]) -> list[int]:
    return offsets if IS_ALL else offsets[::30]


def test_a_rotten_byte_of_a_public_zip_or_record_is_never_served_and_is_named(
    commit: str, desk: Desk
) -> None:
    keys = [key for key in desk.bucket_keys() if key.startswith("public_")]
    assert len(keys) == 2
    desk.outsider().set(HGLOC_SOURCES="public")
    at = zip_places(desk)
    count, tried = 0, set()
    for key, place in rotten_objects(desk, keys, at):
        tried.add(key)
        try:
            found = hf_localize.verify_dataset(NAME, deep=True, public=True)
        except errors.DatasetNotFoundError:
            found = hf_localize.verify_dataset(deep=True, public=True)
        told = [damage for item in found for damage in item["damaged"]]
        assert told, f"nothing was found where byte {place} of {key} is wrong"
        # A wrong letter in the name that a record gives to its ZIP shows where there is no such ZIP.
        assert key in told[0] or key in found[0]["place"] or re.search("its record|missing", told[0])
        if count % 3 == 0:
            desk.outsider()
            assert rows() in (ROWS, None)
            assert rows(commit) in (ROWS, None)
        count += 1
    assert tried == set(keys)
    assert count > (50 if IS_ALL else 2)
    (item,) = hf_localize.verify_dataset(NAME, deep=True, public=True)
    assert item["damaged"] == []


def test_the_command_verify_names_what_is_damaged(commit: str, desk: Desk) -> None:
    ran = run_cli("verify", "--deep")
    assert (ran.returncode, ran.stdout) == (0, f"{NAME}\t-\t-\tok\t{desk.store / ENTRY}\n")
    assert run_cli("verify", NAME, "--s3", "--public").returncode == 0
    (desk.store / ENTRY / "dataset_dict.json").write_text("{}")
    ran = run_cli("verify", NAME)
    assert (ran.returncode, ran.stdout) == (6, f"{NAME}\t-\t-\tdamaged\t{desk.store / ENTRY}\n")
    assert f"damaged: {NAME} - -: dataset_dict.json has 2 bytes; its manifest says" in ran.stderr
    ran = run_cli("verify", "org/nowhere")
    assert (ran.returncode, ran.stdout) == (3, "")


def test_verify_of_what_the_original_tool_wrote_looks_at_what_can_be_known(desk: Desk) -> None:
    desk.publisher()
    saved = desk.folder / "saved"
    datasets.DatasetDict(train=datasets.Dataset.from_dict({"n": [1]})).save_to_disk(str(saved))
    for path in saved.rglob("*"):
        if path.is_file():
            key = f"org_old/default_config/default_revision/{path.relative_to(saved).as_posix()}"
            desk.client().put_object(Bucket=desk.bucket, Key=key, Body=path.read_bytes())
    (found,) = hf_localize.verify_dataset("org/old", s3=True, deep=True)
    assert (found["damaged"], found["is_hashed"]) == ([], False)
    key = "org_old/default_config/default_revision/train/data-00000-of-00001.arrow"
    desk.client().delete_object(Bucket=desk.bucket, Key=key)
    (found,) = hf_localize.verify_dataset("org/old", s3=True)
    assert "data-00000-of-00001.arrow is missing" in found["damaged"][0]


def test_a_quick_check_of_the_bucket_reads_no_data(commit: str, desk: Desk) -> None:
    desk.s3.clear()
    (found,) = hf_localize.verify_dataset(NAME, s3=True)
    assert found["damaged"] == []
    assert not [r for r in desk.s3.requests if r.path.endswith(".arrow")]
    key = f"{ENTRY}/train/data-00000-of-00001.arrow"
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=b"short")
    (found,) = hf_localize.verify_dataset(NAME, s3=True)
    assert found["damaged"][0].startswith(f"{key} has 5 bytes")
    desk.client().delete_object(Bucket=desk.bucket, Key=key)
    (found,) = hf_localize.verify_dataset(NAME, s3=True)
    assert found["damaged"] == [f"{key} is missing"]


#: What can be where a file is expected. Docker makes a folder to mount a file on that is missing.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "links in a circle": lambda path: path.symlink_to(path),
    "pipe": os.mkfifo,
}


@pytest.mark.sampled(len(NO_FILES))
@pytest.mark.parametrize("what", NO_FILES)
def test_an_entry_whose_manifest_is_no_file_stops_none_of_the_others(what: str, desk: Desk) -> None:
    desk.publisher()
    for name in (NAME, "org/whole"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), name)
    manifest = desk.store / ENTRY / ".hgloc.json"
    manifest.unlink()
    NO_FILES[what](manifest)
    found = {item["place"]: item["damaged"] for item in hf_localize.verify_dataset(deep=True)}
    damage = f".hgloc.json can't be used: {manifest} is not a file"
    assert found == {
        str(manifest.parent): [damage],
        str(desk.store / "org_whole/default_config/default_revision"): [],
    }
    assert [item["dataset_id"] for item in hf_localize.list_local_datasets()] == ["org/whole"]
    assert hf_localize.prune_datasets(1 << 40) == []
    with pytest.raises(
        errors.IntegrityError, match=r"if its id is not made_rot, name it: hg-localize repair ID"
    ):
        hf_localize.repair_dataset()
    (item,) = hf_localize.repair_dataset(NAME)
    assert item["mended"] == [".hgloc.json"]
    assert hf_localize.verify_dataset(NAME, deep=True)[0]["damaged"] == []


def test_what_can_not_be_repaired_keeps_no_other_from_it(desk: Desk) -> None:
    desk.publisher()
    for name in (NAME, "org/other"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), name)
    first, second = (
        desk.store / name / "default_config/default_revision" for name in ("made_rot", "org_other")
    )
    for folder in (first, second):
        (folder / "dataset_dict.json").unlink()
    (first / "dataset_dict.json" / "of somebody").mkdir(parents=True)
    with pytest.raises(
        errors.IntegrityError, match=r"made/rot .*dataset_dict.json is a folder that has files"
    ):
        hf_localize.repair_dataset()
    assert (second / "dataset_dict.json").is_file()


@pytest.mark.sampled(len(NO_FILES))
@pytest.mark.parametrize("what", NO_FILES)
def test_records_of_a_repository_that_are_no_files_are_damaged_and_are_written_again(
    what: str, hub: LoopbackHub, desk: Desk
) -> None:
    files = {"config.json": b"{}", "model.bin": b"weights"}
    hub.add(make_repository(desk.folder / "repositories", "models/team/one", "main", files))
    desk.publisher()

    def download() -> None:
        hf_localize.download_repository("team/one", repo_type="model", skip_s3_upload=True)

    download()
    kept = [p for p in (desk.store / ".hgloc").rglob("*") if p.is_file() and p.parent.name != "locks"]
    assert len(kept) == 5
    for path in kept:
        path.unlink()
        NO_FILES[what](path)
        found = [item["damaged"] for item in hf_localize.verify_dataset()]
        assert path.name.startswith(".") or any(found) or not path.exists(), (path, found)
        assert hf_localize.prune_datasets(1 << 40) == []
        download()
        assert hf_localize.verify_dataset(deep=True) == []
        assert path.name.startswith(".") or path.is_file()


def test_an_archived_object_is_told_by_its_cause_and_by_what_to_do(desk: Desk) -> None:
    if desk.server.name != "moto":
        pytest.skip("the server archives nothing")
    desk.publisher().open_public_places()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), NAME, make_public=True)
    client = desk.client()
    for key in desk.bucket_keys():
        if key.endswith((".arrow", ".zip")):
            source = {"Bucket": desk.bucket, "Key": key}
            acl = {"ACL": "public-read"} if key.endswith(".zip") else {}
            client.copy_object(Bucket=desk.bucket, Key=key, CopySource=source, StorageClass="GLACIER", **acl)
    for deep in (False, True):
        (found,) = hf_localize.verify_dataset(NAME, s3=True, deep=deep)
        assert len(found["damaged"]) == 1
        assert "archived" in found["damaged"][0]
        (found,) = hf_localize.verify_dataset(public=True, deep=deep)
        assert "archived" in found["damaged"][0]
    hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), "org/other")
    for key in (f"{ENTRY}/.hgloc.json", DatasetRef(NAME).index_key):
        source = {"Bucket": desk.bucket, "Key": key}
        client.copy_object(Bucket=desk.bucket, Key=key, CopySource=source, StorageClass="GLACIER")
        damaged = {item["dataset_id"]: item["damaged"] for item in hf_localize.verify_dataset(s3=True)}
        assert damaged["org/other"] == []
        assert "archived" in damaged[NAME][0]
    for who, source in (("teammate", "s3"), ("outsider", "public")):
        getattr(desk, who)().set(HGLOC_SOURCES=source)
        with pytest.raises(errors.DatasetUnreachableError, match=r"was archived.*aws s3api restore-object"):
            hf_localize.load_local_dataset(NAME)


def test_publishing_again_sends_what_was_archived(desk: Desk) -> None:
    if desk.server.name != "moto":
        pytest.skip("the server archives nothing")
    desk.publisher().open_public_places()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), NAME, make_public=True)
    hf_localize.download_repository("openai/gsm8k", repo_type="dataset", make_public=True)
    client = desk.client()
    archived = [key for key in desk.bucket_keys() if key.endswith((".arrow", ".zip")) or "/blobs/" in key]
    for key in archived:
        source = {"Bucket": desk.bucket, "Key": key}
        client.copy_object(Bucket=desk.bucket, Key=key, CopySource=source, StorageClass="GLACIER")
    hf_localize.sync_local_dataset_to_s3(NAME, make_public=True)
    hf_localize.sync_local_repository_to_s3("openai/gsm8k", repo_type="dataset", make_public=True)
    for key in archived:
        assert client.head_object(Bucket=desk.bucket, Key=key).get("StorageClass") is None, key
    for who, source in (("teammate", "s3"), ("outsider", "public")):
        getattr(desk, who)().set(HGLOC_SOURCES=source)
        assert hf_localize.load_local_dataset(NAME)["train"]["n"][:] == [1]


def test_prune_goes_on_past_a_repository_whose_record_is_a_folder_with_files(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"n": [1]}), NAME)
    hf_localize.download_repository("openai/gsm8k", repo_type="dataset")
    (refs,) = (desk.store / ".hgloc/repositories").rglob("refs.json")
    refs.unlink()
    (refs / "somebody's").mkdir(parents=True)
    for path in (desk.store, *desk.store.rglob("*")):
        os.utime(path, (0, 0))
    assert [item["dataset_id"] for item in hf_localize.prune_datasets(1)] == [NAME]
    ran = run_cli("remove", "openai/gsm8k", "--files-only", "--yes")
    assert ran.returncode == 6
    assert "refs.json is a folder that has files: remove it" in ran.stderr
