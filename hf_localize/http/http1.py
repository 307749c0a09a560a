"""HTTP/1.1 on one socket: a request sent, and the answer's status, headers and bytes.

https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import contextlib
import io
import socket
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from hf_localize.errors import UnreachableError
from hf_localize.http.throttle import THROTTLED_BYTES, Throttle
from hf_localize.progress import sent

_MAX_HEAD_BYTES = 64 << 10
#: What is sent at a time where somebody watches.
_NOTED_BYTES = 512 << 10


class StatusError(Exception):
    """The server refused: its status, headers (names in small letters) and what it said."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body

    @property
    def retry_after_seconds(self) -> float | None:
        """Return how long the server wants to be left alone, where it says that.

        https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
        """
        said = self.headers.get("retry-after", "")
        if said.isdecimal():
            return float(said)
        with contextlib.suppress(ValueError):
            return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
        return None


class HttpConnection:
    """A socket, and what was received with the head of an answer but belongs to its body."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(_MAX_HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._from = self._to = 0

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def send(self, head: bytes, data: Any, throttle: Throttle | None) -> None:
        """Send a request. Where a server answers before it has all, that answer is what counts."""
        self._from = self._to = 0
        try:
            self._send_all(head)
            note = sent()
            step = THROTTLED_BYTES if throttle else _NOTED_BYTES if note else len(data) or 1
            for start in range(0, len(data), step):
                part = data[start : start + step]
                if throttle is not None:
                    throttle.take(len(part))
                self._send_all(part)
                if note is not None:
                    note(start + len(part))
        except (BrokenPipeError, ConnectionResetError):
            if not self._has_answer():
                raise

    def read_head(self) -> tuple[int, str, dict[str, str]]:
        """Return the status, the reason and the headers of the next answer."""
        while True:
            end = self._fill_until(b"\r\n\r\n")
            lines = bytes(self._view[self._from : end]).decode("latin-1").split("\r\n")
            self._from = end + 4
            version, _, rest = lines[0].partition(" ")
            status, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not status.isdigit():
                raise ValueError(f"not an answer of HTTP/1.1: {lines[0][:60]!r}")
            if int(status) >= 200:
                break  # Else it only says that the request is under way.
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if version == "HTTP/1.0":
            headers.setdefault("connection", "close")
        return int(status), reason, headers

    def receive(self, view: memoryview) -> int:
        """Receive into *view* what there is; 0: the server has closed the connection."""
        waiting = min(self._to - self._from, len(view))
        if waiting:
            view[:waiting] = self._view[self._from : self._from + waiting]
            self._from += waiting
            return waiting
        return self._receive_into(view)

    def next_chunk(self) -> int:
        """Return the size of the next chunk, 0 after the last.

        https://www.rfc-editor.org/rfc/rfc9112#section-7.1
        """
        while self._to - self._from < 2:
            self._receive_more()
        if bytes(self._view[self._from : self._from + 2]) == b"\r\n":
            self._from += 2  # The end of the chunk before.
        end = self._fill_until(b"\r\n")
        size = int(bytes(self._view[self._from : end]).partition(b";")[0], 16)
        self._from = end + 2
        if size == 0:
            while (end := self._fill_until(b"\r\n")) > self._from:
                self._from = end + 2  # A trailer.
            self._from = end + 2
        return size

    def _fill_until(self, mark: bytes) -> int:
        while (end := self._buffer.find(mark, self._from, self._to)) < 0:
            self._receive_more()
        return end

    def _receive_more(self) -> None:
        if self._from:
            rest = bytes(self._view[self._from : self._to])
            self._view[: len(rest)] = rest
            self._from, self._to = 0, len(rest)
        if self._to == len(self._buffer):
            raise ValueError(f"more than {len(self._buffer)} bytes of headers")
        got = self._receive_into(self._view[self._to :])
        if not got:
            raise ConnectionResetError("the server closed the connection without an answer")
        self._to += got

    def _receive_into(self, view: memoryview) -> int:
        try:
            return self._sock.recv_into(view)
        except BlockingIOError:  # How the system's own timeout ends.
            raise TimeoutError("timed out") from None

    def _send_all(self, data: Any) -> None:
        try:
            self._sock.sendall(data)
        except BlockingIOError:
            raise TimeoutError("timed out") from None

    def _has_answer(self) -> bool:
        try:
            self._receive_more()
        except OSError:
            return False
        return True


class Body(io.RawIOBase):
    """What the server answers: status, headers, and the bytes as a raw stream."""

    def __init__(
        self,
        connection: HttpConnection,
        keep: Callable[[HttpConnection], None],
        url: str,
        throttle: Throttle | None,
        status: int,
        reason: str,
        headers: Mapping[str, str],
    ) -> None:
        self._keep = keep
        self._connection: HttpConnection | None = connection
        self._url = url
        self._throttle = throttle
        self.status = status
        self.reason = reason
        self.headers = headers
        length = headers.get("content-length", "")
        self._is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        #: Bytes that are still to come: of the body, or of the chunk under way; None: till the end.
        self.left_bytes: int | None = int(length) if length.isdigit() else None
        if self._is_chunked or status == 204:
            self.left_bytes = 0
        if self.left_bytes == 0 and not self._is_chunked:
            self._finish()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    @property
    def total_bytes(self) -> int | None:
        """Return the size of the whole file of which this is a range, where the server tells it."""
        total = self.headers.get("content-range", "").rpartition("/")[2]
        if self.status == 200 and not self._is_chunked:
            total = self.headers.get("content-length", "")
        return int(total) if total.isdecimal() else None

    def is_range(self, start: int, stop: int | None) -> bool:
        """Tell whether this is exactly the range that was asked for."""
        said = self.headers.get("content-range", "")
        size = self.left_bytes
        return said.startswith(f"bytes {start}-") and (stop is None or size in (None, stop - start))

    def readinto(self, buffer: Any) -> int:
        """Read what comes next into *buffer*; 0 is the end.

        Raises:
            UnreachableError: the connection broke, or nothing came for too long.
        """
        if self._connection is None:
            return 0
        view = memoryview(buffer).cast("B")
        if self._throttle is not None:
            view = view[:THROTTLED_BYTES]
        try:
            if self._is_chunked and self.left_bytes == 0:
                self.left_bytes = self._connection.next_chunk()
                if self.left_bytes == 0:
                    self._finish()
                    return 0
            if self.left_bytes is not None:
                view = view[: self.left_bytes]
            got = self._connection.receive(view)
            if self._throttle is not None:
                self._throttle.take(got)
        except (OSError, ValueError) as exc:
            self.close()
            raise UnreachableError(f"{self._url}: broke off: {words_of(exc)}") from exc
        if self.left_bytes is not None:
            if not got:
                self.close()
                raise UnreachableError(f"{self._url}: broke off: {self.left_bytes} bytes are missing")
            self.left_bytes -= got
            if self.left_bytes == 0 and not self._is_chunked:
                self._finish()
        elif not got:
            self.close()
        return got

    def read_all(self, limit_bytes: int | None = None) -> bytes:
        """Return the rest, or its first *limit_bytes*."""
        parts: list[bytes] = []
        buffer = bytearray(64 << 10)
        while (limit_bytes is None or sum(map(len, parts)) < limit_bytes) and (got := self.readinto(buffer)):
            parts.append(bytes(buffer[:got]))
        return b"".join(parts)[:limit_bytes]

    def close(self) -> None:
        """Give the connection up, unless everything was read."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().close()

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._keep(connection)


def words_of(exc: Exception) -> str:
    """Return what kind of error *exc* is, and what it says."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
