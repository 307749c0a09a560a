"""Dataset repositories on disk: ``<owner>/<name>/<revision, percent-quoted>/<files>``.

What clients write goes below a folder of its own, by `Uploads`. There a commit is a folder that is
never changed, ``<owner>/<name>/.commits/<SHA>/``, and a branch is a symbolic link to one: to change
the link is to commit, and whoever reads an older commit meanwhile reads on.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

CHUNK_BYTES = 1 << 20
COMMITS = ".commits"


@dataclass(frozen=True, slots=True)
class RepoFile:
    """Describe one file of a commit; `blob_id` is git's SHA-1, `sha256` the one that LFS uses."""

    path: str
    source: Path
    size_bytes: int
    blob_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Hold one commit: its 40-digit SHA and its files by path, sorted."""

    commit: str
    files: Mapping[str, RepoFile]

    def sources(self) -> dict[str, Path]:
        """Return where the content of each file lies."""
        return {path: file.source for path, file in self.files.items()}

    def folders(self) -> set[str]:
        """Return the path of each folder, without the top one."""
        parents = {str(parent) for path in self.files for parent in Path(path).parents}
        return parents - {"."}


@dataclass(frozen=True, slots=True)
class Repository:
    """Name a dataset repository and the folder whose subfolders are its revisions."""

    dataset_id: str
    folder: Path

    def revisions(self) -> dict[str, Path]:
        """Return the folder of each revision by the revision's (unquoted) name."""
        folders = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return {unquote(path.name): path for path in folders if not path.name.startswith(".")}

    def commits(self) -> list[Path]:
        """Return the folders of the commits that clients made, also of those that no branch has."""
        return [path for path in self.folder.glob(f"{COMMITS}/*") if not path.name.startswith(".")]


def make_repository(root: Path, dataset_id: str, revision: str, files: Mapping[str, bytes]) -> Repository:
    """Write a made-up revision under *root*; hand the result to `LoopbackHub.add` if one-segment.

    Files that the revision already has and *files* does not name stay.
    """
    repository = Repository(dataset_id, root / dataset_id)
    folder = repository.folder / quote(revision, safe="")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return repository


def read_snapshot(folder: Path) -> Snapshot:
    """Hash every file below *folder*; all of them are the commit, unless the folder has its SHA for a name."""
    sources = {
        source.relative_to(folder).as_posix(): source for source in folder.rglob("*") if source.is_file()
    }
    files = {path: _read_file(path, sources[path]) for path in sorted(sources)}
    commit = hashlib.sha1(b"commit\0")
    for path, file in files.items():
        commit.update(f"{path}\0{file.sha256}\n".encode())
    is_named = re.fullmatch("[0-9a-f]{40}", folder.name)
    return Snapshot(folder.name if is_named else commit.hexdigest(), files)


def _read_file(path: str, source: Path) -> RepoFile:
    size_bytes = source.stat().st_size
    blob = hashlib.sha1(f"blob {size_bytes}\0".encode())
    content = hashlib.sha256()
    with source.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            blob.update(chunk)
            content.update(chunk)
    return RepoFile(path, source, size_bytes, blob.hexdigest(), content.hexdigest())


class Uploads:
    """Keep the repositories that clients write, and the LFS objects that they sent.

    A write to a repository that lies elsewhere starts with a copy of it, which is served from then
    on; the original is never changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.announced: set[str] = set()

    def find(self, dataset_id: str) -> Repository | None:
        """Return the repository if it was written to."""
        repository = Repository(dataset_id, self.folder / dataset_id)
        return repository if (repository.folder / COMMITS).is_dir() else None

    def adopt(self, repository: Repository) -> Repository:
        """Return the writable copy of *repository*, made by the first call."""
        kept = self.find(repository.dataset_id)
        if kept is None:
            kept = Repository(repository.dataset_id, self.folder / repository.dataset_id)
            for name, folder in repository.revisions().items():
                self.commit(kept, name, read_snapshot(folder).sources())
        return kept

    def commit(self, repository: Repository, branch: str, files: Mapping[str, Path | bytes]) -> str:
        """Let *branch* be a commit of exactly these files, and return its SHA."""
        commits = repository.folder / COMMITS
        commits.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=commits))
        for path, content in files.items():
            target = staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content)
        commit = read_snapshot(staging).commit
        if (commits / commit).exists():
            shutil.rmtree(staging)
        else:
            staging.rename(commits / commit)
        link = Path(tempfile.mkdtemp(prefix=".link-", dir=commits)) / "branch"
        link.symlink_to(Path(COMMITS, commit))
        os.replace(link, repository.folder / quote(branch, safe=""))
        link.parent.rmdir()
        return commit

    def delete(self, dataset_id: str) -> None:
        """Forget the repository."""
        shutil.rmtree(self.folder / dataset_id)

    def find_object(self, digest: str) -> Path | None:
        """Return where the LFS object with this sha256 lies."""
        path = self.folder / ".lfs" / digest
        return path if path.is_file() else None

    def keep_object(self, digest: str, content: bytes) -> None:
        """Keep an LFS object, whole or not at all."""
        folder = self.folder / ".lfs"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, folder / digest)
