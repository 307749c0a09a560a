"""What a disk is like: its file system, and whether it has room for what is about to be written."""

from __future__ import annotations

import errno
import functools
import shutil
from pathlib import Path

from hf_localize.errors import StoreError

#: What the system says of a disk, a quota or a file that can't grow.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: So long FUSE, by default, keeps what it has heard of a file; NFS asks again when a file is opened.
PAST_SECONDS = 2.0
#: File systems on which other machines write too.
SHARED = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "ceph", "fuse.sshfs", "9p", "gpfs"})


def require_room(folder: Path, needed_bytes: int) -> None:
    """Check that *needed_bytes* more fit on the disk of *folder*, before any of them is moved.

    Raises:
        StoreError: they don't.
    """
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise StoreError(
            f"not enough disk space in {folder}: {needed_bytes} bytes are needed, {free} are free. "
            "Nothing was transferred. Free space, for example with hg-localize prune, or set "
            "HGLOC_DATASETS_STORE_PATH"
        )


@functools.lru_cache(maxsize=16)
def file_system_of(folder: Path) -> str | None:
    """Return the kind of the file system of *folder*, where the system tells it (Linux)."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found: tuple[int, str | None] = (0, None)
    resolved = folder.resolve()
    for line in lines:
        words = line.split(" ")
        mount = Path(words[1].encode().decode("unicode_escape"))
        if resolved.is_relative_to(mount) and len(mount.parts) >= found[0]:
            found = (len(mount.parts), words[2])
    return found[1]


def may_show_the_past(folder: Path) -> bool:
    """Tell whether the file system of *folder* may keep what it has heard of a file for some seconds."""
    kind = file_system_of(folder) or ""
    return kind in SHARED or kind.startswith("fuse")
