"""Code blocks of the documentation's pages, and what runs them as a reader would.

A comment before a block says what it needs: ``as: ROLE`` who sits there (with an empty store, if that
is another person than before), ``back: ROLE`` who sits there again, with the store of before, ``setup:
COMMAND`` what a publisher has run, ``given: NAME`` a folder, ``client: NAME`` that `make test-clients` runs
it, ``parsed: WHY`` that it can't be run here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from hf_localize.cli import main
from tests.conftest import ROOT, Desk

PAGES = sorted((ROOT / "docs").rglob("*.md"))
BIN = str(Path(sys.executable).parent)
#: What the reader's machine has in place of what a page shows.
OWN_VALUES = (
    "HGLOC_S3_BUCKET_NAME",
    "HGLOC_S3_ENDPOINT_URL",
    "HGLOC_AWS_",
    "HF_ENDPOINT",
)
_BLOCK = re.compile(r"((?:^<!-- \w+: [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (\w+): (.*) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and what the comments before it say."""

    language: str
    text: str
    marks: tuple[tuple[str, str], ...] = ()

    def mark(self, name: str) -> str | None:
        """Return what the comment *name* says."""
        return dict(self.marks).get(name)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Return each command of a console, and the output that is shown of it."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of *page*, in order."""
    return [
        Block(language, text, tuple(_MARK.findall(marks)))
        for marks, language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def check_command(command: str) -> None:
    """Raise if ``hg-localize`` has no such command, or the command no such argument."""
    program, name, *arguments = shlex.split(command)
    assert program == "hg-localize"
    context = click.Context(main, info_name=program)
    found = main.get_command(context, name)
    assert found is not None, command
    found.make_context(name, arguments, parent=context)


@dataclass(slots=True)
class Reader:
    """Somebody who does what a page says, in an empty folder with the files that pages name."""

    desk: Desk
    role: str | None = None
    said: list[str] = field(default_factory=list)
    #: The store at the desk of each role, and what it has exported.
    stores: dict[str, Path] = field(default_factory=dict)
    exported: dict[str, dict[str, str]] = field(default_factory=dict)

    def read(self, page: Path) -> None:
        """Run all that *page* shows as a console or as Python."""
        for block in blocks_of(page):
            self._prepare(block)
            if self.role is None and not block.mark("setup"):
                self._sit_down("publisher")
            if block.mark("client") or block.mark("parsed"):
                continue
            if block.language == "console":
                for command, shown in block.commands:
                    output = self._run(command)
                    assert all(line in output.splitlines() for line in shown.split("\n") if line), output
            elif block.language == "python":
                self._python(block.text, page)

    def _prepare(self, block: Block) -> None:
        for name, said in block.marks:
            if name == "setup":
                self._sit_down("publisher")
                self._run(said)
            elif name == "as":
                self._sit_down(said)
            elif name == "back":
                self._return(said)
            elif name == "given":
                {"corpus": _save_corpus, "old store": self._fill_old_store}[said]()

    def _sit_down(self, role: str) -> None:
        if role != self.role:
            {
                "publisher": self.desk.publisher,
                "teammate": self.desk.teammate,
                "outsider": self.desk.outsider,
            }[role]()
            self.role = role
            self.stores[role] = self.desk.store

    def _return(self, role: str) -> None:
        """Sit down at the desk that *role* has left, with its store and its variables."""
        store = self.stores[role]
        self._sit_down(role)
        self.desk.store = self.stores[role] = store
        self.desk.use_cache(str(self.desk.folder / f"cache-{store.name}"))
        others = {name: "" for exported in self.exported.values() for name in exported}
        own = {"HGLOC_DATASETS_STORE_PATH": str(store), **self.exported.get(role, {})}
        self.desk.set(**{**others, **own})

    def _fill_old_store(self) -> None:
        self.desk.set(HGLOC_DATASETS_STORE_PATH="./datasets_store")
        _save_corpus("datasets_store/org_old/en/v1")

    def _run(self, command: str) -> str:
        words = shlex.split(command, comments=True)
        if "=" in words[0]:  # A variable for this command alone.
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(*words[0].split("=", 1))
                return self._run(shlex.join(words[1:]))
        if words[0] == "export":
            for name, value in (word.split("=", 1) for word in words[1:]):
                self._export(name, value)
            return ""
        if words[0] == "pip":  # The reader has it; `make test-package` installs the wheel.
            assert re.fullmatch(r"install (hf-localize(\[(catalog|serve)\])?|\.)", " ".join(words[1:])), (
                command
            )
            return ""
        if words[:2] == ["hg-localize", "run"] or words[0] == "python":
            path = os.pathsep.join((BIN, os.environ["PATH"]))
            ran = subprocess.run(
                words, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
            )
            assert ran.returncode == 0, (command, ran.stderr)
            return ran.stdout
        assert words[0] == "hg-localize", command
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            main.main(words[1:], prog_name="hg-localize", standalone_mode=False)
        return output.getvalue()

    def _export(self, name: str, value: str) -> None:
        if name == "HGLOC_PUBLIC_URL":
            value = f"{self.desk.s3.url}/{self.desk.bucket}"
        if not name.startswith(OWN_VALUES):
            self.exported.setdefault(self.role or "", {})[name] = value
            self.desk.set(**{name: value})

    def _python(self, code: str, page: Path) -> None:
        """Run *code* as a program of its own would: what it installs ends with it."""
        import hf_localize

        try:
            exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
        finally:
            hf_localize.uninstall()


def _save_corpus(folder: str = "corpus") -> None:
    import datasets

    train = datasets.Dataset.from_dict({"text": ["a", "b"]})
    with contextlib.redirect_stderr(io.StringIO()):
        datasets.DatasetDict({"train": train}).save_to_disk(folder)
