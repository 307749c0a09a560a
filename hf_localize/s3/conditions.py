"""Conditional writes: an object is written only if nobody else has written it meanwhile.

Endpoints differ: most refuse a write whose condition does not hold, some ignore conditions, some refuse
every write that has one, and Ceph's gateway answers 412 to each ``If-Match`` where the bucket keeps versions.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

from hf_localize.errors import PreconditionFailedError, RefusedError
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.errors import MissingKeyError, NotPermittedError
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
_PROBES = ".hgloc/probe"
_CONTENT = b"Tells whether the server heeds conditional writes. It may be removed.\n"
#: What nobody has removed for so long was left by a process that was killed.
_STALE_SECONDS = 24 * 3600
#: The ETag of no object.
_NOTHING = f'"{"0" * 32}"'
#: Writes under a condition, which it gets as arguments for boto3.
Write: TypeAlias = "Callable[[dict[str, Any]], object]"


def put_over(bucket: Bucket, key: str, data: bytes, etag: str | None, **extra: Any) -> None:
    """Write one object as :func:`write_over` does. *extra* is as for :meth:`Bucket.put`."""
    write_over(bucket, key, etag, lambda condition: bucket.put(key, data, **condition, **extra))


def write_over(bucket: Bucket, key: str, etag: str | None, write: Write) -> None:
    """Do *write* if what is at *key* is still the object with *etag* (None: nothing).

    Where conditions are of no use, what is there is looked at right before the write instead; two
    writers at the same moment are not kept apart then. An endpoint may also accept and ignore them.

    Raises:
        PreconditionFailedError: something else is there.
    """
    if bucket.heeds_conditions is not False:
        try:
            _write_if(etag, write)
        except (PreconditionFailedError, RefusedError) as exc:
            if isinstance(exc, PreconditionFailedError) and not _is_unchanged(bucket, key, etag):
                raise
            # There was no reason to refuse it. Perhaps each condition is refused.
            bucket.heeds_conditions = try_conditions(bucket)
            if bucket.heeds_conditions and isinstance(exc, PreconditionFailedError):
                raise
            _log.debug("%s does not support this conditional write: %s", bucket.address, exc)
        else:
            return
    if not _is_unchanged(bucket, key, etag):
        raise PreconditionFailedError(f"{key} in {bucket.address} was written by another process")
    write({})


def try_conditions(bucket: Bucket, key: str | None = None) -> bool:
    """Tell whether conditions are heeded: a wrong one makes a write fail, and a right one does not.

    Args:
        key: what to write for that, which nobody else writes. By default one of its own, which is removed.
    """
    own = key or f"{_PROBES}/{uuid.uuid4().hex}"
    etag = bucket.put(own, _CONTENT)
    try:
        are_heeded = refuses_wrong_conditions(lambda condition: bucket.put(own, _CONTENT, **condition))
        if are_heeded:
            _write_if(etag, lambda condition: bucket.put(own, _CONTENT, **condition))
        return are_heeded
    except (PreconditionFailedError, RefusedError):
        return False
    finally:
        if key is None:
            with contextlib.suppress(NotPermittedError):  # Who may not remove anything leaves it.
                left = [i.key for i in bucket.list_keys(f"{_PROBES}/") if i.age_seconds > _STALE_SECONDS]
                bucket.delete_all([own, *left])


def refuses_wrong_conditions(write: Write) -> bool:
    """Tell whether *write*, to an object that is there, fails under a condition that does not hold."""

    def is_refused(condition: dict[str, Any]) -> bool:
        try:
            write(condition)
        except (PreconditionFailedError, MissingKeyError):  # It may have been removed meanwhile.
            return True
        except RefusedError:  # So would be one that holds.
            return False
        return False

    return all(run_all(is_refused, ({"IfNoneMatch": "*"}, {"IfMatch": _NOTHING}), workers=2))


def _write_if(etag: str | None, write: Write) -> None:
    if etag is None:
        try:
            write({"IfNoneMatch": "*"})
        except MissingKeyError:  # It was removed while the server compared: nothing is there.
            write({"IfNoneMatch": "*"})
        return
    try:
        write({"IfMatch": etag})
    except (PreconditionFailedError, MissingKeyError):
        try:  # Ceph's gateway compares the ETag without its quotes.
            write({"IfMatch": etag.strip('"')})
        except MissingKeyError as exc:
            raise PreconditionFailedError(str(exc)) from exc


def _is_unchanged(bucket: Bucket, key: str, etag: str | None) -> bool:
    told = bucket.head_of(key)
    return (told and told.etag) == (etag and etag.strip('"'))
