"""Sockets to a server, through the proxies that the environment names, and with TLS."""

from __future__ import annotations

import base64
import functools
import os
import socket
import ssl
import struct
import sys
import urllib.request
from urllib.parse import unquote, urlsplit

from hf_localize.http.http1 import HttpConnection

#: What is wrong, and what helps.
UNKNOWN_AUTHORITY = (
    "its certificate is not to be trusted; if it is from an authority of your own, name the file with that "
    "one's certificate in AWS_CA_BUNDLE"
)


def open_socket(
    netloc: str, *, is_tls: bool, proxy: Proxy | None, ca_bundle: str | None, timeout_seconds: float
) -> socket.socket:
    """Return a socket to the server at *netloc*.

    Raises:
        OSError: it can't be reached; ``ssl.SSLCertVerificationError``: it is not to be trusted.
    """
    host, port = _address(proxy.netloc if proxy else netloc, is_tls)
    # A connection takes no longer than a small part of what data may take.
    sock = socket.create_connection((host, port), timeout=min(5.0, timeout_seconds))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not is_tls:
        _set_timeout(sock, timeout_seconds)
        return sock
    sock.settimeout(timeout_seconds)
    try:
        if proxy:
            _open_tunnel(sock, netloc, proxy)
        return _tls(ca_bundle).wrap_socket(sock, server_hostname=_address(netloc, is_tls=True)[0])
    except BaseException:
        sock.close()
        raise


def _set_timeout(sock: socket.socket, seconds: float) -> None:
    """Have what takes too long end with an error, by the system's own clock where it has one.

    With Python's, each call is two (it polls first), between which threads take turns: a tenth of
    what a small file costs. https://man7.org/linux/man-pages/man7/socket.7.html (SO_RCVTIMEO)
    """
    if sys.platform != "linux":
        sock.settimeout(seconds)
        return
    sock.settimeout(None)
    whole = int(seconds)
    timeval = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, timeval)


class Proxy:
    """A proxy: where it is, and what it wants to be told."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self.netloc = parts.netloc.rpartition("@")[2]
        self.headers: dict[str, str] = {}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"


def proxy_of(scheme: str, host: str) -> Proxy | None:
    """Return the proxy that ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` name for *host*."""
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    return Proxy(url) if url and not urllib.request.proxy_bypass(host) else None


def _open_tunnel(sock: socket.socket, netloc: str, proxy: Proxy) -> None:
    host, port = _address(netloc, is_tls=True)
    lines = "".join(f"{name}: {value}\r\n" for name, value in proxy.headers.items())
    tunnel = HttpConnection(sock)
    tunnel.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode(), b"", None)
    status, reason, _ = tunnel.read_head()
    if status != 200:
        raise ConnectionError(f"the proxy {proxy.netloc} answered {status} {reason}")


def _address(netloc: str, is_tls: bool) -> tuple[str, int]:
    parts = urlsplit(f"//{netloc}")
    return parts.hostname or "", parts.port or (443 if is_tls else 80)


@functools.cache
def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    if ca_bundle is None:
        import certifi

        ca_bundle = certifi.where()
    if os.path.isdir(ca_bundle):
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)
