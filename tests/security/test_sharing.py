"""What nobody has asked the Hub about is not taken for free: it is asked, or named, or not shared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.sealed_json import sealed
from tests.conftest import Desk, run_cli
from tests.rig.hub import Fault, LoopbackHub, make_repository

SECRET_ID = "openai/secret"
#: A name of one segment, as the Hub's oldest datasets have it.
LEGACY_ID = "old_secret"
HUB_TOKEN = "hf_token_of_the_team"


@pytest.fixture(params=["gated", "private"])
def restricted(
    request: pytest.FixtureRequest, hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Put a dataset on the Hub that only our token may read, and an old id that leads to it."""
    put_on_hub(hub, desk)
    getattr(hub, request.param)[SECRET_ID] = {HUB_TOKEN}
    hub.redirects[LEGACY_ID] = SECRET_ID
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    desk.publisher().open_public_places()
    return str(request.param)


def put_on_hub(hub: LoopbackHub, desk: Desk) -> None:
    hub.add(make_repository(desk.folder / "repositories", SECRET_ID, "main", {"train.csv": b"text\nx\n"}))


def rows() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": ["x"]})


def hand_placed(desk: Desk, dataset_id: str = SECRET_ID) -> None:
    """Put a folder where the original tool puts it: it has no manifest."""
    folder = desk.store / dataset_id.replace("/", "_") / "default_config" / "default_revision"
    datasets.DatasetDict({"train": rows()}).save_to_disk(str(folder))


def hand_placed_files(desk: Desk) -> None:
    folder = desk.store / "openai_secret" / "default_config" / "default_revision"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text\nx\n")


def registered(desk: Desk) -> None:
    hf_localize.register_dataset(rows(), SECRET_ID)


def registered_by_an_earlier_release(desk: Desk) -> None:
    """Register, and have the manifest say what it said when nobody asked."""
    registered(desk)
    (path,) = desk.store.glob("*/*/*/.hgloc.json")
    document = json.loads(path.read_text())
    del document["checksum"]
    path.write_bytes(sealed({**document, "gated": False, "private": False}))


def in_the_bucket_by_the_original_tool(desk: Desk) -> None:
    hand_placed(desk)
    for path in [path for path in desk.store.rglob("*") if path.is_file()]:
        key = path.relative_to(desk.store).as_posix()
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=path.read_bytes())
    desk.publisher()
    hf_localize.load_local_dataset(SECRET_ID)


WAYS_HERE: Mapping[str, Callable[[Desk], None]] = {
    "hand-placed": hand_placed,
    "hand-placed files": hand_placed_files,
    "registered": registered,
    "registered by an earlier release": registered_by_an_earlier_release,
    "from the original tool's bucket": in_the_bucket_by_the_original_tool,
}


def public_keys(desk: Desk) -> list[str]:
    return desk.bucket_keys("public_datasets")


def record_of(desk: Desk) -> dict[str, Any]:
    body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    (record,) = json.loads(body).values()
    return dict(record)


@pytest.mark.parametrize("way", WAYS_HERE)
def test_the_hub_is_asked_about_what_did_not_come_from_it(way: str, restricted: str, desk: Desk) -> None:
    WAYS_HERE[way](desk)
    for share in (
        lambda: hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True),
        lambda: hf_localize.download_dataset(SECRET_ID, make_public=True),
    ):
        with pytest.raises(errors.RestrictedError, match=f"{SECRET_ID} is {restricted} on the Hub"):
            share()
        assert public_keys(desk) == []
    hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True, share_restricted=SECRET_ID)
    assert record_of(desk)[restricted] is True
    desk.publisher()  # On a new machine it is still marked: it is refused without a question.
    desk.set(HF_HUB_OFFLINE="1")
    with pytest.raises(errors.RestrictedError, match=restricted):
        hf_localize.download_dataset(SECRET_ID, make_public=True)


def test_each_way_to_share_asks_before_anything_is_sent(restricted: str, desk: Desk) -> None:
    folder = desk.folder / "own"
    folder.mkdir()
    (folder / "train.csv").write_text("text\nx\n")
    for share in (
        lambda: hf_localize.register_dataset(rows(), SECRET_ID, make_public=True),
        lambda: hf_localize.register_dataset(folder, SECRET_ID, keep_files=True, make_public=True),
        lambda: hf_localize.sync_local_dataset_to_s3(SECRET_ID, "original_files", make_public=True),
    ):
        with pytest.raises(errors.RestrictedError, match=f"is {restricted} on the Hub"):
            share()
    ran = run_cli("sync-local-to-s3", "--all", "--make-public", "--share-restricted", "openai/other")
    assert ran.returncode == 4
    assert ran.stderr.count(f"--share-restricted {SECRET_ID}") == 2
    assert desk.bucket_keys() == []


@pytest.mark.parametrize("dataset_id", [LEGACY_ID, "OpenAI/Secret"])
def test_another_name_of_a_restricted_dataset_opens_nothing(
    dataset_id: str, restricted: str, desk: Desk
) -> None:
    hf_localize.register_dataset(rows(), dataset_id)
    with pytest.raises(errors.RestrictedError, match=f"{restricted} on the Hub as {SECRET_ID}"):
        hf_localize.sync_local_dataset_to_s3(dataset_id, make_public=True)
    hf_localize.sync_local_dataset_to_s3(dataset_id, make_public=True, share_restricted=SECRET_ID)
    assert record_of(desk)[restricted] is True


def test_a_folder_that_never_learned_its_id_is_asked_about_by_each_id_that_it_may_have(
    restricted: str, desk: Desk
) -> None:
    hand_placed(desk)
    (item,) = hf_localize.list_local_datasets()
    with pytest.raises(errors.RestrictedError, match=f"openai_secret is {restricted} .* as {SECRET_ID}"):
        hf_localize.sync_local_dataset_to_s3(**item, make_public=True)
    assert desk.bucket_keys() == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", WAYS_HERE)
@pytest.mark.parametrize("why", ["down", "offline", "failing", "another server", "token not valid"])
def test_without_the_hubs_answer_only_what_is_named_is_shared(
    why: str, way: str, hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher().open_public_places()
    put_on_hub(hub, desk)
    WAYS_HERE[way](desk)
    if why == "down":
        hub.stop()
    elif why == "offline":
        desk.set(HF_HUB_OFFLINE="1")
    elif why == "token not valid":
        wrong = {"X-Error-Message": "Invalid credentials in Authorization header"}
        hub.faults = [Fault("GET /api/datasets", 401, headers=wrong)]
    else:
        hub.faults = [Fault("GET /api/datasets", 503 if why == "failing" else 404)]
    with pytest.raises(errors.RestrictedError, match="can't be asked") as caught:
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    assert f"--share-restricted {SECRET_ID}" in str(caught.value)
    assert public_keys(desk) == []
    hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True, share_restricted=SECRET_ID)
    record = record_of(desk)
    assert (record["gated"], record["private"]) == (None, None)
    (listed,) = hf_localize.list_public_datasets(details=True)
    assert listed["restriction"] == "unknown"


def test_a_teams_own_id_is_shared_where_the_hub_has_no_such_dataset(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows(), "my_team/x", make_public=True)
    assert [r.path for r in hub.requests if r.path.startswith("/api")] == ["/api/datasets/my_team/x"]
    record = record_of(desk)
    assert (record["gated"], record["private"]) == (None, None)
    (manifest,) = (json.loads(path.read_text()) for path in desk.store.glob("*/*/*/.hgloc.json"))
    assert (manifest["gated"], manifest["private"]) == (None, None)
    told = run_cli("info", "my_team/x")
    assert "not known whether the Hub restricts it" in told.stdout
    for places in (hf_localize.list_local_datasets, hf_localize.list_s3_datasets):
        assert [item["restriction"] for item in places(details=True)] == ["unknown"]


@pytest.mark.parametrize("dataset_id", ["my team/x", "x--y", "café"])
def test_an_id_that_the_hub_can_not_have_needs_no_hub(dataset_id: str, hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hub.stop()
    hf_localize.register_dataset(rows(), dataset_id, make_public=True)
    assert record_of(desk)["gated"] is None


def test_what_the_hub_gives_to_everybody_is_shared_and_marked_so(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    put_on_hub(hub, desk)
    hand_placed(desk)
    hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    record = record_of(desk)
    assert (record["gated"], record["private"]) == (False, False)


@pytest.mark.parametrize("now", ["gated", "private", "gone"])
def test_what_was_free_when_it_was_downloaded_is_asked_about_again(
    now: str, hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publisher().open_public_places()
    put_on_hub(hub, desk)
    hf_localize.download_dataset(SECRET_ID)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    if now == "gone":
        hub.private[SECRET_ID] = {"another token"}
    else:
        getattr(hub, now)[SECRET_ID] = {HUB_TOKEN}
    with pytest.raises(errors.RestrictedError, match="no longer" if now == "gone" else now):
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    assert public_keys(desk) == []
    hub.stop()  # Then what the Hub said at the download counts.
    hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    assert record_of(desk)["gated"] is False


def test_a_hub_that_does_not_tell_is_not_taken_for_one_that_says_free(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.rig import hub as rig

    answer = rig.json_answer
    dropped = ("gated", "private")
    monkeypatch.setattr(
        rig,
        "json_answer",
        lambda d, *a, **k: answer(
            {n: v for n, v in d.items() if n not in dropped} if isinstance(d, dict) else d, *a, **k
        ),
    )
    desk.publisher().open_public_places()
    put_on_hub(hub, desk)
    hf_localize.download_dataset(SECRET_ID)
    with pytest.raises(errors.RestrictedError, match="does not say"):
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True, share_restricted=SECRET_ID)
    assert record_of(desk)["gated"] is None


def test_a_record_that_an_earlier_release_wrote_unasked_is_put_right(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows(), "my_team/x", make_public=True)
    key, record = "my_team/x---default_config---default_revision", record_of(desk)
    body = json.dumps({key: {**record, "gated": False, "private": False}}).encode()
    acl = {"ACL": "public-read"} if desk.server.supports_acl else {}
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body, **acl)
    (listed,) = hf_localize.list_public_datasets(details=True)
    assert listed["restriction"] == "unknown"
    done = hf_localize.sync_local_dataset_to_s3("my_team/x", make_public=True)
    assert "shared publicly already" in done.message_or_path
    assert record_of(desk) == record


def test_the_token_is_not_sent_to_where_the_hub_redirects(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.set(HF_TOKEN=HUB_TOKEN)
    elsewhere = {"Location": f"{desk.s3.url}/elsewhere"}
    hub.faults = [Fault("GET /api/datasets", 302, headers=elsewhere)]
    hf_localize.register_dataset(rows(), "my_team/x")
    with pytest.raises(errors.RestrictedError, match="can't be asked"):
        hf_localize.sync_local_dataset_to_s3("my_team/x", make_public=True)
    asked = [request for request in desk.s3.requests if "elsewhere" in request.path]
    assert asked
    assert not [request for request in asked if HUB_TOKEN in str(request.headers)]
