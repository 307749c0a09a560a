"""The first page: every dataset, to be searched and filtered."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_localize import text
from hf_localize.catalog import wording
from hf_localize.catalog.frame import About, access, filled, page
from hf_localize.catalog.gathering import Listing
from hf_localize.catalog.markup import Content, Html, element, joined
from hf_localize.format.manifest import UNKNOWN
from hf_localize.format.refs import FILES_CONFIG, DatasetRef

_MAX_CONFIGS, _MAX_COLUMNS = 6, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the first page tells of one dataset; ``path`` is where its page is."""

    ref: DatasetRef
    path: str
    summary: str = ""
    license: str | None = None
    kinds: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    splits: tuple[tuple[str, int], ...] = ()
    rows: int = 0
    size_bytes: int = 0
    created: str = ""
    is_public: bool = False
    restriction: str | None = UNKNOWN
    has_problem: bool = False


def summary_of(listing: Listing, path: str) -> Summary:
    """Return what the first page tells of *listing*, whose page is at *path*."""
    manifest = listing.manifest
    if manifest is None:
        return Summary(
            ref=listing.ref, path=path, is_public=listing.is_public, has_problem=bool(listing.problem)
        )
    told = listing.card.told
    terms = [*told.get("pretty_name", ()), *told.get("task_categories", ()), *told.get("language", ())]
    return Summary(
        ref=listing.ref,
        path=path,
        summary=listing.card.summary or str(manifest.info.get("description") or "")[:220],
        license=license_of(listing),
        kinds=wording.kinds_of(manifest),
        columns=(*terms, *list(map(str, manifest.features))[:_MAX_COLUMNS]),
        splits=tuple((split.name, split.size_bytes or split.rows) for split in manifest.splits),
        rows=sum(split.rows for split in manifest.splits),
        size_bytes=manifest.size_bytes,
        created=manifest.created or "",
        is_public=listing.is_public,
        restriction=manifest.restriction,
        has_problem=listing.problem is not None,
    )


def license_of(listing: Listing) -> str | None:
    """Return the license that the manifest names, else the one in the card's head."""
    named = listing.manifest.license if listing.manifest else None
    return named or ", ".join(listing.card.told.get("license", ())) or None


def overview(about: About, summaries: Sequence[Summary]) -> bytes:
    """Return the first page."""
    in_order = sorted(summaries, key=lambda s: (s.ref.dataset_id.lower(), s.ref.dataset_id, str(s.ref)))
    groups = [list(group) for _, group in itertools.groupby(in_order, key=lambda s: s.ref.dataset_id)]
    size_bytes = sum(summary.size_bytes for summary in summaries)
    told = f"{text.plural(len(groups), 'dataset')} · {text.size(size_bytes)} · as of {about.made}"
    whose = "Everybody may load these." if about.is_public else "In the team’s bucket."
    return page(
        about,
        about.title,
        filled(
            "index.html",
            title=about.title,
            told=f"{whose} {told}",
            count=text.plural(len(groups), "dataset"),
            kinds=_options(kind for summary in summaries for kind in summary.kinds),
            licenses=_options(summary.license or "not stated" for summary in summaries),
            access_hidden=Html(" hidden") if about.is_public else "",
            datasets=[_card(group) for group in groups],
            access=access(about, is_public=about.is_public),
        ),
    )


def _options(values: Iterable[str]) -> Html:
    return joined(*(element("option", value, value=value) for value in sorted(set(values), key=str.lower)))


def _card(group: Sequence[Summary]) -> Html:
    """Return what is shown of one dataset id, with all its configs and revisions."""
    first = min(group, key=lambda s: (s.ref.config_name == FILES_CONFIG, s.has_problem, str(s.ref)))
    dataset_id = first.ref.dataset_id
    licenses = list(dict.fromkeys(summary.license or "not stated" for summary in group))
    kinds = list(dict.fromkeys(kind for summary in group for kind in summary.kinds))
    sharing = {"public" if summary.is_public else "team" for summary in group}
    rows, size_bytes = sum(s.rows for s in group), sum(s.size_bytes for s in group)
    terms = [dataset_id, *kinds, *licenses]
    for summary in group:
        terms += [summary.summary, *summary.columns, *(name for name, _ in summary.splits)]
        terms += [part for part in (summary.ref.config_name, summary.ref.revision) if part]
    numbers = [
        text.plural(rows, "row") if rows else None,
        text.size(size_bytes) if size_bytes else None,
    ]
    made = max(summary.created for summary in group)
    numbers.append(made[:10] or None)
    return element(
        "li",
        element("h2", element("a", dataset_id, href=first.path)),
        badges(first.license, kinds, sharing, first.restriction),
        element("p", first.summary, class_="what") if first.summary else None,
        element("p", "Could not be read", class_="none") if first.has_problem else None,
        _configs(group),
        element(
            "div",
            bar([size for _, size in first.splits], "Splits by size") if len(first.splits) > 1 else None,
            element("p", *(element("span", number) for number in numbers if number), class_="numbers"),
            class_="end",
        ),
        class_="card",
        data_name=dataset_id.lower(),
        data_search=" ".join(dict.fromkeys(terms)).lower(),
        data_kinds="|".join(kinds),
        data_licenses="|".join(licenses),
        data_access="|".join(sorted(sharing)),
        data_size=size_bytes,
        data_rows=rows,
        data_made=made,
    )


def _configs(group: Sequence[Summary]) -> Html | None:
    if len(group) == 1 and name_of(group[0].ref) == "default":
        return None
    links = [
        element("a", name_of(summary.ref), href=summary.path, class_="chip")
        for summary in group[:_MAX_CONFIGS]
    ]
    more = f"and {len(group) - _MAX_CONFIGS} more" if len(group) > _MAX_CONFIGS else None
    return element("div", *links, element("span", more, class_="quiet") if more else None, class_="configs")


def name_of(ref: DatasetRef) -> str:
    """Return how a dataset is told from others of the same id."""
    config = "original files" if ref.config_name == FILES_CONFIG else ref.config_name or "default"
    return f"{config} @ {ref.revision}" if ref.revision else config


def badges(
    license_name: str | None, kinds: Iterable[str], sharing: Iterable[str], restriction: str | None
) -> Html:
    """Return in short what decides whether a dataset can be used."""
    shown: list[Content] = []
    if "public" in sharing:
        shown.append(element("span", "Public", class_="badge public"))
    if "team" in sharing:
        shown.append(element("span", "Team", class_="badge team"))
    if restriction not in (None, UNKNOWN):
        shown.append(element("span", f"{restriction.capitalize()} on the Hub", class_="badge warn"))
    shown.append(element("span", license_name or "license not stated", class_="badge"))
    shown += [element("span", kind, class_="badge") for kind in kinds]
    return element("div", *shown, class_="badges")


def bar(sizes: Sequence[int], what: str) -> Html:
    """Return a bar that is divided as *sizes* are."""
    whole, start = sum(sizes) or 1, 0.0
    parts = []
    for number, size in enumerate(sizes):
        width = 100 * size / whole
        parts.append(
            element("rect", x=f"{start:.3f}", y=0, width=f"{width:.3f}", height=4, class_=f"f{number % 7}")
        )
        start += width
    return element(
        "svg",
        *parts,
        class_="bar",
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        role="img",
        aria_label=what,
    )
