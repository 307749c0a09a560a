"""Compare what ``--json`` prints with ``docs/json.md``."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conftest import ROOT

_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def documented() -> dict[str, dict[str, str]]:
    """Return {command: {field: type}} of the sections of the document."""
    text = (ROOT / "docs" / "json.md").read_text()
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, _, body = section.partition("\n")
        if same := re.match(r"\s*As `([a-z0-9-]+)`", body):
            found[name.strip()] = found[same.group(1)]
        else:
            rows = re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", body, flags=re.MULTILINE)
            found[name.strip()] = dict(rows)
    return found


def assert_documented(command: str, printed: str) -> Any:
    """Check that *printed* is one JSON document with exactly the documented fields; return it."""
    document = json.loads(printed)
    fields = documented()[command]
    seen: set[str] = set()
    _look(document, "", fields, seen)
    missing = {f for f in fields if f not in seen and not _is_below_empty(f, document)}
    assert not missing, f"{command} --json lacks {sorted(missing)}"
    return document


def _look(value: Any, path: str, fields: dict[str, str], seen: set[str]) -> None:
    if path and not path.endswith("[]"):
        assert path in fields, f"{path} is not documented"
        kinds = [_TYPES[kind] for kind in fields[path].split(" or ")]
        assert any(_is_a(value, kind) for kind in kinds), f"{path} is {value!r}, not {fields[path]}"
        seen.add(path)
    has_parts = any(field.startswith((f"{path}.", f"{path}[]")) for field in fields) or not path
    if isinstance(value, dict) and has_parts:
        for key, part in value.items():
            _look(part, f"{path}.{key}".lstrip("."), fields, seen)
    elif isinstance(value, list) and has_parts:
        for part in value:
            _look(part, f"{path}[]", fields, seen)


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _is_below_empty(field: str, document: Any) -> bool:
    """Tell whether *field* is of the items of an array that has none, or of an object that is null."""
    array = document
    for name in field.split("[]")[0].split("."):
        if array is None:
            return True
        array = array[name] if name else array
    return "[]" in field and array == []
