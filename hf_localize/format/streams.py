"""What our streams have in common, and reads that are not cut short."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Protocol


class ReadOnlyStream(io.RawIOBase):
    """A stream of bytes for reading. A subclass has ``read``, ``readinto`` or both."""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end. Raises as ``read`` does."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class SeekableStream(ReadOnlyStream):
    """The same, with ``seek``."""

    def seekable(self) -> bool:
        """Tell that any place in it can be read next."""
        return True

    def readall(self) -> bytes:
        """Return what is left, as bytes, whatever buffer ``read`` returns."""
        return bytes(self.read())


class Window(ReadOnlyStream):
    """The next bytes of a file, and no more. To close it closes the file."""

    def __init__(self, file: BinaryIO | io.FileIO, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end."""
        count: int = self._file.readinto(memoryview(buffer)[: self._left])  # type: ignore[union-attr]
        self._left -= count
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _Readable(Protocol):
    def readinto(self, buffer: Any, /) -> int | None: ...


def read_exactly(stream: _Readable, buffer: memoryview) -> int:
    """Read until *buffer* is full; return how many bytes are missing because *stream* ended before."""
    filled = 0
    while filled < len(buffer) and (got := stream.readinto(buffer[filled:])):
        filled += got
    return len(buffer) - filled
