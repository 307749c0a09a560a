"""Servers of temporary credentials, on 127.0.0.1: AWS' token service, its single sign-on, and the metadata
services that give an instance or a container its role."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-a-session"
_STS = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{until}</Expiration></Credentials></{action}Result>
</{action}Response>"""
_REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>InvalidIdentityToken</Code><Message>no: {token}</Message></Error></ErrorResponse>"""


IMDS_TOKEN = "token-of-the-instance"
_ROLES = "/latest/meta-data/iam/security-credentials/"


def _until() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


class IdentityServer:
    """Give *key* and *secret*, with a session token, to whoever shows the right token."""

    def __init__(self, key: str, secret: str, *, web_identity: str, sso_token: str) -> None:
        #: What was asked for: the role, and how.
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer AssumeRole and AssumeRoleWithWebIdentity."""
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                action = form["Action"][0]
                given = _STS.format(action=action, key=key, secret=secret, token=TOKEN, until=_until())
                if action == "AssumeRole":
                    asked.append(("role", form["RoleArn"][0]))
                    self._answer(f"Credential={key}/" in self.headers["Authorization"], given, _REFUSAL)
                else:
                    asked.append(("web identity", form["RoleArn"][0]))
                    (shown,) = form["WebIdentityToken"]  # Some services quote what they refuse.
                    self._answer(shown == web_identity, given, _REFUSAL.format(token=shown))

            def do_PUT(self) -> None:
                """Give out a token of an instance's metadata service."""
                self._answer(self.path == "/latest/api/token", IMDS_TOKEN)

            def do_GET(self) -> None:
                """Answer GetRoleCredentials, or for an instance or a container."""
                given = {
                    "AccessKeyId": key,
                    "SecretAccessKey": secret,
                    "Token": TOKEN,
                    "Expiration": _until(),
                }
                if self.path.startswith(_ROLES):
                    name = self.path.removeprefix(_ROLES)
                    asked.append(("instance", name))
                    text = json.dumps({"Code": "Success", **given}) if name else "reader"
                    self._answer(self.headers.get("X-aws-ec2-metadata-token") == IMDS_TOKEN, text)
                    return
                if self.path == "/container":
                    asked.append(("container", ""))
                    shown = self.headers.get("Authorization", "")
                    self._answer(shown == web_identity, json.dumps(given), f"no: {shown}")
                    return
                query = parse_qs(urlsplit(self.path).query)
                asked.append(("sso", query["role_name"][0]))
                until = int((time.time() + 3600) * 1000)
                keys = {"accessKeyId": key, "secretAccessKey": secret, "sessionToken": TOKEN}
                is_right = self.headers.get("x-amz-sso_bearer_token") == sso_token
                self._answer(is_right, json.dumps({"roleCredentials": keys | {"expiration": until}}))

            def _answer(self, is_right: bool, text: str, refusal: str = '{"message": "no"}') -> None:
                body = (text if is_right else refusal).encode()
                self.send_response(200 if is_right else 401)
                self.send_header("Content-Length", str(len(body)))
                if not is_right:
                    self.send_header("x-amzn-ErrorType", "UnauthorizedException")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()
