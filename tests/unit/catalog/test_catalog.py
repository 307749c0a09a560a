"""The names of a catalog's pages, and its colors."""

from __future__ import annotations

import re
from pathlib import Path

import hf_localize
from hf_localize.format.refs import DatasetRef
from hf_localize.publish.catalog_pages import page_names


def test_pages_have_names_of_their_own() -> None:
    refs = [
        *(DatasetRef("a/b"), DatasetRef("A/B"), DatasetRef("a--b"), DatasetRef("a/b", "default")),
        *(DatasetRef("a/b", 'x"<y'), DatasetRef("a/b", "x", "v 1"), DatasetRef("é/ü", "c" * 200)),
    ]
    names = page_names(refs)
    assert len({name.lower() for name in names.values()}) == len(refs)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,150}\.html", name) for name in names.values())
    assert names[refs[5]] == "a--b--x--v_1.html"


def test_each_color_can_be_read_on_its_ground() -> None:
    css = (Path(hf_localize.__file__).parent / "catalog/templates/catalog.css").read_text()
    light, dark = (
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", part)) for part in css.split("@media", 2)[:2]
    )
    pairs = [(text, ground) for text in ("text", "quiet", "accent") for ground in ("ground", "sheet", "code")]
    pairs += [(name, f"{name}-ground") for name in ("good", "warn", "accent")]
    for colors in (light, dark):
        for text, ground in pairs:
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio ."""

    def luminance(color: str) -> float:
        parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
