"""Lists of datasets and repositories that people write.

A line is ``id [config [revision]]`` for a dataset, and ``id [revision] --repo-type model`` (``space``,
``dataset``) for the files of a repository.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hf_localize.errors import InvalidRefError
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Repository, RepoType

_MAX_WORDS = 3
_TYPE = "--repo-type"


@dataclass(frozen=True, slots=True)
class RepositoryRef:
    """The files of a repository at a revision; None is ``main``."""

    repository: Repository
    revision: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return its parts by name, as those of a dataset, and the type."""
        repo_type, repo_id = self.repository.repo_type, self.repository.repo_id
        return {"repo_type": repo_type, "dataset_id": repo_id, "config_name": None, "revision": self.revision}


def line_of(ref: DatasetRef | RepositoryRef) -> str:
    """Return the line of a list that names *ref*."""
    if isinstance(ref, RepositoryRef):
        words = [ref.repository.repo_id, *filter(None, [ref.revision])]
        return shlex.join([*words, _TYPE, ref.repository.repo_type])
    words = [part or "-" for part in ref.parts]
    while words[-1] == "-":
        words.pop()
    return shlex.join(words)


def read_list(path: Path) -> list[DatasetRef | RepositoryRef]:
    """Return what the file *path* lists, each once.

    Raises:
        OSError: it can't be read.
        InvalidRefError: a line names nothing; the message has its number.
    """
    try:
        return parse_list(path.read_text(encoding="utf-8").splitlines(), str(path))
    except UnicodeDecodeError as exc:
        raise InvalidRefError(f"{path} is not UTF-8: {exc}") from exc


def parse_list(lines: Iterable[str], where: str) -> list[DatasetRef | RepositoryRef]:
    """Return what *lines* name; *where* names their place in errors.

    Words are divided by spaces, and may be quoted as for a shell; ``-`` stands for the default, and
    ``#`` begins a comment.

    Raises:
        InvalidRefError: a line names nothing.
    """
    found: dict[DatasetRef | RepositoryRef, None] = {}
    for number, line in enumerate(lines, 1):
        try:
            # Editors and shells of Windows begin a file with a byte order mark.
            words = shlex.split(line.removeprefix("\ufeff") if number == 1 else line, comments=True)
            if _TYPE in words:
                found[_repository(words)] = None
                continue
            if len(words) > _MAX_WORDS:
                raise ValueError("a line is: id [config [revision]]")
            if words:
                given = [None if word == "-" else word for word in words[1:]]
                found[DatasetRef(words[0], *given)] = None
        except ValueError as exc:  # Of shlex, and InvalidRefError.
            raise InvalidRefError(f"{where}, line {number}: {exc}") from exc
    return list(found)


def _repository(words: list[str]) -> RepositoryRef:
    place = words.index(_TYPE)
    repo_type, rest = words[place + 1 : place + 2], [*words[:place], *words[place + 2 :]]
    if not repo_type or not 1 <= len(rest) <= 2:
        raise ValueError(f"a line is: id [revision] {_TYPE} model")
    revision = None if rest[1:] in ([], ["-"]) else rest[1]
    return RepositoryRef(Repository(cast("RepoType", repo_type[0]), rest[0]), revision)
