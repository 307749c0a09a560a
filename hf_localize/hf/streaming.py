"""Streams that go on in the middle of a shard without reading what lies before.

Stock `datasets` notes in a stream's state how many rows of the shard were seen; on resuming it has
the shard read again and drops that many. Here whoever reads the shard is told the number first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets.iterable_dataset as stock
import pyarrow as pa

from hf_localize.transfer.prefetch import InTurn

Tables = Iterator[tuple[Any, pa.Table]]


class _Resuming:
    """Mixed into stock's iterables of tables."""

    generate_tables_fn: Callable[..., Tables]
    kwargs: dict[str, Any]
    _state_dict: dict[str, Any] | None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield from self._from_its_state()

    def _iter_arrow(self) -> Tables:
        yield from self._from_its_state()._iter_arrow()

    def _from_its_state(self) -> Any:
        """Return stock's own iterable, with the same state, whose first shard begins where that says."""
        plain: Any = copy.copy(self)
        plain.__class__ = type(self).__mro__[2]
        row = self._state_dict["shard_example_idx"] if self._state_dict else 0
        # Before 4, datasets shuffles the shards of one of its classes later than here.
        order = self.kwargs["shards"] if type(self).__name__ == _KINDS[0] else ()
        plain.generate_tables_fn = _Reading(self.generate_tables_fn, row, order)
        return plain

    def shuffle_data_sources(self, *args: Any, **kwargs: Any) -> Any:
        return resuming(super().shuffle_data_sources(*args, **kwargs))  # type: ignore[misc]

    def shard_data_sources(self, *args: Any, **kwargs: Any) -> Any:
        return resuming(super().shard_data_sources(*args, **kwargs))  # type: ignore[misc]

    def reshard_data_sources(self, *args: Any, **kwargs: Any) -> Any:  # datasets >= 4.7
        return resuming(super().reshard_data_sources(*args, **kwargs))  # type: ignore[misc]


class _Reading:
    """Call a function that reads a shard; tell it where the first one begins, and which ones are next."""

    def __init__(self, read: Callable[..., Tables], row: int, order: Sequence[str]) -> None:
        self._read = read
        self._row = row
        self._in_turn = InTurn(order)

    def __call__(self, **kwargs: Any) -> Tables:
        row, self._row = self._row, 0
        return self._read(**kwargs, first_row=row, in_turn=self._in_turn)


def resuming(iterable: Any) -> Any:
    """Return stock's *iterable* over ``generate_tables_fn`` as one that resumes so.

    The function is also given ``in_turn``, an :class:`InTurn` to open shards by, and ``first_row``. It
    may leave out batches before the one with that row, if a table of as many rows, whatever is in it,
    takes their place: stock drops those.
    """
    iterable.__class__ = _RESUMING.get(type(iterable), type(iterable))
    return iterable


def _resuming_class(kind: type) -> type:
    # Under the name of stock's, which stock writes into the state.
    made = type(kind.__name__, (_Resuming, kind), {"__module__": __name__, "__qualname__": kind.__name__})
    globals()[kind.__name__] = made  # Where pickle looks for it.
    return made


#: datasets < 4 has a class of its own for shuffled ones.
_KINDS = ("ArrowExamplesIterable", "ShuffledDataSourcesArrowExamplesIterable")
_RESUMING = {kind: _resuming_class(kind) for name in _KINDS if (kind := getattr(stock, name, None))}
