"""What any version of `datasets` wrote, each other loads: from store, bucket, ZIP, and as a stream.

``HGLOC_TEST_PYTHONS`` names the interpreters that take part, divided as ``PATH`` is; each has
its own `datasets` and this checkout. Without it there is only the running one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Desk
from tests.rig.hub import LoopbackHub

PYTHONS = [p for p in os.environ.get("HGLOC_TEST_PYTHONS", sys.executable).split(os.pathsep) if p]


def run(python: str, module: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """Return the last line of what *module*, run by *python*, printed."""
    cwd.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{python}: {done.stderr[-3000:]}"
    return done.stdout.splitlines()[-1]


def version_of(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('datasets'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_each_version_loads_what_each_version_wrote(desk: Desk, record_property: Any) -> None:
    versions = {version_of(python): python for python in PYTHONS}
    root = desk.folder / "hub"
    desk.publisher().open_public_places()
    store = os.environ["HGLOC_DATASETS_STORE_PATH"]
    with LoopbackHub(root) as hub:
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(desk.folder / "home-writers")}

        def write(item: tuple[str, str]) -> list[str]:
            cwd = desk.folder / f"writer-{item[0]}"
            return json.loads(run(item[1], "tests.loads.matrix.write", str(root), *versions, cwd=cwd, **own))

        with ThreadPoolExecutor(2) as pool:
            ids = [dataset_id for written in pool.map(write, versions.items()) for dataset_id in written]
    places = {
        "store": {"HGLOC_DATASETS_STORE_PATH": store, "HGLOC_SOURCES": "local"},
        "bucket": {"HGLOC_SOURCES": "local,s3"},
        "ZIP": {"HGLOC_AWS_ACCESS_KEY_ID": "", "HGLOC_AWS_SECRET_ACCESS_KEY": ""},
    }

    def read(item: tuple[str, str]) -> dict[str, str]:
        reader, place = item
        at = desk.folder / f"reader-{reader}-{place}"
        needed = [i for i in ids if "-for-" not in i or i.endswith(f"-for-{reader}")]
        variables = {
            **own,
            "HF_HOME": str(at / "hf"),
            "HGLOC_DATASETS_STORE_PATH": str(at / "store"),
            **places[place],
        }
        found = json.loads(run(versions[reader], "tests.loads.matrix.read", *needed, cwd=at, **variables))
        return {f"{i} read by {reader} from {place}": wrong for i, wrong in found.items()}

    pairs = [(reader, place) for reader in versions for place in places]
    with ThreadPoolExecutor(2) as pool:
        outcomes = {name: wrong for found in pool.map(read, pairs) for name, wrong in found.items()}
    record_property("readings", len(outcomes))
    assert {name: wrong for name, wrong in outcomes.items() if wrong} == {}
    assert len(outcomes) >= len(ids) * len(places) / len(versions)
