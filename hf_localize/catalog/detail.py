"""The page of one dataset, or of the files of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hf_localize import text
from hf_localize.catalog import wording
from hf_localize.catalog.frame import About, page
from hf_localize.catalog.gathering import Listing, Preview
from hf_localize.catalog.overview import name_of
from hf_localize.catalog.showing import Shower
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef

#: Of all images and sounds of a page together.
_MAX_MEDIA_BYTES = 3 << 20
_ORIGINS = {
    "hub": "Hugging Face Hub",
    "registered": "registered by the team",
    "save_to_disk": "saved to disk",
}


def detail(about: About, listing: Listing, siblings: Sequence[tuple[DatasetRef, str]]) -> bytes:
    """Return the page of *listing*.

    Args:
        siblings: all datasets of its id, and the names of their pages, which lie beside this one.
    """
    ref, manifest = listing.ref, listing.manifest
    splits = manifest.splits if manifest else ()
    sizes = [split.size_bytes or split.rows for split in splits]
    shower = Shower(_MAX_MEDIA_BYTES)
    return page(
        about,
        "dataset.html",
        home="../index.html",
        listing=listing,
        ref=ref,
        manifest=manifest,
        name=name_of(ref),
        variants=[(name_of(other), path, other == ref) for other, path in siblings],
        code=listing.code or wording.load_code(ref, manifest, is_public=about.is_public),
        origin=_ORIGINS.get(manifest.origin, manifest.origin) if manifest else "",
        origin_url=_hub_url(listing, manifest) if manifest and manifest.origin == "hub" else None,
        sizes=sizes,
        shares=[f"{100 * size / (sum(sizes) or 1):.1f} %" for size in sizes],
        labels=lambda feature: text.label_names(feature) if isinstance(feature, Mapping) else [],
        previews=[_preview(preview, manifest, shower) for preview in listing.previews] if manifest else [],
    )


def _hub_url(listing: Listing, manifest: Manifest) -> str:
    folder = {"model": "", "Space": "spaces/"}.get(listing.repo_type, "datasets/")
    url = f"https://huggingface.co/{folder}{quote(manifest.canonical_id or manifest.dataset_id)}"
    return f"{url}/tree/{quote(manifest.commit, safe='')}" if manifest.commit else url


def _preview(preview: Preview, manifest: Manifest, shower: Shower) -> dict[str, Any]:
    """Return what is shown of the first rows of a split."""
    shown: dict[str, Any] = {"split": preview.split, "problem": preview.problem, "heads": [], "rows": []}
    found, features = preview.found, manifest.features
    if found is None or not found.rows:
        return {**shown, "problem": preview.problem or "It has no rows.", "hidden": 0}

    def cells(number: int, row: tuple[Any, ...]) -> Iterator[tuple[str, bool]]:
        for column, value in zip(found.columns, row, strict=True):
            if value is None and column in found.skipped:
                yield shower.note("too large to be shown"), False
            else:
                feature = features.get(column)
                yield shower.cell(value, feature, f"{column}, row {number}"), _is_number(value, feature)

    shown["rows"] = [list(cells(number, row)) for number, row in enumerate(found.rows, 1)]
    shown["heads"] = [
        (column, features.get(column), is_number)
        for column, (_, is_number) in zip(found.columns, shown["rows"][0], strict=True)
    ]
    return {**shown, "hidden": max(0, len(features) - len(found.columns))}


def _is_number(value: Any, feature: Any) -> bool:
    is_label = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not is_label
