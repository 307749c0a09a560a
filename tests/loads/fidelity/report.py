"""The README's table of what works: written by the differential suite, from what each release did.

Each run of the suite leaves a file in the folder that ``HGLOC_TEST_REPORT`` names. Then
``python -m tests.loads.fidelity.report FOLDER README.md`` puts the table between its two marks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import datasets

BEGIN, END = "<!-- what works: begin -->\n", "<!-- what works: end -->\n"
PLACES = ("local", "private", "public")
#: The folder to leave reports in, if any.
FOLDER = os.environ.get("HGLOC_TEST_REPORT")


def record(folder: str, place: str, equal: Mapping[str, tuple[int, int]]) -> None:
    """Leave in *folder* what one run found: {group: (calls that answered as stock, calls)}."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{datasets.__version__}-{place}.json").write_text(json.dumps(equal))


def table(folder: Path) -> str:
    """Return the table (Markdown) of all runs that are recorded in *folder*."""
    runs = {tuple(path.stem.rsplit("-", 1)): json.loads(path.read_text()) for path in folder.glob("*.json")}
    versions = sorted({version for version, _ in runs}, key=lambda v: tuple(map(int, v.split("."))))
    lines = [f"| calls | number | {' | '.join(versions)} |", f"|---|---|{'---|' * len(versions)}"]
    for group, (_, calls) in next(iter(runs.values())).items():
        cells = [_cell([runs[version, place][group] for place in PLACES]) for version in versions]
        lines.append(f"| {group} | {calls} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: list[tuple[int, int]]) -> str:
    equal, calls = (sum(numbers) for numbers in zip(*found, strict=True))
    return "all" if equal == calls else f"{equal} of {calls}"


def main(folder: str, page: str) -> None:
    text = Path(page).read_text()
    head, rest = text.split(BEGIN)
    Path(page).write_text(f"{head}{BEGIN}{table(Path(folder))}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
