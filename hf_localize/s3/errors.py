"""What S3 servers answer in place of what was asked for, in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    PreconditionFailedError,
    RefusedError,
    SlowDownError,
    UnreachableError,
)
from hf_localize.http.status import ARCHIVED, ArchivedError, is_final, place_in

_LOST_RACE = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_ACLS_OFF = frozenset({"AccessControlListNotSupported", "InvalidBucketAclWithObjectOwnership"})
_NOT_PERMITTED = frozenset({"AccessDenied", "403", "Forbidden"})
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "InvalidAccessKeyId"}
)
#: Codes by which a server refuses keys that may have been replaced since. HEAD gets only the status 400.
REPLACEABLE_KEYS = frozenset({"400", *_BAD_CREDENTIALS - {"RequestTimeTooSkewed"}})
#: They may also be said under the status 200.
_SLOW_DOWN = frozenset({"SlowDown", "ServiceUnavailable", "TooManyRequests"})
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
#: The operations on one object. A 404 to any other operation does not say that an object is missing.
_ON_ONE_OBJECT = frozenset(
    {
        *("GetObject", "HeadObject", "PutObject", "CopyObject", "DeleteObject"),
        *("UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts"),
    }
)
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

#: What helps, by the server's error code.
_REMEDIES = {
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), "Get new credentials"),
    "RequestTimeTooSkewed": "Set the clock of this machine",
}
#: A server names the missing right: for objects that KMS encrypts, it may be kms:Decrypt.
_NAMED_RIGHT = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)")
_HTML = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)


class NotPermittedError(AccessDeniedError):
    """The credentials are good, but a right is missing.

    A server says so for a missing key too where the ``ListBucket`` right is not granted.
    """


class AclsDisabledError(HfLocalizeError):
    """The bucket refuses ACLs (the default on AWS since 2023)."""


class MissingKeyError(HfLocalizeError, FileNotFoundError):
    """There is no such key."""


class NoSuchUploadError(RefusedError):
    """There is no such upload in parts, or no more."""


class NotS3Error(RefusedError):
    """What answers at the endpoint is no S3 server: a login page, a redirect, another web server."""


def not_s3(endpoint: str, status: int, headers: Mapping[str, str], body: bytes) -> NotS3Error | None:
    """Return the error for a response that no S3 server gives, or None.

    Args:
        headers: with names in small letters.
        body: its beginning at least; of a response that succeeded, what should be XML or JSON.
    """
    is_html = headers.get("content-type", "").startswith("text/html") or _HTML.match(body) is not None
    if 300 <= status < 400 and status != 304:
        if region := headers.get("x-amz-bucket-region"):
            return NotS3Error(
                f"{endpoint} is not the endpoint of the bucket, which is in the region {region}. At AWS, "
                f"unset HGLOC_S3_ENDPOINT_URL, and set HGLOC_AWS_DEFAULT_REGION={region}"
            )
        target = place_in(headers.get("location", ""))
        told = f"redirects ({status})"
        if target is not None:
            told += f" to {target}"
    elif body and is_html and (status < 300 or status in (404, 405)):
        told = f"answered with a web page ({status})"
    elif body and status in (404, 405) and b"<Code>" not in body and "x-amz-request-id" not in headers:
        told = f"answered {status} without S3's XML"
    else:
        return None
    return NotS3Error(f"{endpoint} is not an S3 endpoint: it {told}. Check HGLOC_S3_ENDPOINT_URL")


def error_of(
    where: str, said: str, status: int, code: str, operation: str, *, with_acl: bool = False
) -> HfLocalizeError | FileNotFoundError:
    """Return the error for a refusal.

    Args:
        where: what was asked for, and of whom.
        said: what the server said, without credentials.
        status, code: by which it said so.
        operation: as S3 calls it.
        with_acl: the request set an ACL.
    """
    if code == "NoSuchUpload":
        return NoSuchUploadError(f"{where}: {said} ({operation})")
    if code in _MISSING and operation in _ON_ONE_OBJECT:
        return MissingKeyError(f"{where}: {said}")
    if code in _LOST_RACE or status in (409, 412):
        return PreconditionFailedError(f"{where}: {said}")
    if code in _ACLS_OFF:
        return AclsDisabledError(f"{where}: {said}")
    if code in _NOT_PERMITTED:
        return NotPermittedError(f"{where}: {said}. {_lacking(operation, with_acl, said)}")
    if code == "InvalidObjectState":
        return ArchivedError(f"{where}: {said}. {ARCHIVED}")
    if status in (401, 403) or code in _BAD_CREDENTIALS:
        remedy = f". {_REMEDIES[code]}" if code in _REMEDIES else ""
        return AccessDeniedError(f"{where}: {said} ({operation}){remedy}")
    kind = UnreachableError
    if status in (429, 503) or code in _SLOW_DOWN:
        kind = SlowDownError
    elif code in _DAMAGED:
        pass
    elif is_final(status) and code != "RequestTimeout":
        kind = RefusedError
    return kind(f"{where}: {said} ({operation})")


def _lacking(operation: str, with_acl: bool, said: str) -> str:
    """Say which rights the credentials lack where *operation* was refused; *said*: by these words."""
    if named := _NAMED_RIGHT.search(said):
        told = f"The credentials lack the permission {named[1]}, or a policy denies it"
        if named[1] == "s3:PutObject" and "explicit deny" in said:
            told += ". If the policy demands encryption, set HGLOC_S3_SSE"
        return told
    rights = _RIGHTS.get(operation, f"s3:{operation}")
    if with_acl:
        rights = f"{rights} or s3:PutObjectAcl"
    missing = " (or there is no such key, and they lack s3:ListBucket)" if rights == "s3:GetObject" else ""
    return f"The credentials lack the permission {rights}{missing}, or a policy denies it"
