"""Manifests: what is refused, with a named error."""

from __future__ import annotations

import json

import pytest

from hf_localize import errors
from hf_localize.format.manifest_json import read_manifest


def manifest_json(**changes: object) -> bytes:
    file = {"path": "a.arrow", "size_bytes": 1, "sha256": "0" * 64}
    document = {"format_version": 1, "dataset_id": "org/x", "files": [file], "splits": []}
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    "path", ["../a", "/a", "a/../b", "a\\b", "C:a", "", ".", "a\n", ".hgloc.json", "a//b", "a/"]
)
def test_a_manifest_or_key_that_leads_outside_the_entry_is_refused(path: str) -> None:
    record = {"path": path, "size_bytes": 1, "sha256": "0" * 64}
    with pytest.raises(errors.UnsafeArchiveError):
        read_manifest(manifest_json(files=[record]), "m")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        manifest_json(format_version=2),
        manifest_json(files=None),
        manifest_json(files=[{"path": "a"}]),
        manifest_json(files=[{"path": "a", "size_bytes": -1, "sha256": "0" * 64}]),
        manifest_json(splits=[{"name": "s", "rows": 1, "size_bytes": 1, "shards": [{"path": "b"}]}]),
        manifest_json(dataset_id="../x"),
        manifest_json(dataset_id=None),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_a_named_error(data: bytes) -> None:
    with pytest.raises(errors.IntegrityError):
        read_manifest(data, "m")


def test_a_manifest_of_an_unknown_version_says_what_to_do() -> None:
    with pytest.raises(errors.IntegrityError, match="Upgrade hf_localize"):
        read_manifest(manifest_json(format_version=99), "m")


def test_what_follows_from_all_files_is_computed_once() -> None:
    manifest = read_manifest(manifest_json(), "m")
    assert manifest.digest is manifest.digest  # It takes as long as there are files.
    assert manifest.file("a.arrow") is manifest.files[0]
    with pytest.raises(KeyError):
        manifest.file("b.arrow")
