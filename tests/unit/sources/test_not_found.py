"""The error for a dataset that no source has: its class is that of the worst answer."""

from __future__ import annotations

import pickle

import pytest

from hf_localize import errors
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.resolver import Answer, not_found

MISSING = Answer("local store", "not there")


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([], errors.DatasetNotFoundError),
        ([errors.ConflictError("other")], errors.DatasetConflictError),
        ([errors.ConflictError("other"), errors.UnreachableError("away")], errors.DatasetUnreachableError),
        ([errors.UnreachableError("away"), errors.AccessDeniedError("refused")], errors.DatasetDeniedError),
        ([errors.AccessDeniedError("refused"), errors.IntegrityError("damaged")], errors.DatasetCorruptError),
    ],
    ids=["missing", "other content", "unreachable", "denied", "corrupt"],
)
def test_the_worst_answer_gives_the_error_its_class(
    failures: list[errors.HfLocalizeError], expected: type[Exception]
) -> None:
    answers = [MISSING, *(Answer(f"source {n}", str(error), error) for n, error in enumerate(failures))]
    for order in (answers, answers[::-1]):
        error = not_found(DatasetRef("org/x", "c"), order)
        assert type(error) is expected
        said = [str(error).index(answer.reason) for answer in order]
        assert said == sorted(said), "each source is named, in the order in which they were asked"


def test_the_answers_come_through_a_pickle_without_what_other_libraries_raised() -> None:
    class RequestError(Exception):  # One that pickle refuses, because it is local.
        pass

    denied = errors.AccessDeniedError("refused")
    answers = [
        MISSING,
        Answer("private S3", "refused", denied),
        Answer("Hub", "gone", RequestError("SECRET")),
    ]
    error = not_found(DatasetRef("org/x"), answers)
    error.path = "/store"
    pickled = pickle.dumps(error)
    assert b"SECRET" not in pickled
    copied = pickle.loads(pickled)
    assert (type(copied), str(copied), copied.path) == (errors.DatasetDeniedError, str(error), "/store")
    assert list(map(str, copied.answers)) == list(map(str, answers))
    assert [type(answer.error) for answer in copied.answers] == [type(None), type(denied), type(None)]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (None, "could not be found."),
        (errors.UnreachableError("away"), "could not be reached."),
        (errors.AccessDeniedError("refused"), "could not be read: access denied."),
        (errors.IntegrityError("damaged"), "could not be read intact."),
    ],
)
def test_the_first_line_says_what_happened(failure: errors.HfLocalizeError | None, outcome: str) -> None:
    answers = [MISSING, *([Answer("Hugging Face Hub", str(failure), failure)] if failure else [])]
    error = not_found(DatasetRef("org/x", "c"), answers)
    assert str(error).splitlines()[0] == f"Dataset org/x [c] {outcome}"


def test_where_the_hub_has_answered_a_revision_that_is_stored_is_named() -> None:
    stored = Answer("private S3", "not in s3://b (it has org/x@v1)")
    gone = Answer("Hugging Face Hub", "no such dataset", errors.DatasetNotFoundError("no such dataset"))
    text = str(not_found(DatasetRef("org/x"), [MISSING, stored, gone]))
    assert "The Hub has answered: check the id" in text
    assert 'A source has it at revision="v1" (in commands: --revision v1).' in text
