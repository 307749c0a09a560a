"""A disk that is full: known before anything moves, nothing half-visible, what was there untouched."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, tree
from tests.rig.hub import LoopbackHub

MIB = 1 << 20
DISK = 3 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of its own with 3 MiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def noise(size_bytes: int, seed: int = 1) -> datasets.Dataset:
    letters = random.Random(seed)
    return datasets.Dataset.from_dict(
        {"text": [letters.randbytes(500).hex() for _ in range(size_bytes // 1000)]}
    )


def visible(store: Path) -> dict[str, bytes]:
    """Return what a reader of the store can see."""
    return {path: data for path, data in tree(store).items() if not path.startswith(".hgloc/")}


def assert_tells_bytes(message: str) -> None:
    found = re.search(r"(\d+) bytes are needed, (\d+) are free", message)
    assert found, message
    needed, free = map(int, found.groups())
    assert free <= DISK
    assert needed > free


@pytest.fixture
def published(desk: Desk, small_disk: Path) -> Desk:
    """Return a desk with its store on a small disk: it has old content of a dataset, the bucket 4 MB."""
    desk.publisher().open_public_places()
    hf_localize.register_dataset(noise(4 * MIB), "org/big", make_public=True)
    hf_localize.register_dataset(noise(1 * MIB), "org/fits", make_public=True)
    desk.teammate().set(HGLOC_DATASETS_STORE_PATH=str(small_disk / "store"))
    desk.store = small_disk / "store"
    hf_localize.register_dataset(noise(200_000, 7), "org/old", skip_s3_upload=True)
    desk.s3.clear()
    return desk


@pytest.mark.parametrize("source", ["s3", "public"])
def test_a_fetch_that_has_no_room_says_so_before_anything_moves(source: str, published: Desk) -> None:
    published.set(HGLOC_SOURCES=source)
    before = visible(published.store)
    with pytest.raises(errors.StoreError) as caught:
        hf_localize.download_dataset("org/big")
    assert_tells_bytes(str(caught.value))
    moved = sum(request.response_bytes for request in published.s3.requests)
    assert moved < 70_000, "only what describes the dataset"
    assert visible(published.store) == before
    published.set(HGLOC_SOURCES="local,s3")
    assert len(hf_localize.load_local_dataset("org/old")["train"]) == 200
    assert len(hf_localize.load_local_dataset("org/fits")["train"]) == MIB // 1000


def test_the_command_line_says_so_in_one_message(published: Desk) -> None:
    ran = run_cli("download", "org/big")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert_tells_bytes(ran.stderr)
    assert "Traceback" not in ran.stderr


def test_a_load_goes_on_from_where_the_dataset_lies_where_the_cache_has_room(published: Desk) -> None:
    before = visible(published.store)
    with hf_localize.installed():
        assert len(datasets.load_dataset("org/big", split="train")) == 4 * MIB // 1000
    assert visible(published.store) == before


def test_a_load_fails_clearly_where_the_cache_is_on_the_same_disk(published: Desk) -> None:
    published.use_cache(str(published.store.parent / "cache"))
    before = visible(published.store)
    with hf_localize.installed(), pytest.raises(OSError, match="not enough disk space in") as caught:
        datasets.load_dataset("org/big", split="train")
    assert_tells_bytes(str(caught.value))
    assert visible(published.store) == before
    with hf_localize.installed():
        assert len(datasets.load_dataset("org/old", split="train")) == 200


def test_only_what_is_missing_needs_room(published: Desk) -> None:
    """Half of the dataset is here; the other half fits, the whole would not twice."""
    store = published.store
    published.publisher().set(HGLOC_DATASETS_STORE_PATH=str(published.folder / "elsewhere"))
    both = datasets.DatasetDict(train=noise(1_200_000, 2), test=noise(1_200_000, 3))
    hf_localize.register_dataset(both, "org/halves")
    published.teammate().set(HGLOC_DATASETS_STORE_PATH=str(store))
    with hf_localize.installed():
        assert len(datasets.load_dataset("org/halves", split="test")) == 1200
        assert len(datasets.load_dataset("org/halves")["train"]) == 1200


def test_registering_without_room_publishes_nothing(published: Desk) -> None:
    before, keys = visible(published.store), published.bucket_keys()
    with pytest.raises(errors.StoreError) as caught:
        hf_localize.register_dataset(noise(4 * MIB, 5), "org/new")
    assert_tells_bytes(str(caught.value))
    saved = published.folder / "saved"
    noise(4 * MIB, 5).save_to_disk(str(saved))
    ran = run_cli("register", str(saved), "org/old")
    assert ran.returncode == 1
    assert_tells_bytes(ran.stderr)
    assert (visible(published.store), published.bucket_keys()) == (before, keys)


def test_registering_data_files_on_a_full_disk_says_which_disk_is_full(published: Desk) -> None:
    (published.folder / "rows").mkdir()
    (published.folder / "rows" / "train.csv").write_text("text\na\n")
    with contextlib.suppress(OSError), open(published.store.parent / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    ran = run_cli("register", str(published.folder / "rows"), "org/new", "--no-s3-upload")
    assert ran.returncode == 1
    assert re.search(f"{re.escape(str(published.store))}.*Not enough disk.*Free space", ran.stderr), (
        ran.stderr
    )
    for command in (("lock", "org/fits"), ("scan", __file__)):
        output = str(published.store.parent / "output")
        ran = run_cli(*command, "-o", output)
        assert (ran.returncode, f"{output} can't be written: No space left" in ran.stderr) == (1, True), (
            ran.stderr
        )


def test_a_download_from_the_hub_without_room_says_what_is_needed(hub: LoopbackHub, published: Desk) -> None:
    published.set(HGLOC_SOURCES="local,hub")
    filler = published.store.parent / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(published.store).free - 100_000))
    before = visible(published.store)
    ran = run_cli("download", "openai/gsm8k", "--name", "main", "--no-s3-upload")
    assert ran.returncode == 1
    assert re.search("Not enough disk space. Needed: .*|No space left on device .*bytes are free", ran.stderr)
    assert "Traceback" not in ran.stderr
    assert visible(published.store) == before


def test_wherever_the_last_block_is_used_up_nothing_is_half_visible(published: Desk) -> None:
    """The data alone fits by the numbers; what else is written does, from some number on."""
    published.set(HGLOC_SOURCES="local,s3")
    filler = published.store.parent / "filler"
    before, outcomes = visible(published.store), []
    size = (MIB // 1000) * 1000
    for extra in range(30):
        shutil.rmtree(published.store / ".hgloc" / "staging", ignore_errors=True)
        filler.unlink(missing_ok=True)
        free = shutil.disk_usage(published.store).free
        filler.write_bytes(bytes(max(0, free - size - extra * 4096)))
        try:
            hf_localize.download_dataset("org/fits", skip_s3_upload=True)
            outcomes.append(True)
        except errors.StoreError:
            outcomes.append(False)
            assert visible(published.store) == before
            continue
        assert hf_localize.verify_dataset("org/fits", deep=True)[0]["damaged"] == []
        hf_localize.remove_dataset("org/fits")
        assert visible(published.store) == before
    assert set(outcomes) == {True, False}


@contextlib.contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    """Have the system refuse to let any file of this process grow beyond *size_bytes*."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("source", ["s3", "public"])
@pytest.mark.parametrize("limit", [1, 100, 700, 5_000, 100_000, 500_000, 900_000, 1_000_000])
def test_whatever_byte_can_not_be_written_the_old_stays_and_the_next_run_goes_on(
    source: str, limit: int, desk: Desk
) -> None:
    """The numbers promise room; the system refuses all the same, as where another program fills the disk."""
    desk.publisher().open_public_places()
    hf_localize.register_dataset(noise(1_050_000), "org/x", make_public=True)
    desk.teammate()
    desk.set(HGLOC_SOURCES="local")
    hf_localize.register_dataset(noise(2_000, 9), "org/x", skip_s3_upload=True)
    before = visible(desk.store)
    desk.set(HGLOC_SOURCES=source)

    def fetch() -> None:
        current_session().resolver().localize(DatasetRef("org/x"), skip_local=True)

    with (
        no_file_larger_than(limit),
        pytest.raises(errors.StoreError, match=r"File too large .*bytes are free"),
    ):
        fetch()
    assert visible(desk.store) == before
    staged = sum(p.stat().st_size for p in (desk.store / ".hgloc/staging").rglob("*") if p.is_file())
    desk.s3.clear()
    fetch()
    moved = sum(r.response_bytes for r in desk.s3.requests)
    assert hf_localize.verify_dataset("org/x", deep=True)[0]["damaged"] == []
    assert len(hf_localize.load_local_dataset("org/x")["train"]) == 1050
    assert moved <= 1_150_000 - (staged if source == "s3" else 0) + 100_000


def test_a_store_on_a_read_only_disk_is_read_and_its_writer_told(published: Desk) -> None:
    published.set(HGLOC_SOURCES="local,s3")
    subprocess.run(["mount", "-o", "remount,ro", str(published.store.parent)], check=True)
    with hf_localize.installed():
        assert len(datasets.load_dataset("org/old", split="train")) == 200
    with pytest.raises(errors.StoreError, match="Read-only file system"):
        hf_localize.download_dataset("org/fits")
    with pytest.raises(errors.StoreError, match="Read-only file system"):
        hf_localize.remove_dataset("org/old")
    assert len(hf_localize.load_local_dataset("org/old")["train"]) == 200
