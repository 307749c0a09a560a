"""What a fetch holds in memory."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import run_python

#: The server gives each request 25 MB/s, so that more of them move more, as over a link.
_FETCH = """
import hashlib, io, resource, time
from pathlib import Path
from hf_localize.format.manifest import FileRecord
from hf_localize.transfer.fetch import fetch_files

class Slow(io.RawIOBase):
    def __init__(self, size):
        self.left = size
    def readable(self):
        return True
    def readinto(self, buffer):
        time.sleep(0.01)
        got = min(self.left, len(buffer), 256 << 10)
        buffer[:got] = bytes(got)
        self.left -= got
        return got

count, size = 8, 32 << 20
digest = hashlib.sha256()
for _ in range(size >> 20):
    digest.update(bytes(1 << 20))
digest = digest.hexdigest()
files = [FileRecord(f"data-{n}", size, digest) for n in range(count)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fetch_files(files, lambda path, start, stop: Slow(stop - start), Path.cwd(), workers=64)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_fetch_of_eight_large_files_holds_two_parts_ahead_of_their_turn(tmp_path: Path) -> None:
    """Each thread beyond the eight would hold 8 MiB otherwise."""
    ran = run_python(_FETCH, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) <= 16 + 16, "two parts, and a chunk of each thread"
