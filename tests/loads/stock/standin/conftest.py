"""The fixtures that most tests of `datasets` ask for, in place of those that its sdist leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_ROWS = [{"col_1": str(n), "col_2": n, "col_3": float(n)} for n in range(4)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", str(cache / "downloads"))
    monkeypatch.setattr("datasets.config.EXTRACTED_DATASETS_PATH", str(cache / "downloads" / "extracted"))


@pytest.fixture
def jsonl_path(tmp_path: Path) -> str:
    """Return the path of a file of JSON lines."""
    path = tmp_path / "dataset.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in _ROWS))
    return str(path)


@pytest.fixture
def csv_path(tmp_path: Path) -> str:
    """Return the path of a CSV file."""
    path = tmp_path / "dataset.csv"
    lines = [",".join(_ROWS[0]), *(",".join(map(str, row.values())) for row in _ROWS)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)
