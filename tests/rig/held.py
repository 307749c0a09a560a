"""Repositories that are held, without a store or a bucket: folders as `LoopbackHub` serves them."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hf_localize.format.repository import Repository, RepositoryFile, RepositoryRefs, Snapshot, matches
from tests.rig import hub_storage
from tests.rig.hub import LoopbackHub


@dataclass
class HeldRepositories:
    """What `sources.repositories.RepositoryTiers` promises, for what *hub* has; the Hub itself need not run.

    `types` has the ids of what is held; `opened` and `localized` tell what was read and stored.
    With `is_remote` the store is empty at first.
    """

    hub: LoopbackHub
    types: Mapping[str, str]
    patterns: tuple[tuple[str, ...] | None, tuple[str, ...]] = (None, ())
    opened: list[tuple[str, int, int | None]] = field(default_factory=list)
    localized: list[str] = field(default_factory=list)
    is_remote: bool = False
    _sources: dict[str, Path] = field(default_factory=dict)
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)

    def _find(self, repository: Repository) -> hub_storage.Repository | None:
        if self.types.get(repository.repo_id) != repository.repo_type:
            return None
        return self.hub.find(repository.repo_id)

    def refs(self, repository: Repository, revision: str | None = None) -> RepositoryRefs | None:
        found = self._find(repository)
        if found is None:
            return None
        commits = {name: self.hub._snapshot(folder).commit for name, folder in found.revisions().items()}
        converts = {n.removeprefix("refs/convert/"): c for n, c in commits.items() if "refs/convert/" in n}
        return RepositoryRefs(
            repository,
            branches={name: commit for name, commit in commits.items() if not name.startswith("refs/")},
            tags={
                tag: commits[target]
                for (repo_id, tag), target in self.hub.tags.items()
                if repo_id == repository.repo_id
            },
            converts=converts,
            commits=tuple(dict.fromkeys(commits.values())),
        )

    def spellings(self, repository: Repository, *, everywhere: bool) -> Iterator[Repository]:
        yield repository

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        found = self._find(repository)
        shot = None if found is None else self.hub.find_snapshot(found, commit)
        if shot is None:
            return None
        allow, ignore = self.patterns
        files = []
        for file in shot.files.values():
            if matches(file.path, allow, ignore):
                is_lfs = self.hub.is_lfs(file.path, file.size_bytes)
                files.append(RepositoryFile(file.path, file.size_bytes, file.sha256, file.blob_id, is_lfs))
                self._sources[file.sha256] = file.source
        made = Snapshot(repository, shot.commit, tuple(files), allow, ignore)
        return self._snapshots.setdefault(shot.commit, made)

    def open(self, file: RepositoryFile, start: int = 0, stop: int | None = None) -> BinaryIO:
        self.opened.append((file.path, start, stop))
        return io.BytesIO(self._sources[file.sha256].read_bytes()[start:stop])

    def local_path(self, file: RepositoryFile) -> Path | None:
        return None if self.is_remote and file.path not in self.localized else self._sources.get(file.sha256)

    def localize(self, snapshot: Snapshot, paths: Collection[str]) -> Mapping[str, Path]:
        self.localized.extend(paths)
        found = {path: snapshot.find(path) for path in paths}
        return {path: self._sources[file.sha256] for path, file in found.items() if file is not None}
