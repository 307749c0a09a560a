"""Dataset cards that others wrote."""

from __future__ import annotations

from hf_localize.catalog.cards import read_card
from tests.commands.catalog.shelves import (
    EVIL_CARD,
    TAGS,
    Page,
)


def test_a_card_is_shown_without_what_could_run() -> None:
    card = read_card(EVIL_CARD.encode())
    page = Page(card.text)
    assert page.tags <= TAGS - {"script", "style", "img", "svg", "iframe"}
    assert [target for _, target in page.links] == ["https://good.example/page"]
    assert card.told["license"] == ('"><script>alert(2)</script>',)
    assert read_card(b"---\n- [\n---\nText").told == {}
    assert read_card(b"\xff\xfe---").text
    assert read_card(
        b"[a](#b)\n\n# B\n\n## Dataset Description\n\nWhat it is, in a few more words."
    ).summary == ("What it is, in a few more words.")
    nested = read_card(b"> " * 5000 + b"x" + b"[" * 5000)
    assert nested.text


def test_html_of_a_card_leaves_its_text_and_what_markdown_has() -> None:
    card = read_card(
        b"<div align='center'><h1>Title</h1><div>a</div><div>b</div></div>\n\n# Part\n\n"
        b"<h3 id='card-part'>x</h3><h4 id='find'>y</h4><a href='#part'>up</a> <a href='/etc'>out</a>\n\n"
        b"<table><tr><td onclick='alert(1)' style='x' bgcolor=red>1</td></tr></table>\n\n"
        b"<math><mi></mi></math><svg><script>alert(1)</script></svg><form><input name=a></form>\n\n"
        b"1 < 2 ![alt <b>](https://evil.example/x.png) [b](JaVaScRiPt:alert(1)) [c](//evil.example)"
    )
    page = Page(card.text)
    assert page.tags == {"h3", "h4", "p", "a", "table", "tbody", "tr", "td"}
    assert (page.ids, page.handlers, page.links) == (["card-part"], [], [("a href", "#card-part")])
    assert "Title a b" in " ".join("".join(page.shown).split())
    assert "1 < 2 [picture: alt <b>]" in "".join(page.shown)


def test_tags_by_the_thousand_are_shown_as_text() -> None:
    assert Page(read_card(b"<div>" * 40_000).text).tags == {"p"}


def test_all_languages_of_a_card_are_told() -> None:
    names = [f"l{n}" for n in range(300)]
    card = read_card(f"---\nlanguage: [{', '.join(names)}]\n---\n".encode())
    assert card.told["language"] == tuple(names)


def test_the_head_of_a_card_is_text_and_lists_only() -> None:
    """Merged mappings would grow by nines, and a number in hexadecimal can't be written in decimal."""
    merged = [
        "a: &a0 {x: 1}",
        *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40)),
    ]
    head = "\n".join(["license: &l mit", "language: [no, *l]", *merged, f"pretty_name: 0x{'f' * 9000}"])
    told = read_card(f"---\n{head}\n---\n[a](javascript:alert(1)) [b](JAVASCRIPT&#58;alert(1)) text".encode())
    assert told.told["license"] == ("mit",)
    assert told.told["language"] == ("no", "mit")
    assert "href" not in told.text


def test_a_card_of_links_that_no_text_uses_is_empty() -> None:
    card = read_card(b"---\nlicense: mit\n---\n[paper]: https://example.org/paper\n")
    assert (card.text, card.summary) == ("", "")
