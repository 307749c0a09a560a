"""The present ids of datasets that had an id of one segment."""

from __future__ import annotations

from hf_localize.format.renamed_ids import current_id


def test_the_ids_that_are_known() -> None:
    known = {"glue": "nyu-mll/glue", "squad": "rajpurkar/squad", "imdb": "stanfordnlp/imdb"}
    assert {name: current_id(name) for name in known} == known
    assert current_id("nyu-mll/glue") is None
