"""The command that prints policies."""

from __future__ import annotations

from typing import Literal

import click

from hf_localize.cli.options import command
from hf_localize.cli.output import put


@command(has_json=False, has_bars=False, page="permissions.md")
@click.argument("kind", type=click.Choice(["consumer", "publisher", "public"]))
@click.option("--bucket", metavar="NAME", help="Name of the bucket. Default: HGLOC_S3_BUCKET_NAME.")
def policy(kind: Literal["consumer", "publisher", "public"], bucket: str | None) -> None:
    """Print a policy (JSON) with the rights that consumers, publishers or outsiders need.

    "consumer" loads datasets from the bucket, and "publisher" also uploads: attach these to a user or a role
    (aws iam put-user-policy, Terraform's aws_iam_policy). "public" is the bucket policy that lets everyone
    read what --make-public shares, and nothing else (aws s3api put-bucket-policy, aws_s3_bucket_policy).

    Example: hg-localize policy public --bucket team-datasets > policy.json
    """
    from hf_localize.errors import SettingsError
    from hf_localize.format.policies import policy as policy_of
    from hf_localize.settings import current, parsed

    settings = current()
    name = parsed("s3_bucket_name", "--bucket", bucket) if bucket else settings.s3_bucket_name
    if name is None:
        raise SettingsError("HGLOC_S3_BUCKET_NAME is not set: name the bucket with --bucket")
    put(policy_of(kind, name, settings.s3_data_prefix or ""))
