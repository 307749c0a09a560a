"""Files that one reader reads in turn: the next ones are on their way before he comes to them."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Sequence
from typing import BinaryIO

from hf_localize.transfer.remote_file import RemoteFile, remote_of

#: Who reads small files on has requests for so many under way; of large ones, so many bytes.
_MAX_FILES = 8
_MAX_BYTES = 16 << 20

Open = Callable[[str], BinaryIO]


class InTurn:
    """Open files for somebody who reads them in a known order.

    Whoever reads on in the first file, or has come to the second, is taken to read all of them:
    then the next is begun once the last range of one was asked for. Who wants only the first rows
    has nothing fetched that he does not read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Describe the order; *paths* are all that are read, or the last of them."""
        self._left = collections.deque(paths)
        self._begun: collections.deque[tuple[str, BinaryIO]] = collections.deque()
        self._is_first = True

    def open(self, path: str, open_file: Open) -> BinaryIO:
        """Return the file at *path*, which may have been begun; later ones will be begun by *open_file*."""
        stream = self._take(path) or open_file(path)
        remote = remote_of(stream)
        if remote is not None:
            remote.when_asked_for = functools.partial(self._begin_next, remote, open_file)
            if not self._is_first:
                remote.read_on()
        self._is_first = False
        return stream

    def _take(self, path: str) -> BinaryIO | None:
        """Return *path* if it was begun, and forget whatever comes before it."""
        while self._begun:
            begun, stream = self._begun.popleft()
            if begun == path:
                return stream
            stream.close()
        if path in self._left:
            while self._left.popleft() != path:
                pass
        return None

    def _begin_next(self, current: RemoteFile, open_file: Open) -> None:
        """Begin as many of the next files as there is room for beside what is under way."""
        while self._left and len(self._begun) < _MAX_FILES and self._bytes_ahead(current) < _MAX_BYTES:
            path = self._left.popleft()
            stream = open_file(path)
            self._begun.append((path, stream))
            remote = remote_of(stream)
            if remote is not None:
                remote.read_on()

    def _bytes_ahead(self, current: RemoteFile) -> int:
        begun = (remote_of(stream) for _, stream in self._begun)
        return current.bytes_ahead + sum(remote.bytes_ahead for remote in begun if remote is not None)
