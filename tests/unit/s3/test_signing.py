"""Signatures of our own: those that botocore makes."""

from __future__ import annotations

import re

import pytest

from hf_localize.s3.signing import Keys, Signer
from hf_localize.settings.secret import Secret


def test_requests_for_data_are_signed_as_botocore_signs_them() -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.config import Config
    from botocore.credentials import Credentials

    key, secret, token = "AKIAEXAMPLE", "secret/example", "token=="
    keys = Keys(Secret(key), Secret(secret), Secret(token))
    target = "/bucket/a%20folder/na%CC%88me%2B?partNumber=2&uploadId=x-y"
    sent = {"Host": "127.0.0.1:9000", "Range": "bytes=0-9", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    ours = Signer(lambda: keys, "eu-west-1")("GET", target, sent)
    request = AWSRequest("GET", f"http://127.0.0.1:9000{target}", headers={"Range": "bytes=0-9"})
    request.context = {"client_config": Config(s3={"payload_signing_enabled": False})}
    signer = S3SigV4Auth(Credentials(key, secret, token), "s3", "eu-west-1")
    signer.add_auth(request)
    if request.headers["X-Amz-Date"] != ours["x-amz-date"]:
        pytest.skip("the second changed between the two signatures")

    def parts(header: str) -> tuple[set[str], str]:
        found = re.search(r"SignedHeaders=([^,]*), Signature=(\w+)", header)
        assert found is not None
        return set(found[1].split(";")), found[2]

    assert parts(ours["Authorization"]) == parts(request.headers["Authorization"])
    assert secret not in repr(keys)
