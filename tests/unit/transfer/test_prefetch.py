"""How much is fetched before the reader asks for it."""

from __future__ import annotations

from typing import BinaryIO, cast

import datasets
import pytest

from hf_localize.format.manifest import FileRecord
from hf_localize.transfer.prefetch import InTurn
from hf_localize.transfer.remote_file import RemoteFile

NAME = "made/parts"


def stream(split: str = "train") -> datasets.IterableDataset:
    return datasets.load_dataset(NAME, split=split, streaming=True)


@pytest.mark.parametrize("size_bytes", [100_000, 3 << 20, 20 << 20])
def test_what_is_under_way_ahead_of_a_reader_is_bounded(size_bytes: int) -> None:
    asked: list[int] = []

    def open_file(path: str) -> BinaryIO:
        def read_range(_: int, buffer: memoryview) -> None:
            asked.append(len(buffer))

        return cast("BinaryIO", RemoteFile(FileRecord(path, size_bytes), read_range, "nowhere"))

    paths, read = [str(number) for number in range(12)], 0
    in_turn = InTurn(paths)
    for path in paths:
        with in_turn.open(path, open_file) as stream:
            while got := len(stream.read(100_000)):
                read += got
                assert sum(asked) - read <= (16 << 20) + (24 << 20), (
                    "what may be ahead, and one file begun then"
                )
    assert read == 12 * size_bytes
