"""Sizes, numbers and types of features as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH, _MAX_LETTERS = 6, 240
_LISTS = frozenset({"Sequence", "List", "LargeList"})


def size(size_bytes: float) -> str:
    """Return a size as people read it, such as ``4.7 MB``."""
    if size_bytes == 1:
        return "1 byte"
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size_bytes < 999.5 or unit == "PB":
            break
        size_bytes /= 1000
    if unit == "bytes":
        return plural(round(size_bytes), "byte")
    return f"{size_bytes:.{0 if size_bytes >= 99.95 else 1}f} {unit}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a number and what there is of it, such as ``7,473 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def type_of(feature: Any, depth: int = 0) -> str:
    """Return a feature's type in words; *feature* is JSON as `datasets` writes it."""
    text = _type_of(feature, depth)
    return text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}…"


def _type_of(feature: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(feature, list) and feature:
        return f"list of {type_of(feature[0], depth + 1)}"
    if not isinstance(feature, Mapping):
        return "?"
    kind = feature.get("_type")
    if not isinstance(kind, str):
        inner = (f"{name}: {type_of(item, depth + 1)}" for name, item in list(feature.items())[:20])
        return "{" + ", ".join(inner) + "}"
    if kind == "Value":
        return str(feature.get("dtype", "?"))
    if kind == "ClassLabel":
        return f"class label, {plural(len(label_names(feature)), 'name')}"
    if kind in _LISTS:
        item = type_of(feature.get("feature", feature.get("dtype")), depth + 1)
        length = feature.get("length", -1)
        return f"list of {item}" if length in (-1, None) else f"list of {length} × {item}"
    if kind.startswith("Array") and isinstance(feature.get("shape"), (list, tuple)):
        return f"array {' × '.join(map(str, feature['shape']))} of {feature.get('dtype', '?')}"
    if kind == "Translation" and isinstance(feature.get("languages"), (list, tuple)):
        return f"translation ({', '.join(map(str, feature['languages']))})"
    rate = feature.get("sampling_rate")
    if kind == "Audio" and isinstance(rate, (int, float)) and 0 < rate < 1e9:
        return f"audio, {rate / 1000:g} kHz"
    return kind.lower()


def label_names(feature: Mapping[str, Any]) -> list[str]:
    """Return the names of a class label."""
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []
