"""Servers that enforce IAM policies, and the policies that docs/permissions.md lists."""

from __future__ import annotations

import json
import os
import re
import secrets
import urllib.request
from pathlib import Path
from typing import Any, Protocol

import boto3

from tests.rig.ceph import CephServer
from tests.rig.s3 import REGION, MotoServer, S3Server

Statements = list[dict[str, Any]]
_DOC = Path(__file__).parents[3] / "docs" / "permissions.md"
#: `make test-policies` sets it to `ceph`.
KIND = os.environ.get("HGLOC_TEST_POLICY_SERVER") or "moto"


def documented(who: str, bucket: str) -> Statements:
    """Return the statements that the page lists for *who*."""
    text = _DOC.read_text().partition(f"<!-- policy: {who} -->\n```json\n")[2].partition("```")[0]
    return list(json.loads(text.replace("BUCKET", bucket))["Statement"])


def without(statements: Statements, action: str) -> Statements:
    """Return *statements* without one right."""
    kept = []
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if rest := [name for name in actions if name != action]:
            kept.append({**statement, "Action": rest})
    return kept


class Enforcing(Protocol):
    """A server on which each user has the rights that were granted, and no others."""

    server: S3Server

    def grant(self, bucket: str, user: str, statements: Statements) -> tuple[str, str]:
        """Give *user* exactly these rights; return the user's key and secret."""


class EnforcingMoto:
    """Moto with its authorization switched on. It knows users' policies, but no anonymous request then."""

    def __init__(self, folder: Path) -> None:
        self.server = MotoServer(folder)
        self.server.start()
        self._keys: dict[str, tuple[str, str]] = {}

    def grant(self, bucket: str, user: str, statements: Statements) -> tuple[str, str]:
        self.unlock()
        client = boto3.client(
            "iam", endpoint_url=self.server.endpoint_url, region_name=REGION,
            aws_access_key_id="admin", aws_secret_access_key="admin",
        )  # fmt: skip
        if user not in self._keys:
            client.create_user(UserName=user)
            made = client.create_access_key(UserName=user)["AccessKey"]
            self._keys[user] = made["AccessKeyId"], made["SecretAccessKey"]
        document = {"Version": "2012-10-17", "Statement": statements}
        client.put_user_policy(UserName=user, PolicyName="rights", PolicyDocument=json.dumps(document))
        self._reset("0")
        return self._keys[user]

    def unlock(self) -> None:
        """Let everything pass until the next `grant`."""
        self._reset("1000000000")

    def _reset(self, count: str) -> None:
        url = f"{self.server.endpoint_url}/moto-api/reset-auth"
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, count.encode(), plain, method="POST")).close()


class EnforcingCeph:
    """Ceph's gateway: the bucket's owner gives each user rights by a bucket policy."""

    def __init__(self, folder: Path) -> None:
        self.server = CephServer(folder)
        self.server.start()
        self._keys: dict[str, tuple[str, str]] = {}
        self._granted: dict[str, dict[str, Statements]] = {}

    def grant(self, bucket: str, user: str, statements: Statements) -> tuple[str, str]:
        name = f"{re.sub('[^a-z]', '', user)}{bucket[-6:]}"
        if name not in self._keys:
            self._keys[name] = self.server.add_user(name)
        granted = self._granted.setdefault(bucket, {})
        granted[name] = statements
        self.server.set_policies(bucket, granted)
        return self._keys[name]

    def unlock(self) -> None:
        """Nothing: the owner has all rights at all times."""


def start(folder: Path) -> EnforcingMoto | EnforcingCeph:
    """Start the server that `HGLOC_TEST_POLICY_SERVER` names."""
    return EnforcingCeph(folder) if KIND == "ceph" else EnforcingMoto(folder / secrets.token_hex(4))
