"""Installing and uninstalling, in the program and from outside it."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import ROOT, Desk, run_python
from tests.rig.hub import LoopbackHub

EXAMPLE = str(ROOT / "sitecustomize_example")
LOAD = "load_dataset('org/x', split='train')['text'][:]"


@pytest.fixture
def registered(desk: Desk) -> Desk:
    """Return a desk whose store has ``org/x``."""
    desk.outsider()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["x"]}), "org/x", skip_s3_upload=True)
    return desk


def printed(code: str, desk: Desk, **env: str) -> str:
    ran = run_python(code, cwd=desk.folder, HGLOC_SOURCES="local", **env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize(
    "order",
    [
        "import hf_localize; hf_localize.install(); from datasets import load_dataset",
        "from datasets import load_dataset; import hf_localize; hf_localize.install()",
        "import hf_localize; hf_localize.install(); hf_localize.install(); import datasets; "
        "load_dataset = datasets.load_dataset",
    ],
)
def test_install_works_before_and_after_the_names_were_imported(order: str, registered: Desk) -> None:
    assert printed(f"{order}; print({LOAD})", registered) == "['x']"


def test_install_does_not_import_datasets(registered: Desk) -> None:
    code = "import sys, hf_localize; hf_localize.install(); print('datasets' in sys.modules, 'boto3' in sys.modules)"
    assert printed(code, registered) == "False False"


def test_uninstall_gives_every_name_its_original_back(registered: Desk) -> None:
    code = f"""
import datasets, datasets.inspect, datasets.load
from datasets import load_dataset
import hf_localize
modules = (datasets, datasets.load, datasets.inspect)
names = ("load_dataset", "load_dataset_builder")
def bound():
    return {{(m.__name__, n): getattr(m, n) for m in modules for n in names if hasattr(m, n)}} | {{"own": load_dataset}}
before = bound()
for _ in range(2):
    hf_localize.install()
    assert hf_localize.is_installed()
    assert not set(map(id, before.values())) & set(map(id, bound().values()))
    held = load_dataset
    assert {LOAD} == ["x"]
    hf_localize.uninstall()
    assert not hf_localize.is_installed()
    after = bound()
    assert all(after[key] is before[key] for key in before)
    try:
        held("csv", data_files=[])
    except ValueError:
        print("stock")
"""
    assert printed(code, registered) == "stock\nstock"


def test_the_context_manager_restores_what_was_before() -> None:
    with hf_localize.installed(sources=("local",)):
        with hf_localize.installed(offline=True):
            assert hf_localize.is_installed()
        assert hf_localize.is_installed()
        with pytest.raises(errors.SettingsError, match="no such setting: nonsense"):  # noqa: SIM117
            with hf_localize.installed(nonsense=1):
                pass
        assert hf_localize.is_installed()
    assert not hf_localize.is_installed()
    from hf_localize.settings import current

    assert current().sources == ("local", "s3", "public", "hub")


def test_other_wrappers_around_the_same_function_keep_working(registered: Desk) -> None:
    code = f"""
import datasets, functools, hf_localize
calls = []
def noting(name, function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)
    return run
datasets.load_dataset = noting("inner", datasets.load_dataset)
hf_localize.install()
datasets.load_dataset = noting("outer", datasets.load_dataset)
load_dataset = datasets.load_dataset
assert {LOAD} == ["x"]
hf_localize.uninstall()
print(calls)
"""
    assert printed(code, registered) == "['outer', 'inner']"


def test_a_function_that_names_load_dataset_can_be_hashed_and_pickled(registered: Desk) -> None:
    code = """
import hf_localize, pickle; hf_localize.install()
from datasets import load_dataset, Dataset
from datasets.fingerprint import Hasher
def work(row):
    return {"n": len(load_dataset.__name__)}
print(Hasher.hash(work) == Hasher.hash(work), pickle.loads(pickle.dumps(load_dataset)) is load_dataset)
"""
    assert printed(code, registered) == "True True"


def test_the_environment_alone_activates_a_program_that_knows_nothing_of_it(registered: Desk) -> None:
    code = (
        f"import sys\nassert 'datasets' not in sys.modules\nfrom datasets import load_dataset\nprint({LOAD})"
    )
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "['x']"


@pytest.mark.parametrize("value", ["", "0"])
def test_activation_costs_nothing_when_unset(value: str, registered: Desk) -> None:
    code = (
        "import sys; print([name for name in sys.modules if name.split('.')[0] in ('hf_localize', 'wrapt')])"
    )
    assert printed(code, registered, HGLOC_AUTO_INSTALL=value, PYTHONPATH=EXAMPLE) == "[]"


def test_activation_imports_datasets_no_earlier_than_the_program(registered: Desk) -> None:
    code = "import sys; print('hf_localize.shim' in sys.modules, 'datasets' in sys.modules, 'boto3' in sys.modules)"
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "True False False"


@pytest.mark.parametrize("variable", ["HGLOC_AUTO_INSTALL", "HGLOC_SOURCES", "HGLOC_TIMEOUT_SECONDS"])
def test_activation_never_stops_a_program_from_starting(variable: str, registered: Desk) -> None:
    env = {"HGLOC_AUTO_INSTALL": "1", variable: "nonsense"}
    ran = run_python("print('started')", cwd=registered.folder, PYTHONPATH=EXAMPLE, **env)
    assert (ran.returncode, ran.stdout) == (0, "started\n")
    assert f"{variable}" in ran.stderr


def test_activation_steps_aside_where_hf_localize_is_broken(registered: Desk, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "hf_localize"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('broken on purpose')")
    path = os.pathsep.join((EXAMPLE, str(broken.parent)))
    ran = run_python("print('started')", cwd=tmp_path, HGLOC_AUTO_INSTALL="1", PYTHONPATH=path)
    assert (ran.returncode, ran.stdout) == (0, "started\n")
    assert "broken on purpose" in ran.stderr


def test_a_datasets_whose_seam_has_moved_is_reported_and_loads_as_usual(tmp_path: Path, desk: Desk) -> None:
    made = tmp_path / "made" / "datasets"
    made.mkdir(parents=True)
    (made / "__init__.py").write_text("from .load import load_dataset")
    (made / "load.py").write_text("def load_dataset(path):\n    return 'stock ' + path")
    code = "import hf_localize; hf_localize.install(); import datasets; print(datasets.load_dataset('x'))"
    ran = run_python(code, cwd=tmp_path, PYTHONPATH=os.pathsep.join((str(made.parent), str(ROOT))))
    assert ran.stdout == "stock x\n", ran.stderr
    assert "datasets.load has no load_dataset_builder" in ran.stderr


def test_calls_through_datasets_inspect_are_answered_too(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    expected = datasets.get_dataset_split_names("google-research-datasets/mbpp", "full")
    hf_localize.download_dataset("google-research-datasets/mbpp", "full")
    hub.stop()
    hub.clear()
    with hf_localize.installed():
        assert datasets.get_dataset_split_names("google-research-datasets/mbpp", "full") == expected
        info = datasets.get_dataset_config_info("google-research-datasets/mbpp", "full")
    assert info.config_name == "full"
    assert hub.requests == []
