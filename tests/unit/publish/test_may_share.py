"""What may be shared with everybody: what the Hub gives to everybody, and what the publisher names."""

from __future__ import annotations

import pytest

from hf_localize.errors import RestrictedError, UnreachableError
from hf_localize.format.manifest import Manifest, Terms
from hf_localize.publish.public import check_may_share

NAME = "org/x"
OPEN = Manifest(dataset_id=NAME, origin="hub", gated=False, private=False)


def unreachable(dataset_id: str) -> Terms | None:
    raise UnreachableError("away")


def test_a_dataset_that_has_become_gated_or_private_is_refused() -> None:
    for gated, private, said in (("auto", False, "gated"), (False, True, "private")):
        terms = Terms(NAME, gated, private)
        with pytest.raises(RestrictedError, match=said):
            check_may_share(OPEN, (), lambda dataset_id, terms=terms: terms)
        known = check_may_share(OPEN, (NAME,), lambda dataset_id, terms=terms: terms)
        assert (known.gated, known.private) == (gated, private)


def test_a_dataset_that_was_gated_is_refused_without_a_request() -> None:
    gated = Manifest(dataset_id=NAME, origin="hub", gated="manual", private=False)
    with pytest.raises(RestrictedError, match="share-restricted org/x"):
        check_may_share(gated, ("org/other",), unreachable)
    assert check_may_share(gated, (NAME,), unreachable) == gated


def test_what_is_unknown_is_refused_where_the_hub_is_out_of_reach() -> None:
    unknown = Manifest(dataset_id=NAME, origin="hub")
    for ask in (unreachable, None):
        with pytest.raises(RestrictedError, match="can't be asked"):
            check_may_share(unknown, (), ask)
    assert check_may_share(OPEN, (), unreachable) == OPEN


def test_own_data_that_is_not_on_the_hub_is_shared() -> None:
    own = Manifest(dataset_id=NAME, origin="registered")
    assert check_may_share(own, (), lambda dataset_id: None).dataset_id == NAME
    with pytest.raises(RestrictedError, match="no longer on the Hub"):
        check_may_share(OPEN, (), lambda dataset_id: None)
