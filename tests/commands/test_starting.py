"""How activation reaches a Python that starts: the wheel's .pth file, sitecustomize, `hg-localize run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_cli
from tests.rig.hub import LoopbackHub

EXAMPLE = ROOT / "sitecustomize_example"
PACKAGED = ROOT / "hf_localize" / "shim" / "on_pythonpath"
ACTIVE = "import sys; print('hf_localize.shim.activation' in sys.modules)"
#: Where this environment's packages lie. On PYTHONPATH, Python does not read the .pth files there.
PACKAGES = next(p for p in sys.path if (Path(p) / "datasets").is_dir())


class Machine:
    """A Python of its own, with nothing installed."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        self.folder = folder
        self.python = next(folder.glob("*/python"))
        self.site = next(folder.glob("**/site-packages"))

    def run(
        self, *arguments: str, path: tuple[str | Path, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **env}
        return subprocess.run(
            [self.python, *arguments], capture_output=True, text=True, env=env, cwd=self.folder, timeout=120
        )

    def says(self, *arguments: str, path: tuple[str | Path, ...] = (), **env: str) -> str:
        ran = self.run(*arguments, path=path, **env)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.strip()


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "python")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def machine(bare: Machine, wheel: Path) -> Machine:
    """Return a Python with the wheel installed, and not its dependencies."""
    zipfile.ZipFile(wheel).extractall(bare.site)
    return bare


def test_the_installed_wheel_alone_activates(machine: Machine) -> None:
    code = "import datasets, hf_localize; print(hf_localize.is_installed(), hf_localize.__file__)"
    shown = machine.says("-c", code, path=(PACKAGES,), HGLOC_AUTO_INSTALL="1")
    assert shown == f"True {machine.site / 'hf_localize' / '__init__.py'}"


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_wheel_loads_nothing_where_the_variable_is_off(value: str | None, machine: Machine) -> None:
    code = "import sys; print([n for n in sys.modules if n.startswith('hf_localize')], sys.meta_path[0].__name__)"
    env = {} if value is None else {"HGLOC_AUTO_INSTALL": value}
    assert machine.says("-c", code, **env) == "[] BuiltinImporter"


def test_an_isolated_python_is_activated_and_one_without_site_is_not(machine: Machine) -> None:
    for option, active in (("-I", "True"), ("-E", "True"), ("-s", "True"), ("-S", "False")):
        assert machine.says(option, "-c", ACTIVE, HGLOC_AUTO_INSTALL="1") == active, option


def test_a_pth_file_that_was_left_behind_never_stops_python(machine: Machine) -> None:
    (machine.site / "hf_localize").rename(machine.site / "gone")
    assert machine.says("-c", "print('started')") == "started"
    ran = machine.run("-c", "print('started')", HGLOC_AUTO_INSTALL="1")
    assert (ran.returncode, ran.stdout) == (0, "started\n")
    assert "hf_localize.pth" in ran.stderr
    assert "No module named 'hf_localize'" in ran.stderr


def test_an_activation_that_fails_later_is_told_and_the_program_goes_on(machine: Machine) -> None:
    (machine.folder / "datasets.py").write_text("works = True")
    (machine.site / "hf_localize" / "shim" / "patch.py").write_text("raise ImportError('broken on purpose')")
    ran = machine.run("-c", "import datasets; print(datasets.works)", HGLOC_AUTO_INSTALL="1")
    assert (ran.returncode, ran.stdout) == (0, "True\n")
    assert "hf_localize could not be activated" in ran.stderr
    assert "broken on purpose" in ran.stderr


_LOADS = """
import multiprocessing

def load():
    import datasets, huggingface_hub
    for call in (datasets.load_dataset, huggingface_hub.snapshot_download):
        try:
            call("org/x")
        except Exception as exc:
            print(type(exc).__name__, flush=True)

if __name__ == "__main__":
    import datasets
    print(len(datasets.Dataset.from_dict({"a": [1]})), flush=True)
    load()
    child = multiprocessing.get_context("spawn").Process(target=load)
    child.start()
    child.join()
"""


def test_a_setting_that_cannot_be_used_ends_loads_and_nothing_else(hub: LoopbackHub, tmp_path: Path) -> None:
    """Else a program would use the data of the Hub, unnoticed, in place of those of the team."""
    (tmp_path / "program.py").write_text(_LOADS)
    before = len(hub.requests)
    env = {**os.environ, "HGLOC_AUTO_INSTALL": "1", "HGLOC_S3_BUCKET_NAME": '"quoted"'}
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["1", *["SettingsError"] * 4]), ran.stderr
    assert "HGLOC_S3_BUCKET_NAME must be a bucket's name alone" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(hub.requests) == before


@pytest.mark.parametrize("value", ["0", "1"])
@pytest.mark.parametrize("ours", [(), (EXAMPLE,), (PACKAGED, EXAMPLE)])
def test_a_sitecustomize_of_the_user_runs_once_in_every_case(
    value: str, ours: tuple[Path, ...], machine: Machine
) -> None:
    own = machine.folder / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("print('own', __name__, __file__)")
    code = "import sys, sitecustomize; print(sitecustomize.__file__, [type(f).__module__ for f in sys.meta_path].count('hf_localize.shim.activation'))"
    shown = machine.says("-c", code, path=(*ours, own), HGLOC_AUTO_INSTALL=value)
    file = own / "sitecustomize.py"
    assert shown == f"own sitecustomize {file}\n{file} {value}"  # Activated twice is activated once.


def test_a_sitecustomize_of_the_user_that_fails_is_reported_by_python_as_ever(bare: Machine) -> None:
    own = bare.folder / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("raise RuntimeError('own mistake')")
    for path in ((own,), (EXAMPLE, own)):
        ran = bare.run("-c", "print('started')", path=path)
        assert (ran.returncode, ran.stdout) == (0, "started\n")
        assert "own mistake" in ran.stderr


def test_the_example_is_the_file_that_run_uses() -> None:
    assert (EXAMPLE / "sitecustomize.py").read_text() == (PACKAGED / "sitecustomize.py").read_text()


def test_run_activates_where_hf_localize_is_only_on_pythonpath(bare: Machine) -> None:
    code = "import datasets, hf_localize; print(hf_localize.is_installed())"
    arguments = ("-m", "hf_localize", "run", bare.python, "-c", code)
    assert bare.says(*map(str, arguments), path=(ROOT, PACKAGES)) == "True"


def test_run_says_so_where_the_command_s_python_lacks_hf_localize(bare: Machine) -> None:
    ran = run_cli("run", str(bare.python), "-c", "print('started')")
    assert (ran.returncode, ran.stdout) == (0, "started\n")
    assert "hf_localize could not be activated" in ran.stderr


@pytest.mark.parametrize("dashes", [("--",), ()])
def test_run_leaves_arguments_and_exit_status_alone(dashes: tuple[str, ...]) -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    given = ["--help", "-x", "--", "a b", "$HOME", "*", ""]
    ran = run_cli("run", *dashes, sys.executable, "-c", code, *given)
    assert (ran.returncode, ran.stdout) == (7, f"{given}\n"), ran.stderr


def test_run_becomes_the_command_so_that_signals_reach_it() -> None:
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    command = [sys.executable, "-m", "hf_localize", "run", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"{process.pid}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == -signal.SIGTERM


def test_a_pipe_that_closes_ends_a_command_as_without_run() -> None:
    ran = run_cli("run", "--", "sh", "-c", "yes | head -n 1")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "y\n", "")


def test_run_says_what_can_not_be_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    for command, status in (("no-such-command", 127), (str(tmp_path / "none"), 127), (str(plain), 126)):
        ran = run_cli("run", command)
        assert (ran.returncode, ran.stdout) == (status, "")
        assert ran.stderr.startswith(f"Error: {command!r} can't be run: ")
    assert run_cli("run").returncode == 2


@pytest.mark.parametrize("kind", ["script", "module", "console script", "pytest", "grandchild"])
def test_run_reaches_every_way_to_start_python(kind: str, tmp_path: Path) -> None:
    code = "import hf_localize\ndef test_it():\n    assert hf_localize.is_installed()\ntest_it()\nprint('activated')\n"
    (tmp_path / "test_mine.py").write_text(code)
    console = tmp_path / "console-script"
    console.write_text(f"#!{sys.executable}\n{code}")
    console.chmod(0o755)
    again = f"import subprocess; subprocess.run([{sys.executable!r}, 'test_mine.py'], check=True)"
    command = {
        "script": (sys.executable, "test_mine.py"),
        "module": (sys.executable, "-m", "test_mine"),
        "console script": (str(console),),
        "pytest": (sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "test_mine.py"),
        "grandchild": (sys.executable, "-c", again),
    }[kind]
    ran = run_cli("run", "--", *command, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "activated" in ran.stdout
