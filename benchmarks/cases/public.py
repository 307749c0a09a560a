"""Public ZIPs: made and sent beside the private upload, fetched beside `curl` and then `unzip`."""

from __future__ import annotations

import shlex
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import ROOT, Line, Run, in_turns, ratio_line, timed_process, timed_python
from benchmarks.harness.made import make_entry
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from hf_localize.format.refs import DatasetRef

SECTION = "4 public ZIPs"
#: Number of shards, bytes of each.
SHARDS, SHARD_BYTES = 4, 64 << 20
#: What compresses, by the most that making and sending it may take, by the private upload.
KINDS = {"noise": ("stored", 1.2), "text": ("compressed", 2.5)}
_SEND = "import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r})"
#: Sharing alone: the private upload was made before. The Hub, which is not here, is not asked.
SHARE = (
    "import hf_localize; "
    "hf_localize.sync_local_dataset_to_s3({name!r}, make_public=True, share_restricted={name!r})"
)
_POLICY = """
from hf_localize.publish import public
from hf_localize.sources import session
print(public.public_policy(session.current_session().bucket))
"""
_FETCH = "import hf_localize; hf_localize.download_dataset({name!r}, skip_s3_upload=True)"


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for sharing and for fetching what is stored and what is compressed."""
    lines = []
    with seaweed_desk(folder) as desk:
        open_public_places(desk)
        for kind, (how, goal) in KINDS.items():
            name = f"made/{kind}"
            publisher = Desk(desk.server, folder / f"publisher-{kind}")
            make_entry(publisher.store, name, SHARDS, SHARD_BYTES, kind=kind)
            lines += _publish(desk, publisher, name, how, goal, runs)
            lines += _fetch(desk, name, how, runs)
            shutil.rmtree(publisher.folder)
    return lines


def _publish(desk: Desk, publisher: Desk, name: str, how: str, goal: float, runs: int) -> list[Line]:
    def privately() -> Run:
        _empty(desk)
        return timed_python(_SEND.format(name=name), publisher.environment())

    def publicly() -> Run:
        """Share it; the private copy is there."""
        _empty(desk, "public_datasets")
        return timed_python(SHARE.format(name=name), publisher.environment(HF_HUB_OFFLINE="1"))

    privately()
    pairs = in_turns(publicly, privately, runs, warm=False)
    publicly()  # It is fetched next.
    what = f"publish {SHARDS * SHARD_BYTES >> 20} MiB, {how}"
    return [
        ratio_line(SECTION, f"{what}, by the private upload", goal, pairs, names=("public", "private")),
        _memory(pairs, what),
    ]


def _fetch(desk: Desk, name: str, how: str, runs: int) -> list[Line]:
    key = DatasetRef(name).zip_key
    url = f"{desk.url}/{BUCKET}/{key}"
    environment = desk.environment(credentials=False)

    def fresh() -> None:
        shutil.rmtree(desk.folder, ignore_errors=True)
        desk.folder.mkdir()

    def ours() -> Run:
        fresh()
        return timed_python(_FETCH.format(name=name), environment)

    def curl(then: str = "") -> Run:
        fresh()
        command = f"curl -sSf -o a.zip {shlex.quote(url)}{then}"
        return timed_process(["sh", "-c", command], environment, cwd=desk.folder)

    pairs = in_turns(ours, lambda: curl(" && unzip -q a.zip"), runs)
    limit = f"curl alone {1000 * curl().wall_seconds:.0f} ms"
    size = desk.client().head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    what = f"fetch {SHARDS * SHARD_BYTES >> 20} MiB, {how} ({size >> 20} MiB of ZIP)"
    names = ("ours", "curl and unzip")
    line = ratio_line(SECTION, f"{what}, verified, by `curl` then `unzip`", 0.7, pairs, names=names)
    return [
        replace(line, note=f"{line.note}, {limit}"),
        _memory(pairs, what),
    ]


def open_public_places(desk: Desk) -> None:
    """Let everybody read what is shared."""
    policy = subprocess.run(
        [sys.executable, "-c", _POLICY], env=desk.environment(), cwd=ROOT, check=True, capture_output=True
    ).stdout
    desk.client().put_bucket_policy(Bucket=BUCKET, Policy=policy.decode())


def _empty(desk: Desk, prefix: str = "") -> None:
    client = desk.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])


def _memory(pairs: list[tuple[Run, Run]], what: str) -> Line:
    megabytes = [ours.peak_bytes / 1e6 for ours, _ in pairs]
    theirs = statistics.median(other.peak_bytes for _, other in pairs) / 1e6
    return Line(SECTION, f"{what}, peak memory", None, megabytes, unit="MB", note=f"beside {theirs:.0f} MB")
