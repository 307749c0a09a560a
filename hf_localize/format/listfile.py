"""Lists of datasets that people write: a line for each, ``id [config [revision]]``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from hf_localize.errors import InvalidRefError
from hf_localize.format.refs import DatasetRef

_MAX_WORDS = 3


def read_list(path: Path) -> list[DatasetRef]:
    """Return the datasets that the file *path* lists, each once.

    Raises:
        OSError: it can't be read.
        InvalidRefError: a line is no dataset; the message has its number.
    """
    try:
        return parse_list(path.read_text(encoding="utf-8").splitlines(), str(path))
    except UnicodeDecodeError as exc:
        raise InvalidRefError(f"{path} is not UTF-8: {exc}") from exc


def parse_list(lines: Iterable[str], where: str) -> list[DatasetRef]:
    """Return the datasets that *lines* name; *where* names their place in errors.

    Words are divided by spaces, and may be quoted as for a shell; ``-`` stands for the default, and
    ``#`` begins a comment.

    Raises:
        InvalidRefError: a line is no dataset.
    """
    found: dict[DatasetRef, None] = {}
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
            if len(words) > _MAX_WORDS:
                raise ValueError("a line is: id [config [revision]]")
            if words:
                given = [None if word == "-" else word for word in words[1:]]
                found[DatasetRef(words[0], *given)] = None
        except ValueError as exc:  # Of shlex, and InvalidRefError.
            raise InvalidRefError(f"{where}, line {number}: {exc}") from exc
    return list(found)
