"""The tables of what works: written by the differential suites, from what each release did.

Each run of a suite leaves a file in the folder that ``HGLOC_TEST_REPORT`` names, in one for each table. Then
``python -m tests.loads.fidelity.report FOLDER PAGE NAME`` puts the table between the two marks of that name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

PLACES = ("local", "private", "public")
#: The folder to leave reports in, if any.
FOLDER = os.environ.get("HGLOC_TEST_REPORT", "")


def record(name: str, version: str, place: str, equal: Mapping[str, tuple[int, int]]) -> None:
    """Leave what one run of a release found for the table *name*: {group: (calls that answered as stock, calls)}."""
    folder = Path(FOLDER, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{version}-{place}.json").write_text(json.dumps(equal))


def table(folder: Path) -> str:
    """Return the table (Markdown) of all runs that are recorded in *folder*."""
    runs = {tuple(path.stem.rsplit("-", 1)): json.loads(path.read_text()) for path in folder.glob("*.json")}
    versions = sorted({version for version, _ in runs}, key=lambda v: tuple(map(int, v.split("."))))
    lines = [f"| calls | number | {' | '.join(versions)} |", f"|---|---|{'---|' * len(versions)}"]
    for group in next(iter(runs.values())):
        calls = max(run[group][1] for run in runs.values())  # Not each environment has all libraries.
        cells = [_cell([runs[version, place][group] for place in PLACES]) for version in versions]
        lines.append(f"| {group} | {calls} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: list[tuple[int, int]]) -> str:
    equal, calls = (sum(numbers) for numbers in zip(*found, strict=True))
    return "all" if equal == calls else f"{equal} of {calls}"


def between(page: Path, name: str) -> tuple[str, str, str]:
    """Return what is before, between and after the two marks *name* of *page*."""
    before, found, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name}: begin -->\n")
    inside, ended, after = rest.partition(f"<!-- {name}: end -->\n")
    if not (found and ended):
        raise ValueError(f"{page} has no marks of that name: {name}")
    return before + found, inside, ended + after


def put_between(page: Path, name: str, text: str) -> None:
    """Put *text* between the two marks *name* of *page*, in place of what is there."""
    before, _, after = between(page, name)
    page.write_text(f"{before}{text}{after}", encoding="utf-8")


def main(folder: str, page: str, name: str) -> None:
    put_between(Path(page), name, table(Path(folder, name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
