"""Each part of the benchmarks can be run by name."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

_MAIN = importlib.import_module("benchmarks.__main__")

#: A server on the loopback, and a client at the other end.
_OVER_A_LINK = """
import socket, subprocess, sys, threading
from benchmarks.harness.link import Kind, Link, enter_namespace

if why := enter_namespace():
    sys.exit(print("skipped:", why))
server = socket.create_server(("127.0.0.1", 0))

def serve():
    client, _ = server.accept()
    with client:
        client.recv(1)
        client.sendall(bytes(1 << 20))

threading.Thread(target=serve, daemon=True).start()
client = '''
import socket, sys, time
started = time.monotonic()
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as link:
    link.sendall(b"x")
    size = 0
    while got := len(link.recv(1 << 16)):
        size += got
print(time.monotonic() - started, size)
'''
with Link(Kind("", 100e6, 0.1)) as link:
    subprocess.run(link.command(sys.executable, "-c", client, str(server.getsockname()[1])), check=True)
"""


@pytest.mark.parametrize("part", [*_MAIN.PARTS, *_MAIN.ALONE])
def test_a_part_is_found_and_can_be_imported(part: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.cases.{part}").measure)


@pytest.mark.parametrize("part", ["loading", "moving", "rivals", "__main__"])
def test_so_can_those_over_links(part: str) -> None:
    importlib.import_module(f"benchmarks.links.{part}")


def test_a_link_carries_what_is_on_the_loopback_no_faster_than_it_is() -> None:
    """In a process of its own, since it moves into another network namespace."""
    ran = subprocess.run(
        [sys.executable, "-c", _OVER_A_LINK], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    if ran.stdout.startswith("skipped"):
        pytest.skip(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    seconds, size = ran.stdout.split()
    assert int(size) == 1 << 20
    assert float(seconds) >= 0.2 + 1 / 12.5 / 1.2, "a round trip to connect, one to ask, and the bytes"
