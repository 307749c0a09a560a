"""Features in the form that every supported `datasets` reads.

`datasets` 4 renamed its list type: it writes ``List``, which versions below 4 refuse
("Feature type 'List' not found"). The older spellings are read by both, so entries hold those.
``LargeList`` has no spelling that 2.21 and later versions both read: 2.21 calls its item
``dtype``. Entries hold the later one, and Arrow files leave such columns to be inferred.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

#: Types whose values lie in the Arrow file itself. Values of any other, also of one that later releases
#: will have, may be paths to files beside the data, which an entry must embed.
_PLAIN_TYPES = frozenset(
    {
        *("Value", "ClassLabel", "Json", "Sequence", "List", "LargeList"),
        *("Array2D", "Array3D", "Array4D", "Array5D", "Translation", "TranslationVariableLanguages"),
    }
)
#: The first release of `datasets` with each type that not every supported one has: by its
#: ``features/features.py``, release by release.
_SINCE = {
    "LargeList": "2.21.0",
    "Video": "3.1.0",
    "Pdf": "3.5.0",
    "List": "4.0.0",
    "Nifti": "4.4.0",
    "Json": "4.7.0",
    "Mesh": "5.0.0",
    "BioSequence": "5.1.0",
    "BioStructure": "5.1.0",
}
#: What some releases write though it is the default.
_DEFAULTS = (("length", -1), ("decode", True), ("mono", True))


def portable(feature: Any) -> Any:
    """Return features JSON (as of ``Features.to_dict()``) in the spelling that all versions read.

    ``List`` becomes ``Sequence``, and a list of structs becomes ``[struct]``, because ``Sequence``
    of a struct means a struct of lists. A fixed-length list of structs has no older spelling and
    stays as it is.
    """
    if isinstance(feature, list):
        return [portable(item) for item in feature]
    if not isinstance(feature, Mapping):
        return feature
    if feature.get("_type") == "LargeList" and "dtype" in feature:
        return portable(_renamed(feature, "dtype", "feature"))
    if feature.get("_type") != "List" or "feature" not in feature:
        return {key: portable(value) for key, value in feature.items()}
    inner = portable(feature["feature"])
    length = feature.get("length", -1)
    is_struct = isinstance(inner, Mapping) and not isinstance(inner.get("_type"), str)
    if not is_struct:
        return {"feature": inner, "length": length, "_type": "Sequence"}
    return [inner] if length == -1 else {"feature": inner, "length": length, "_type": "List"}


def with_large_list_item(feature: Any, name: str) -> Any:
    """Return portable features JSON with the item of each ``LargeList`` called *name*.

    2.21 calls it ``dtype``, every later release ``feature``.
    """
    if isinstance(feature, list):
        return [with_large_list_item(item, name) for item in feature]
    if not isinstance(feature, Mapping):
        return feature
    inner = {key: with_large_list_item(value, name) for key, value in feature.items()}
    return _renamed(inner, "feature", name) if feature.get("_type") == "LargeList" else inner


def has_media(feature: Any) -> bool:
    """Tell whether features JSON holds a type whose values may lie in files of their own."""
    return not types_in(feature) <= _PLAIN_TYPES


def is_media(feature: Any) -> bool:
    """Tell whether features JSON is such a type itself."""
    kind = feature.get("_type") if isinstance(feature, Mapping) else None
    return isinstance(kind, str) and kind not in _PLAIN_TYPES


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return, in words, in which columns features JSON *one* differs from *other*.

    The order of columns and the spelling, which differs by release, count for nothing; the order of a
    ClassLabel's names decides what its numbers mean.
    """
    one, other = _bare(portable(one)), _bare(portable(other))
    words = []
    for column in {**one, **other}:
        here, there = one.get(column, "absent"), other.get(column, "absent")
        if here != there:
            words.append(f"column {column!r} is {here!s:.200} or {there!s:.200}")
    return words


def _bare(feature: Any) -> Any:
    """Return portable features JSON without what stands there by default, as some releases write it."""
    if isinstance(feature, list):
        return [_bare(item) for item in feature]
    if not isinstance(feature, Mapping):
        return feature
    if not isinstance(feature.get("_type"), str):  # Columns, or a struct.
        return {key: _bare(value) for key, value in feature.items()}
    bare = {k: _bare(v) for k, v in feature.items() if v is not None and (k, v) not in _DEFAULTS}
    if bare.get("_type") == "ClassLabel" and "names" in bare:
        bare.pop("num_classes", None)
    item = bare.get("feature")
    is_whole = bare == {"feature": item, "_type": "Sequence"}
    if is_whole and isinstance(item, Mapping) and not isinstance(item.get("_type"), str):
        return {key: {"feature": value, "_type": "Sequence"} for key, value in item.items()}  # The same.
    return bare


def types_in(feature: Any) -> set[str]:
    """Return the names of all feature types in features JSON."""
    if isinstance(feature, list):
        return {kind for item in feature for kind in types_in(item)}
    if not isinstance(feature, Mapping):
        return set()
    inner = {kind for item in feature.values() for kind in types_in(item)}
    kind = feature.get("_type")  # A column may have this name too.
    return inner | {kind} if isinstance(kind, str) else inner


def missing_types(features: Mapping[str, Any], known: Container[str]) -> list[str]:
    """Return, in words, which columns need a type that is not *known*, and since when there is one."""
    return [
        f"column {column!r} needs {kind}, which datasets has since {_SINCE.get(kind, 'a later release')}"
        for column, feature in features.items()
        for kind in sorted(types_in(feature))
        if kind not in known
    ]


def _renamed(mapping: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in mapping.items()}
