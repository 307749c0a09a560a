"""How ``--dry-run`` shows what would be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hf_localize.cli.options import fail_for
from hf_localize.cli.output import names, say, show_found, size

if TYPE_CHECKING:
    from hf_localize.api.plan import Planned

_HEADINGS = ("DATASET", "CONFIG", "REVISION", "ACTION", "BYTES", "PLACE")


def show_plan(plan: Sequence[Planned], as_json: bool) -> None:
    """Show what would be done, and how much it is in total; the exit status is that of what would fail."""
    done = [one for one in plan if one.success]
    rows = [[*names(asdict(one)), one.action, one.size_bytes, one.place] for one in done]
    show_found(plan if as_json else done, as_json, rows, _HEADINGS, ("PLACE",))
    known = sum(one.size_bytes or 0 for one in done)
    unknown = sum(one.size_bytes is None for one in done)
    more = f", and {unknown} of unknown size" if unknown else ""
    say(f"Nothing was changed. In total: {size(known)}{more}.")
    if files := sum(one.files_bytes or 0 for one in done):
        say(
            f"The files of the repositories, which are stored too, add {size(files)} (to leave them out: "
            "--no-files)."
        )
    fail_for(plan, "dry runs")
