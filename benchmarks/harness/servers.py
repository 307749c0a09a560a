"""The servers of the benchmarks, and their clients' settings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import clean_environment
from tests.rig.s3 import S3Server, start_server

BUCKET = "team-datasets"
#: Where the server keeps its files: in memory, so that its disk is not what is measured.
_MEMORY = Path("/dev/shm")  # noqa: S108  # Not guessable: the folder in it has a random name.
_LEAST_FREE_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class Desk:
    """A machine in reach of the bucket: *folder* has its store and its caches."""

    server: S3Server
    folder: Path
    #: In place of the server's own, where something stands between.
    endpoint_url: str | None = None

    @property
    def url(self) -> str:
        """Return the endpoint that the machine is told of."""
        return self.endpoint_url or self.server.endpoint_url

    @property
    def store(self) -> Path:
        """Return the local store."""
        return self.folder / "store"

    def environment(self, *, credentials: bool = True, **extra: str) -> dict[str, str]:
        """Return the settings for a process at this machine."""
        keys = {
            "HGLOC_AWS_ACCESS_KEY_ID": self.server.access_key,
            "HGLOC_AWS_SECRET_ACCESS_KEY": self.server.secret_key,
        }
        return clean_environment(
            HGLOC_S3_BUCKET_NAME=BUCKET,
            HGLOC_S3_ENDPOINT_URL=self.url,
            HGLOC_AWS_DEFAULT_REGION="us-east-1",
            HGLOC_DATASETS_STORE_PATH=str(self.store),
            HGLOC_SOURCES="local,s3,public",
            HF_HOME=str(self.folder / "hf"),
            HF_DATASETS_DISABLE_PROGRESS_BARS="1",
            **(keys if credentials else {}),
            **extra,
        )

    def aws_environment(self) -> dict[str, str]:
        """Return the settings by which other S3 clients reach the same bucket."""
        return clean_environment(
            AWS_ACCESS_KEY_ID=self.server.access_key,
            AWS_SECRET_ACCESS_KEY=self.server.secret_key,
            AWS_REGION="us-east-1",
            S3_ENDPOINT_URL=self.url,
            AWS_ENDPOINT_URL_S3=self.url,
        )

    def client(self) -> Any:
        """Return a boto3 client with all rights."""
        return self.server.client()

    def renew_bucket(self) -> None:
        """Empty the bucket, and have SeaweedFS give back at once what the objects took."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            if keys := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
        client.delete_bucket(Bucket=BUCKET)
        self.server.create_bucket(BUCKET)


@contextlib.contextmanager
def seaweed_desk(folder: Path, *, on_disk: bool = False) -> Iterator[Desk]:
    """Lend a desk beside a running SeaweedFS, which is fast enough not to be the limit.

    Args:
        on_disk: it is given more than fits into memory.
    """
    in_memory = not on_disk and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _LEAST_FREE_BYTES
    place = _MEMORY if in_memory else folder
    with tempfile.TemporaryDirectory(prefix="hf_localize-bench-server-", dir=place) as data:
        server = start_server("seaweedfs", Path(data))
        try:
            server.create_bucket(BUCKET)
            yield Desk(server, folder / "desk")
        finally:
            server.stop()
