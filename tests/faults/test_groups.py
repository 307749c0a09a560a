"""A store that a group shares, used by two real users."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hf_localize
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL, python_for_everybody
from tests.faults.killer import NAME, OTHER, save

ALICE, BOB, EVE, TEAM, PRIVATE = 61001, 61002, 61003, 61010, 61020
#: What each does: the data of both are replaced, mended and removed by the other one.
FIRST = """
hf_localize.download_dataset(NAME, skip_s3_upload=True)
hf_localize.register_dataset(rows("alice"), "org/own", skip_s3_upload=True)
left_by_a_failure(OTHER)
print(texts(NAME), texts("org/own"))
"""
SECOND = """
print(texts(NAME), texts("org/own"))
hf_localize.download_dataset(OTHER, skip_s3_upload=True)
hf_localize.register_dataset(rows("bob"), NAME, skip_s3_upload=True)
with open(sorted((store / "org_own").rglob("*.arrow"))[0], "r+b") as file:
    file.truncate(9)
hf_localize.remove_dataset("org/own")
hf_localize.register_dataset(rows("bob"), "org/own", skip_s3_upload=True)
print(texts(NAME), texts(OTHER), texts("org/own"))
"""
THIRD = """
print(texts(NAME), texts(OTHER), texts("org/own"))
hf_localize.remove_dataset(NAME)
hf_localize.download_dataset(NAME, skip_s3_upload=True)
hf_localize.register_dataset(rows("alice"), OTHER, skip_s3_upload=True)
with hf_localize.installed():
    hf_localize.remove_dataset(NAME)
    datasets.load_dataset(NAME, split="train[:50%]")
print(texts(NAME), texts(OTHER))
"""
PRELUDE = f"""
import os, pathlib, datasets, hf_localize, hf_localize.errors
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from hf_localize.store.staging import staging_folder
NAME, OTHER = {NAME!r}, {OTHER!r}
store = pathlib.Path(os.environ["HGLOC_DATASETS_STORE_PATH"])

def rows(tag):
    return datasets.Dataset.from_dict({{"text": [tag]}})

def texts(name):
    loaded = hf_localize.load_local_dataset(name)
    return loaded[next(iter(loaded))]["text"][0].split()[0]

def left_by_a_failure(name):
    entry = current_session().resolver(only=("s3",)).find(DatasetRef(name))
    try:
        with staging_folder(current_session().store, entry.digest) as folder:
            (folder / "train").mkdir()
            (folder / "train" / "data-00000-of-00002.arrow").write_bytes(b"begun")
            raise RuntimeError
    except RuntimeError:
        pass
"""
AsUser = Callable[..., str]
only_in_all = pytest.mark.skipif(
    not IS_ALL, reason="it is a part of make test-faults: each user is a process"
)


@pytest.fixture
def as_user(desk: Desk) -> Iterator[AsUser]:
    """Return what runs code as a user of the team, in a store that the team shares, and returns its output."""
    if os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("setpriv", "unshare"))):
        pytest.skip("running as two users takes root, setpriv and unshare")
    desk.publisher()
    for name, tag in ((NAME, "new"), (OTHER, "other")):
        hf_localize.register_dataset(save(desk.folder / tag, tag), name)
    desk.set(HGLOC_SOURCES="local,s3")
    top = Path(tempfile.mkdtemp(prefix="hf_localize-team-"))
    top.chmod(0o755)
    desk.store = top / "store"
    desk.store.mkdir()
    enter = python_for_everybody(top)

    def run(user: int, code: str, umask: int, groups: str = f"{TEAM}") -> str:
        home = top / f"home-{user}"
        home.mkdir(exist_ok=True)
        os.chown(home, user, user)
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={groups}", sys.executable]
        environment = {
            **os.environ,
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_DATASETS_CACHE": str(home / "cache"),
            "HGLOC_DATASETS_STORE_PATH": str(desk.store),
        }
        code = f"import os; os.umask({umask})\n{PRELUDE}{code}"
        ran = subprocess.run(
            [*enter, *command, "-c", code], cwd=home, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    yield run
    shutil.rmtree(top)


def share(store: Path, mode: int) -> None:
    os.chown(store, ALICE, TEAM)
    store.chmod(mode)


@pytest.mark.parametrize("umask", [0o002, *([0o007] if IS_ALL else [])])
def test_each_of_a_group_may_download_replace_and_remove_what_another_one_stored(
    umask: int, desk: Desk, as_user: AsUser
) -> None:
    share(desk.store, 0o2777 & ~umask)
    assert as_user(ALICE, FIRST, umask).split() == ["new", "alice"]
    assert as_user(BOB, SECOND, umask).split() == ["new", "alice", "bob", "other", "bob"]
    assert as_user(ALICE, THIRD, umask).split() == ["bob", "other", "bob", "new", "alice"]
    for path in desk.store.rglob("*"):
        held, mode = path.stat(), stat.S_IMODE(path.stat().st_mode)
        assert held.st_gid == TEAM, path
        assert mode == (0o2777 if path.is_dir() else 0o666) & ~umask, (path, oct(mode))


@only_in_all
def test_a_store_that_was_private_before_is_opened_to_the_group_by_its_owner(
    desk: Desk, as_user: AsUser
) -> None:
    share(desk.store, 0o2755)
    as_user(ALICE, FIRST, 0o002)
    assert stat.S_IMODE((desk.store / ".hgloc/staging").stat().st_mode) == 0o2700
    desk.store.chmod(0o2775)
    as_user(ALICE, "hf_localize.remove_dataset('org/own')", 0o002)
    load = "hf_localize.download_dataset(OTHER, skip_s3_upload=True); print(texts(OTHER))"
    assert as_user(BOB, load, 0o002).split() == ["other"]


@only_in_all
def test_a_user_who_lets_nobody_write_does_not_keep_the_others_from_other_datasets(
    desk: Desk, as_user: AsUser
) -> None:
    share(desk.store, 0o2775)
    as_user(ALICE, FIRST, 0o022)
    load = "hf_localize.download_dataset('{0}', skip_s3_upload=True); print(texts('{0}'))"
    assert as_user(BOB, load.format(OTHER), 0o022).split() == ["other"]
    refused = """
try:
    hf_localize.remove_dataset(NAME)
except hf_localize.errors.StoreError as exc:
    print(exc)
"""
    assert "org_x" in as_user(BOB, refused, 0o022)


@only_in_all
def test_in_a_store_of_everybody_nobody_gets_at_what_another_one_builds(desk: Desk, as_user: AsUser) -> None:
    share(desk.store, 0o1777)
    as_user(ALICE, FIRST, 0o022)
    left = """
for folder in (store / ".hgloc/staging").iterdir():
    try:
        folder.rename(folder.with_name("taken"))
    except PermissionError:
        print("kept")
"""
    assert as_user(EVE, left, 0o022, groups=f"{PRIVATE}").split() == ["kept"]
    load = "hf_localize.download_dataset(OTHER, skip_s3_upload=True); print(texts(OTHER))"
    assert as_user(BOB, load, 0o022).split() == ["other"]
