"""Names of datasets, and the places that belong to them."""

from __future__ import annotations

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_localize.errors import InvalidRefError
from hf_localize.format.refs import (
    DEFAULT_CONFIG,
    DEFAULT_REVISION,
    DatasetRef,
    index_prefix,
    ref_of_index_key,
)
from tests.security.fuzz.targets import (
    inside,
)


def test_a_ref_that_fits_is_accepted() -> None:
    for dataset_id in ("glue", "a/b", "Ünï/code", "a.b/c-d_e"):
        assert DatasetRef(dataset_id).dataset_id == dataset_id
    assert io.StringIO(str(DatasetRef("a/b", "c d", "feat#1"))).read() == "a/b [c d]@feat#1"


def test_what_a_shell_passes_on_that_is_no_unicode_can_begin_an_id_that_is_looked_for() -> None:
    assert index_prefix("a\udcff").endswith("/a%ED%B3%BF")


#: The same inputs each time, so that a run which passes passes again; `make fuzz` looks for new ones.
often = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


words = st.text() | st.sampled_from(
    ["", ".", "..", "../..", "/etc", "a/../b", "a\\b", "\x00", "\ud800", "x" * 300, "file:///x", "~", "a\n"]
)


part = words | st.text("ab/_~ .@ü", min_size=1, max_size=6)


@often
@given(dataset_id=part, config=st.none() | part, revision=st.none() | part)
def test_every_ref_has_places_of_its_own_inside_store_and_bucket(
    dataset_id: str, config: str | None, revision: str | None
) -> None:
    try:
        ref = DatasetRef(dataset_id, config, revision)
    except InvalidRefError:
        return
    inside(ref)
    # The names of the defaults stand for the defaults.
    config = None if config == DEFAULT_CONFIG else config
    revision = None if revision == DEFAULT_REVISION else revision
    assert ref_of_index_key(ref.index_key) == DatasetRef(dataset_id, config, revision)


small = st.text("ab/_", min_size=1, max_size=3)


@often
@given(one=st.tuples(small, small, small), other=st.tuples(small, small, small))
def test_different_refs_share_neither_an_index_key_nor_their_last_folder(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    try:
        first, second = DatasetRef(*one), DatasetRef(*other)
    except InvalidRefError:
        return
    assert (first == second) == (first.index_key == second.index_key)
    assert (first == second) == (first.folders[-1] == second.folders[-1])
