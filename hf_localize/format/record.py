"""The base of the values that public functions return."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any


class Record:
    """A frozen dataclass that can be had as plain values."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them."""
        made: dict[str, Any] = plain(self)
        return made


class MappingRecord(Record, Mapping[str, Any]):
    """One whose fields can be read as those of a dict, too: ``item["rows"]`` is ``item.rows``."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:  # type: ignore[attr-defined]
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in dataclasses.fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(dataclasses.fields(self))  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """Return *value*, in which dataclasses and paths may be, as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
