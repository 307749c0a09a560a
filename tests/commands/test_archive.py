"""`export` and `import`: datasets in a tar file, checked on both sides, resumed where they were interrupted."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.cli import main
from hf_localize.errors import DatasetNotFoundError, IntegrityError
from hf_localize.sources.archive import read_archive
from hf_localize.sources.session import current_session
from hf_localize.store.archive import is_document
from tests.commands.json_docs import assert_documented
from tests.conftest import ROOT, Desk, run_cli, run_python, tree
from tests.docs.pages import BIN, blocks_of
from tests.rig.hub import LoopbackHub, make_repository

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
    assert "already" not in ran.stderr
    again = run("import", str(tar))
    assert again.exit_code == 0
    assert all(f"{name} is in the local store already\n" in again.stderr for name in VALUES)


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


def flip(path: Path, at: int | None = None) -> None:
    """Change one byte of *path*: the one *at*, else one in its middle."""
    at = path.stat().st_size // 2 if at is None else at
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_what_is_damaged_in_the_store_is_replaced(tar: Path, desk: Desk) -> None:
    for damaged in ("**/*.arrow", "**/*.arrow", "**/.hgloc.json"):
        assert run("import", str(tar)).exit_code == 0
        path = next(desk.store.glob(f"org_b/{damaged}"))
        flip(path)
        for command in (["verify", "--deep"], ["repair"]):
            ran = run(*command)
            assert (ran.exit_code, "hg-localize import FILE" in ran.stderr) == (6, True), ran.stderr
        assert run("import", str(tar)).exit_code == 0
        assert run("verify", "--deep").exit_code == 0
        assert stored() == VALUES
        path.unlink()


def test_a_damaged_tar_is_told_though_all_of_it_is_stored(tar: Path, desk: Desk) -> None:
    assert run("import", str(tar)).exit_code == 0
    before = tree(desk.store)
    flip(tar, tar.read_bytes().rindex(b"x" * 1000))
    ran = run("import", str(tar))
    assert ran.exit_code == 6
    assert f"{tar} is damaged: " in ran.stderr
    assert {path: data for path, data in tree(desk.store).items() if path in before} == before


def test_a_tar_without_its_end_is_refused(tar: Path) -> None:
    """It may have been cut off where one dataset ends."""
    with tarfile.open(tar) as file:
        second = next(member.offset for member in file if "ä" in member.name)
    tar.write_bytes(tar.read_bytes()[:second])
    ran = run("import", str(tar))
    assert (ran.exit_code, "the mark of its end is missing" in ran.stderr) == (6, True), ran.stderr


def test_other_content_is_replaced_where_that_is_asked_for(tar: Path) -> None:
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["mine"]}), "org/b")
    ran = run("import", str(tar))
    assert (ran.exit_code, stored()["org/b"]) == (6, ["mine"])
    command = re.search(r"hg-localize (import .* --replace)", ran.stderr)
    assert command is not None, ran.stderr
    assert run(*shlex.split(command[1])).exit_code == 0
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


@pytest.fixture
def filled(hub: LoopbackHub, desk: Desk) -> dict[str, str]:
    """Return, by name, what a store with datasets, their files, and a model has, at its owner's desk."""
    weights = {"config.json": b"{}", "model.bin": os.urandom(30_000)}
    for branch in ("main", "old"):
        files = {**weights, "branch": branch.encode()}
        hub.add(make_repository(desk.folder / "hub", "models/team/one", branch, files))
    desk.publisher()
    desk.set(HGLOC_SOURCES="local,hub")
    hf_localize.download_dataset("openai/gsm8k", "main")
    for revision in ("main", "old"):
        download_repository("team/one", repo_type="model", revision=revision)
    for revision in ("v1", "v2"):
        rows = datasets.Dataset.from_dict({"text": [revision]})
        hf_localize.register_dataset(rows, "team/notes", revision=revision)
    return {branch: hub.commit("models/team/one", branch) for branch in ("main", "old")}


def holds() -> tuple[set[str], dict[tuple[str, str], dict[str, str]]]:
    """Return which datasets the store has, and the files of repositories, each with its sha256 if it is right."""
    session = current_session()
    local, files = session.repositories.local, {}
    for repository in local.all():
        refs = local.refs(repository)
        assert refs is not None
        for commit in refs.commits:
            snapshot = local.snapshot(repository, commit)
            assert snapshot is not None
            assert not local.problems(snapshot.files)
            files[str(repository), commit] = {file.path: file.sha256 for file in snapshot.files}
    return {str(ref) for ref in session.store.refs()}, files


def read_offline(desk: Desk) -> str:
    """Return what an unchanged program, which has nothing but the store, reads of all of it."""
    code = (
        "from datasets import load_dataset; from huggingface_hub import hf_hub_download as get\n"
        "print(load_dataset('openai/gsm8k', 'main').num_rows, load_dataset('team/notes', revision='v1'))\n"
        "print(open(get('openai/gsm8k', 'README.md', repo_type='dataset')).read()[:10])\n"
        "print([open(get('team/one', 'branch', revision=r)).read() for r in ('main', 'old')])"
    )
    empty = str(desk.folder / f"home-{desk.store.name}")
    ran = run_python(
        code, cwd=desk.folder, HGLOC_AUTO_INSTALL="1", HGLOC_OFFLINE="1", HF_HOME=empty, HF_HUB_CACHE=empty
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_whole_store_is_carried(filled: dict[str, str], hub: LoopbackHub, desk: Desk) -> None:
    tar, everything, mine = desk.folder / "all.tar", holds(), desk.store
    made = assert_documented("export", run("export", "--all", "-o", str(tar), "--json").stdout)
    assert {item["dataset_id"] for item in made["datasets"]} == {"openai/gsm8k", "team/notes"}
    assert {item["revision"] for item in made["repositories"] if item["repo_type"] == "model"} == {
        *filled.values()
    }
    said, whole = read_offline(desk), tar.read_bytes()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["new"]}), "team/notes", revision="v2")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["v2"]}), "team/notes", revision="v2")
    assert any((mine / ".hgloc" / "set-aside").iterdir())
    store_tar = desk.folder / "store.tar"
    with tarfile.open(store_tar, "w") as file:  # What others do instead.
        file.add(mine, "./carried")
    hub.stop()
    for carried in (tar, store_tar):
        desk.outsider()
        ran = run("import", str(carried), "--json")
        assert (ran.exit_code, ran.stderr) == (0, "6 imports done.\n")
        assert len(assert_documented("import", ran.stdout)) == 3 + len(everything[1])
        assert holds() == everything
        assert read_offline(desk) == said
        again = run("import", str(carried))
        assert again.exit_code == 0
        stated = len(again.stdout.splitlines()), again.stderr.count("in the local store already")
        assert stated[0] == stated[1] > 2, "files of repositories too"
        assert run("export", "--all", "-o", str(desk.folder / "again.tar")).exit_code == 0
        if carried is tar:
            assert (desk.folder / "again.tar").read_bytes() == whole
    desk.outsider()
    with tarfile.open(tar) as file:
        file.extractall(desk.store, filter="data")
    assert holds() == everything
    assert read_offline(desk) == said


def test_an_interrupted_export_of_a_store_goes_on(filled: dict[str, str], desk: Desk) -> None:
    tar, part = desk.folder / "all.tar", desk.folder / "all.tar.part"
    assert run("export", "--all", "-o", str(tar)).exit_code == 0
    whole = tar.read_bytes()
    for left in (whole[: -len(whole) // 3], whole[:-2000], whole + b"more"):
        part.write_bytes(left)
        assert run("export", "--all", "-o", str(tar)).exit_code == 0
        assert tar.read_bytes() == whole


def test_what_a_list_or_ids_name_is_carried(filled: dict[str, str], hub: LoopbackHub, desk: Desk) -> None:
    everything, tar, needed = holds(), str(desk.folder / "some.tar"), desk.folder / "needed.txt"
    model, files = (
        ("model team/one", filled["old"]),
        {c: f for c, f in everything[1].items() if "gsm8k" in c[0]},
    )
    needed.write_text("openai/gsm8k main\nteam/notes - v1\nteam/one old --repo-type model\n")
    model_files = {model: everything[1][model]}
    cases = [
        (["--from-file", str(needed)], {"openai/gsm8k [main]", "team/notes@v1"}, {**files, **model_files}),
        (["openai/gsm8k", "team/notes"], everything[0], files),
        (["team/notes", "--revision", "v2"], {"team/notes@v2"}, {}),
        (["team/one", "--repo-type", "model", "--revision", "old"], set(), model_files),
        (["openai/gsm8k", "--files-only"], set(), files),
    ]
    mine = str(desk.store)
    for arguments, refs, repositories in cases:
        desk.set(HGLOC_DATASETS_STORE_PATH=mine)
        ran = run("export", *arguments, "-o", tar)
        assert ran.exit_code == 0, ran.stderr
        desk.outsider().set(HGLOC_SOURCES="local")
        assert run("import", tar).exit_code == 0
        assert holds() == (refs, repositories), arguments


def test_what_can_not_be_exported_is_told(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["a"]}), "org/b")
    for arguments, status, said in (
        ([], 2, "--all"),
        (["--all", "org/b"], 2, "--all"),
        (["--all", "--name", "x"], 2, "--name"),
        (["org/b", "--revision", "v9"], 3, "(it has org/b)"),
        (["org/b", "--repo-type", "model"], 3, "hg-localize download org/b --repo-type model"),
        (["org/b", "--files-only"], 3, "hg-localize download org/b --files-only"),
        (["org/b@v1"], 2, "org/b --revision v1"),
        (["org/b", "-o", "none/x.tar"], 1, "none/x.tar can't be written: No such file or directory"),
    ):
        ran = run("export", "-o", "x.tar", *arguments)
        assert (ran.exit_code, said in ran.stderr) == (status, True), ran.stderr


def test_damaged_files_of_repositories_are_replaced(
    filled: dict[str, str], hub: LoopbackHub, desk: Desk
) -> None:
    tar, everything = desk.folder / "all.tar", holds()
    assert run("export", "--all", "-o", str(tar)).exit_code == 0
    hub.stop()
    desk.outsider()
    assert run("import", str(tar)).exit_code == 0
    sha256 = everything[1]["model team/one", filled["main"]]["model.bin"]
    blob = desk.store / ".hgloc" / "blobs" / sha256[:2] / sha256
    assert f"in snapshots: {len(everything[1])}" in run("verify", "--deep").stderr
    flip(blob)
    assert "model.bin" in run("verify", "--deep").stderr
    assert run("export", "--all", "-o", str(desk.folder / "b.tar")).exit_code == 6
    assert run("import", str(tar)).exit_code == 0
    assert holds() == everything
    at = tar.read_bytes().index(blob.read_bytes())
    flip(tar, at + 7)
    ran = run("import", str(tar))
    assert (ran.exit_code, f"{tar} is damaged" in ran.stderr) == (6, True), ran.stderr
    blob.unlink()
    assert run("import", str(tar)).exit_code == 6
    assert not blob.exists()


def test_what_repair_can_not_replace_is_still_reported(
    filled: dict[str, str], hub: LoopbackHub, desk: Desk
) -> None:
    tar, everything = desk.folder / "all.tar", holds()
    assert run("export", "--all", "-o", str(tar)).exit_code == 0
    hub.stop()
    desk.outsider().set(HGLOC_OFFLINE="1")
    assert run("import", str(tar)).exit_code == 0
    sha256 = everything[1]["model team/one", filled["main"]]["model.bin"]
    damaged = [desk.store / ".hgloc" / "blobs" / sha256[:2] / sha256, *desk.store.glob("*_*/**/*.arrow")]
    for path in damaged:
        flip(path)
    ran = run("repair")
    assert ran.exit_code == 6
    for name in ("openai/gsm8k [main] in ", "team/notes@v1 in ", "team/notes@v2 in ", ": model.bin: "):
        assert name in ran.stderr, "one error names all of them"
    ran = run("verify", "--deep")
    assert (ran.exit_code, f"damaged: team/one - {filled['main']}: model.bin " in ran.stderr) == (6, True), (
        ran
    )
    assert "To repair the local store, import a tar file" in ran.stderr
    assert run("import", str(tar)).exit_code == 0
    assert holds() == everything


def flips_outside_of_data(tar: Path) -> list[int]:
    """Return where to flip a byte of *tar*: in all headers, their extensions, JSON files, and the end."""
    whole, at, places = tar.read_bytes(), 0, list[int]()
    while whole[at : at + 512].strip(b"\0"):
        info = tarfile.TarInfo.frombuf(whole[at : at + 512], "utf-8", "surrogateescape")
        places += [at, at + 8, at + 60, at + 124, at + 130, at + 148, at + 156, at + 345]
        at += 512
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE) or info.name.endswith("refs.json"):
            places += range(at, at + info.size)
        elif is_document(info.name):
            places += range(at, at + info.size, 997)
        at += -(-info.size // 512) * 512
    return [*places, at, at + 600, len(whole) - 1]


def contents(tar: Path) -> object:
    """Return all that a tar file tells of what is in it, where it is, and which sha256 it has."""
    found = read_archive(tar, 2)
    return (
        [(entry.manifest, entry.files.places) for entry in found.entries],
        [(one.snapshot, one.refs, one.files.places) for one in found.snapshots],
    )


def test_no_flipped_byte_of_a_tar_loses_anything_in_silence(
    filled: dict[str, str], hub: LoopbackHub, desk: Desk
) -> None:
    """Headers and JSON files tell what is in the tar: without one of them, its files would seem not to be there."""
    long = "long/" + "n" * 90
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["ä"]}), long, revision="ä" * 40)
    tar, everything = desk.folder / "all.tar", holds()
    assert run("export", "--all", "-o", str(tar)).exit_code == 0
    hub.stop()
    desk.outsider().set(HGLOC_SOURCES="local")
    assert run("import", str(tar)).exit_code == 0
    assert holds() == everything
    full, accepted, right_contents = desk.store, 0, contents(tar)
    blob = next(path for path in full.glob(".hgloc/blobs/*/*") if path.is_file())
    right = blob.read_bytes()
    for at in flips_outside_of_data(tar):
        flip(tar, at)
        said = ""
        try:
            found = contents(tar)
        except IntegrityError as exc:
            said = str(exc)
        if said:
            assert said.endswith("Copy the tar file again"), at
            assert not re.search(r"\w+Error\b", said), at
        else:
            accepted += 1
            assert found == right_contents, at
            if accepted < 4:
                desk.outsider().set(HGLOC_SOURCES="local")
                ran = run("import", str(tar))
                assert ran.exit_code == 0, (at, ran.stderr)
                assert holds() == everything, at
        flip(tar, at)
    assert accepted < 50, "a flip in padding, or in the checksum's own name"
    with tarfile.open(tar) as file:
        last = list(file)[-1].offset
    flip(tar, last)
    flip(blob)
    for store in (full, desk.folder / "fresh"):
        desk.set(HGLOC_DATASETS_STORE_PATH=str(store))
        ran = run("import", str(tar))
        assert (ran.exit_code, "Copy the tar file again" in ran.stderr) == (6, True), ran.stderr
    assert blob.read_bytes() != right


def test_a_damaged_tar_of_a_whole_store_is_refused(filled: dict[str, str], desk: Desk) -> None:
    tar, count = desk.folder / "store.tar", len(holds()[1])
    with tarfile.open(tar, "w") as file:
        file.add(desk.store, "./carried")
    with tarfile.open(tar) as file:
        members = [member for member in file if member.isreg()]
    desk.outsider().set(HGLOC_SOURCES="local")
    damaged = [member.offset for member in members]
    damaged += [m.offset_data + 20 for m in members if is_document(m.name) and "refs.json" not in m.name]
    for at in damaged:
        flip(tar, at)
        ran = run("import", str(tar))
        assert (ran.exit_code, "Copy the tar file again" in ran.stderr) == (6, True), (at, ran.stderr)
        assert not re.search(r"\w+Error\b", ran.stderr), at
        flip(tar, at)
    assert run("import", str(tar)).exit_code == 0
    assert len(holds()[1]) == count


def test_what_no_manifest_names_is_told(tar: Path, desk: Desk) -> None:
    with tarfile.open(tar) as file:
        file.extractall(desk.folder / "carried", filter="data")
    with tarfile.open(tar, "w") as file:
        file.add(desk.folder / "carried", ".")
        file.addfile(tarfile.TarInfo("own/default/main/train/data.arrow"))
    ran = run("import", str(tar))
    assert (
        ran.exit_code,
        "dataset or repository: 1 file of" in ran.stderr,
        "unpack the tar file" in ran.stderr,
    ) == (0, True, True)


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
    assert (ran.returncode, "is not a tar file, or is damaged" in ran.stderr) == (6, True), ran.stderr


def test_replaced_content_is_restored_as_the_page_says(desk: Desk) -> None:
    page = ROOT / "docs" / "guides" / "troubleshooting.md"
    (block,) = [block for block in blocks_of(page) if "set-aside" in block.text]
    desk.outsider()
    dataset_id = "openai/gsm8k"
    for text in ("old", "new"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"text": [text]}), dataset_id, revision="v1")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"text": ["mine"]}), "org/other")
    code = block.text.replace("~/.cache/huggingface/datasets_store", str(desk.store))
    shell = {"shell": True, "env": {**os.environ, "PATH": os.pathsep.join((BIN, os.environ["PATH"]))}}
    first, _, rest = code.partition("\ntar ")
    found = subprocess.run(first, **shell, capture_output=True, text=True, check=True).stdout
    folder = Path(found.strip()).parent.name
    rest = f"{code.splitlines()[0]}\ntar {rest}".replace("FOLDER", folder)
    subprocess.run(rest, **shell, check=True)
    assert hf_localize.load_local_dataset(dataset_id, revision="v1")["train"]["text"][:] == ["old"]
    assert run("verify", "--deep").exit_code == 0


def test_a_compressed_tar_file_is_called_so(tar: Path) -> None:
    packed = tar.with_suffix(".tar.gz")
    packed.write_bytes(gzip.compress(tar.read_bytes()))
    ran = run("import", str(packed))
    assert (ran.exit_code, f"{packed} is compressed" in ran.stderr, stored()) == (6, True, {}), ran.stderr
