"""Each ref is its own dataset, whatever its characters, in every place."""

from __future__ import annotations

import json
import urllib.request

import datasets
import pytest

import hf_localize
from hf_localize.errors import InvalidRefError
from tests.conftest import DATA, Desk
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Rule, Status

GSM8K = "openai/gsm8k"


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


def texts(dataset_id: str, config: str | None = None, revision: str | None = None) -> list[str]:
    with hf_localize.installed(sources=("local", "s3", "public")):
        return list(datasets.load_dataset(dataset_id, config, revision=revision, split="train")["text"])


def everywhere(desk: Desk) -> list[str]:
    return ["publisher", "teammate", "outsider"]


def sit(desk: Desk, who: str) -> None:
    if who != "publisher":  # The publisher keeps the store that has the entries.
        getattr(desk, who)()


def test_ids_that_share_a_folder_name_each_load_their_own_rows(desk: Desk) -> None:
    desk.publisher().open_public_places()
    for dataset_id in ("a/b_c", "a_b/c", "open_web_text"):
        hf_localize.register_dataset(rows(dataset_id), dataset_id, make_public=True)
    listed = {found["dataset_id"] for found in hf_localize.list_local_datasets()}
    assert listed == {"a/b_c", "a_b/c", "open_web_text"}
    assert {found["dataset_id"] for found in hf_localize.list_s3_datasets()} == listed
    for who in everywhere(desk):
        sit(desk, who)
        for dataset_id in listed:
            assert texts(dataset_id) == [dataset_id], who
    assert {found["dataset_id"] for found in hf_localize.list_s3_datasets()} == listed  # as an outsider


def test_names_that_stand_for_no_name_are_names_too(desk: Desk) -> None:
    desk.publisher().open_public_places()
    refs = [(c, r) for c in (None, "default_config") for r in (None, "default_revision")]
    for config, revision in refs:
        data = rows(f"{config} {revision}")
        hf_localize.register_dataset(data, "org/named", name=config, revision=revision, make_public=True)
    assert len(hf_localize.list_s3_datasets()) == 4
    for place in ("deep", "s3", "public"):
        checked = hf_localize.verify_dataset(**{place: True})
        assert [found["damaged"] for found in checked] == [[]] * 4
    for who in everywhere(desk):
        sit(desk, who)
        for config, revision in refs:
            assert texts("org/named", config, revision) == [f"{config} {revision}"], who


def test_a_config_that_datasets_could_not_load_is_not_registered(desk: Desk) -> None:
    desk.publisher()
    with pytest.raises(InvalidRefError, match=r"'a/b' is refused: Bad characters"):
        hf_localize.register_dataset(rows("one"), "org/own", name="a/b")
    assert hf_localize.list_local_datasets() == hf_localize.list_s3_datasets() == []


def test_refs_that_share_a_record_key_are_two_public_records(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("one"), "a---b", "c", make_public=True)
    hf_localize.register_dataset(rows("two"), "a", "b---c", make_public=True)
    body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    records = list(json.loads(body).values())
    assert {(r["dataset_id"], r["config_name"]) for r in records} == {("a---b", "c"), ("a", "b---c")}
    assert len({r["s3_zip_key"] for r in records}) == 2
    desk.outsider()
    assert (texts("a---b", "c"), texts("a", "b---c")) == (["one"], ["two"])


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("config", "revision"),
    [(None, "feat#1"), (None, "refs/convert/parquet"), ("a b+c%20ü", None), ("a b+c", "v1?x")],
)
def test_odd_names_round_trip_through_store_bucket_zip_and_public_url(
    config: str | None, revision: str | None, desk: Desk
) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("odd"), "org/odd", config, revision, make_public=True)
    asked = {"dataset_id": "org/odd", "config_name": config, "revision": revision}
    assert hf_localize.list_local_datasets() == hf_localize.list_s3_datasets() == [asked]
    for who in everywhere(desk):
        sit(desk, who)
        assert texts("org/odd", config, revision) == ["odd"], who
    from hf_localize.sources.session import current_session

    public_files = current_session().public_files
    records = json.loads(public_files.get("public_datasets.json", limit_bytes=1 << 20) or b"")
    (record,) = records.values()
    with urllib.request.urlopen(public_files.url(record["s3_zip_key"])) as answer:
        assert answer.read(2) == b"PK"


def test_revisions_that_share_a_folder_name_are_kept_apart(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("slash"), "org/x", revision="refs/pr/1")
    hf_localize.register_dataset(rows("underscore"), "org/x", revision="refs_pr_1")
    for who in ("publisher", "teammate"):
        sit(desk, who)
        assert texts("org/x", revision="refs/pr/1") == ["slash"]
        assert texts("org/x", revision="refs_pr_1") == ["underscore"]


def test_a_download_by_tag_answers_by_tag_and_by_commit_and_by_nothing_else(
    hub: LoopbackHub, desk: Desk
) -> None:
    hub.tags[(GSM8K, "v1.0")] = "main"
    sha = hub.commit(GSM8K)
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "socratic", "v1.0", make_public=True)
    hub.stop()
    for who in everywhere(desk):
        for revision in ("v1.0", sha):
            sit(desk, who)
            assert len(hf_localize.load_local_dataset(GSM8K, "socratic", revision)["test"]) == 1319
        sit(desk, who)
        with pytest.raises(hf_localize.HfLocalizeError, match="could not be found"):
            hf_localize.load_local_dataset(GSM8K, "socratic")
        with pytest.raises(hf_localize.HfLocalizeError, match="could not be found"):
            hf_localize.load_local_dataset(GSM8K, "socratic", "v2.0")


def test_no_config_is_the_default_config_and_no_revision_is_main(hub: LoopbackHub, desk: Desk) -> None:
    english = "- config_name: en\n  data_files: en.jsonl\n  default: true\n"
    card = f"configs:\n{english}- config_name: fr\n  data_files: fr.jsonl"
    files = {
        "README.md": f"---\n{card}\n---\n",
        "en.jsonl": '{"text": "hello"}\n',
        "fr.jsonl": '{"text": "salut"}\n',
    }
    root = desk.folder / "repositories"
    hub.add(make_repository(root, "made/tongues", "main", {k: v.encode() for k, v in files.items()}))
    desk.publisher().open_public_places()
    hf_localize.download_dataset("made/tongues", "en", make_public=True)
    hf_localize.download_dataset("made/tongues", "fr", "main", make_public=True)
    hub.stop()
    for who in everywhere(desk):
        for config, revision, expected in (
            (None, None, "hello"),
            ("en", "main", "hello"),
            ("fr", None, "salut"),
        ):
            sit(desk, who)
            assert texts("made/tongues", config, revision) == [expected], (who, config, revision)


def test_an_old_id_and_another_letter_case_are_the_same_dataset(hub: LoopbackHub, desk: Desk) -> None:
    hub.redirects["old_gsm8k"] = GSM8K
    desk.publisher().open_public_places()
    hf_localize.download_dataset("old_gsm8k", "main", make_public=True)
    hub.stop()
    for who in everywhere(desk):
        for dataset_id in ("old_gsm8k", GSM8K, "OpenAI/GSM8K", "Old_GSM8K"):
            sit(desk, who)
            with hf_localize.installed(sources=("local", "s3", "public")):
                loaded = datasets.load_dataset(dataset_id, "main", split="test")
                configs = datasets.get_dataset_config_names(dataset_id)
            assert len(loaded) == 1319, (who, dataset_id)
            assert configs == ["main", "socratic"], (who, dataset_id)


def test_registered_ids_that_differ_by_letter_case_are_two_datasets(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("small"), "org/x")
    hf_localize.register_dataset(rows("large"), "Org/X")
    for who in ("publisher", "teammate"):
        sit(desk, who)
        assert (texts("org/x"), texts("Org/X")) == (["small"], ["large"])
        with pytest.raises(hf_localize.HfLocalizeError, match="could not be found"):
            texts("ORG/x")


def test_what_is_stored_instead_is_named_where_a_revision_is_missing(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(rows("x"), "org/x", revision="v1", skip_s3_upload=True)
    desk.open_public_places()
    hf_localize.sync_local_dataset_to_s3("org/x", revision="v1", make_public=True)
    for who, source in (("publisher", "local store"), ("teammate", "private S3"), ("outsider", "public ZIP")):
        if who == "teammate" and desk.server.reader_access_key:
            continue  # A reader of this server may not list keys, and so can't tell what else is there.
        sit(desk, who)
        with pytest.raises(hf_localize.HfLocalizeError, match=rf"{source}: not .*\(it has org/x@v1\)"):
            texts("org/x", revision="v2")


def test_the_data_of_the_tests_is_small_and_has_its_license() -> None:
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert "CC-BY-4.0" in (DATA / "LICENSES.md").read_text()


def test_any_letter_case_is_found_where_keys_may_not_be_listed(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "socratic")
    hub.stop()
    desk.teammate()
    for path in (r"^/[^/]+/?$", r"OpenAI(%2F|_)GSM8K"):  # So AWS answers without ListBucket.
        desk.s3.fail(Rule("GET", path, Status(403, "AccessDenied")))
    with hf_localize.installed():
        assert len(datasets.load_dataset("OpenAI/GSM8K", "socratic", split="test")) == 1319
