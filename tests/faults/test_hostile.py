"""Hostile input: refused with a named error, and nothing is written, run or asked of anybody else."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format.index import read_index_entry
from hf_localize.format.manifest import FileRecord, Manifest
from hf_localize.format.manifest_json import manifest_bytes, read_manifest
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.zip import reader
from hf_localize.format.zip.writer import PackedZip
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_python, tree
from tests.rig.s3_proxy import RecordingProxy, Rule, Status

NAME = "org/x"
REF = DatasetRef(NAME)
ZIP_KEY = "public_datasets_zip/org_x---default_config---default_revision.zip"
MARK = "executed"
#: What every source raises of what it has: a subclass of these.
NAMED = (errors.IntegrityError, errors.AccessDeniedError, errors.UnreachableError)


def public_files(desk: Desk) -> dict[str, bytes]:
    """Return all files of the test's folder, but locks, and caches of `datasets`."""
    return {
        path: data
        for path, data in tree(desk.folder).items()
        if "/.hgloc/locks/" not in f"/{path}" and not path.startswith("cache-")
    }


def refuse(desk: Desk, *, within_mib: int | None = None) -> Exception:
    """Load the dataset, which must be refused by a named error and leave no trace; return the error."""
    before = public_files(desk)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(errors.DatasetNotFoundError) as caught:
        hf_localize.load_local_dataset(NAME)
    (answer,) = caught.value.answers
    assert isinstance(answer.error, NAMED) or "not among the records" in answer.reason, answer
    assert public_files(desk) == before
    assert hf_localize.list_local_datasets() == []
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) >> 10
    assert within_mib is None or grown < within_mib, f"{grown} MiB more"
    return answer.error or caught.value


# --- ZIPs ---


def put_public(desk: Desk, key: str, body: bytes | str) -> None:
    extra: dict[str, Any] = {"ACL": "public-read"} if desk.server.supports_acl else {}
    desk.client().put_object(Bucket=desk.bucket, Key=key, Body=body, **extra)


def share(desk: Desk, zipped: bytes, **fields: object) -> None:
    """Share *zipped* as a publisher who means ill."""
    record = {"dataset_id": NAME, "config_name": None, "revision": None, "s3_zip_key": ZIP_KEY, **fields}
    put_public(desk, ZIP_KEY, zipped)
    put_public(
        desk, "public_datasets.json", json.dumps({"org/x---default_config---default_revision": record})
    )
    desk.outsider().set(HGLOC_SOURCES="public")


def packed(
    *members: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644, manifest: bytes | None = None
) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(info, data)
        if manifest is not None:
            opened.writestr(MANIFEST_NAME, manifest)
    return sink.getvalue()


def packed_by(method: int, name: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as opened:
        opened.writestr(name, b"some words " * 50)
        at = opened.getinfo(name).header_offset + 30 + len(name)
    data = bytearray(sink.getvalue())
    data[at + 12 : at + 30] = bytes(18)
    return bytes(data)


def raw_zip(entries: list[tuple[bytes, int, int, int]], data: bytes = b"") -> bytes:
    """Return a ZIP of a directory as wished: (name, offset, compressed and real size) of each member."""
    directory = b"".join(
        struct.pack(
            *("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, packed_size & 0xFFFFFFFF, size & 0xFFFFFFFF),
            *(len(name), 0, 0, 0, 0, (stat.S_IFREG | 0o644) << 16, offset),
        )
        + name
        for name, offset, packed_size, size in entries
    )
    few = min(len(entries), 0xFFFF)
    return data + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, len(directory), len(data), 0)


def local_entry(name: bytes, data: bytes, crc: int, size: int) -> bytes:
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(data), size, len(name), 0)
    return head + name + data


def deflated(size: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(deflater.compress(bytes(1 << 20)) for _ in range(size >> 20)) + deflater.flush()


def saved() -> dict[str, bytes]:
    """Return the files of a dataset as `save_to_disk` writes it."""
    state = {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "x", "_split": "train"}
    return {"state.json": json.dumps(state).encode(), "dataset_info.json": b"{}", "data.arrow": b"x"}


def wrong_crc() -> bytes:
    data = bytearray(packed(*saved().items()))
    at = data.rindex(b"data.arrow") - 46 + 16
    data[at] ^= 0xFF
    return bytes(data)


def overlapping() -> bytes:
    """Return 10 GB from 10 KB: each of 1,000 members is the same 10 MB."""
    kernel = deflated(10 << 20)
    data = local_entry(b"a0", kernel, 0, 10 << 20)
    return raw_zip([(b"a%d" % n, 0, len(kernel), 10 << 20) for n in range(1000)], data)


def liar() -> bytes:
    """Return a ZIP that says that its 10 KB are 10 GB, less one for 32 bits."""
    kernel = deflated(8 << 20)
    return raw_zip([(b"a", 0, len(kernel), 0xFFFFFFFE)], local_entry(b"a", kernel, 0, 0xFFFFFFFE))


def a_million_members() -> bytes:
    entry = local_entry(b"0", b"\x03\x00", 0, 0)
    return raw_zip([(b"%06x" % n, 0, 2, 0) for n in range(1_000_000)], entry)


def manifest_of(files: dict[str, bytes], **changes: Any) -> bytes:
    import hashlib

    records = tuple(FileRecord(n, len(d), hashlib.sha256(d).hexdigest()) for n, d in files.items())
    return manifest_bytes(replace(Manifest(dataset_id=NAME, files=records), **changes))


GOOD = {"a.csv": b"a\n1\n"}
ZIPS: dict[str, Callable[[], bytes]] = {
    "dot dot": lambda: packed(("../../escaped", b"x")),
    "dot dot inside": lambda: packed(("a/../../escaped", b"x")),
    "absolute": lambda: packed((f"/tmp/escaped-{os.getpid()}", b"x")),
    "drive": lambda: packed(("C:/escaped", b"x")),
    "backslash": lambda: packed(("..\\escaped", b"x")),
    "control character": lambda: packed(("a\x1bb", b"x")),
    "line break": lambda: packed(("a\nb", b"x")),
    "symbolic link": lambda: packed(("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "device": lambda: packed(("device", b""), mode=stat.S_IFBLK | 0o666),
    "pipe": lambda: packed(("pipe", b""), mode=stat.S_IFIFO | 0o666),
    "duplicate": lambda: raw_zip([(b"a", 0, 2, 0), (b"a", 40, 2, 0)], bytes(80)),
    "two manifests": lambda: packed(
        *GOOD.items(), (MANIFEST_NAME, manifest_of(GOOD)), manifest=manifest_of(GOOD)
    ),
    "letter case": lambda: packed(("a", b"x"), ("A", b"y")),
    "file and folder": lambda: packed(("a", b"x"), ("a/b", b"y")),
    "manifest in another letter case": lambda: packed((".HGLOC.json", b"{}")),
    "10 GB of 10 KB, overlapping": overlapping,
    "10 GB of 10 KB, by its word": liar,
    "1,000,000 members": a_million_members,
    "wrong CRC": wrong_crc,
    "a name of 5,000 characters": lambda: packed(("n" * 5000, b"x")),
    "a part of 256 characters": lambda: packed(("n" * 256, b"x")),
    "a path of 5,000 characters": lambda: packed(("/".join(["n" * 200] * 25), b"x")),
    "a member that the manifest lacks": lambda: packed(
        *GOOD.items(), ("more", b"x"), manifest=manifest_of(GOOD)
    ),
    "a member that is not there": lambda: packed(manifest=manifest_of(GOOD)),
    "other content than the manifest's": lambda: packed(("a.csv", b"a\n2\n"), manifest=manifest_of(GOOD)),
    "a manifest of another dataset": lambda: packed(
        *GOOD.items(), manifest=manifest_of(GOOD, dataset_id="org/y")
    ),
    "a size that no disk has": lambda: packed(
        *GOOD.items(),
        manifest=manifest_bytes(Manifest(dataset_id=NAME, files=(FileRecord("a.csv", 1 << 60, "0" * 64),))),
    ),
    "a manifest that is none": lambda: packed(*GOOD.items(), manifest=b"[" * 100_000),
    "a manifest of 100 MB": lambda: packed(*GOOD.items(), manifest=b" " * (100 << 20)),
    "a manifest in a damaged bzip2 stream": lambda: packed_by(zipfile.ZIP_BZIP2, MANIFEST_NAME),
    "a file in a damaged bzip2 stream": lambda: packed_by(zipfile.ZIP_BZIP2, "a.csv"),
    "a file in a damaged lzma stream": lambda: packed_by(zipfile.ZIP_LZMA, "a.csv"),
    "no name": lambda: raw_zip([(b"", 0, 2, 0)], local_entry(b"", b"\x03\x00", 0, 0)),
    "not a ZIP": lambda: b"x" * 10_000,
    "nothing": lambda: b"",
    "half a ZIP": lambda: packed(("a", os.urandom(10_000)))[5_000:],
    "a ZIP without its directory": lambda: packed(("a", os.urandom(10_000)))[:5_000],
    "an unknown method": lambda: packed(("a", b"x")).replace(
        b"\x08\x00\x00\x00\x21", b"\x63\x00\x00\x00\x21"
    ),
    "a directory that lies elsewhere": lambda: raw_zip([(b"a", 1 << 31, 2, 2)], b"x"),
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("form", ["of the original tool", "of ours"])
@pytest.mark.parametrize("kind", ZIPS)
def test_a_hostile_zip_is_refused_and_leaves_no_trace(kind: str, form: str, desk: Desk) -> None:
    zipped = ZIPS[kind]()
    desk.publisher().open_public_places()
    fields: dict[str, object] = {}
    if form == "of ours":
        digest = read_manifest(manifest_of(GOOD), "m").digest
        fields = {"size_bytes": len(zipped), "digest": digest, "tail_bytes": max(1, len(zipped))}
    share(desk, zipped, **fields)
    error = refuse(desk, within_mib=1500)
    assert isinstance(error, errors.HfLocalizeError)


@pytest.mark.parametrize("size", [1 << 40, 1 << 60])
def test_a_size_of_a_zip_that_no_disk_has_is_damage(size: int, desk: Desk) -> None:
    desk.publisher().open_public_places()
    share(desk, packed(*saved().items()), size_bytes=size)
    assert isinstance(refuse(desk), errors.IntegrityError)


def test_a_small_zip_of_the_original_tool_may_hold_columns_of_one_value(desk: Desk, tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"n": [0] * 200_000})
    data.save_to_disk(str(tmp_path / "saved"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    zipped = packed(*files.items())
    assert sum(map(len, files.values())) > 200 * len(zipped)
    desk.publisher().open_public_places()
    share(desk, zipped)
    with hf_localize.installed():
        assert datasets.load_dataset(NAME, split="train")["n"][:] == data["n"][:]


def test_a_zip_of_ours_with_an_index_that_lies_is_refused(desk: Desk) -> None:
    """Each byte of the directory of a ZIP that we have packed is changed."""
    desk.publisher()
    rows = datasets.Dataset.from_dict({"text": ["the same words"] * 30_000})
    hf_localize.register_dataset(rows, NAME, skip_s3_upload=True)
    entry = current_session().store.find(REF)
    assert entry is not None
    data = b"".join(map(bytes, PackedZip(entry.folder, entry.manifest).pieces()))
    whole = {file.path: (entry.folder / file.path).read_bytes() for file in entry.manifest.files}
    start = data.index(b"PK\1\2")
    refused = 0
    for at in range(start, len(data)):
        for mask in (0x01, 0xFF):
            hostile = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            tail = reader.TailedFile(len(hostile), len(hostile), lambda a, b, d=hostile: d[a:b])  # type: ignore[misc]
            try:
                contents = reader.read_contents(tail, "z")
            except errors.IntegrityError:
                refused += 1
                continue
            if contents is None or contents.members is None:
                continue
            for path in whole:
                member = contents.members[path]
                body = reader.open_member(
                    member,
                    lambda a, b, d=hostile: io.BytesIO(d[a:b]),
                    0,
                    member.size_bytes,  # type: ignore[misc]
                )
                try:
                    assert len(body.read()) <= member.size_bytes
                except errors.HfLocalizeError:
                    refused += 1
    assert refused > 100


# --- records ---


RECORDS: dict[str, Callable[[], bytes]] = {
    "70 MB": lambda: b'{"a": "' + b"x" * (70 << 20) + b'"}',
    "deep": lambda: b'{"a": ' * 200_000,
    "not UTF-8": lambda: b'{"a": "\xff\xfe"}',
    "UTF-16": lambda: '{"a": 1}'.encode("utf-16"),
    "a list": lambda: b"[]",
    "a number": lambda: b"1e9999",
    "nothing": lambda: b"",
    "records that are none": lambda: json.dumps({str(n): n for n in range(100)}).encode(),
    "fields of other types": lambda: json.dumps(
        {"k": {"dataset_id": NAME, "config_name": 3, "s3_zip_key": ["x"], "size_bytes": "y"}}
    ).encode(),
}
KEYS = [
    *(
        "../secret.zip",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x.zip",
        "//127.0.0.1:1/x.zip",
    ),
    *("public_datasets_zip/../org_x/dataset_dict.json", "public_datasets_zip/..\\x.zip", "s3://other/x.zip"),
    *(
        "public_datasets_zip/",
        "public_datasets_zip//x.zip",
        "public_datasets_zip/a\r\nHost: evil",
        "org_x/x.zip",
    ),
    *("public_datasets_zip/file:///etc/passwd", "public_datasets_zip/" + "n" * 5000, "\ud800"),
]


@pytest.mark.parametrize("kind", RECORDS)
def test_hostile_public_records_are_refused(kind: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    put_public(desk, "public_datasets.json", RECORDS[kind]())
    desk.outsider().set(HGLOC_SOURCES="public")
    refuse(desk)


@pytest.mark.parametrize("key", KEYS)
def test_a_record_that_leads_elsewhere_is_not_followed(key: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    record = {
        "dataset_id": NAME,
        "s3_zip_key": key,
        "s3_bucket": "other",
        "size_bytes": 10,
        "digest": "0" * 64,
    }
    put_public(desk, "public_datasets.json", json.dumps({"k": record}))
    desk.outsider().set(HGLOC_SOURCES="public")
    refuse(desk)
    assert {request.path for request in desk.s3.requests} == {f"/{desk.bucket}/public_datasets.json"}


def test_a_size_that_a_record_invents_costs_nothing(desk: Desk) -> None:
    desk.publisher().open_public_places()
    share(desk, b"x" * 100, size_bytes=10**30, digest="0" * 64, tail_bytes=200 << 20)
    refuse(desk, within_mib=600)


# --- what the bucket holds ---


def bucket_mark(**changes: object) -> bytes:
    document: dict[str, object] = json.loads(manifest_of(GOOD))
    del document["checksum"]
    folder = REF.folders[0]
    return json.dumps({**document, "folder": folder, "elsewhere": {}, "generation": 0, **changes}).encode()


MARKS: dict[str, Callable[[], bytes]] = {
    "70 MB": lambda: b" " * (70 << 20),
    "deep": lambda: b"[" * 1_000_000,
    "deep features": lambda: bucket_mark(features=json.loads('{"a":' * 500 + "1" + "}" * 500)),
    "not UTF-8": lambda: b"\xff" + bucket_mark(),
    "UTF-16": lambda: bucket_mark().decode().encode("utf-16"),
    "unknown version": lambda: bucket_mark(format_version=2),
    "a version that is none": lambda: bucket_mark(format_version=[1]),
    "infinite": lambda: bucket_mark(files=[{"path": "a", "size_bytes": 1, "sha256": "0" * 64}]).replace(
        b'"size_bytes": 1', b'"size_bytes": 1e999'
    ),
    "NaN": lambda: bucket_mark().replace(b'"generation": 0', b'"generation": NaN'),
    "a negative size": lambda: bucket_mark(files=[{"path": "a", "size_bytes": -1, "sha256": "0" * 64}]),
    "a sha256 that is none": lambda: bucket_mark(files=[{"path": "a", "size_bytes": 1, "sha256": "g" * 64}]),
    "another dataset": lambda: bucket_mark(dataset_id="org/y"),
    "an id that leads out": lambda: bucket_mark(canonical_id="../../x"),
    "a config that leads out": lambda: bucket_mark(resolved_config=".."),
    "an id that is none": lambda: bucket_mark(canonical_id={"a": 1}),
    "a split that leads out": lambda: bucket_mark(
        splits=[{"name": "../x", "rows": 1, "size_bytes": 1, "shards": [{"path": "a.csv", "rows": 1}]}]
    ),
    "a folder that leads out": lambda: bucket_mark(folder="../../x/y/z"),
    "another entry's folder": lambda: bucket_mark(folder="org_y/default_config/default_revision"),
    "a key with dot dot": lambda: bucket_mark(elsewhere={"a.csv": f"{REF.folders[0]}/../../../secret"}),
    "a key of another prefix": lambda: bucket_mark(elsewhere={"a.csv": "secrets/key"}),
    "a key with a backslash": lambda: bucket_mark(elsewhere={"a.csv": f"{REF.folders[0]}/a\\b"}),
    "a key with a control character": lambda: bucket_mark(elsewhere={"a.csv": f"{REF.folders[0]}/a\nb"}),
    "a key of another host": lambda: bucket_mark(elsewhere={"a.csv": "http://127.0.0.1:1/x"}),
    "a key that is a file": lambda: bucket_mark(elsewhere={"a.csv": "file:///etc/passwd"}),
    "a key that is none": lambda: bucket_mark(elsewhere={"a.csv": 3}),
    "a path that leads out": lambda: bucket_mark(
        files=[{"path": "../../a", "size_bytes": 1, "sha256": "0" * 64}]
    ),
    "a file that is a folder": lambda: bucket_mark(
        files=[{"path": path, "size_bytes": 1, "sha256": "0" * 64} for path in ("a", "a/b")]
    ),
    "features that are none": lambda: bucket_mark(features=[1, 2]),
}


@pytest.mark.parametrize("kind", MARKS)
def test_a_hostile_commit_mark_is_refused(kind: str, desk: Desk) -> None:
    desk.publisher()
    desk.client().put_object(Bucket=desk.bucket, Key=REF.index_key, Body=MARKS[kind]())
    desk.teammate().set(HGLOC_SOURCES="s3")
    desk.s3.clear()
    refuse(desk)
    asked = {request.path.removeprefix(f"/{desk.bucket}/") for request in desk.s3.requests}
    assert asked <= {REF.index_key, ".hgloc/catalog/org%2Fx.json"}, "only the mark, and what tells of configs"


def test_features_that_datasets_can_not_read_are_named(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), NAME)
    found = desk.client().get_object(Bucket=desk.bucket, Key=REF.index_key)["Body"].read()
    placed = read_index_entry(found, "m")
    for features in ({"a": {"_type": "Value", "dtype": "no such"}}, {"a": {"_type": "Value"}}, {"a": 3}):
        hostile = replace(placed, manifest=replace(placed.manifest, features=features)).to_bytes()
        desk.client().put_object(Bucket=desk.bucket, Key=REF.index_key, Body=hostile)
        desk.teammate().set(HGLOC_SOURCES="s3")
        before = public_files(desk)
        with pytest.raises(errors.HfLocalizeError, match="org/x"):
            hf_localize.load_local_dataset(NAME)
        assert public_files(desk) == before


LEGACY = {
    "no splits": {"dataset_dict.json": b'{"splits": 3}'},
    "splits that lead out": {"dataset_dict.json": b'{"splits": ["../../../x"]}'},
    "no data files": {"state.json": b'{"_data_files": 5}', "dataset_info.json": b"{}"},
    "data files that are none": {"state.json": b'{"_data_files": [1, 2]}', "dataset_info.json": b"{}"},
    "data files that lead out": {
        "state.json": b'{"_data_files": [{"filename": "../../../secret"}]}',
        "dataset_info.json": b"{}",
    },
    "info that is none": {"state.json": b'{"_data_files": []}', "dataset_info.json": b'{"splits": [3]}'},
    "deep info": {
        "state.json": b'{"_data_files": []}',
        "dataset_info.json": b'{"features":' + b'{"a":' * 800 + b"1" + b"}" * 801,
    },
}


@pytest.mark.parametrize("kind", LEGACY)
def test_hostile_data_of_the_original_layout_is_refused(kind: str, desk: Desk) -> None:
    desk.publisher()
    for name, data in LEGACY[kind].items():
        desk.client().put_object(Bucket=desk.bucket, Key=f"{REF.folders[0]}/{name}", Body=data)
    desk.client().put_object(Bucket=desk.bucket, Key="secret", Body=b"secret")
    desk.teammate().set(HGLOC_SOURCES="s3")
    refuse(desk)
    assert f"/{desk.bucket}/secret" not in {request.path for request in desk.s3.requests}


def test_odd_keys_in_the_bucket_do_not_hide_what_is_there(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), NAME)
    odd = [
        "x\\y/z",
        "a\x07b/c/d/dataset_dict.json",
        ".hgloc/index/%2E%2E/x/y.json",
        ".hgloc/index/%FF/x/y.json",
    ]
    odd += ["..hidden/c/d/dataset_info.json", ".hgloc/index/a/b.json", "/".join(["n" * 200] * 4)]
    for key in odd:
        desk.client().put_object(Bucket=desk.bucket, Key=key, Body=b"x")
    assert "org/x" in [found["dataset_id"] for found in hf_localize.list_s3_datasets()]
    assert all(".." not in str(found["dataset_id"]) for found in hf_localize.list_s3_datasets())


# --- nothing runs ---


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARK}",))


@pytest.mark.parametrize("source", ["public", "s3"])
def test_no_code_of_a_dataset_is_ever_run(source: str, desk: Desk) -> None:
    script = f"open({MARK!r}, 'w').close()\nimport datasets\nclass X(datasets.GeneratorBasedBuilder): pass\n"
    names = ("x.py", "org_x.py", "default_revision.py", "default_config.py", "__init__.py", "setup.py")
    files = {**GOOD, **{name: script.encode() for name in names}, "conftest.py": script.encode()}
    files |= {
        "data.pkl": pickle.dumps(Evil()),
        "data.pt": pickle.dumps(Evil()),
        "a.npy": pickle.dumps(Evil()),
    }
    manifest = manifest_of(files)
    desk.publisher().open_public_places()
    if source == "public":
        share(desk, packed(*files.items(), manifest=manifest))
    else:
        placed = {**json.loads(manifest), "folder": REF.folders[0], "elsewhere": {}, "generation": 0}
        del placed["checksum"]
        for name, data in files.items():
            desk.client().put_object(Bucket=desk.bucket, Key=f"{REF.folders[0]}/{name}", Body=data)
        desk.client().put_object(Bucket=desk.bucket, Key=REF.index_key, Body=json.dumps(placed).encode())
        desk.teammate()
    desk.set(HGLOC_SOURCES=source)
    try:
        loaded = hf_localize.load_local_dataset(NAME)
    except (errors.HfLocalizeError, datasets.exceptions.DatasetsError):
        pass  # The files have no form in common: stock says so.
    else:
        assert loaded["train"].to_list() == [{"a": 1}]
    code = (
        "import hf_localize; hf_localize.install(); import datasets\n"
        "try: datasets.load_dataset('org/x', data_files='*.pkl')\nexcept Exception as exc: print(type(exc))"
    )
    run_python(code, cwd=Path.cwd())
    assert not list(desk.folder.rglob(MARK))
    assert not Path(MARK).exists()


# --- redirects ---


@pytest.mark.sampled(2)
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["other host", "file:///etc/passwd", "ftp://127.0.0.1/x", "https://127.0.0.1:1/x"]
)
def test_a_redirect_of_the_public_url_is_refused(code: int, target: str, desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), NAME, make_public=True)
    with RecordingProxy(desk.server.endpoint_url) as other:
        location = f"{other.url}/{desk.bucket}/public_datasets.json" if target == "other host" else target
        desk.outsider().set(HGLOC_SOURCES="public")
        desk.s3.fail(Rule("GET", "public_datasets", Status(code, headers={"Location": location})))
        error = refuse(desk)
        assert isinstance(error, errors.UnreachableError)
        assert "is not followed" in str(error)
        assert other.requests == ()


def test_a_redirect_of_the_private_bucket_takes_no_credential_to_another_host(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), NAME)
    with RecordingProxy(desk.server.endpoint_url) as other:
        location = f"{other.url}/{desk.bucket}/{REF.index_key}"
        headers = {"Location": location, "x-amz-bucket-region": "evil.example/"}
        desk.teammate().set(HGLOC_SOURCES="s3")
        desk.s3.fail(Rule("GET", ".", Status(307, "TemporaryRedirect", headers=headers)))
        refuse(desk)
        assert other.requests == ()
