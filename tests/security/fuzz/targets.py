"""Each parser of what others wrote, as a function of bytes that only hf_localize's own errors may leave.

What a parser lets pass must do in all that is done with it afterwards.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from hf_localize.catalog.cards import read_card
from hf_localize.catalog.detail import detail
from hf_localize.catalog.frame import About
from hf_localize.catalog.gathering import Listing
from hf_localize.catalog.overview import overview, summary_of
from hf_localize.catalog.peeking import first_rows
from hf_localize.errors import HfLocalizeError, IntegrityError, InvalidRefError
from hf_localize.format import save_to_disk
from hf_localize.format.arrow import seek
from hf_localize.format.arrow.seek import packed
from hf_localize.format.features import missing_types, portable, with_large_list_item
from hf_localize.format.files import check_paths
from hf_localize.format.index import IndexEntry, enter, leave, read_catalog, read_index_entry
from hf_localize.format.lockfile import Lock, locked, parse_lock
from hf_localize.format.manifest import FileRecord, Manifest, Shard, Split
from hf_localize.format.manifest_json import manifest_bytes, manifest_document, read_manifest, ref_at_head
from hf_localize.format.public_records import read_records, usable_records
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef, ref_of_folder, ref_of_index_key, safe_part
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    Snapshot,
    merge_refs,
    read_refs,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.format.sealed_json import is_as_written, parse_json
from hf_localize.format.zip import layout, reader
from hf_localize.s3 import changes
from hf_localize.store.aliases import read_pointer

REF = DatasetRef("org/x")
MODEL, COMMIT = Repository("model", "team/bert"), "a" * 40
ABOUT = About(title="x", made="2026-01-01", is_public=True)
ASKED = (REF, DatasetRef("ORG/X", "c", "main"), DatasetRef("x", None, "0123abc"))


def use(manifest: Manifest) -> None:
    """Do with *manifest* what other modules do."""
    assert read_manifest(manifest_bytes(manifest), "again") == in_order(manifest)
    assert len(manifest.digest) == 64
    for ref in (*manifest.equivalents(), manifest.ref):
        inside(ref)
    for ref in ASKED:
        manifest.answers(ref)
        manifest.tells_configs(ref)
    assert manifest.size_bytes >= 0
    assert manifest.shard_paths() <= {file.path for file in manifest.files}
    missing_types(portable(manifest.features), frozenset())
    with_large_list_item(manifest.features, "dtype")
    for file in manifest.files:
        within(file.path)
    document: dict[str, Any] = {}
    assert enter(document, manifest)
    read_catalog(json.dumps(document).encode(), "catalog")
    assert leave(document, manifest.ref)


def in_order(manifest: Manifest) -> Manifest:
    """Return *manifest* with its files in the order in which they are written."""
    return replace(manifest, files=tuple(sorted(manifest.files, key=lambda file: file.path)))


def inside(ref: DatasetRef) -> None:
    """Check that all places that *ref* may have are inside a store and a bucket's prefix."""
    for folder in ref.folders:
        assert len(folder.split("/")) == 3
        within(folder)
        ref_of_folder(folder)
    for key in (ref.index_key, ref.alias_key, ref.zip_key):
        within(key)
    again = ref_of_index_key(ref.index_key)
    assert again is not None
    assert again.index_key == ref.index_key


def within(path: str) -> None:
    """Check that *path* leads to no place outside the folder to which it is relative."""
    assert not PurePosixPath(path).is_absolute()
    assert os.path.normpath(f"/base/{path}") == f"/base/{path}"
    assert "\\" not in path
    assert path.isprintable()
    assert max(len(part.encode()) for part in path.split("/")) <= 3 * 255


def manifest(data: bytes) -> None:
    found = read_manifest(data, "m")
    is_as_written(data, manifest_document(found))
    use(found)
    listing = Listing(found.ref, found)
    assert detail(ABOUT, listing, [(found.ref, "x.html")]).count(b"<script") == 1
    assert overview(ABOUT, [summary_of(listing, "x.html")]).count(b"<script") == 1


def head(data: bytes) -> None:
    if (ref := ref_at_head(data)) is not None:
        inside(ref)


def placed(data: bytes) -> None:
    found = read_index_entry(data, "p")
    use(found.manifest)
    assert read_index_entry(found.to_bytes(), "again") == replace(found, manifest=in_order(found.manifest))
    own = tuple(f"{folder}/" for folder in found.manifest.ref.folders)
    for key in found.all_keys():
        within(key)
        assert key.startswith(own) or key.startswith(f"{found.manifest.ref.folders[-1]}@")
    newer = replace(found.manifest, files=(FileRecord("new", 1, "0" * 64),), splits=())
    read_index_entry(found.replaced_by(newer).to_bytes(), "newer")


def catalog(data: bytes) -> None:
    for listed in read_catalog(data, "c"):
        inside(listed.ref)
        for ref in ASKED:
            listed.answers(ref)


def records(data: bytes) -> None:
    for record in usable_records(read_records(data, "r")):
        inside(record.ref)
        within(record.zip_key)
        assert record.zip_key.startswith("public_datasets_zip/")
        for ref in ASKED:
            record.answers(ref)


def pointer(data: bytes) -> None:
    inside(read_pointer(data, "p"))


def lock(data: bytes) -> None:
    found = parse_lock(data, "l")
    assert parse_lock(found.to_bytes(), "again").datasets == found.datasets
    for item in found.datasets:
        inside(item.ref)
        assert item.digest or item.commit
        for ref in ASKED:
            item.answers(ref)


def saved(data: bytes) -> None:
    """A folder of `save_to_disk`: the bytes are its three JSON files in one JSON list."""
    documents = parse_json(data, "s")
    if isinstance(documents, list):
        files = dict(
            zip(
                (save_to_disk.DICT_FILE, save_to_disk.STATE_FILE, save_to_disk.INFO_FILE),
                map(_dumped, documents),
                strict=False,
            )
        )
        found = save_to_disk.describe(lambda path: files.get(path.rsplit("/", 1)[-1]), REF, "s")
        for file in found.files:
            within(file.path)


def _dumped(document: Any) -> bytes:
    return json.dumps(document).encode()


def zipped(data: bytes) -> None:
    tail = reader.TailedFile(len(data), max(1, len(data) // 2), lambda start, stop: data[start:stop])
    contents = reader.read_contents(tail, "z")
    if contents is None or contents.members is None:
        return
    use(contents.manifest)
    for file in contents.manifest.files:
        member = contents.members[file.path]
        opened = reader.open_member(
            member, lambda start, stop: io.BytesIO(data[start:stop]), 0, member.size_bytes
        )  # type: ignore[arg-type,return-value]
        if member.size_bytes < 1 << 20:
            assert len(opened.read()) <= member.size_bytes


def extra(data: bytes) -> None:
    """The extra field of a member in a ZIP's directory, after the member's sizes."""
    info = zipfile.ZipInfo("a")
    info.file_size, info.compress_size = (int.from_bytes(data[at : at + 5], "little") for at in (0, 5))
    info.compress_type = zipfile.ZIP_DEFLATED if data[10:11] > b"\x7f" else zipfile.ZIP_STORED
    info.extra, info.CRC, info.header_offset = data[11:], 0, 0
    try:
        member = layout.member_of(info)
    except ValueError as exc:
        raise IntegrityError(str(exc)) from exc  # As its only caller does.
    if member is not None:
        assert member.end > member.data_offset
        if member.block_bytes:
            assert len(member.blocks(0, member.size_bytes)) == len(member.block_starts) - 1


def names(data: bytes) -> None:
    """An id, a config and a revision, one a line."""
    parts = data.decode("utf-8", "surrogatepass").split("\n")
    ref = DatasetRef(parts[0], *(part or None for part in parts[1:3]))
    inside(ref)
    for part in parts[:3]:
        assert "/" not in safe_part(part)


def paths(data: bytes) -> None:
    for path in check_paths(data.decode("utf-8", "surrogatepass").split("\n"), "p"):
        within(path)


def index_key(data: bytes) -> None:
    ref = ref_of_index_key(data.decode("utf-8", "replace"))
    if ref is not None:
        inside(ref)


def card(data: bytes) -> None:
    """The README.md of a dataset, as HTML that can do nothing."""
    found = read_card(data)
    tags = set(re.findall(r"<([^\s>/]+)", found.text))
    assert not tags & {
        "script",
        "style",
        "img",
        "iframe",
        "svg",
        "object",
        "form",
        "input",
        "html",
        "b",
        "div",
    }
    assert not re.search(r"""(?:href|src)="(?!https?:|mailto:|#card-)""", found.text, re.IGNORECASE)


def rows(data: bytes) -> None:
    """The first rows of an Arrow stream file."""
    for row in first_rows(lambda: io.BytesIO(data), len(data), 3, 100_000).rows:
        assert len(row) <= 60


def shard(data: bytes) -> None:
    """An Arrow stream file, by its headers."""
    rows = seek.check_shard(io.BytesIO(data))
    assert rows == seek.check_shard(io.BytesIO(data), rows)


def change(data: bytes) -> None:
    """A change of shared JSON that another writer announced."""
    made = changes.read(data, "c")
    for document in ({}, {"entries": 5}, {"entries": {"a": 1}}):
        changes.apply(document, [made])


def decoded(data: bytes) -> None:
    """A manifest as `datasets` takes it: what passes makes a builder."""
    from hf_localize.hf.info import dataset_info

    manifest = read_manifest(data, "m")
    info = dataset_info(manifest, manifest.ref)
    assert set(info.splits) == {split.name for split in manifest.splits}


def snapshot(data: bytes) -> None:
    found = read_snapshot(data, "fuzz", MODEL, COMMIT)
    assert set(read_snapshot(snapshot_bytes(found), "fuzz", MODEL, COMMIT).files) == set(found.files)
    for file in found.files:
        assert file.size_bytes >= 0
        assert re.fullmatch("blobs/[0-9a-f]{2}/[0-9a-f]{64}", file.blob_path)
        assert not {"", ".", ".."} & set(file.path.split("/"))


def refs(data: bytes) -> None:
    found = read_refs(data, "fuzz", MODEL)
    document: dict[str, Any] = {}
    merge_refs(document, found, "fuzz")
    assert found.merged(found) == found
    assert found.resolve(None) == found.branches.get("main")


TARGETS: tuple[Callable[[bytes], None], ...] = (
    *(manifest, head, placed, catalog, records, pointer, lock, saved, zipped, extra, names, paths, index_key),
    *(card, rows, shard, change, decoded, snapshot, refs),
)


def run(target: Callable[[bytes], None], data: bytes) -> bool:
    """Run *target*; False: it has refused *data*. Anything but a named error is a finding."""
    try:
        target(data)
    except HfLocalizeError:
        return False
    except UnicodeDecodeError:
        if target not in (names, paths):
            raise
        return False
    return True


@functools.lru_cache(maxsize=1)
def seeds() -> dict[str, list[bytes]]:
    """Return inputs that are right, by the target's name."""
    from hf_localize.format.zip.writer import PackedZip
    from tests.security.fuzz.seeds import entry_folder

    shard = Shard("train/data-00000-of-00001.arrow", 3, packed(((1, 100), (2, 200))))
    folder, files = entry_folder()
    good = Manifest(
        dataset_id="org/x",
        revision="main",
        canonical_id="Org/X",
        resolved_config="c",
        is_default_config=True,
        commit="0123abc" + "0" * 33,
        repository_configs=("c", "d"),
        features={"a": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"}},
        info={"description": "x"},
        splits=(Split("train", 3, 300, (shard,), (1, 2)),),
        files=files,
    )
    index: dict[str, Any] = {}
    enter(index, good)
    mark = IndexEntry(good, good.ref.folders[0], {files[0].path: f"{good.ref.folders[-1]}@1-{'a' * 8}/x"}, 1)
    record = {"dataset_id": "org/x", "config_name": None, "revision": "main", "s3_zip_key": good.ref.zip_key}
    record |= {"size_bytes": 100, "digest": good.digest, "tail_bytes": 10, "sha256": "0" * 64}
    state = {"_data_files": [{"filename": "data.arrow"}], "_split": "train"}
    whole = b"".join(map(bytes, PackedZip(folder, good).pieces()))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in files:
            opened.write(folder / file.path, file.path)
        opened.writestr(MANIFEST_NAME, manifest_bytes(good))
    held: dict[str, Any] = {}
    merge_refs(held, RepositoryRefs(MODEL, {"main": COMMIT}, {"v1": COMMIT}, {}, (COMMIT,), "2026"), "refs")
    return {
        "manifest": [manifest_bytes(good), json.dumps(manifest_document(good)).encode()],
        "head": [manifest_bytes(good)],
        "placed": [mark.to_bytes(), json.dumps(mark.document()).encode()],
        "catalog": [json.dumps(index).encode()],
        "records": [json.dumps({"k": record}).encode()],
        "lock": [Lock((locked(good.ref, good),)).to_bytes()],
        "pointer": [b'{"dataset_id": "a", "config_name": null, "revision": "b"}'],
        "saved": [json.dumps([{"splits": ["train"]}, state, {"features": good.features}]).encode()],
        "zipped": [whole, other.getvalue()],
        "extra": [bytes(11) + b"HL\4\0" + bytes(4)],
        "names": [b"org/x\nc d\nrefs/pr/1"],
        "paths": [b"a/b\nc", "é/ü".encode()],
        "card": [b"---\nlicense: mit\n---\n# A\n\n[b](#a) <b>c</b> ![d](https://e)\n\n| f |\n|---|\n| g |\n"],
        "rows": [_stream()],
        "shard": [_stream()],
        "change": [b'[[["a"], [1]], [["entries", "b"], []]]'],
        "decoded": [manifest_bytes(good), json.dumps(manifest_document(good)).encode()],
        "snapshot": [snapshot_bytes(Snapshot(MODEL, COMMIT, (RepositoryFile("a/b", 1, "0" * 64, COMMIT),)))],
        "refs": [json.dumps(held).encode()],
        "index_key": [good.ref.index_key.encode()],
    }


def _stream() -> bytes:
    """Return a small Arrow stream file."""
    import pyarrow as pa

    table = pa.table(
        {"a": [1, None, 3], "b": [["x"], [], ["y", "zz"]], "c": [{"bytes": b"\1\2", "path": "p"}] * 3}
    )
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table)
    return made.getvalue()


__all__ = ["TARGETS", "InvalidRefError", "run", "seeds"]
