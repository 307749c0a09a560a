"""What boto3 does for the bucket: its client, the credentials of AWS' own tools, its errors.

It takes 0.4 s to import, so only what needs it imports this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore import exceptions as botoerrors
from botocore.config import Config

from hf_localize.errors import AccessDeniedError
from hf_localize.http.sockets import UNKNOWN_AUTHORITY
from hf_localize.settings import Settings

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

#: Everything that a call of boto3 raises, but for mistakes of the caller's.
ERRORS = (botoerrors.ClientError, botoerrors.BotoCoreError)
CallerError = botoerrors.ParamValidationError
_CREDENTIAL_ERRORS = (
    botoerrors.NoCredentialsError,
    botoerrors.CredentialRetrievalError,
    botoerrors.PartialCredentialsError,
    botoerrors.ProfileNotFound,
    botoerrors.TokenRetrievalError,
    botoerrors.SSOError,
)
# How EC2 documents that an instance is told from other machines.
_DMI_FILES = ("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/bios_version")


def connect(
    settings: Settings,
    credentials: Credentials | None,
    *,
    endpoint_url: str | None,
    region: str | None,
    read_timeout_seconds: float,
) -> S3Client:
    """Return a client that takes *credentials*, or the keys of *settings* where it has some.

    Raises:
        ERRORS: what is configured for AWS' own tools can't be used.
    """
    session = botocore.session.get_session()
    if credentials is not None:
        session._credentials = credentials  # type: ignore[attr-defined]  # No public way sets resolved ones.
    elif settings.aws_access_key_id and settings.aws_secret_access_key:
        session.set_credentials(
            settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token
        )
    config = Config(
        connect_timeout=min(5.0, settings.timeout_seconds),
        read_timeout=read_timeout_seconds,
        max_pool_connections=settings.max_concurrency,
        retries={"mode": "standard", "max_attempts": 4},
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        # Checksum trailers break several servers that are not AWS, and ours are sha256 anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = region or session.get_config_variable("region") or "us-east-1"
    return boto3.Session(botocore_session=session).client(
        "s3", endpoint_url=endpoint_url, region_name=region, config=config
    )


def chained_credentials(settings: Settings) -> Credentials | None:
    """Return what AWS' chain finds (environment, profile, role, …), or None. Never waits for a network.

    Raises:
        AccessDeniedError: something is configured, and can't be used.
    """
    try:
        resolver = botocore.session.get_session().get_component("credential_provider")
        if settings.s3_endpoint_url or not _on_ec2():
            resolver.remove("iam-role")
        found: Credentials | None = resolver.load_credentials()
    except botoerrors.BotoCoreError as exc:
        raise AccessDeniedError(f"AWS' credential chain failed: {exc}") from exc
    return found


def answer_of(exc: BaseException) -> tuple[int, str, str, str] | None:
    """Return what the server answered: status, code, message, operation; None: nothing."""
    if not isinstance(exc, botoerrors.ClientError):
        return None
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, str(error.get("Code", "")), str(error.get("Message") or ""), exc.operation_name


def is_about_credentials(exc: BaseException) -> bool:
    """Tell whether *exc* says that there are no credentials, or none that can be used."""
    return isinstance(exc, _CREDENTIAL_ERRORS)


def words_of(exc: BaseException) -> str:
    """Return what *exc* says, in words that can't hold a credential."""
    if isinstance(exc, botoerrors.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return UNKNOWN_AUTHORITY
    return type(exc).__name__ if isinstance(exc, botoerrors.HTTPClientError) else f"{exc}"


def _on_ec2() -> bool:
    """Tell whether this machine is an EC2 instance, whose metadata service answers at once."""
    for path in _DMI_FILES:
        try:
            if "amazon" in Path(path).read_text(encoding="utf-8").lower():
                return True
        except OSError:
            continue
    return False
