"""The ways to a bucket: boto3's client for questions, our own connections for data, and the keys to both.

What either raises is translated here. Keys are relative to the prefix.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    RefusedError,
    SettingsError,
    SlowDownError,
    without_frames,
)
from hf_localize.http.client import NO_PROXY, Wire, is_proxy, trusting
from hf_localize.http.deadline import Patience
from hf_localize.http.status import StatusError, code_and_message, wants_virtual_hosts
from hf_localize.s3.address import BucketAddress
from hf_localize.s3.errors import error_of, not_s3
from hf_localize.s3.signing import Keys, Signer
from hf_localize.s3.target import Target, plain_target, route_to
from hf_localize.settings import Settings, aws_files

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

    from hf_localize.s3.client import ChainCredentials

_log = logging.getLogger(__name__)
_READ_TIMEOUT_SECONDS = 60.0
_T = TypeVar("_T")
_REGION_IN_XML = re.compile(r"<Region>([^<]+)</Region>")
#: A region becomes a part of a host name.
_REGION = re.compile(r"[a-z0-9-]{1,40}")


class Connection:
    """Ask one bucket. Threads may do so at the same time, and so may forked processes."""

    def __init__(self, settings: Settings, address: BucketAddress) -> None:
        self.address = address
        self._settings = settings
        self._clients: dict[tuple[int, boto3.Session | None], S3Client] = {}
        self._data: Wire | None = None
        self._patience = Patience(f"{address}", settings.timeout_seconds)
        self._lock = threading.Lock()
        self._chain_lock = threading.Lock()
        self.missing_credentials = settings.missing_credentials
        self._keys = _static_keys(settings)
        self._found: tuple[boto3.Session | None, ChainCredentials | None] = None, None
        self._files_asked: tuple[int | None, ...] | None = None

    @property
    def _chain(self) -> tuple[boto3.Session | None, ChainCredentials | None]:
        """Return what AWS' chain finds. It is not asked for what is public: that must not fail with it.

        If it has found no credentials, it is asked again when one of its files has changed.
        """
        if self._keys is None and self._found[1] is None:
            files = aws_files.changes(self._settings.aws_environment.plain)
            with self._chain_lock:
                if files != self._files_asked:
                    self._found = self._ask_chain()
                    self._files_asked = files
        return self._found

    def _ask_chain(self) -> tuple[boto3.Session | None, ChainCredentials | None]:
        if not self._settings.may_have_aws_credentials:
            return None, None
        from hf_localize.s3 import client

        return client.chained_session(self._settings)

    @property
    def has_credentials(self) -> bool:
        """Tell whether any credentials were found."""
        return self._keys is not None or self._chain[1] is not None

    def call(self, operation: str, key: str, **arguments: Any) -> Any:
        """Return what boto3's client answers to *operation* on *key*.

        What of the answer is looked up by ``[]`` and is not there raises RefusedError.
        """
        with self.client(key, with_acl="ACL" in arguments) as client:
            asked = getattr(client, operation)
            answer = asked(Bucket=self.address.name, Key=self.address.key(key), **arguments)
            return _Answer(f"{self._where(key)}: the response to {operation} is not one of S3", answer)

    def ask(self, question: Callable[[], _T]) -> _T:
        """Return what *question*, which asks the bucket for something small, returns; bounded in time.

        Raises:
            UnreachableError: it took more than ``HGLOC_TIMEOUT_SECONDS``.
        """
        return self._patience.ask(question)

    @contextlib.contextmanager
    def client(self, key: str, *, with_acl: bool = False, is_signed: bool = True) -> Iterator[S3Client]:
        """Lend boto3's client, and translate what it raises; *with_acl*: the request sets an ACL."""
        from hf_localize.s3 import client

        try:
            if is_signed and self._chain[1] is not None:
                self._current_keys()  # What fails here is not of S3, which boto3 does not tell.
            yield self._client() if is_signed else self._anonymous_client()
        except HfLocalizeError as exc:
            # Out of a hook, through frames of boto3 that hold signed requests; contextlib would restore
            # those of the same object.
            raise copy.copy(without_frames(exc)) from exc.__cause__
        except client.ERRORS as exc:
            error = self._translate(exc, key, with_acl=with_acl)
            exc.args = (self._without_keys(f"{exc}"),)  # A traceback shows the cause, too.
            raise error from without_frames(exc)

    def _client(self) -> S3Client:
        # A connection must not be shared across fork, so each process has its own client.
        owner = os.getpid(), self._chain[0]
        with self._lock:
            if owner not in self._clients:
                self._clients[owner] = self._connect()
            return self._clients[owner]

    def _connect(self, *, is_anonymous: bool = False) -> S3Client:
        from hf_localize.s3 import client as s3client

        url = self.address.endpoint_url or "https://amazonaws.com"
        route = route_to(url, self._settings.aws_environment.plain)
        if not is_proxy(route.proxy_url):
            raise RefusedError(NO_PROXY)
        if url.startswith("https:"):
            trusting(route.ca_bundle)
        client = s3client.connect(
            self._settings,
            (None if is_anonymous else self._chain[0])
            or s3client.session_of(self._settings, is_anonymous=is_anonymous),
            address=self.address,
            timeout_seconds=_READ_TIMEOUT_SECONDS,
            is_anonymous=is_anonymous,
        )
        if self.address.endpoint_url is not None:
            s3client.refuse_other_servers(client, self.address.endpoint_url)
        if not is_anonymous and self._chain[1] is not None:
            s3client.renew_where_refused(client, self._chain[1])
        if self._may_learn_style:
            s3client.address_virtually_where_needed(client, self.address.name, self._use_virtual_hosts)
        return client

    @property
    def _may_learn_style(self) -> bool:
        return self.address.endpoint_url is not None and self.address.addressing_style == "auto"

    def _use_virtual_hosts(self) -> None:
        """Put the bucket's name into the host name from now on, since the server refused it in the path."""
        _log.info("%s refuses the bucket's name in the path, so it goes into the host name", self.address)
        with self._lock:
            self.address = replace(self.address, addressing_style="virtual")
            self._data, self._clients = None, {}

    def request(self, key: str, operation: str, work: Callable[[Wire, str], _T]) -> _T:
        """Do *work*, which S3 calls *operation*, with the connections for data and the quoted key."""
        name, address = quote(self.address.key(key), safe="/-_.~"), self.address
        renewals = len(self._former_keys)
        try:
            try:
                return work(self._wire(), name)
            except StatusError as exc:  # Another thread may have learned meanwhile.
                if self.address is address and not self._learn_from(exc, renewals):
                    raise
                return work(self._wire(), name)
        except StatusError as exc:
            raise self._refused(exc, key, operation) from without_frames(exc)

    def _learn_from(self, answer: StatusError, renewals: int) -> bool:
        """Take over what a refusal says about region, URL style or keys. False: it says nothing new.

        Args:
            renewals: how often the keys had been replaced when the request was signed.
        """
        text = answer.body.decode(errors="replace")
        chain = self._chain[1]
        if chain is not None and chain.renew(code_and_message(answer)[0], renewals):
            return True
        if self._may_learn_style and wants_virtual_hosts(*code_and_message(answer)):
            self._use_virtual_hosts()
            return True
        found = _REGION_IN_XML.search(text)
        region = answer.headers.get("x-amz-bucket-region") or (found.group(1) if found else None)
        if not region or not _REGION.fullmatch(region) or region == self.address.region:
            return False
        # At an endpoint of its own, a region is only a part of the signature.
        if self.address.endpoint_url and code_and_message(answer)[0] != "AuthorizationHeaderMalformed":
            return False
        with self._lock:
            self.address = replace(self.address, region=region)
            self._data, self._clients = None, {}
        return True

    def _wire(self) -> Wire:
        with self._lock:
            if self._data is not None:
                return self._data
        target = self.target()
        route = route_to(target.url, self._settings.aws_environment.plain)
        payer = self._settings.s3_request_payer
        wire = Wire(
            target.url,
            timeout_seconds=self._settings.timeout_seconds,
            upload_seconds=_READ_TIMEOUT_SECONDS,
            proxy_url=route.proxy_url,
            ca_bundle=route.ca_bundle,
            sign=Signer(self._current_keys, target.region, {"x-amz-request-payer": payer} if payer else {}),
            bytes_per_second=self._settings.max_bandwidth,
        )
        with self._lock:
            self._data = self._data or wire
            return self._data

    @property
    def encrypting(self) -> dict[str, str]:
        """Return the headers by which the server is told how to encrypt an object."""
        needed = {
            "x-amz-server-side-encryption": self._settings.s3_sse,
            "x-amz-server-side-encryption-aws-kms-key-id": self._settings.s3_sse_kms_key_id,
        }
        return {name: value for name, value in needed.items() if value}

    @property
    def knows_checksums(self) -> bool:
        """Tell whether the server is known to take the newer checksums: AWS does, others refuse them."""
        host = urlsplit(self.address.endpoint_url or "//.amazonaws.com").hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def target(self) -> Target:
        """Return where the requests for data go: to where boto3 sends its own."""
        return self._target(is_signed=True)

    @functools.cached_property
    def anonymous_target(self) -> Target:
        """Return the address of the bucket for clients without credentials."""
        return self._target(is_signed=False)

    def _anonymous_client(self) -> S3Client:
        with self._lock:  # Sessions of boto3 are not for several threads.
            return self._connect(is_anonymous=True)

    def _target(self, *, is_signed: bool) -> Target:
        if plain := plain_target(self.address, self._settings.aws_environment.plain):
            return plain
        from hf_localize.s3 import client

        with self.client("", is_signed=is_signed) as lent:
            return client.target_of(lent, self.address.name)

    def _current_keys(self) -> Keys:
        if self._keys is not None:
            return self._keys
        if (found := self._chain[1]) is None:
            raise AccessDeniedError(f"{self.address}: {self.missing_credentials}")
        from hf_localize.s3 import client

        try:
            return client.keys_of(found)
        except HfLocalizeError:
            raise
        except client.ERRORS as exc:
            raise self._translate(exc, "") from without_frames(exc)

    def _translate(
        self, exc: BaseException, key: str, *, with_acl: bool = False
    ) -> HfLocalizeError | FileNotFoundError:
        from hf_localize.s3 import client

        if answer := client.answer_of(exc):
            status, code, message, operation = answer
            return self._error_of(key, status, code, message, operation, with_acl=with_acl)
        return client.error_for(exc, self._where(key))

    def _refused(self, exc: StatusError, key: str, operation: str) -> HfLocalizeError | FileNotFoundError:
        """Return the error for what the server answered to a request for data."""
        endpoint = self.address.endpoint_url
        problem = not_s3(endpoint, exc.status, exc.headers, exc.body) if endpoint else None
        if problem is not None:
            return problem
        code, message = code_and_message(exc)
        error = self._error_of(key, exc.status, code, message, operation)
        if isinstance(error, SlowDownError):
            error.retry_after_seconds = exc.retry_after_seconds
        return error

    def _error_of(
        self, key: str, status: int, code: str, message: str, operation: str, *, with_acl: bool = False
    ) -> HfLocalizeError | FileNotFoundError:
        if code == "NoSuchBucket":
            return RefusedError(f"{self.address}: there is no such bucket. Check HGLOC_S3_BUCKET_NAME.")
        named = "" if code == str(status) else code
        said = self._without_keys(" ".join(f"{status} {named} {message}".split()).rstrip("."))
        return error_of(self._where(key), said, status, code, operation, with_acl=with_acl)

    def _where(self, key: str) -> str:
        return f"{key or 'the keys'} in {self.address}"

    def _without_keys(self, said: str) -> str:
        """Return *said* without credentials: some servers quote what they refuse."""
        try:
            keys = self._current_keys()
        except HfLocalizeError:
            return said
        for used in (keys, *self._former_keys):
            for secret in (used.secret_key, used.token, used.access_key):
                said = said.replace(secret.reveal(), "…") if secret else said
        return said

    @property
    def _former_keys(self) -> Sequence[Keys]:
        found = self._found[1]
        return () if found is None else found.former


class _Answer(dict[str, Any]):
    """An S3 server's response. A missing field raises an error that says so, since another server sent it."""

    def __init__(self, problem: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._problem = problem

    def __missing__(self, name: str) -> NoReturn:
        raise RefusedError(f"{self._problem}: it has no {name}")


def time_of(answer: Any) -> float:
    """Return the time at which the server answered, by its own clock."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def content_md5(data: Any, md5: str | None = None) -> str:
    """Return the value of the header ``Content-MD5`` for *data*, whose *md5* (hex) may be known."""
    return base64.b64encode(bytes.fromhex(md5 or hex_md5(data))).decode()


def hex_md5(data: Any) -> str:
    """Return the MD5 of *data* in hexadecimal figures, as most servers' ETags have it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _static_keys(settings: Settings) -> Keys | None:
    """Return the keys that are set for us, if any are."""
    names = ["HGLOC_AWS_ACCESS_KEY_ID", "HGLOC_AWS_SECRET_ACCESS_KEY"]
    if bool(settings.aws_access_key_id) != bool(settings.aws_secret_access_key):
        present, missing = names if settings.aws_access_key_id else reversed(names)
        raise SettingsError(f"{missing} is not set, but {present} is: set both, or neither")
    if not settings.aws_access_key_id or not settings.aws_secret_access_key:
        return None
    return Keys(settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token)
