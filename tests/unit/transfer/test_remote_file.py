"""How a remote file is read: how large its requests are, and when they are sent."""

from __future__ import annotations

from hf_localize.format.manifest import FileRecord
from hf_localize.transfer.remote_file import RemoteFile

_KIB = 1 << 10


class _Server:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def file(self, size: int) -> RemoteFile:
        return RemoteFile(FileRecord("data.arrow", size), self.read_range, "here")

    def read_range(self, start: int, buffer: memoryview) -> None:
        self.asked.append((start // _KIB, len(buffer) // _KIB))


def test_the_first_request_brings_rows_of_text_and_those_after_a_seek_are_small() -> None:
    server = _Server()
    file = server.file(20 << 20)
    assert len(file.read(500 * _KIB)) == 500 * _KIB
    assert server.asked == [(0, 768)]
    file.seek(10 << 20)
    file.read(1)
    assert server.asked[1:] == [(10 << 10, 64)]


def test_first_rows_that_are_larger_are_no_sign_of_reading_on() -> None:
    server = _Server()
    file = server.file(20 << 20)
    file.read(4 * _KIB)
    file.read(900 * _KIB)
    assert server.asked == [(0, 768), (768, 256)]
    assert not file.bytes_ahead > 256 * _KIB


def test_whoever_reads_on_has_more_fetched_before_he_needs_it() -> None:
    server, begun = _Server(), []
    file = server.file(20 << 20)
    file.read(400 * _KIB)
    file.read(1)
    assert file.bytes_ahead >= (1 + 4) << 20
    small = server.file(700 * _KIB)
    small.when_asked_for = lambda: begun.append(small)
    small.read(400 * _KIB)
    assert not begun
    small.read(1)
    assert begun == [small]
