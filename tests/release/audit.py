"""Known weaknesses: of the dependencies (pip-audit), and in our own code (bandit).

Run by ``make audit``, in an environment that has only what hf_localize needs, and these two.
Exit status: 0 nothing was found, 1 something was, 2 the dependencies could not be audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def audit_dependencies() -> int:
    """Print each known vulnerability of what is installed."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--format=json",
        "--progress-spinner=off",
        "--skip-editable",
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"NOT AUDITED: pip-audit could not ask its service:\n{ran.stderr.strip()[-1000:]}")
        return 2
    for package in found:
        for problem in package.get("vulns", []):
            fixed = ", ".join(problem.get("fix_versions", [])) or "no release yet"
            print(f"{package['name']} {package['version']}: {problem['id']}, fixed in {fixed}")
    found = [package for package in found if package["name"] not in ("hf_localize", "hf-localize")]
    skipped = [package["name"] for package in found if "skip_reason" in package]
    vulnerable = any(package.get("vulns") for package in found)
    print(f"{len(found) - len(skipped)} of {len(found)} packages were audited")
    if skipped and not vulnerable:
        print(
            f"NOT AUDITED, since the service of pip-audit does not know them from here: {', '.join(skipped)}"
        )
    return 1 if vulnerable else 2 if skipped else 0


def audit_code() -> int:
    """Print what bandit finds that is not explained beside the line or in pyproject.toml."""
    command = ["-m", "bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", "hf_localize"]
    return subprocess.run([sys.executable, *command], cwd=ROOT).returncode


if __name__ == "__main__":
    code, dependencies = audit_code(), audit_dependencies()
    print("bandit: no finding unexplained" if code == 0 else "bandit: see above")
    sys.exit(code or dependencies)
