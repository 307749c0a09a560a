"""Bytes between the bucket and the store, beside what people would use instead."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Line, Run, in_turns, ratio_line, timed_process, timed_python
from benchmarks.made import make_entry
from benchmarks.servers import BUCKET, Desk, seaweed_desk

SECTION = "1 moving"
#: The shapes: number of shards, bytes of each.
SHAPES = {"8 × 128 MiB": (8, 128 << 20), "2,000 × 64 KiB": (2000, 64 << 10)}
_FETCH = "import hf_localize; hf_localize.download_dataset({name!r}, skip_s3_upload=True)"
_SEND = "import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r})"
#: As the original hg_localization does it: one file after another, each by boto3 with its defaults.
_LOOP = """
import boto3, os, sys
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
{body}
"""
_LOOP_DOWN = """
pages = client.get_paginator("list_objects_v2").paginate(Bucket={bucket!r}, Prefix={prefix!r})
for page in pages:
    for item in page["Contents"]:
        path = os.path.join({folder!r}, item["Key"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        client.download_file({bucket!r}, item["Key"], path)
"""
_LOOP_UP = """
for root, _, names in os.walk({folder!r}):
    for name in names:
        path = os.path.join(root, name)
        client.upload_file(path, {bucket!r}, {prefix!r} + os.path.relpath(path, {folder!r}))
"""


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for fetches and uploads of large and of small shards."""
    lines = []
    with seaweed_desk(folder) as desk:
        for shape, (count, size) in SHAPES.items():
            name = f"made/of-{count}"
            publisher = Desk(desk.server, folder / f"publisher-{count}")
            entry = make_entry(publisher.store, name, count, size)
            timed_python(_SEND.format(name=name), publisher.environment())
            lines += _fetches(desk, name, shape, runs)
            lines += _uploads(desk, publisher, entry, name, shape, runs)
            shutil.rmtree(publisher.folder)
    return lines


def _fetches(desk: Desk, name: str, shape: str, runs: int) -> list[Line]:
    prefix = f"{name.replace('/', '_')}/"
    target = desk.folder / "target"

    def clean() -> None:
        for place in (desk.folder, target):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)

    def ours() -> Run:
        clean()
        return timed_python(_FETCH.format(name=name), desk.environment())

    def s5cmd() -> Run:
        clean()
        return timed_process(
            ["s5cmd", "cp", f"s3://{BUCKET}/{prefix}*", f"{target}/"], desk.aws_environment()
        )

    def loop() -> Run:
        clean()
        body = _LOOP_DOWN.format(bucket=BUCKET, prefix=prefix, folder=str(target))
        return timed_python(_LOOP.format(body=body), desk.aws_environment())

    goal = 2.0 if "128" in shape else 8.0
    pairs = in_turns(ours, s5cmd, runs)
    return [
        ratio_line(
            SECTION, f"fetch {shape}, verified, on disk, by `s5cmd cp`", 1.1, pairs, names=("ours", "s5cmd")
        ),
        *_boto_line(ours, loop, f"fetch {shape}, times faster than a boto3 loop", goal, runs),
        _memory(pairs, f"fetch {shape}, peak memory"),
    ]


def _uploads(desk: Desk, publisher: Desk, entry: Path, name: str, shape: str, runs: int) -> list[Line]:
    def empty() -> None:
        timed_process(["s5cmd", "rm", f"s3://{BUCKET}/*"], desk.aws_environment())

    def ours() -> Run:
        empty()
        return timed_python(_SEND.format(name=name), publisher.environment())

    def s5cmd() -> Run:
        empty()
        return timed_process(["s5cmd", "cp", f"{entry}/", f"s3://{BUCKET}/plain/"], desk.aws_environment())

    def loop() -> Run:
        empty()
        body = _LOOP_UP.format(bucket=BUCKET, prefix="plain/", folder=str(entry))
        return timed_python(_LOOP.format(body=body), desk.aws_environment())

    goal = 2.0 if "128" in shape else 8.0
    ours()  # Else there is nothing to empty.
    pairs = in_turns(ours, s5cmd, runs)
    return [
        ratio_line(SECTION, f"upload {shape}, verified, by `s5cmd cp`", 1.1, pairs, names=("ours", "s5cmd")),
        *_boto_line(ours, loop, f"upload {shape}, times faster than a boto3 loop", goal, runs),
        _memory(pairs, f"upload {shape}, peak memory"),
    ]


def _boto_line(
    ours: Callable[[], Run], loop: Callable[[], Run], what: str, goal: float, runs: int
) -> list[Line]:
    pairs = in_turns(ours, loop, runs, warm=False)
    return [ratio_line(SECTION, what, goal, pairs, names=("ours", "boto3"), inverse=True, at_least=True)]


def _memory(pairs: list[tuple[Run, Run]], what: str) -> Line:
    megabytes = [ours.peak_bytes / 1e6 for ours, _ in pairs]
    theirs = statistics.median(other.peak_bytes for _, other in pairs) / 1e6
    return Line(SECTION, what, None, megabytes, unit="MB", note=f"s5cmd {theirs:.0f} MB")
