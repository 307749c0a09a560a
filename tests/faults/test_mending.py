"""A damaged copy in the bucket: told as corrupt at once, and mended by publishing again."""

from __future__ import annotations

import re

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk
from tests.rig.s3_proxy import Rule, WrongBytes

NAME = "org/x"
ZIP = "public_datasets_zip/org_x---default_config---default_revision.zip"


def register(*texts: str, name: str = NAME, **how: bool) -> None:
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": list(texts)}), name, **how)


def texts(name: str = NAME) -> list[str]:
    return list(hf_localize.load_local_dataset(name)["train"]["text"])


def body(desk: Desk, key: str) -> bytes:
    return bytes(desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read())


def shard_of(desk: Desk) -> str:
    (key,) = [key for key in desk.bucket_keys() if key.endswith(".arrow")]
    return key


@pytest.mark.parametrize("left", [0, 1, -1])
@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_an_object_that_was_cut_is_corrupt_at_once(who: str, left: int, desk: Desk) -> None:
    desk.publisher().open_public_places()
    register("some", "rows", make_public=True)
    key = shard_of(desk) if who == "teammate" else ZIP
    acl = {"ACL": "public-read"} if desk.server.supports_acl and who == "outsider" else {}
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=body(desk, key)[:left], **acl)
    getattr(desk, who)().set(HGLOC_SOURCES="s3" if who == "teammate" else "public")
    desk.s3.clear()
    with pytest.raises(errors.DatasetCorruptError):
        texts()
    asked = [r for r in desk.s3.requests if r.path.endswith(key)]
    assert len(asked) <= 4, asked
    desk.s3.clear()
    with hf_localize.installed(), pytest.raises(errors.IntegrityError):
        list(datasets.load_dataset(NAME, split="train", streaming=True))
    assert len([r for r in desk.s3.requests if r.path.endswith(key)]) <= 4


#: What happens to the bytes of an object.
DAMAGES = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "cut": lambda data: data[:-1],
    "grown": lambda data: data + b"x",
    "flipped": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
}


def damage(desk: Desk, key: str, how: str) -> None:
    """Damage an object by another program, which keeps its metadata."""
    found = desk.client().get_object(Bucket=desk.bucket, Key=key)
    data = DAMAGES[how](found["Body"].read())
    desk.client().delete_object(Bucket=desk.bucket, Key=key)
    acl = {"ACL": "public-read"} if desk.server.supports_acl and key.startswith("public_") else {}
    if data is not None:
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=data, Metadata=found["Metadata"], **acl)


@pytest.mark.parametrize("how", DAMAGES)
def test_publishing_again_mends_what_is_damaged(how: str, desk: Desk) -> None:
    desk.publisher()
    register("some", "rows")
    assert [d.state for d in hf_localize.diff_datasets(NAME)] == ["same"]
    good = {key: body(desk, key) for key in desk.bucket_keys() if not key.startswith(".hgloc/")}
    for key in good:
        damage(desk, key, how)
        (found,) = hf_localize.verify_dataset(NAME, deep=True, s3=True)
        assert [problem.split()[0] for problem in found["damaged"]] == [key]
        if not key.endswith(".hgloc.json"):
            (told,) = hf_localize.diff_datasets(NAME)
            assert (told.state, [file.path for file in told.files]) == (
                "different",
                [key.removeprefix("org_x/default_config/default_revision/")],
            )
        assert "uploaded" in hf_localize.sync_local_dataset_to_s3(NAME).message_or_path
        assert body(desk, key) == good[key]
        (found,) = hf_localize.verify_dataset(NAME, deep=True, s3=True)
        assert found["damaged"] == []
        assert [d.state for d in hf_localize.diff_datasets(NAME)] == ["same"]
        assert "has it already" in hf_localize.sync_local_dataset_to_s3(NAME).message_or_path
    damage(desk, shard_of(desk), how)
    register("some", "rows")
    desk.teammate().set(HGLOC_SOURCES="s3")
    assert texts() == ["some", "rows"]


@pytest.mark.parametrize(
    ("what", "how"), [*((".hgloc/index", how) for how in DAMAGES), (".hgloc/catalog", "gone")]
)
def test_publishing_again_mends_a_damaged_commit_mark_and_a_lost_catalog(
    what: str, how: str, desk: Desk
) -> None:
    desk.publisher()
    register("some", "rows")
    register("other", "rows")  # What it names lies in two folders.
    (key,) = [key for key in desk.bucket_keys() if key.startswith(what)]
    damage(desk, key, how)
    assert "uploaded" in hf_localize.sync_local_dataset_to_s3(NAME).message_or_path
    (found,) = hf_localize.verify_dataset(NAME, deep=True, s3=True)
    assert found["damaged"] == []
    desk.teammate().set(HGLOC_SOURCES="s3")
    assert texts() == ["other", "rows"]


def test_a_commit_mark_of_a_newer_release_is_left_as_it_is(desk: Desk) -> None:
    desk.publisher()
    register("some", "rows")
    (key,) = [key for key in desk.bucket_keys() if key.startswith(".hgloc/index")]
    newer = b'{"format_version": 2}'
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=newer)
    with pytest.raises(errors.IntegrityError, match="Upgrade"):
        hf_localize.sync_local_dataset_to_s3(NAME)
    assert body(desk, key) == newer


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_object_is_not_taken_over_by_other_content_or_another_revision(
    how: str, desk: Desk
) -> None:
    desk.publisher()
    made = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict({"text": ["kept"]}),
            "test": datasets.Dataset.from_dict({"text": ["old"]}),
        }
    )
    hf_localize.register_dataset(made, NAME)
    kept = next(key for key in desk.bucket_keys() if "train/data" in key)
    damage(desk, kept, how)
    made["test"] = datasets.Dataset.from_dict({"text": ["new"]})
    hf_localize.register_dataset(made, NAME, revision="v2")
    hf_localize.register_dataset(made, NAME)
    desk.teammate().set(HGLOC_SOURCES="s3")
    for revision in (None, "v2"):
        loaded = hf_localize.load_local_dataset(NAME, None, revision)
        assert {name: list(split["text"]) for name, split in loaded.items()} == {
            "train": ["kept"],
            "test": ["new"],
        }


@pytest.mark.parametrize("how", DAMAGES)
def test_make_public_sends_a_damaged_zip_again(how: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    register("some", "rows", make_public=True)
    right = body(desk, ZIP)
    damage(desk, ZIP, how)
    done = hf_localize.sync_local_dataset_to_s3(NAME, make_public=True).message_or_path
    assert done.endswith("; shared publicly")
    assert body(desk, ZIP) == right
    (found,) = hf_localize.verify_dataset(NAME, deep=True, public=True)
    assert found["damaged"] == []
    done = hf_localize.sync_local_dataset_to_s3(NAME, make_public=True).message_or_path
    assert done.endswith("has it already; shared publicly already")
    desk.outsider()
    assert texts() == ["some", "rows"]


def test_what_has_rotten_where_it_lies_is_mended_where_everything_is_read(desk: Desk) -> None:
    """The server knows of no write: size, time and ETag are as before."""
    desk.publisher().open_public_places()
    register("some", "rows", make_public=True)
    shard = shard_of(desk)
    good = {key: body(desk, key) for key in (shard, ZIP)}
    for key in good:
        assert "already" in hf_localize.sync_local_dataset_to_s3(NAME, make_public=True).message_or_path
        desk.set(HGLOC_VERIFY="always")
        desk.s3.fail(Rule("GET", re.escape(key), WrongBytes(), times=1))
        desk.s3.clear()
        hf_localize.sync_local_dataset_to_s3(NAME, make_public=True)
        assert [r.path for r in desk.s3.requests if r.method == "PUT" and r.path.endswith(key)]
        desk.set(HGLOC_VERIFY="size")
        desk.s3.heal()
    assert {key: body(desk, key) for key in good} == good


def test_what_the_bucket_has_whole_costs_a_listing_and_is_not_read(desk: Desk) -> None:
    desk.publisher()
    register("some", "rows")
    desk.s3.clear()
    hf_localize.sync_local_dataset_to_s3(NAME)
    asked = [(r.method, r.path.rpartition("/")[2]) for r in desk.s3.requests]
    assert len(asked) <= 7, asked
    assert not [r for r in desk.s3.requests if r.method != "GET" or r.path.endswith(".arrow")]
