"""What a writer changes in a shared JSON object, as a value: which of its lines become what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from hf_localize.errors import IntegrityError
from hf_localize.format.sealed_json import parse_json

#: A line of the object: of the object itself, or of the one in its field ``entries``.
Slot: TypeAlias = "tuple[str, ...]"
#: For each line that changes [its new value], or [] where it goes.
Change: TypeAlias = "dict[Slot, list[Any]]"
_NESTED = "entries"


def slots(document: Mapping[str, Any]) -> dict[Slot, str]:
    """Return each line of *document*, as text."""
    found: dict[Slot, str] = {}
    for key, value in document.items():
        if key == _NESTED and isinstance(value, dict):
            found |= {(key, name): json.dumps(line) for name, line in value.items()}
        else:
            found[key,] = json.dumps(value)
    return found


def between(before: Mapping[Slot, str], after: Mapping[Slot, str]) -> Change:
    """Return what makes *after* of *before*."""
    new: Change = {slot: [json.loads(value)] for slot, value in after.items() if before.get(slot) != value}
    return new | {slot: [] for slot in before.keys() - after.keys()}


def apply(document: dict[str, Any], made: Iterable[Change]) -> bool:
    """Make all changes, the oldest first. False: the document has them already."""
    before = slots(document)
    for change in made:
        for slot, value in change.items():
            place = document
            if len(slot) == 2:
                if not isinstance(place.get(_NESTED), dict):
                    place[_NESTED] = {}
                place = place[_NESTED]
            if value:
                place[slot[-1]] = value[0]
            else:
                place.pop(slot[-1], None)
    return slots(document) != before


def to_bytes(change: Change) -> bytes:
    """Return *change* as JSON."""
    return json.dumps([[list(slot), value] for slot, value in change.items()]).encode()


def read(data: bytes, where: str) -> Change:
    """Return the change that *data* holds.

    Raises:
        IntegrityError: it holds none.
    """
    try:
        change = {tuple(map(str, slot)): list(value) for slot, value in parse_json(data, where)}
    except (ValueError, TypeError, IntegrityError) as exc:
        raise IntegrityError(f"{where} is not a change of shared JSON; remove it") from exc
    if not all(len(slot) == 1 or (len(slot) == 2 and slot[0] == _NESTED) for slot in change):
        raise IntegrityError(f"{where} changes a line that shared JSON does not have; remove it")
    return change
