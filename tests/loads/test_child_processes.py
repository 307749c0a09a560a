"""Loads in processes that a program starts: forked, spawned, by a fork server, as a DataLoader's workers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import ROOT, Desk

WORK = """
from datasets import load_dataset
def load(_=None):
    return list(load_dataset("org/x", split="train")["text"])
def is_localized(_=None):
    import hf_localize
    return hf_localize.is_installed()
def read(rows):
    return [row["text"] for row in rows]
"""


@pytest.fixture
def program(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk whose store has ``org/x``, and whose Hub is none."""
    desk.outsider()
    hf_localize.register_dataset(
        datasets.Dataset.from_dict({"text": ["x", "y"]}), "org/x", skip_s3_upload=True
    )
    desk.set(HGLOC_SOURCES="local", HF_HUB_OFFLINE="1")
    return desk


def output(desk: Desk, main: str, *, activated: bool, top: str = "") -> str:
    """Run a program whose main part is *main*; a process that is spawned imports the rest only."""
    script = Path(desk.folder) / "program.py"
    install = "" if activated else "import hf_localize; hf_localize.install()"
    body = textwrap.indent(f"{install}\n{textwrap.dedent(main)}", "    ")
    script.write_text(f"{top}\n{WORK}\nif __name__ == '__main__':\n{body}")
    env = {**os.environ, "HGLOC_AUTO_INSTALL": str(int(activated))}
    env["PYTHONPATH"] = os.pathsep.join((str(ROOT / "sitecustomize_example"), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=env, cwd=desk.folder, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def pools(call: str, *methods: str, packages: str = "multiprocessing") -> str:
    return f"""
import {packages}
for package in ({packages},):
    for method in {methods}:
        with package.get_context(method).Pool(1) as pool:
            print(pool.{call})
"""


@pytest.mark.sampled(0)
def test_the_environment_activates_processes_however_they_start(program: Desk) -> None:
    main = pools("map(load, [0])", "fork", "spawn", "forkserver", packages="multiprocessing, multiprocess")
    assert output(program, main, activated=True).splitlines() == ["[['x', 'y']]"] * 6


def test_install_reaches_every_process_without_touching_the_environment(program: Desk) -> None:
    main = "import os; print(os.environ['HGLOC_AUTO_INSTALL'])\n"
    main += pools("map(load, [0])", "fork", "spawn", "forkserver", packages="multiprocessing, multiprocess")
    assert output(program, main, activated=False).splitlines() == ["0", *["[['x', 'y']]"] * 6]


@pytest.mark.sampled(0)
def test_the_arguments_of_install_reach_processes_that_start_afresh(program: Desk) -> None:
    store = program.store
    program.set(HGLOC_DATASETS_STORE_PATH=str(program.folder / "empty"))
    main = f"hf_localize.install(datasets_store_path={str(store)!r}, sources=('local',))\n"
    main += pools("map(load, [0])", "spawn", "forkserver")
    main += "hf_localize.uninstall()\n" + pools("map(is_localized, [0])", "spawn", "forkserver")
    expected = [*["[['x', 'y']]"] * 2, *["[False]"] * 2]
    assert output(program, main, activated=False).splitlines() == expected


def test_keys_that_install_is_given_reach_the_processes_of_either_package(program: Desk) -> None:
    main = (
        "hf_localize.install(sources=('local',), aws_access_key_id='key', aws_secret_access_key='secret')\n"
    )
    main += pools("map(load, [0])", "spawn", "forkserver", packages="multiprocessing, multiprocess")
    assert output(program, main, activated=False).splitlines() == ["[['x', 'y']]"] * 4


def test_install_at_the_top_of_a_program_reaches_every_process(program: Desk) -> None:
    main = pools("map(load, [0])", "spawn", "forkserver")
    top = "import hf_localize; hf_localize.install()"
    assert output(program, main, activated=False, top=top).splitlines() == ["[['x', 'y']]"] * 2


@pytest.mark.sampled(0)
@pytest.mark.parametrize("activated", [True, False])
def test_what_was_loaded_works_in_a_process_however_it_starts(activated: bool, program: Desk) -> None:
    main = """
loaded = load_dataset("org/x", split="train")
streamed = load_dataset("org/x", split="train", streaming=True)
passed = [loaded, streamed, loaded.map(lambda row: {"n": 1}), streamed.map(same)]
"""
    main += pools("map(read, passed)", "fork", "spawn", "forkserver")
    shown = output(program, main, activated=activated, top="def same(row):\n    return row")
    assert shown.splitlines() == [str([["x", "y"]] * 4)] * 3


@pytest.mark.parametrize("activated", [True, False])
def test_a_map_over_processes_may_load_inside(activated: bool, program: Desk) -> None:
    main = """
rows = load_dataset("org/x", split="train").map(lambda row: {"found": load()}, num_proc=2)
print(list(rows["found"]))
"""
    assert output(program, main, activated=activated) == "[['x', 'y'], ['x', 'y']]"


@pytest.mark.parametrize("activated", [True, False])
def test_a_data_loader_reads_and_its_workers_load(activated: bool, program: Desk) -> None:
    pytest.importorskip("torch")
    top = """
import torch
class Lazy(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return load()[index]
"""
    main = """
def rows(of, method, workers):
    loader = torch.utils.data.DataLoader(of, batch_size=None, num_workers=workers, multiprocessing_context=method)
    return [row if isinstance(row, str) else row["text"] for row in loader]
for method in ("fork", "spawn", "forkserver"):
    print(rows(load_dataset("org/x", split="train"), method, 1))
    print(rows(load_dataset("org/x", split="train", streaming=True), method, 1))
    print(rows(Lazy(), method, 2))
"""
    shown = output(program, main, activated=activated, top=top).splitlines()
    assert shown == ["['x', 'y']"] * 9
