"""Start Ceph's RADOS Gateway on loopback: an S3 server that enforces IAM policies and ACLs exactly.

Its programs come with the system (Debian: ``ceph-mon ceph-osd ceph-common radosgw``), not with pip.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.rig.s3 import _LocalServer

PROGRAMS = ("ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw-admin", "radosgw")
_COMMAND_SECONDS = 60


def missing_programs() -> list[str]:
    """Return what of Ceph is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class CephServer(_LocalServer):
    """Run one monitor, one store in memory and one gateway.

    A missing object is 403 to who may not list, as on AWS. The publisher is the bucket's owner;
    others are made by `add_user`, and have only the rights that a bucket policy gives them.
    """

    name = "ceph"
    supports_acl = True
    enforces_auth = True
    _port_count = 2

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._helpers: list[subprocess.Popen[bytes]] = []

    def add_user(self, name: str) -> tuple[str, str]:
        """Make a user without any right; give its access key and its secret."""
        key, secret = f"{name}{secrets.token_hex(6)}", secrets.token_hex(20)
        self._make_user(name, key, secret)
        return key, secret

    def set_policies(self, bucket: str, policies: dict[str, list[dict[str, Any]]]) -> None:
        """Give each user the statements of its identity policy, by one bucket policy."""
        statements = [
            {**statement, "Sid": f"{user}{number}", "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]}}
            for user, needed in policies.items()
            for number, statement in enumerate(needed)
        ]
        document = {"Version": "2012-10-17", "Statement": statements}
        self.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))

    def _command(self) -> list[str]:
        return ["radosgw", "-f", "-n", "client.rgw", "-c", str(self._conf)]

    def _launch(self) -> None:
        fsid = str(uuid.uuid4())
        shutil.rmtree(self._data, ignore_errors=True)
        for name in ("mon", "osd"):
            (self._data / name).mkdir(parents=True)
        self._conf.write_text(self._settings(fsid))
        keyring, monmap = str(self._data / "keyring"), str(self._data / "monmap")
        self._run(
            "ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"
        )
        self._run(
            "monmaptool", "--create", "--add", "a", f"127.0.0.1:{self._ports[1]}", "--fsid", fsid, monmap
        )
        self._run(
            "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring, "-c", str(self._conf)
        )
        self._help("ceph-mon", "-f", "-i", "a")
        osd = str(uuid.uuid4())
        self._run("ceph", "-c", str(self._conf), "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "-c", str(self._conf))
        self._help("ceph-osd", "-f", "-i", "0")
        self._make_user("publisher", self.access_key, self.secret_key)
        super()._launch()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint_url, timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for one in (process, *self._helpers):
            one.kill()
            one.wait()
        self._helpers.clear()

    @property
    def _data(self) -> Path:
        return self.folder / "ceph-data"

    @property
    def _conf(self) -> Path:
        return self._data / "ceph.conf"

    def _make_user(self, name: str, key: str, secret: str) -> None:
        keys = (f"--access-key={key}", f"--secret-key={secret}")
        self._run(
            "radosgw-admin", "-c", str(self._conf), "-n", "client.rgw",
            "user", "create", f"--uid={name}", f"--display-name={name}", *keys,
        )  # fmt: skip

    def _help(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("wb") as log:
            self._helpers.append(
                subprocess.Popen([*command, "-c", str(self._conf)], stdout=log, stderr=subprocess.STDOUT)
            )

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, env=_environment())
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-1000:]}")

    def _settings(self, fsid: str) -> str:
        return f"""
[global]
fsid = {fsid}
mon host = 127.0.0.1:{self._ports[1]}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = 18000
ms bind port max = 19900
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
mon allow pool size one = true
admin socket =
run dir = {self._data}
log file = {self._data}/$name.log
keyring = {self._data}/keyring
[mon.a]
host = localhost
mon addr = 127.0.0.1:{self._ports[1]}
mon data = {self._data}/mon
[osd.0]
osd data = {self._data}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{self._s3_port} tcp_nodelay=1
"""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CEPH_")}
