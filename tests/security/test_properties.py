"""What holds for every input: a parser refuses it with a named error, or what it lets pass is safe."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.fuzz.targets import (
    TARGETS,
    catalog,
    manifest,
    paths,
    placed,
    records,
    run,
    saved,
    seeds,
    zipped,
)

#: The same inputs each time, so that a run which passes passes again; `make fuzz` looks for new ones.
often = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 2**64, 10**30, 1e308])
words = st.text() | st.sampled_from(
    ["", ".", "..", "../..", "/etc", "a/../b", "a\\b", "\x00", "\ud800", "x" * 300, "file:///x", "~", "a\n"]
)
scalars = st.none() | st.booleans() | numbers | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to each value inside *document*."""
    found = [path]
    if isinstance(document, dict):
        for key in document:
            found += places(document[key], (*path, key))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            found += places(item, (*path, index))
    return found


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_what_is_right_passes(target: Callable[[bytes], None]) -> None:
    for data in seeds()[target.__name__]:
        assert run(target, data), data


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@often
@given(data=st.binary(max_size=400))
def test_any_bytes_are_refused_or_safe(target: Callable[[bytes], None], data: bytes) -> None:
    run(target, data)


@pytest.mark.parametrize(
    "target", [manifest, placed, catalog, records, saved], ids=lambda target: target.__name__
)
@often
@given(data=st.data())
def test_json_of_which_a_part_is_anything_is_refused_or_safe(
    target: Callable[[bytes], None], data: st.DataObject
) -> None:
    document = json.loads(seeds()[target.__name__][-1])
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(places(document)))
        document = changed(document, where, data.draw(values))
    run(target, json.dumps(document).encode())


@often
@given(data=st.data())
def test_a_zip_of_which_some_bytes_are_anything_is_refused_or_safe(data: st.DataObject) -> None:
    zip_bytes = bytearray(data.draw(st.sampled_from(seeds()["zipped"])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(zip_bytes) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8))
        zip_bytes[at : at + len(piece)] = piece
    run(zipped, bytes(zip_bytes))


@often
@given(path=st.lists(words | st.text("ab/.\\:~ü", max_size=8), max_size=4).map("\n".join))
def test_a_path_that_passes_stays_inside(path: str) -> None:
    run(paths, path.encode("utf-8", "surrogatepass"))
