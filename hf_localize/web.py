"""Anonymous reads of public files over HTTP. No credential is ever sent from here."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import requests

from hf_localize.errors import AccessDeniedError, HfLocalizeError, IntegrityError, UnreachableError

#: Bytes that one range request reads ahead.
_READ_AHEAD = 1 << 20
_CHUNK = 1 << 20
_TAIL = 48 << 10
_sessions = threading.local()


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """Files under one base URL, read without credentials (not even from ``~/.netrc``)."""

    base_url: str
    timeout_seconds: float
    #: File with the certificates to trust, as ``AWS_CA_BUNDLE`` names one; None: the usual ones.
    ca_bundle: str | None = None

    def get(self, key: str, *, limit_bytes: int) -> bytes | None:
        """Return the file's bytes, or None where there is none.

        Raises:
            AccessDeniedError: 401 or 403. Some servers answer so for files that are missing.
            UnreachableError: no answer, or a failure of the server.
            IntegrityError: the file has more than *limit_bytes* bytes.
        """
        with self._request(key) as answer:
            if answer.status_code == 404:
                return None
            return b"".join(self._chunks(answer, key, limit_bytes))

    def stream(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from offset *start* on."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._request(key, **headers) as answer:
            self._raise_if_missing(answer, key)
            if start and answer.status_code != 206:
                raise UnreachableError(f"{self.url(key)} does not serve ranges")
            yield from self._chunks(answer, key, None)

    def open(self, key: str, size_bytes: int) -> BinaryIO:
        """Return a seekable stream over the file of *size_bytes* bytes, read by ranges."""
        return io.BufferedReader(_RangeReader(self, key, size_bytes), _READ_AHEAD)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return *length* bytes of the file from offset *start* on."""
        with self._request(key, Range=f"bytes={start}-{start + length - 1}") as answer:
            self._raise_if_missing(answer, key)
            if answer.status_code != 206:
                raise UnreachableError(f"{self.url(key)} does not serve ranges")
            return b"".join(self._chunks(answer, key, length))

    def is_readable(self, key: str) -> bool:
        """Tell whether anybody may read the file, by reading its first byte."""
        try:
            with self._request(key, Range="bytes=0-0") as answer:
                return answer.status_code in (200, 206, 416)
        except AccessDeniedError:
            return False

    def url(self, key: str) -> str:
        """Return the URL of *key*."""
        return f"{self.base_url}/{quote(key)}"

    def _request(self, key: str, **headers: str) -> requests.Response:
        url = self.url(key)
        try:
            answer = _session().get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=(min(5.0, self.timeout_seconds), self.timeout_seconds),
                stream=True,
                verify=self.ca_bundle or True,
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            raise UnreachableError(f"{url}: {type(exc).__name__}: {exc}") from exc
        if problem := _problem(answer, url):
            answer.close()
            raise problem
        return answer

    def _raise_if_missing(self, answer: requests.Response, key: str) -> None:
        if answer.status_code == 404:
            raise IntegrityError(f"{self.url(key)} is missing, though public_datasets.json names it")

    def _chunks(self, answer: requests.Response, key: str, limit_bytes: int | None) -> Iterator[bytes]:
        received = 0
        try:
            for chunk in answer.iter_content(_CHUNK):
                received += len(chunk)
                if limit_bytes is not None and received > limit_bytes:
                    raise IntegrityError(f"{self.url(key)} has more than {limit_bytes} bytes")
                yield chunk
        except requests.RequestException as exc:
            raise UnreachableError(f"{self.url(key)}: broke off after {received} bytes: {exc}") from exc
        promised = answer.headers.get("Content-Length")
        if promised is not None and int(promised) != received:
            raise UnreachableError(f"{self.url(key)}: broke off after {received} of {promised} bytes")


class _RangeReader(io.RawIOBase):
    """A remote file of known size as a raw, seekable stream."""

    def __init__(self, files: PublicFiles, key: str, size_bytes: int) -> None:
        self._files = files
        self._key = key
        self._size_bytes = size_bytes
        self._position = 0
        self._tail = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size_bytes - self._position)
        if length <= 0:
            return 0
        data = self._read(length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, length: int) -> bytes:
        # The end of a ZIP holds its directory and, in ours, the manifest: one request for all.
        tail_start = max(0, self._size_bytes - _TAIL)
        if self._position < tail_start:
            return self._files.read_range(self._key, self._position, length)
        if not self._tail:
            self._tail = self._files.read_range(self._key, tail_start, self._size_bytes - tail_start)
        offset = self._position - tail_start
        return self._tail[offset : offset + length]


def _problem(answer: requests.Response, url: str) -> HfLocalizeError | None:
    status = answer.status_code
    if status in (401, 403):
        return AccessDeniedError(f"{url}: {status} {answer.reason}")
    if 300 <= status < 400:
        target = urlsplit(answer.headers.get("Location", ""))
        return UnreachableError(
            f"{url} redirects to {target.scheme}://{target.netloc}, which is not followed"
        )
    if status >= 400 and status not in (404, 416):
        return UnreachableError(f"{url}: {status} {answer.reason}")
    return None


def _session() -> requests.Session:
    """Return this thread's session, which keeps connections open."""
    session: requests.Session | None = getattr(_sessions, "session", None)
    if session is None or _sessions.pid != os.getpid():
        session = requests.Session()
        session.auth = _no_auth  # Else requests would look into ~/.netrc.
        _sessions.session, _sessions.pid = session, os.getpid()
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
