"""What this thread's requests to the Hub are for, and what this process has written and is loading.

A load needs these switches and nothing else of the doors, so they import little.
"""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

from hf_localize.format.renamed_ids import current_id
from hf_localize.format.repository import Repository

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
def _switched_on(switch: ContextVar[bool]) -> Iterator[None]:
    token = switch.set(True)
    try:
        yield
    finally:
        switch.reset(token)


#: Let the requests of this thread meanwhile go to the Hub as if hf_localize was not installed.
asking_the_hub_itself = functools.partial(_switched_on, goes_to_the_hub)
#: Refuse, in this thread, each read of the Hub at once.
cut_off = functools.partial(_switched_on, is_cut_off)
#: Refuse, in this thread, what is not held, without a request to the Hub.
answering_only_what_is_held = functools.partial(_switched_on, only_held)
#: Answer, in this thread, what is held, and what is missing there, without a request to the Hub.
leaving_out_the_hub = functools.partial(_switched_on, hub_is_left_out)
#: Have huggingface_hub cache no list of files, in this thread.
listing_a_part = functools.partial(_switched_on, lists_a_part)
