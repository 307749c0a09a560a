"""Do what the README tells a newcomer to, in a clean HOME and a clean clone, and measure it.

    python tests/release/newcomer.py          # `make newcomer`

The commands are those of the README's section, as they stand there; nothing else is set up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## Try it"
MOST_COMMANDS = 10
MOST_SECONDS = 300
#: What a machine has for everybody; all else is the newcomer's to set.
_KEPT = re.compile(r"PATH|LANG|LC_.*|PIP_.*|SSL_CERT_.*|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy")


def commands_of(readme: str) -> list[str]:
    """Return the commands of the README's section for newcomers, each as it stands there."""
    section = readme.split(f"\n{SECTION}")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return [line for line in block.replace("\\\n", "").splitlines() if line and not line.startswith("#")]


def main() -> int:
    """Run them; return 1 where one fails, or they are too many or too slow."""
    commands = commands_of((ROOT / "README.md").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="hf_localize-newcomer-") as folder:
        home, clone = Path(folder, "home"), Path(folder, "hf_localize")
        home.mkdir()
        _clone(clone)
        env = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        env |= {"HOME": str(home), "PATH": _path_without_environments()}
        # One shell, as a newcomer has: what one command exports, the next one sees.
        script = ["set -e", "trap 'kill $TRY_S3 $TRY_HUB 2>/dev/null || true' EXIT"]
        for number, command in enumerate(commands, start=1):
            script += [f"printf '\\n%s s  %s. %s\\n' $SECONDS {number} {_quoted(command)} >&2", command]
        started = time.monotonic()
        ran = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=clone,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            timeout=4 * MOST_SECONDS,
            check=False,
        )
        seconds = time.monotonic() - started
    print(ran.stdout)
    loaded = "num_rows: 747" in ran.stdout
    print(f"{len(commands)} commands, {seconds:.0f} s, status {ran.returncode}, loaded: {loaded}")
    is_so = ran.returncode == 0 and loaded and len(commands) <= MOST_COMMANDS and seconds < MOST_SECONDS
    return 0 if is_so else 1


def _clone(target: Path) -> None:
    """Make a clone as it would come from the repository's host: what is committed, and no more."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", target], check=True)
    else:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".venv*", "build", "dist"))


def _path_without_environments() -> str:
    """Return PATH with the Python that runs this first, or the one that its environment was made of."""
    base = Path(sys.base_prefix) / "bin"
    others = [part for part in os.get_exec_path() if not (Path(part).parent / "pyvenv.cfg").exists()]
    return os.pathsep.join([str(base), *others])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    sys.exit(main())
