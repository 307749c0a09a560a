"""Stores of another user, and on file systems without locks: what is there loads, and nothing is half-written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import hf_localize
from tests.conftest import Desk, tree
from tests.faults.killer import NAME, OTHER, save

#: Loads a dataset, or downloads it, and says how many rows it has, or which error it met.
LOAD = """
import sys, hf_localize
try:
    if sys.argv[2] == "download":
        hf_localize.download_dataset(sys.argv[1], skip_s3_upload=True)
    if sys.argv[2] == "install":
        hf_localize.install()
        import datasets
        datasets.load_dataset(sys.argv[1])
    print(len(hf_localize.load_local_dataset(sys.argv[1])["train"]))
except hf_localize.HfLocalizeError as exc:
    print(type(exc).__name__, exc)
"""
#: In front of libc: fails each flock of a file below a folder, as its file system would.
FAIL_FLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int flock(int file, int operation) {
    char link[64], path[4096];
    const char *below = getenv("TEST_NO_FLOCK_BELOW");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0 && below && !strncmp(path, below, strlen(below))) {
        errno = atoi(getenv("TEST_FLOCK_ERRNO"));
        return -1;
    }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, operation);
}
"""
#: Root who may not pass over permissions, as any other user.
AS_ANY_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-dac_override"]
GIVES_FILES_AWAY = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="giving files to another user takes root, and setpriv",
)


def loaded(
    dataset_id: str, how: str = "load", *, through: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> str:
    """Return what a process of its own says that loads *dataset_id*."""
    command = [*through, sys.executable, "-c", LOAD, dataset_id, how]
    environment = {**os.environ, **(env or {})}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def half(desk: Desk) -> Desk:
    """Return a teammate's desk, whose store has one of the two datasets of the bucket."""
    desk.publisher()
    for name, tag in ((NAME, "new"), (OTHER, "other")):
        hf_localize.register_dataset(save(desk.folder / tag, tag), name)
    desk.teammate()
    hf_localize.load_local_dataset(OTHER)
    return desk


@pytest.fixture
def without_flock(half: Desk, tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """Return what makes an environment in which flock fails in the store with an errno."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip(
            "a file system without flock is made by a library in front of libc, which takes Linux and cc"
        )
    library = tmp_path / "no_flock.so"
    (tmp_path / "no_flock.c").write_text(FAIL_FLOCK)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "no_flock.c"), "-ldl"], check=True
    )
    shared = {"LD_PRELOAD": str(library), "TEST_NO_FLOCK_BELOW": str(half.store.resolve())}
    return lambda error: {**shared, "TEST_FLOCK_ERRNO": str(error)}


def refused_to_store(error: int, **how: Any) -> str:
    """Assert that loads work, *how* they are made, and a download does not; return what that says of *error*."""
    assert loaded(OTHER, **how) == "30"
    assert loaded(NAME, **how) == "30"  # Into the cache of `datasets`.
    said = loaded(NAME, "download", **how)
    assert said.startswith("StoreError ")
    assert os.strerror(error) in said
    return said


@pytest.mark.sampled(0)
def test_where_locks_fail_loads_work_and_a_download_says_why(
    half: Desk, without_flock: Callable[[int], dict[str, str]]
) -> None:
    broken = without_flock(errno.ENOLCK)
    before = visible(half.store)
    said = refused_to_store(errno.ENOLCK, env=broken)
    assert "HGLOC_DATASETS_STORE_PATH" in said
    assert visible(half.store) == before
    assert loaded(NAME, "download") == "30"


def test_where_there_is_no_flock_at_all_a_download_locks_in_another_way(
    half: Desk, without_flock: Callable[[int], dict[str, str]]
) -> None:
    assert loaded(NAME, "download", env=without_flock(errno.ENOSYS)) == "30"
    half.set(HGLOC_SOURCES="local")
    assert loaded(NAME) == "30"


def visible(store: Path) -> dict[str, bytes]:
    """Return the files of *store* but for those of its writers."""
    return {path: data for path, data in tree(store).items() if not path.startswith(".hgloc/")}


@GIVES_FILES_AWAY
def test_a_store_of_another_user_is_read_and_not_written(half: Desk) -> None:
    for path in (half.store, *half.store.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
        Path(path).chmod(0o755 if path.is_dir() else 0o644)
    before = tree(half.store)
    said = refused_to_store(errno.EACCES, through=AS_ANY_USER)
    assert str(half.store) in said
    assert tree(half.store) == before


@GIVES_FILES_AWAY
@pytest.mark.parametrize("command", ["list-local", "verify"])
def test_a_dataset_that_another_user_keeps_to_himself_is_left_out_in_words(command: str, half: Desk) -> None:
    (private,) = (path for path in half.store.iterdir() if not path.name.startswith("."))
    private.chmod(0o700)
    os.chown(private, 65534, 65534)
    line = [*AS_ANY_USER, sys.executable, "-m", "hf_localize", command]
    ran = subprocess.run(line, env=os.environ, capture_output=True, text=True, timeout=60)
    assert f"{private} can't be read by this user" in ran.stderr
    assert ran.stderr.count("left out") == 1


@GIVES_FILES_AWAY
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("folder", "said"), [(".hgloc/by-digest", "30"), ("", "DatasetDeniedError ")])
def test_a_folder_that_another_user_keeps_to_himself_is_passed_over_or_named(
    folder: str, said: str, half: Desk
) -> None:
    private = half.store / folder
    private.chmod(0o700)
    os.chown(private, 65534, 65534)
    half.set(HGLOC_SOURCES="local", HF_HUB_OFFLINE="1")
    half.use_cache(str(half.folder / "fresh"))
    assert loaded(OTHER, "install", through=AS_ANY_USER).startswith(said)
