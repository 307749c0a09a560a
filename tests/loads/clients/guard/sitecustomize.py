"""Keep a program on this machine, and note in ``$GUARD_LOG`` to whom it speaks.

Each line of the log is ``http://host:port``, of a connection or of a name that was looked up. What is not loopback is
refused too. The next `sitecustomize` on the path runs as it would without this one.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):  # A Unix socket's address is a string.
        host, port = arguments[1][:2]
    elif event == "socket.getaddrinfo":
        host, port = arguments[:2]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"http://{host}:{port}\n")
    if host not in LOOPBACK:
        raise PermissionError(f"the guard of the tests refuses {host}:{port}")


sys.addaudithook(_watch)

_after = sys.path.index(str(Path(__file__).parent)) + 1
_following = PathFinder.find_spec("sitecustomize", sys.path[_after:])
if _following and _following.loader:
    _following.loader.exec_module(module_from_spec(_following))
