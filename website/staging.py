"""Bring the repository's Markdown into one folder, as the site generator wants it.

A page in the repository may say ``<!-- include: PATH -->`` for a file, shown as code,
``<!-- include: README.md#section -->`` for what stands below a heading of the README, or
``<!-- include: README.md -->`` for what stands above all of them.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from website import generated

ROOT = Path(__file__).parent.parent
#: Pages that lie elsewhere in the repository, where people look for them.
ELSEWHERE = {
    "sitecustomize_example/README.md": "start/activation.md",
    "examples/README.md": "guides/streams.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "benchmarks/RESULTS.md": "project/figures.md",
}
#: Where the site has what stands in a section of the README.
README_SECTIONS = {"": "index.md", "what-works": "reference/what-works.md"}
LANGUAGES = {".sh": "sh", ".yaml": "yaml", ".py": "python"}
#: Where the files of the repository are for everybody.
REPOSITORY = "https://github.com/hf-localize/hf_localize"
_OWN_URL = re.compile(rf"{re.escape(REPOSITORY)}/(?:blob|raw)/main/")
_INCLUDE = re.compile(r"^<!-- include: (\S+?)(?:#(\S+))? -->$", flags=re.MULTILINE)
_PLOT = re.compile(r"^!\[(.+?)\]\((\S+/scaling/\S+)\)$", flags=re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FENCED = re.compile(r"(^```.*?^```$)", flags=re.MULTILINE | re.DOTALL)
_MARKS = re.compile(r"^<!-- (?!include:)[^>]* -->\n", flags=re.MULTILINE)


class StagingError(Exception):
    """A page names something that is not there."""


def pages() -> dict[str, str]:
    """Return where each page of the repository comes on the site, both as paths with ``/``."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    own = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix() for path in found}
    return own | ELSEWHERE


def with_includes(text: str) -> str:
    """Return *text* with what its ``include`` lines name in their place.

    Raises:
        StagingError: there is no such file, or no such section.
    """
    return _INCLUDE.sub(lambda found: _included(found[1], found[2]), text)


def readme_section(anchor: str) -> str:
    """Return what stands in the README below the heading that has *anchor*, or before the first one if empty.

    Its links, which name the repository for readers elsewhere, are relative here.

    Raises:
        StagingError: there is none.
    """
    text = _OWN_URL.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    first, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    if not anchor:
        return first.strip()
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        if re.sub(r"\W+", "-", heading.lower()).strip("-") == anchor:
            return text.strip()
    raise StagingError(f"README.md has no section #{anchor}")


def navigation(staged: Collection[str]) -> str:
    """Return mkdocs.yml with a line for each of the pages *staged*; those it does not name come last."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"- (\S+\.md)$", text, flags=re.MULTILINE))
    others = sorted(page for page in set(staged) - named if not page.startswith("files/"))
    return text + "".join(f"  - {page}\n" for page in others)


def stage(folder: Path) -> list[str]:
    """Write all pages, and what they show, into *folder*, and return the pages' paths in it.

    Raises:
        StagingError: a page names something that is not there.
    """
    site = pages()
    texts = {}
    for source, target in site.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if target == "reference/errors.md":
            text = generated.with_error_docstrings(text)
        text = _with_plots_that_are_here(text, source)
        texts[target] = _relinked(with_includes(_MARKS.sub("", text)), source, target, site, folder)
    shutil.copytree(ROOT / "website" / "assets", folder / "assets", dirs_exist_ok=True)
    texts["reference/cli.md"] = generated.command_line_page()
    texts["reference/api.md"] = generated.api_page()
    _check_anchors(texts)
    for target, text in texts.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _check_anchors(texts: dict[str, str]) -> None:
    """Raise if a page links to a heading that there is not."""
    anchors = {target: _anchors(text) for target, text in texts.items()}
    for target, text in texts.items():
        for link in _LINK.findall(_FENCED.sub("", text)):
            path, _, anchor = link.partition("#")
            named = posixpath.normpath(posixpath.join(posixpath.dirname(target), path)) if path else target
            if anchor and named in anchors and anchor not in anchors[named]:
                raise StagingError(f"{target}: {link}: there is no such heading")


def _anchors(text: str) -> set[str]:
    """Return what headings are called in links, by the rule of Python-Markdown."""
    headings = re.findall(r"^#+ (.+?) *$", _FENCED.sub("", text), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


def _included(path: str, anchor: str | None) -> str:
    if path == "README.md":
        return readme_section(anchor or "")
    file = ROOT / path
    if not file.is_file():
        raise StagingError(f"there is no {path}, which a page includes")
    language = LANGUAGES.get(file.suffix, file.name.lower())
    return f"```{language}\n{file.read_text(encoding='utf-8').rstrip()}\n```"


def _with_plots_that_are_here(text: str, source: str) -> str:
    """Return *text* with words in place of plots that nobody has drawn in this clone."""

    def shown(found: re.Match[str]) -> str:
        is_here = (ROOT / posixpath.dirname(source) / found[2]).is_file()
        return found[0] if is_here else f"- {found[1]}: `make bench-scaling` draws it"

    return _PLOT.sub(shown, text)


def _relinked(text: str, source: str, target: str, site: dict[str, str], folder: Path) -> str:
    """Return *text* with links that lead to the same things from where the page comes to be."""
    included_from_readme = _INCLUDE.search((ROOT / source).read_text(encoding="utf-8")) is not None

    def follow(found: re.Match[str]) -> str:
        link = found[1]
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            return link
        path, _, anchor = link.partition("#")
        here = [source, "README.md"] if included_from_readme else [source]
        for origin in here:
            named = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
            if (ROOT / named).exists():
                return posixpath.relpath(
                    _place(named, anchor, site, folder), posixpath.dirname(target) or "."
                )
        generated_page = posixpath.normpath(posixpath.join(posixpath.dirname(target), path))
        if generated_page in ("reference/cli.md", "reference/api.md"):
            return link
        raise StagingError(f"{source}: {link} leads nowhere")

    outside_of_code = (
        part if part.startswith("```") else _LINK.sub(follow, part) for part in _FENCED.split(text)
    )
    return "".join(outside_of_code)


def _place(named: str, anchor: str, site: dict[str, str], folder: Path) -> str:
    """Return where the site has a file of the repository; what is no page is copied to there."""
    if (ROOT / named).is_dir():
        named = posixpath.join(named, "README.md")
    if named == "README.md":
        if anchor not in README_SECTIONS:
            raise StagingError(f"the site has no page for README.md#{anchor}")
        return README_SECTIONS[anchor]
    if named in site:
        return site[named] + (f"#{anchor}" if anchor else "")
    copy = folder / "files" / named
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.fspath(ROOT / named), copy)
    return f"files/{named}"
