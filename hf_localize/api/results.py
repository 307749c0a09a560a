"""What functions that change something return."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

_Name = TypeVar("_Name", bound="str | None")


class Result(NamedTuple):
    """The result of a function; it unpacks as ``success, message_or_path``.

    ``success`` is always True, because a failure raises an error.
    """

    success: bool
    message_or_path: str

    @property
    def path(self) -> str | None:
        """Return the path of the dataset in the local store; None: the command has none to tell."""
        return self.message_or_path if Path(self.message_or_path).is_absolute() else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, and the path."""
        return {**self._asdict(), "path": self.path}


def ids_of(named: str | Iterable[_Name]) -> tuple[str | _Name, ...]:
    """Return the ids, names or patterns that an argument names: one, or several."""
    return (named,) if isinstance(named, str) else tuple(named)
