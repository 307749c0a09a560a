"""A folder over HTTP, by ranges, as fast as can be: `python -m benchmarks.harness.files`.

It stands for a server that is not the limit, where SeaweedFS takes more of the processor for a byte
than its reader: what a bucket holds, as plain files. Signatures are not looked at.
"""

from __future__ import annotations

import os
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        """Send a file, or a range of it, from the system's cache to the socket."""
        path = self.root / unquote(urlsplit(self.path).path).lstrip("/")
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        try:
            size = os.fstat(handle).st_size
            needed = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(needed[1]) if needed else 0
            stop = min(size, int(needed[2]) + 1) if needed and needed[2] else size
            self.send_response(HTTPStatus.PARTIAL_CONTENT if needed else HTTPStatus.OK)
            if needed:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", f'"{size}"')
            self.end_headers()
            self.wfile.flush()
            while start < stop and self.command == "GET":
                start += os.sendfile(self.connection.fileno(), handle, start, stop - start)
        finally:
            os.close(handle)

    do_HEAD = do_GET  # noqa: N815  # Python's name for it.

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """Say nothing of readers that have gone."""


def main() -> None:
    """Serve the folder that is named; the port is the first line of the output."""
    handler = type("Handler", (_Handler,), {"root": Path(sys.argv[1])})
    with _Server(("127.0.0.1", 0), handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
