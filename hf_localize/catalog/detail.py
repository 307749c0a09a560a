"""The page of one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from hf_localize import text
from hf_localize.catalog import wording
from hf_localize.catalog.frame import About, access, code, filled, page
from hf_localize.catalog.gathering import Listing
from hf_localize.catalog.markup import Content, Html, element
from hf_localize.catalog.overview import badges, license_of, name_of
from hf_localize.catalog.sections import sections
from hf_localize.format.manifest import UNKNOWN, Manifest
from hf_localize.format.refs import DatasetRef


def detail(about: About, listing: Listing, siblings: Sequence[tuple[DatasetRef, str]]) -> bytes:
    """Return the page of *listing*.

    Args:
        siblings: all datasets of its id, and the names of their pages, which lie beside this one.
    """
    ref, manifest = listing.ref, listing.manifest
    title = f"{ref.dataset_id} · {name_of(ref)}" if len(siblings) > 1 else ref.dataset_id
    kinds = wording.kinds_of(manifest) if manifest else ()
    shared = ["public" if listing.is_public else "team"]
    content = filled(
        "dataset.html",
        id=ref.dataset_id,
        heading=ref.dataset_id,
        summary=element("p", listing.card.summary, class_="lead") if listing.card.summary else None,
        badges=badges(license_of(listing), kinds, shared, manifest.restriction if manifest else None),
        variants=_variants(ref, siblings),
        problem=_problem(listing),
        load=code(wording.load_code(ref, manifest), "load-code", "the code that loads it"),
        facts=_facts(listing),
        access=access(about, _restriction(manifest), is_public=listing.is_public),
        sections=sections(listing),
    )
    return page(about, f"{title} · {about.title}", content, home="../index.html")


def _variants(ref: DatasetRef, siblings: Sequence[tuple[DatasetRef, str]]) -> Html:
    if len(siblings) < 2:
        return Html("")
    links = [
        element("a", name_of(other), href=name, class_="chip", aria_current="page" if other == ref else None)
        for other, name in siblings
    ]
    return element(
        "nav", element("b", "Configs"), *links, class_="variants", aria_label="Configs and revisions"
    )


def _problem(listing: Listing) -> Html | None:
    if listing.problem:
        return element("p", listing.problem, class_="problem")
    if listing.manifest is None:
        told = "It was shared by other software, and is not looked into here. It can be loaded all the same."
        return element("p", told, class_="quiet")
    return None


def _facts(listing: Listing) -> Html:
    ref, manifest = listing.ref, listing.manifest
    facts: list[tuple[str, Content]] = [
        ("Config", ref.config_name or "default"),
        ("Revision", ref.revision or "main"),
    ]
    if manifest is not None:
        rows = sum(split.rows for split in manifest.splits)
        facts += [
            ("Commit", element("span", manifest.commit, class_="mono") if manifest.commit else "none"),
            ("License", license_of(listing) or "not stated"),
            ("Size", text.size(manifest.size_bytes)),
            ("Rows", f"{rows:,}" if manifest.splits else None),
            ("Files", f"{len(manifest.files):,}"),
            ("Stored", (manifest.created or "")[:10] or None),
            ("Origin", _origin(manifest)),
            ("Languages", ", ".join(listing.card.told.get("language", ())) or None),
            ("Tasks", ", ".join(listing.card.told.get("task_categories", ())) or None),
            ("Digest", element("span", manifest.digest[:16], class_="mono", title=manifest.digest)),
        ]
    shown = [(element("dt", name), element("dd", value)) for name, value in facts if value is not None]
    return element("dl", *shown)


def _origin(manifest: Manifest) -> Content:
    if manifest.origin != "hub":
        return {"registered": "registered by the team", "save_to_disk": "saved to disk"}.get(
            manifest.origin, manifest.origin
        )
    dataset_id = manifest.canonical_id or manifest.dataset_id
    url = f"https://huggingface.co/datasets/{quote(dataset_id)}"
    if manifest.commit:
        url += f"/tree/{quote(manifest.commit, safe='')}"
    return element("a", "Hugging Face Hub", href=url, rel="noopener noreferrer")


def _restriction(manifest: Manifest | None) -> Html | None:
    restriction = manifest.restriction if manifest else None
    if restriction is None:
        return None
    if restriction == UNKNOWN:
        return element("p", "Whether the Hub restricts it is not known.")
    return element("p", f"It is {restriction} on the Hub: the terms there bind whoever uses it here.")
