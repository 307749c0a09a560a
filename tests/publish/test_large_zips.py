"""ZIPs beyond the limits of the first ZIP format: many members, many bytes. None is kept whole.

`make test-large` runs those that take a minute; here is what needs neither much time nor room.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.zip.writer import PackedZip
from tests.conftest import ROOT

GIB = 1 << 30


@pytest.mark.sampled(0)
def test_a_zip_of_more_than_65535_members_is_read_by_every_program(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    folder.mkdir()
    (folder / "x").write_bytes(b"abc")
    names = [f"{number:03}" for number in range(260)]
    for name in names:
        (folder / name).symlink_to(".")  # So one file has a path for each two names.
    digest = hashlib.sha256(b"abc").hexdigest()
    paths = [f"{first}/{second}/x" for first in names for second in names]
    manifest = Manifest(dataset_id="made/many", files=tuple(FileRecord(path, 3, digest) for path in paths))
    made = tmp_path / "made.zip"
    with open(made, "wb") as sink:
        for piece in PackedZip(folder, manifest).pieces():
            sink.write(piece)
    with zipfile.ZipFile(made) as archive:
        assert len(archive.infolist()) == len(paths) + 1 > 1 << 16
        assert archive.read(paths[-1]) == b"abc"
    if unzip := shutil.which("unzip"):
        said = subprocess.run([unzip, "-tqq", made], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout[-500:] + said.stderr[-500:]


_PACK = """
import sys
from pathlib import Path
from tests.publish.test_large_zips import pack_sparse
print(pack_sparse(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
"""


def pack_sparse(folder: Path, size_bytes: int, made: Path) -> int:
    """Pack an entry of one file of zeros, written as a ZIP at *made*; return the peak memory in KiB."""
    folder.mkdir()
    with open(folder / "zeros", "wb") as file:
        file.truncate(size_bytes)
    digest, chunk = hashlib.sha256(), bytes(16 << 20)
    for _ in range(size_bytes // len(chunk)):
        digest.update(chunk)
    digest.update(chunk[: size_bytes % len(chunk)])
    manifest = Manifest(dataset_id="made/zeros", files=(FileRecord("zeros", size_bytes, digest.hexdigest()),))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(made, "wb") as sink:
        for piece in PackedZip(folder, manifest).pieces():
            sink.write(piece)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.parametrize(
    "size_bytes", [48 << 20, pytest.param(4 * GIB + 12345, marks=pytest.mark.large)], ids=["small", "4 GiB"]
)
def test_a_large_member_is_packed_in_bounded_memory_and_every_program_reads_it(
    size_bytes: int, tmp_path: Path
) -> None:
    made = tmp_path / "made.zip"
    ran = subprocess.run(
        [sys.executable, "-c", _PACK, tmp_path / "entry", str(size_bytes), made],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 60 << 10
    with zipfile.ZipFile(made) as archive:
        info = archive.getinfo("zeros")
        assert (info.file_size, info.compress_type) == (size_bytes, zipfile.ZIP_DEFLATED)
        assert archive.testzip() is None
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tqq", made]).returncode == 0
