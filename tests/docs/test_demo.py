"""The demo is what a newcomer runs first: it must hold what it shows.

One test, since the parts of it may land in different workers, and each would run the demo.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 180  # It takes half a minute of processor time, and other tests run beside it.
ROW = re.compile(
    r"^    (?P<who>\w+) +(?P<load>\S.*?) {2,}(?P<source>\w+ \w+) +(?P<bytes>[\d,]+) +(?P<ms>[\d,]+)"
    r" +(?P<rows>[\d,]+) +(?P<sha256>[0-9a-f]{12}) +(?P<verdict>\S+)$"
)
STREAM, WHOLE, SLICE = 'split="test", streaming=True', "every split", 'split="train[:10%]+test"'
ROW_COUNTS = {STREAM: "1,319", WHOLE: "8,792", SLICE: "2,066"}


def test_the_demo_shows_each_load_served_as_promised_and_equal_to_stock(tmp_path):
    demo = run_demo(tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stderr == ""
    assert "FAILED" not in demo.stdout
    assert re.findall(r"^\((\d)\)", demo.stdout, re.MULTILINE) == list("12345")

    rows = [found for line in demo.stdout.splitlines() if (found := ROW.match(line))]
    assert [row.group("who", "load", "source") for row in rows] == [
        ("teammate", STREAM, "private S3"),
        ("teammate", WHOLE, "private S3"),
        ("teammate", SLICE, "local store"),
        ("outsider", STREAM, "public ZIP"),
        ("outsider", WHOLE, "public ZIP"),
        ("outsider", SLICE, "local store"),
        ("teammate", WHOLE, "local store"),
        ("outsider", WHOLE, "local store"),
    ]
    assert [row["verdict"] for row in rows] == ["="] * 8
    assert all(row["rows"] == ROW_COUNTS[row["load"]] for row in rows)
    assert len({row["sha256"] for row in rows}) == 3
    assert all((row["bytes"] == "0") == (row["source"] == "local store") for row in rows)
    assert not list(tmp_path.iterdir()), "the demo left its folder behind"


def run_demo(temporary: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo amid settings that it must not take up."""
    foreign = {"HGLOC_SOURCES": "hub", "HF_HUB_OFFLINE": "1", "AWS_ACCESS_KEY_ID": "somebody"}
    process = subprocess.Popen(
        [sys.executable, "demo/run.py"],
        cwd=ROOT,
        env={**os.environ, **foreign, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.terminate()  # Unlike a kill, it lets the demo stop its servers.
        process.wait(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
