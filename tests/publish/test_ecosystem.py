"""The variables, files and services by which AWS' own tools, proxies and the Hub's are set up, honored too.

Elsewhere: HF_HOME and AWS_REGION (test_settings), HF_ENDPOINT (every test), HF_TOKEN (guard, fidelity),
AWS_CA_BUNDLE (guard/test_integrity), progress bars (test_progress).
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import datasets
import pytest

import hf_localize
from hf_localize.errors import DatasetNotFoundError
from tests.conftest import Desk, run_cli, run_python
from tests.rig.forward_proxy import Address, ForwardProxy
from tests.rig.hub import LoopbackHub
from tests.rig.identity import TOKEN, IdentityServer
from tests.rig.s3_proxy import Request, Status
from tests.rig.tls import TlsFront

#: moto takes the first of several parts of a name for a bucket.
S3_HOST, HUB_HOST = "team-s3", "hub.team.example"
WEB_IDENTITY, SSO_TOKEN, START_URL = "token-of-the-pod", "token-of-the-browser", "https://team.example/start"
ROWS = datasets.Dataset.from_dict({"text": ["x", "y", "z"]})


@pytest.fixture
def home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a teammate with nothing in HGLOC_* but the bucket's name."""
    desk.teammate()
    for name in ("HGLOC_S3_ENDPOINT_URL", "HGLOC_AWS_ACCESS_KEY_ID", "HGLOC_AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    desk.set(HGLOC_SOURCES="local,s3")
    home = desk.folder / "home"
    (home / ".aws" / "sso" / "cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def publish(desk: Desk, *, public: bool = False) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(ROWS, "org/x", make_public=public)


def host_of(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def assert_all_signed(desk: Desk, *, region: str, token: str | None) -> None:
    assert desk.s3.requests
    for request in desk.s3.requests:
        assert f"/{region}/s3/aws4_request" in request.headers["authorization"], request
        assert request.headers.get("x-amz-security-token") == token, request


def only_moto(desk: Desk) -> None:
    if desk.server.name != "moto":
        pytest.skip("this server refuses session tokens that it has not given out")


def test_the_variables_of_aws_alone_are_enough(desk: Desk, home: Path) -> None:
    only_moto(desk)
    desk.set(
        AWS_ACCESS_KEY_ID=desk.server.access_key,
        AWS_SECRET_ACCESS_KEY=desk.server.secret_key,
        AWS_SESSION_TOKEN=TOKEN,
        AWS_REGION="eu-west-3",
        AWS_ENDPOINT_URL=desk.s3.url,
    )
    hf_localize.register_dataset(ROWS, "org/x")
    assert_all_signed(desk, region="eu-west-3", token=TOKEN)
    desk.set(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ENDPOINT_URL_S3=desk.s3.url)  # The one of S3 wins.
    assert hf_localize.list_s3_datasets() == [{"dataset_id": "org/x", "config_name": None, "revision": None}]


@pytest.mark.parametrize("form", ["for all services", "for S3"])
def test_a_profile_brings_keys_region_endpoint_and_ca(form: str, desk: Desk, home: Path) -> None:
    only_moto(desk)
    front = TlsFront(desk.s3.url, desk.folder)
    keys = f"aws_access_key_id = {desk.server.access_key}\naws_secret_access_key = {desk.server.secret_key}\n"
    (home / ".aws" / "credentials").write_text(f"[ml]\n{keys}aws_session_token = {TOKEN}\n")
    config = f"[profile ml]\nregion = eu-west-3\nca_bundle = {front.ca_file}\n"
    if form == "for S3":
        config += f"services = team\n[services team]\ns3 =\n  endpoint_url = {front.url}\n"
    else:
        config += f"endpoint_url = {front.url}\n"
    (home / ".aws" / "config").write_text(config)
    desk.set(AWS_PROFILE="ml")
    hf_localize.register_dataset(ROWS, "org/x", make_public=True)  # Then its public files are read, too.
    assert hf_localize.list_s3_datasets()
    signed = [request for request in desk.s3.requests if "authorization" in request.headers]
    assert {r.headers["x-amz-security-token"] for r in signed} == {TOKEN}
    assert all("/eu-west-3/s3/" in r.headers["authorization"] for r in signed)
    front.close()


WAYS = {
    "a load": "print(datasets.load_dataset('org/x', split='train')['text'][:])",
    "a stream": "print([r['text'] for r in datasets.load_dataset('org/x', split='train', streaming=True)])",
    "a list": "print(hf_localize.list_s3_datasets())",
    "an upload": "print(hf_localize.register_dataset('own', 'org/own').success)",
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["a file", "a program"])
def test_keys_that_expire_before_their_time_are_replaced_by_those_that_there_are_then(
    kind: str, way: str, desk: Desk, home: Path
) -> None:
    """Another program has renewed the file, or the program that gives out keys gives new ones."""
    publish(desk)
    sit_with_nothing(desk, home)
    ROWS.save_to_disk(str(home / "own"))
    server, file = desk.server, home / ".aws" / "credentials"
    old, secret = server.reader_access_key or "OLDKEY", server.reader_secret_key or "OLDSECRET"

    def write(key: str, secret: str) -> None:
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        if kind == "a program":
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            text = json.dumps(
                {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "Expiration": until}
            )
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    def refuse(request: Request) -> Status | None:
        is_needed = request.method == "PUT" or request.path.endswith(".arrow") or "list-type" in request.query
        if not is_needed or old not in request.headers.get("authorization", ""):
            return None
        write(server.access_key, server.secret_key)
        return Status(400, "ExpiredToken")

    if kind == "a program":
        file = home / "keys.json"
        process = f"credential_process = cat {file}\nregion = us-east-1\n"
        (home / ".aws" / "config").write_text(f"[default]\n{process}")
    write(old, secret)
    desk.s3.watch = refuse
    code = f"import datasets, hf_localize\nwith hf_localize.installed():\n    {WAYS[way]}"
    ran = run_python(code, cwd=home, AWS_ENDPOINT_URL_S3=desk.s3.url)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("['x', 'y', 'z']", "True") or "org/x" in ran.stdout
    assert 400 in [request.status for request in desk.s3.requests]


def test_keys_that_can_not_be_refreshed_are_used_until_they_expire(desk: Desk, home: Path) -> None:
    """The service or program that gives them out fails for a while, in the last minutes of the former keys."""
    publish(desk)
    sit_with_nothing(desk, home)
    server, until = desk.server, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    keys = {"AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key, "Expiration": until}
    (home / "keys.json").write_text(json.dumps({"Version": 1, **keys}))
    # It has them twice: botocore refreshes at once what it has just got, if that expires so soon.
    (home / "twice.sh").write_text(
        f"cd {home} && echo >> runs && test $(wc -l < runs) -le 2 && cat keys.json"
    )
    config = f"[default]\ncredential_process = sh {home}/twice.sh\nregion = us-east-1\n"
    (home / ".aws" / "config").write_text(config)
    code = f"import datasets, hf_localize\nwith hf_localize.installed():\n    {WAYS['a load']}"
    ran = run_python(code, cwd=home, AWS_ENDPOINT_URL_S3=desk.s3.url)
    assert ran.stdout.strip() == "['x', 'y', 'z']", ran.stderr


def test_keys_that_come_into_a_file_later_are_found(desk: Desk, home: Path) -> None:
    """A notebook goes on after "there are no credentials" and ``aws configure`` in a terminal."""
    publish(desk)
    sit_with_nothing(desk, home)
    desk.set(AWS_ENDPOINT_URL_S3=desk.s3.url)
    with hf_localize.installed(sources=("s3",)):
        with pytest.raises(DatasetNotFoundError, match="there are no credentials"):
            datasets.load_dataset("org/x")
        keys = f"aws_access_key_id = {desk.server.access_key}\naws_secret_access_key = {desk.server.secret_key}\n"
        (home / ".aws" / "credentials").write_text(f"[default]\n{keys}")
        assert datasets.load_dataset("org/x", split="train")["text"][:] == ["x", "y", "z"]


@pytest.mark.parametrize(("file", "section"), [(".aws/credentials", "default"), (".boto", "Credentials")])
def test_keys_in_a_file_are_found_and_without_one_nothing_is_loaded_to_look_for_some(
    file: str, section: str, desk: Desk
) -> None:
    publish(desk, public=True)
    home = desk.outsider().folder / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").touch()
    code = "import sys, hf_localize; print(hf_localize.explain_dataset('org/x')['takes'], 'botocore' in sys.modules)"
    settings = {"HOME": str(home), "HGLOC_SOURCES": "local,s3,public"}
    assert run_python(code, cwd=desk.folder, **settings).stdout == "public False\n"
    key, secret = desk.server.access_key, desk.server.secret_key
    (home / file).write_text(f"[{section}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    assert run_python(code, cwd=desk.folder, **settings).stdout == "s3 True\n"


@pytest.fixture
def identities(desk: Desk) -> Iterator[IdentityServer]:
    only_moto(desk)
    keys = (desk.server.access_key, desk.server.secret_key)
    server = IdentityServer(*keys, web_identity=WEB_IDENTITY, sso_token=SSO_TOKEN)
    yield server
    server.close()


LOAD = """
import hf_localize
assert hf_localize.load_local_dataset("org/x")["train"]["text"] == ["x", "y", "z"]
"""


def test_a_web_identity_as_kubernetes_mounts_it(desk: Desk, home: Path, identities: IdentityServer) -> None:
    publish(desk)
    sit_with_nothing(desk, home)
    (home / "token").write_text(WEB_IDENTITY)
    pod = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/reader"}
    env = {**pod, "AWS_ENDPOINT_URL_STS": identities.url, "AWS_REGION": "eu-west-3"}
    ran = run_python(LOAD, cwd=home, AWS_ENDPOINT_URL_S3=desk.s3.url, **env)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert identities.asked == [("web identity", "arn:aws:iam::1:role/reader")]
    assert_all_signed(desk, region="eu-west-3", token=TOKEN)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "role", ["instance", "container", "container with a file", "profile", "profile of an instance"]
)
def test_the_role_of_an_instance_a_container_or_a_profile(
    role: str, desk: Desk, home: Path, identities: IdentityServer
) -> None:
    publish(desk)
    sit_with_nothing(desk, home)
    (home / "token").write_text(WEB_IDENTITY)
    instance = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": identities.url}
    container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{identities.url}/container"}
    kept = {"AWS_ACCESS_KEY_ID": desk.server.access_key, "AWS_SECRET_ACCESS_KEY": desk.server.secret_key}
    profile = "role_arn = arn:aws:iam::1:role/reader\n"
    env, source, asked = {
        "instance": (instance, None, [("instance", ""), ("instance", "reader")]),
        "container": (
            container | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": WEB_IDENTITY},
            None,
            [("container", "")],
        ),
        "container with a file": (
            container | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(home / "token")},
            None,
            [("container", "")],
        ),
        "profile": ({}, "source_profile = base", [("role", "arn:aws:iam::1:role/reader")]),
        "profile of an instance": (
            instance,
            "credential_source = Ec2InstanceMetadata",
            [("instance", ""), ("instance", "reader"), ("role", "arn:aws:iam::1:role/reader")],
        ),
    }[role]
    if source:
        keys = "".join(f"{name.lower()} = {value}\n" for name, value in kept.items())
        (home / ".aws" / "config").write_text(f"[profile ml]\n{profile}{source}\n[profile base]\n{keys}")
        env = {**env, "AWS_PROFILE": "ml", "AWS_ENDPOINT_URL_STS": identities.url}
    env = {**env, "AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL_S3": desk.s3.url}
    ran = run_python(LOAD, cwd=home, **env)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert identities.asked == asked
    assert_all_signed(desk, region="eu-west-3", token=TOKEN)


WRONG_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ3cm9uZyJ9.c2lnbmF0dXJl"
BROKEN_ROLES = {
    "no token": (4, "No such file"),
    "a wrong token": (4, "AssumeRoleWithWebIdentity"),
    "a wrong token of a container": (4, "container metadata"),
    "nothing that gives out keys": (5, "Could not connect"),
    "a program whose keys have expired": (4, "still expired"),
}


@pytest.mark.sampled(len(BROKEN_ROLES))
@pytest.mark.parametrize("case", BROKEN_ROLES)
def test_keys_that_can_not_be_had_are_told_apart_from_a_failing_bucket(
    case: str, desk: Desk, home: Path, identities: IdentityServer
) -> None:
    publish(desk, public=True)
    sit_with_nothing(desk, home)
    env = {
        "AWS_ENDPOINT_URL_STS": identities.url,
        "AWS_REGION": "eu-west-3",
        "AWS_ENDPOINT_URL_S3": desk.s3.url,
    }
    env |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/reader"}
    if case != "no token":
        (home / "token").write_text(WRONG_TOKEN)
    if case == "a wrong token of a container":
        shown = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": WRONG_TOKEN, "AWS_ENDPOINT_URL_S3": desk.s3.url}
        env = shown | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{identities.url}/container"}
    if case == "nothing that gives out keys":
        env["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:9"
    if case == "a program whose keys have expired":
        keys = {"AccessKeyId": "a", "SecretAccessKey": "secret-of-old", "Expiration": "2020-01-01T00:00:00Z"}
        (home / "keys.json").write_text(json.dumps({"Version": 1, "SessionToken": "old-token", **keys}))
        process = f"credential_process = cat {home / 'keys.json'}\nregion = eu-west-3\n"
        (home / ".aws" / "config").write_text(f"[profile ml]\n{process}")
        env = {"AWS_PROFILE": "ml", "AWS_ENDPOINT_URL_S3": desk.s3.url}
    status, words = BROKEN_ROLES[case]
    ran = run_cli("download", "org/x", "--no-s3-upload", "-v", cwd=home, **env)
    failed = "credential chain failed" if "container" in case else "credentials can't be refreshed"
    assert f"private S3: AWS' {failed}: " in ran.stderr, ran.stderr
    assert words in ran.stderr
    assert "HGLOC_S3_ENDPOINT_URL" not in ran.stderr
    assert "secret-of-old" not in ran.stderr
    assert WRONG_TOKEN not in ran.stderr
    assert ran.returncode == status
    assert desk.s3.requests == ()
    ran = run_python(LOAD, cwd=home, HGLOC_SOURCES="s3,public", **env)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("form", ["sso_session", "sso_start_url"])
def test_single_sign_on(form: str, desk: Desk, home: Path, identities: IdentityServer) -> None:
    publish(desk)
    sit_with_nothing(desk, home)
    where = f"sso_start_url = {START_URL}\nsso_region = eu-west-3\n"
    role = "sso_account_id = 123456789012\nsso_role_name = reader\nregion = eu-west-3\n"
    if form == "sso_session":
        config, name = f"[profile ml]\nsso_session = team\n{role}[sso-session team]\n{where}", "team"
    else:
        config, name = f"[profile ml]\n{where}{role}", START_URL
    (home / ".aws" / "config").write_text(config)
    env = {"AWS_PROFILE": "ml", "AWS_ENDPOINT_URL_SSO": identities.url, "AWS_ENDPOINT_URL_S3": desk.s3.url}

    def log_in(seconds: int) -> None:
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        token = {"startUrl": START_URL, "region": "eu-west-3", "accessToken": SSO_TOKEN, "expiresAt": until}
        cache = home / ".aws" / "sso" / "cache" / f"{hashlib.sha1(name.encode()).hexdigest()}.json"
        cache.write_text(json.dumps(token))

    log_in(-60)
    ran = run_cli("download", "org/x", "--no-s3-upload", cwd=home, **env)
    assert "private S3: no usable credentials" in ran.stderr
    assert "expired" in ran.stderr
    assert desk.s3.requests == ()
    log_in(3600)
    ran = run_python(LOAD, cwd=home, **env)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert identities.asked == [("sso", "reader")]
    assert_all_signed(desk, region="eu-west-3", token=TOKEN)


def sit_with_nothing(desk: Desk, home: Path) -> None:
    """Sit down with an empty store, the bucket's name, and what *home* has."""
    desk.outsider().set(HGLOC_SOURCES="local,s3", HGLOC_S3_ENDPOINT_URL="", HOME=str(home))
    desk.s3.clear()


@pytest.fixture
def behind(desk: Desk, hub: LoopbackHub) -> Iterator[tuple[ForwardProxy, TlsFront]]:
    """Return a company's proxy, which alone reaches the bucket (by TLS) and the Hub."""
    front = TlsFront(desk.s3.url, desk.folder, S3_HOST)
    proxy = ForwardProxy(
        {S3_HOST: host_of(front.url), HUB_HOST: host_of(hub.url), "127.0.0.1": host_of(hub.url)}
    )
    yield proxy, front
    proxy.close()
    front.close()


@pytest.mark.sampled(0)
def test_everything_goes_through_the_proxy(
    desk: Desk, behind: tuple[ForwardProxy, TlsFront], tmp_path: Path
) -> None:
    proxy, front = behind
    company = {
        "HTTPS_PROXY": proxy.url,
        "HTTP_PROXY": proxy.url,
        "AWS_CA_BUNDLE": str(front.ca_file),
        "HGLOC_S3_ENDPOINT_URL": f"https://{S3_HOST}",
        "HF_ENDPOINT": f"http://{HUB_HOST}",
        "HF_HOME": str(tmp_path / "hf"),
    }
    desk.publisher().open_public_places()
    ran = run_cli("download", "openai/gsm8k", "--name", "socratic", "--make-public", **company)
    assert ran.returncode == 0, ran.stderr
    hosts = {urlsplit(line.split()[1]).hostname or line.split()[1].partition(":")[0] for line in proxy.asked}
    assert {S3_HOST, HUB_HOST} <= hosts
    for who in ("teammate", "outsider"):
        getattr(desk, who)()
        proxy.asked.clear()
        ran = run_cli("download", "openai/gsm8k", "--name", "socratic", "--no-s3-upload", **company)
        assert ran.returncode == 0, ran.stderr
        assert {line.partition(" HTTP")[0] for line in proxy.asked} == {f"CONNECT {S3_HOST}:443"}, who


@pytest.mark.sampled(0)
def test_no_proxy_leaves_the_proxy_out(desk: Desk) -> None:
    publish(desk, public=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dead = {"HTTP_PROXY": f"http://127.0.0.1:{port}", "http_proxy": f"http://127.0.0.1:{port}"}
    for who in ("teammate", "outsider"):
        getattr(desk, who)().set(HGLOC_SOURCES="local,s3,public")
        ran = run_python(LOAD, cwd=desk.folder, HGLOC_TIMEOUT_SECONDS="2", **dead)
        assert "DatasetUnreachableError" in ran.stderr, ran.stderr
        ran = run_python(LOAD, cwd=desk.folder, NO_PROXY="127.0.0.1,localhost", **dead)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_leaves_out_the_hub_and_nothing_else(variable: str, desk: Desk, hub: LoopbackHub) -> None:
    publish(desk)
    desk.teammate()
    hub.clear()
    code = """
import datasets, hf_localize
hf_localize.install()
assert datasets.load_dataset("org/x", split="train")["text"] == ["x", "y", "z"]
try:
    datasets.load_dataset("openai/gsm8k", "main", revision="v1")
except datasets.exceptions.DatasetNotFoundError as exc:
    print(exc)
"""
    ran = run_python(code, cwd=desk.folder, **{variable: "1"})
    assert "Hugging Face Hub: left out: offline" in ran.stdout, ran.stderr
    assert hub.requests == []
