"""What the documents claim is so: every command of the README runs, the module table is true."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hf_localize
from tests.conftest import ROOT, Desk
from tests.loads.doors.test_calls import GROUPS as DOORS
from tests.loads.fidelity import report
from tests.loads.fidelity.calls import CAUGHT, GROUPS
from tests.rig.hub import LoopbackHub
from website import staging

PROJECT = "hf-localize"
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def reader(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a publisher's desk with the folder that the README's commands name."""
    desk.publisher().open_public_places()
    (Path.cwd() / "my_corpus").mkdir()
    (Path.cwd() / "my_corpus" / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    return desk


def run(command: list[str], **env: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=120)
    assert ran.returncode == 0, (command, ran.stderr)
    return ran.stdout


def test_every_command_of_the_readme_runs(reader: Desk) -> None:
    targets = re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    (Path.cwd() / "train.py").write_text(
        "import hf_localize; assert hf_localize.is_installed()\n"
        "from datasets import load_dataset; load_dataset('openai/gsm8k', 'main', split='train')"
    )
    for line in "".join(blocks("console")).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[0] == "make":  # The demo has a test of its own, and `make test` runs this one.
            assert words[1] in targets
        elif words[0] == "pip":  # `make test-package` does so with the wheel.
            assert words[1:] == ["install", PROJECT]
        elif words[0] == "export":
            assert all(word.startswith("HGLOC_") for word in words[1:])  # The desk has its own values.
        else:
            assert words[0] == "hg-localize"
            path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
            run([sys.executable, "-m", "hf_localize", *words[1:]], PATH=path)
    (stored,) = hf_localize.list_local_datasets()
    assert (stored["dataset_id"], stored["config_name"]) == ("openai/gsm8k", "main")


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900


def test_each_link_of_the_readme_is_whole_so_that_a_package_index_can_show_it() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (source,) = re.findall(r'^Source = "(.+)"$', project, flags=re.MULTILINE)
    assert source == staging.REPOSITORY
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", README)
    assert len(links) > 20
    for is_picture, link in links:
        whole = f"{source}/{'raw' if is_picture else 'blob'}/main/"
        assert link.startswith(whole)
        assert (ROOT / link.removeprefix(whole).partition("#")[0]).exists(), link


def test_the_table_of_what_works_is_of_the_suite_as_it_is() -> None:
    rows = rows_between(ROOT / "README.md", "what works")
    assert rows[0][2:] == makefile_list("VERSIONS")
    numbers = {name: str(len(group)) for name, group in GROUPS.items()}
    assert {row[0]: row[1] for row in rows[1:-1]} == numbers
    assert rows[-1][1] == str(len(CAUGHT))
    assert {cell for row in rows[1:] for cell in row[2:]} == {"all"}


def test_the_table_of_which_calls_is_of_the_suite_as_it_is() -> None:
    rows = rows_between(ROOT / "docs" / "guides" / "files-and-models.md", "which calls")
    assert rows[0][2:] == makefile_list("HUBS")
    assert {row[0]: row[1] for row in rows[1:]} == {name: str(len(calls)) for name, calls in DOORS.items()}
    assert {cell for row in rows[1:] for cell in row[2:]} == {"all"}


def rows_between(page: Path, name: str) -> list[list[str]]:
    _, lines, _ = report.between(page, name)
    return [
        [c.strip() for c in line.strip("|").split("|")] for line in lines.splitlines() if "---" not in line
    ]


def makefile_list(name: str) -> list[str]:
    (items,) = re.findall(rf"^{name} \?= (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    return items.split()


def test_every_python_block_of_the_readme_runs(reader: Desk) -> None:
    for block in blocks("python"):
        run([sys.executable, "-c", block])


def test_the_module_table_of_the_architecture_is_the_import_contract() -> None:
    rows = re.findall(r"^\| (`.*?) \| ", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.MULTILINE)
    table = [sorted(re.findall(r"`([a-z0-9._]+)`", row)) for row in rows if re.match(r"`[a-z0-9._]+`", row)]
    contract = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[\n(.*?)\]", contract, flags=re.DOTALL)
    assert layers
    needed = [sorted(line.split(" | ")) for line in re.findall(r'"(.+)"', layers.group(1))]
    assert [row for row in table if row != ["datasets"]] == needed
    named = {name for layer in needed for name in layer}
    rooms = {
        path.stem
        for path in (ROOT / "hf_localize").iterdir()
        if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert rooms - {"__init__", "__main__", "__pycache__"} == named


def test_each_file_that_the_architecture_names_is_in_its_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (`\w[^|]*`) \| [^|]* \| ([^|]*) \|$", text, flags=re.MULTILINE)
    assert len(rows) > 10
    package = ROOT / "hf_localize"
    for cell, files in rows:
        rooms = [package / name for name in re.findall(r"`(\w+)`", cell)]
        for name in re.findall(r"`([\w/]+\.py)`", files):
            places = [package / name, *(room / name for room in rooms)]
            assert any(place.is_file() for place in places), (cell, name)


def test_import_loads_neither_datasets_nor_botocore() -> None:
    code = "import sys, hf_localize; print({n.split('.')[0] for n in sys.modules} & {'datasets', 'botocore', 'pyarrow'})"
    assert run([sys.executable, "-c", code]) == "set()\n"


def test_a_local_hit_loads_no_network_library_of_ours(reader: Desk) -> None:
    run([sys.executable, "-m", "hf_localize", "register", "my_corpus", "team/corpus", "--no-s3-upload"])
    code = (
        "import sys, hf_localize; hf_localize.load_local_dataset('team/corpus')\n"
        "print('botocore' in sys.modules, 'hf_localize.http.public_files' in sys.modules)"
    )
    assert run([sys.executable, "-c", code]) == "False False\n"


def test_the_version_is_in_one_place() -> None:
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", hf_localize.__version__)
