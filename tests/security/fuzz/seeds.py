"""A small entry on disk, for inputs that are right."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from hf_localize.format.files import hash_file
from hf_localize.format.manifest import FileRecord


def entry_folder() -> tuple[Path, tuple[FileRecord, ...]]:
    """Return a folder with two files, one that gains by compression, and their records."""
    folder = Path(tempfile.mkdtemp(prefix="hf_localize-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "train").mkdir()
    (folder / "train" / "data-00000-of-00001.arrow").write_bytes(b"the same words again " * 200)
    (folder / "README.md").write_bytes(bytes(range(256)))
    names = ("README.md", "train/data-00000-of-00001.arrow")
    return folder, tuple(hash_file(folder / name, name) for name in names)
