"""The command that looks at everything on which loads depend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_localize.cli.options import command, fail
from hf_localize.cli.output import is_quiet, is_terminal, paint, say, show, show_json, show_lines

if TYPE_CHECKING:
    from hf_localize.api.doctor import Finding

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@command(page="guides/troubleshooting.md")
def doctor(as_json: bool) -> None:
    """Check settings, store, bucket, Hub, versions and activation.

    Tests each of them: writes a file to the store and an object to the bucket, removes both, and uses each
    permission of docs/permissions.md once. Shows ok, warn or fail for each, and what to do. With
    --quiet, shows only what is not ok. The exit status is 1 if anything fails.

    Example: hg-localize doctor
    """
    from hf_localize.api.doctor import diagnose

    found = diagnose()
    shown = [finding for finding in found if not is_quiet() or finding.state != "ok"]
    if as_json:
        show_json(shown)
    elif is_terminal():
        _show(shown)
    else:
        show_lines([item.state, item.area, item.name, item.told, item.advice] for item in shown)
    states = [finding.state for finding in found]
    summary = f"{states.count('ok')} ok, {states.count('warn')} to look at, {states.count('fail')} failed"
    if "fail" in states:
        fail(summary)
    say(summary)


def _show(found: Sequence[Finding]) -> None:
    for area in dict.fromkeys(finding.area for finding in found):
        of_area = [finding for finding in found if finding.area == area]
        width = max(len(finding.name) for finding in of_area)
        show(paint(area, bold=True))
        for finding in of_area:
            state = paint(f"{finding.state:<4}", fg=_COLORS[finding.state])
            first, *others = finding.told.split("\n")
            show("  ", state, f"  {finding.name:<{width}}  {first}")
            for line in [*others, *(f"→ {finding.advice}".split("\n") if finding.advice else ())]:
                show(f"{'':{width + 10}}{line}")
