"""Large objects on their way into a bucket, in parts: begun, gone on with, completed, given up."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from hf_localize.errors import AccessDeniedError, HfLocalizeError, PreconditionFailedError, RefusedError
from hf_localize.s3.connection import Connection, content_md5, time_of
from hf_localize.s3.errors import MissingKeyError, NoSuchUploadError, NotPermittedError

_log = logging.getLogger(__name__)
#: An upload has at most 10,000 parts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MAX_PARTS = 10_000
_MD5 = re.compile("[0-9a-f]{32}")
#: What an interrupted run left and nobody has gone on with for so long is removed.
STALE_SECONDS = 24 * 3600


class MultipartUpload:
    """One object on its way into the bucket, part by part. Threads may send at the same time."""

    def __init__(
        self, connection: Connection, key: str, upload_id: str, parts_there: Mapping[int, str]
    ) -> None:
        self._connection = connection
        self._key = key
        self._id = upload_id
        #: ETags of the parts, without quotes; a part's is its MD5 (hex) on most servers.
        self.parts_there = dict(parts_there)

    def send(self, number: int, data: Any, md5: str | None = None) -> None:
        """Send the part *number*, counted from 1: a buffer of 5 MiB at least, but for the last.

        Args:
            md5: that of *data* (hex), where it is known.
        """
        query = f"partNumber={number}&uploadId={quote(self._id, safe='-_.~')}"
        guard = {"Content-MD5": content_md5(data, md5)}
        headers = self._connection.request(
            self._key, "UploadPart", lambda wire, name: wire.put(name, data, guard, query)
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
            answer = self._connection.call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                **condition,
            )
            _ = answer["ETag"]  # Else it is not done: something else than an S3 server has answered.
        except NoSuchUploadError:  # Done, and the answer was lost: boto3 has asked again.
            if self._etag_there() != etag_of_parts([self.parts_there[n] for n in range(1, count + 1)]):
                raise

    def _etag_there(self) -> str | None:
        try:
            found = self._connection.call("head_object", self._key)
        except MissingKeyError:
            return None
        return str(found["ETag"]).strip('"')

    def abort(self) -> None:
        """Remove the parts; nothing of the object is left."""
        self._connection.call("abort_multipart_upload", self._key, UploadId=self._id)

    def give_up(self) -> None:
        """Remove the parts, if that is permitted."""
        try:
            self.abort()
        except HfLocalizeError as exc:
            _log.warning("%s: parts of an abandoned upload stay: %s", self._key, exc)


def resume_upload(
    connection: Connection,
    key: str,
    part_bytes: int,
    *,
    metadata: Mapping[str, str],
    acl: Mapping[str, str] | None = None,
) -> MultipartUpload:
    """Go on with an upload of *key* that was interrupted, else begin one.

    Args:
        part_bytes: size of each part but the last; an upload with others is left alone.
        metadata: is recorded with the object that is begun.
        acl: the ACL of the object that is begun, as an argument for boto3.

    Raises:
        AclsDisabledError: the bucket refuses ACLs.
    """
    for upload_id in _interrupted(connection, key):
        try:
            parts = _parts_of(connection, key, upload_id)
        except NotPermittedError:
            break
        except NoSuchUploadError:  # Somebody has ended it meanwhile.
            continue
        most = max(parts, default=0)
        if all(size == part_bytes for number, (size, _) in parts.items() if number != most):
            there = {number: etag for number, (_, etag) in parts.items()}
            return MultipartUpload(connection, key, upload_id, there)
    begun = connection.call("create_multipart_upload", key, Metadata=dict(metadata), **(acl or {}))
    return MultipartUpload(connection, key, begun["UploadId"], {})


def abort_stale(connection: Connection, prefix: str) -> None:
    """Remove the parts of uploads below *prefix* that were begun more than a day ago and not ended."""
    uploads, now = _unended(connection, prefix)
    for item in uploads:
        if now - item["Initiated"].timestamp() > STALE_SECONDS:
            key = connection.address.relative(item["Key"])
            with contextlib.suppress(NoSuchUploadError, NotPermittedError):
                MultipartUpload(connection, key, item["UploadId"], {}).abort()


def part_bytes_of(size_bytes: int, least_bytes: int) -> int:
    """Return how large each part of an object is, at least *least_bytes*, that as many as may be suffice."""
    return max(least_bytes, -(-size_bytes // _MAX_PARTS))


def etag_of_parts(md5s: Iterable[str]) -> str:
    """Return the ETag that most servers give an object of parts with these MD5s (hex)."""
    parts = [bytes.fromhex(md5) if _MD5.fullmatch(md5) else b"" for md5 in md5s]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _interrupted(connection: Connection, key: str) -> list[str]:
    """Return the ids of uploads of *key* that were begun and not ended, the newest first."""
    uploads, _ = _unended(connection, key)
    own = [item for item in uploads if connection.address.relative(item["Key"]) == key]
    return [item["UploadId"] for item in sorted(own, key=lambda item: item["Initiated"], reverse=True)]


def _unended(connection: Connection, prefix: str) -> tuple[list[Any], float]:
    """Return boto3's word for the first 1,000 uploads below *prefix*, and what time the server has."""
    address = connection.address
    try:
        with connection.client(prefix) as client:
            found = client.list_multipart_uploads(Bucket=address.name, Prefix=address.key(prefix))
    except (AccessDeniedError, PreconditionFailedError, RefusedError, MissingKeyError):
        return [], 0.0  # It may not be permitted, or not be known; then everything is sent.
    return list(found.get("Uploads", [])), time_of(found)


def _parts_of(connection: Connection, key: str, upload_id: str) -> dict[int, tuple[int, str]]:
    """Return {number: (size in bytes, ETag without quotes)} of the parts that are there."""
    address = connection.address
    with connection.client(key) as client:
        pages = client.get_paginator("list_parts")
        return {
            part["PartNumber"]: (part["Size"], part["ETag"].strip('"'))
            for page in pages.paginate(Bucket=address.name, Key=address.key(key), UploadId=upload_id)
            for part in page.get("Parts", [])
        }
