"""How requests reach a server."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import run_python


def test_a_proxy_is_found_without_importing_boto3(tmp_path: Path) -> None:
    code = """
import sys
from hf_localize.s3.target import route_to
print([route_to(f"http://{host}:9000/team", {}).proxy_url for host in ("minio.corp", "s3.local")])
print({"boto3", "botocore", "requests"} & sys.modules.keys())
"""
    ran = run_python(code, cwd=tmp_path, HTTP_PROXY="proxy.corp:3128", NO_PROXY=".local")
    assert ran.stdout == "['http://proxy.corp:3128', None]\nset()\n", ran.stderr
