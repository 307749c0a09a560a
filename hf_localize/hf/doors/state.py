"""What this thread's requests to the Hub are for, and what this process has written and is loading.

A load needs these switches and nothing else of the doors, so they import little.
"""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeVar

from hf_localize.format.renamed_ids import current_id
from hf_localize.format.repository import Repository

_T = TypeVar("_T")
#: Requests go to the Hub as if hf_localize was not installed.
goes_to_the_hub: ContextVar[bool] = ContextVar("goes_to_the_hub", default=False)
#: For ``local_files_only=True``: what is not held is refused, and nothing is known to be missing.
only_held: ContextVar[bool] = ContextVar("only_held", default=False)
#: While `datasets` is set to be offline: held files are answered, and the Hub is not asked.
hub_is_left_out: ContextVar[bool] = ContextVar("hub_is_left_out", default=False)
#: While the Hub is known not to answer: reads are refused, whether they are held or not.
is_cut_off: ContextVar[bool] = ContextVar("is_cut_off", default=False)
#: While `snapshot_download` may get a list of files that lacks those that are not held.
lists_a_part: ContextVar[bool] = ContextVar("lists_a_part", default=False)

#: Repositories to which this process has written, or begun to write. From then on it reads them from the Hub.
written: set[Repository] = set()


def is_written(repository: Repository | None) -> bool:
    """Tell whether this process has written to *repository* on the Hub, so that what is held may be older."""
    return repository is not None and any(repository.is_same(one) for one in written)


#: The datasets that are being loaded in this process: the loads are recorded themselves.
_loading: collections.Counter[str] = collections.Counter()


@contextlib.contextmanager
def loading(dataset_id: str) -> Iterator[None]:
    """Record no file of that dataset meanwhile, in any thread."""
    names = {dataset_id, current_id(dataset_id) or dataset_id}
    _loading.update(names)
    try:
        yield
    finally:
        _loading.subtract(names)


def is_loading(repository: Repository) -> bool:
    """Tell whether *repository* is a dataset that is being loaded in this process."""
    return repository.repo_type == "dataset" and _loading[repository.repo_id] > 0


@contextlib.contextmanager
def having(variable: ContextVar[_T], value: _T) -> Iterator[None]:
    """Let *variable* have *value* meanwhile, in this context."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


#: Let the requests of this thread meanwhile go to the Hub as if hf_localize was not installed.
asking_the_hub_itself = functools.partial(having, goes_to_the_hub, True)
#: Refuse, in this thread, each read of the Hub at once.
cut_off = functools.partial(having, is_cut_off, True)
#: Refuse, in this thread, what is not held, without a request to the Hub.
answering_only_what_is_held = functools.partial(having, only_held, True)
#: Answer, in this thread, what is held, and what is missing there, without a request to the Hub.
leaving_out_the_hub = functools.partial(having, hub_is_left_out, True)
#: Have huggingface_hub cache no list of files, in this thread.
listing_a_part = functools.partial(having, lists_a_part, True)
