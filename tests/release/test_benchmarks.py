"""Each part of the benchmarks can be run by name."""

from __future__ import annotations

import importlib

import pytest

_MAIN = importlib.import_module("benchmarks.__main__")


@pytest.mark.parametrize("part", [*_MAIN.PARTS, *_MAIN.ALONE])
def test_a_part_is_found_and_can_be_imported(part: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.cases.{part}").measure)
