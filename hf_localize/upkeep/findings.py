"""What the doctor finds, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from hf_localize.format.record import Record

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding(Record):
    """The result of one check: its area and name, ``ok``, ``warn`` or ``fail``, why, and what to do."""

    area: str
    name: str
    state: str
    told: str
    advice: str | None = None


def judged(
    area: str, name: str, is_good: bool, good: str, bad: str, advice: str | None, state: str = WARN
) -> Finding:
    """Return that it is as it should be, in the words *good*, or else *bad* and what to do."""
    return Finding(area, name, OK, good) if is_good else Finding(area, name, state, bad, advice)
