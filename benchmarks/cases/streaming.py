"""Streams from where a dataset lies, beside the same Arrow files streamed from the local disk by stock.

Rates are of the iteration alone, with the files in the system's cache. What lies
in the bucket is served for them as plain files (`benchmarks.harness.files`): SeaweedFS needs more of the
processor for a byte than the reader does, and would be the limit on two cores.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import ROOT, Line, Run, in_turns, ratio_line, timed_python
from benchmarks.harness.made import TEXTS, make_entry
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from hf_localize.format import save_to_disk
from hf_localize.format.arrow.seek import packed, seek_points
from hf_localize.format.files import hash_file
from hf_localize.format.index import IndexEntry
from hf_localize.format.manifest import FileRecord, Manifest, Shard
from hf_localize.format.manifest_json import manifest_bytes, read_manifest
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from tests.rig.s3_proxy import RecordingProxy

SECTION = "3 streaming"
#: The dataset of which rates are measured; that of the DataLoader; those of which one row is read.
RATE, LOADER = "made/rate", "made/loader"
HUNDRED_MB = 100 << 20
PUBLISH = (
    "import hf_localize; "
    "hf_localize.sync_local_dataset_to_s3({name!r}, make_public={public}, share_restricted={name!r})"
)
#: Each opens the stream anew, and says what is done with it.
OURS = """
import hf_localize; hf_localize.install()
import datasets

def opened():
    global stream
    stream = datasets.load_dataset({name!r}, split="train", streaming=True)
"""
LOCAL = """
import datasets, pathlib
files = sorted(map(str, pathlib.Path({folder!r}, "train").glob("*.arrow")))

def opened():
    global stream
    stream = datasets.load_dataset("arrow", data_files=files, split="train", streaming=True)
"""
READ = """
def rows():
    for count, row in enumerate(stream):
        if count == 60_000:
            break

def lists():
    for rows in stream.iter(batch_size=1000):
        pass

def tables():
    for table in stream.with_format("arrow").iter(batch_size=1000):
        pass
"""
#: How users read: row by row (for some seconds); 1,000 rows at once as lists; as Arrow, undecoded.
_WAYS = {"row by row": "rows()", "1,000 rows at once": "lists()", "as Arrow tables": "tables()"}
#: What a model's data takes at the least: words and their numbers. Some 50 µs a row.
_LOADER = """
import re, zlib
import torch

def numbers(rows):
    words = (re.findall(r"\\w+", row["value"].lower()) for row in rows)
    return torch.tensor([sum(zlib.crc32(word.encode()) % 50_000 for word in found) for found in words])

def epoch(workers):
    loader = torch.utils.data.DataLoader(stream, batch_size=256, num_workers=workers, collate_fn=numbers)
    seen = sum(len(batch) for batch in loader)
    assert seen == {rows}, seen
"""


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for rates, first rows and a DataLoader."""
    with seaweed_desk(folder) as desk:
        publisher = Desk(desk.server, folder / "publisher")
        _open_public_places(publisher)
        rate = make_entry(publisher.store, RATE, 4, 48 << 20, kind="text", like=TEXTS)
        make_entry(publisher.store, LOADER, 8, 2 << 20, kind="text", like=TEXTS)
        timed_python(PUBLISH.format(name=RATE, public=True), publisher.environment())
        timed_python(PUBLISH.format(name=LOADER, public=False), publisher.environment())
        with as_files(desk, folder / "files") as url:
            lines = _rates(desk, rate, url, runs)
        return [*lines, *_first_rows(desk, publisher), *_loader(desk, runs)]


def _rates(desk: Desk, folder: Path, url: str, runs: int) -> list[Line]:
    lines = []
    for where, ways in (("bucket", list(_WAYS)), ("public ZIP (deflated)", list(_WAYS)[:1])):
        env = {**desk.environment(credentials=where == "bucket"), "HGLOC_S3_ENDPOINT_URL": url}
        with (
            Worker(OURS.format(name=RATE) + READ, env) as ours,
            Worker(LOCAL.format(folder=str(folder)) + READ, desk.environment()) as local,
        ):
            for way in ways:
                pairs = in_turns(
                    functools.partial(reading, ours, way), functools.partial(reading, local, way), runs
                )
                what = f"rate of a stream from the {where}, {way}, by stock's from the local disk"
                names = ("ours", "local")
                lines.append(ratio_line(SECTION, what, 0.8, pairs, names=names, inverse=True, at_least=True))
    return lines


def reading(worker: Worker, way: str) -> Run:
    """Return how long it takes *worker* to read its stream anew, in one of the ways."""
    worker.timed("opened()")
    return worker.timed(_WAYS[way])


def _first_rows(desk: Desk, publisher: Desk) -> list[Line]:
    """Count, at the server, what the first row takes of datasets of several sizes."""
    one = make_entry(publisher.store, "made/one", 1, HUNDRED_MB, kind="text", like=TEXTS)
    small = make_entry(publisher.store, "made/small", 1, 10 * HUNDRED_MB // 400, kind="text", like=TEXTS)
    timed_python(PUBLISH.format(name="made/one", public=True), publisher.environment())
    timed_python(PUBLISH.format(name="made/small", public=False), publisher.environment())
    many = _repeated(desk, one, "made/one", "many", 100)
    most = _repeated(desk, small, "made/small", "most", 4000)
    _publish_zip(publisher, one, "made/zeros", 25)
    return [
        line
        for where, size, name, config in (
            ("bucket", "100 MB", "made/one", None),
            ("bucket", "10 GB in 100 shards (one object, named 100 times)", "made/one", many),
            ("bucket", "10 GB in 4,000 shards (one object, named 4,000 times)", "made/small", most),
            ("public ZIP", "100 MB", "made/one", None),
            ("public ZIP", "2.6 GB in 25 shards (all but the first are zeros)", "made/zeros", None),
        )
        for line in _first_row(desk, where, size, name, config)
    ]


def _first_row(desk: Desk, where: str, size: str, name: str, config: str | None) -> list[Line]:
    code = (
        "import hf_localize; hf_localize.install()\nimport datasets\n"
        f"stream = datasets.load_dataset({name!r}, {config!r}, split='train', streaming=True)\n"
        "assert next(iter(stream))['number'] == 0"
    )
    with RecordingProxy(desk.server.endpoint_url, {desk.server.access_key: desk.server.secret_key}) as proxy:
        env = {**desk.environment(credentials=where == "bucket"), "HGLOC_S3_ENDPOINT_URL": proxy.url}
        timed_python(code, env)
        requests = len(proxy.requests)
        megabytes = sum(request.response_bytes for request in proxy.requests) / 1e6
    what = f"first row from the {where}, {size}"
    return [
        Line(SECTION, f"{what}: requests", 4, [requests], unit="requests"),
        Line(SECTION, f"{what}: bytes", 1, [megabytes], unit="MB", note="batches of 1,000 rows of 0.5 KB"),
    ]


def _loader(desk: Desk, runs: int) -> list[Line]:
    rows = 8 * ((2 << 20) // TEXTS.row_bytes)
    setup = OURS.format(name=LOADER) + _LOADER.format(rows=rows)
    with Worker(setup, desk.environment()) as worker:

        def with_workers(count: int) -> Run:
            worker.timed("opened()")
            return worker.timed(f"epoch({count})")

        pairs = in_turns(lambda: with_workers(4), lambda: with_workers(1), runs)
    what = "DataLoader with 4 workers on the bucket, times one worker (rows become numbers of words)"
    names = ("4 workers", "1 worker")
    return [ratio_line(SECTION, what, 1.5, pairs, names=names, inverse=True, at_least=True)]


def _open_public_places(desk: Desk) -> None:
    """Let everybody read what is shared: SeaweedFS has no ACLs."""
    code = (
        "from hf_localize.publish import public\nfrom hf_localize.sources.session import current_session\n"
        "print(public.public_policy(current_session().bucket))"
    )
    env = {**desk.environment(), "PYTHONPATH": str(ROOT)}
    policy = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    desk.client().put_bucket_policy(Bucket=BUCKET, Policy=policy.stdout)


@contextlib.contextmanager
def as_files(desk: Desk, folder: Path) -> Iterator[str]:
    """Serve what the bucket holds now as plain files, and give the URL."""
    client = desk.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page["Contents"]:
            path = folder / BUCKET / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, item["Key"], str(path))
    command = [sys.executable, "-m", "benchmarks.harness.files", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


@dataclass(frozen=True, slots=True)
class _Grown:
    """The manifest of a dataset of one shard, as if it had many such."""

    manifest: Manifest
    shard: str
    names: tuple[str, ...]


def _grown(folder: Path, ref: DatasetRef, shards: int) -> _Grown:
    manifest = read_manifest((folder / MANIFEST_NAME).read_bytes(), str(folder))
    ((split, (shard,)),) = ((split, split.shards) for split in manifest.splits)
    names = tuple(f"train/{save_to_disk.shard_name(i, shards)}" for i in range(shards))
    points = packed(seek_points(folder / shard.path, shards=shards))
    record = manifest.file(shard.path)
    grown = split._replace(
        rows=split.rows * shards,
        size_bytes=split.size_bytes * shards,
        shards=tuple(Shard(name, shard.rows, points) for name in names),
    )
    files = [file for file in manifest.files if file.path != shard.path]
    files += [record._replace(path=name) for name in names]
    made = replace(
        manifest,
        dataset_id=ref.dataset_id,
        config_name=ref.config_name,
        resolved_config=ref.config_name,
        splits=(grown,),
        files=tuple(files),
    )
    return _Grown(made, shard.path, names)


def _repeated(desk: Desk, folder: Path, name: str, config: str, shards: int) -> str:
    """Commit a config of *name* with many shards, all of which are the one object that is there.

    So their hashes are one, which compresses well: as many different ones take 0.04 KB more each.
    """
    there = DatasetRef(name).folders[0]
    grown = _grown(folder, DatasetRef(name, config), shards)
    target = grown.manifest.ref.folders[0]
    client = desk.client()
    client.copy({"Bucket": BUCKET, "Key": f"{there}/{grown.shard}"}, BUCKET, f"{target}/shard.arrow")
    placed = IndexEntry(grown.manifest, target, dict.fromkeys(grown.names, f"{target}/shard.arrow"))
    client.put_object(Bucket=BUCKET, Key=grown.manifest.ref.index_key, Body=placed.to_bytes())
    return config


def _publish_zip(desk: Desk, folder: Path, name: str, shards: int) -> None:
    """Publish a ZIP of many shards, of which only the first has rows: the others are holes of its size."""
    grown = _grown(folder, DatasetRef(name), shards)
    target = desk.store / grown.manifest.ref.folders[0]
    (target / "train").mkdir(parents=True)
    os.link(folder / grown.shard, target / grown.names[0])
    size = (folder / grown.shard).stat().st_size
    for path in grown.names[1:]:
        with open(target / path, "wb") as hole:
            hole.truncate(size)
    info = {"features": dict(grown.manifest.features)}
    names = [path.split("/")[1] for path in grown.names]
    save_to_disk.write_split_json(target / "train", "train", names, "made", info)
    save_to_disk.write_dict_json(target, ["train"])
    zeros = hash_file(target / grown.names[-1], "").sha256
    files = tuple(_as_it_is(target, file, zeros, grown.names[1:]) for file in grown.manifest.files)
    manifest = replace(grown.manifest, files=tuple(file for file in files if file is not None))
    (target / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
    code = (
        "from hf_localize.sources.session import current_session\nfrom hf_localize.publish import public\n"
        "from hf_localize.format.refs import DatasetRef\nsession = current_session()\n"
        f"entry = session.store.find(DatasetRef({name!r}))\n"
        "public.make_public(entry, session.bucket, session.public_bucket_files, workers=8)"
    )
    timed_python(code, desk.environment())


def _as_it_is(folder: Path, file: FileRecord, zeros: str, holes: tuple[str, ...]) -> FileRecord | None:
    if file.path in holes:
        return file._replace(sha256=zeros)
    return hash_file(folder / file.path, file.path) if (folder / file.path).exists() else None
