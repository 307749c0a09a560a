"""What botocore does for the bucket: its client, the credentials of AWS' own tools, its errors.

It is what boto3 is made of, whose other half, transfers, is not needed here. It takes 0.3 s to import and to
make a client, so only what needs it imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import botocore.session
from botocore import exceptions as botoerrors
from botocore.config import Config
from botocore.handlers import add_expect_header

from hf_localize.errors import AccessDeniedError
from hf_localize.http.sockets import UNKNOWN_AUTHORITY
from hf_localize.profiles import is_on_ec2
from hf_localize.settings import Settings

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

#: Everything that a call of botocore raises, but for mistakes of the caller's.
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
    client = session.create_client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    # What is put here is small: not worth asking first whether the server will take it, which costs a round
    # trip, and a second where it does not know that question.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return cast("S3Client", client)


def chained_credentials(settings: Settings) -> Credentials | None:
    """Return what AWS' chain finds (environment, profile, role, …), or None. Never waits for a network.

    Raises:
        AccessDeniedError: something is configured, and can't be used.
    """
    try:
        resolver = botocore.session.get_session().get_component("credential_provider")
        if settings.s3_endpoint_url or not is_on_ec2():
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
