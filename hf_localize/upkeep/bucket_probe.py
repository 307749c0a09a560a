"""What the bucket can do, and what the credentials may do there, by trying it.

What is put there for that has keys of its own, and is removed again. If removing is not permitted,
one object stays, always the same.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from hf_localize.errors import AccessDeniedError, HfLocalizeError, RefusedError, UnreachableError
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER
from hf_localize.http.client import TooShortError
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.public import public_policy
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.conditions import try_conditions
from hf_localize.s3.errors import NoSuchUploadError, NotPermittedError
from hf_localize.upkeep.findings import FAIL, OK, WARN, Finding, judged

_log = logging.getLogger(__name__)
_AREA = "bucket"
_PROBES = ".hgloc/probe"
_CONTENT = b"hg-localize doctor looks whether this can be written. It may be removed.\n"
_PAGE = "docs/permissions.md"
_MAX_SKEW_SECONDS = 300
#: What is missing without a publisher's right.
_WITHOUT = {
    "s3:DeleteObject": (
        "files that a replaced dataset no longer needs stay in the bucket; nothing can be removed"
    ),
    "s3:ListBucketMultipartUploads": "an interrupted upload of a large file starts from the beginning",
    "s3:ListMultipartUploadParts": "an interrupted upload of a large file starts from the beginning",
    "s3:AbortMultipartUpload": "parts of a failed upload stay until a lifecycle rule removes them",
}


def probe_bucket(bucket: Bucket, anyone: PublicFiles) -> Iterator[Finding]:
    """Yield what is found about *bucket*.

    Args:
        anyone: reads the bucket itself as somebody without credentials does.
    """
    if not bucket.has_credentials:
        told = f"none were found for {bucket.address}: only public datasets can be read"
        advice = (
            "set HGLOC_AWS_ACCESS_KEY_ID and HGLOC_AWS_SECRET_ACCESS_KEY, or AWS' own (profile, role). If "
            "you have none, leave the bucket out: HGLOC_SOURCES=local,public"
        )
        yield Finding(_AREA, "credentials", WARN, told, advice)
        return
    started = time.monotonic()
    try:
        listed = bucket.connection.ask(lambda: _list(bucket))
    except (HfLocalizeError, FileNotFoundError) as exc:
        yield _not_usable(exc)
        return
    milliseconds = (time.monotonic() - started) * 1000
    yield Finding(_AREA, "reachability", OK, f"{bucket.address} answers, in {milliseconds:.0f} ms")
    yield Finding(_AREA, "credentials", OK, "accepted")
    yield from _place(bucket, listed.headers)
    yield from _Trial(bucket, anyone, listed).findings()


@dataclass(frozen=True, slots=True)
class _CatalogEntry:
    """What the first listing answered."""

    may_list: bool
    first_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def _list(bucket: Bucket) -> _CatalogEntry:
    prefix = bucket.address.key("")
    try:
        with bucket.connection.client("") as client:
            found = client.list_objects_v2(Bucket=bucket.address.name, Prefix=prefix, MaxKeys=1)
    except NotPermittedError:
        return _CatalogEntry(may_list=False)
    first = next((item["Key"] for item in found.get("Contents", [])), None)
    headers = {str(k): str(v) for k, v in found["ResponseMetadata"]["HTTPHeaders"].items()}
    return _CatalogEntry(True, first and first.removeprefix(prefix), headers)


def _not_usable(exc: Exception) -> Finding:
    if isinstance(exc, AccessDeniedError):
        advice = (
            "check that the credentials belong to this endpoint, are complete and have not expired, "
            "and that the clock is right"
        )
        return Finding(_AREA, "credentials", FAIL, str(exc), advice)
    if isinstance(exc, RefusedError):
        return Finding(_AREA, "reachability", FAIL, str(exc), "check HGLOC_S3_BUCKET_NAME and the region")
    advice = "check HGLOC_S3_ENDPOINT_URL, proxies (HTTPS_PROXY, NO_PROXY), AWS_CA_BUNDLE and the firewall"
    return Finding(_AREA, "reachability", FAIL, str(exc), advice)


def _place(bucket: Bucket, headers: dict[str, str]) -> Iterator[Finding]:
    with bucket.connection.client("") as client:
        region = client.meta.region_name
    real = headers.get("x-amz-bucket-region")
    advice = f"set HGLOC_AWS_DEFAULT_REGION={real}: without it, each request is sent twice"
    told = f"requests are signed for {region}; the bucket is in {real}"
    yield judged(_AREA, "region", not real or real == region, region, told, advice)
    url, why = bucket.connection.target().url, bucket.connection.address.addressing_style
    style = "path" if urlsplit(url).path.endswith(f"/{bucket.address.name}") else "virtual-host"
    if bucket.address.addressing_style != "auto":
        reason = "HGLOC_S3_ADDRESSING_STYLE"
    else:
        reason = "as AWS' tools choose it" if why == "auto" else "the server refuses the path style"
    yield Finding(_AREA, "addressing", OK, f"{style} ({reason}): {url}")
    with contextlib.suppress(ValueError, OverflowError, KeyError):
        skew = time.time() - parsedate_to_datetime(headers["date"]).timestamp()
        told = f"{abs(skew):.0f} s from the server's"
        advice = "set the clock: servers refuse signatures that are more than 15 minutes off"
        yield judged(_AREA, "clock", abs(skew) <= _MAX_SKEW_SECONDS, told, told, advice)


class _Trial:
    """Everything that is tried in one bucket."""

    def __init__(self, bucket: Bucket, anyone: PublicFiles, listed: _CatalogEntry) -> None:
        self._bucket = bucket
        self._anyone = anyone
        self._listed = listed
        self._own = uuid.uuid4().hex

    def findings(self) -> Iterator[Finding]:
        """Yield the findings; then remove all test objects."""
        bucket = self._bucket
        may_delete = bool(_is_permitted(lambda: bucket.delete(f"{_PROBES}/{self._own}")))
        # What can't be removed has one name, so that there is never more than one.
        key = f"{_PROBES}/{self._own if may_delete else 'doctor'}"
        metadata = {"probe": self._own}
        may_put = _is_permitted(lambda: bucket.put(key, _CONTENT, Metadata=metadata))
        try:
            yield from self._reading(key if may_put else None)
            if may_put is None:
                advice = "to see the server's answer: hg-localize doctor -v"
                yield Finding(_AREA, "right s3:PutObject", WARN, "the server could not tell", advice)
            elif not may_put:
                told = "s3:PutObject is not granted: this machine can load, but not publish"
                yield Finding(_AREA, "publishing", OK, told, f"needed only for publishing: {_PAGE}")
            if not may_put:
                return
            yield Finding(_AREA, "right s3:PutObject", OK, "granted")
            yield from self._publishing(may_delete)
            yield from self._abilities(key)
            yield from self._versions()
            yield from self._outsiders(key, may_delete)
        finally:
            if may_put and may_delete:
                bucket.delete(key)

    def _reading(self, put: str | None) -> Iterator[Finding]:
        bucket, listed = self._bucket, self._listed
        if put is not None:
            granted = _is_permitted(lambda: bucket.get(put))
        elif listed.first_key is not None:
            first = listed.first_key
            granted = _is_permitted(lambda: bucket.open_range(first, 0, 1).close())
        else:
            granted = _is_permitted(lambda: bucket.get(f"{_PROBES}/{self._own}"))
        if granted:
            yield Finding(_AREA, "right s3:GetObject", OK, "granted")
        elif put is None and not listed.may_list:
            told = "not granted, or the object that was requested does not exist"
            yield Finding(_AREA, "right s3:GetObject", WARN, told, f"compare with {_PAGE}")
        else:
            advice = f"without it, nothing can be loaded from the bucket: {_PAGE}, Consumer"
            yield Finding(_AREA, "right s3:GetObject", FAIL, "not granted", advice)
        advice = (
            f"list-s3 needs it, and so does publishing if the server answers 403 for a missing key: {_PAGE}"
        )
        yield judged(_AREA, "right s3:ListBucket", listed.may_list, "granted", "not granted", advice)

    def _publishing(self, may_delete: bool) -> Iterator[Finding]:
        """Test the other permissions of a publisher, with a made-up upload id, so that no upload is begun."""
        name, key = self._bucket.address.name, self._bucket.address.key(f"{_PROBES}/{self._own}")

        def ask(operation: str, **arguments: Any) -> Callable[[], object]:
            def call() -> None:
                with self._bucket.connection.client(_PROBES) as client:
                    getattr(client, operation)(Bucket=name, **arguments)

            return call

        tried: dict[str, bool | None] = {
            "s3:DeleteObject": may_delete,
            "s3:ListBucketMultipartUploads": _is_permitted(ask("list_multipart_uploads", Prefix=key)),
            "s3:ListMultipartUploadParts": _is_permitted(ask("list_parts", Key=key, UploadId=self._own)),
            "s3:AbortMultipartUpload": _is_permitted(
                ask("abort_multipart_upload", Key=key, UploadId=self._own)
            ),
        }
        for right, granted in tried.items():
            if granted is None:
                yield Finding(_AREA, f"right {right}", WARN, "the server could not tell", _WITHOUT[right])
            else:
                advice = f"without it, {_WITHOUT[right]}: {_PAGE}, Publisher"
                yield judged(_AREA, f"right {right}", granted, "granted", "not granted", advice)

    def _abilities(self, key: str) -> Iterator[Finding]:
        bucket = self._bucket
        heeded = "If-Match and If-None-Match work"
        told = "they don't work, so publishers announce and repair changes of shared files instead"
        advice = "if you can, publish from one machine at a time, or use a newer server"
        yield judged(_AREA, "conditional writes", try_conditions(bucket, key), heeded, told, advice)
        wrong = base64.b64encode(bytes(16)).decode()
        name, is_refused = bucket.address.key(key), False
        try:
            with bucket.connection.client(key) as client:
                client.put_object(Bucket=bucket.address.name, Key=name, Body=_CONTENT, ContentMD5=wrong)
        except HfLocalizeError:
            is_refused = True
        if is_refused:
            yield Finding(_AREA, "checksums", OK, "data that was changed on the way is refused (Content-MD5)")
        elif bucket.connection.target().url.startswith("https://"):
            yield Finding(_AREA, "checksums", OK, "a wrong Content-MD5 is accepted, but TLS detects changes")
        else:
            advice = "use https://, which detects changes; readers check the sha256 in any case"
            yield Finding(_AREA, "checksums", WARN, "a wrong Content-MD5 is accepted", advice)
        bucket.put(key, _CONTENT, Metadata={"probe": self._own})
        head_of = bucket.head_of(key)
        is_kept = head_of is not None and head_of.metadata.get("probe") == self._own
        advice = "an interrupted upload starts again from the beginning"
        yield judged(_AREA, "metadata", is_kept, "is kept with objects", "is not kept with objects", advice)

    def _versions(self) -> Iterator[Finding]:
        """Yield a finding if the responses to earlier writes show that the bucket keeps versions."""
        if not self._bucket.keeps_versions:
            return
        told = "replaced and removed objects stay in the bucket as former versions"
        if _is_permitted(lambda: next(self._bucket.former_versions(_PROBES), None)):
            advice = (
                "a lifecycle rule for noncurrent versions can remove them; withdraw closes those of "
                "public ZIPs"
            )
            yield Finding(_AREA, "versions", OK, told, advice)
        else:
            advice = f"withdraw needs s3:ListBucketVersions to close those of public ZIPs: {_PAGE}"
            yield Finding(_AREA, "versions", WARN, told, advice)

    def _outsiders(self, key: str, may_delete: bool) -> Iterator[Finding]:
        """Check whether outsiders can read private data, and whether they could read shared data."""
        is_private, good = not self._can_anybody_read(key), "can't be read without credentials"
        told = "everyone can read the whole bucket without credentials, not only what is shared"
        advice = f"remove the policy that allows it: {_PAGE}"
        yield judged(_AREA, "private data", is_private, good, told, advice)
        if not may_delete:
            told = "not tried, because the test object could not be removed again"
            yield Finding(_AREA, "ACLs", WARN, told, f"grant s3:DeleteObject: {_PAGE}")
            return
        probe = f"{PUBLIC_ZIP_FOLDER}/hgloc-probe-{self._own}.txt"
        try:
            how = self._put_publicly(probe)
            is_readable = self._can_anybody_read(probe)
        except (HfLocalizeError, OSError) as exc:
            yield Finding(_AREA, "ACLs", WARN, f"could not be tried: {exc}", f"compare with {_PAGE}")
            return
        finally:
            self._bucket.delete(probe)
        if is_readable:
            yield Finding(_AREA, "ACLs", OK, f"{how}; everyone can read what --make-public shares")
        else:
            told = f"{how}; no one else could read what --make-public shares"
            advice = "needed only for public sharing; the bucket's owner can add this policy\n"
            yield Finding(_AREA, "ACLs", OK, told, advice + public_policy(self._bucket))

    def _can_anybody_read(self, key: str) -> bool:
        with contextlib.suppress(UnreachableError):  # What some servers say to who has no credentials.
            return self._anyone.is_readable(key)
        return False

    def _put_publicly(self, key: str) -> str:
        """Put *key* as `--make-public` puts a ZIP; return, in words, how that was taken."""
        refusal = self._bucket.write(lambda acl: self._bucket.put(key, _CONTENT, **acl))
        if refusal is None:
            return "ACLs are accepted"
        is_right = isinstance(refusal, NotPermittedError)
        return "s3:PutObjectAcl is not granted" if is_right else "ACLs are disabled"


def probe_public(public_files: PublicFiles, bucket: Bucket | None) -> Iterator[Finding]:
    """Yield findings about the shared datasets, as clients without credentials see them.

    Args:
        bucket: the same by credentials, where there are some.
    """
    from hf_localize.sources.public import PublicSource

    area, where = "public", public_files.base_url
    shared = None
    with contextlib.suppress(HfLocalizeError):
        shared = bucket.get(PUBLIC_RECORDS_KEY) if bucket is not None and bucket.has_credentials else None
    try:
        records = PublicSource(public_files, 1).records()
    except AccessDeniedError:
        records = None
    except UnreachableError as exc:
        advice = "check HGLOC_PUBLIC_URL, the endpoint and proxies"
        yield Finding(area, "reachability", FAIL, str(exc), advice)
        return
    except HfLocalizeError as exc:
        yield Finding(area, "records", FAIL, str(exc), "correct or remove that file in the bucket")
        return
    if records is None and shared is not None:
        told = f"{where}/{PUBLIC_RECORDS_KEY} exists, but can't be read without credentials"
        advice = "share a dataset again with --make-public, which prints the bucket policy that helps"
        yield Finding(area, "records", FAIL, told, advice)
        return
    if not records:
        if records is None and (bucket is None or not bucket.has_credentials):
            told = f"{where}/{PUBLIC_RECORDS_KEY} does not exist"
            advice = "check the address, or ask its publisher to share something"
            yield Finding(area, "records", WARN, told, advice)
        else:
            yield Finding(area, "records", OK, f"nothing is shared at {where}")
        return
    yield Finding(area, "records", OK, f"datasets shared at {where}: {len(records)}")
    is_readable = public_files.is_readable(records[0].zip_key)
    told = f"{public_files.url(records[0].zip_key)} can't be read"
    advice = f"check all of them: hg-localize verify --in public; {_PAGE}"
    yield judged(area, "ZIPs", is_readable, "the first one can be read", told, advice, FAIL)


def _is_permitted(attempt: Callable[[], object]) -> bool | None:
    """Tell whether *attempt* was permitted, also where there was nothing to do; None: it can't be told."""
    try:
        attempt()
    except NotPermittedError:
        return False
    except (FileNotFoundError, NoSuchUploadError, TooShortError):
        return True
    except HfLocalizeError as exc:
        _log.debug("the doctor was told: %s", exc)
        return None
    return True
