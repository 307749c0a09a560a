"""The policies (JSON) that give people the rights of docs/permissions.md."""

from __future__ import annotations

import json
from typing import Any, Literal

from hf_localize.format.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER
from hf_localize.format.repository import PUBLIC_FOLDER

_OBJECTS = ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListMultipartUploadParts")
_BUCKET = ("ListBucket", "ListBucketMultipartUploads")


def policy(kind: Literal["consumer", "publisher", "public"], bucket: str, prefix: str = "") -> str:
    """Return the policy of a *kind* of reader or writer.

    ``consumer`` and ``publisher`` are identity policies, of a user or a role. ``public`` is the bucket
    policy that opens exactly the public places to everybody.

    Args:
        prefix: of all keys; empty: none.
    """
    arn = f"arn:aws:s3:::{bucket}"
    below = f"{arn}/{prefix.strip('/')}/" if prefix.strip("/") else f"{arn}/"
    statements: list[dict[str, Any]]
    if kind == "public":
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
        places = (PUBLIC_RECORDS_KEY, f"{PUBLIC_ZIP_FOLDER}/*", f"{PUBLIC_FOLDER}/*")
        everybody = {"Sid": "HfLocalizePublicDatasets", "Effect": "Allow", "Principal": "*"}
        resources = [f"{below}{place}" for place in places]
        statements = [{**everybody, "Action": "s3:GetObject", "Resource": resources}]
    else:
        is_publisher = kind == "publisher"
        on_objects, on_bucket = (_OBJECTS, _BUCKET) if is_publisher else (_OBJECTS[:1], _BUCKET[:1])
        sid = "WriteDatasets" if is_publisher else "ReadDatasets"
        statements = [
            {"Sid": sid, "Effect": "Allow", "Action": _actions(on_objects), "Resource": f"{below}*"},
            {"Sid": "ListDatasets", "Effect": "Allow", "Action": _actions(on_bucket), "Resource": arn},
        ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


def _actions(names: tuple[str, ...]) -> str | list[str]:
    actions = [f"s3:{name}" for name in names]
    return actions if len(actions) > 1 else actions[0]
