"""Where a catalog is in the bucket, the names of its pages, and their removal."""

from __future__ import annotations

import collections
import logging
import re
from collections.abc import Iterable, Sequence

from hf_localize.format.refs import PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.former_versions import close_versions
from hf_localize.s3.bucket import Bucket

_log = logging.getLogger(__name__)
#: Everyone can read what is below the public place. The private place needs credentials.
PRIVATE_PLACE, PUBLIC_PLACE = ".hgloc/site", f"{PUBLIC_ZIP_FOLDER}/catalog"
INDEX, PAGES = "index.html", "datasets"
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_LETTERS = 120


def page_names(refs: Sequence[DatasetRef]) -> dict[DatasetRef, str]:
    """Return the file name of each dataset's page, readable and unique."""
    names = {ref: _readable(ref) for ref in refs}
    counts = collections.Counter(name.lower() for name in names.values())
    return {
        ref: f"{name}{_suffix(ref) if counts[name.lower()] > 1 else ''}.html" for ref, name in names.items()
    }


def pages_of(refs: Iterable[DatasetRef], bucket: Bucket, *, public: bool) -> list[str]:
    """Return the keys of the pages of *refs* that a catalog in *bucket* has."""
    keys = _keys(refs, PUBLIC_PLACE if public else PRIVATE_PLACE)
    return [key for key in sorted(keys) if bucket.head_of(key) is not None]


def remove_pages(refs: Iterable[DatasetRef], bucket: Bucket, itself: PublicFiles | None) -> bool:
    """Remove the pages of *refs*, which show rows, from a catalog in *bucket*; tell if any could be read.

    The list in the catalog still names them: a log message has the command that updates it.

    Args:
        itself: for the public catalog, the bucket as an outsider reads it; None: the team's catalog.
    """
    place, named = PRIVATE_PLACE if itself is None else PUBLIC_PLACE, list(refs)
    there = pages_of(named, bucket, public=itself is not None)
    for key in there:
        bucket.delete(key)
    was_open = False
    if itself is not None:
        keys = _keys(named, place)
        for stem in {f"{place}/{PAGES}/{_readable(ref)}" for ref in named}:
            was_open |= close_versions(bucket, itself, stem, keys.__contains__)
    if there:
        command = f"hg-localize catalog --publish{'' if itself is None else ' --public'}"
        _log.info(
            "its page in the catalog is removed; the list in %s still has the dataset. To update it: %s",
            *(f"{place}/{INDEX}", command),
        )
    return bool(there) or was_open


def _keys(refs: Iterable[DatasetRef], place: str) -> set[str]:
    named = [(f"{place}/{PAGES}/{_readable(ref)}", ref) for ref in refs]
    return {f"{stem}{suffix}.html" for stem, ref in named for suffix in ("", _suffix(ref))}


def _suffix(ref: DatasetRef) -> str:
    """Return what tells the page of *ref* from another page with the same readable name."""
    return ref.suffix.replace("~", "-")


def _readable(ref: DatasetRef) -> str:
    parts = [ref.dataset_id.replace("/", "--"), ref.config_name or "default", ref.revision or ""]
    safe = "--".join(_NO_NAME.sub("_", part) for part in parts if part)
    return safe if len(safe) <= _MAX_LETTERS else f"{safe[:_MAX_LETTERS]}{_suffix(ref)}"
