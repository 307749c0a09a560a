"""What a server answers in place of what was asked for."""

from __future__ import annotations

import contextlib
import html
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from hf_localize.errors import RefusedError

#: What S3 servers say that take a bucket's name in the host name only: Alibaba OSS, Tencent COS, ByteDance
#: TOS, Huawei OBS.
_VIRTUAL_HOSTS_ONLY = re.compile(
    r"SecondLevelDomainForbidden|PathStyleDomainForbidden|InvalidPathAccess|VirtualHostDomainRequired"
    r"|virtual host(ed)?[ -]?(style|domain)|third level domain|path[ -]style",
    re.IGNORECASE,
)
#: What helps where a server answers InvalidObjectState.
ARCHIVED = (
    "The object was archived, perhaps by a lifecycle rule of the bucket: restore it (aws s3api "
    "restore-object), and keep the rule from the folder of the data"
)
#: Statuses below 500 after which another try may succeed.
_MAY_PASS = frozenset({408, 425, 429})


class StatusError(Exception):
    """The server refused: its status, headers (names in small letters) and the response's first bytes."""

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
        text = self.headers.get("retry-after", "")
        if text.isdecimal():
            return float(text)
        with contextlib.suppress(ValueError, OverflowError):
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        return None


class ArchivedError(RefusedError):
    """The object must be restored first."""


def is_final(status: int) -> bool:
    """Tell whether a server that has refused with *status* will do so again, however often it is asked."""
    return (300 <= status < 500 and status not in _MAY_PASS) or status == 501


def place_in(url: str) -> str | None:
    """Return scheme, host and port of *url*, as they may be shown; None: it is no whole URL."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.hostname else None
    except ValueError:
        return None


def code_and_message(answer: StatusError) -> tuple[str, str]:
    """Return what the XML of an S3 server's refusal says; both are empty where it is no such XML."""
    text = answer.body.decode(errors="replace")
    code, message = (
        html.unescape(found.group(1)) if (found := re.search(f"<{name}>([^<]*)</{name}>", text)) else ""
        for name in ("Code", "Message")
    )
    return code or ("404" if answer.status == 404 else ""), message


def wants_virtual_hosts(code: str, message: str) -> bool:
    """Tell whether an S3 server refuses a bucket's name in the path of the URL."""
    return _VIRTUAL_HOSTS_ONLY.search(f"{code} {message}") is not None
