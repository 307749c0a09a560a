"""What stands on 127.0.0.1 between a client and a server, and passes bytes on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """Take connections; what becomes of each is for a subclass to say, in a thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection; an OSError ends it."""
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._try, args=(accepted,), daemon=True).start()

    def _try(self, client: socket.socket) -> None:
        with suppress(OSError):
            self.serve(client)


def join(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes from each to the other, until both have ended."""
    back = threading.Thread(target=_pass_on, args=(other, one), daemon=True)
    back.start()
    _pass_on(one, other)
    back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(64 << 10):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
