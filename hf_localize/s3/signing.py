"""Signatures of AWS (version 4) for the requests that move data.

boto3 signs everything else. Its signer takes as long as all the rest of a request for a small
shard, so the few requests of which there are thousands are signed here.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hf_localize.settings.secret import Secret

#: What is signed in place of a payload's sha256 where nobody has computed it.
UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key, its secret, and the token of a session if it is one's."""

    access_key: Secret[str]
    secret_key: Secret[str]
    token: Secret[str] | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Sign requests to S3 in one region.

    ``keys`` is asked for each request, since keys of a role expire. ``headers`` go with each.
    """

    keys: Callable[[], Keys]
    region: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, method: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return *headers* with what signs them.

        Args:
            target: the path and query of the request, each part quoted; the query in order.
            headers: with ``Host``, and ``x-amz-content-sha256`` unless the payload is unsigned.
        """
        keys = self.keys()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {"x-amz-content-sha256": UNSIGNED, **self.headers, **headers, "x-amz-date": now}
        if keys.token:
            signed["x-amz-security-token"] = keys.token.reveal()
        lower = sorted((name.lower(), value) for name, value in signed.items())
        names = ";".join(name for name, _ in lower)
        path, _, query = target.partition("?")
        lines = "".join(f"{name}:{value}\n" for name, value in lower)
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{signed['x-amz-content-sha256']}"
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"{_ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = _key(keys.secret_key, now[:8], self.region)
        signature = hmac.digest(key.reveal(), text.encode(), "sha256").hex()
        signed["Authorization"] = (
            f"{_ALGORITHM} Credential={keys.access_key.reveal()}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed


@functools.lru_cache(maxsize=4)
def _key(secret: Secret[str], day: str, region: str) -> Secret[bytes]:
    key = Secret(f"AWS4{secret.reveal()}".encode())
    for part in (day, region, "s3", "aws4_request"):
        key = Secret(hmac.digest(key.reveal(), part.encode(), "sha256"))
    return key
