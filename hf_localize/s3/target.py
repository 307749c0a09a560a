"""Where requests go, and how to get there: as boto3 decides it, so that all requests go the same way."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from hf_localize.s3.address import BucketAddress
from hf_localize.settings import aws_files

#: Variables of AWS' own tools that say nothing of where S3 is but what the settings have taken from them.
_PLAIN_VARIABLES = aws_files.WITHOUT_CREDENTIALS | {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}
#: A bucket's name that can begin a host name, also one of a wildcard certificate.
_HOST_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"[0-9.]+|.*:.*")
#: Regions of AWS' commercial partition.
_PLAIN_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]")


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a URL: through which proxy, and whose certificates to trust there."""

    #: With user and password, if it wants them.
    proxy_url: str | None = field(default=None, repr=False)
    #: A file or a folder; None: those of certifi.
    ca_bundle: str | None = None


class Target(NamedTuple):
    """Where a bucket is: its URL (without the prefix) and the region for which requests are signed."""

    url: str
    region: str


def route_to(url: str, environment: Mapping[str, str]) -> Route:
    """Return how boto3 would reach *url*.

    Args:
        environment: the variables of AWS' own tools.
    """
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and urllib.request.proxy_bypass(parts.netloc):
        proxy = None
    if proxy and not proxy.startswith(("http:", "https:")):
        proxy = f"http://{proxy.removeprefix('//')}"
    return Route(proxy, aws_files.ca_bundle_of(environment))


def plain_target(address: BucketAddress, environment: Mapping[str, str]) -> Target | None:
    """Return the target of *address* where boto3's rules are simple; None: boto3 has to be asked.

    boto3 takes 0.2 to 0.3 s to load and to ask. A test compares its answers with these.
    """
    if environment.keys() - _PLAIN_VARIABLES or aws_files.has_config(environment):
        return None
    endpoint, region = address.endpoint_url, address.region or "us-east-1"
    is_host_name = _HOST_NAME.fullmatch(address.name) is not None
    if endpoint and address.addressing_style != "virtual":
        return Target(f"{endpoint}/{quote(address.name)}", region)
    if endpoint:
        url = virtual_url(f"{endpoint}/{quote(address.name)}", address)
        return None if url is None else Target(url, region)
    if address.addressing_style == "path" or not is_host_name or not _PLAIN_REGION.fullmatch(region):
        return None
    place = "s3" if region == "us-east-1" else f"s3.{region}"
    return Target(f"https://{address.name}.{place}.amazonaws.com", region)


def virtual_url(path_url: str, address: BucketAddress) -> str | None:
    """Return the URL of a bucket, which ends *path_url*, with its name in the host name.

    None where the name, or an IP address, does not allow that.
    """
    parts = urlsplit(path_url)
    path = parts.path.removesuffix(f"/{address.name}")
    can_be = _HOST_NAME.fullmatch(address.name) and not _IP_ADDRESS.fullmatch(parts.hostname or "")
    if path == parts.path or not can_be:
        return None
    return f"{parts.scheme}://{address.name}.{parts.netloc}{path}"
