"""The snapshot and the refs of a repository as JSON: written, read again, refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    Snapshot,
    matches,
    merge_refs,
    read_refs,
    read_snapshot,
    snapshot_bytes,
)
from hf_localize.format.sealed_json import sealed

REPOSITORY = Repository("model", "team/bert")
A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def pointer(sha256: str, size: int) -> str:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return hashlib.sha1(f"blob {len(text)}\0{text}".encode()).hexdigest()


FILES = (
    RepositoryFile(".gitattributes", 5, _sha("1"), "1" * 40),
    RepositoryFile("AUX/con: a.txt", 0, _sha("2"), None),
    RepositoryFile("aux/e\u0301 \U0001f600.txt", 7, _sha("3"), "3" * 40),
    RepositoryFile("model.bin", 1 << 40, _sha("4"), pointer(_sha("4"), 1 << 40), is_lfs=True),
    RepositoryFile("other.bin", 9, _sha("5"), "5" * 40, is_lfs=True),
    RepositoryFile("third.bin", 9, _sha("5"), None, is_lfs=True),
)
SNAPSHOT = Snapshot(REPOSITORY, A, FILES, ("*.bin", "x/"), ("*.txt",), {"gated": "auto", "private": False})


def test_a_snapshot_is_read_as_it_was_written() -> None:
    data = snapshot_bytes(SNAPSHOT)
    assert read_snapshot(data, "here", REPOSITORY, A) == SNAPSHOT
    assert snapshot_bytes(replace(SNAPSHOT, files=FILES[::-1])) == data
    complete = Snapshot(REPOSITORY, A, FILES)
    assert read_snapshot(snapshot_bytes(complete), "here", REPOSITORY, A).is_complete


def _document(**changes: Any) -> dict[str, Any]:
    document = json.loads(snapshot_bytes(SNAPSHOT))
    del document["checksum"]
    return document | changes


def _with_path(path: str) -> dict[str, Any]:
    document = _document()
    document["paths"][0] = path
    return document


HOSTILE: dict[str, Callable[[], Any]] = {
    **{
        f"path {path!r}": lambda path=path: _with_path(path)
        for path in ("/etc/passwd", "../x", "a/../../x", "..", ".", "", "a//b", "a/", "a/./b", "a\\..\\b",
                     "a\0b", "a\nb", "x" * 5000, "model.bin", "model.bin/x")
    },
    "another repository": lambda: _document(repo_id="team/other"),
    "another type": lambda: _document(repo_type="space"),
    "another commit": lambda: _document(commit=B),
    "another format": lambda: _document(format_version=2),
    "true as the format": lambda: _document(format_version=True),
    "a size below zero": lambda: _document(sizes=[-1, 0, 7, 1, 9, 9]),
    "a huge size": lambda: _document(sizes=[1 << 63, 0, 7, 1, 9, 9]),
    "a size as text": lambda: _document(sizes=["5", 0, 7, 1, 9, 9]),
    "a fraction as a size": lambda: _document(sizes=[5.0, 0, 7, 1, 9, 9]),
    "true as a size": lambda: _document(sizes=[True, 0, 7, 1, 9, 9]),
    "sizes as an object": lambda: _document(sizes={"0": 1}),
    "a size missing": lambda: _document(sizes=[5, 0, 7, 1, 9]),
    "a sha256 too short": lambda: _document(sha256=_document()["sha256"][:-1]),
    "a sha256 missing": lambda: _document(sha256=_document()["sha256"][:-64]),
    "a sha256 of other letters": lambda: _document(sha256="Z" * 64 * 6),
    "an object id too many": lambda: _document(oids=_document()["oids"] + "0" * 40),
    "an object id missing": lambda: _document(oids=_document()["oids"][:-40]),
    "an unknown kind": lambda: _document(kinds="gugplZ"),
    "kinds as numbers": lambda: _document(kinds=[1, 2, 3, 4, 5, 6]),
    "paths as numbers": lambda: _document(paths=[1, 2, 3, 4, 5, 6]),
    "patterns as a text": lambda: _document(allow_patterns="*"),
    "no ignored patterns": lambda: _document(ignore_patterns=None),
    "info as a list": lambda: _document(info=[]),
    "info nested deep": lambda: _document(info={"a": json.loads("[" * 100 + "]" * 100)}),
    "a field missing": lambda: {k: v for k, v in _document().items() if k != "kinds"},
    "a list": lambda: [1],
    "a number": lambda: 1,
    "null": lambda: None,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_snapshot_is_refused(name: str) -> None:
    hostile = HOSTILE[name]()
    data = sealed(hostile) if isinstance(hostile, dict) else json.dumps(hostile).encode()
    for sent in (data, gzip.compress(data)):
        with pytest.raises(IntegrityError):
            read_snapshot(sent, "there", REPOSITORY, A)


def test_a_damaged_snapshot_is_refused() -> None:
    data = snapshot_bytes(SNAPSHOT)
    for at in range(0, len(data), 5):
        with pytest.raises(IntegrityError):
            read_snapshot(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "there", REPOSITORY, A)
    packed = gzip.compress(data)
    for bad in (b"", packed[:-9], gzip.compress(b" " * (65 << 20))):
        with pytest.raises(IntegrityError):
            read_snapshot(bad, "there", REPOSITORY, A)


def test_what_could_not_be_read_is_not_written() -> None:
    with pytest.raises(IntegrityError):
        snapshot_bytes(replace(SNAPSHOT, files=(RepositoryFile("../x", 1, _sha("1")),)))


@pytest.mark.parametrize(
    "repo_id",
    ["..", "../x", "a/..", "a/b/c", "", ".", "-a", "a/.b", "a b", "/a", "a/", "a\\b", "x" * 300, "é"],
)
def test_an_id_that_can_name_no_repository_is_refused(repo_id: str) -> None:
    with pytest.raises(InvalidRefError):
        Repository("model", repo_id)


@pytest.mark.parametrize("commit", ["..", "main", "A" * 40, "a" * 39, "../" + "a" * 40, ""])
def test_only_a_commit_sha_names_a_snapshot(commit: str) -> None:
    with pytest.raises(InvalidRefError):
        REPOSITORY.snapshot_path(commit)


def test_partial_snapshots_are_merged_without_claiming_more_than_both_have() -> None:
    one = replace(SNAPSHOT, files=FILES[3:4], allow_patterns=("m*",), ignore_patterns=())
    other = replace(SNAPSHOT, files=FILES[4:5], allow_patterns=("o*", "t*"), ignore_patterns=("t*",))
    both = one.merged(other)
    assert [file.path for file in both.files] == ["model.bin", "other.bin"]
    for file in FILES:
        chosen = matches(file.path, both.allow_patterns, both.ignore_patterns)
        assert not chosen or file in both.files
    complete = Snapshot(REPOSITORY, A, FILES)
    assert one.merged(complete) == complete.merged(one) == complete


REFS = RepositoryRefs(
    REPOSITORY, {"main": B, "dev": C}, {"v1": A}, {"parquet": C}, (A, B), "2026-01-02T00:00:00Z"
)


def test_refs_are_read_as_they_were_written() -> None:
    document: dict[str, Any] = {}
    assert merge_refs(document, REFS, "here")
    assert read_refs(json.dumps(document).encode(), "here", REPOSITORY) == REFS
    assert not merge_refs(document, REFS, "here")
    document["entries"]["refs/pr/1"] = A  # Of a later release: it stays.
    assert merge_refs(document, replace(REFS, commits=(C,)), "here")
    assert document["entries"]["refs/pr/1"] == A
    assert read_refs(document, "here", REPOSITORY).commits == (A, B, C)


@pytest.mark.parametrize(
    ("revision", "commit"),
    [(None, B), ("main", B), ("refs/heads/dev", C), ("v1", A), ("refs/tags/v1", A), ("refs/convert/parquet", C),
     ("parquet", None), (A, A), (C, None), ("refs/heads/v1", None), ("none", None),
     (A[:7], A), (A[:12], A), (A[:6], None), (C[:12], None)],
)  # fmt: skip
def test_a_revision_is_resolved_as_the_hub_does(revision: str | None, commit: str | None) -> None:
    assert REFS.resolve(revision) == commit


def test_merged_refs_lead_to_a_commit_that_is_here() -> None:
    later = replace(REFS, branches={"main": C, "new": C}, tags={}, commits=(), seen="2026-02-02T00:00:00Z")
    for merged in (REFS.merged(later), later.merged(REFS)):
        assert merged.branches == {"main": B, "dev": C, "new": C}
        assert merged.tags == {"v1": A}
    held = replace(later, commits=(C,))
    assert REFS.merged(held) == held.merged(REFS)
    assert held.merged(REFS).branches["main"] == C


@pytest.mark.parametrize(
    "changes",
    [{"format_version": 2}, {"repo_id": "team/other"}, {"entries": []}, {"entries": {"refs/heads/main": "../x"}},
     {"entries": {"refs/heads/main": 1}}, {"entries": {f"commits/{A}": B}}, {"entries": {"refs/heads/\x1b": A}},
     {"seen": 1}, {"repo_type": None}],
)  # fmt: skip
def test_hostile_refs_are_refused(changes: dict[str, Any]) -> None:
    document: dict[str, Any] = {}
    merge_refs(document, REFS, "here")
    with pytest.raises(IntegrityError):
        read_refs(sealed(document | changes), "there", REPOSITORY)
    with pytest.raises(IntegrityError):
        merge_refs(document | changes, REFS, "there")
