"""What is prepared goes to the disk while it is written; a disk that fails is told of, and nothing is committed."""

from __future__ import annotations

import errno
import threading
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.transfer import flushing
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"


def test_a_disk_that_fails_meanwhile_is_told_of_and_nothing_is_committed(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of a failed write once: who flushes at the end would not hear of it."""
    failed: list[str] = []
    has_failed = threading.Event()
    prepare = datasets.DatasetBuilder.download_and_prepare

    def prepare_until_flushed(*args: Any, **kwargs: Any) -> None:
        """On a busy machine all may be prepared before the other thread takes its first look."""
        prepare(*args, **kwargs)
        has_failed.wait(60)

    def fail_once(path: str) -> None:
        if not failed:
            failed.append(path)
            has_failed.set()
            raise OSError(errno.EIO, "Input/output error", path)

    desk.outsider()
    with monkeypatch.context() as patch:
        patch.setattr(flushing, "flush", fail_once)
        patch.setattr(flushing, "_GROWN_BYTES", 1)
        patch.setattr(flushing, "_LOOK_SECONDS", 0)
        patch.setattr(datasets.DatasetBuilder, "download_and_prepare", prepare_until_flushed)
        with pytest.raises(errors.StoreError, match="Input/output error"):
            hf_localize.download_dataset(GSM8K, "main", skip_s3_upload=True)
    assert ".prepared" in failed[0]
    assert hf_localize.list_local_datasets() == []
    hf_localize.download_dataset(GSM8K, "main", skip_s3_upload=True)
    assert len(hf_localize.load_local_dataset(GSM8K, "main")["test"]) == 1319
