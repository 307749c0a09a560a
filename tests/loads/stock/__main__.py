"""Run tests of `datasets` itself, without and with activation: what passes without must pass with it.

    python -m tests.loads.stock [FOLDER]

FOLDER has the tests of this release as its repository has them (or a folder for each release, by its
number). Without it they are taken from the sdist, which leaves out what they share: `standin` takes
its place, and what needs more fails in both runs.
"""

from __future__ import annotations

import collections
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import datasets

FILES = ("test_load.py", "test_builder.py", "test_inspect.py")
#: How the Hub is out of reach: by the switch, or since nobody answers.
WAYS = {"switched offline": {"HF_HUB_OFFLINE": "1"}, "no Hub answers": {}}
_STANDIN = Path(__file__).parent / "standin"
_TIMEOUT_SECONDS = 3600


def main() -> int:
    """Print what differs, and how many tests pass; return 1 where one passes without activation only."""
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as work:
        tests = _tests(Path(work), Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else None)
        for way, variables in WAYS.items():
            without = _run(tests, Path(work) / "without", variables)
            activated = _run(tests, Path(work) / "with", {**variables, "HGLOC_AUTO_INSTALL": "1"})
            print(f"datasets {datasets.__version__}, {way}:")
            print(f"  without: {_summary(without)}\n  with:    {_summary(activated)}")
            for name in sorted(without.keys() | activated.keys()):
                before, after = without.get(name, "absent"), activated.get(name, "absent")
                if before != after:
                    print(f"  {before} → {after}: {name}")
                if before == "passed" != after:
                    broken.append(name)
            if "passed" not in without.values():
                broken.append(f"no test passes without activation ({way})")
    print(f"{len(broken)} broken" if broken else "nothing is broken")
    return 1 if broken else 0


def _tests(work: Path, given: Path | None) -> Path:
    """Return a folder that has the tests as the package ``tests``."""
    place = work / "source"
    if given is None:
        given = _from_sdist(work)
    elif (given / datasets.__version__).is_dir():
        given = given / datasets.__version__
    given = given / "tests" if (given / "tests").is_dir() else given
    shutil.copytree(given, place / "tests")
    if not (place / "tests" / "utils.py").exists():
        shutil.copytree(_STANDIN, place / "tests", dirs_exist_ok=True)
    return place


def _from_sdist(work: Path) -> Path:
    release = f"datasets=={datasets.__version__}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-binary", "datasets", "--dest", str(work), release], check=True)
    (archive,) = work.glob("datasets-*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(work / "sdist", filter="data")
    return next((work / "sdist").iterdir())


def _run(tests: Path, home: Path, variables: dict[str, str]) -> dict[str, str]:
    """Return the outcome of each test, run in a home of its own with no Hub in reach."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    foreign = ("HGLOC_", "HF_", "AWS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env |= {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HGLOC_DATASETS_STORE_PATH": str(home / "store"),
        **variables,
    }
    report = home / "report.xml"
    files = [f"tests/{name}" for name in FILES]
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--junitxml",
        str(report),
        *files,
    ]
    ran = subprocess.run(pytest, cwd=tests, env=env, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if not report.exists():
        raise SystemExit(f"pytest has not run:\n{ran.stdout}{ran.stderr}")
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        tags = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = tags[0] if tags else "passed"
    return outcomes


def _summary(outcomes: dict[str, str]) -> str:
    counts = collections.Counter(outcomes.values())
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
