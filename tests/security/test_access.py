"""Who may read what: anonymous reads are anonymous, and what is shared is what was meant to be."""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.request
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import RecordingProxy, Rule, Status

CANARY = "canary7f3a91"
SECRET_ID = "openai/secret"
HUB_TOKEN = f"hf_{CANARY}token"


def rows(*values: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": list(values)})


@pytest.fixture
def credentials_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put credentials wherever a client could find some."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    keys = f"aws_access_key_id = {CANARY}P\naws_secret_access_key = {CANARY}S\n"
    (home / ".aws" / "credentials").write_text(f"[default]\n{keys}")
    (home / ".netrc").write_text(
        "".join(f"machine {host} login {CANARY} password {CANARY}\n" for host in ("127.0.0.1", "localhost"))
    )
    (home / ".netrc").chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{CANARY}A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{CANARY}B")
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{CANARY}C")


def with_keys(desk: Desk) -> None:
    """Set our own keys too, as whoever is a teammate elsewhere has them."""
    desk.set(HGLOC_AWS_ACCESS_KEY_ID=f"{CANARY}K", HGLOC_AWS_SECRET_ACCESS_KEY=f"{CANARY}L")
    desk.set(HGLOC_AWS_SESSION_TOKEN=f"{CANARY}M")


def assert_anonymous(desk: Desk) -> None:
    assert desk.s3.requests
    for request in desk.s3.requests:
        carried = {"authorization", "cookie", "proxy-authorization"} & set(request.headers)
        assert not carried, request
        assert not [name for name in request.headers if name.startswith("x-amz")], request
        assert CANARY not in f"{request.headers}{request.path}{request.query}"


@pytest.mark.usefixtures("credentials_everywhere")
@pytest.mark.parametrize("address", ["bucket", "public url"])
def test_public_reads_carry_no_credential_whatever_is_set(address: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x", "y"), "org/x", make_public=True)
    desk.outsider()
    with_keys(desk)
    desk.set(HGLOC_SOURCES="local,public")
    if address == "public url":
        desk.set(HGLOC_PUBLIC_URL=f"{desk.s3.url}/{desk.bucket}", HGLOC_S3_BUCKET_NAME="")
    desk.s3.clear()
    assert run_cli("download", "org/x", "--no-s3-upload").returncode == 0
    with hf_localize.installed(sources=("public",)):
        stream = datasets.load_dataset("org/x", split="train", streaming=True)
        assert [row["text"] for row in stream] == ["x", "y"]
        with pytest.raises(FileNotFoundError):
            datasets.load_dataset("org/none")
    assert_anonymous(desk)


@pytest.mark.usefixtures("credentials_everywhere")
@pytest.mark.parametrize("place", ["public_datasets.json", ".zip"])
def test_a_redirect_of_a_public_read_is_not_followed(place: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(rows("x"), "org/x", make_public=True)
    with RecordingProxy(desk.server.endpoint_url) as elsewhere:
        target = f"{elsewhere.url}/{desk.bucket}/public_datasets.json"
        desk.outsider().s3.fail(Rule("GET", place, Status(302, headers={"Location": target})))
        desk.set(HGLOC_SOURCES="local,public")
        desk.s3.clear()
        with pytest.raises(errors.DatasetUnreachableError, match="which is not followed"):
            hf_localize.load_local_dataset("org/x")
        assert elsewhere.requests == ()
    assert_anonymous(desk)


@pytest.mark.parametrize("server", ["desk", "strict_desk"])
def test_make_public_opens_exactly_the_two_public_places(
    server: str, hub: LoopbackHub, request: pytest.FixtureRequest
) -> None:
    desk: Desk = request.getfixturevalue(server)
    desk.publisher().set(HGLOC_S3_DATA_PREFIX="teams/nlp")
    desk.open_public_places()
    hf_localize.register_dataset(rows("private"), "org/private")
    hf_localize.register_dataset(rows("shared"), "org/shared", make_public=True)
    hf_localize.download_dataset("openai/gsm8k", "socratic", keep_files=True)
    client = desk.client()
    for decoy in ("public_datasets.json", "public_datasets_zip/x.zip", "teams/nlp/public_datasets.json.bak"):
        client.put_object(Bucket=desk.bucket, Key=decoy, Body=b"not meant")
    keys = desk.bucket_keys()
    opened = {key for key in keys if _status(desk, key) == 200}
    shared = "public_datasets_zip/org_shared---default_config---default_revision.zip"
    assert opened == {"teams/nlp/public_datasets.json", f"teams/nlp/{shared}"}
    assert len(keys) > 12
    if desk.server.enforces_auth:  # Moto lets everybody list and write.
        for query in ("", "?list-type=2", "?uploads", "?versions", "?policy", "?acl"):
            assert _status(desk, query) in (400, 403, 404), query
        for method in ("PUT", "DELETE"):
            assert _status(desk, "teams/nlp/public_datasets.json", method) == 403


def _status(desk: Desk, key: str, method: str = "GET") -> int:
    data = b"overwritten" if method == "PUT" else None
    url = f"{desk.server.endpoint_url}/{desk.bucket}{'' if key.startswith('?') else '/'}{key}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code


@pytest.fixture(params=["gated", "private"])
def restricted(
    request: pytest.FixtureRequest, hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Put a dataset on the Hub that only our token may read; return why that is so."""
    card = b"---\nlicense: cc-by-nc-4.0\n---\n# Secret\n"
    files = {"train.csv": b"text\nx\n", "README.md": card}
    hub.add(make_repository(desk.folder / "repositories", SECRET_ID, "main", files))
    getattr(hub, request.param)[SECRET_ID] = {HUB_TOKEN}
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    return str(request.param)


def test_what_is_gated_or_private_is_made_public_only_by_its_name(restricted: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    for named in ((), ("--share-restricted", "openai/other")):
        ran = run_cli("download", SECRET_ID, "--make-public", *named)
        assert ran.returncode == 4
        assert f"{SECRET_ID} is {restricted} on the Hub" in ran.stderr
        assert f"--share-restricted {SECRET_ID}" in ran.stderr
        assert desk.bucket_keys() == []
    with pytest.raises(errors.RestrictedError):
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    ran = run_cli("sync-local-to-s3", SECRET_ID, "--make-public", "--share-restricted", SECRET_ID)
    assert ran.returncode == 0, ran.stderr
    records = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    (record,) = json.loads(records).values()
    assert (record["license"], record[restricted]) == ("cc-by-nc-4.0", True)


def test_what_is_gated_or_private_goes_to_the_team_with_a_warning_and_stays_marked(
    restricted: str, desk: Desk
) -> None:
    desk.publisher().open_public_places()
    ran = run_cli("download", SECRET_ID)
    assert ran.returncode == 0, ran.stderr
    assert f"{SECRET_ID} is {restricted} on the Hub: everyone who can read s3://{desk.bucket}" in ran.stderr
    desk.teammate().set(HF_TOKEN="", HGLOC_SOURCES="local,s3")
    hf_localize.load_local_dataset(SECRET_ID)
    (manifest,) = (json.loads(path.read_text()) for path in desk.store.glob("*/*/*/.hgloc.json"))
    assert (manifest["license"], manifest[restricted]) == ("cc-by-nc-4.0", True)
    desk.set(
        HGLOC_AWS_ACCESS_KEY_ID=desk.server.access_key, HGLOC_AWS_SECRET_ACCESS_KEY=desk.server.secret_key
    )
    with pytest.raises(errors.RestrictedError, match=restricted):
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True)
    done = hf_localize.sync_local_dataset_to_s3(SECRET_ID, make_public=True, share_restricted=SECRET_ID)
    assert "shared publicly" in done.message_or_path


def test_the_original_files_of_a_gated_dataset_are_refused_too(restricted: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.download_dataset(SECRET_ID, keep_files=True)
    with pytest.raises(errors.RestrictedError):
        hf_localize.sync_local_dataset_to_s3(SECRET_ID, "original_files", make_public=True)


def test_the_hub_token_is_never_sent_to_s3_nor_s3_keys_to_the_hub(
    restricted: str, hub: LoopbackHub, desk: Desk
) -> None:
    assert restricted
    desk.publisher().open_public_places()
    ran = run_cli("download", SECRET_ID, "--keep-files", "--make-public", "--share-restricted", SECRET_ID)
    assert ran.returncode == 0, ran.stderr
    assert [r for r in hub.requests if HUB_TOKEN in r.headers.get("authorization", "")]
    keys = (desk.server.access_key, desk.server.secret_key)
    for request in hub.requests:
        assert not [key for key in keys if key in f"{request.path}{dict(request.headers)}"], request
    assert desk.s3.requests
    for asked in desk.s3.requests:
        assert CANARY not in f"{asked.path}{dict(asked.query)}{dict(asked.headers)}", asked
    for key in desk.bucket_keys():
        assert CANARY.encode() not in desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read()


@pytest.mark.usefixtures("credentials_everywhere")
def test_a_netrc_does_not_take_the_place_of_the_hub_token(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider()
    ran = run_cli("download", "OpenAI/GSM8K", "--name", "socratic", "--no-s3-upload", HGLOC_SOURCES="hub")
    assert ran.returncode == 0, ran.stderr
    ours = [r for r in hub.requests if r.method == "HEAD"]
    assert ours
    assert {r.headers.get("authorization", "") for r in ours} <= {"", f"Bearer {HUB_TOKEN}"}
