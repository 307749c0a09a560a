"""Run by the Python of a clean environment that has nothing but hf_localize: does it work there?

python tried.py FOLDER_WITH_SITECUSTOMIZE
"""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

STORE = pathlib.Path("store").absolute()
OFFLINE = {
    "HGLOC_DATASETS_STORE_PATH": str(STORE),
    "HGLOC_SOURCES": "local",
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": str(pathlib.Path("hf").absolute()),
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
MAKE = """
import datasets, sys
datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a", "b"]})}).save_to_disk(sys.argv[1])
"""
LOAD = """
from datasets import load_dataset
assert load_dataset("team/corpus", split="train")["text"][:] == ["a", "b"]
streamed = load_dataset("team/corpus", split="train", streaming=True)
assert [row["text"] for row in streamed] == ["a", "b"]
"""
INSTALL = "import hf_localize; hf_localize.install()\n"


def run(*command, **env):
    """Run a command and return what it printed; end with what it said where it fails."""
    ran = subprocess.run(command, env={**os.environ, **OFFLINE, **env}, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{command} ended with {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def main():
    """Try what a user does first, offline: import, help, load, register, activation."""
    python, version = sys.executable, importlib.metadata.version("hf_localize")
    loaded = run(
        python, "-c", "import sys, hf_localize; print('datasets' in sys.modules, hf_localize.__version__)"
    )
    assert loaded.split() == ["False", version], loaded
    assert "download" in run("hg-localize", "--help")
    assert version in run("hg-localize", "--version")
    run(python, "-c", MAKE, str(STORE / "team_corpus" / "default_config" / "default_revision"))
    run(python, "-c", INSTALL + LOAD)
    run(python, "-c", LOAD, HGLOC_AUTO_INSTALL="1")  # By the .pth file.
    run(python, "-c", LOAD, HGLOC_AUTO_INSTALL="1", PYTHONPATH=sys.argv[1])  # By sitecustomize too.
    run("hg-localize", "run", "--", python, "-c", LOAD)
    pathlib.Path("rows").mkdir()
    pathlib.Path("rows/rows.csv").write_text("text\na\n")
    run("hg-localize", "register", "rows", "team/rows")
    assert "team/rows" in run("hg-localize", "list-local")
    run("hg-localize", "verify", "team/rows", "--deep")
    required = importlib.metadata.requires("hf_localize")
    names = [re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line]
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in dict.fromkeys(names)))


if __name__ == "__main__":
    main()
