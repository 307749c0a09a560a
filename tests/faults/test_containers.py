"""What the pages say of containers: any user, no home, a root that can't be written, one temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hf_localize
from tests.conftest import Desk
from tests.faults.conftest import python_for_everybody
from tests.faults.killer import NAME, save

WRITER, READER, GROUP = 10001, 10002, 10010
#: Mounts the store, for reading alone or not, and the temporary folder; nothing else can be written.
CONTAINED = """
top=$1 mode=$2; shift 2
mount --bind "$top/store" "$top/store" && mount -o "remount,bind,$mode" "$top/store" &&
mount -t tmpfs -o mode=1777 tmpfs "$top/tmp" && mount -o remount,bind,ro / && exec "$@"
"""
LOADS = f"""
import os, datasets
for place in (".", os.environ["HGLOC_DATASETS_STORE_PATH"]):
    assert not os.access(place, os.W_OK), place
loaded = datasets.load_dataset({NAME!r}, split="train")
part = datasets.load_dataset({NAME!r}, split="train[:50%]")
stream = datasets.load_dataset({NAME!r}, split="train", streaming=True)
mapped = loaded.map(lambda row: {{"length": len(row["text"])}})
print(loaded[0]["text"][:3], part[0]["text"][:3], next(iter(stream))["text"][:3], "length" in mapped[0])
"""
Contained = Callable[..., str]


@pytest.fixture
def contained(desk: Desk) -> Iterator[Contained]:
    """Return what runs a command as a container of the examples does, and returns its output."""
    if os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("setpriv", "unshare"))):
        pytest.skip("running as a container takes root, setpriv and unshare")
    top = Path(tempfile.mkdtemp(prefix="hf_localize-container-"))
    top.chmod(0o755)
    for name in ("store", "tmp"):
        (top / name).mkdir()
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "new", "new"), NAME)
    desk.teammate()
    desk.store = top / "store"
    enter = python_for_everybody(top)

    def run(*command: str, user: int, store: str, **variables: str) -> str:
        contain = ["unshare", "--mount", "sh", "-c", CONTAINED, "sh", str(top), store]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}"]
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(top / "tmp"),
            "HF_HOME": str(top / "tmp" / "hf"),
            "HGLOC_DATASETS_STORE_PATH": str(desk.store),
            "HGLOC_AUTO_INSTALL": "1",
            **variables,
        }
        ran = subprocess.run(
            [*enter, *contain, *become, sys.executable, *command],
            cwd=top,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    yield run
    shutil.rmtree(top)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("home", [{}, {"HOME": "/"}], ids=["no home", "root as home"])
def test_a_store_for_reading_and_one_temporary_folder_are_all_that_a_load_takes(
    home: dict[str, str], desk: Desk, contained: Contained
) -> None:
    desk.set(HGLOC_DATASETS_STORE_PATH=str(desk.store))
    hf_localize.download_dataset(NAME, skip_s3_upload=True)
    said = contained("-c", LOADS, user=READER, store="ro", HGLOC_SOURCES="local", **home)
    assert said.split() == ["new", "new", "new", "True"]


def test_what_one_container_downloads_another_one_loads(desk: Desk, contained: Contained) -> None:
    os.chown(desk.store, 0, GROUP)
    desk.store.chmod(0o2775)
    bucket = {name: os.environ[name] for name in os.environ if name.startswith(("HGLOC_S3_", "HGLOC_AWS_"))}
    download = ("-m", "hf_localize", "download", NAME, "--no-s3-upload")
    contained(*download, user=WRITER, store="rw", HGLOC_SOURCES="local,s3,public", **bucket)
    assert contained("-c", LOADS, user=READER, store="ro", HGLOC_SOURCES="local").split()[0] == "new"
