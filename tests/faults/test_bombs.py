"""A few bytes that others wrote never take much memory: each is opened in a process that is measured."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_localize.format.manifest_json import read_manifest
from hf_localize.format.refs import MANIFEST_NAME
from tests.conftest import Desk, run_python
from tests.faults.test_hostile import GOOD, NAME, REF, manifest_of, put_public, saved, share

#: What a process may take beyond what it has when `datasets` is imported; less than any bomb here.
MOST_MIB = 350
_BOMB_BYTES = 512 << 20
_MEASURED = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))
import hf_localize, hf_localize.hf.load

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before, said = peak(), ""
for ask, names in (
    (hf_localize.list_public_datasets, (None, True)),
    (hf_localize.explain_dataset, ({NAME!r},)),
    (hf_localize.load_local_dataset, ({NAME!r},)),
):
    try:
        said = str(ask(*names))
    except hf_localize.HfLocalizeError as exc:
        said = str(exc)
print(peak() - before, "MiB", said.replace("\\n", " "))
"""


def measured() -> tuple[int, str]:
    """Return by how many MiB a process grows that lists, explains and loads, and what the load said."""
    done = run_python(_MEASURED, cwd=Path.cwd())
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    size, _, said = done.stdout.splitlines()[-1].partition(" MiB ")
    return int(size), said


def bomb(method: int, name: str, beside: dict[str, bytes]) -> bytes:
    """Return a ZIP of which one member says that it is small, and inflates to half a gigabyte."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as opened:
        for other, data in beside.items():
            opened.writestr(other, data, zipfile.ZIP_DEFLATED)
        with opened.open(name, "w") as member:
            for _ in range(_BOMB_BYTES >> 26):
                member.write(bytes(1 << 26))
        opened.getinfo(name).file_size = 1000
    return sink.getvalue()


def large_dictionary(name: str, beside: dict[str, bytes]) -> bytes:
    """Return a ZIP of which one member, of a few bytes, asks for a dictionary of 4 GiB."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_LZMA) as opened:
        for other, data in beside.items():
            opened.writestr(other, data, zipfile.ZIP_DEFLATED)
        opened.writestr(name, b"some words")
        at = opened.getinfo(name).header_offset + 30 + len(name)
    data = bytearray(sink.getvalue())
    assert data[at + 2 : at + 4] == b"\x05\x00"
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    return bytes(data)


def files() -> dict[str, bytes]:
    return {name: data for name, data in saved().items() if name != "data.arrow"}


BOMBS: dict[str, Callable[[], bytes]] = {
    "deflated": lambda: bomb(zipfile.ZIP_DEFLATED, MANIFEST_NAME, GOOD),
    "bzip2": lambda: bomb(zipfile.ZIP_BZIP2, MANIFEST_NAME, GOOD),
    "lzma": lambda: bomb(zipfile.ZIP_LZMA, MANIFEST_NAME, GOOD),
    "lzma with a large dictionary": lambda: large_dictionary(MANIFEST_NAME, GOOD),
    "JSON of many empty lists": lambda: packed_json(RECORDS["many empty lists"]()),
    "a file, deflated": lambda: bomb(zipfile.ZIP_DEFLATED, "data.arrow", files()),
    "a file, bzip2": lambda: bomb(zipfile.ZIP_BZIP2, "data.arrow", files()),
    "a file, lzma with a large dictionary": lambda: large_dictionary("data.arrow", files()),
}


def packed_json(document: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(MANIFEST_NAME, document)
    return sink.getvalue()


@pytest.mark.sampled(0)
@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_zip_never_takes_much_memory(kind: str, desk: Desk) -> None:
    zipped = BOMBS[kind]()
    assert len(zipped) < 2 << 20
    desk.publisher().open_public_places()
    for form in ({}, {"size_bytes": len(zipped), "digest": digest_of(GOOD), "tail_bytes": len(zipped)}):
        share(desk, zipped, **form)
        size, said = measured()
        assert size < MOST_MIB
        assert "public ZIP: " in said
        if "lzma" in kind:
            assert "compressed by method 14: only stored (0) and deflated (8) members are read" in said


def digest_of(files: dict[str, bytes]) -> str:
    return read_manifest(manifest_of(files), "m").digest


RECORDS: dict[str, Callable[[], bytes]] = {
    "many empty lists": lambda: b'{"a": [' + b"[]," * (21 << 20) + b"[]]}",
    "many empty objects": lambda: b'{"a": [' + b"{}," * (21 << 20) + b"{}]}",
    "many texts": lambda: b'{"a": [' + b'"ab",' * (12 << 20) + b'"ab"]}',
    "wide letters": lambda: ('{"a": "' + "\U0001f600" + "a" * (60 << 20) + '"}').encode(),
    "a long number": lambda: b'{"a": ' + b"9" * (60 << 20) + b"}",
}


@pytest.mark.sampled(0)
@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("source", ["public", "s3"])
def test_json_never_takes_much_memory(kind: str, source: str, desk: Desk) -> None:
    data = RECORDS[kind]()
    desk.publisher().open_public_places()
    if source == "public":
        put_public(desk, "public_datasets.json", data)
        desk.outsider()
    else:
        desk.client().put_object(Bucket=desk.bucket, Key=REF.index_key, Body=gzip.compress(data, 1))
        desk.teammate()
    desk.set(HGLOC_SOURCES=source)
    size, said = measured()
    assert size < MOST_MIB + 200
    assert "not among the records" in said or "is not JSON" in said or "values" in said


def test_an_answer_that_is_compressed_is_not_inflated(desk: Desk) -> None:
    """A server may say so of anything; what is asked for is never compressed by HTTP."""
    body = gzip.compress(bytes(64 << 20), 9)
    desk.publisher().open_public_places()
    acl: dict[str, Any] = {"ACL": "public-read"} if desk.server.supports_acl else {}
    for key in ("public_datasets.json", REF.index_key):
        desk.client().put_object(
            Bucket=desk.bucket, Key=key, Body=body, ContentEncoding="gzip", **(acl if "public" in key else {})
        )
    for source, who in (("public", desk.outsider), ("s3", desk.teammate)):
        who().set(HGLOC_SOURCES=source)
        size, said = measured()
        assert size < MOST_MIB
        assert "is not JSON" in said or "more than" in said
