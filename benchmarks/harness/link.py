"""A link as machines have it that do not stand beside their bucket: so fast, and so far away."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from hf_localize.http.throttle import Throttle
from tests.rig.relay import Relay

_CHUNK_BYTES = 64 << 10
#: So much of one connection may be on its way: a link's own buffers, and what TCP's windows allow.
_CHUNKS_UNDER_WAY = 128


class Link(Relay):
    """Pass connections on to a server, each direction with a delay, and all together below a rate."""

    def __init__(self, url: str, *, bytes_per_second: float, round_trip_seconds: float) -> None:
        address = urlsplit(url)
        self._server = (address.hostname or "", address.port or 80)
        self._delay = round_trip_seconds / 2
        self._there, self._back = Throttle(bytes_per_second), Throttle(bytes_per_second)
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serve(self, client: socket.socket) -> None:
        """Pass one connection on."""
        with client, socket.create_connection(self._server) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._carry, args=(server, client, self._back), daemon=True)
            back.start()
            self._carry(client, server, self._there)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket, lane: Throttle) -> None:
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_CHUNKS_UNDER_WAY)
        arriving = threading.Thread(target=_arrive, args=(under_way, sink), daemon=True)
        arriving.start()
        while True:
            data = b""
            with suppress(OSError):
                data = source.recv(_CHUNK_BYTES)
            under_way.put((lane.reserve(len(data)) + self._delay, data))
            if not data:
                break
        arriving.join()


def _arrive(under_way: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    is_open = True
    while True:
        due, data = under_way.get()
        time.sleep(max(0.0, due - time.monotonic()))
        if not data:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            return
        try:
            if is_open:
                sink.sendall(data)
        except OSError:
            is_open = False  # What still comes is read, so that its sender does not wait.
