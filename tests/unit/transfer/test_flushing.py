"""Files are flushed to the disk while they grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hf_localize.transfer import flushing
from tests.faults.conftest import wait_until


def test_what_grows_is_flushed_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: dict[str, int] = {}

    def note(path: str) -> None:
        flushed[path] = os.stat(path).st_size

    monkeypatch.setattr(flushing, "flush", note)
    monkeypatch.setattr(flushing, "_GROWN_BYTES", 1000)
    shard, small = tmp_path / "a" / "shard", tmp_path / "small"
    shard.parent.mkdir()
    small.write_bytes(b"x" * 999)
    with flushing.flushing(tmp_path), open(shard, "wb", buffering=0) as file:
        for size_bytes in (1000, 2500):
            file.write(b"x" * (size_bytes - file.tell()))
            wait_until(lambda: flushed.get(str(shard)) == size_bytes)  # noqa: B023  # It is called here.
    assert set(flushed) == {str(shard)}
