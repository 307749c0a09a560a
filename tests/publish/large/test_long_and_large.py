"""Long and large: memory and open files don't grow with what is published, fetched and streamed.

On SeaweedFS, since moto keeps all objects in memory. The shards of the large dataset are links to one
file in the publisher's store, so only the bucket and the fetch take room.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hf_localize.format import save_to_disk
from hf_localize.format.files import hash_file
from hf_localize.format.manifest import FileRecord, Shard, Split
from hf_localize.format.refs import DatasetRef
from hf_localize.store.commit import commit
from hf_localize.store.store import Store
from tests.publish.large.watched import Seen, run_watched
from tests.rig.s3 import SeaweedServer

pytestmark = pytest.mark.large
ROOT = Path(__file__).parents[3]
BUCKET = "large-datasets"
SHARDS = 400
SHARD_BYTES = 30 << 20
MOST_MEMORY = 350_000_000
MOST_FILES = 256
#: The bucket's copy, the fetched one, and some room.
_COPIES = 2.3
SIZES = tuple(
    int(float(size) * 1e9) for size in (os.environ.get("HGLOC_TEST_LARGE_GB") or "1,4,12").split(",")
)


class Site:
    """A server, and the machines of a publisher and of a teammate."""

    def __init__(self, folder: Path, server: SeaweedServer) -> None:
        self.folder = folder
        self.server = server

    def environment(self, who: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("HGLOC_", "AWS_", "HF_"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "HGLOC_S3_BUCKET_NAME": BUCKET,
            "HGLOC_S3_ENDPOINT_URL": self.server.endpoint_url,
            "HGLOC_AWS_ACCESS_KEY_ID": self.server.access_key,
            "HGLOC_AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "HGLOC_AWS_DEFAULT_REGION": "us-east-1",
            "HGLOC_SOURCES": "local,s3",
            "HGLOC_DATASETS_STORE_PATH": str(self.store(who)),
            "HF_HOME": str(self.folder / who / "hf"),
        }

    def store(self, who: str) -> Path:
        return self.folder / who / "store"

    def forget(self) -> None:
        """Give the room back that a dataset has taken."""
        for who in ("publisher", "teammate"):
            shutil.rmtree(self.folder / who, ignore_errors=True)
        client = self.server.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", []):
                client.delete_object(Bucket=BUCKET, Key=item["Key"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    server = SeaweedServer(tmp_path / "seaweedfs")
    server.start()
    server.create_bucket(BUCKET)
    yield Site(tmp_path, server)
    server.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


def put_linked(store: Path, name: str, count: int, shard_bytes: int) -> None:
    """Put a dataset of *count* shards into *store*; they are links to one file."""
    import datasets
    import pyarrow as pa

    folder = store / "staged"
    (folder / "train").mkdir(parents=True)
    rows = max(1, shard_bytes // 4096)
    features = datasets.Features({"number": datasets.Value("int64"), "value": datasets.Value("binary")})
    names = [save_to_disk.shard_name(number, count) for number in range(count)]
    first = folder / "train" / names[0]
    with pa.OSFile(str(first), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
        for start in range(0, rows, 256):
            some = min(256, rows - start)
            values = pa.array(
                [os.urandom(4096 if shard_bytes > 4096 else 1000) for _ in range(some)], pa.binary()
            )
            numbers = pa.array(range(start, start + some), pa.int64())
            writer.write_batch(pa.record_batch([numbers, values], schema=features.arrow_schema))
    for other in names[1:]:
        os.link(first, folder / "train" / other)
    info = {"features": datasets.utils.py_utils.asdict(features)}
    save_to_disk.write_split_json(folder / "train", "train", names, "large", info)
    save_to_disk.write_dict_json(folder, ["train"])
    manifest = save_to_disk.describe_folder(folder, DatasetRef(name), hashed=False)
    one = hash_file(first, names[0])
    small = [f.path for f in manifest.files if not f.path.endswith(".arrow")]
    files = [FileRecord(f"train/{n}", one.size_bytes, one.sha256) for n in names]
    files += [hash_file(folder / path, path) for path in small]
    split = Split(
        "train", rows * count, one.size_bytes * count, tuple(Shard(f"train/{n}", rows) for n in names)
    )
    commit(Store(store), folder, replace(manifest, files=tuple(files), splits=(split,)))


def room_for(size_bytes: int, folder: Path) -> int:
    """Return *size_bytes*, or what there is room for."""
    free = shutil.disk_usage(folder).free - (8 << 30)
    most = max(int(free / _COPIES), 0)
    if size_bytes > most:
        warnings.warn(
            f"scaled down from {size_bytes / 1e9:.0f} to {most / 1e9:.1f} GB: no more room", stacklevel=2
        )
    return min(size_bytes, most)


PUBLISH = "import hf_localize; hf_localize.sync_local_dataset_to_s3('org/large')"
FETCH = "import hf_localize; hf_localize.download_dataset('org/large', skip_s3_upload=True)"
STREAM = """
import hf_localize, os
hf_localize.install(sources="s3")
from datasets import load_dataset
count = 0
for row in load_dataset("org/large", split="train", streaming=True):
    count += 1
assert count == {rows}, count
"""


def all_three(site: Site, rows: int) -> dict[str, Seen]:
    """Publish, fetch and stream what lies in the publisher's store."""
    seen = {"publish": run_watched(PUBLISH, site.environment("publisher"))}
    seen["stream"] = run_watched(STREAM.format(rows=rows), site.environment("streamer"))
    seen["fetch"] = run_watched(FETCH, site.environment("teammate"))
    return seen


def check(seen: dict[str, Seen]) -> None:
    for what, process in seen.items():
        assert process.peak_bytes < MOST_MEMORY, (what, str(process))
        assert process.open_files < MOST_FILES, (what, str(process))


def test_memory_does_not_grow_with_size(site: Site) -> None:
    all_seen: list[dict[str, Seen]] = []
    for size in SIZES:
        size = room_for(size, site.folder)
        count = max(1, round(SHARDS * size / 12e9))
        put_linked(site.store("publisher"), "org/large", count, SHARD_BYTES)
        seen = all_three(site, count * (SHARD_BYTES // 4096))
        for what, process in seen.items():
            print(f"{size / 1e9:.0f} GB in {count} shards, {what}: {process}")
        check(seen)
        files = sum(1 for _ in site.store("teammate").rglob("*.arrow"))
        assert files == count
        all_seen.append(seen)
        site.forget()
    for what in all_seen[0]:
        first, last = all_seen[0][what].peak_bytes, all_seen[-1][what].peak_bytes
        assert last < first + 60_000_000, (what, first, last)


def test_twenty_thousand_small_files(site: Site) -> None:
    put_linked(site.store("publisher"), "org/large", 20_000, 2_000)
    seen = all_three(site, 20_000)
    for what, process in seen.items():
        print(f"20,000 files, {what}: {process}")
    check(seen)
