"""Build wheel and sdist, and try them on each Python here, with the oldest and newest dependencies.

python -m tests.release.package            # all Pythons from 3.10 to 3.14 that this machine has
python -m tests.release.package 3.12       # one
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
TRIED = Path(__file__).parent / "tried.py"
DOWNSTREAM = ROOT / "tests" / "release" / "downstream" / "uses.py"
MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")
#: uv's names for the oldest and the newest releases that pyproject.toml allows.
RESOLUTIONS = ("lowest-direct", "highest")
CATALOG = """
from hf_localize.catalog.cards import read_card
from hf_localize.catalog.frame import About, environment
from hf_localize.catalog.overview import overview
assert read_card(b"# A <script>b</script>").text == '<h3 id="card-a-scriptbscript">A </h3>\\n'
assert b"0 datasets" in overview(About(title="t", made="d", is_public=True), [])
assert environment().get_template("dataset.html")
"""
#: What would let the settings of whoever runs this in.
_FOREIGN = ("HGLOC_", "AWS_", "HF_", "PYTHON", "VIRTUAL_ENV")


def main() -> int:
    """Build and try; return 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.release.package", description=__doc__)
    parser.add_argument("minors", nargs="*", default=MINORS, help="such as 3.12; default: all there are")
    needed = parser.parse_args().minors
    here = {minor: found for minor in needed if (found := python_of(minor))}
    print(
        f"Pythons here: {', '.join(here)}; not here: {', '.join(m for m in needed if m not in here) or 'none'}"
    )
    failed = []
    with tempfile.TemporaryDirectory(prefix="hf_localize-package-") as folder:
        wheel, sdist = build(Path(folder) / "dist")
        tries = [(*pair, wheel) for pair in itertools.product(here, RESOLUTIONS)]
        tries += [(minor, "highest", sdist) for minor in list(here)[-1:]]
        for minor, resolution, archive in tries:
            what = f"Python {minor}, {archive.name.split('-')[-1]}, {resolution}"
            started = time.monotonic()
            try:
                said = try_out(here[minor], resolution, archive, Path(folder) / "tried")
            except subprocess.CalledProcessError as exc:
                failed.append(what)
                said = f"FAILED\n{exc.stdout}{exc.stderr}"
            print(f"{what}: {said} ({time.monotonic() - started:.0f} s)", flush=True)
        newest = list(here)[-1]
        try:
            print(f"From a local index: {try_from_index(here[newest], wheel, Path(folder) / 'index')}")
        except (subprocess.CalledProcessError, AssertionError) as exc:
            failed.append("from a local index")
            print(f"From a local index: FAILED\n{getattr(exc, 'stderr', exc)}")
        try:
            print(
                f"mypy --strict on Python {newest}: {check_types(here[newest], wheel, Path(folder) / 'types')}"
            )
        except (subprocess.CalledProcessError, AssertionError) as exc:
            failed.append("mypy")
            print(f"mypy: FAILED\n{getattr(exc, 'stdout', exc)}")
    print(f"{len(failed)} of {len(tries) + 2} failed" if failed else f"all {len(tries) + 2} passed")
    return 1 if failed or not here else 0


def python_of(minor: str) -> str | None:
    """Return a Python of that version, of the system or of a version manager."""
    home = Path.home()
    managers = (
        Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions",
        home / ".local" / "share" / "uv" / "python",
        home / ".asdf" / "installs" / "python",
        Path("/opt/hostedtoolcache/Python"),
    )
    known = [sys.executable, *(shutil.which(f"python{minor}", path=p) for p in os.get_exec_path())]
    for manager in managers:
        known += map(str, sorted(manager.glob(f"*/**/bin/python{minor}")))
    for python in filter(None, known):
        asked = "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2])"
        ran = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
        if ran.stdout.strip() == minor:
            return python
    return None


def build(folder: Path) -> tuple[Path, Path]:
    """Return the wheel, built from the sdist as an installer would, and the sdist."""
    _run([_uv(), "build", "--quiet", "--out-dir", folder, ROOT])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    places = {name.split("/")[0] for name in names}
    version = re.search(r'__version__ = "(.+)"', (ROOT / "hf_localize" / "_version.py").read_text())
    assert version
    assert places == {
        "hf_localize",
        "hf_localize.pth",
        "hf_localize.start",
        f"hf_localize-{version[1]}.dist-info",
    }, places
    assert {"hf_localize/py.typed", "hf_localize/shim/on_pythonpath/sitecustomize.py"} <= set(names)
    return wheel, sdist


def try_out(python: str, resolution: str, archive: Path, folder: Path) -> str:
    """Install *archive* into a new environment, try it there, and return the versions that it got."""
    shutil.rmtree(folder, ignore_errors=True)
    # What is installed is the archive, whose own dependencies uv would not call direct ones.
    pins = folder / "pins.txt"
    folder.mkdir()
    options = ["--quiet", "--resolution", resolution, "--python", python, "--output-file", pins]
    _run([_uv(), "pip", "compile", *options, ROOT / "pyproject.toml"])
    installed = _install(python, folder / "venv", archive, "--constraint", pins)
    (folder / "home").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    env = {
        **clean,
        "HOME": str(folder / "home"),
        "PATH": f"{installed.parent}{os.pathsep}{os.environ['PATH']}",
    }
    return _run([installed, TRIED, ROOT / "sitecustomize_example"], cwd=folder / "home", env=env).strip()


def try_from_index(python: str, wheel: Path, folder: Path) -> str:
    """Run the command as `uvx` does, and install the extra for the catalog, from an index with the wheel."""
    index = ["--python", python, "--find-links", wheel.parent]
    told = _run([_uv(), "tool", "run", "--isolated", *index, "hf-localize", "--version"])
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert not re.search(r"\]\((?!https://)", archive.read(metadata).decode()), (
            "the README has a relative link"
        )
    _run([_uv(), "venv", "--quiet", "--python", python, folder])
    installed = folder / "bin" / "python"
    options = ["--quiet", "--python", installed, "--find-links", wheel.parent]
    _run([_uv(), "pip", "install", *options, "hf-localize[catalog]"])
    _run([installed, "-c", CATALOG], cwd=folder)
    return told.strip()


def check_types(python: str, wheel: Path, folder: Path) -> str:
    """Have mypy check a program that uses the installed wheel, and that it knows each public name."""
    installed = _install(python, folder / "venv", wheel, "mypy>=1.15")
    check = [installed, "-m", "mypy", "--strict", "--cache-dir", folder / "cache"]
    names = _run([installed, "-c", "import hf_localize; print(*hf_localize.__all__)"], cwd=folder).split()
    revealing = folder / "names.py"
    revealing.write_text(
        "import hf_localize\n" + "".join(f"reveal_type(hf_localize.{name})\n" for name in names)
    )
    revealed = _run([*check, revealing], cwd=folder)
    assert revealed.count("Revealed type is") == len(names), revealed
    assert 'is "Any"' not in revealed, revealed
    copy = shutil.copy(DOWNSTREAM, folder)  # Beside the clone mypy would read the clone, not the wheel.
    return f"{len(names)} public names have types. {_run([*check, copy], cwd=folder).strip()}"


def _install(python: str, venv: Path, *what: Path | str) -> Path:
    """Return the Python of a new environment in which *what* was installed."""
    _run([_uv(), "venv", "--quiet", "--python", python, venv])
    installed = venv / "bin" / "python"
    _run([_uv(), "pip", "install", "--quiet", "--python", installed, *what])
    return installed


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")


def _run(command: Sequence[Path | str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, check=False)
    ran.check_returncode()
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
