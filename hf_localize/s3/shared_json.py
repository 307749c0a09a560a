"""JSON objects in a bucket that several writers change, so that nobody's change is lost."""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from hf_localize.errors import ConflictError, IntegrityError, PreconditionFailedError
from hf_localize.format.sealed_json import parse_json
from hf_localize.s3 import changes
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.conditions import put_over, refuses_wrong_conditions

_TRIES = 30
#: Changes of shared JSON on endpoints without conditional writes.
_CHANGES = ".hgloc/changes"
#: Recorded with shared JSON: that its endpoint heeds conditions.
_CONDITIONS = "conditions"
_CONDITIONS_HEADER = f"x-amz-meta-{_CONDITIONS}"
#: A writer writes no later than this after it has read.
_LATEST_SECONDS = 900.0
#: What `Bucket.get_with_headers` returns of an object that is there.
Found: TypeAlias = "tuple[bytes, Mapping[str, str]]"


def read_json(bucket: Bucket, key: str) -> dict[str, Any]:
    """Return a shared JSON object; an empty one where there is none.

    Raises:
        IntegrityError: what is there is not a JSON object.
    """
    return _parsed(bucket, key, bucket.get(key))


def learn_conditions(bucket: Bucket, found: Found | None) -> None:
    """Take from a shared JSON object that was read whether the endpoint heeds conditions, if it says so."""
    if bucket.heeds_conditions is None and found and found[1].get(_CONDITIONS_HEADER) == _heeded(bucket):
        bucket.heeds_conditions = True


def update_json(
    bucket: Bucket,
    key: str,
    change: Callable[[dict[str, Any]], bool],
    *,
    public: bool,
    seen: Sequence[Found | None] = (),
) -> None:
    """Change a shared JSON object by compare-and-swap.

    On an endpoint that ignores conditions, or refuses each, a writer that is late would take away what
    others have written. There each change is an object of its own too, for as long as a writer may be
    late, and whoever writes goes on until a fresh read shows all of them.

    Args:
        change: alters the document in place; returns False where nothing is to be changed.
            It may be called several times, each time with what is in the bucket then.
        public: write it ``public-read`` where the bucket takes ACLs.
        seen: what was at *key* earlier, if it was read. Where conditions are heeded, this saves the first
            read: the write fails if anything has changed since.

    Raises:
        IntegrityError: what is in the bucket is not a JSON object. It is left as it is.
        ConflictError: other writers kept winning.
    """
    for attempt in range(_TRIES):
        is_fresh = attempt > 0 or not seen or not bucket.heeds_conditions
        found = bucket.get_with_headers(key) if is_fresh else seen[0]
        document = _parsed(bucket, key, found[0] if found else None)
        before = changes.slots(document)
        if not change(document):
            if is_fresh:
                return
            continue  # Somebody may have taken the change back since.
        learn_conditions(bucket, found)
        if found and bucket.heeds_conditions is None:
            bucket.heeds_conditions = _refuses_wrong(bucket, key, found[0], public)
        if bucket.heeds_conditions is not False:
            body, etag = _as_json(bucket, key, document), found[1].get("etag", "") if found else None
            known: dict[str, str] = {_CONDITIONS: _heeded(bucket)} if bucket.heeds_conditions else {}
            try:
                put_over(bucket, key, body, etag, Metadata=known, **_how(public))
            except PreconditionFailedError:
                _take_turns(attempt)
                continue
            if bucket.heeds_conditions is None:
                bucket.heeds_conditions = _refuses_wrong(bucket, key, body, public)
            if bucket.heeds_conditions:  # Else that write itself may have shown that they are not.
                return
        _update_together(bucket, key, changes.between(before, changes.slots(document)), public)
        return
    raise _kept_changing(bucket, key)


def _update_together(bucket: Bucket, key: str, change: changes.Change, public: bool) -> None:
    """Change a shared JSON object where conditions are of no use.

    Whoever writes last has read all changes that were announced before, so none is lost.
    """
    name = f"{_announcements(key)}{time.time_ns():020d}-{uuid.uuid4().hex}.json"
    bucket.put(name, changes.to_bytes(change))
    for attempt in range(_TRIES):
        document = read_json(bucket, key)
        if not changes.apply(document, _announced(bucket, key)):
            return
        bucket.put(key, _as_json(bucket, key, document), **_how(public))
        _take_turns(attempt)
    raise _kept_changing(bucket, key)


def _refuses_wrong(bucket: Bucket, key: str, body: bytes, public: bool) -> bool:
    """Tell whether wrong conditions are refused. Where they are not, *body* is there again: repair it."""
    return refuses_wrong_conditions(lambda condition: bucket.put(key, body, **_how(public), **condition))


def _how(public: bool) -> dict[str, Any]:
    # A cache must not give outsiders the records of yesterday.
    return {"public": True, "CacheControl": "no-cache"} if public else {}


def _heeded(bucket: Bucket) -> str:
    """Return what is recorded with shared JSON on this very endpoint, if it heeds conditions."""
    where = f"{bucket.address.endpoint_url} {bucket.address.name}"
    return f"heeded-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def _announced(bucket: Bucket, key: str) -> list[changes.Change]:
    """Return the changes that others may not have seen yet, the oldest first; remove older ones."""
    listed = sorted(
        bucket.list_keys(_announcements(key)), key=lambda info: (-round(info.age_seconds), info.key)
    )
    bucket.delete_all(info.key for info in listed if info.age_seconds > _LATEST_SECONDS)
    fresh = [info.key for info in listed if info.age_seconds <= _LATEST_SECONDS]
    return [changes.read(data, name) for name in fresh if (data := bucket.get(name)) is not None]


def _announcements(key: str) -> str:
    return f"{_CHANGES}/{quote(key, safe='')}/"


def _as_json(bucket: Bucket, key: str, document: Mapping[str, Any]) -> bytes:
    try:
        data = json.dumps(document, indent=1, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # Somebody's half of a surrogate pair, which stays as it came.
        data = json.dumps(document, indent=1).encode()
    _parsed(bucket, key, data)  # A reader would refuse what is too large, say: then it stays as it is.
    return data


def _parsed(bucket: Bucket, key: str, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {}
    where = f"{key} in {bucket.address}"
    document = parse_json(data, where)
    if not isinstance(document, dict):
        raise IntegrityError(f"{where} is not a JSON object, so it is not changed. Correct or remove it.")
    return document


def _kept_changing(bucket: Bucket, key: str) -> ConflictError:
    return ConflictError(f"{key} in {bucket.address} kept changing during {_TRIES} tries to update it")


def _take_turns(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.05 * min(attempt + 1, 10)))
