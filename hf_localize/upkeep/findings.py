"""What the doctor finds, as a value."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: where, what, how it is (``ok``, ``warn`` or ``fail``), and what to do."""

    area: str
    name: str
    state: str
    told: str
    advice: str | None = None
