"""The pages of the documentation: every block runs or is what its tool accepts, and none is missing."""

from __future__ import annotations

import ast
import json
import logging
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from dotenv import dotenv_values

import hf_localize
from hf_localize.cli.options import EXIT_CODES
from hf_localize.errors import kind_of
from hf_localize.publish import public
from hf_localize.settings import Settings
from hf_localize.sources.session import current_session
from tests.conftest import ROOT, Desk
from tests.docs.pages import BIN, PAGES, Block, Reader, blocks_of, check_command
from tests.docs.test_examples import VARIABLES, pod_of_the_manifest
from tests.rig.hub import LoopbackHub
from website import generated, links, staging

BLOCKS = [(page.relative_to(ROOT).as_posix(), block) for page in PAGES for block in blocks_of(page)]
#: Blocks of other languages are run by a test that knows what they are.
RUN = {"console", "python"}
CHECKED = {"json", "yaml", "sh", "ini", "dockerfile"}
TO_RUN = [page for page in PAGES if any(b.language in RUN and not b.mark("parsed") for b in blocks_of(page))]


def named(language: str, page: str = "") -> list[Block]:
    return [
        block for where, block in BLOCKS if block.language == language and where.startswith(f"docs/{page}")
    ]


@pytest.fixture
def reader(hub: LoopbackHub, desk: Desk) -> Iterator[Reader]:
    """Return a reader in a folder with the files that pages name."""
    desk.publisher().open_public_places()
    Path("my_corpus_2").mkdir()
    Path("my_corpus_2/rows.jsonl").write_text('{"text": "c"}\n')
    Path("my_corpus").mkdir()
    Path("my_corpus/rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    Path("train.py").write_text("import hf_localize; assert hf_localize.is_installed()")
    Path("load_gsm8k.py").write_text(
        "from datasets import load_dataset; load_dataset('openai/gsm8k', 'main', split='train')"
    )
    for folder, name, text in (
        ("src", "data.py", "load_dataset('openai/gsm8k', 'main')"),
        ("tasks", "gsm8k.yaml", "dataset_path: openai/gsm8k\ndataset_name: socratic\n"),
    ):
        Path(folder).mkdir()
        (Path(folder) / name).write_text(text)
    log = logging.getLogger("hf_localize")
    before = log.level, log.handlers[:]
    yield Reader(desk)
    log.level, log.handlers[:] = before


@pytest.mark.sampled(len(TO_RUN))
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, reader: Reader) -> None:
    reader.read(page)


def test_every_block_is_run_or_checked() -> None:
    languages = {(where, block.language) for where, block in BLOCKS}
    unknown = {(where, language) for where, language in languages if language not in RUN | CHECKED}
    assert unknown == {("docs/format.md", "")}  # Layouts of folders.
    text = {page: page.read_text() for page in PAGES}
    assert sum(len(re.findall(r"^```", words, flags=re.MULTILINE)) for words in text.values()) == 2 * len(
        BLOCKS
    )


def test_what_can_not_be_run_here_is_what_its_tool_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.tar").touch()  # Which a page makes first.
    scripts = []
    for number, block in enumerate(named("sh")):
        scripts.append(tmp_path / f"block-{number}.sh")
        scripts[-1].write_text("#!/bin/bash\n" + block.text)
        for line in block.text.replace("\\\n", "").splitlines():
            words = shlex.split(line)
            if words[0] == "hg-localize":
                check_command(line)
            named_files = [
                word for word in words if word.split("/")[0] in ("sitecustomize_example", "examples")
            ]
            assert all((ROOT / word).exists() for word in named_files), line
    ran = subprocess.run([f"{BIN}/shellcheck", "--exclude=SC2154", *scripts], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    for block in named("python"):
        ast.parse(block.text)
    for block in named("console"):
        if block.mark("parsed"):
            for command, _ in block.commands:
                check_command(command)
    for block in named("ini"):
        env = tmp_path / ".env"
        env.write_text(block.text)
        assert set(dotenv_values(env)) <= VARIABLES
    for block in named("dockerfile"):
        (tmp_path / "Dockerfile").write_text(block.text)
        steps = [step["instruction"] for step in DockerfileParser(path=str(tmp_path)).structure]
        assert steps[0] == "FROM"
        assert set(steps) <= {"FROM", "COPY", "ENV", "RUN"}
    (shared,) = named("yaml", "start/kubernetes")
    (volume,) = yaml.safe_load(shared.text)
    assert volume["name"] in {volume["name"] for volume in pod_of_the_manifest()["volumes"]}
    assert volume.keys() == {"name", "persistentVolumeClaim"}


def test_the_workflow_for_ci_runs_what_there_is() -> None:
    block, locked = named("yaml", "start/ci")
    workflow = yaml.safe_load(block.text)
    (job,) = workflow["jobs"].values()
    assert job["env"].keys() <= VARIABLES
    for step in [*job["steps"], *yaml.safe_load(locked.text)]:
        assert ("uses" in step) != ("run" in step)
        assert step.get("env", {}).keys() <= VARIABLES
        command = step.get("run", "").removeprefix("HGLOC_SOURCES=s3 ")
        if command.startswith("hg-localize"):
            check_command(command)


def test_the_policy_is_the_one_that_make_public_prints(desk: Desk) -> None:
    desk.publisher()
    desk.set(HGLOC_S3_BUCKET_NAME="team-datasets")
    (block,) = named("json", "guides/publishing")
    assert json.loads(block.text) == json.loads(public.public_policy(current_session().bucket))


def test_every_error_has_a_cure() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    sections = re.split(r"^### (\w+)$", page, flags=re.MULTILINE)[1:]
    cures = dict(zip(sections[::2], sections[1::2], strict=True))
    assert generated.error_classes().keys() <= cures.keys()
    assert all("\n- " in cure for cure in cures.values())


def test_the_exit_statuses_of_the_page_are_those_of_commands() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.+?) \| (.*?) ?\|$", page, flags=re.MULTILINE)
    told = {kind: int(status) for status, kinds, _ in rows for kind in kinds.split(", ")}
    assert told == {"done": 0, **EXIT_CODES}
    classes = generated.error_classes()
    for status, _, names in rows:
        for name in set(re.findall(r"\w+Error", names)) & classes.keys():
            assert EXIT_CODES[kind_of(classes[name]())] == int(status), name


def test_every_setting_is_in_the_table_and_no_other() -> None:
    table = (ROOT / "docs/reference/settings.md").read_text()
    told = set(re.findall(r"`(HGLOC_\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, flags=re.MULTILINE))))
    assert told == VARIABLES - {"HGLOC_HUB_OFFLINE", "HGLOC_AWS_ENVIRONMENT"}
    assert {f"HGLOC_{item.name.upper()}" for item in fields(Settings)} <= VARIABLES


def test_the_site_has_every_page_and_every_command(tmp_path: Path) -> None:
    staging.stage(tmp_path)  # Raises where a link between files leads nowhere.
    staged = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    navigation = set(
        re.findall(r"^ +- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    )
    assert navigation <= staged
    assert staging.navigation(staged).count(".md") == len({page for page in staged if page[:6] != "files/"})
    command_line = (tmp_path / "reference" / "cli.md").read_text()
    assert re.findall(r"^## (\S+)$", command_line, flags=re.MULTILINE) == list(
        generated.main.list_commands(None)
    )
    assert "Example:" in command_line
    assert "\n- `-n, --name TEXT`" in command_line
    first = (tmp_path / "index.md").read_text()
    intro = (ROOT / "README.md").read_text().partition("\n## ")[0]
    assert first.startswith(intro)
    assert staging.REPOSITORY not in first
    api = (tmp_path / "reference" / "api.md").read_text()
    for name in hf_localize.__all__:
        assert f"\n### {name}\n" in api
    assert "\n### Result\n" in api
    assert "\n- `message_or_path: str`" in api


def test_code_of_the_site_is_divided_between_words() -> None:
    page = '<pre><code><a id="a_b">f</a>(A_B)</code></pre><p>A_B <code>HGLOC_S3_X=/a/b</code></p>'
    assert links.divisible(page) == (
        '<pre><code><a id="a_b">f</a>(<wbr>A_<wbr>B)</code></pre>'
        "<p>A_B <code>HGLOC_<wbr>S3_<wbr>X=/<wbr>a/<wbr>b</code></p>"
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="other.html#there">', None),
        ('<a href="gone.html">', "leads nowhere"),
        ('<a href="other.html#not-there">', "no such anchor"),
        ('<script src="https://cdn.example.com/a.js">', "fetches https://cdn.example.com/a.js"),
        ('<a href="https://example.com/elsewhere">', None),
    ],
)
def test_a_broken_link_of_the_site_is_found(body: str, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "other.html").write_text('<h2 id="there">')
    found = links.problems_of(tmp_path)
    assert (found == []) if problem is None else (len(found) == 1 and problem in found[0])


def test_a_link_to_a_heading_that_is_not_there_is_found() -> None:
    with pytest.raises(staging.StagingError, match="no such heading"):
        staging._check_anchors({"a.md": "[x](b.md#gone)", "b.md": "# Here"})


def test_examples_of_docstrings_are_code() -> None:
    blocks = re.split(r"^```.*$", generated.api_page(), flags=re.MULTILINE)
    assert ">>>" in "".join(blocks[1::2])
    assert ">>>" not in "".join(blocks[::2])
