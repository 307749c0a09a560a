"""The first page: every dataset, model and Space, to be searched and filtered."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_localize import text
from hf_localize.catalog.frame import About, page
from hf_localize.catalog.gathering import Listing
from hf_localize.format.manifest import UNKNOWN
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.format.repository import is_commit_sha

_MAX_COLUMNS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the first page tells of one dataset; ``path`` is where its page is."""

    ref: DatasetRef
    path: str
    repo_type: str = "dataset"
    summary: str = ""
    license: str | None = None
    kinds: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    splits: tuple[tuple[str, int], ...] = ()
    rows: int = 0
    size_bytes: int = 0
    created: str = ""
    is_public: bool = False
    restriction: str | None = UNKNOWN
    has_problem: bool = False

    @property
    def name(self) -> str:
        """Return how it is told from others of the same id."""
        return name_of(self.ref)

    @property
    def group(self) -> tuple[str, str, str]:
        """Return what all that is shown as one has in common."""
        return self.ref.dataset_id.lower(), self.ref.dataset_id, self.repo_type


def summary_of(listing: Listing, path: str) -> Summary:
    """Return what the first page tells of *listing*, whose page is at *path*."""
    manifest, told = listing.manifest, listing.card.told
    known: dict[str, Any] = {}
    if manifest is not None:
        terms = [
            term for name in ("pretty_name", "task_categories", "language") for term in told.get(name, ())
        ]
        known = {
            "terms": (*terms, *list(map(str, manifest.features))[:_MAX_COLUMNS]),
            "splits": tuple((split.name, split.size_bytes or split.rows) for split in manifest.splits),
            "rows": sum(split.rows for split in manifest.splits),
            "created": manifest.created or "",
            "restriction": manifest.restriction,
        }
    described = str(manifest.info.get("description") or "")[:220] if manifest else ""
    return Summary(
        ref=listing.ref,
        path=path,
        repo_type=listing.repo_type,
        summary=listing.card.summary or described,
        license=listing.license,
        kinds=listing.kinds,
        size_bytes=listing.size_bytes,
        is_public=listing.is_public,
        has_problem=listing.problem is not None,
        **known,
    )


def overview(about: About, summaries: Sequence[Summary]) -> bytes:
    """Return the first page."""
    in_order = sorted(summaries, key=lambda s: (*s.group, s.ref.config_name == FILES_CONFIG, str(s.ref)))
    groups = [_group(list(group)) for _, group in itertools.groupby(in_order, key=lambda s: s.group)]
    counts = Counter(group["repo_type"] for group in groups)
    told = [text.plural(counts[kind], kind) for kind in ("dataset", "model", "Space") if counts[kind]]
    return page(
        about,
        "index.html",
        count=", ".join(told) or "0 datasets",
        size_bytes=sum(summary.size_bytes for summary in summaries),
        kinds=_options(kind for group in groups for kind in group["kinds"]),
        licenses=_options(name for group in groups for name in group["licenses"]),
        groups=groups,
    )


def _options(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=str.lower)


def _group(group: Sequence[Summary]) -> dict[str, Any]:
    """Return what is shown of one id, with all its configs and revisions."""
    first = min(group, key=lambda s: (s.ref.config_name == FILES_CONFIG, s.has_problem, str(s.ref)))
    licenses = list(dict.fromkeys(summary.license or "not stated" for summary in group))
    kinds = list(dict.fromkeys(kind for summary in group for kind in summary.kinds))
    terms = [first.ref.dataset_id, *kinds, *licenses]
    for summary in group:
        terms += [summary.summary, *summary.terms, *(name for name, _ in summary.splits)]
        terms += [part for part in (summary.ref.config_name, summary.ref.revision) if part]
    return {
        "first": first,
        "all": group,
        "repo_type": first.repo_type,
        "kinds": kinds,
        "licenses": licenses,
        "sharing": sorted({"public" if summary.is_public else "team" for summary in group}),
        "terms": " ".join(dict.fromkeys(terms)).lower(),
        "rows": sum(s.rows for s in group),
        "size_bytes": sum(s.size_bytes for s in group),
        "made": max(summary.created for summary in group),
    }


def name_of(ref: DatasetRef) -> str:
    """Return how a dataset is told from others of the same id."""
    config = "original files" if ref.config_name == FILES_CONFIG else ref.config_name or "default"
    revision = ref.revision[:7] if ref.revision and is_commit_sha(ref.revision) else ref.revision
    return f"{config} @ {revision}" if revision else config
