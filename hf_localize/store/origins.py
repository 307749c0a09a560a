"""Where an entry of the store came from, and the name of a folder that has no manifest.

A manifest travels, so neither can be in it: records in ``.hgloc`` of this store have them. Of the
folders that the original tool keeps, their place and its own metadata file tell the bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from hf_localize.errors import InvalidRefError, bookkeeping
from hf_localize.format.files import read_whole
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef, safe_part
from hf_localize.format.sealed_json import parse_json

#: What the original tool writes into each dataset's folder since mid-2025.
METADATA_FILE = ".hg_localization_bucket_metadata.json"
_ORIGINS = ".hgloc/origin"
_NAMES = ".hgloc/name"


@dataclass(frozen=True, slots=True)
class Origin:
    """A bucket, or where no bucket is known, the URL of public files. It holds no credential."""

    bucket: str | None
    #: Of the bucket's server, or of the public files; None is AWS.
    endpoint: str | None = None
    prefix: str = ""

    def __str__(self) -> str:
        where = _without_credentials(self.endpoint) if self.endpoint else "AWS"
        name = "/".join(filter(None, (self.bucket, self.prefix)))
        return f"s3://{name} at {where}" if self.bucket else where

    def is_same(self, other: Origin) -> bool:
        """Tell whether the two are one place, or can't be compared: one has a bucket, the other has none."""
        if (self.bucket is None) != (other.bucket is None):
            return True
        return self._place() == other._place()

    def is_kept_in(self, name: str) -> bool:
        """Tell whether the original tool keeps what comes from this bucket in ``by_bucket/<name>``."""
        bucket, endpoint = safe_part(self.bucket or ""), self.endpoint
        if endpoint is None:
            return name == bucket
        spelled = (endpoint, endpoint.rstrip("/"), f"{endpoint.rstrip('/')}/")
        md5s = (hashlib.md5(one.encode(), usedforsecurity=False).hexdigest() for one in spelled)
        return name in {f"{bucket}_{md5[:8]}" for md5 in md5s}

    def _place(self) -> tuple[str | None, str, str]:
        host = _parts(self.endpoint or "").netloc.rpartition("@")[2].lower()
        # Names of buckets are unique in all of AWS.
        is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return self.bucket, "" if is_aws else host, self.prefix


def origin_of(store: Path, manifest: Manifest) -> Origin | None:
    """Return where the stored content of *manifest* was fetched from; None: no bucket, or not known."""
    document = _read(_origin_path(store, manifest.ref))
    if document.get("digest") != manifest.digest:  # It was of other content.
        return None
    bucket, endpoint, prefix = (_text(document.get(name)) for name in ("bucket", "endpoint", "prefix"))
    return Origin(bucket, endpoint, prefix or "")


def record_origin(store: Path, manifest: Manifest, origin: Origin | None) -> None:
    """Record where the stored content of *manifest* was fetched from; None: from no bucket.

    A record that can't be written or removed is logged: it must not fail what the caller has done.
    """
    path = _origin_path(store, manifest.ref)
    with bookkeeping(f"the origin of {manifest.ref} could not be recorded"):
        if origin is None:
            path.unlink(missing_ok=True)
            return
        endpoint = _without_credentials(origin.endpoint) if origin.endpoint else None
        document = {"bucket": origin.bucket, "endpoint": endpoint, "prefix": origin.prefix}
        _write(path, {**document, "digest": manifest.digest})


def origin_by_original(place: Path, shelf: str, configured: Origin | None) -> Origin | None:
    """Return the bucket from which the original tool has what it keeps at *place*; None: it does not tell.

    Args:
        shelf: the part of the store that it lies in, see :meth:`Places.shelves`.
        configured: the bucket that is configured now.
    """
    document = _read(place / METADATA_FILE)
    told = [document.get(f"s3_{name}") for name in ("bucket_name", "endpoint_url", "data_prefix")]
    bucket, endpoint, prefix = map(_text, told)
    recorded = Origin(bucket, endpoint, prefix or "") if bucket else None
    name = shelf.rpartition("by_bucket/")[2]
    if name == shelf:
        return recorded
    # The folder decides: what was downloaded from a bucket has the metadata of its publisher.
    if configured is not None and configured.is_kept_in(name):
        is_same_prefix = recorded is None or recorded.prefix == configured.prefix
        return configured if is_same_prefix else Origin(configured.bucket, configured.endpoint, prefix or "")
    return recorded if recorded is not None and recorded.is_kept_in(name) else Origin(name)


class Name(NamedTuple):
    """As what a folder without manifest was published: *digest* is that of its content.

    *signature* was that of its files, by sizes and times, see :func:`layout.stat_signature`.
    """

    ref: DatasetRef
    signature: str
    digest: str


def name_of(store: Path, folder: str) -> Name | None:
    """Return under which name the folder without manifest at *folder* was published; None: it was not."""
    document = _read(store / _NAMES / f"{folder}.json")
    with contextlib.suppress(KeyError, InvalidRefError):
        ref = DatasetRef(document["dataset_id"], document["config_name"], document["revision"])
        return Name(ref, str(document["signature"]), str(document["digest"]))
    return None


def record_name(store: Path, folder: str, manifest: Manifest, signature: str) -> None:
    """Record that the folder without manifest at *folder* was published as *manifest*."""
    document = {**manifest.ref.as_dict(), "signature": signature, "digest": manifest.digest}
    _write(store / _NAMES / f"{folder}.json", document)


def _origin_path(store: Path, ref: DatasetRef) -> Path:
    return store / _ORIGINS / f"{ref.folders[-1]}.json"


def _read(path: Path) -> dict[str, Any]:
    """Return a small JSON object, which is a hint; an empty one where there is none that can be used."""
    try:
        document = parse_json(read_whole(path), str(path))
    except OSError:
        return {}
    return document if isinstance(document, dict) else {}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")  # Half of it is as good as none.


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # Anybody may have written it; it is no place that is known.
        return SplitResult("", "?", "", "", "")


def _without_credentials(url: str) -> str:
    parts = _parts(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
