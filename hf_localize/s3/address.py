"""Where a bucket is: its name, endpoint, region and prefix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hf_localize.settings import Settings


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is. It holds no credential, so it may be logged and pickled."""

    name: str
    endpoint_url: str | None = None
    region: str | None = None
    prefix: str = ""
    #: ``path``, ``virtual``, or ``auto``: as boto3 chooses, until the server refuses it.
    addressing_style: str = "auto"
    #: The ``.env`` that names the endpoint: only its own keys go there.
    endpoint_file: Path | None = None

    def key(self, key: str) -> str:
        """Return *key* under the prefix."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def relative(self, key: str) -> str:
        """Return *key*, which is under the prefix, without it."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def below(self, url: str) -> str:
        """Return the URL of the prefix in the bucket that is at *url*."""
        return f"{url}/{quote(self.prefix)}" if self.prefix else url

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
        settings.s3_addressing_style,
        settings.aws_environment.endpoint_file,
    )
