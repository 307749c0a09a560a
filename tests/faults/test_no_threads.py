"""A system that starts no more threads (`ulimit -u`): what is under way goes on with those there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hf_localize
from tests.conftest import Desk, run_python
from tests.faults.killer import NAME, save

#: As another user, since root has no limit, with no thread more than it has.
WITHOUT_THREADS = """
import os, resource, threading
import hf_localize
hf_localize.download_dataset({name!r}, skip_s3_upload=True)  # All is imported: Python itself may be root's alone.
os.environ["HGLOC_DATASETS_STORE_PATH"] = os.getcwd() + "/store"
os.setgid(54321); os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    threading.Thread(target=print).start()
    raise SystemExit("a thread could be started")
except RuntimeError:
    pass
print(hf_localize.download_dataset({name!r}, skip_s3_upload=True)[0])
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_a_fetch_goes_on_where_no_thread_can_be_started(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME)
    home = tmp_path / "home"
    desk.teammate().set(HGLOC_SOURCES="local,s3", HOME=str(home))
    home.mkdir()
    os.chown(home, 54321, 54321)
    for folder in home.parents:
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o111)
    ran = run_python(WITHOUT_THREADS.format(name=NAME), cwd=home)
    assert ran.stdout == "True\n", ran.stderr
