"""Sizes, numbers and types as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from hf_localize import text


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_900, "99.9 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (4_700_000, "4.7 MB"),
        (2 * 10**18, "2000 PB"),
    ],
)
def test_a_size_has_three_digits_at_most_and_its_unit(size_bytes: int, expected: str) -> None:
    assert text.size(size_bytes) == expected


def test_a_number_is_followed_by_singular_or_plural() -> None:
    assert [text.plural(n, "row") for n in (0, 1, 7473)] == ["0 rows", "1 row", "7,473 rows"]
    assert text.plural(2, "copy", "copies") == "2 copies"


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"_type": "Value", "dtype": "int64"}, "int64"),
        ({"_type": "ClassLabel", "names": ["a", "b"]}, "class label, 2 names"),
        ({"_type": "ClassLabel", "names": 3}, "class label, 0 names"),
        ([{"_type": "Value", "dtype": "string"}], "list of string"),
        ({"_type": "Sequence", "feature": {"_type": "Image"}, "length": 3}, "list of 3 × image"),
        ({"_type": "Array2D", "shape": [2, 3], "dtype": "float32"}, "array 2 × 3 of float32"),
        ({"_type": "Audio", "sampling_rate": 16_000}, "audio, 16 kHz"),
        ({"_type": "Audio", "sampling_rate": "fast"}, "audio"),
        ({"_type": "Translation", "languages": ["de", "en"]}, "translation (de, en)"),
        ({"a": {"_type": "Value", "dtype": "bool"}}, "{a: bool}"),
        ("nonsense", "?"),
    ],
)
def test_the_type_of_a_feature_is_told_in_words(feature: Any, expected: str) -> None:
    assert text.type_of(feature) == expected


def test_a_type_of_any_depth_and_width_stays_short() -> None:
    deep: Any = {"_type": "Value", "dtype": "int8"}
    for _ in range(1000):
        deep = [deep]
    assert text.type_of(deep).endswith("…")
    wide = {f"a long name {number}": {"_type": "Image"} for number in range(1000)}
    assert len(text.type_of(wide)) < 300
