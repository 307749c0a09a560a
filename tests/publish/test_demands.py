"""Servers that demand something of each request: checksums, no ACLs, encryption, a payer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_cli
from tests.rig.s3_proxy import Request, Rule, Status
from tests.rig.tls import TlsFront

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd"


def small(*texts: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(texts)})


def large() -> datasets.Dataset:
    """Return a dataset that moves in several parts, as a ZIP too."""
    import random

    noise = random.Random(5)
    return datasets.Dataset.from_dict({"noise": [noise.randbytes(4000) for _ in range(5_000)]})


def everything(desk: Desk, again: Callable[[], object] = lambda: None) -> None:
    """Publish, replace, load, stream, share, compare, check, withdraw and remove; *again* follows who sits down."""
    hf_localize.register_dataset(small("kept", "old"), "org/x", make_public=True)
    hf_localize.register_dataset(small("kept", "new"), "org/x", make_public=True)
    hf_localize.register_dataset(small("kept", "new"), "org/x", revision="v2")
    hf_localize.register_dataset(large(), "org/large", make_public=True)
    desk.teammate()
    again()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["kept", "new"]
    with hf_localize.installed(sources=("s3",)):
        stream = datasets.load_dataset("org/large", split="train", streaming=True)
        assert sum(1 for _ in stream) == 5_000
    desk.publisher()
    again()
    assert len(hf_localize.list_s3_datasets()) == 3
    assert [item["damaged"] for item in hf_localize.verify_dataset(deep=True, s3=True)] == [[], [], []]
    hf_localize.withdraw_dataset("org/x")
    hf_localize.remove_dataset("org/x", s3=True)
    hf_localize.remove_dataset("org/large", s3=True)
    assert [item["revision"] for item in hf_localize.list_s3_datasets()] == ["v2"]


def test_each_put_and_part_over_tls_has_a_checksum_as_object_lock_demands(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publisher().open_public_places()
    front = TlsFront(desk.s3.url, desk.folder)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(front.ca_file))

    def demand(request: Request) -> Status | None:
        has_one = any(n == "content-md5" or n.startswith("x-amz-checksum-") for n in request.headers)
        is_upload = request.method == "PUT" and "x-amz-copy-source" not in request.headers
        return None if has_one or not is_upload else Status(400, "InvalidRequest")

    desk.s3.watch = demand

    def again() -> None:
        monkeypatch.setenv("HGLOC_S3_ENDPOINT_URL", front.url)

    again()
    everything(desk, again)
    puts = [r for r in desk.s3.requests if r.method == "PUT"]
    assert [r for r in puts if "partNumber" in r.query]
    assert {r.status for r in puts} <= {200, 412}
    front.close()


REFUSALS = {
    "AWS": Status(400, "AccessControlListNotSupported"),
    "Backblaze": Status(400, "InvalidArgument"),
    "unknown": Status(501, "NotImplemented"),
    "method": Status(405, "MethodNotAllowed"),
    "right": Status(403, "AccessDenied"),
}


@pytest.mark.parametrize("is_conditional", [True, False])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_acl_that_is_refused_in_any_words_ends_in_the_policy_that_helps(
    refusal: str, is_conditional: bool, desk: Desk
) -> None:
    desk.publisher()
    desk.s3.fail(Rule(None, ".", REFUSALS[refusal], header="x-amz-acl"))
    if not is_conditional:  # As Backblaze does too.
        for header in ("if-match", "if-none-match"):
            desk.s3.fail(Rule(None, ".", Status(501, "NotImplemented"), header=header))
    hf_localize.register_dataset(small("a"), "org/x", skip_s3_upload=True)
    ran = run_cli("sync-local-to-s3", "org/x", "--make-public")
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    policy = ran.stderr[ran.stderr.index("{") : ran.stderr.rindex("}") + 1]
    assert [key for key in desk.bucket_keys() if key.startswith("public_")] == []
    (told,) = [f for f in hf_localize.diagnose() if (f.area, f.name) == ("bucket", "ACLs")]
    assert json.loads(policy)["Statement"][0]["Sid"] in (told.advice or "")
    desk.client().put_bucket_policy(Bucket=desk.bucket, Policy=policy)
    hf_localize.sync_local_dataset_to_s3("org/x", make_public=True)
    desk.outsider()
    assert hf_localize.load_local_dataset("org/x")["train"]["text"][:] == ["a"]


def test_everything_that_is_written_is_encrypted_as_the_settings_say(desk: Desk) -> None:
    if desk.server.name == "seaweedfs":
        pytest.skip("this server has no key management service, and fails on aws:kms")
    desk.publisher().open_public_places()
    desk.set(HGLOC_S3_SSE="aws:kms", HGLOC_S3_SSE_KMS_KEY_ID=KEY)
    header = "x-amz-server-side-encryption"

    def demand(request: Request) -> Status | None:
        makes_an_object = (
            request.method == "PUT" and not {"partNumber", "acl", "policy"} & request.query.keys()
        )
        begins_an_upload = request.method == "POST" and "uploads" in request.query
        needed = request.headers.get(header), request.headers.get(f"{header}-aws-kms-key-id")
        if (makes_an_object or begins_an_upload) and needed != ("aws:kms", KEY):
            return Status(403, "AccessDenied")
        return None

    desk.s3.watch = demand
    everything(desk)
    assert not [r for r in desk.s3.requests if r.status == 403]
    (key,) = [key for key in desk.bucket_keys() if key.endswith(".arrow")]
    assert desk.client().head_object(Bucket=desk.bucket, Key=key)["SSEKMSKeyId"] == KEY


def test_every_signed_request_says_who_pays(desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.set(HGLOC_S3_REQUEST_PAYER="requester")

    def demand(request: Request) -> Status | None:
        pays = request.headers.get("x-amz-request-payer") == "requester"
        return None if pays or "authorization" not in request.headers else Status(403, "AccessDenied")

    desk.s3.watch = demand
    everything(desk)
    hf_localize.diagnose()
    unpaid = [r for r in desk.s3.requests if r.status == 403 and "authorization" in r.headers]
    assert not unpaid, unpaid


@pytest.mark.parametrize(
    ("name", "value"),
    [("HGLOC_S3_SSE", "none"), ("HGLOC_S3_SSE_KMS_KEY_ID", KEY), ("HGLOC_S3_REQUEST_PAYER", "me")],
)
def test_a_demand_that_makes_no_sense_is_a_mistake_of_settings(name: str, value: str, desk: Desk) -> None:
    desk.publisher().set(**{name: value})
    with pytest.raises(errors.SettingsError, match=name):
        hf_localize.list_s3_datasets()


def test_records_are_not_kept_by_caches_and_outsiders_ask_past_them(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(small("a"), "org/x", "one", make_public=True)
    hf_localize.register_dataset(small("a"), "org/x", "two", make_public=True)
    with urllib.request.urlopen(f"{desk.s3.url}/{desk.bucket}/public_datasets.json") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
    desk.outsider().s3.clear()
    hf_localize.load_local_dataset("org/x", "one")
    asked = {r.path.rpartition("/")[2]: r.headers.get("cache-control") for r in desk.s3.requests}
    assert asked.pop("public_datasets.json") == "no-cache"
    assert set(asked.values()) == {None}  # A ZIP may come from a cache: it is checked.
