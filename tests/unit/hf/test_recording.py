"""The record of loads: what is appended, and to which files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hf_localize.format.lockfile import Locked, read_record
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.recording import record

LOADED = Locked(DatasetRef("org/x", "$(touch pwned) `touch pwned`"), digest="0" * 64)
FILES = {
    "a start-up file of a shell": (".bashrc", "alias x=y\n", False),
    "an empty start-up file": (".bashrc", "", False),
    "a start-up file that is not there": (".bash_aliases", None, False),
    "JSON of something else": ("package.json", '{"name": "x"}\n', False),
    "a file of Python": ("sitecustomize.py", "import os\n", False),
    "a new record": ("loads.jsonl", None, True),
    "an empty record": ("loads.jsonl", "", True),
}


@pytest.mark.parametrize("by_link", [False, True])
@pytest.mark.parametrize("case", FILES)
def test_a_record_is_appended_to_nothing_but_a_record(
    case: str, by_link: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, text, is_record = FILES[case]
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    path = tmp_path / "link.jsonl" if by_link else file
    if by_link:
        path.symlink_to(file)
    for digest in ("1" * 64, "2" * 64):
        record(path, LOADED.ref, lambda digest=digest: Locked(LOADED.ref, digest=digest), "Hub")
    if is_record:
        assert [item.ref for item in read_record(path)] == [LOADED.ref] * 2
    else:
        assert (file.read_text() if file.exists() else None) == text
        assert "is not a record of loads" in caplog.text


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "make"])
def test_a_record_that_is_run_as_a_script_runs_nothing_of_a_dataset(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    record(tmp_path / "loads.jsonl", LOADED.ref, lambda: LOADED, "Hub")
    command = [shell, *(["-f"] if shell == "make" else []), "loads.jsonl"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loads.jsonl"]
