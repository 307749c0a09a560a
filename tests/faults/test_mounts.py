"""Stores and caches on real mounts of other kinds: dead ones, image layers, file systems without links."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.sources.session import current_session
from hf_localize.store.staging import staging_folder
from tests.conftest import Desk
from tests.faults.conftest import wait_until
from tests.faults.killer import NAME, OTHER, save
from tests.faults.test_stores import AS_ANY_USER

#: Does what people do, and says what came of each: the first row, or the error.
DEAD = """
import contextlib, io, json, logging, sys
import datasets, hf_localize
from hf_localize import errors
told = io.StringIO()
logging.basicConfig(stream=told, level=logging.WARNING)

def row(**how):
    with hf_localize.installed():
        return next(iter(datasets.load_dataset("org/x", split="train", **how)))["text"][:3]

def outcome(work):
    try:
        return work()
    except Exception as exc:
        return [type(exc).__name__, isinstance(exc, errors.HfLocalizeError), str(exc)]

print(json.dumps({
    "load": outcome(row),
    "stream": outcome(lambda: row(streaming=True)),
    "list": outcome(lambda: [str(e) for e in hf_localize.list_local_datasets()]),
    "download": outcome(lambda: hf_localize.download_dataset("org/x", skip_s3_upload=True).path),
    "doctor": [[f.name, f.state, f.told] for f in hf_localize.diagnose() if f.area == "store"],
    "told": told.getvalue(),
}))
"""
needs_mounts = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not Path("/dev/fuse").exists(),
    reason="mounting takes root and FUSE",
)


@pytest.fixture
def published(desk: Desk) -> Desk:
    """Return a teammate's desk with a store of its own; the bucket has two datasets."""
    desk.publisher()
    for name, tag in ((NAME, "new"), (OTHER, "other")):
        hf_localize.register_dataset(save(desk.folder / tag, tag), name)
    desk.teammate()
    desk.store.mkdir()
    desk.set(HGLOC_SOURCES="local,s3", HGLOC_STREAM_CACHE="1")
    return desk


def dead_fuse(store: Path, tmp_path: Path) -> list[str]:
    """Have the server of the store's FUSE mount die: each call ends in ENOTCONN."""
    if shutil.which("bindfs") is None:
        pytest.skip("a mount whose server has died takes bindfs")
    (tmp_path / "behind").mkdir()
    server = subprocess.Popen(["bindfs", "-f", tmp_path / "behind", store])
    wait_until(lambda: os.path.ismount(store))
    server.send_signal(signal.SIGKILL)
    server.wait()
    return []


def closed(store: Path, _: Path) -> list[str]:
    """Give the store to another user, who lets nobody in (EACCES)."""
    if shutil.which("setpriv") is None:
        pytest.skip("reading as another user takes setpriv")
    os.chown(store, 65534, 65534)
    store.chmod(0o700)
    return AS_ANY_USER


@pytest.fixture
def unmounted(published: Desk) -> Iterator[None]:
    yield
    subprocess.run(["umount", "--lazy", published.store], check=False, stderr=subprocess.DEVNULL)


@needs_mounts
@pytest.mark.parametrize(
    ("fail", "kind", "errno"),
    [(dead_fuse, "UnreachableError", 107), (closed, "AccessDeniedError", 13)],
)
@pytest.mark.usefixtures("unmounted")
def test_of_a_store_that_can_not_be_read_the_next_source_answers(
    fail: Callable[[Path, Path], list[str]], kind: str, errno: int, published: Desk, tmp_path: Path
) -> None:
    through = fail(published.store, tmp_path)
    ran = subprocess.run([*through, sys.executable, "-c", DEAD], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    came = json.loads(ran.stdout)
    assert (came["load"], came["stream"]) == ("new", "new"), came
    assert came["list"][:2] == [kind, True], came["list"]
    assert str(published.store) in came["list"][2]
    assert came["download"][:2] == ["StoreError", True], came["download"]
    assert (
        f"local store failed and is skipped: {published.store} can't be read: {os.strerror(errno)}"
        in (came["told"])
    )
    assert [finding[:2] for finding in came["doctor"]] == [["path", "fail"]], came["doctor"]
    assert f"{published.store} can't be read: {os.strerror(errno)}" in came["doctor"][0][2]


@pytest.fixture
def layered(published: Desk, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return the upper layer, and the folder, of an image in whose lower layer a store has two datasets."""
    lower, upper, merged = (tmp_path / name for name in ("lower", "upper", "merged"))
    for folder in (lower, upper, merged, tmp_path / "worked"):
        folder.mkdir()
    published.set(HGLOC_DATASETS_STORE_PATH=str(lower / "store"))
    hf_localize.register_dataset(big("old"), NAME, skip_s3_upload=True)
    hf_localize.register_dataset(big("other"), OTHER, skip_s3_upload=True)
    interrupted = lower / "store/.hgloc/staging" / f"{DatasetRef(OTHER).suffix[1:]}-partial"
    shutil.copytree(next((lower / "store/org_other").rglob("train")), interrupted / "train")
    for path in (interrupted, *interrupted.rglob("*")):
        os.utime(path, (time.time() - 3600,) * 2)
    options = f"lowerdir={lower},upperdir={upper},workdir={tmp_path / 'worked'}"
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=False)
    if mounted.returncode:
        pytest.skip("an overlay can't be mounted here")
    published.set(HGLOC_DATASETS_STORE_PATH=str(merged / "store"), HGLOC_SOURCES="local")
    published.store = merged / "store"
    published.use_cache(str(merged / "cache"))
    yield upper, merged
    subprocess.run(["umount", "--lazy", merged], check=True)


def big(tag: str) -> datasets.Dataset:
    """Return a dataset of 2 MB, whose first row is *tag*."""
    return datasets.Dataset.from_dict({"text": [tag, *(f"{n:01000}" for n in range(2000))]})


def first(name: str) -> str:
    return str(hf_localize.load_local_dataset(name)["train"]["text"][0]).split()[0]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@needs_mounts
def test_a_load_of_a_store_in_an_image_layer_copies_no_shard_into_the_container(
    layered: tuple[Path, Path],
) -> None:
    upper, _ = layered
    for _ in range(2):
        assert (first(NAME), first(OTHER)) == ("old", "other")
    assert size_of(upper) < 100_000


@needs_mounts
def test_a_store_in_an_image_layer_is_updated_and_removed(
    layered: tuple[Path, Path], published: Desk
) -> None:
    loaded = hf_localize.load_local_dataset(NAME)["train"]
    hf_localize.register_dataset(big("new"), NAME, skip_s3_upload=True)
    assert first(NAME) == "new"
    assert loaded.map(lambda row: row)["text"][0] == "old"
    hf_localize.remove_dataset(OTHER)
    with pytest.raises(errors.DatasetNotFoundError):
        first(OTHER)
    hf_localize.register_dataset(big("again"), OTHER, skip_s3_upload=True)
    store = current_session().store
    with staging_folder(store, f"{DatasetRef(OTHER).suffix[1:]}-partial") as folder:
        assert size_of(folder) > 1_000_000, (
            "what an interrupted process left in the image was not gone on with"
        )
    hf_localize.remove_dataset(NAME)
    assert [entry.manifest.dataset_id for entry in current_session().store.entries()] == [OTHER]
    assert first(OTHER) == "again"


@needs_mounts
def test_a_move_out_of_an_image_layer_that_was_cut_off_leaves_the_entry_whole(
    layered: tuple[Path, Path], published: Desk
) -> None:
    places = current_session().store.places
    folder = places.folder_of(current_session().store.find(DatasetRef(NAME)).folder)
    retired = places.new_retired(folder)
    shutil.copytree(published.store / folder, retired)
    (published.store / folder / MANIFEST_NAME).unlink()
    shard = next((published.store / folder).rglob("*.arrow"))
    shard.unlink()
    own = published.store / folder / "own.txt"
    own.write_text("somebody's own")
    assert first(NAME) == "old"
    hf_localize.register_dataset(big("other 2"), OTHER, skip_s3_upload=True)
    assert first(NAME) == "old"
    assert own.exists()
    own.unlink()
    hf_localize.register_dataset(big("new"), NAME, skip_s3_upload=True)
    assert first(NAME) == "new"


@pytest.fixture
def without_links(tmp_path: Path) -> Iterator[Path]:
    """Return the mount of a file system that has neither hard nor symbolic links: exFAT, by FUSE."""
    if not all(map(shutil.which, ("mkfs.exfat", "mount.exfat-fuse", "losetup"))):
        pytest.skip("a file system without links takes exfat-fuse and exfatprogs")
    image, mount = tmp_path / "disk", tmp_path / "mounted"
    mount.mkdir()
    with image.open("wb") as disk:
        disk.truncate(64 << 20)
    subprocess.run(["mkfs.exfat", image], check=True, stdout=subprocess.DEVNULL)
    found = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("there is no loop device")
    device = found.stdout.strip()
    try:
        subprocess.run(["mount.exfat-fuse", device, mount], check=True, stdout=subprocess.DEVNULL)
        yield mount
        subprocess.run(["umount", "--lazy", mount], check=True)  # `datasets` has files mapped into memory.
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@needs_mounts
@pytest.mark.parametrize("place", ["cache", "store", "both"])
def test_where_there_are_no_links_what_is_loaded_is_a_copy(
    place: str, published: Desk, without_links: Path
) -> None:
    with pytest.raises(OSError, match=r"Errno"):
        (without_links / "link").symlink_to(without_links)
    if place != "cache":
        published.store = without_links / "store"
        published.set(HGLOC_DATASETS_STORE_PATH=str(published.store))
    if place != "store":
        published.use_cache(str(without_links / "cache"))
    assert first(NAME) == first(NAME) == "new"
    loaded = hf_localize.load_local_dataset(NAME)["train"]
    shards = [Path(file["filename"]) for file in loaded.cache_files]
    assert shards
    assert not any(path.is_symlink() for path in shards)
    hf_localize.register_dataset(big("newer"), NAME, skip_s3_upload=True)
    assert loaded.map(lambda row: row)["text"][0].split()[0] == "new"
    assert first(NAME) == "newer"
    hf_localize.remove_dataset(NAME)
    hf_localize.download_dataset(OTHER)
    assert first(OTHER) == "other"
    found = {f.name: f for f in hf_localize.diagnose() if f.area == "store"}
    assert not [finding for finding in found.values() if finding.state == "fail"]
    assert "files are copied" in found["cache of datasets"].told
