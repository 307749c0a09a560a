"""Stage, build, check."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from website.links import divisible, problems_of
from website.staging import ROOT, StagingError, navigation, stage


def main() -> int:
    """Build the site; return 1 where anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m website", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", help="default: build/site")
    parser.add_argument("--stage-only", action="store_true", help="only write the pages to build/pages")
    options = parser.parse_args()
    work = ROOT / "build" / "docs"
    shutil.rmtree(work, ignore_errors=True)
    try:
        staged = stage(work / "pages")
    except StagingError as exc:
        print(exc, file=sys.stderr)
        return 1
    (work / "mkdocs.yml").write_text(navigation(staged), encoding="utf-8")
    if options.stage_only:
        return 0
    zensical = Path(sys.executable).parent / "zensical"
    built = subprocess.run([zensical, "build", "--clean", "--strict"], cwd=work, check=False)
    if built.returncode:
        return built.returncode
    for page in (work / "site").rglob("*.html"):
        page.write_text(divisible(page.read_text(encoding="utf-8")), encoding="utf-8")
    problems = problems_of(work / "site")
    print(*problems, sep="\n", file=sys.stderr)
    if problems:
        return 1
    shutil.rmtree(options.output, ignore_errors=True)
    shutil.copytree(work / "site", options.output)
    print(f"{len(staged)} pages in {options.output}, every link of which leads somewhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
