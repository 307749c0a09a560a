"""Damaged files of an entry: each kind is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hf_localize.format.manifest import FileRecord
from hf_localize.store.integrity import problem_with, problems_in

RIGHT = b"the right bytes"
RECORD = FileRecord("a", len(RIGHT), hashlib.sha256(RIGHT).hexdigest())


@pytest.mark.parametrize(
    ("data", "quick", "deep"),
    [(RIGHT, False, False), (None, True, True), (RIGHT[1:], True, True), (RIGHT.upper(), False, True)],
    ids=["right", "missing", "too short", "other bytes"],
)
def test_only_hashes_tell_other_bytes_of_the_same_size(
    data: bytes | None, quick: bool, deep: bool, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / "a").write_bytes(data)
    for is_deep, expected in ((False, quick), (True, deep)):
        assert bool(problem_with(tmp_path / "a", RECORD, deep=is_deep)) == expected
        assert set(problems_in(tmp_path, [RECORD], deep=is_deep)) == ({"a"} if expected else set())
