"""Who gives out credentials for a while: AWS' token service and its single sign-on, on 127.0.0.1."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-a-session"
_STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>"""


class IdentityServer:
    """Give *key* and *secret*, with a session token, to whoever shows the right token."""

    def __init__(self, key: str, secret: str, *, web_identity: str, sso_token: str) -> None:
        #: What was asked for: the role, and how.
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer AssumeRoleWithWebIdentity."""
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked.append(("web identity", form["RoleArn"][0]))
                until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
                given = _STS.format(key=key, secret=secret, token=TOKEN, until=until)
                self._answer(form["WebIdentityToken"] == [web_identity], given, _REFUSAL)

            def do_GET(self) -> None:
                """Answer GetRoleCredentials."""
                query = parse_qs(urlsplit(self.path).query)
                asked.append(("sso", query["role_name"][0]))
                until = int((time.time() + 3600) * 1000)
                given = {
                    "accessKeyId": key,
                    "secretAccessKey": secret,
                    "sessionToken": TOKEN,
                    "expiration": until,
                }
                is_right = self.headers.get("x-amz-sso_bearer_token") == sso_token
                self._answer(is_right, json.dumps({"roleCredentials": given}))

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
