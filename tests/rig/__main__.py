"""Start a Hub with ``tests/data`` and an S3 server for somebody who tries hf_localize by hand.

    eval "$(python -m tests.rig)"     # both are up, and the settings name them
    kill "$TRY_HUB"                   # the Hub is gone
    kill "$TRY_S3"

Both are on this machine alone. They run until they are killed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUCKET = "team-datasets"
_SECONDS = 60.0


def main() -> int:
    """Start both, and print what a shell has to know of them."""
    folder = Path(tempfile.mkdtemp(prefix="hf_localize-try-"))
    s3 = _start(
        folder / "s3.env", "tests.rig.s3", "--kind", "moto", "--folder", folder / "s3", "--bucket", BUCKET
    )
    hub = _start(folder / "hub.url", "tests.rig.hub", "--root", ROOT / "tests" / "data")
    # The settings of moto's server end with the region.
    exports = _said(s3, folder / "s3.env", "export HGLOC_AWS_DEFAULT_REGION")
    url = _said(hub, folder / "hub.url", "http://")
    if not exports or not url:
        for process in (s3, hub):
            process.terminate()
        print(f"the servers did not start; what they said is in {folder}", file=sys.stderr)
        return 1
    mine = {
        "HF_ENDPOINT": url.strip(),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "hf"),
        "HGLOC_DATASETS_STORE_PATH": str(folder / "store"),
        "TRY_S3": str(s3.pid),
        "TRY_HUB": str(hub.pid),
    }
    sys.stdout.write(exports + "".join(f"export {n}={shlex.quote(v)}\n" for n, v in mine.items()))
    return 0


def _start(log: Path, module: str, *arguments: Path | str) -> subprocess.Popen[bytes]:
    """Start a server that outlives this process, and what it says goes to *log*."""
    with log.open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _said(process: subprocess.Popen[bytes], log: Path, last: str) -> str:
    """Return what a server has said when it is up, which a line that begins with *last* tells."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text()
        if any(line.startswith(last) for line in said.splitlines()) and said.endswith("\n"):
            return said
        time.sleep(0.05)
    return ""


if __name__ == "__main__":
    sys.exit(main())
