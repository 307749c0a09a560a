"""Values as cells of a table: numbers, embeddings, chats, and why something is not shown."""

from __future__ import annotations

import html
import io
import sys
from typing import Any

import pytest
from PIL import Image

from hf_localize.catalog.showing import Shower
from tests.commands.catalog.shelves import EVIL, TAGS, Page

FLOAT32 = {"dtype": "float32", "_type": "Value"}
TEXT = {"dtype": "string", "_type": "Value"}
MESSAGE = {"role": TEXT, "content": TEXT}


def cell(value: Any, feature: Any = None) -> str:
    return str(Shower(1 << 20).cell(value, feature, "x, row 1"))


def shown(value: Any, feature: Any = None) -> str:
    return " ".join("".join(Page(cell(value, feature)).shown).split())


@pytest.mark.parametrize(
    ("value", "feature", "told"),
    [
        (0.10000000149011612, FLOAT32, "0.1"),
        (0.0999755859375, {"dtype": "float16", "_type": "Value"}, "0.1"),
        (0.10000000149011612, {"dtype": "float64", "_type": "Value"}, "0.10000000149011612"),
        (3.4028234663852886e38, FLOAT32, "3.4028235e+38"),
        (1e300, FLOAT32, "1e+300"),
        (float("nan"), FLOAT32, "nan"),
        ([0.10000000149011612, None], {"feature": FLOAT32, "_type": "List"}, "[0.1, null]"),
        ([0.10000000149011612], [FLOAT32], "[0.1]"),
        ([[0.10000000149011612]], {"shape": [1, 1], "dtype": "float32", "_type": "Array2D"}, "[[0.1]]"),
        ({"a": [0.20000000298023224]}, {"a": {"feature": FLOAT32, "_type": "Sequence"}}, "a [0.2]"),
        ({"a": [0.20000000298023224]}, {"feature": {"a": FLOAT32}, "_type": "Sequence"}, "a [0.2]"),
        (2024, {"dtype": "int64", "_type": "Value"}, "2024"),
        (True, {"dtype": "bool", "_type": "Value"}, "True"),
    ],
)
def test_a_number_is_written_as_short_as_its_type_allows(value: Any, feature: Any, told: str) -> None:
    assert shown(value, feature) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([0.25] * 384, "384 numbers"),
        ([[0] * 28] * 28, "28 × 28 numbers"),
        ({"embedding": [0.5] * 1536}, "embedding 1,536 numbers"),
        ([1] * 16, str([1] * 16)),
        ([[1] * 20, [1] * 21], str([[1] * 20, [1] * 21])),
        (["a"] * 3, '["a", "a", "a"]'),
    ],
)
def test_an_embedding_is_one_line(value: Any, told: str) -> None:
    assert shown(value) == told


@pytest.mark.parametrize(
    ("value", "feature"),
    [
        ([{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}], [MESSAGE]),
        (
            [{"from": "user", "value": "Hi?", "id": 1}, {"from": "assistant", "value": "Hello.", "id": 2}],
            None,
        ),
        (
            {"role": ["user", "assistant"], "content": ["Hi?", "Hello."]},
            {"feature": MESSAGE, "_type": "Sequence"},
        ),
        (
            [
                {"role": "user", "content": [{"type": "text", "text": "Hi?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
            ],
            None,
        ),
    ],
)
def test_a_chat_is_shown_as_a_chat(value: Any, feature: Any) -> None:
    assert cell(value, feature) == (
        '<div class="chat"><div class="turn"><b>user</b>Hi?</div>'
        '<div class="turn"><b>assistant</b>Hello.</div></div>'
    )


def test_a_chat_tells_calls_of_tools_and_how_much_is_left_out() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "arguments": "{}"}]}
    assert shown([call]) == "assistanttool_calls name addarguments {}"
    assert "and 12 messages more" in shown([{"role": "user", "content": str(n)} for n in range(20)])


def test_nothing_in_a_nested_value_is_taken_for_markup() -> None:
    hostile = {EVIL: [{"role": EVIL, "content": EVIL, "x": {EVIL: [{EVIL: EVIL}]}}], "path": EVIL}
    for value in (hostile, [hostile], [[hostile]], hostile[EVIL]):
        for feature in (None, {EVIL: [{"image": {"_type": "Image"}}]}, {"_type": "Image"}):
            page = Page(cell(value, feature))
            assert page.tags <= TAGS - {"script", "img", "audio"}
            assert (page.handlers, page.links) == ([], [])


def test_a_value_of_any_depth_and_width_makes_a_cell_of_some_size() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = {"a": [deep]}
    assert len(cell(deep)) < 2_000
    wide = {f"field {n}": [{str(m): "y" * 5_000 for m in range(50)}] * 50 for n in range(50)}
    assert len(cell(wide)) < 2_000_000
    assert "and 38 fields more" in shown(wide)


def noise(side: int) -> bytes:
    made = io.BytesIO()
    Image.effect_noise((side, side), 90).save(made, "PNG")
    return made.getvalue()


def test_what_is_not_shown_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    large, image, audio = noise(600), {"_type": "Image"}, {"_type": "Audio"}
    assert Page(cell({"bytes": large}, image)).tags == {"img"}
    assert shown({"bytes": b"GIF8" + b"x" * 50}, image) == "image, 54 bytes: it can't be decoded"
    assert shown({"bytes": b"x" * 50}, audio) == "sound, 50 bytes: in a format that browsers don't play"
    assert shown({"bytes": b"fLaC" + bytes(400_000)}, audio) == "sound, 400 kB: too long for this page"
    full = Shower(10).cell({"bytes": large}, image, "")
    assert full.endswith("the page shows many of them already</span>")
    small = noise(30)
    monkeypatch.setitem(sys.modules, "PIL", None)  # As where only the package itself is installed.
    assert "pip install 'hf-localize[catalog]' makes such images small" in html.unescape(
        cell({"bytes": large}, image)
    )
    assert Page(cell({"bytes": small}, image)).tags == {"img"}
