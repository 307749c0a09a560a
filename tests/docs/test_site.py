"""The built documentation in a browser, opened from its folder: search, copying, and reading on a phone.

`make test-browser` builds the site and runs this; `make test` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.rig.browser import DESK, PHONE, Reader, require_browser

SITE = ROOT / "build" / "site"
require_browser(SITE)
#: The window of the search, which has a tree of its own.
SEARCH = "Array.from(document.querySelectorAll('*')).find(e => e.shadowRoot).shadowRoot"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("profile"))
    yield reader
    reader.driver.quit()


def address(page: str) -> str:
    return f"file://{SITE / page}"


def wait_for(reader: Reader, condition: str) -> None:
    """Wait until JavaScript's *condition* holds."""
    found = reader.driver.execute_async_script(
        "const done = arguments[0], start = Date.now();"
        f"(function look() {{ if ({condition}) {{ done(true); }}"
        " else if (Date.now() - start > 20000) { done(false); } else { setTimeout(look, 50); } })()"
    )
    assert found, reader.complaints()


def test_the_search_works_from_a_folder(reader: Reader) -> None:
    reader.driver.set_script_timeout(30)
    for page in ("index.html", "guides/publishing.html"):
        reader.open(address(page))
        reader.complaints(), reader.asked()
        reader.find("button.md-search__button").click()
        wait_for(reader, "Array.from(document.querySelectorAll('*')).some(e => e.shadowRoot)")
        wait_for(reader, f"{SEARCH}.activeElement")
        reader.cdp("Input.insertText", text="carry the store air gap")
        wait_for(reader, f"{SEARCH}.querySelector('a[href*=\"start/air-gap.html\"]')")
        assert reader.run(f"return {SEARCH}.querySelector('input').value") == "carry the store air gap"
        assert reader.complaints() == []
        assert {scheme for scheme, _ in reader.asked()} <= {"file", "data", "about"}


def test_code_is_copied_without_prompts_and_outputs(reader: Reader) -> None:
    reader.open(address("start/outsider.html"))
    reader.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    wait_for(reader, "document.querySelector('.md-code__button')")
    copied = []
    for button in reader.driver.find_elements("css selector", "article .md-code__button"):
        button.click()
        copied.append(
            reader.driver.execute_async_script(
                "const d = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(d, e => d(String(e))), 100)"
            )
        )
    commands = [line for text in copied[:2] for line in text.splitlines() if line]
    assert commands == [
        "pip install hf-localize",
        "export HGLOC_S3_BUCKET_NAME=team-datasets HGLOC_S3_ENDPOINT_URL=https://s3.example.com",
        "hg-localize list-public",
        "hg-localize download openai/gsm8k --name main",
    ]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_can_be_read(size: tuple[int, int], reader: Reader) -> None:
    problems = []
    for page in sorted(SITE.rglob("*.html")):
        name = page.relative_to(SITE).as_posix()
        reader.open(address(name), size)
        wide = reader.run("const r = document.documentElement; return r.scrollWidth - r.clientWidth")
        problems += [f"{name} is {wide} pixels too wide"] if wide > 0 else []
        if size == PHONE:
            problems += [f"{name}: {word} is broken" for word in reader.broken_words("article")]
    assert problems == []


def test_the_colors_are_those_of_the_system(reader: Reader) -> None:
    for dark in (False, True):
        reader.open(address("index.html"), dark=dark)
        assert reader.run("return document.body.dataset.mdColorScheme") == ("slate" if dark else "default")


def test_the_command_line_needs_no_scrolling_on_a_phone(reader: Reader) -> None:
    reader.open(address("reference/cli.html"), PHONE)
    assert (
        reader.run(
            "return Array.from(document.querySelectorAll('article pre code')).filter("
            "c => c.scrollWidth > c.clientWidth).map(c => c.textContent)"
        )
        == []
    )
    assert reader.find("#download ~ ul code").text == "--json"
