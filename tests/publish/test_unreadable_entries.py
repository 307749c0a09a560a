"""What nobody could read is not written; and what was written all the same can be named and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize.catalog.catalog import write_catalog
from hf_localize.errors import DatasetNotFoundError, IntegrityError
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.sealed_json import sealed
from tests.conftest import Desk

BAD, GOOD = DatasetRef("team/bad"), DatasetRef("team/good")
CLAIM = f"{BAD.folders[0]}/{MANIFEST_NAME}"


def numbers(**splits: int) -> datasets.DatasetDict:
    return datasets.DatasetDict({k: datasets.Dataset.from_dict({"n": range(v)}) for k, v in splits.items()})


def put_by_hand(desk: Desk, ref: DatasetRef, data: datasets.Dataset | datasets.DatasetDict) -> Path:
    """Save *data* where a person puts it into the store."""
    place = desk.store / ref.folders[0]
    place.parent.mkdir(parents=True)
    data.save_to_disk(str(place))
    return place


def change(desk: Desk, keys: list[str], change: Callable[[dict[str, Any]], None]) -> None:
    """Change JSON in the bucket as a writer would have written it that does not look at it again."""
    client = desk.client()
    for key in keys:
        document = json.loads(client.get_object(Bucket=desk.bucket, Key=key)["Body"].read())
        document.pop("checksum")
        change(document)
        client.put_object(Bucket=desk.bucket, Key=key, Body=sealed(document))


def publish_two(desk: Desk) -> None:
    desk.publisher()
    for ref in (BAD, GOOD):
        hf_localize.register_dataset(numbers(train=3), ref.dataset_id)


def name_a_slice(document: dict[str, Any]) -> None:
    document["splits"][0]["name"] = "train[:10%]"


@pytest.mark.parametrize("damage", ["name of a split", "no JSON"])
def test_data_whose_manifest_nobody_can_read_is_named_passed_over_and_removed(
    damage: str, desk: Desk, tmp_path: Path
) -> None:
    publish_two(desk)
    if damage == "no JSON":
        for key in (BAD.index_key, CLAIM):
            desk.client().put_object(Bucket=desk.bucket, Key=key, Body=b"{")
    else:
        change(desk, [BAD.index_key, CLAIM], name_a_slice)

    checked = {found["dataset_id"]: found["damaged"] for found in hf_localize.verify_dataset(s3=True)}
    assert checked[GOOD.dataset_id] == []
    assert BAD.index_key in checked[BAD.dataset_id][0]
    catalog = write_catalog(tmp_path / "catalog")
    assert (catalog.datasets, catalog.unread) == (2, (BAD,))

    assert hf_localize.remove_dataset(BAD.dataset_id, s3=True).success
    left = [key for key in desk.bucket_keys() if "bad" in key and "/catalog/" not in key]
    assert left == []
    assert hf_localize.verify_dataset(GOOD.dataset_id, s3=True)[0]["damaged"] == []


def test_an_unreadable_manifest_beside_data_of_another_dataset_does_not_remove_that(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(numbers(train=3), "a/b_c")
    desk.client().put_object(
        Bucket=desk.bucket, Key=f"a_b_c/default_config/default_revision/{MANIFEST_NAME}", Body=b"{"
    )
    before = desk.bucket_keys()
    with pytest.raises(DatasetNotFoundError):
        hf_localize.remove_dataset("a_b/c", s3=True)
    assert desk.bucket_keys() == before


def test_what_nobody_could_read_again_is_refused_before_anything_is_sent(desk: Desk) -> None:
    """A folder of that name is no path of an entry: it has a colon."""
    desk.publisher()
    put_by_hand(desk, BAD, numbers(**{"train[:10%]": 3}))
    with pytest.raises(IntegrityError, match=r"team/bad is not written.*train\[:10%\]"):
        hf_localize.sync_local_dataset_to_s3(BAD.dataset_id, make_public=True)
    assert desk.bucket_keys() == []


def test_a_public_zip_whose_record_nobody_could_use_is_refused_before_anything_is_sent(desk: Desk) -> None:
    """Readers refuse a file name of more than 255 bytes."""
    desk.publisher()
    desk.open_public_places()
    config = "c" * 240
    hf_localize.register_dataset(numbers(train=3), BAD.dataset_id, config, skip_s3_upload=True)
    with pytest.raises(IntegrityError, match="no reader could use a record"):
        hf_localize.sync_local_dataset_to_s3(BAD.dataset_id, config, make_public=True)
    assert desk.bucket_keys() == []


def test_what_can_not_be_read_again_does_not_come_into_the_store(desk: Desk) -> None:
    desk.publisher()
    made = numbers(train=3)
    made["train"].info.description = "half a letter: \ud800"
    with pytest.raises(IntegrityError, match="could not be read back"):
        hf_localize.register_dataset(made, BAD.dataset_id)
    assert hf_localize.list_local_datasets() == []
    assert desk.bucket_keys() == []


def test_a_slice_that_somebody_saved_is_read_by_everybody_after_it_was_shared(desk: Desk) -> None:
    desk.publisher()
    desk.open_public_places()
    made = datasets.Dataset.from_dict({"n": [1, 2]}, split="test[:10%]")
    put_by_hand(desk, BAD, made)
    hf_localize.sync_local_dataset_to_s3(BAD.dataset_id, make_public=True)
    for person in (desk.teammate, desk.outsider):
        person()
        with hf_localize.installed(sources=("s3", "public")):
            loaded = datasets.load_dataset(BAD.dataset_id)
        assert {name: split[:]["n"] for name, split in loaded.items()} == {"test": [1, 2]}
    assert [found["damaged"] for found in hf_localize.verify_dataset(public=True)] == [[]]
