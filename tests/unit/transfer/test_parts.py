"""The parts in which large files move."""

from __future__ import annotations

from hf_localize.transfer.parts import PART_BYTES, most_at_once


def test_small_files_move_more_at_once_than_large_ones() -> None:
    assert most_at_once(64, 64 << 10) == 64
    assert most_at_once(64, PART_BYTES) == 16
    assert most_at_once(4, PART_BYTES) == 4
    assert most_at_once(64, 1 << 40) == 1
