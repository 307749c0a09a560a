"""Where the files of repositories are: the local store, the private bucket, what is public."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from hf_localize.format.repository import Repository, RepositoryFile, RepositoryRefs, Snapshot


class Repositories(Protocol):
    """What the enabled places hold of repositories; the first that has something answers."""

    def refs(self, repository: Repository, revision: str | None = None) -> RepositoryRefs | None:
        """Return the refs of *repository*; None: it is held nowhere.

        With *revision*, places are asked until one knows it: none does if the refs don't resolve it.

        Raises:
            UnreachableError: no place has it, and one of them gave no answer.
        """

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        """Return the snapshot of *commit*; None: it is held nowhere."""

    def open(self, file: RepositoryFile, start: int = 0, stop: int | None = None) -> BinaryIO:
        """Open the bytes of *file* from *start* to before *stop*, read where they lie. Nothing is stored."""

    def local_path(self, file: RepositoryFile) -> Path | None:
        """Return where *file* lies in the local store; None: it is not there. Makes no request."""

    def localize(self, snapshot: Snapshot, paths: Collection[str]) -> Mapping[str, Path]:
        """Bring files of *snapshot* into the local store, verified, and return where each lies."""
