"""The loop by boto3 at the whole size, which takes longer than all the rest: `python -m benchmarks loops`."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.cases.moving import LARGE, SMALL, Moved
from benchmarks.harness import Line
from benchmarks.harness.servers import Desk, seaweed_desk


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for 8 × 128 MiB and 2,000 × 64 KiB, there and back."""
    lines = []
    with seaweed_desk(folder) as desk:
        for shape in (SMALL, LARGE):
            moved = Moved(desk, Desk(desk.server, folder / "publisher"), shape)
            lines += moved.by_boto3(runs)
            shutil.rmtree(moved.publisher.folder)
    return lines
