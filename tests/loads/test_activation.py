"""Installing and uninstalling, in the program and from outside it."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest

import hf_localize
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
    code = "import sys, hf_localize; hf_localize.install(); print('datasets' in sys.modules, 'botocore' in sys.modules)"
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


NOTING = """
import datasets, functools, hf_localize, wrapt
calls = []
def noting(name, function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)
    return run
def proxy(name, function):
    def run(wrapped, instance, args, kwargs):
        calls.append(name)
        return wrapped(*args, **kwargs)
    return wrapt.FunctionWrapper(function, run)
def naive(name, function):
    def run(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)
    return run
def is_ours(function):
    return "hf_localize" in type(function).__module__
load, stock, stock_builder = datasets.load, datasets.load_dataset, datasets.load.load_dataset_builder
"""


@pytest.mark.parametrize("theirs", ["noting", "proxy"])
def test_other_wrappers_around_the_same_functions_keep_working(theirs: str, registered: Desk) -> None:
    code = f"""{NOTING}
inner = datasets.load_dataset = {theirs}("inner", datasets.load_dataset)
below = load.load_dataset_builder = {theirs}("below", load.load_dataset_builder)
hf_localize.install()
outer = datasets.load_dataset = {theirs}("outer", datasets.load_dataset)
above = load.load_dataset_builder = {theirs}("above", load.load_dataset_builder)
for _ in range(2):
    load_dataset = datasets.load_dataset
    assert {LOAD} == ["x"]
    assert calls == ["outer", "inner", "above"], calls  # A hit never gets below.
    calls.clear()
    hf_localize.uninstall()
    assert (datasets.load_dataset, load.load_dataset_builder) == (outer, above)
    try:
        load_dataset("csv", data_files="nowhere.csv")
    except FileNotFoundError:
        assert calls == ["outer", "inner", "above", "below"], calls  # Theirs reach stock.
    calls.clear()
    hf_localize.install()
hf_localize.uninstall()
assert datasets.inspect.load_dataset_builder is stock_builder
print("exact")
"""
    assert printed(code, registered) == "exact"


def test_a_wrapper_that_does_not_say_what_it_wraps_keeps_working_too(registered: Desk) -> None:
    code = f"""{NOTING}
hf_localize.install()
load.load_dataset_builder = theirs = naive("above", load.load_dataset_builder)
from datasets import load_dataset
for _ in range(2):
    assert {LOAD} == ["x"] and calls == ["above"], calls
    calls.clear()
    hf_localize.uninstall()
    assert load.load_dataset_builder is theirs and not is_ours(datasets.inspect.load_dataset_builder)
    hf_localize.install()
hf_localize.uninstall()
load.load_dataset_builder = stock_builder
assert not is_ours(stock_builder) and datasets.inspect.load_dataset_builder is stock_builder
hf_localize.install()
print({LOAD})
"""
    assert printed(code, registered) == "['x']"


def test_names_bound_at_any_time_are_the_originals_again_after_uninstall(registered: Desk) -> None:
    code = """
import sys, types
import datasets, datasets.inspect, datasets.load, hf_localize
NAMES = ("load_dataset", "load_dataset_builder", "get_dataset_config_names", "get_dataset_default_config_name")
stock = {name: getattr(datasets.load, name, None) or getattr(datasets.inspect, name) for name in NAMES}
def user(name):
    module = sys.modules[name] = types.ModuleType(name)
    for known in NAMES:
        setattr(module, f"my_{known}", getattr(datasets.load, known, None) or getattr(datasets.inspect, known))
    return module
early = user("early")
hf_localize.install()
during = user("during")
hf_localize.install(offline=True)
with hf_localize.installed(), hf_localize.installed(offline=False):
    inside = user("inside")
    hf_localize.uninstall()
    after = user("after")
    hf_localize.install()
    again = user("again")
hf_localize.uninstall()
for module in (early, during, inside, after, again):
    for name in NAMES:
        assert getattr(module, f"my_{name}") is stock[name], (module, name)
for module in (datasets, datasets.load, datasets.inspect):
    for name in NAMES:
        assert getattr(module, name, stock[name]) is stock[name], (module, name)
print(hf_localize.is_installed())
"""
    assert printed(code, registered) == "False"


def test_what_still_holds_a_wrapper_works_again_after_the_next_install(registered: Desk) -> None:
    code = f"""
import functools, hf_localize
hf_localize.install()
from datasets import load_dataset
load_dataset = functools.partial(load_dataset, keep_in_memory=True)
hf_localize.uninstall()
hf_localize.install()
print({LOAD})
"""
    assert printed(code, registered) == "['x']"


def test_what_another_thread_still_imports_is_no_matter_to_uninstalling(registered: Desk) -> None:
    code = """
import sys, types, hf_localize
hf_localize.install()
sys.modules["hf_localize.hf.doors.transport"] = types.ModuleType("begun")
hf_localize.uninstall()
print(hf_localize.is_installed())
"""
    assert printed(code, registered) == "False"


@pytest.mark.parametrize("first", ["", "import datasets"])
def test_threads_may_install_uninstall_and_load_at_the_same_time(first: str, registered: Desk) -> None:
    code = f"""
import sys, threading, hf_localize
{first}
sys.setswitchinterval(1e-5)
failed, start, one_loads = [], threading.Barrier(8), threading.Lock()
def work(number):
    try:
        start.wait()
        for turn in range(20):
            if number == 0:
                hf_localize.install()
            elif number == 1:
                hf_localize.uninstall()
            elif number < 5:
                with hf_localize.installed(sources=("local",)):
                    hf_localize.is_installed()
            else:
                from datasets import load_dataset_builder
                with one_loads:  # Stock's progress bars are not for threads.
                    load_dataset_builder("csv", data_files="rows.csv")
                    if turn % 5 == 0:
                        try:
                            assert load_dataset_builder("org/x").info.features.keys() == {{"text"}}
                        # Uninstalled just now: the Hub lacks it, or is no source any more while it is asked.
                        except (FileNotFoundError, ConnectionError) as exc:
                            assert "org/x" in str(exc)
    except BaseException as exc:
        failed.append(repr(exc))
open("rows.csv", "w").write("a\\n1\\n")
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not failed, failed
import datasets
from hf_localize import settings
hf_localize.uninstall()
for module in (datasets, datasets.load, datasets.inspect):
    assert not [n for n, v in vars(module).items() if "hf_localize" in type(v).__module__]
with hf_localize.installed():
    assert datasets.load_dataset("org/x", split="train")["text"][:] == ["x"]
print(hf_localize.is_installed(), settings.current().offline)
"""
    assert printed(code, registered) == "False False"


HASHES = """
import functools, datasets
from datasets import load_dataset, Dataset
from datasets.fingerprint import Hasher
def work(row):
    return {"n": len(load_dataset.__name__)}
def nested():
    from datasets import load_dataset_builder
    return lambda row: load_dataset_builder.__name__
def through_the_module(row):
    return {"n": datasets.get_dataset_config_names.__name__}
values = [work, nested(), through_the_module, load_dataset, functools.partial(load_dataset, "org/x")]
mapped = Dataset.from_dict({"a": [1]}).map(work)
print([Hasher.hash(value) for value in values], mapped._fingerprint)
"""


def test_functions_that_name_load_dataset_hash_as_without_us_in_every_process(registered: Desk) -> None:
    plain = printed(HASHES, registered)
    install = "import hf_localize; hf_localize.install()\n"
    assert [printed(install + HASHES, registered) for _ in range(2)] == [plain, plain]
    assert printed(HASHES, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == plain


def test_map_with_a_function_that_loads_is_cached_across_processes(registered: Desk) -> None:
    code = f"""
import hf_localize; hf_localize.install()
from datasets import load_dataset
def work(row):
    print("worked")
    return {{"n": len({LOAD})}}
rows = load_dataset("org/x", split="train").map(work)
print(rows["n"][:])
"""
    assert printed(code, registered) == "worked\n[1]"
    assert printed(code, registered) == "[1]"


def test_a_patched_function_is_pickled_copied_and_inspected_as_the_stock_one(registered: Desk) -> None:
    code = """
import copy, dill, inspect, pickle
import datasets
of_stock = [datasets.load_dataset]  # No global, which install() would replace.
import hf_localize; hf_localize.install()
load_dataset = datasets.load_dataset
assert load_dataset is not of_stock[0]
for pickled in (pickle, dill):
    assert pickled.dumps(load_dataset) == pickled.dumps(load_dataset)
    assert pickled.loads(pickled.dumps(load_dataset)) is load_dataset
assert copy.copy(load_dataset) is copy.deepcopy(load_dataset) is load_dataset
assert inspect.isfunction(load_dataset)
assert inspect.signature(load_dataset) == inspect.signature(of_stock[0])
assert inspect.getsource(load_dataset) == inspect.getsource(of_stock[0])
assert (load_dataset.__name__, load_dataset.__doc__) == (of_stock[0].__name__, of_stock[0].__doc__)
held = (load_dataset,)
hf_localize.uninstall()
assert pickle.loads(pickle.dumps(held)) == tuple(of_stock)
print(load_dataset is of_stock[0])
"""
    assert printed(code, registered) == "True"


@pytest.mark.parametrize("value", ["load_dataset", "staticmethod(load_dataset)"])
def test_a_patched_function_may_be_an_attribute_of_a_class(value: str, registered: Desk) -> None:
    code = f"""
import hf_localize; hf_localize.install()
from datasets import load_dataset
class Reader:
    load = {value}
assert Reader.load is load_dataset
print(Reader.load("org/x", split="train")["text"][:])
"""
    assert printed(code, registered) == "['x']"


def test_the_environment_alone_activates_a_program_that_knows_nothing_of_it(registered: Desk) -> None:
    code = (
        f"import sys\nassert 'datasets' not in sys.modules\nfrom datasets import load_dataset\nprint({LOAD})"
    )
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "['x']"


@pytest.mark.parametrize("value", ["", "0"])
def test_activation_costs_nothing_when_unset(value: str, registered: Desk) -> None:
    code = (
        "import sys; print([name for name in sys.modules if name.split('.')[0] in ('hf_localize', 'dotenv')])"
    )
    assert printed(code, registered, HGLOC_AUTO_INSTALL=value, PYTHONPATH=EXAMPLE) == "[]"


def test_activation_imports_next_to_nothing_before_the_program_looks_for_datasets(registered: Desk) -> None:
    code = """
import sys
heavy = {"datasets", "boto3", "botocore", "wrapt", "typing", "dotenv", "logging", "hf_localize.shim.patch", "hf_localize.settings"}
print(sorted(heavy & sys.modules.keys()), "hf_localize.shim.activation" in sys.modules)
import datasets
print(sorted({"boto3", "botocore", "hf_localize.shim.patch", "hf_localize.hf.load"} & sys.modules.keys()))
"""
    shown = printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE)
    assert shown == "[] True\n['hf_localize.shim.patch']"


@pytest.mark.parametrize("first", ["", "import urllib.request\n"], ids=["after", "before"])
def test_a_library_that_sends_requests_is_wrapped_whenever_it_is_imported(
    first: str, registered: Desk
) -> None:
    code = f"""
import os, sys
{first}os.environ["HGLOC_AUTO_INSTALL"] = "1"
from hf_localize.shim.activation import auto_install
auto_install()
print("hf_localize.hf.doors.clients" in sys.modules)
import requests, urllib.request
for send in (requests.Session.send, urllib.request.OpenerDirector.open):
    print(send.__wrapped__.__qualname__)
import hf_localize
hf_localize.uninstall()
print(hasattr(requests.Session.send, "__wrapped__"))
"""
    shown = printed(code, registered).splitlines()
    assert shown == [str(bool(first)), "Session.send", "OpenerDirector.open", "False"]


def test_a_load_of_what_is_stored_imports_no_http_library(registered: Desk) -> None:
    code = f"""
import sys
from datasets import load_dataset
before = set(sys.modules)
print({LOAD})
print(sorted({{"boto3", "botocore", "requests", "urllib3"}} & (sys.modules.keys() - before)))
"""
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "['x']\n[]"


def test_an_activated_program_can_ask_and_uninstall_before_it_imports_datasets(registered: Desk) -> None:
    code = """
import hf_localize
print(hf_localize.is_installed())
hf_localize.uninstall()
import datasets
print(hf_localize.is_installed(), hasattr(datasets.load_dataset, "__wrapped__"))
"""
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "True\nFalse False"


@pytest.mark.parametrize("value", ["no", "0"])
def test_a_program_can_still_switch_it_off_before_it_imports_datasets(value: str, registered: Desk) -> None:
    code = f"import os; os.environ['HGLOC_AUTO_INSTALL'] = '{value}'; import datasets, hf_localize; print(hf_localize.is_installed())"
    assert printed(code, registered, HGLOC_AUTO_INSTALL="1", PYTHONPATH=EXAMPLE) == "False"


def test_a_value_that_is_neither_yes_nor_no_activates(registered: Desk) -> None:
    """Else loads would go to the Hub, unnoticed: docker's --env-file keeps quotes, for instance."""
    code = "import datasets, hf_localize; print(hf_localize.is_installed())"
    ran = run_python(code, cwd=registered.folder, PYTHONPATH=EXAMPLE, HGLOC_AUTO_INSTALL='"1"')
    assert (ran.returncode, ran.stdout) == (0, "True\n")
    assert "It is taken for 1" in ran.stderr


def test_a_dotenv_file_does_not_activate(registered: Desk) -> None:
    (registered.folder / ".env").write_text("HGLOC_AUTO_INSTALL=1")
    code = "import datasets, hf_localize; print(hf_localize.is_installed())"
    assert printed(code, registered, PYTHONPATH=EXAMPLE) == "False"


@pytest.mark.parametrize("variable", ["HGLOC_AUTO_INSTALL", "HGLOC_SOURCES", "HGLOC_TIMEOUT_SECONDS"])
def test_activation_never_stops_a_program_from_starting(variable: str, registered: Desk) -> None:
    env = {"HGLOC_AUTO_INSTALL": "1", variable: "nonsense"}
    ran = run_python("import datasets; print('started')", cwd=registered.folder, PYTHONPATH=EXAMPLE, **env)
    assert (ran.returncode, ran.stdout) == (0, "started\n")
    assert f"{variable}" in ran.stderr


def made_datasets(folder: Path, **modules: str) -> str:
    """Make a `datasets` that has only *modules*, and return the PYTHONPATH that finds it first."""
    made = folder / "made" / "datasets"
    made.mkdir(parents=True)
    for name, code in modules.items():
        (made / f"{name}.py").write_text(code)
    return os.pathsep.join((str(made.parent), str(ROOT)))


@pytest.mark.parametrize(
    "order", ["hf_localize.install(); import datasets", "import datasets; hf_localize.install()"]
)
def test_a_datasets_whose_seam_has_moved_is_reported_and_loads_as_usual(
    order: str, tmp_path: Path, desk: Desk
) -> None:
    path = made_datasets(
        tmp_path,
        __init__="from .load import load_dataset\n__version__ = '9.0'",
        load="def load_dataset(path):\n    return 'stock ' + path",
    )
    code = f"import hf_localize; {order}; print(datasets.load_dataset('x'), hf_localize.is_installed())"
    ran = run_python(code, cwd=tmp_path, PYTHONPATH=path)
    assert ran.stdout == "stock x False\n", ran.stderr
    assert "datasets 9.0 has no datasets.load.load_dataset_builder" in ran.stderr or order.startswith("hf")
    assert ran.stderr.count("has no datasets.load.load_dataset_builder") == 1
    assert "loads go to the Hub as usual" in ran.stderr


@pytest.mark.parametrize("module", ["load", "inspect"])
def test_where_one_part_of_the_seam_has_moved_nothing_is_wrapped(module: str, registered: Desk) -> None:
    name = {"load": "load_dataset_builder", "inspect": "get_dataset_config_names"}[module]
    code = f"""
import importlib.machinery, sys
class Newer(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        module.renamed = module.__dict__.pop("{name}")
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "datasets.{module}":
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            spec.loader = Newer(name, spec.origin)
            return spec
import hf_localize
sys.meta_path.insert(0, Finder())
hf_localize.install()
try:
    import datasets
except ImportError:
    pass  # Its own __init__ asks for the name: only a real newer release goes on from here.
for name in ("datasets", "datasets.load", "datasets.inspect"):
    for value in vars(sys.modules.get(name, sys)).values():
        assert "hf_localize" not in type(value).__module__, (name, value)
print(hf_localize.is_installed())
"""
    ran = run_python(code, cwd=registered.folder)
    assert ran.stdout == "False\n", ran.stderr
    assert f"has no datasets.{module}.{name}" in ran.stderr


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


def test_what_says_that_it_is_a_module_and_has_no_globals_is_passed_over(registered: Desk) -> None:
    code = (
        "from cryptography.hazmat.bindings.openssl.binding import Binding; import sys, types\n"
        "assert {type(m) for m in sys.modules.values() if isinstance(m, types.ModuleType)} != {types.ModuleType}\n"
        f"import hf_localize; hf_localize.install(); from datasets import load_dataset; print({LOAD})"
    )
    assert printed(code, registered) == "['x']"
