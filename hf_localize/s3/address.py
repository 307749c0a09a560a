"""Where a bucket is: its name, endpoint, region and prefix."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from hf_localize.settings import Settings


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is. It holds no credential, so it may be logged and pickled."""

    name: str
    endpoint_url: str | None = None
    region: str | None = None
    prefix: str = ""

    def key(self, key: str) -> str:
        """Return *key* under the prefix."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def relative(self, key: str) -> str:
        """Return *key*, which is under the prefix, without it."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    @property
    def url(self) -> str:
        """Return the URL under which the prefix is read without credentials."""
        if self.endpoint_url:
            base = f"{self.endpoint_url}/{self.name}"
        elif "." in self.name:  # A dot breaks the certificate of the virtual-host form.
            base = f"https://s3.{self.region or 'us-east-1'}.amazonaws.com/{self.name}"
        else:
            region = f".{self.region}" if self.region else ""
            base = f"https://{self.name}.s3{region}.amazonaws.com"
        return f"{base}/{quote(self.prefix)}" if self.prefix else base

    def __str__(self) -> str:
        prefix = f"/{self.prefix}" if self.prefix else ""
        return f"s3://{self.name}{prefix} at {self.endpoint_url or 'AWS'}"


def address_of(settings: Settings) -> BucketAddress | None:
    """Return the address of the configured bucket, or None where none is configured."""
    if not settings.s3_bucket_name:
        return None
    return BucketAddress(
        settings.s3_bucket_name,
        settings.s3_endpoint_url,
        settings.aws_default_region,
        settings.s3_data_prefix,
    )
