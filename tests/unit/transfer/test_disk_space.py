"""Free space: known before anything is moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hf_localize.errors import StoreError
from hf_localize.transfer.disk_space import file_system_of, require_room


def test_data_for_which_there_is_no_room_is_refused_by_the_numbers(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    needed = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(StoreError, match=rf"{needed} bytes are needed, \d+ are free"):
        require_room(tmp_path, needed)


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="only Linux tells its mounts")
def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(Path("/")) != "proc"
