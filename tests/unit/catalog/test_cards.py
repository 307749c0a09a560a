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
