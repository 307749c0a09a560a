"""A link as machines have it that do not stand beside their bucket: a rate, a round trip, a loss.

The servers run in one network namespace, which `enter_namespace` makes for the whole benchmark, and
clients in another. Packets go from one to the other through this module's own process, which reads and
writes two TUN devices: so the TCP of both ends is the system's own. (`tc netem` would do the same; many
kernels are built without it.) Everything is gone when the processes end.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.harness import ROOT

_VARIABLE = "HGLOC_BENCH_NAMESPACE"
_SERVER, _CLIENT = "10.77.0.1", "10.77.0.2"
#: How TCP finds its rate nearly everywhere, whatever this system's default is.
_CUBIC = ("congctl", "cubic")
#: Of <linux/if_tun.h>: a device of packets with the header of virtio before each, by which one may have up
#: to 64 KiB, checked and cut into segments later, as network cards do it.
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x1, 0x1000, 0x4000
_CSUM, _TSO4 = 0x1, 0x2
_HEADER_BYTES = 10
_MOST_BYTES = _HEADER_BYTES + (64 << 10)
_MOST_READ = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """What a link is like, in both directions; ``loss`` is the share of packets."""

    name: str
    bits_per_second: float
    round_trip_seconds: float
    loss: float = 0.0


FAST = Kind("10 Gbit/s, 0.5 ms", 10e9, 0.0005)
USUAL = Kind("1 Gbit/s, 20 ms", 1e9, 0.02)
SLOW = Kind("100 Mbit/s, 80 ms, 0.1 % loss", 100e6, 0.08, 0.001)


def enter_namespace() -> str | None:
    """Start this program anew in a network namespace of its own, if it is in none; else return None.

    Returns:
        Why that is not possible here.
    """
    if _VARIABLE in os.environ:
        _run("ip", "link", "set", "lo", "up")
        return None
    if sys.platform != "linux":
        return "links need network namespaces, which Linux has"
    command = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else [])]
    try:
        subprocess.run(
            [*command, sys.executable, "-c", "open('/dev/net/tun', 'r+b', buffering=0)"],
            check=True,
            capture_output=True,
        )
        _run("ip", "-V")
    except (OSError, subprocess.CalledProcessError) as exc:
        said = exc.stderr.decode().strip()[-200:] if isinstance(exc, subprocess.CalledProcessError) else ""
        return f"links need network namespaces, /dev/net/tun and `ip` (Debian: iproute2): {exc} {said}"
    os.environ[_VARIABLE] = "1"
    os.execvp(command[0], [*command, sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    raise AssertionError("it is another program now")


class Link:
    """A namespace of clients, whose 127.0.0.1 is that of this process: servers need not know of the link."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        #: The core that clients run on; None: any.
        self.client_core: int | None = None
        self._stack = contextlib.ExitStack()
        self._holder = 0

    def __enter__(self) -> Self:
        command = ["unshare", "--net", "cat"]
        holder = self._stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
        self._holder = holder.pid
        while _namespace(holder.pid) == _namespace(os.getpid()):
            time.sleep(0.01)
        devices = [self._device("server"), self._device("client")]
        self._configure(holder.pid)
        command = [sys.executable, "-m", __name__, *map(str, devices), repr(self.kind.bits_per_second)]
        command += [repr(self.kind.round_trip_seconds / 2), repr(self.kind.loss)]
        self._stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, pass_fds=devices, stdin=subprocess.PIPE)
        )
        for device in devices:
            os.close(device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()  # Both end with their standard input.

    def command(self, *command: str | os.PathLike[str]) -> list[str]:
        """Return *command* as a client runs it."""
        pinned = [] if self.client_core is None else ["taskset", "-c", str(self.client_core)]
        return ["nsenter", f"--net=/proc/{self._holder}/ns/net", *pinned, *map(os.fspath, command)]

    def _device(self, name: str) -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        # Where packets are lost, each is one that goes over the wire.
        fcntl.ioctl(device, _TUNSETOFFLOAD, 0 if self.kind.loss else _CSUM | _TSO4)
        return device

    def _configure(self, holder: int) -> None:
        _run("ip", "link", "set", "client", "netns", str(holder))
        _run("ip", "addr", "add", _SERVER, "peer", _CLIENT, "dev", "server")
        _set_up("server")
        _run("ip", "route", "replace", _CLIENT, "dev", "server", *_CUBIC)
        code = f"from {__name__} import configure_client; configure_client()"
        subprocess.run(self.command(sys.executable, "-c", code), check=True, cwd=ROOT)


def configure_client() -> None:
    """Set this process's namespace up: its loopback stays down, and lies at the link's other end."""
    _run("ip", "addr", "add", _CLIENT, "peer", _SERVER, "dev", "client")
    _set_up("client")
    _run("ip", "route", "add", "127.0.0.0/8", "via", _SERVER, "dev", "client", "src", _CLIENT, *_CUBIC)


def _set_up(device: str) -> None:
    """Bring *device* up, for addresses of the loopback too. TCP learns nothing from run to run."""
    _run("ip", "link", "set", device, "up", "txqueuelen", "10000")
    for name in (f"conf/{device}/route_localnet", "tcp_no_metrics_save"):
        Path("/proc/sys/net/ipv4", name).write_text("1", encoding="ascii")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115  # It names no path.


class _Direction:
    """Packets on their way: each leaves when the line is free, and arrives half a round trip later."""

    def __init__(
        self, source: int, target: int, bits_per_second: float, delay_seconds: float, loss: float
    ) -> None:
        self.source, self._target = source, target
        self._rate, self._delay, self._loss = bits_per_second / 8, delay_seconds, loss
        #: What waits for the line, as in a router: one round trip, and at least some large packets.
        self._most_waiting = max(2 * delay_seconds, 0.005)
        self._free_at = 0.0
        self._under_way: collections.deque[tuple[float, bytes]] = collections.deque()

    def take(self) -> None:
        """Take what there is to be carried."""
        for _ in range(_MOST_READ):
            try:
                packet = os.read(self.source, _MOST_BYTES)
            except BlockingIOError:
                return
            now = time.monotonic()
            leaves = max(now, self._free_at)
            if leaves - now > self._most_waiting or (self._loss and random.random() < self._loss):
                continue
            self._free_at = leaves + (len(packet) - _HEADER_BYTES) / self._rate
            self._under_way.append((self._free_at + self._delay, packet))

    def deliver(self) -> float | None:
        """Hand over what has arrived, and return the seconds until the next will."""
        while self._under_way:
            left = self._under_way[0][0] - time.monotonic()
            if left > 0:
                return left
            os.write(self._target, self._under_way.popleft()[1])
        return None


def main() -> None:
    """Carry packets between two devices until the standard input ends."""
    one, other = map(int, sys.argv[1:3])
    rate, delay, loss = map(float, sys.argv[3:])
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)  # What it carries late would be the link's fault.
    ways = [_Direction(one, other, rate, delay, loss), _Direction(other, one, rate, delay, loss)]
    while True:
        waits = [wait for way in ways if (wait := way.deliver()) is not None]
        ready, _, _ = select.select([0, one, other], [], [], min(waits, default=None))
        if 0 in ready:
            return
        for way in ways:
            if way.source in ready:
                way.take()


if __name__ == "__main__":
    main()
