"""Index entries, the commit marks of what is published."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from hf_localize import errors
from hf_localize.format.index import IndexEntry, read_index_entry
from hf_localize.format.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.format.refs import DatasetRef


def test_a_commit_mark_of_many_shards_is_small_and_a_bomb_is_refused() -> None:
    names = [f"train/data-{n:05d}-of-04000.arrow" for n in range(4000)]
    files = tuple(FileRecord(n, 2_500_000, hashlib.sha256(n.encode()).hexdigest()) for n in names)
    shards = tuple(Shard(n, 1000, "500:1250000 750:1875000") for n in names)
    split = Split("train", 4_000_000, 10**10, shards)
    placed = IndexEntry(
        Manifest(dataset_id="org/x", splits=(split,), files=files), "org_x/default_config/default_revision"
    )
    data = placed.to_bytes()
    assert len(data) <= 400_000
    assert read_index_entry(data, "here") == placed
    for damaged in (data[:-100], data[:1000] + b"0" + data[1001:], gzip.compress(bytes(65 << 20))):
        with pytest.raises(errors.IntegrityError):
            read_index_entry(damaged, "here")


NAME = "made/rot"


#: Inverts the lowest bit: JSON often stays JSON.
MASK = 0x01


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ MASK]) + data[at + 1 :]


def test_a_compressed_commit_mark_is_watched_too() -> None:
    files = tuple(FileRecord(f"train/data-{n:05d}.arrow", n, f"{n:064x}") for n in range(3000))
    placed = IndexEntry(Manifest(dataset_id=NAME, files=files), DatasetRef(NAME).folders[0])
    data = placed.to_bytes()
    assert data.startswith(b"\x1f\x8b")
    assert read_index_entry(data, "m") == placed
    for at in {*range(0, len(data), 997), *range(20), *range(len(data) - 20, len(data))}:
        try:
            assert read_index_entry(flipped(data, at), "m") == placed, at
        except errors.IntegrityError:
            continue
