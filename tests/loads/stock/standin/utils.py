"""What the tests of `datasets` import from a module that its sdist leaves out, in place of that one."""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest


class OfflineSimulationMode(enum.Enum):
    """The one way to be offline that needs no change of a library's insides."""

    HF_HUB_OFFLINE_SET_TO_1 = 0


@contextlib.contextmanager
def offline(mode: OfflineSimulationMode) -> Iterator[None]:
    """Be offline meanwhile."""
    assert mode is OfflineSimulationMode.HF_HUB_OFFLINE_SET_TO_1
    with (
        patch("datasets.config.HF_HUB_OFFLINE", new=True),
        patch("huggingface_hub.constants.HF_HUB_OFFLINE", new=True),
    ):
        yield


@contextlib.contextmanager
def set_current_working_directory_to_temp_dir() -> Iterator[None]:
    """Work in a folder of its own meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


#: What they measure is stock's own matter.
assert_arrow_memory_increases = assert_arrow_memory_doesnt_increase = contextlib.nullcontext


def _needing(module: str) -> Callable[[Any], Any]:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"needs {module}")


require_pil, require_torchcodec, require_zstandard = map(_needing, ("PIL", "torchcodec", "zstandard"))
