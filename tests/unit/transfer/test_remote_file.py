"""How a remote file is read: how large its requests are."""

from __future__ import annotations

import io

from hf_localize.format.manifest import FileRecord
from hf_localize.transfer.remote_file import RemoteFile

_SIZE = 20 << 20
_KIB = 1 << 10


def test_the_first_request_brings_rows_of_text_and_those_after_a_seek_are_small() -> None:
    asked: list[tuple[int, int]] = []

    def read_range(start: int, buffer: memoryview) -> None:
        asked.append((start, len(buffer)))

    file = RemoteFile(FileRecord("data.arrow", _SIZE), read_range, "here")
    assert len(file.read(500 * _KIB)) == 500 * _KIB
    assert asked == [(0, 768 * _KIB)]
    file.read(300 * _KIB)
    assert asked[1:] == [(768 * _KIB, 256 * _KIB)]
    file.seek(10 << 20, io.SEEK_SET)
    file.read(1)
    assert asked[2:] == [(10 << 20, 64 * _KIB)]
