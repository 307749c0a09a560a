"""Whether a disk has room for what is about to be written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from hf_localize.errors import StoreError

#: What the system says of a disk, a quota or a file that can't grow.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def require_room(folder: Path, needed_bytes: int) -> None:
    """Check that *needed_bytes* more fit on the disk of *folder*, before any of them is moved.

    Raises:
        StoreError: they don't.
    """
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise StoreError(
            f"there is no room in {folder}: {needed_bytes} bytes are needed, {free} are free. Nothing was "
            "moved. Make room, for instance by hg-localize prune, or set HGLOC_DATASETS_STORE_PATH"
        )
