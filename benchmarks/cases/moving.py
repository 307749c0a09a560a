"""Bytes between the bucket and the store, beside what people would use instead."""

from __future__ import annotations

import shutil
import statistics
import uuid
from pathlib import Path

from benchmarks.harness import Line, Run, clean_environment, in_turns, ratio_line, timed_process, timed_python
from benchmarks.harness.made import make_entry
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk

SECTION = "1 moving"
#: Number of shards, bytes of each.
LARGE, SMALL = (8, 128 << 20), (2000, 64 << 10)
#: The loop takes ten times as long as anything else here, so it moves fewer, beside ours of as many; all
#: in `loops`.
FEWER = {LARGE: (1, 128 << 20), SMALL: (200, 64 << 10)}
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
        for many, few in FEWER.items():
            for shape, is_beside_s5cmd in ((many, True), (few, False)):
                moved = Moved(desk, Desk(desk.server, folder / "publisher"), shape)
                lines += moved.by_s5cmd(runs) if is_beside_s5cmd else moved.by_boto3(runs)
                shutil.rmtree(moved.publisher.folder)
    return lines


class Moved:
    """A dataset of one shape, there and back again, by us and by others."""

    def __init__(self, desk: Desk, publisher: Desk, shape: tuple[int, int]) -> None:
        count, size = shape
        self.publisher = publisher
        self._desk = desk
        self._shape = in_words(shape)
        self._is_large = size >= 1 << 20
        self._name = f"made/of-{count}"
        self._entry = make_entry(publisher.store, self._name, count, size)
        self._send()

    def by_s5cmd(self, runs: int) -> list[Line]:
        """Return the lines beside `s5cmd`."""
        lines = []
        for what, time, memory, pairs in (
            ("fetch", 1.2, 60, in_turns(self._fetch, self._s5cmd_down, runs, warm=False)),
            ("upload", 1.1, None, in_turns(self._upload, self._s5cmd_up, runs, warm=False)),
        ):
            name, names = f"{what} {self._shape}", ("ours", "s5cmd")
            lines += [
                ratio_line(SECTION, f"{name}, verified, by `s5cmd cp`", time, pairs, names=names),
                _memory(pairs, f"{name}, peak memory over the interpreter's", memory),
            ]
        return lines

    def by_boto3(self, runs: int) -> list[Line]:
        """Return the lines beside one file after another by boto3: a limit, without a goal."""
        return [
            ratio_line(
                SECTION,
                f"{what} {self._shape}, times faster than a boto3 loop",
                None,
                in_turns(ours, loop, runs, warm=False),
                names=("ours", "boto3"),
                inverse=True,
            )
            for what, ours, loop in (
                ("fetch", self._fetch, self._loop_down),
                ("upload", self._upload, self._loop_up),
            )
        ]

    def _send(self) -> Run:
        return timed_python(_SEND.format(name=self._name), self.publisher.environment())

    def _fetch(self) -> Run:
        self._clean()
        return timed_python(_FETCH.format(name=self._name), self._desk.environment())

    def _upload(self) -> Run:
        self._empty()
        return self._send()

    def _s5cmd_down(self) -> Run:
        command = ["s5cmd", "cp", f"s3://{BUCKET}/{self._prefix}*", f"{self._clean()}/"]
        return timed_process(command, self._desk.aws_environment())

    def _s5cmd_up(self) -> Run:
        self._empty()
        command = ["s5cmd", "cp", f"{self._entry}/", f"s3://{BUCKET}/plain/"]
        return timed_process(command, self._desk.aws_environment())

    def _loop_down(self) -> Run:
        body = _LOOP_DOWN.format(bucket=BUCKET, prefix=self._prefix, folder=str(self._clean()))
        return timed_python(_LOOP.format(body=body), self._desk.aws_environment())

    def _loop_up(self) -> Run:
        self._empty()
        body = _LOOP_UP.format(bucket=BUCKET, prefix="plain/", folder=str(self._entry))
        return timed_python(_LOOP.format(body=body), self._desk.aws_environment())

    @property
    def _prefix(self) -> str:
        return f"{self._name.replace('/', '_')}/"

    def _clean(self) -> Path:
        """Empty the machine that fetches, and return a folder for what others fetch.

        Many files are put aside: for minutes after they were deleted ext4 looks for other inodes than
        theirs whenever a file is made, for longer than all else that is done with a small one.
        """
        folder = self._desk.folder
        if self._is_large:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.exists():
            folder.rename(folder.with_name(f"{folder.name}-{uuid.uuid4().hex}"))
        target = folder / "target"
        target.mkdir(parents=True)
        return target

    def _empty(self) -> None:
        timed_process(["s5cmd", "rm", f"s3://{BUCKET}/*"], self._desk.aws_environment())


def in_words(shape: tuple[int, int]) -> str:
    """Return the number of shards and the bytes of each, as a line has them."""
    count, size = shape
    return f"{count:,} × {size >> 20} MiB" if size >> 20 else f"{count:,} × {size >> 10} KiB"


def _memory(pairs: list[tuple[Run, Run]], what: str, goal: float | None) -> Line:
    interpreter = timed_python("pass", clean_environment()).peak_bytes
    megabytes = [(ours.peak_bytes - interpreter) / 1e6 for ours, _ in pairs]
    theirs = statistics.median(other.peak_bytes for _, other in pairs) / 1e6
    return Line(SECTION, what, goal, megabytes, unit="MB", note=f"s5cmd, whole, {theirs:.0f} MB")
