"""Stock's errors as ours, and ours as errors that callers of stock `datasets` catch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import datasets
from huggingface_hub.utils import (
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_localize.errors import (
    DatasetConflictError,
    DatasetCorruptError,
    DatasetDeniedError,
    DatasetNotFoundError,
    DatasetUnreachableError,
    NotLockedError,
    UnreachableError,
    without_frames,
    without_queries,
)
from hf_localize.sources.resolver import Answer


def as_stock_raises(exc: DatasetNotFoundError) -> Exception:
    """Return *exc* as an error that callers of stock `datasets` catch.

    It is a ``datasets`` ``DatasetNotFoundError`` too, and a ``ConnectionError`` where a source
    was out of reach. Where the Hub has answered, its message comes first.
    """
    said = [a.error for a in exc.answers if isinstance(a, Answer) and isinstance(a.error, _STOCK)]
    first = f"{said[-1]}\n" if said else ""
    error = _AS_STOCK[type(exc)](f"{first}{exc}")
    error.answers = exc.answers
    return error


_STOCK = datasets.exceptions.DatasetNotFoundError


def _also_stock(kind: type[DatasetNotFoundError]) -> type[DatasetNotFoundError]:
    """Return *kind* as a class that is stock's error too, and that pickle finds by name."""
    qualified = f"Stock{kind.__name__}"
    made = type(kind.__name__, (kind, _STOCK), {"__module__": __name__, "__qualname__": qualified})
    globals()[qualified] = made
    return made


_AS_STOCK = {
    kind: _also_stock(kind)
    for kind in (
        *(DatasetNotFoundError, DatasetDeniedError, DatasetUnreachableError, DatasetCorruptError),
        *(DatasetConflictError, NotLockedError),
    )
}


_NETWORK_ERRORS = frozenset({"RequestException", "TransportError", "HTTPStatusError"})


@contextlib.contextmanager
def telling_unreachable() -> Iterator[None]:
    """Raise as UnreachableError what says that the Hub is out of reach."""
    try:
        yield
    except Exception as exc:
        if is_unreachable(exc):
            raise UnreachableError(f"{type(exc).__name__}: {without_queries(str(exc))}") from without_frames(
                exc
            )
        raise


def is_unreachable(exc: BaseException) -> bool:
    """Tell whether stock raised *exc* because the Hub was out of reach, or off by a setting.

    huggingface_hub's HTTP client is requests or httpx, by its version; so their errors are known
    by name.
    """
    if isinstance(exc, (ConnectionError, OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return True
    if isinstance(exc, (RepositoryNotFoundError, RevisionNotFoundError)):  # The Hub has answered.
        return False
    return any(kind.__name__ in _NETWORK_ERRORS for kind in type(exc).__mro__)
