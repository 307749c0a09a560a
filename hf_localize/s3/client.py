"""What boto3 does for the bucket: its session, its client, the credentials of AWS' own tools, its errors.

It takes 0.3 s to import and to make a client, so only what needs it imports this module.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as botoerrors
from botocore.config import Config
from botocore.credentials import (
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.handlers import add_expect_header
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError
from botocore.tokens import TokenProviderChain

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    RefusedError,
    UnreachableError,
    without_frames,
)
from hf_localize.http.client import UNKNOWN_AUTHORITY, USER_AGENT
from hf_localize.http.status import wants_virtual_hosts
from hf_localize.s3.address import BucketAddress
from hf_localize.s3.errors import REPLACEABLE_KEYS, not_s3
from hf_localize.s3.signing import Keys
from hf_localize.s3.target import Target
from hf_localize.settings import Settings
from hf_localize.settings.secret import Secret, can_be_sent

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

#: Everything that a call of boto3 raises: botocore's errors, and what its parsers raise of an answer, a URL
#: or a file that makes no sense. It follows a redirect that names no region until the recursion ends.
ERRORS = (
    *(botoerrors.ClientError, botoerrors.BotoCoreError, ResponseParserError),
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError),
)
#: A token of an identity provider (JWT).
_TOKEN = re.compile(r"eyJ[\w.-]+")
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
    session: boto3.Session,
    *,
    address: BucketAddress,
    timeout_seconds: float,
    is_anonymous: bool = False,
) -> S3Client:
    """Return a client of *session*.

    Args:
        timeout_seconds: how long it waits for the next bytes.
        is_anonymous: it signs nothing.

    Raises:
        ERRORS: what is configured for AWS' own tools can't be used.
    """
    style = cast("Literal['auto', 'path', 'virtual']", address.addressing_style)
    config = Config(
        connect_timeout=min(5.0, settings.timeout_seconds),
        read_timeout=timeout_seconds,
        max_pool_connections=settings.max_concurrency,
        retries={"mode": "standard", "max_attempts": 4},
        s3={} if style == "auto" else {"addressing_style": style},
        signature_version=UNSIGNED if is_anonymous else None,
        user_agent_extra=USER_AGENT,
        # Checksum trailers break several servers that are not AWS, and ours are sha256 anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = address.region or session.region_name or "us-east-1"
    client = session.client("s3", endpoint_url=address.endpoint_url, region_name=region, config=config)
    # What is put here is small: not worth asking first whether the server will take it, which costs a round
    # trip, and a second where it does not know that question.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    needed = {
        "ServerSideEncryption": settings.s3_sse,
        "SSEKMSKeyId": settings.s3_sse_kms_key_id,
        "RequestPayer": settings.s3_request_payer,
    }
    add: Any = functools.partial(_add_arguments, {name: value for name, value in needed.items() if value})
    client.meta.events.register("provide-client-params.s3", add)
    return client


def target_of(client: S3Client, bucket: str) -> Target:
    """Return where *client* sends the requests for *bucket*, and for which region it signs them.

    It is asked by a request that is taken from it before it is sent.
    """
    client.meta.events.register("before-send.s3.HeadObject", _keep_request)
    try:
        client.head_object(Bucket=bucket, Key="k")
    except _KeptRequestError as kept:
        scope = re.search(r"Credential=[^/]+/[0-9]+/([^/]+)/", kept.authorization)
        region = scope.group(1) if scope else client.meta.region_name
        return Target(kept.url.removesuffix("/k"), region)
    finally:
        client.meta.events.unregister("before-send.s3.HeadObject", _keep_request)
    raise AssertionError("boto3 sent a request in spite of its hook")


def _add_arguments(
    needed: Mapping[str, str], params: Mapping[str, Any], model: Any, **_: Any
) -> dict[str, Any]:
    """Return *params* with those of the *needed* arguments that the operation takes."""
    taken = model.input_shape.members
    return {**{name: value for name, value in needed.items() if name in taken}, **params}


class _KeptRequestError(Exception):
    """A request that was not sent."""

    def __init__(self, url: str, authorization: str) -> None:
        self.url = url
        self.authorization = authorization


def _keep_request(request: AWSPreparedRequest, **_: object) -> None:
    signed = request.headers.get("Authorization", b"")
    raise _KeptRequestError(request.url, signed.decode() if isinstance(signed, bytes) else signed)


def refuse_other_servers(client: S3Client, endpoint_url: str) -> None:
    """Have *client* raise NotS3Error for what no S3 server answers, which boto3 takes for one's answer."""

    def check(response_dict: Mapping[str, Any], **_: object) -> None:
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        body = response_dict["body"] if isinstance(response_dict["body"], bytes) else b""
        if problem := not_s3(endpoint_url, response_dict["status_code"], headers, body):
            raise problem

    client.meta.events.register("before-parse.s3", check)


def address_virtually_where_needed(client: S3Client, bucket: str, note: Callable[[], None]) -> None:
    """Have *client* put the name of *bucket* into the host name where the server refuses it in the path.

    Args:
        note: is called when that has happened.
    """

    def retry(request_dict: dict[str, Any], response: Any, **_: object) -> int | None:
        error = response[1].get("Error", {}) if response else {}
        parts = urlsplit(request_dict["url"])
        is_in_path = f"{parts.path}/".startswith(f"/{bucket}/")
        if not is_in_path or not wants_virtual_hosts(error.get("Code", ""), error.get("Message", "")):
            return None
        path = parts.path.removeprefix(f"/{bucket}") or "/"
        request_dict["url"] = parts._replace(netloc=f"{bucket}.{parts.netloc}", path=path).geturl()
        note()
        return 0  # Seconds to wait before the retry.

    client.meta.events.register("needs-retry.s3", cast("Any", retry))


def renew_where_refused(client: S3Client, credentials: ChainCredentials) -> None:
    """Have *client* send a request once more, with new keys, where the server refuses those it had."""

    def note(context: dict[str, Any], **_: object) -> None:
        context["hgloc_renewals"] = len(credentials.former)

    def retry(request_dict: dict[str, Any], response: Any, **_: object) -> int | None:
        code = response[1].get("Error", {}).get("Code", "") if response else ""
        renewals = request_dict["context"].pop("hgloc_renewals", None)
        return 0 if renewals is not None and credentials.renew(code, renewals) else None

    client.meta.events.register("before-call.s3", cast("Any", note))
    client.meta.events.register("needs-retry.s3", cast("Any", retry))


def session_of(settings: Settings, *, is_anonymous: bool = False) -> boto3.Session:
    """Return a session with the keys of *settings*, or else with AWS' chain, where that may be asked.

    Args:
        is_anonymous: it needs no credentials, so the chain is not asked.

    Raises:
        ERRORS: what is configured for AWS' own tools can't be used.
    """
    logging.getLogger("botocore.credentials").addFilter(_hide_in_log)
    core = botocore.session.get_session()
    is_chain_asked = not (is_anonymous or (settings.aws_access_key_id and settings.aws_secret_access_key))
    if not is_chain_asked and not _has_usable_profile(core):
        core = botocore.session.get_session(_WITHOUT_FILES)
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    if settings.aws_default_region and core.get_config_variable("region") is None:
        core.set_config_variable("region", settings.aws_default_region)  # boto3 does not read AWS_REGION.
    # S3 takes no tokens of a login. boto3 makes no client if a profile should have one and is incomplete.
    core.register_component("token_provider", TokenProviderChain())
    if settings.aws_access_key_id and settings.aws_secret_access_key:
        token = settings.aws_session_token
        return boto3.Session(
            settings.aws_access_key_id.reveal(),
            settings.aws_secret_access_key.reveal(),
            token.reveal() if token else None,
            botocore_session=core,
        )
    # boto3 has no other way to choose where it looks for credentials. There may be none, or the settings
    # keep them from this endpoint.
    if is_anonymous or not settings.may_have_aws_credentials:
        core.register_component("credential_provider", CredentialResolver([]))
    else:
        chain = core.get_component("credential_provider")
        if not settings.may_ask_instance:
            chain.remove("iam-role")
        core.register_component("credential_provider", _Chain(chain, settings))
    return boto3.Session(botocore_session=core)


class _Chain:
    """AWS' chain, as botocore asks it, which gives out what can be renewed."""

    def __init__(self, chain: CredentialResolver, settings: Settings) -> None:
        self._chain = chain
        self._settings = settings

    def load_credentials(self) -> ChainCredentials | None:
        """Return what the chain finds."""
        found = self._chain.load_credentials()
        if found is None:
            return None
        # A new session, since botocore reads some of the files once for each.
        return ChainCredentials(found, lambda: chained_session(self._settings)[1])


class ChainCredentials(Credentials):
    """What AWS' chain has found. It is asked again when a server refuses that."""

    def __init__(self, found: Credentials, find: Callable[[], ChainCredentials | None]) -> None:
        super().__init__("", "", method=found.method)
        self._found = found
        self._find = find
        self._keys: ReadOnlyCredentials | None = None
        self._lock = threading.Lock()
        #: The keys that were replaced. A server may still quote them.
        self.former: list[Keys] = []

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the keys that it has now. If they can't be refreshed, they are used until they expire.

        botocore refreshes them from 10 minutes before that on, and by itself would not use them any more.
        """
        try:
            self._keys = self._found.get_frozen_credentials()
        except Exception:
            found = self._found
            if self._keys is None or not isinstance(found, RefreshableCredentials) or found.refresh_needed(0):
                raise
        return self._keys

    def renew(self, code: str, renewals: int) -> bool:
        """Ask the chain again if *code* says that the keys are refused. False: there are no others.

        Args:
            renewals: how many keys had been replaced when the request was signed.
        """
        if code not in REPLACEABLE_KEYS:
            return False
        with self._lock, contextlib.suppress(Exception):  # The chain runs programs and parses files.
            if len(self.former) > renewals:
                return True
            old, found = keys_of(self), self._find()
            if found is not None and keys_of(found) != old:
                self.former.append(old)
                self._found, self._keys = found._found, None
                return True
        return False


#: Has botocore read no profile and no file of AWS' tools, not even those that variables name.
_WITHOUT_FILES: dict[str, tuple[Any, ...]] = {
    "profile": (None, [], None, None),
    "config_file": (None, [], os.devnull, None),
    "credentials_file": (None, [], os.devnull, None),
}


def _has_usable_profile(core: botocore.session.Session) -> bool:
    try:
        return core.profile in (None, *core.available_profiles)
    except botoerrors.ConfigParseError:
        return False


@functools.cache
def _loader(data_path: str | None) -> Loader:
    """Return the loader of AWS' service models, which keeps what it has read: 70 ms for each other client."""
    return create_loader(data_path)


def chained_session(settings: Settings) -> tuple[boto3.Session, ChainCredentials | None]:
    """Return a session and what AWS' chain finds (environment, profile, role, …). Never waits for a network.

    Raises:
        AccessDeniedError: something is configured, and can't be used.
    """
    try:
        session = session_of(settings)
        return session, cast("ChainCredentials | None", session.get_credentials())
    except Exception as exc:  # noqa: BLE001  # The chain runs programs and parses files.
        _hide_secrets(exc)
        raise AccessDeniedError(f"AWS' credential chain failed: {_words_of(exc)}") from without_frames(exc)


def keys_of(credentials: Credentials) -> Keys:
    """Return the keys that *credentials* have now.

    Raises:
        ERRORS: there is no login to get them with.
        AccessDeniedError: they can't be had for another reason.
        RefusedError: the server that gives them out can't be reached.
    """
    try:
        frozen = credentials.get_frozen_credentials()
    except _CREDENTIAL_ERRORS as exc:
        _hide_secrets(exc)
        raise
    except Exception as exc:  # noqa: BLE001  # As in the chain.
        _hide_secrets(exc)
        is_unreachable = isinstance(exc, (botoerrors.HTTPClientError, botoerrors.ConnectionError))
        kind = RefusedError if is_unreachable else AccessDeniedError
        said = f"AWS' credentials can't be refreshed: {_words_of(exc)}"
        raise kind(said) from without_frames(exc)
    key, secret, token = (Secret(text or "") for text in frozen[:3])
    if not (can_be_sent(key) and can_be_sent(token)):
        raise AccessDeniedError("AWS' credentials have a line break or another character that none has")
    return Keys(key, secret, token if token.reveal() else None)


def _hide_secrets(exc: BaseException | None) -> None:
    """Take out of *exc*, and what led to it, what a program of ``credential_process`` has written.

    Also tokens that a service quotes where it refuses them.
    """
    while exc is not None:
        if (
            isinstance(exc, botoerrors.CredentialRetrievalError)
            and exc.kwargs["provider"] == "custom-process"
        ):
            said = "the program that credential_process names failed: run it by itself to see why"
            exc.args, exc.kwargs = (said,), cast("Any", {**exc.kwargs, "error_msg": said})
        elif isinstance(exc, (botoerrors.ClientError, botoerrors.BotoCoreError)):
            exc.args = (_TOKEN.sub("…", str(exc)),)
        exc = exc.__cause__ or exc.__context__


def _hide_in_log(record: logging.LogRecord) -> bool:
    """Hide the same in a warning: botocore logs the failure if it can go on with older keys."""
    _hide_secrets(record.exc_info[1] if record.exc_info else None)
    return True


def answer_of(exc: BaseException) -> tuple[int, str, str, str] | None:
    """Return what the server answered: status, code, message, operation; None: nothing."""
    if not isinstance(exc, botoerrors.ClientError):
        return None
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, str(error.get("Code", "")), str(error.get("Message") or ""), exc.operation_name


def error_for(exc: BaseException, where: str) -> HfLocalizeError:
    """Return the error for *exc*, which no server answered, about *where*."""
    if isinstance(exc, _CREDENTIAL_ERRORS):
        return AccessDeniedError(f"no usable credentials for {where}: {exc}")
    kind = UnreachableError if isinstance(exc, botoerrors.HTTPClientError) else RefusedError
    return kind(f"{where}: {_problem_of(exc)}")


def _problem_of(exc: BaseException) -> str:
    """Return what *exc* says and what helps, in words that can't hold a credential."""
    if isinstance(exc, botoerrors.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return UNKNOWN_AUTHORITY
    if isinstance(exc, botoerrors.HTTPClientError):
        return f"{type(exc).__name__}. Is HGLOC_S3_ENDPOINT_URL correct and reachable?"
    if isinstance(exc, botoerrors.EndpointConnectionError):
        return "it could not be reached. Is HGLOC_S3_ENDPOINT_URL correct?"
    if isinstance(exc, botoerrors.BotoCoreError):
        return str(exc)
    return f"the response is not one of S3 ({type(exc).__name__}). Is HGLOC_S3_ENDPOINT_URL correct?"


def _words_of(exc: Exception) -> str:
    """Return what *exc* says, but not what others' parsers quote of files that hold credentials."""
    kinds = (botoerrors.BotoCoreError, botoerrors.ClientError, OSError)
    if isinstance(exc, kinds) or type(exc) is RuntimeError:
        return str(exc)
    return f"{type(exc).__name__}. Check the variables that begin with AWS_, and the files that they name"
