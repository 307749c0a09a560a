"""A damaged copy in the bucket: told as corrupt at once, and mended by publishing again."""

from __future__ import annotations

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk

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
