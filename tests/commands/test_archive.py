"""`export` and `import`: datasets in a tar file, checked on both sides, resumed where they were interrupted."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.cli import main
from hf_localize.errors import DatasetNotFoundError, IntegrityError
from tests.commands.json_docs import assert_documented
from tests.conftest import Desk, run_cli

VALUES = {"org/b": list("abc"), "org/ä": ["x" * 500_000]}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def stored() -> dict[str, list[str]]:
    ids = {item["dataset_id"] for item in hf_localize.list_local_datasets()}
    return {one: hf_localize.load_local_dataset(one)["train"]["text"][:] for one in ids}


@pytest.fixture
def tar(desk: Desk) -> Path:
    """Return a tar file with two datasets, at the desk of somebody with an empty store and no network."""
    desk.publisher()
    for name, values in VALUES.items():
        hf_localize.register_dataset(datasets.Dataset.from_dict({"text": values}), name)
    path = desk.folder / "datasets.tar"
    made = assert_documented("export", run("export", *VALUES, "-o", str(path), "--json").stdout)
    assert [item["dataset_id"] for item in made["datasets"]] == [*VALUES]
    desk.outsider().set(HGLOC_SOURCES="local")
    return path


def test_what_was_exported_is_imported_and_loads(tar: Path, desk: Desk) -> None:
    ran = run("import", str(tar), "--json")
    assert ran.exit_code == 0
    assert [item["dataset_id"] for item in assert_documented("import", ran.stdout)] == [*VALUES]
    assert stored() == VALUES
    assert all(item["damaged"] == [] for item in hf_localize.verify_dataset(deep=True))
    assert run("import", str(tar)).exit_code == 0, "what is there already is kept"


def test_a_tar_that_is_unpacked_into_a_store_works(tar: Path, desk: Desk) -> None:
    with tarfile.open(tar) as file:
        file.extractall(desk.store, filter="data")
    assert stored() == VALUES


def test_an_export_goes_on_where_it_was_interrupted(tar: Path, desk: Desk) -> None:
    desk.outsider()
    run("import", str(tar))
    whole, part = tar.read_bytes(), Path(f"{tar}.part")
    tar.unlink()
    for left in (whole[:100], whole[: len(whole) // 2], whole, whole + b"more", b"\0" * len(whole)):
        part.write_bytes(left)
        assert run("export", *VALUES, "-o", str(tar)).exit_code == 0
        assert (tar.read_bytes() == whole, part.exists()) == (True, False)


def test_what_is_cut_off_changed_or_something_else_is_refused(tar: Path, desk: Desk) -> None:
    whole = tar.read_bytes()
    shard = whole.rindex(b"x" * 1000)
    for bad in (whole[: len(whole) // 2], b"", b"no tar" * 1000, whole[:700]):
        tar.write_bytes(bad)
        assert run("import", str(tar)).exit_code == 6, len(bad)
    tar.write_bytes(whole[:shard] + b"y" + whole[shard + 1 :])
    ran = run("import", str(tar))
    assert ran.exit_code == 6
    assert "Error: org/ä: " in ran.stderr
    assert stored() == {"org/b": VALUES["org/b"]}
    tar.write_bytes(whole)
    assert run("import", str(tar)).exit_code == 0
    assert stored() == VALUES


def test_other_content_is_not_replaced_and_what_is_damaged_or_absent_not_exported(
    tar: Path, desk: Desk
) -> None:
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["mine"]}), "org/b")
    ran = run("import", str(tar), "--json")
    failed = {item["dataset_id"]: item["error_kind"] for item in json.loads(ran.stdout)}
    assert (ran.exit_code, failed) == (6, {"org/b": "conflict", "org/ä": None})
    assert stored() == {**VALUES, "org/b": ["mine"]}
    with pytest.raises(DatasetNotFoundError, match="hg-localize download org/none"):
        hf_localize.export_datasets("org/none", desk.folder / "b.tar")
    shard = next(desk.store.glob("org_b/**/*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="hg-localize repair"):
        hf_localize.export_datasets("org/b", desk.folder / "b.tar")
    assert not (desk.folder / "b.tar").exists()


def test_a_hostile_tar_writes_nothing_outside(tar: Path, desk: Desk) -> None:
    with tarfile.open(tar, "a") as file:
        for name in ("../evil", "/evil", "org_b/default_config/default_revision/train/link"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)
    before = {path for path in desk.folder.rglob("*") if desk.store not in path.parents}
    assert run("import", str(tar)).exit_code == 0
    after = {path for path in desk.folder.rglob("*") if desk.store not in path.parents}
    assert after - before <= {desk.store}
    assert not any(path.is_symlink() for path in desk.store.rglob("*"))


def header(kind: bytes = tarfile.REGTYPE, size: int | None = None, byte: int | None = None) -> bytes:
    """Return a header of a tar, maybe with a *size* in GNU's binary form, or a *byte* that is 1."""
    info = tarfile.TarInfo("x/.hgloc.json")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size is not None:
        block[124:136] = (0x80 << 88 | size if size >= 0 else (1 << 96) + size).to_bytes(12, "big")
    if byte is not None:
        block[byte] = 1
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))
    return bytes(block)


LIES: dict[str, Callable[[], bytes]] = {
    "a negative size, which leads back": lambda: header() + header(size=-512),
    "an extended header of 1 TB": lambda: header(tarfile.XHDTYPE, size=1 << 40),
    "a file of 2**80 bytes": lambda: header(size=1 << 80),
    "5,000 headers of one file": lambda: header(tarfile.XHDTYPE) * 5000,
    "5,000 long names of one file": lambda: header(tarfile.GNUTYPE_LONGNAME) * 5000,
    "a list of holes that is cut off": lambda: header(tarfile.GNUTYPE_SPARSE, byte=482),
}


@pytest.mark.sampled(len(LIES))
@pytest.mark.parametrize("lie", LIES)
def test_a_tar_whose_headers_lie_is_corrupt(lie: str, desk: Desk) -> None:
    path = desk.folder / "lies.tar"
    path.write_bytes(LIES[lie]())
    desk.outsider().set(HGLOC_SOURCES="local")
    ran = run_cli("import", str(path), cwd=desk.folder)  # A process that can be ended where it does not end.
    assert (ran.returncode, "is not a tar file, or is cut off" in ran.stderr) == (6, True), ran.stderr
