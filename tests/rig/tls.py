"""A TLS end on 127.0.0.1 in front of a plain server, with a certificate of a CA of its own."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from tests.rig.relay import Relay, join


class TlsFront(Relay):
    """Take TLS connections, and pass what is inside to *target_url* and back."""

    def __init__(self, target_url: str, folder: Path, name: str = "127.0.0.1") -> None:
        target = urlsplit(target_url)
        self._target = (target.hostname or "", target.port or 80)
        authority = trustme.CA()
        #: What clients are to trust.
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self._context)
        super().__init__()
        self.url = f"https://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        """Pass on what is inside one connection."""
        with (
            self._context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(self._target) as server,
        ):
            join(inside, server)
