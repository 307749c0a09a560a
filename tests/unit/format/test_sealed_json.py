"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any

from hf_localize.format.sealed_json import parse_json
from tests.faults.test_hostile import GOOD, manifest_of, saved


def files() -> dict[str, bytes]:
    return {name: data for name, data in saved().items() if name != "data.arrow"}


def test_a_manifest_of_very_many_files_is_read() -> None:
    document: dict[str, Any] = json.loads(manifest_of(GOOD))
    del document["checksum"]
    document["files"] = [{"path": f"{n}", "size_bytes": 1, "sha256": "0" * 64} for n in range(300_000)]
    assert len(parse_json(json.dumps(document).encode(), "m")["files"]) == 300_000
