"""Removing, withdrawing, making room: what goes, what stays, and what readers see meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.api.listing import list_partial_datasets
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.publish.bucket import upload
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, tree
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import Rule, Stall, Status

GSM8K = "openai/gsm8k"
DAY = 86_400


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


def loaded(dataset_id: str, config: str | None = None, revision: str | None = None) -> list[str] | None:
    try:
        return list(hf_localize.load_local_dataset(dataset_id, config, revision)["train"]["text"])
    except errors.DatasetNotFoundError:
        return None


# --- remove, from the store ---


def test_what_was_replaced_is_not_seen_again_after_its_id_s_folder_became_free(desk: Desk) -> None:
    desk.publisher()
    for dataset_id in ("a/b_c", "a_b/c"):  # They meet in one folder: the second has another one.
        hf_localize.register_dataset(rows("old"), dataset_id, skip_s3_upload=True)
    hf_localize.remove_dataset("a/b_c")
    hf_localize.register_dataset(rows("new"), "a_b/c", skip_s3_upload=True)
    assert loaded("a_b/c") == ["new"]
    hf_localize.remove_dataset("a_b/c")
    assert (loaded("a_b/c"), hf_localize.list_local_datasets()) == (None, [])


def test_remove_takes_the_entry_and_its_pointers_and_nothing_else(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,hub")
    hf_localize.download_dataset(GSM8K, "socratic", skip_s3_upload=True)
    hf_localize.register_dataset(rows("x"), "org/x", skip_s3_upload=True)
    before = tree(desk.store / "org_x")
    assert hf_localize.remove_dataset(GSM8K, "socratic").success
    assert [item["dataset_id"] for item in hf_localize.list_local_datasets()] == ["org/x"]
    assert not (desk.store / "openai_gsm8k").exists()
    assert not list((desk.store / ".hgloc" / "alias").rglob("*.json"))
    assert not list((desk.store / ".hgloc" / "set-aside").iterdir())
    assert tree(desk.store / "org_x") == before
    with pytest.raises(errors.DatasetNotFoundError, match="to remove"):
        hf_localize.remove_dataset(GSM8K, "socratic")


def test_remove_takes_a_partial_entry_and_one_whose_manifest_is_damaged(desk: Desk) -> None:
    desk.publisher()
    both = datasets.DatasetDict(train=rows("a"), test=rows("b"))
    hf_localize.register_dataset(both, "org/x")
    desk.teammate()
    with hf_localize.installed():
        datasets.load_dataset("org/x", split="test")
    assert list_partial_datasets()
    assert run_cli("remove", "org/x").returncode == 0
    assert not list((desk.store / ".hgloc" / "partial").rglob("*.arrow"))
    assert loaded("org/x") == ["a"]
    manifest = next((desk.store / "org_x").rglob(".hgloc.json"))
    manifest.write_text("{")
    assert run_cli("remove", "org/x").returncode == 0
    assert not (desk.store / "org_x").exists()


def test_what_a_program_has_loaded_outlives_its_removal(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x", "y"), "org/x", skip_s3_upload=True)
    with hf_localize.installed():
        held = datasets.load_dataset("org/x", split="train")
    hf_localize.remove_dataset("org/x")
    assert list(held["text"]) == ["x", "y"]


def test_remove_asks_only_where_nobody_else_has_it(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/only", skip_s3_upload=True)
    hf_localize.register_dataset(rows("y"), "org/shared")
    hf_localize.download_dataset(GSM8K, "socratic", skip_s3_upload=True)
    ran = run_cli("remove", "org/only")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "--yes" in ran.stderr
    assert loaded("org/only") == ["x"]
    assert run_cli("remove", "org/shared").returncode == 0
    assert run_cli("remove", GSM8K, "-n", "socratic").returncode == 0
    assert run_cli("remove", "org/only", "--yes").returncode == 0
    assert run_cli("remove", "org/only", "--yes").returncode == 3
    ran = run_cli("remove", "org/shared", "--in", "s3")
    assert (ran.returncode, "--yes" in ran.stderr) == (1, True), "the bucket has the only copy now"


@pytest.mark.parametrize(("answer", "is_kept"), [(b"n\n", True), (b"y\n", False)])
def test_remove_takes_the_answer_of_a_person(answer: bytes, is_kept: bool, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/only", skip_s3_upload=True)
    ours, theirs = os.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "hf_localize", "remove", "org/only"]
    ran = subprocess.run(command, stdin=theirs, capture_output=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert ran.returncode == (1 if is_kept else 0)
    assert (loaded("org/only") == ["x"]) is is_kept


# --- remove, from the bucket ---


def test_remove_from_the_bucket_leaves_nothing_of_it_and_the_store_as_it_is(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("other"), "org/y")
    others = desk.bucket_keys()
    hf_localize.register_dataset(rows("x"), "org/x")
    local = tree(desk.store)
    ran = run_cli("remove", "org/x", "--s3")
    assert ran.returncode == 0, ran.stderr
    catalog = ".hgloc/catalog/org%2Fx.json"
    assert sorted(desk.bucket_keys()) == sorted([*others, catalog])
    listed = json.loads(desk.client().get_object(Bucket=desk.bucket, Key=catalog)["Body"].read())
    assert listed == {"entries": {}}
    assert {k: v for k, v in tree(desk.store).items() if "lock" not in k} == {
        k: v for k, v in local.items() if "lock" not in k
    }
    assert run_cli("remove", "org/x", "--s3").returncode == 3


def test_remove_goes_in_the_reverse_of_the_order_in_which_the_entry_came(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x")
    desk.s3.clear()
    hf_localize.remove_dataset("org/x", s3=True)
    made = [(r.method, r.path.split(f"/{desk.bucket}")[-1]) for r in desk.s3.requests if r.method != "GET"]
    writes = [write for write in made if "/site/" not in write[1]]  # Last, it is looked for in the catalog.
    assert made[: len(writes)] == writes
    assert writes[0] == ("DELETE", "/.hgloc/index/org%2Fx/default_config/default_revision.json")
    assert writes[1][0] == "PUT"
    assert writes[1][1].startswith("/.hgloc/catalog/")
    assert [method for method, _ in writes[2:]] == ["POST"] * 3, "marks, data, claim"


@pytest.mark.parametrize("step", range(1, 5))
def test_a_removal_that_is_cut_off_shows_nobody_half_of_it_and_goes_on(step: int, desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x")
    hf_localize.register_dataset(rows("new"), "org/x")
    mine = desk.store
    refused = [("DELETE", "/index/"), ("PUT", "/catalog/"), ("POST", "."), ("POST", ".")][step - 1]
    if step == 4:  # The first deletion of data passes.
        desk.s3.fail(Rule("POST", ".", Stall(0.0), times=1))
    desk.s3.fail(Rule(*refused, Status(403, "AccessDenied")))
    if refused[0] == "POST":  # What is refused together is tried one by one.
        desk.s3.fail(Rule("DELETE", "/org_x", Status(403, "AccessDenied")))
    with pytest.raises(errors.AccessDeniedError):
        hf_localize.remove_dataset("org/x", s3=True)
    desk.s3.heal()
    desk.teammate()
    assert loaded("org/x") == (["new"] if step == 1 else None)
    desk.publisher().set(HGLOC_DATASETS_STORE_PATH=str(mine))
    hf_localize.remove_dataset("org/x", s3=True)
    assert desk.bucket_keys() == [".hgloc/catalog/org%2Fx.json"]
    assert "uploaded" in hf_localize.sync_local_dataset_to_s3("org/x").message_or_path
    desk.teammate()
    assert loaded("org/x") == ["new"]


def test_what_other_entries_use_stays(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("one"), "a/b_c")
    hf_localize.register_dataset(rows("two"), "a_b/c")
    hf_localize.register_dataset(rows("three"), "a/b_c", revision="v1")
    # A mark may name keys in any folder that its ref may have, so one that others have too.
    index = DatasetRef("a_b/c").index_key
    shared = "a_b_c/default_config/default_revision/train/data-00000-of-00001.arrow"
    mark = json.loads(desk.client().get_object(Bucket=desk.bucket, Key=index)["Body"].read())
    mark["elsewhere"] = {"train/data-00000-of-00001.arrow": shared}
    del mark["checksum"]
    desk.client().put_object(Bucket=desk.bucket, Key=index, Body=json.dumps(mark).encode())
    hf_localize.remove_dataset("a/b_c", s3=True)
    assert shared in desk.bucket_keys()
    desk.teammate()
    assert (loaded("a/b_c"), loaded("a/b_c", revision="v1")) == (None, ["three"])


def test_the_same_content_under_two_ids_that_meet_in_one_folder_is_two_entries(desk: Desk) -> None:
    desk.publisher()
    for dataset_id in ("a/b_c", "a_b/c"):
        hf_localize.register_dataset(rows("one"), dataset_id)
    hf_localize.register_dataset(rows("two"), "a_b/c")
    assert [item["damaged"] for item in hf_localize.verify_dataset(s3=True, deep=True)] == [[], []]
    hf_localize.register_dataset(rows("one"), "a_b/c")
    hf_localize.remove_dataset("a/b_c", s3=True)
    with pytest.raises(errors.DatasetNotFoundError, match="to remove"):
        hf_localize.remove_dataset("a/b_c", s3=True)
    assert [item["damaged"] for item in hf_localize.verify_dataset(s3=True, deep=True)] == [[]]
    desk.teammate()
    assert (loaded("a/b_c"), loaded("a_b/c")) == (None, ["one"])


def test_what_other_entries_use_of_a_folder_without_manifest_stays(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("one"), "a_b/c")
    desk.client().delete_object(
        Bucket=desk.bucket, Key=f"a_b_c/default_config/default_revision/{MANIFEST_NAME}"
    )
    before = desk.bucket_keys()
    with pytest.raises(errors.DatasetNotFoundError, match="to remove"):
        hf_localize.remove_dataset("a/b_c", s3=True)  # Without a manifest, it may be the original tool's.
    assert desk.bucket_keys() == before
    desk.teammate()
    assert loaded("a_b/c") == ["one"]


def test_remove_takes_what_the_original_tool_wrote(desk: Desk) -> None:
    desk.publisher()
    saved = desk.folder / "saved"
    datasets.DatasetDict(train=rows("x")).save_to_disk(str(saved))
    for path in (path for path in saved.rglob("*") if path.is_file()):
        key = f"org_old/default_config/default_revision/{path.relative_to(saved).as_posix()}"
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=path.read_bytes())
    assert run_cli("remove", "org/old", "--in", "s3").returncode == 1, "nobody else has it"
    assert run_cli("remove", "org/old", "--s3", "--yes").returncode == 0
    assert desk.bucket_keys() == []


def test_a_publisher_and_a_remover_at_the_same_time_end_in_one_of_two_states(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x")
    session, ref = current_session(), DatasetRef("org/x")
    entry = session.store.find(ref)
    assert entry is not None
    bucket = session.bucket
    from hf_localize.publish.remove import remove_from_bucket

    for delay in (0.0, 0.01, 0.03, 0.06):
        upload(entry, bucket, replace=False, workers=4)

        def publish(delay: float = delay) -> None:
            time.sleep(delay)
            upload(entry, bucket, replace=False, workers=4)

        with ThreadPoolExecutor() as pool:
            published = pool.submit(publish)
            remove_from_bucket(bucket, ref, 4)
        assert isinstance(published.exception(), errors.ConflictError | errors.PublishError | None)
        desk.publisher()
        is_listed = hf_localize.list_s3_datasets() != []
        assert loaded("org/x") == (["x"] if is_listed else None)
        (checked,) = hf_localize.verify_dataset("org/x", s3=True) if is_listed else ({"damaged": []},)
        assert checked["damaged"] == []


def test_a_publisher_whose_data_was_removed_meanwhile_sends_it_again(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x", skip_s3_upload=True)
    session, ref = current_session(), DatasetRef("org/x")
    entry = session.store.find(ref)
    assert entry is not None
    desk.s3.fail(Rule("PUT", "/.hgloc/index/", Stall(1.0), times=1))
    thread = threading.Thread(target=lambda: upload(entry, session.bucket, replace=False, workers=4))
    thread.start()
    while not any(key.endswith("dataset_dict.json") for key in desk.bucket_keys()):
        time.sleep(0.01)
    client = desk.client()
    for key in desk.bucket_keys("org_x/"):
        client.delete_object(Bucket=desk.bucket, Key=key)
    thread.join()
    desk.teammate()
    assert loaded("org/x") == ["x"]


# --- withdraw ---


def anonymous_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        return exc.code


def test_after_withdraw_no_outsider_can_read_it_and_the_private_copy_stays(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    hf_localize.register_dataset(rows("y"), "org/y", make_public=True)
    url = f"{desk.s3.url}/{desk.bucket}/public_datasets_zip/org_x---default_config---default_revision.zip"
    assert anonymous_status(url) == 200
    desk.s3.clear()
    ran = run_cli("withdraw", "org/x")
    assert ran.returncode == 0, ran.stderr
    writes = [r for r in desk.s3.requests if r.method in ("PUT", "DELETE")]
    assert [(w.method, w.path.rsplit("/", 1)[-1][:15]) for w in writes] == [
        ("PUT", "public_datasets"),
        ("DELETE", "org_x---default"),
    ], "the record goes first"
    assert {"if-match"} <= set(writes[0].headers), "the record goes by compare-and-swap"
    assert anonymous_status(url) in (403, 404)
    assert run_cli("withdraw", "org/x").returncode == 3
    desk.outsider()
    assert (loaded("org/x"), loaded("org/y")) == (None, ["y"])
    desk.teammate()
    assert loaded("org/x") == ["x"]


def test_a_withdrawal_that_is_cut_off_goes_on(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    desk.s3.fail(Rule("DELETE", r"\.zip", Status(403, "AccessDenied"), times=1))
    with pytest.raises(errors.AccessDeniedError):
        hf_localize.withdraw_dataset("org/x")
    hf_localize.withdraw_dataset("org/x")
    assert not [key for key in desk.bucket_keys() if key.endswith(".zip")]
    assert (
        "shared publicly" in hf_localize.sync_local_dataset_to_s3("org/x", make_public=True).message_or_path
    )
    desk.outsider()
    assert loaded("org/x") == ["x"]


def test_withdraw_names_what_is_shared_if_another_revision_was_asked_for(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", revision="v1", make_public=True)
    with pytest.raises(errors.DatasetNotFoundError, match=r"not shared publicly in .* \(it has org/x@v1\)"):
        hf_localize.withdraw_dataset("org/x")


def test_withdraw_does_not_remove_what_a_hostile_record_names(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x")
    victim = "org_x/default_config/default_revision/dataset_dict.json"
    records = {"k": {"dataset_id": "org/x", "s3_zip_key": victim}}
    body = json.dumps(records).encode()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body)
    hf_localize.withdraw_dataset("org/x")
    assert victim in desk.bucket_keys()
    desk.client().put_object(Bucket=desk.bucket, Key="public_datasets.json", Body=body)
    before = desk.client().get_object(Bucket=desk.bucket, Key=victim)["Body"].read()
    hf_localize.sync_local_dataset_to_s3("org/x", make_public=True)
    assert desk.client().get_object(Bucket=desk.bucket, Key=victim)["Body"].read() == before


# --- prune ---


def age(folder: Path, days: float) -> None:
    """Have the file system say that nobody has touched *folder* for so long."""
    then = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


@pytest.fixture
def four(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a desk with entries last used 40, 20 and 5 days ago, and an old one that nobody else has."""
    desk.publisher()
    for name, days in (("org/a", 40), ("org/b", 20), ("org/c", 5)):
        hf_localize.register_dataset(rows("x" * 10_000, name), name)
        age(desk.store / name.replace("/", "_"), days)
    hf_localize.register_dataset(rows("only here"), "org/only", skip_s3_upload=True)
    age(desk.store / "org_only", 99)
    return desk


def left() -> list[str]:
    return [str(item["dataset_id"]) for item in hf_localize.list_local_datasets()]


def test_prune_removes_what_is_old_and_can_be_had_again(four: Desk) -> None:
    ran = run_cli("prune", "--older-than", "30d", "--dry-run")
    assert (ran.returncode, ran.stdout.split("\t")[0]) == (0, "org/a"), ran.stderr
    assert left() == ["org/a", "org/b", "org/c", "org/only"]
    assert "org/only is kept: no other copy is known" in ran.stderr
    ran = run_cli("prune", "--older-than", "10d", "--keep", "*/b")
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == ["org/a"]
    assert left() == ["org/b", "org/c", "org/only"]
    assert loaded("org/a") == ["x" * 10_000, "org/a"], "it comes back from the bucket"


def test_prune_makes_room_and_takes_what_was_used_longest_ago_first(four: Desk) -> None:
    assert hf_localize.prune_datasets(max_bytes=10**9) == []
    files = (path for path in (four.store / "org_c").rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files if path.name != ".hgloc.json")
    (pruned,) = hf_localize.prune_datasets(max_bytes=3 * size)
    assert pruned["dataset_id"] == "org/a"
    with hf_localize.installed():  # A load that lists do not count as.
        assert len(datasets.load_dataset("org/b", split="train")) == 2
    os.utime(next((four.store / "org_b").rglob("*.arrow")), (time.time() - DAY, time.time() - 20 * DAY))
    hf_localize.list_local_datasets()
    (pruned,) = hf_localize.prune_datasets(max_bytes=2 * size)
    assert pruned["dataset_id"] == "org/c"
    assert left() == ["org/b", "org/only"]


def test_a_load_counts_as_use_and_a_check_does_not(four: Desk) -> None:
    shard = next((four.store / "org_a").rglob("*.arrow"))
    before = shard.stat().st_atime
    hf_localize.verify_dataset(deep=True)
    hf_localize.list_local_datasets()
    assert shard.stat().st_atime == before
    loaded("org/a")
    assert shard.stat().st_atime > before
    assert hf_localize.prune_datasets(older_than_seconds=30 * DAY) == []


def test_prune_leaves_what_a_process_has_open(four: Desk) -> None:
    with hf_localize.installed():
        held = datasets.load_dataset("org/a", split="train")
    age(four.store / "org_a", 40)
    assert hf_localize.prune_datasets(older_than_seconds=30 * DAY) == []
    assert held[1]["text"] == "org/a"
    del held


def test_prune_takes_partial_entries_and_leaves_folders_of_a_person(four: Desk) -> None:
    own = four.store / "org_own/default_config/default_revision"
    datasets.DatasetDict(train=rows("mine")).save_to_disk(str(own))
    age(own, 400)
    both = datasets.DatasetDict(train=rows("a"), test=rows("b"))
    hf_localize.register_dataset(both, "org/parts")
    hf_localize.remove_dataset("org/parts")
    with hf_localize.installed():
        datasets.load_dataset("org/parts", split="test")
    (partial,) = (four.store / ".hgloc/partial").glob("*/*/*")
    age(partial, 400)
    pruned = hf_localize.prune_datasets(older_than_seconds=50 * DAY)
    assert [item["dataset_id"] for item in pruned] == ["org/parts"]
    assert not partial.exists()
    assert own.exists()


def test_prune_without_saying_what_is_too_much_is_a_mistake_of_usage(desk: Desk) -> None:
    desk.publisher()
    assert run_cli("prune").returncode == 2
    assert run_cli("prune", "--older-than", "long").returncode == 2
    assert run_cli("prune", "--max-size", "1TB").returncode == 0
