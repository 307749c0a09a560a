"""Files that list datasets, one on each line."""

from __future__ import annotations

import pytest

from hf_localize.errors import InvalidRefError
from hf_localize.format.listfile import RepositoryRef, line_of, parse_list
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.


def test_a_line_that_is_no_dataset_is_named_by_its_number() -> None:
    assert parse_list(["a 'b c' -", " ", "#x"], "f") == [DatasetRef("a", "b c")]
    for line in ("a b c d", "a//b", "a 'b"):
        with pytest.raises(InvalidRefError, match="f, line 2"):
            parse_list(["a", line], "f")


def test_a_line_can_name_the_files_of_a_repository() -> None:
    bert = RepositoryRef(Repository("model", "team/bert"), "v1")
    lines = ["team/bert v1 --repo-type model", "--repo-type space evaluate-metric/x", line_of(bert)]
    assert parse_list(lines, "f") == [bert, RepositoryRef(Repository("space", "evaluate-metric/x"))]
    for ref in (DatasetRef("a"), DatasetRef("a/b", None, "v 1"), DatasetRef("a", "c d", "v1")):
        assert parse_list([line_of(ref)], "f") == [ref]
    for line in ("a --repo-type", "a --repo-type tree", "a b c --repo-type model", "--repo-type model"):
        with pytest.raises(InvalidRefError, match="f, line 1"):
            parse_list([line], "f")


def test_a_list_that_windows_wrote_is_read() -> None:
    assert parse_list(["\ufeffa/b c\r\n", "\r\n", "a/b d\r\n"], "f") == [
        DatasetRef("a/b", "c"),
        DatasetRef("a/b", "d"),
    ]
    assert r"'C:\\data\\corpus' is refused" in run("download", r"C:\data\corpus").stderr
