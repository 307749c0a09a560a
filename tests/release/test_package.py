"""What is told of the package: its dependencies, its public names, the workflow, the newcomer's path."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import yaml

import hf_localize
from tests.conftest import ROOT
from tests.docs.pages import check_command
from tests.release import newcomer

PROJECT = (ROOT / "pyproject.toml").read_text()
#: What a dependency is imported as, where that is another name.
IMPORTED_AS = {
    "boto3": {"boto3", "botocore"},
    "markdown-it-py": {"markdown_it"},
    "pillow": {"PIL"},
    "python-dotenv": {"dotenv"},
    "pyyaml": {"yaml"},
    "requests": {"requests", "certifi"},
}
#: Where an asynchronous client of httpx is used, these are there.
BY_HTTPX = {"anyio"}
#: What `datasets` needs in a release that fits it, so it is left to `datasets`.
BY_DATASETS = {"pyarrow", "fsspec", "numpy"}
FOR_TYPES = {"mypy_boto3_s3", "typing_extensions"}


def imported(path: Path) -> set[str]:
    """Return the first parts of all modules that *path* imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_each_dependency_is_imported_and_each_import_is_a_dependency() -> None:
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", PROJECT, flags=re.MULTILINE | re.DOTALL)
    dependencies = set(re.findall(r'^ +"([\w-]+)', listed, flags=re.MULTILINE))
    extras = PROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0]
    optional = set(re.findall(r'"([\w-]+)', extras)) - {"datasets"}
    used = set().union(*map(imported, (ROOT / "hf_localize").rglob("*.py")))
    foreign = used - set(sys.stdlib_module_names) - {"hf_localize"} - BY_DATASETS - BY_HTTPX - FOR_TYPES
    known = {name: IMPORTED_AS.get(name, {name}) for name in dependencies}
    assert [name for name, modules in known.items() if not modules & used] == []
    assert foreign <= set().union(*known.values(), *(IMPORTED_AS.get(name, {name}) for name in optional))


def test_requirements_txt_names_the_dependencies_of_the_package() -> None:
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", PROJECT, flags=re.MULTILINE | re.DOTALL)
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert named == re.findall(r'^ +"([^"]+)"', listed, flags=re.MULTILINE)


def test_the_workflow_runs_make_targets_on_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ran = [step["run"].split() for step in steps if "run" in step]
    assert {words[0] for words in ran} == {"make"}
    assert {words[1] for words in ran} <= targets
    assert {"test", "test-package", "docs", "newcomer"} <= {words[1] for words in ran}
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" in PROJECT
    supported = re.findall(r"Python :: (3\.\d+)", PROJECT)
    assert set(supported) <= set(pythons)
    readme = (ROOT / "README.md").read_text()
    assert all(minor in readme.split("Tested on ")[1] for minor in supported)


def test_the_changelog_has_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [hf_localize.__version__])


def test_the_newcomers_path_has_no_more_commands_than_promised() -> None:
    commands = newcomer.commands_of((ROOT / "README.md").read_text())
    assert 5 <= len(commands) <= newcomer.MOST_COMMANDS
    for command in commands:
        if command.startswith("hg-localize"):
            check_command(command)
