"""Sizes, types and code as a catalogue words them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from hf_localize.features import types_in
from hf_localize.manifest import Manifest
from hf_localize.refs import FILES_CONFIG, DatasetRef

_MOST_DEPTH, _MOST_LETTERS = 6, 240
_LISTS = frozenset({"Sequence", "List", "LargeList"})
#: Feature types that say what kind of data a dataset is, and the words for it.
_KINDS = {
    "Image": "images",
    "Audio": "audio",
    "Video": "video",
    "Pdf": "documents",
    "Mesh": "3D",
    "Nifti": "3D",
    "Translation": "text",
    "TranslationVariableLanguages": "text",
    "BioSequence": "biology",
    "BioStructure": "biology",
}


def size(size_bytes: float) -> str:
    """Return a size as people read it, such as ``4.7 MB``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size_bytes < 999.5 or unit == "TB":
            break
        size_bytes /= 1000
    return (
        f"{size_bytes:.0f} {unit}" if unit == "bytes" or size_bytes >= 99.95 else f"{size_bytes:.1f} {unit}"
    )


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a number and what there is of it, such as ``7,473 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def type_of(feature: Any, depth: int = 0) -> str:
    """Return a feature's type in words; *feature* is JSON as `datasets` writes it."""
    return _shortened(_type_of(feature, depth))


def _type_of(feature: Any, depth: int) -> str:
    if depth > _MOST_DEPTH:
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
        length, item = feature.get("length", -1), type_of(feature.get("feature"), depth + 1)
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


def kinds_of(manifest: Manifest) -> tuple[str, ...]:
    """Return, in words, what kinds of data a dataset has."""
    if manifest.ref.config_name == FILES_CONFIG:
        return ("files",)
    types = types_in(manifest.features)
    kinds = {_KINDS[kind] for kind in types if kind in _KINDS}
    if _has_text(manifest.features):
        kinds.add("text")
    return tuple(sorted(kinds)) or ("numbers",)


def _has_text(feature: Any, depth: int = 0) -> bool:
    if depth > _MOST_DEPTH:
        return False
    if isinstance(feature, Mapping):
        if feature.get("_type") == "Value" and feature.get("dtype") in ("string", "large_string"):
            return True
        return any(_has_text(item, depth + 1) for item in feature.values())
    return isinstance(feature, list) and any(_has_text(item, depth + 1) for item in feature)


def load_code(ref: DatasetRef, manifest: Manifest | None) -> str:
    """Return the three lines of Python that load a dataset."""
    arguments = [ref.dataset_id]
    named = ""
    if ref.config_name == FILES_CONFIG:
        path = next((file.path for file in manifest.files), "…") if manifest else "…"
        named = f", data_files={_quoted(path)}"
    elif ref.config_name is not None:
        arguments.append(ref.config_name)
    if ref.revision is not None:
        named += f", revision={_quoted(ref.revision)}"
    call = f"load_dataset({', '.join(map(_quoted, arguments))}{named})"
    return f"import hf_localize; hf_localize.install()\nfrom datasets import load_dataset\ndataset = {call}"


def settings_code(variables: Mapping[str, str]) -> str:
    """Return the shell commands that set *variables*."""
    return "\n".join(f"export {name}={shlex.quote(text)}" for name, text in variables.items())


def _quoted(text: str) -> str:
    """Return *text* as a literal of Python."""
    return json.dumps(text, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
