"""The keywords of ``install()`` and ``installed()``, for type checkers and editors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict


class Options(TypedDict, total=False):
    """Settings that win over the environment. None is as if the variable were not set."""

    s3_bucket_name: str | None
    s3_endpoint_url: str | None
    s3_addressing_style: str | None
    s3_data_prefix: str | None
    s3_sse: str | None
    s3_sse_kms_key_id: str | None
    s3_request_payer: str | None
    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    aws_default_region: str | None
    datasets_store_path: str | os.PathLike[str] | None
    sources: str | Sequence[str] | None
    offline: bool | None
    write_back: str | None
    verify: str | None
    public_url: str | None
    log_level: str | None
    timeout_seconds: float | str | None
    max_concurrency: int | str | None
    max_bandwidth: float | str | None
    stream_cache: bool | None
    record: str | os.PathLike[str] | None
    lock: str | os.PathLike[str] | None
