"""The dataset ids that begin with some letters, for a shell to complete; and those like a wrong one.

A key press must not wait: the bucket, or what is public, is asked at most once in a few minutes, by one
request for a moment, and whatever goes wrong is as if there were nothing.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from hf_localize.errors import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

#: How long the answer of a bucket is good, and how long a bucket that did not answer is left alone.
_FRESH_SECONDS, _SILENT_SECONDS = 300.0, 60.0
_MAX_SECONDS = 2.0


def dataset_ids(beginning: str) -> list[str]:
    """Return the ids that begin so, of the store, and of the bucket or what is public; never raises."""
    found: set[str] = set()
    for ids in (_of_store, _of_bucket):
        with contextlib.suppress(Exception):
            found |= set(ids(beginning))
    return sorted(name for name in found if name.startswith(beginning))


def near_ids(dataset_id: str, kind: str | None, message: str = "") -> str:
    """Return, as a line for an error, the ids of the store and the bucket that are most like *dataset_id*.

    Args:
        kind: of the error; an id of which there is a damaged copy, for instance, is no mistake.
        message: of the error, which may have such a line.
    """
    if kind not in ("not found", "denied", "unreachable") or "\nDid you mean " in message:
        return ""
    return did_you_mean(dataset_id, dataset_ids(""))


def _of_store(_: str) -> list[str]:
    from hf_localize.sources.session import current_session

    return [ref.dataset_id for ref in current_session().store.refs()]


def _of_bucket(beginning: str) -> list[str]:
    """Return what the bucket has, as it was asked a short time ago, or as it is asked now."""
    from hf_localize.settings import cache_folder
    from hf_localize.sources.session import current_session

    session = current_session()
    settings = session.settings
    if settings.offline or not (settings.s3_bucket_name or settings.public_url):
        return []
    import hashlib

    # What one account may list another may not: each has its own.
    who = (settings.s3_bucket_name, settings.s3_endpoint_url, settings.s3_data_prefix, settings.public_url)
    key_id = settings.aws_access_key_id
    account = key_id and hashlib.sha256(key_id.reveal().encode()).hexdigest()
    key = repr((*who, account, settings.aws_environment.plain.get("AWS_PROFILE")))
    path = cache_folder() / f"ids-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    now = time.time()
    known = {asked: value for asked, value in _read(path).items() if 0 <= now - value[0] < _FRESH_SECONDS}
    for asked in sorted(known, key=len, reverse=True):
        moment, ids = known[asked]
        if beginning.startswith(asked) and (ids is not None or now - moment < _SILENT_SECONDS):
            return ids or []
    try:
        ids, is_all = _ask(beginning, session)
    except Exception:  # noqa: BLE001  # It was asked in vain, and is left alone for a while.
        ids = []
        known[""] = (now, None)
    else:
        known = {asked: value for asked, value in known.items() if value[1] is not None}
        if is_all:  # Else each further letter is asked for again.
            known[beginning] = (now, ids)
    _write(path, known)
    return ids


def _ask(beginning: str, session: Any) -> tuple[list[str], bool]:
    """Return up to 1,000 ids that begin so, and whether these are all."""
    from hf_localize.http.deadline import within

    def ask() -> tuple[list[str], bool]:
        if not session.can_publish():
            from hf_localize.sources.public import PublicSource

            records = PublicSource(session.public_files, 1).records() or []
            names = {record.ref.dataset_id for record in records}
            return sorted(name for name in names if name.startswith(beginning)), True
        from hf_localize.sources.bucket import ids_beginning

        return ids_beginning(session.bucket, beginning)

    return within(_MAX_SECONDS, ask)


def _read(path: Path) -> dict[str, tuple[float, list[str] | None]]:
    import json

    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return {asked: (float(moment), ids) for asked, (moment, ids) in json.loads(path.read_text()).items()}
    return {}


def _write(path: Path, known: dict[str, tuple[float, list[str] | None]]) -> None:
    """Keep *known* for the next key press: readable for this user alone, and never half of it."""
    import json

    from hf_localize.format.files import replacing

    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.touch(mode=0o600)
            part.write_text(json.dumps(known))
