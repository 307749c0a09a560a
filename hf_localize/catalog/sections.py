"""The parts of a dataset's page: splits, features, first rows, card, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_localize import text
from hf_localize.catalog.gathering import Listing, Preview
from hf_localize.catalog.markup import Content, Html, element
from hf_localize.catalog.overview import bar
from hf_localize.catalog.showing import Shower
from hf_localize.format.manifest import Manifest

#: Of all images and sounds of a page together.
_MAX_MEDIA_BYTES = 3 << 20
_MAX_FILES, _MAX_FEATURES, _MAX_NAMES = 50, 300, 200


def sections(listing: Listing) -> list[Html | None]:
    """Return the parts of the page; None where there is nothing to tell."""
    manifest = listing.manifest
    if manifest is None:
        return []
    card = element("div", listing.card.text, class_="markdown")
    return [
        _splits(manifest),
        _first_rows(listing),
        _features(manifest),
        _section("card", "Dataset card", card) if listing.card.text else None,
        _files(manifest),
    ]


def _section(name: str, title: str, *content: Content) -> Html:
    heading = element("h2", title, id=f"h-{name}")
    return element("section", heading, *content, aria_labelledby=f"h-{name}")


def _table(what: str, heads: Sequence[Content], rows: Iterable[Html]) -> Html:
    """Return a table in a box of its own, which keyboards can scroll too.

    Args:
        heads: of each column; numbers stand below one that is `Html` already.
    """
    shown = [head if isinstance(head, Html) else element("th", head, scope="col") for head in heads]
    table = element("table", element("thead", element("tr", *shown)), element("tbody", *rows))
    return element("div", table, class_="scroll", role="region", tabindex=0, aria_label=what)


def _of_numbers(head: str) -> Html:
    return element("th", head, scope="col", class_="number")


def _row(head: Content, *cells: Content) -> Html:
    """Return a row; of *cells*, text is a number."""
    shown = [cell if isinstance(cell, Html) else element("td", cell, class_="number") for cell in cells]
    return element("tr", element("th", head, scope="row"), *shown)


def _more(count: int) -> Html | None:
    return element("p", f"And {count:,} more.", class_="quiet") if count > 0 else None


def _splits(manifest: Manifest) -> Html | None:
    if not manifest.splits:
        return None
    sizes = [split.size_bytes or split.rows for split in manifest.splits]
    shares = [f"{100 * size / (sum(sizes) or 1):.1f} %" for size in sizes]
    rows = [
        _row(
            [_dot(number), split.name],
            f"{split.rows:,}",
            text.size(split.size_bytes),
            share,
            f"{len(split.shards):,}",
        )
        for number, (split, share) in enumerate(zip(manifest.splits, shares, strict=True))
    ]
    told = ", ".join(f"{split.name} {share}" for split, share in zip(manifest.splits, shares, strict=True))
    heads = ["Split", *map(_of_numbers, ("Rows", "Size", "Share", "Shards"))]
    return _section(
        "splits", "Splits", bar(sizes, f"Splits by size: {told}"), _table("Table of splits", heads, rows)
    )


def _dot(number: int) -> Html:
    square = element("rect", width=10, height=10, rx=3, class_=f"f{number % 7}")
    return element("svg", square, viewBox="0 0 10 10", class_="dot", aria_hidden="true")


def _features(manifest: Manifest) -> Html | None:
    if not manifest.features:
        return None
    some = list(manifest.features.items())[:_MAX_FEATURES]
    rows = [
        _row(element("code", name), element("td", text.type_of(feature), _labels(feature)))
        for name, feature in some
    ]
    more = _more(len(manifest.features) - len(some))
    return _section("features", "Features", _table("Table of features", ["Column", "Type"], rows), more)


def _labels(feature: Any) -> Html | None:
    names = text.label_names(feature) if isinstance(feature, Mapping) else []
    if not names:
        return None
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return element("details", element("summary", "Names"), ", ".join(names[:_MAX_NAMES]) + more)


def _first_rows(listing: Listing) -> Html | None:
    if not listing.previews or listing.manifest is None:
        return None
    shower, features = Shower(_MAX_MEDIA_BYTES), listing.manifest.features
    return _section(
        "preview", "First rows", *(_preview(preview, features, shower) for preview in listing.previews)
    )


def _preview(preview: Preview, features: Mapping[str, Any], shower: Shower) -> Html:
    heading, found = element("h3", preview.split), preview.found
    if preview.problem or found is None or not found.rows:
        told = element("p", preview.problem or "It has no rows.", class_="none")
        return element("div", heading, told, class_="preview")
    heads = [
        element(
            "th",
            column,
            element("small", text.type_of(features.get(column))),
            scope="col",
            class_="number" if _is_number(found.rows[0][place], features.get(column)) else None,
        )
        for place, column in enumerate(found.columns)
    ]
    rows = [
        element(
            "tr",
            *(
                _cell(value, features.get(column), f"{column}, row {number}", shower, column in found.skipped)
                for column, value in zip(found.columns, row, strict=True)
            ),
        )
        for number, row in enumerate(found.rows, 1)
    ]
    hidden = len(features) - len(found.columns)
    more = element("p", f"And {text.plural(hidden, 'column')} more.", class_="quiet") if hidden > 0 else None
    return element(
        "div", heading, _table(f"First rows of {preview.split}", heads, rows), more, class_="preview"
    )


def _cell(value: Any, feature: Any, where: str, shower: Shower, is_skipped: bool) -> Html:
    if is_skipped and value is None:
        return element("td", element("span", "too large to be shown", class_="none"))
    name = "number" if _is_number(value, feature) else None
    return element("td", shower.cell(value, feature, where), class_=name)


def _is_number(value: Any, feature: Any) -> bool:
    is_label = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not is_label


def _files(manifest: Manifest) -> Html | None:
    if not manifest.files:
        return None
    some = manifest.files[:_MAX_FILES]
    rows = [_row(element("code", file.path), text.size(file.size_bytes)) for file in some]
    table = _table("Table of files", ["File", _of_numbers("Size")], rows)
    told = element("summary", text.plural(len(manifest.files), "file"))
    return _section("files", "Files", element("details", told, table, _more(len(manifest.files) - len(some))))
