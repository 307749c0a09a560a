"""ZIP files that would write outside their folder are refused."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from hf_localize import errors
from hf_localize.sources.public import unpack
from tests.conftest import tree


def hostile_zip(path: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> None:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(member, "x")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "C:/x", "a\\..\\x", "./x", "a//x", "x\x01", ".hgloc.JSON"]
)
def test_a_zip_that_would_write_outside_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "hostile.zip", tmp_path / "inside"
    folder.mkdir()
    hostile_zip(path, name)
    before = tree(tmp_path)
    with pytest.raises(errors.UnsafeArchiveError, match=r"hostile\.zip"):
        unpack(path, folder, None, limit_bytes=1000, workers=1)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_zip_with_a_link_or_a_device_is_refused(kind: int, tmp_path: Path) -> None:
    hostile_zip(tmp_path / "hostile.zip", "x", kind | 0o777)
    with pytest.raises(errors.UnsafeArchiveError, match="not a regular file"):
        unpack(tmp_path / "hostile.zip", tmp_path, None, limit_bytes=1000, workers=1)


def test_a_zip_with_names_that_meet_or_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", bytes(10_000_000))
        opened.writestr("A.TXT", "y")
    with pytest.raises(errors.UnsafeArchiveError, match="twice"):
        unpack(path, tmp_path, None, limit_bytes=10**9, workers=1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", bytes(10_000_000))
    with pytest.raises(errors.UnsafeArchiveError, match="more than 1000 bytes"):
        unpack(path, tmp_path, None, limit_bytes=1000, workers=1)
