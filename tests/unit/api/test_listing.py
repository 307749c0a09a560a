"""Lists of datasets: which of them a pattern picks."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

import hf_localize


def test_a_pattern_picks_ids_and_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", str(tmp_path))
    for dataset_id in ("team/a", "team/b", "other/b"):
        data = datasets.Dataset.from_dict({"n": [1]})
        hf_localize.register_dataset(data, dataset_id, skip_s3_upload=True)
    for pattern, expected in (
        (None, ["other/b", "team/a", "team/b"]),
        ("team/*", ["team/a", "team/b"]),
        ("*/[b-z]", ["other/b", "team/b"]),
        ("team/?", ["team/a", "team/b"]),
        ("TEAM/*", []),
        ("team", []),
    ):
        found = hf_localize.list_local_datasets(pattern)
        assert sorted(item["dataset_id"] for item in found) == expected, pattern
