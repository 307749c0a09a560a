"""Run moto's server with its writes one after another.

moto checks a condition and writes in two steps, so of several ``If-None-Match`` for one key more than one may
win. S3 lets one win: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from typing import Any

import moto.server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from werkzeug.wsgi import get_input_stream


class WritesInTurn(DomainDispatcherApplication):
    """moto's application, which takes up a write when the one before is done."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; one that writes is first read whole, so that a slow one keeps no other waiting."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return super().__call__(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(get_input_stream(environ).read())
        environ["wsgi.input_terminated"] = True
        with self.turn:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    moto.server.DomainDispatcherApplication = WritesInTurn
    moto.server.main()
