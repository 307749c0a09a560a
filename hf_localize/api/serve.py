"""The public function that answers the Hub's HTTP for other programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Answer the Hub's HTTP from what is held, for the length of a ``with`` block; it gives the URL.

    It reads only, and gives what is held to everybody who reaches it.

    Args:
        port: 0 is a free one.

    Raises:
        SettingsError: the package waitress is not installed, or the address can't be used.
    """
    from hf_localize.hf.doors.serve import serving as serve

    with serve(host, port) as url:
        yield url
