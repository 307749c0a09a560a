"""Questions and data take the same way to S3: botocore's, whatever the environment says."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import botocore.exceptions
import pytest

from hf_localize.errors import HfLocalizeError
from hf_localize.s3.errors import MissingKeyError
from hf_localize.sources.session import current_session
from tests.rig.anywhere import Anywhere, Seen

REGIONS = {
    name: {"AWS_DEFAULT_REGION": name}
    for name in (
        *("us-east-1", "us-west-2", "eu-west-3", "ap-southeast-4", "il-central-1", "mx-central-1"),
        *("af-south-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "eu-isoe-west-1", "xx-nowhere-1"),
    )
}
FIPS = {"AWS_USE_FIPS_ENDPOINT": "true"}
DUAL = {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
WEST = REGIONS["us-west-2"]
MINIO = {"AWS_ENDPOINT_URL_S3": "http://minio.corp:9000"}
MINIO_TLS = {"AWS_ENDPOINT_URL_S3": "https://minio.corp:9000"}
PROXY = {"HTTP_PROXY": "http://proxy.corp:3128", "HTTPS_PROXY": "http://proxy.corp:3128"}
#: What the environment says, and the bucket; ``{ca}`` is the file of the authority that the servers have.
CASES: dict[str, tuple[dict[str, str], str]] = {
    "nothing said": ({}, "team"),
    **{f"region {name}": (said, "team") for name, said in REGIONS.items()},
    "dots in the bucket": (WEST, "team.data"),
    "capitals in the bucket": (WEST, "Team_Data"),
    "a short bucket": (WEST, "ab"),
    "FIPS": (WEST | FIPS, "team"),
    "dual stack": (WEST | DUAL, "team"),
    "FIPS and dual stack": (WEST | FIPS | DUAL, "team"),
    "FIPS and an endpoint": (WEST | FIPS | MINIO, "team"),
    "endpoint for all services": ({"AWS_ENDPOINT_URL": "http://minio.corp:9000"}, "team"),
    "endpoint with a port": (MINIO, "team"),
    "endpoint with the usual port": ({"AWS_ENDPOINT_URL_S3": "http://minio.corp:80"}, "team"),
    "endpoint with the usual port, TLS": ({"AWS_ENDPOINT_URL_S3": "https://minio.corp:443"}, "team"),
    "endpoint with a path": ({"AWS_ENDPOINT_URL_S3": "http://minio.corp/s3/v1"}, "team"),
    "endpoint in capitals": ({"AWS_ENDPOINT_URL_S3": "http://MinIO.Corp:9000"}, "team"),
    "endpoint by IPv4": ({"AWS_ENDPOINT_URL_S3": "http://10.1.2.3:9000"}, "team"),
    "endpoint by IPv6": ({"AWS_ENDPOINT_URL_S3": "http://[fd00::1]:9000"}, "team"),
    "endpoint and dots in the bucket": (MINIO_TLS, "team.data"),
    "endpoint and a region": (MINIO | WEST, "team"),
    "endpoint of AWS": ({"AWS_ENDPOINT_URL_S3": "https://s3.eu-west-3.amazonaws.com"}, "team"),
    "proxy": (WEST | PROXY, "team"),
    "proxy for http": (MINIO | PROXY, "team"),
    "proxy with a password": (WEST | {"HTTPS_PROXY": "http://user:p%40ss@proxy.corp:3128"}, "team"),
    "proxy without a scheme": (WEST | {"HTTPS_PROXY": "proxy.corp:3128"}, "team"),
    "proxy for everything": (WEST | {"ALL_PROXY": "http://proxy.corp:3128"}, "team"),
    "proxy with TLS": (WEST | {"HTTPS_PROXY": "https://proxy.corp:3129"}, "team"),
    "no proxy for the host": (MINIO | PROXY | {"NO_PROXY": "minio.corp"}, "team"),
    "no proxy for host and port": (MINIO | PROXY | {"NO_PROXY": "minio.corp:9000"}, "team"),
    "no proxy for another port": (MINIO | PROXY | {"NO_PROXY": "minio.corp:9001"}, "team"),
    "no proxy for the domain": (MINIO | PROXY | {"NO_PROXY": ".corp"}, "team"),
    "no proxy for a domain that ends alike": (MINIO | PROXY | {"NO_PROXY": "io.corp"}, "team"),
    "no proxy at all": (MINIO | PROXY | {"NO_PROXY": "*"}, "team"),
    "no proxy for a network": (
        {"AWS_ENDPOINT_URL_S3": "http://10.1.2.3:9000", "NO_PROXY": "10.0.0.0/8", **PROXY},
        "team",
    ),
    "no bundle": (MINIO_TLS | {"AWS_CA_BUNDLE": ""}, "team"),
    "bundle of requests": (MINIO_TLS | {"AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "{ca}"}, "team"),
    "bundle of AWS before that of requests": (MINIO_TLS | {"REQUESTS_CA_BUNDLE": "/etc/hosts"}, "team"),
    "bundle in the home folder": (MINIO_TLS | {"AWS_CA_BUNDLE": "~/ca.pem"}, "team"),
    "bundle of a profile": (MINIO_TLS | {"AWS_CA_BUNDLE": "", "AWS_PROFILE": "trusting"}, "team"),
    "bundle of a profile, in the home folder": (
        MINIO_TLS | {"AWS_CA_BUNDLE": "", "AWS_PROFILE": "at-home"},
        "team",
    ),
    "region of a profile": ({"AWS_PROFILE": "paris"}, "team"),
    "endpoint of a profile": ({"AWS_PROFILE": "minio"}, "team"),
    "virtual hosts by a profile": ({"AWS_PROFILE": "virtual"}, "team"),
    "path by a profile": ({"AWS_PROFILE": "path"}, "team"),
    "FIPS by a profile": ({"AWS_PROFILE": "fips"}, "team"),
    "accelerated by a profile": ({"AWS_PROFILE": "fast"}, "team"),
    "two profiles": ({"AWS_PROFILE": "minio", "AWS_DEFAULT_PROFILE": "paris"}, "team"),
    "a section that is no profile": ({"AWS_PROFILE": "stray"}, "team"),
    "endpoints are ignored": (MINIO | WEST | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "team"),
    "endpoints are ignored by a profile": ({"AWS_PROFILE": "at-aws"}, "team"),
    "endpoints are not ignored after all": (
        {"AWS_PROFILE": "at-aws", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
        "team",
    ),
    "credentials file with an endpoint": ({"AWS_SHARED_CREDENTIALS_FILE": "{home}/minio"}, "team"),
    "credentials file with a region": (MINIO | {"AWS_SHARED_CREDENTIALS_FILE": "{home}/paris"}, "team"),
    "credentials file with a bundle": (
        MINIO_TLS | {"AWS_CA_BUNDLE": "", "AWS_SHARED_CREDENTIALS_FILE": "{home}/trusting"},
        "team",
    ),
    "credentials file before the config file": (
        {"AWS_PROFILE": "paris", "AWS_SHARED_CREDENTIALS_FILE": "{home}/minio"},
        "team",
    ),
}
CONFIG = """
[default]
region = eu-central-1
[profile paris]
region = eu-west-3
[profile trusting]
ca_bundle = {ca}
[profile at-home]
ca_bundle = ~/ca.pem
[profile minio]
services = ours
[services ours]
s3 =
  endpoint_url = http://minio.corp:9000
[profile virtual]
endpoint_url = http://oss.corp
s3 =
  addressing_style = virtual
[profile path]
region = eu-west-3
s3 =
  addressing_style = path
[profile fips]
region = us-west-2
use_fips_endpoint = true
[profile fast]
region = us-west-2
s3 =
  use_accelerate_endpoint = true
[stray]
endpoint_url = http://stray.corp
[profile at-aws]
region = us-west-2
endpoint_url = http://minio.corp:9000
ignore_configured_endpoint_urls = True
"""
KEYS = """
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = secret
"""
#: Files with credentials, and what else they say.
CREDENTIALS = {
    "minio": f"[default]{KEYS}endpoint_url = http://minio.corp:9000\n[paris]{KEYS}region = us-west-2\n",
    "paris": f"[default]{KEYS}region = eu-west-3\n",
    "trusting": f"[default]{KEYS}ca_bundle = {{ca}}\n",
    "credentials": f"[stray]{KEYS}",
}


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Anywhere]:
    """Return a server that stands for every host of the world."""
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n == "REQUESTS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    with contextlib.closing(Anywhere(tmp_path)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
        (tmp_path / "ca.pem").write_bytes(server.ca_file.read_bytes())
        yield server


@pytest.mark.sampled(10)
@pytest.mark.parametrize(("said", "bucket"), CASES.values(), ids=CASES)
def test_data_takes_the_way_of_boto3(
    said: dict[str, str], bucket: str, anywhere: Anywhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "HOME": str(tmp_path),
        "HGLOC_S3_BUCKET_NAME": bucket,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CA_BUNDLE": "{ca}",
        **said,
    }
    (tmp_path / ".aws").mkdir()
    if "AWS_PROFILE" in said:
        (tmp_path / ".aws" / "config").write_text(CONFIG.format(ca=anywhere.ca_file))
        (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS["credentials"])
    for file in ("minio", "paris", "trusting"):
        (tmp_path / file).write_text(CREDENTIALS[file].format(ca=anywhere.ca_file))
    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, value.format(ca=anywhere.ca_file, home=tmp_path))
    by_boto3 = seen(anywhere, lambda: boto3.Session().client("s3").get_object(Bucket=bucket, Key="a/k"))
    connection = current_session().bucket.connection
    asked = seen(anywhere, lambda: connection.call("get_object", "a/k"))
    moved = seen(anywhere, lambda: connection.request("a/k", "GetObject", lambda wire, name: wire.get(name)))
    assert by_boto3[1] or "bundle" in str(said) or not by_boto3[0], "the case shows nothing"
    assert asked == by_boto3
    assert moved == by_boto3


def seen(anywhere: Anywhere, question: Callable[[], object]) -> tuple[bool, set[Seen]]:
    """Return whether *question* was answered by ``NoSuchKey``, and what was seen of it."""
    anywhere.seen.clear()
    is_answered = False
    try:
        question()
    except MissingKeyError:
        is_answered = True
    except botocore.exceptions.ClientError as exc:
        is_answered = exc.response["Error"]["Code"] == "NoSuchKey"
    except (HfLocalizeError, botocore.exceptions.BotoCoreError):
        pass
    return is_answered, set(anywhere.seen)
