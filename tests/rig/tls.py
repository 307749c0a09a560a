"""A TLS end on 127.0.0.1 in front of a plain server, with a certificate of a CA of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import trustme


class TlsFront:
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
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(accepted, server_side=True) as inside,
            socket.create_connection(self._target) as server,
        ):
            back = threading.Thread(target=pass_on, args=(server, inside), daemon=True)
            back.start()
            pass_on(inside, server)
            back.join()


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes from *source* until it ends."""
    with suppress(OSError):
        while data := source.recv(64 << 10):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
