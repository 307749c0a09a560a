"""The team's bucket: the only module that knows S3.

Objects are read, and files sent, over `wire`; boto3 does the rest. Keys are relative to the prefix.
Errors of both are translated here, once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from hf_localize import changes
from hf_localize.crew import trying
from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    HfLocalizeError,
    IntegrityError,
    PreconditionFailedError,
    RefusedError,
    SettingsError,
    SlowDownError,
    UnreachableError,
)
from hf_localize.manifest import MAX_MANIFEST_BYTES, parse_json
from hf_localize.settings import Settings, current
from hf_localize.signing import Keys, Signer
from hf_localize.wire import StatusError, Wire

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

_UPDATE_TRIES = 30
_READ_TIMEOUT_SECONDS = 60.0
_MOST_DELETED = 1000
#: Changes of shared JSON on endpoints without conditional writes.
_CHANGES = ".hgloc/changes"
#: Recorded with shared JSON: that its endpoint heeds conditions.
_CONDITIONS = "conditions"
_CONDITIONS_HEADER = f"x-amz-meta-{_CONDITIONS}"
#: A writer writes no later than this after it has read.
_LATEST_SECONDS = 900.0
_MD5 = re.compile("[0-9a-f]{32}")
#: What an interrupted run left and nobody has gone on with for so long is removed.
STALE_SECONDS = 24 * 3600
_T = TypeVar("_T")
#: A region becomes a part of a host name.
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_LOST_RACE = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_ACLS_OFF = frozenset({"AccessControlListNotSupported", "InvalidBucketAclWithObjectOwnership"})
_NOT_PERMITTED = frozenset({"AccessDenied", "403", "Forbidden"})
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "InvalidAccessKeyId"}
)
#: They may also be said under the status 200.
_SLOW_DOWN = frozenset({"SlowDown", "ServiceUnavailable", "TooManyRequests"})
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
#: What was received is not what was sent: sent again it may come whole.
_DAMAGED = frozenset({"XAmzContentSHA256Mismatch", "BadDigest", "IncompleteBody"})
#: The rights (IAM actions) that an operation needs, as docs/permissions.md lists them.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_RIGHTS = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
}


class NotPermittedError(AccessDeniedError):
    """The credentials are good, but a right is missing.

    A server says so for a missing key too where the ``ListBucket`` right is not granted.
    """


class AclsDisabledError(HfLocalizeError):
    """The bucket refuses ACLs (the default on AWS since 2023)."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One listed object: its key, size in bytes and ETag (without quotes), and how old it is."""

    key: str
    size_bytes: int
    etag: str
    age_seconds: float = 0.0


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


class Bucket:
    """The configured bucket, with credentials.

    Pickles hold the address only: the process that unpickles takes its own credentials.
    """

    def __init__(self, settings: Settings) -> None:
        address = address_of(settings)
        if address is None:
            raise SettingsError("HGLOC_S3_BUCKET_NAME is not set: there is no bucket to use")
        self.address = address
        self._settings = settings
        self._clients: dict[int, S3Client] = {}
        self._data: Wire | None = None
        #: Whether the endpoint heeds conditions; None: it is not known yet.
        self._takes_conditions: bool | None = None
        #: Where AWS has said that the bucket is.
        self._region: str | None = None
        self._lock = threading.Lock()
        self._keys = _static_keys(settings)
        self._credentials = None if self._keys else _chained_credentials(settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.address,)

    def __repr__(self) -> str:
        return f"Bucket({self.address})"

    @property
    def has_credentials(self) -> bool:
        """Tell whether any credentials were found."""
        return self._keys is not None or self._credentials is not None

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes, or None where there is no such key."""
        found = self.get_with_etag(key)
        return found[0] if found else None

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Return the object's bytes and its ETag, or None where there is no such key."""
        found = self._read(key)
        return (found[0], found[1].get("etag", "")) if found else None

    def _read(self, key: str) -> tuple[bytes, Mapping[str, str]] | None:
        """Return the object's bytes, and the headers that came with them; None: there is no such key."""
        found: list[tuple[bytes, Mapping[str, str]]] = []

        def read() -> None:
            with self._moving(key, "GetObject", lambda wire, name: wire.get(name)) as body:
                data = body.read_all(MAX_MANIFEST_BYTES + 1)
                if len(data) > MAX_MANIFEST_BYTES:
                    raise IntegrityError(
                        f"{key} in {self.address} has more than {MAX_MANIFEST_BYTES} bytes: too many"
                    )
                found.append((data, body.headers))

        with contextlib.suppress(_MissingKeyError):
            trying(key, read)
        return found[0] if found else None

    def open_range(self, key: str, start: int = 0, stop: int | None = None) -> io.RawIOBase:
        """Return the object's bytes from *start* to before *stop* (None: its end) for one reading.

        Raises:
            FileNotFoundError: there is no such key.
            UnreachableError: also from a read, where the connection breaks.
        """
        return self._moving(key, "GetObject", lambda wire, name: wire.get(name, start, stop))

    def told_of(self, key: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the object's ETag (without quotes) and what its uploader recorded; None: there is none."""
        try:
            found = self._call("head_object", key)
        except _MissingKeyError:
            return None
        return found["ETag"].strip('"'), found["Metadata"]

    def put(self, key: str, data: bytes, *, public: bool = False, **extra: Any) -> None:
        """Write one object.

        Args:
            public: give it the ``public-read`` ACL.
            extra: ``IfMatch`` or ``IfNoneMatch``; ``Metadata``.

        Raises:
            PreconditionFailedError: the condition did not hold.
            AclsDisabledError: the bucket refuses ACLs.
        """
        acl = {"ACL": "public-read"} if public else {}
        self._call("put_object", key, Body=data, ContentMD5=_md5(data), **acl, **extra)

    def put_over(
        self, key: str, data: bytes, etag: str | None, *, public: bool = False, **extra: Any
    ) -> None:
        """Write one object if what is there is still the one with *etag* (None: nothing).

        An endpoint may accept the condition and ignore it.

        Raises:
            PreconditionFailedError: something else is there.
        """
        if etag is None:
            self.put(key, data, public=public, IfNoneMatch="*", **extra)
            return
        try:
            self.put(key, data, public=public, IfMatch=etag, **extra)
        except (PreconditionFailedError, _MissingKeyError):
            try:  # Ceph's gateway compares the ETag without its quotes.
                self.put(key, data, public=public, IfMatch=etag.strip('"'), **extra)
            except _MissingKeyError as exc:
                raise PreconditionFailedError(str(exc)) from exc

    def put_file(self, key: str, data: Any, sha256: str) -> None:
        """Write one small object, whose *sha256* (hex) is signed and recorded."""
        headers = {"x-amz-content-sha256": sha256, "x-amz-meta-sha256": sha256}
        self._moving(
            key, "PutObject", lambda wire, name: wire.put(name, data, headers | _guarded(wire, data))
        )

    def resume_upload(
        self, key: str, part_bytes: int, *, metadata: Mapping[str, str], public: bool = False
    ) -> MultipartUpload:
        """Go on with an upload of *key* that was interrupted, else begin one.

        Args:
            part_bytes: size of each part but the last; an upload with others is left alone.
            metadata: is recorded with the object that is begun.
            public: give it the ``public-read`` ACL.

        Raises:
            AclsDisabledError: the bucket refuses ACLs.
        """
        for upload_id in self._interrupted_uploads(key):
            try:
                parts = self._parts(key, upload_id)
            except NotPermittedError:
                break
            except _NoSuchUploadError:  # Somebody has ended it meanwhile.
                continue
            most = max(parts, default=0)
            if all(size == part_bytes for number, (size, _) in parts.items() if number != most):
                there = {number: etag for number, (_, etag) in parts.items()}
                return MultipartUpload(self, key, upload_id, there)
        acl: dict[str, Any] = {"ACL": "public-read"} if public else {}
        begun = self._call("create_multipart_upload", key, Metadata=dict(metadata), **acl)
        return MultipartUpload(self, key, begun["UploadId"], {})

    def abort_stale(self, prefix: str) -> None:
        """Remove the parts of uploads below *prefix* that were begun more than a day ago and not ended."""
        uploads, now = self._unended_uploads(prefix)
        for item in uploads:
            if _age(item["Initiated"], now) > STALE_SECONDS:
                with contextlib.suppress(_NoSuchUploadError, NotPermittedError):
                    MultipartUpload(self, self._relative(item["Key"]), item["UploadId"], {}).abort()

    def _interrupted_uploads(self, key: str) -> list[str]:
        """Return the ids of uploads of *key* that were begun and not ended, the newest first."""
        uploads = [item for item in self._unended_uploads(key)[0] if self._relative(item["Key"]) == key]
        return [item["UploadId"] for item in sorted(uploads, key=lambda u: u["Initiated"], reverse=True)]

    def _unended_uploads(self, prefix: str) -> tuple[list[Any], float]:
        """Return boto3's word for the first 1,000 uploads below *prefix*, and what time the server has."""
        try:
            with self._asking(prefix) as client:
                found = client.list_multipart_uploads(
                    Bucket=self.address.name, Prefix=self.address.key(prefix)
                )
        except (AccessDeniedError, PreconditionFailedError, RefusedError, _MissingKeyError):
            return [], 0.0  # It may not be permitted, or not be known; then everything is sent.
        return list(found.get("Uploads", [])), _time_of(found)

    def _parts(self, key: str, upload_id: str) -> dict[int, tuple[int, str]]:
        """Return {number: (size in bytes, ETag without quotes)} of the parts that are there."""
        name = self.address.key(key)
        with self._asking(key) as client:
            pages = client.get_paginator("list_parts")
            return {
                part["PartNumber"]: (part["Size"], part["ETag"].strip('"'))
                for page in pages.paginate(Bucket=self.address.name, Key=name, UploadId=upload_id)
                for part in page.get("Parts", [])
            }

    def delete(self, key: str) -> None:
        """Remove one object; success where there is none."""
        self._call("delete_object", key)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, 1,000 with one request, as S3's ``DeleteObjects`` takes them.

        What is refused so is removed by itself: some servers don't have it, and Ceph's gateway wants a
        right on the bucket for it that nothing else needs.

        Raises:
            AccessDeniedError: the first that could not be removed was refused.
            UnreachableError: it failed in another way.
        """
        names = sorted(keys)
        for start in range(0, len(names), _MOST_DELETED):
            some = names[start : start + _MOST_DELETED]
            try:
                left = self._delete_some(some)
            except (NotPermittedError, RefusedError):
                left = some
            for key in left:
                self.delete(key)

    def _delete_some(self, keys: Sequence[str]) -> list[str]:
        """Remove up to 1,000 objects with one request; return the keys of those that stay."""
        objects: list[Any] = [{"Key": self.address.key(key)} for key in keys]
        with self._asking(keys[0]) as client:
            done = client.delete_objects(Bucket=self.address.name, Delete={"Objects": objects, "Quiet": True})
        return [self._relative(failed["Key"]) for failed in done.get("Errors", [])]

    def copy(self, source_key: str, key: str) -> bool:
        """Have the server copy an object with its metadata. False: it does not, and nothing is there."""
        source: Any = {"Bucket": self.address.name, "Key": self.address.key(source_key)}
        try:
            self._call("copy_object", key, CopySource=source)
        except (AccessDeniedError, RefusedError, _MissingKeyError):
            return False
        return True

    def list_keys(self, prefix: str) -> Iterator[KeyInfo]:
        """Yield every object under *prefix*, at 1,000 a request."""
        for page in self._pages(prefix):
            now = _time_of(page)
            for item in page.get("Contents", []):
                key, etag = self._relative(item["Key"]), item["ETag"].strip('"')
                yield KeyInfo(key, item["Size"], etag, _age(item["LastModified"], now))

    def list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the folder names and the file names directly under *prefix* (``a/b/`` or empty)."""
        pages = list(self.folder_pages(prefix))
        return [name for page, _ in pages for name in page], [name for _, page in pages for name in page]

    def folder_pages(self, prefix: str) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the same in pages, each of one request: 1,000 names or fewer."""
        for page in self._pages(prefix, Delimiter="/"):
            folders = [self._relative(item["Prefix"]) for item in page.get("CommonPrefixes", [])]
            files = [self._relative(item["Key"]) for item in page.get("Contents", [])]
            yield (
                [name.removeprefix(prefix).rstrip("/") for name in folders],
                [name.removeprefix(prefix) for name in files],
            )

    def update_json(self, key: str, change: Callable[[dict[str, Any]], bool], *, public: bool) -> None:
        """Change a shared JSON object by compare-and-swap.

        On an endpoint that ignores conditions, a writer that is late would take away what others
        have written. There each change is an object of its own too, for as long as a writer may be
        late, and whoever writes goes on until a fresh read shows all of them.

        Args:
            change: alters the document in place; returns False where nothing is to be changed.
                It may be called several times, each time with what is in the bucket then.
            public: write it ``public-read`` where the bucket takes ACLs.

        Raises:
            IntegrityError: what is in the bucket is not a JSON object. It is left as it is.
            ConflictError: other writers kept winning.
        """
        for attempt in range(_UPDATE_TRIES):
            found = self._read(key)
            document = self._shared(key, found)
            if not change(document):
                return
            if not self._heeds_conditions(key, found, public):
                self._update_together(key, change, public)
                return
            body = json.dumps(document, indent=1, ensure_ascii=False).encode()
            etag = found[1].get("etag", "") if found else None
            try:
                self._put_shared(key, body, etag, public)
            except PreconditionFailedError:
                _take_turns(attempt)
            # The loop ends when a fresh read shows the change.
        raise ConflictError(f"{key} in {self.address} kept changing under {_UPDATE_TRIES} tries to update it")

    def _update_together(self, key: str, change: Callable[[dict[str, Any]], bool], public: bool) -> None:
        """Change a shared JSON object where conditions are ignored.

        Whoever writes last has read all changes that were announced before, so none is lost.
        """
        document, _ = self.read_json(key)
        before = changes.slots(document)
        if not change(document):
            return
        self._announce(key, changes.between(before, changes.slots(document)))
        for attempt in range(_UPDATE_TRIES):
            document, _ = self.read_json(key)
            if not changes.apply(document, self._announced(key)):
                return
            body = json.dumps(document, indent=1, ensure_ascii=False).encode()
            self._put_publicly(key, body) if public else self.put(key, body)
            _take_turns(attempt)
        raise ConflictError(f"{key} in {self.address} kept changing under {_UPDATE_TRIES} tries to update it")

    def _heeds_conditions(
        self, key: str, found: tuple[bytes, Mapping[str, str]] | None, public: bool
    ) -> bool:
        """Tell whether the endpoint refuses a write whose condition does not hold.

        What is shared says so, if it was written here; else a write that must fail shows it. Where it
        does not fail, it changes nothing that is not repaired right afterwards.
        """
        if self._takes_conditions is None and found and found[1].get(_CONDITIONS_HEADER) == self._heeded:
            self._takes_conditions = True
        if self._takes_conditions is None:
            try:
                never: dict[str, Any] = {"IfMatch": f'"{"0" * 32}"'}
                data = found[0] if found else b"{}"
                self._put_publicly(key, data, **never) if public else self.put(key, data, **never)
                self._takes_conditions = False
            except (PreconditionFailedError, _MissingKeyError):
                self._takes_conditions = True
            except RefusedError:
                self._takes_conditions = False
        return self._takes_conditions

    @property
    def _heeded(self) -> str:
        """Return what is recorded with shared JSON on this very endpoint, if it heeds conditions."""
        where = f"{self.address.endpoint_url} {self.address.name}"
        return f"heeded-{hashlib.sha256(where.encode()).hexdigest()[:8]}"

    def _announce(self, key: str, change: changes.Change) -> None:
        name = f"{_CHANGES}/{quote(key, safe='')}/{time.time_ns():020d}-{uuid.uuid4().hex}.json"
        self.put(name, changes.to_bytes(change))

    def _announced(self, key: str) -> list[changes.Change]:
        """Return the changes that others may not have seen yet, the oldest first; remove older ones."""
        listed = sorted(
            self.list_keys(f"{_CHANGES}/{quote(key, safe='')}/"),
            key=lambda info: (-round(info.age_seconds), info.key),
        )
        self.delete_all(info.key for info in listed if info.age_seconds > _LATEST_SECONDS)
        fresh = [info.key for info in listed if info.age_seconds <= _LATEST_SECONDS]
        return [changes.read(data, name) for name in fresh if (data := self.get(name)) is not None]

    def _put_publicly(self, key: str, body: bytes, **condition: Any) -> None:
        try:
            self.put(key, body, public=True, **condition)
        except AclsDisabledError:
            self.put(key, body, **condition)

    def _put_shared(self, key: str, body: bytes, etag: str | None, public: bool) -> None:
        metadata = {_CONDITIONS: self._heeded}
        try:
            self.put_over(key, body, etag, public=public, Metadata=metadata)
        except (AclsDisabledError, NotPermittedError):  # A bucket policy may open it.
            if not public:
                raise
            self.put_over(key, body, etag, Metadata=metadata)

    def read_json(self, key: str) -> tuple[dict[str, Any], str | None]:
        """Return a shared JSON object and its ETag; an empty one and None where there is none.

        Raises:
            IntegrityError: what is there is not a JSON object.
        """
        found = self._read(key)
        return self._shared(key, found), found[1].get("etag", "") if found else None

    def _shared(self, key: str, found: tuple[bytes, Mapping[str, str]] | None) -> dict[str, Any]:
        if found is None:
            return {}
        where = f"{key} in {self.address}"
        document = parse_json(found[0], where)
        if not isinstance(document, dict):
            raise IntegrityError(f"{where} is not a JSON object; it is left as it is. Mend or remove it.")
        return document

    def _pages(self, prefix: str, **extra: Any) -> Iterator[Any]:
        full = self.address.key(prefix) if prefix or not self.address.prefix else f"{self.address.prefix}/"
        with self._asking(prefix) as client:
            pages = client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.address.name, Prefix=full, **extra)

    def _relative(self, key: str) -> str:
        return key.removeprefix(f"{self.address.prefix}/") if self.address.prefix else key

    def _call(self, operation: str, key: str, **arguments: Any) -> Any:
        with self._asking(key, with_acl="ACL" in arguments) as client:
            return getattr(client, operation)(
                Bucket=self.address.name, Key=self.address.key(key), **arguments
            )

    @contextlib.contextmanager
    def _asking(self, key: str, *, with_acl: bool = False) -> Iterator[S3Client]:
        """Lend boto3's client, and translate what it raises; *with_acl*: the request sets an ACL."""
        from hf_localize import aws

        try:
            yield self._client()
        except aws.CallerError:
            raise  # A mistake of ours, not of the server's.
        except aws.ERRORS as exc:
            # A traceback shows causes, and some servers quote credentials that they refuse.
            quotes_keys = self._without_keys(f"{exc}") != f"{exc}"
            raise self._translate(exc, key, with_acl=with_acl) from (None if quotes_keys else exc)

    def _client(self) -> S3Client:
        # A connection must not be shared across fork, so each process has its own client.
        from hf_localize import aws

        with self._lock:
            if os.getpid() not in self._clients:
                self._clients[os.getpid()] = aws.connect(
                    self._settings,
                    self._credentials,
                    endpoint_url=self.address.endpoint_url,
                    region=self.address.region,
                    read_timeout_seconds=_READ_TIMEOUT_SECONDS,
                )
            return self._clients[os.getpid()]

    def _moving(self, key: str, operation: str, work: Callable[[Wire, str], _T]) -> _T:
        """Do *work*, which S3 calls *operation*, with the connections for data and the quoted key."""
        name = quote(self.address.key(key), safe="/-_.~")
        try:
            try:
                return work(self._wire(), name)
            except StatusError as exc:
                region = exc.headers.get("x-amz-bucket-region")
                if (
                    not region
                    or not _REGION.fullmatch(region)
                    or self.address.endpoint_url
                    or region == self._region
                ):
                    raise
                self._region, self._data = region, None  # AWS says where the bucket really is.
                return work(self._wire(), name)
        except StatusError as exc:
            raise self._refused(exc, key, operation) from exc

    def _wire(self) -> Wire:
        with self._lock:
            if self._data is not None:
                return self._data
        url, region = self._data_address()
        wire = Wire(
            url,
            timeout_seconds=_READ_TIMEOUT_SECONDS,
            ca_bundle=dict(self._settings.aws_environment).get("AWS_CA_BUNDLE"),
            sign=Signer(self._current_keys, region),
            bytes_per_second=self._settings.max_bandwidth,
        )
        with self._lock:
            self._data = self._data or wire
            return self._data

    def _data_address(self) -> tuple[str, str]:
        """Return the bucket's URL and region."""
        address = self.address
        if address.endpoint_url and address.region:
            return f"{address.endpoint_url}/{quote(address.name)}", address.region
        if address.endpoint_url and not _aws_is_configured(self._settings):
            return f"{address.endpoint_url}/{quote(address.name)}", "us-east-1"
        if self._region:
            return replace(address, region=self._region, prefix="").url, self._region
        # What boto3 signs shows where and in which form it addresses the bucket.
        with self._asking("") as client:
            shown = client.generate_presigned_url("get_object", Params={"Bucket": address.name, "Key": "k"})
            return shown.partition("?")[0].removesuffix("/k"), client.meta.region_name

    def _current_keys(self) -> Keys:
        if self._keys is not None:
            return self._keys
        if self._credentials is None:
            raise AccessDeniedError(f"there are no credentials for {self.address}")
        from hf_localize import aws

        try:
            frozen = self._credentials.get_frozen_credentials()
        except aws.ERRORS as exc:
            raise self._translate(exc, "") from exc
        return Keys(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    def _translate(
        self, exc: BaseException, key: str, *, with_acl: bool = False
    ) -> HfLocalizeError | FileNotFoundError:
        from hf_localize import aws

        where = f"{key or 'the keys'} in {self.address}"
        if answer := aws.answer_of(exc):
            status, code, message, operation = answer
            return self._error_of(key, status, code, message, operation, with_acl=with_acl)
        if aws.is_about_credentials(exc):
            return AccessDeniedError(f"no usable credentials for {where}: {exc}")
        return UnreachableError(
            f"{where}: {aws.words_of(exc)}. Is HGLOC_S3_ENDPOINT_URL right, and in reach from here?"
        )

    def _refused(self, exc: StatusError, key: str, operation: str) -> HfLocalizeError | FileNotFoundError:
        """Return the error for what the server answered to a request for data."""
        said = exc.body.decode(errors="replace")
        code, message = (
            found.group(1) if (found := re.search(f"<{name}>([^<]*)</{name}>", said)) else ""
            for name in ("Code", "Message")
        )
        if exc.status == 404 and not code:
            code = "404"
        error = self._error_of(key, exc.status, code, message, operation)
        if isinstance(error, SlowDownError):
            error.retry_after_seconds = exc.retry_after_seconds
        return error

    def _error_of(
        self, key: str, status: int, code: str, message: str, operation: str, *, with_acl: bool = False
    ) -> HfLocalizeError | FileNotFoundError:
        where = f"{key or 'the keys'} in {self.address}"
        answer = self._without_keys(f"{status} {code} {message}".strip().rstrip("."))
        if code == "NoSuchBucket":
            return RefusedError(f"{self.address}: there is no such bucket. Check HGLOC_S3_BUCKET_NAME.")
        if code == "NoSuchUpload":
            return _NoSuchUploadError(f"{where}: {answer} ({operation})")
        if code in _MISSING:
            return _MissingKeyError(f"{where}: {answer}")
        if code in _LOST_RACE or status in (409, 412):
            return PreconditionFailedError(f"{where}: {answer}")
        if code in _ACLS_OFF:
            return AclsDisabledError(f"{where}: {answer}")
        if code in _NOT_PERMITTED:
            return NotPermittedError(f"{where}: {answer}. {_lacking(operation, with_acl)}")
        if status in (401, 403) or code in _BAD_CREDENTIALS:
            return AccessDeniedError(f"{where}: {answer} ({operation})")
        kind = UnreachableError
        if status in (429, 503) or code in _SLOW_DOWN:
            kind = SlowDownError
        elif code in _DAMAGED:
            pass
        elif status in (400, 405, 501) and code != "RequestTimeout":
            kind = RefusedError
        return kind(f"{where}: {answer} ({operation})")

    def _without_keys(self, said: str) -> str:
        """Return *said* without credentials: some servers quote what they refuse."""
        try:
            keys = self._current_keys()
        except HfLocalizeError:
            return said
        for secret in (keys.secret_key, keys.token, keys.access_key):
            said = said.replace(secret, "…") if secret else said
        return said


class MultipartUpload:
    """One object on its way into the bucket, part by part. Threads may send at the same time."""

    def __init__(self, bucket: Bucket, key: str, upload_id: str, parts_there: Mapping[int, str]) -> None:
        self._bucket = bucket
        self._key = key
        self._id = upload_id
        #: ETags of the parts, without quotes; a part's is its MD5 (hex) on most servers.
        self.parts_there = dict(parts_there)

    def send(self, number: int, data: Any) -> None:
        """Send the part *number*, counted from 1: a buffer of 5 MiB at least, but for the last."""
        query = f"partNumber={number}&uploadId={quote(self._id, safe='-_.~')}"
        headers = self._bucket._moving(
            self._key, "UploadPart", lambda wire, name: wire.put(name, data, _guarded(wire, data), query)
        )
        self.parts_there[number] = headers.get("etag", "").strip('"')

    def complete(self, count: int, **condition: str) -> None:
        """Make the object of its first *count* parts: an interrupted upload of other content had more.

        Args:
            condition: ``IfNoneMatch``.

        Raises:
            PreconditionFailedError: the condition did not hold.
        """
        parts = [{"PartNumber": n, "ETag": f'"{self.parts_there[n]}"'} for n in range(1, count + 1)]
        try:
            self._bucket._call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                **condition,
            )
        except _NoSuchUploadError:  # Done, and the answer was lost: botocore has asked again.
            told = self._bucket.told_of(self._key)
            if told is None or told[0] != etag_of_parts([self.parts_there[n] for n in range(1, count + 1)]):
                raise

    def abort(self) -> None:
        """Remove the parts; nothing of the object is left."""
        self._bucket._call("abort_multipart_upload", self._key, UploadId=self._id)


def _lacking(operation: str, with_acl: bool) -> str:
    """Say which rights the credentials lack where *operation* was refused."""
    rights = _RIGHTS.get(operation, f"s3:{operation}")
    if with_acl:
        rights = f"{rights} or s3:PutObjectAcl"
    missing = " (or there is no such key, and they lack s3:ListBucket)" if rights == "s3:GetObject" else ""
    return f"The credentials lack the right {rights}{missing}, or a policy denies it"


def _guarded(wire: Wire, data: Any) -> dict[str, str]:
    """Return the header by which a server notices that *data* was changed on its way.

    ``Content-MD5`` is what all servers check that were tried: some let a wrong hash of a signed payload
    pass, others a wrong CRC, and the newer checksums must be agreed on for a whole multipart upload.
    TLS notices changes itself; then nothing is hashed twice.
    """
    return {} if wire.is_tls else {"Content-MD5": _md5(data)}


def _md5(data: Any) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


class _NoSuchUploadError(RefusedError):
    """There is no such upload in parts, or no more."""


class _MissingKeyError(HfLocalizeError, FileNotFoundError):
    """There is no such key."""


def _take_turns(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.05 * min(attempt + 1, 10)))


def etag_of_parts(md5s: Iterable[str]) -> str:
    """Return the ETag that most servers give an object of parts with these MD5s (hex)."""
    parts = [bytes.fromhex(md5) if _MD5.fullmatch(md5) else b"" for md5 in md5s]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _time_of(answer: Any) -> float:
    """Return the time at which the server answered, by its own clock."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(said).timestamp()
    except ValueError:
        return time.time()


def _age(moment: datetime, now: float) -> float:
    return now - moment.timestamp()


def _reopen(address: BucketAddress) -> Bucket:
    return Bucket(
        replace(
            current(),
            s3_bucket_name=address.name,
            s3_endpoint_url=address.endpoint_url,
            aws_default_region=address.region,
            s3_data_prefix=address.prefix,
        )
    )


def _static_keys(settings: Settings) -> Keys | None:
    """Return the keys that are set for us, if any are."""
    if bool(settings.aws_access_key_id) != bool(settings.aws_secret_access_key):
        raise SettingsError(
            "HGLOC_AWS_ACCESS_KEY_ID and HGLOC_AWS_SECRET_ACCESS_KEY go together; one is not set"
        )
    if not settings.aws_access_key_id or not settings.aws_secret_access_key:
        return None
    return Keys(settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token)


def _chained_credentials(settings: Settings) -> Credentials | None:
    from hf_localize import aws

    return aws.chained_credentials(settings)


def _aws_is_configured(settings: Settings) -> bool:
    """Tell whether a file for AWS' own tools may say what region is meant."""
    return Path(dict(settings.aws_environment).get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser().exists()
