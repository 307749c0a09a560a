"""Whatever a source answers in place of a dataset, the next source is asked."""

from __future__ import annotations

import logging
import pickle

import datasets
import pytest
from huggingface_hub.utils import get_session

import hf_localize
from hf_localize import errors
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Action, Page, Reset, Rule, Status, Truncate

ID = "made/rows"
ROWS = [{"n": number} for number in range(200)]
_HTML = (
    b"<!DOCTYPE html><html><head><title>Sign in</title><meta charset=utf-8></head><body><br>Sign in</html>"
)
_XML = b'<?xml version="1.0" encoding="UTF-8"?>'
_LISTING = _XML + b"<ListBucketResult><Name>team</Name><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>"

FAULTS: dict[str, Action] = {
    "404 without a body": Page(404),
    "404 page": Page(404, _HTML),
    "login page": Page(200, _HTML),
    "login page in XML": Page(200, _XML + b"<html><body>Sign in</body></html>", "application/xml"),
    "redirect": Status(301, "PermanentRedirect", {"Location": "https://127.0.0.1:1/"}),
    "redirect without a body": Page(301),
    "unknown code": Status(400, "TeapotException"),
    "405": Status(405, "MethodNotAllowed"),
    "411": Page(411, b"Length Required", "text/plain"),
    "451": Page(451),
    "501": Status(501, "NotImplemented"),
    "XML that ends early": Page(200, _LISTING + b"<Contents><Key>a</Key>", "application/xml"),
    "XML without fields": Page(200, _LISTING + b"<Contents><Key>a</Key></Contents></ListBucketResult>"),
    "XML of wrong types": Page(
        200,
        _LISTING + b"<Contents><Key>a</Key><Size>many</Size></Contents></ListBucketResult>",
        "application/xml",
    ),
    "refusal that is no XML": Page(400, b"<Error><Code>Broken", "application/xml"),
    "binary": Page(200, bytes(range(256)), "application/octet-stream"),
    "JSON of another kind": Page(200, b'{"entries": [1], "x": {"dataset_id": 7}}', "application/json"),
    "cut off": Truncate(20),
    "reset": Reset(20),
}
#: What a load asks of the bucket and of the public files, as a rule sees it.
QUESTIONS = {
    "commit mark": Rule("GET", r"/\.hgloc/index/", Page(0)),
    "catalog": Rule("GET", r"/\.hgloc/catalog/", Page(0)),
    "listing": Rule("GET", r"^/[^/]*/?$", Page(0), query="list-type"),
    "all questions": Rule(None, ".", Page(0)),
    "public records": Rule("GET", r"/public_datasets\.json", Page(0)),
}


def _set(rule: Rule, action: Action) -> Rule:
    return Rule(rule.method, rule.path_regex, action, header=rule.header, query=rule.query)


@pytest.fixture
def hub_with_rows(hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    monkeypatch.setattr("hf_localize.sources.resolver._warned", set())
    lines = b"n\n" + b"".join(b"%d\n" % row["n"] for row in ROWS)
    hub.add(make_repository(desk.folder / "repositories", ID, "main", {"train.csv": lines}))
    return hub


def _passed_over(caplog: pytest.LogCaptureFixture) -> list[str]:
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return [line for line in warnings if "is skipped" in line]


#: Of each question but the listing, which botocore asks and reads, these are tried.
_SOME = (
    *("404 page", "login page", "redirect", "unknown code", "501"),
    *("XML that ends early", "JSON of another kind", "cut off"),
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("question", "fault"),
    [(name, fault) for name in QUESTIONS for fault in (FAULTS if name == "listing" else _SOME)],
)
def test_a_source_that_answers_anything_else_is_passed_over(
    question: str, fault: str, desk: Desk, hub_with_rows: LoopbackHub, caplog: pytest.LogCaptureFixture
) -> None:
    person = desk.outsider() if question == "public records" else desk.teammate()
    person.set(HGLOC_SOURCES="local,public,hub" if question == "public records" else "local,s3,hub")
    person.s3.fail(_set(QUESTIONS[question], FAULTS[fault]))
    with hf_localize.installed():
        assert datasets.load_dataset(ID, split="train").to_list() == ROWS
        assert person.s3.requests
        assert len(_passed_over(caplog)) <= 1, _passed_over(caplog)
        hub_with_rows.stop()
        with pytest.raises(datasets.exceptions.DatasetNotFoundError) as caught:
            datasets.load_dataset("made/nowhere")
    said = str(caught.value)
    # The worst answer counts: the Hub is out of reach, and what makes no sense is damaged.
    assert type(caught.value).__name__ in ("DatasetUnreachableError", "DatasetCorruptError")
    assert isinstance(caught.value, (errors.UnreachableError, errors.IntegrityError))
    assert "Hugging Face Hub: " in said
    assert ("public ZIP: " if question == "public records" else "private S3: ") in said
    for inner in ("botocore", "KeyError(", "Traceback", "http1", "MissingKeyError"):
        assert inner not in said


@pytest.mark.parametrize(
    ("who", "fault"),
    [
        *(("teammate", name) for name in ("404 page", "login page", "redirect", "unknown code", "cut off")),
        *(("outsider", name) for name in ("404 page", "login page", "redirect", "binary")),
    ],
)
def test_where_the_data_can_not_be_read_the_next_source_gives_it(
    who: str, fault: str, desk: Desk, hub_with_rows: LoopbackHub, caplog: pytest.LogCaptureFixture
) -> None:
    desk.publisher().open_public_places()
    hf_localize.download_dataset(ID, make_public=True)
    source = "s3" if who == "teammate" else "public"
    person = getattr(desk, who)()
    person.set(HGLOC_SOURCES=f"local,{source},hub", HF_HOME=str(desk.folder / "hf"))
    person.s3.fail(Rule("GET", r"\.(arrow|zip)$", FAULTS[fault]))
    with hf_localize.installed():
        assert datasets.load_dataset(ID, split="train").to_list() == ROWS
        assert len(_passed_over(caplog)) == 1, _passed_over(caplog)
        hub_with_rows.stop()
        assert datasets.load_dataset(ID, split="train", keep_in_memory=True).to_list() == ROWS
    (entry,) = hf_localize.list_local_datasets()
    assert entry["dataset_id"] == ID


def test_where_neither_the_bucket_nor_the_hub_give_the_data_the_error_names_both(
    desk: Desk, hub_with_rows: LoopbackHub
) -> None:
    desk.publisher()
    hf_localize.download_dataset(ID)
    desk.teammate().set(HGLOC_SOURCES="local,s3,hub")
    desk.s3.fail(Rule("GET", r"\.arrow$", Page(404)))
    hub_with_rows.stop()
    with hf_localize.installed(), pytest.raises(errors.DatasetCorruptError) as caught:
        datasets.load_dataset(ID, split="train")
    assert "private S3: " in str(caught.value)
    assert "Hugging Face Hub: " in str(caught.value)


def test_a_builder_of_a_bucket_that_asks_the_hub_next_can_be_pickled(
    desk: Desk, hub_with_rows: LoopbackHub
) -> None:
    desk.publisher()
    hf_localize.download_dataset(ID)
    desk.teammate().set(HGLOC_SOURCES="local,s3,hub")
    with hf_localize.installed():
        copied = pickle.loads(pickle.dumps(datasets.load_dataset_builder(ID)))
    copied.download_and_prepare()
    assert copied.as_dataset(split="train").to_list() == ROWS


def test_what_the_hub_says_of_a_dataset_is_no_end_where_a_later_source_has_it(
    desk: Desk, hub_with_rows: LoopbackHub
) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_list(ROWS), ID, "own")
    desk.teammate().set(HGLOC_SOURCES="hub,s3")
    with hf_localize.installed():
        assert datasets.load_dataset(ID, "own", split="train").to_list() == ROWS
        with pytest.raises(ValueError, match="BuilderConfig 'nowhere' not found"):
            datasets.load_dataset(ID, "nowhere")


@pytest.mark.parametrize(
    "config",
    [
        "[default]\ncredential_process = echo no-json\n",
        "[default]\ncredential_process = /nowhere/program\n",
        "[default]\ncredential_process = false\n",
        '[default]\ncredential_process = echo {"Version":1,"AccessKeyId":"a"}\n',
        "[default]\ncredential_process = echo 'not closed\n",
        "[profile other]\nregion = eu-west-3\n",
        "[default\n",
        "[default]\nsource_profile = default\nrole_arn = arn:aws:iam::1:role/x\n",
        "[default]\nsso_session = nowhere\nsso_account_id = 1\nsso_role_name = x\n",
        "[default]\nregion = no region\n",
        b"[default]\nregion = \xff\xfe\n",
    ],
    ids=lambda config: config[-30:].strip() if isinstance(config, str) else "binary",
)
def test_what_is_configured_for_aws_and_fails_is_the_buckets_answer(
    config: str | bytes, desk: Desk, hub_with_rows: LoopbackHub
) -> None:
    path = desk.folder / "aws"
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    profile = {"AWS_PROFILE": "nowhere"} if config == "[profile other]\nregion = eu-west-3\n" else {}
    desk.outsider().set(HGLOC_SOURCES="local,s3,hub", AWS_CONFIG_FILE=str(path), **profile)
    with hf_localize.installed():
        assert datasets.load_dataset(ID, split="train").to_list() == ROWS
        hub_with_rows.stop()
        with pytest.raises(datasets.exceptions.DatasetNotFoundError, match="private S3: "):
            datasets.load_dataset("made/nowhere")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("config", "profile"),
    [
        ("sso_session = nowhere\nsso_account_id = 1\nsso_role_name = x", "default"),
        ("region = eu-west-3", "other"),
        ("[", "default"),
    ],
    ids=["incomplete", "missing", "broken"],
)
def test_a_profile_that_is_of_no_use_stops_neither_keys_of_our_own_nor_public_reads(
    config: str, profile: str, desk: Desk
) -> None:
    path = desk.folder / "aws"
    path.write_text(f"[default]\n{config}\n")
    desk.publisher().open_public_places()
    hf_localize.register_dataset(datasets.Dataset.from_list(ROWS), ID, make_public=True)
    for sources, person in (("s3", desk.teammate), ("public", desk.outsider)):
        person().set(HGLOC_SOURCES=sources, AWS_CONFIG_FILE=str(path), AWS_PROFILE=profile)
        with hf_localize.installed():
            assert datasets.load_dataset(ID, split="train").to_list() == ROWS


def test_a_store_that_can_not_be_read_is_its_own_answer(desk: Desk, hub_with_rows: LoopbackHub) -> None:
    loop = desk.folder / "loop"
    loop.symlink_to(loop)
    desk.outsider().set(HGLOC_SOURCES="local,hub", HGLOC_DATASETS_STORE_PATH=str(loop))
    with hf_localize.installed():
        assert datasets.load_dataset(ID, split="train").to_list() == ROWS
        hub_with_rows.stop()
        with pytest.raises(datasets.exceptions.DatasetNotFoundError, match=r"local store: .*can't be read"):
            datasets.load_dataset("made/nowhere")


def test_a_proxy_that_is_of_no_use_is_the_answer_of_its_source(
    desk: Desk, hub_with_rows: LoopbackHub, caplog: pytest.LogCaptureFixture
) -> None:
    desk.teammate().set(HGLOC_SOURCES="local,s3,hub", NO_PROXY="127.0.0.1,localhost")
    get_session()  # httpx makes none once that proxy is named, whatever NO_PROXY says.
    desk.set(HGLOC_S3_ENDPOINT_URL="http://s3.example.org", http_proxy="http://me:a/b@proxy:3128")
    with hf_localize.installed():
        assert datasets.load_dataset(ID, split="train").to_list() == ROWS
    assert len(_passed_over(caplog)) == 1
