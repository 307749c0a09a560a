"""Anonymous reads of public files over HTTP. No credential is ever sent from here."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, field
from urllib.parse import quote

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    IntegrityError,
    RefusedError,
    SlowDownError,
    UnreachableError,
)
from hf_localize.http.client import Body, TooShortError, Wire
from hf_localize.http.deadline import Patience
from hf_localize.http.retry import retrying
from hf_localize.http.status import (
    ARCHIVED,
    ArchivedError,
    StatusError,
    code_and_message,
    is_final,
    place_in,
    wants_virtual_hosts,
)

#: Base URLs whose form the server has refused.
_refused: set[str] = set()


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """Files under one base URL, read without credentials (not even from ``~/.netrc``)."""

    base_url: str
    timeout_seconds: float
    #: The base URL to use where the server refuses the form of the first: S3 has two ways to name a bucket.
    other_url: str | None = None
    #: The proxy to go through, with user and password if it wants them.
    proxy_url: str | None = field(default=None, repr=False)
    #: File or folder with the certificates to trust; None: those of certifi.
    ca_bundle: str | None = None
    #: A cap that all transfers of the process share.
    bytes_per_second: float | None = None

    def get(self, key: str, *, limit_bytes: int) -> bytes | None:
        """Return the file's bytes as they are now, or None where there is none.

        Raises:
            AccessDeniedError: 401 or 403. Some servers answer so for files that are missing.
            UnreachableError: no answer, or a failure of the server.
            IntegrityError: the file has more than *limit_bytes* bytes.
        """

        def read() -> bytes:
            with self._open(quote(key), past_caches=True) as body:
                return body.read_all(limit_bytes + 1)

        try:
            data = _patience(self.base_url, self.timeout_seconds).ask(lambda: retrying(key, read))
        except _MissingError:
            return None
        if len(data) > limit_bytes:
            raise IntegrityError(f"{self.url(key)} has more than {limit_bytes} bytes")
        return data

    def open_range(self, key: str, start: int = 0, stop: int | None = None) -> io.RawIOBase:
        """Return the file's bytes from *start* to before *stop* (None: its end) for one reading.

        Raises:
            IntegrityError: there is no such file, or it has no such bytes.
            AccessDeniedError, UnreachableError: as :meth:`get`; the latter also from a read.
        """
        try:
            return self._open(quote(key), start, stop)
        except _MissingError as exc:
            raise IntegrityError(f"{exc}: it is no longer shared, or was replaced") from exc

    def is_readable(self, key: str, version_id: str | None = None) -> bool:
        """Tell whether anybody may read the file, or a version of it that S3 keeps, by its first byte."""
        name = quote(key) if version_id is None else f"{quote(key)}?versionId={quote(version_id, safe='')}"
        try:
            _patience(self.base_url, self.timeout_seconds).ask(
                lambda: retrying(key, lambda: self._open(name, 0, 1).close())
            )
        except (AccessDeniedError, _MissingError):
            return False
        except TooShortError:
            return True  # It is empty.
        return True

    def url(self, key: str) -> str:
        """Return the URL of *key*."""
        return f"{self._base_url}/{quote(key)}"

    @property
    def _base_url(self) -> str:
        return self.other_url if self.other_url and self.base_url in _refused else self.base_url

    def _open(self, name: str, start: int = 0, stop: int | None = None, *, past_caches: bool = False) -> Body:
        url = self._base_url
        try:
            try:
                return _wire(self, url).get(name, start, stop, past_caches=past_caches)
            except StatusError as exc:
                if not self.other_url or not wants_virtual_hosts(*code_and_message(exc)):
                    raise
                _refused.add(self.base_url)
                url = self.other_url
                return _wire(self, url).get(name, start, stop, past_caches=past_caches)
        except StatusError as exc:
            raise _problem(exc, f"{url}/{name.partition('?')[0]}") from exc


class _MissingError(IntegrityError):
    """There is no such file."""


def _problem(answer: StatusError, url: str) -> HfLocalizeError:
    status = answer.status
    said = f"{url}: {status} {answer.reason}"
    if code_and_message(answer)[0] == "InvalidObjectState":
        return ArchivedError(f"{said}. {ARCHIVED}")
    if status in (401, 403):
        return AccessDeniedError(said)
    if status == 404:
        return _MissingError(f"{url} is missing (404)")
    if 300 <= status < 400:
        target = place_in(answer.headers.get("location", "")) or "elsewhere"
        return RefusedError(f"{url} redirects to {target}, which is not followed")
    if status in (429, 503):
        error = SlowDownError(said)
        error.retry_after_seconds = answer.retry_after_seconds
        return error
    return RefusedError(said) if is_final(status) else UnreachableError(said)


@functools.lru_cache(maxsize=8)
def _patience(base_url: str, seconds: float) -> Patience:
    """Return the process's patience with a server."""
    return Patience(base_url, seconds)


@functools.lru_cache(maxsize=8)
def _wire(files: PublicFiles, base_url: str) -> Wire:
    """Return the process's connections to the server of *files*."""
    return Wire(
        base_url,
        timeout_seconds=files.timeout_seconds,
        proxy_url=files.proxy_url,
        ca_bundle=files.ca_bundle,
        bytes_per_second=files.bytes_per_second,
    )
