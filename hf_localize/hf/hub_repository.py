"""A repository of the Hub, as it is there: its files, refs and facts, brought into the local store.

`datasets` is not needed for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import EntryNotFoundError, GatedRepoError, HfHubHTTPError

from hf_localize.errors import (
    AccessDeniedError,
    DatasetNotFoundError,
    IntegrityError,
    RefusedError,
    UnreachableError,
    without_frames,
    without_queries,
)
from hf_localize.format.repository import (
    Repository,
    RepositoryFile,
    RepositoryRefs,
    Snapshot,
    is_commit_sha,
    matches,
)
from hf_localize.hf.doors.state import asking_the_hub_itself
from hf_localize.hf.errors import telling_unreachable
from hf_localize.hf.hub_terms import answer_of, shown_endpoint, stands_for_missing
from hf_localize.progress import task
from hf_localize.store.linking import link_from_cache
from hf_localize.store.repositories import LocalRepositories
from hf_localize.store.staging import staging_folder
from hf_localize.transfer.disk_space import require_room
from hf_localize.transfer.flushing import flushing
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20
#: As `snapshot_download` has it: the Hub is asked for no more files at a time.
_WORKERS = 8
#: What the Hub says besides and is not of use: files are in the snapshot; nothing is served by Xet from here.
_NOT_KEPT = ("siblings", "xetEnabled")


def find_on_hub(
    repository: Repository, revision: str | None, timeout_seconds: float
) -> tuple[Snapshot, RepositoryRefs]:
    """Return the list of all files of *repository* at *revision*, and its refs. Nothing is downloaded.

    The sha256 of a file in git is not known before it is downloaded: it is empty.

    Raises:
        DatasetNotFoundError: the Hub has no such repository or revision that the token may see.
        AccessDeniedError: the Hub refuses the token.
        UnreachableError: the Hub is out of reach.
    """
    place = f"/api/{repository.repo_type}s/{quote(repository.repo_id)}"
    info = _json(f"{place}/revision/{quote(revision or 'main', safe='')}", repository, timeout_seconds)
    refs = _json(f"{place}/refs", repository, timeout_seconds)
    try:
        commit = str(info["sha"])
        branches, tags, converts = (_names(refs[kind]) for kind in ("branches", "tags", "converts"))
    except (KeyError, TypeError) as exc:
        raise RefusedError(f"{shown_endpoint()} answers what the Hub does not") from exc
    if not is_commit_sha(commit):
        raise RefusedError(f"{shown_endpoint()} answers what the Hub does not: {commit!r:.100} as a commit")
    with telling_unreachable(), asking_the_hub_itself():
        listed = HfApi().list_repo_tree(
            repository.repo_id, recursive=True, revision=commit, repo_type=repository.repo_type
        )
        files = [_file(item) for item in listed if isinstance(item, RepoFile)]
    kept = {name: value for name, value in info.items() if name not in _NOT_KEPT}
    seen = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    snapshot = Snapshot(repository, commit, tuple(sorted(files, key=lambda f: f.path)), info=kept)
    told = RepositoryRefs(repository, branches, tags, converts, (commit,), seen)
    return snapshot, told.with_pull(revision, commit)


def download_from_hub(
    found: Snapshot, local: LocalRepositories, allow: tuple[str, ...] | None, ignore: tuple[str, ...]
) -> Snapshot:
    """Bring those files of *found* that patterns choose into the store, verified; return their snapshot.

    What the store has of other commits is not downloaded again, and what was interrupted is resumed.

    Raises:
        AccessDeniedError: the repository is gated, and the token has no access.
        IntegrityError: what came is not what the Hub's list says.
        UnreachableError: the Hub is out of reach.
    """
    files = [file for file in found.files if matches(file.path, allow, ignore)]
    files, missing = _missing(local, found, files)
    hashed: dict[str, str] = {}
    if missing:
        name = f"{found.repository.folder}/{found.commit}"
        key = f"hub-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        with staging_folder(local.store, key) as folder:
            files, missing = _missing(local, found, files)  # Another process may have had the lock before.
            require_room(folder, sum(file.size_bytes for file in missing))
            shown = task("Downloading", found.repository, None) if missing else contextlib.nullcontext()
            with shown, flushing(folder):
                came = run_all(lambda file: _bring(found, file, folder), missing, workers=_WORKERS)
            for path, file in came:
                hashed[file.path] = file.sha256
                if path.exists():  # Else it was of the same content as another.
                    os.replace(path, folder / file.sha256)
            shutil.rmtree(folder / "hub", ignore_errors=True)  # All may have been in a cache.
            local.take(folder, list({file.sha256: file for _, file in came}.values()))
    files = [file._replace(sha256=hashed.get(file.path, file.sha256)) for file in files]
    return replace(found, files=tuple(files), allow_patterns=allow, ignore_patterns=ignore)


def _missing(
    local: LocalRepositories, found: Snapshot, files: Collection[RepositoryFile]
) -> tuple[list[RepositoryFile], list[RepositoryFile]]:
    """Return *files*, with each sha256 that other snapshots tell, and those that are not in the store."""
    known = {file.oid: file for file in _stored(local, found.repository) if file.oid is not None}
    files = [_with_hash(file, known.get(file.oid or "")) for file in files]
    return files, [file for file in files if not file.sha256 or local.local_path(file) is None]


def _with_hash(file: RepositoryFile, same: RepositoryFile | None) -> RepositoryFile:
    return file._replace(sha256=same.sha256) if same is not None and not file.sha256 else file


def _stored(local: LocalRepositories, repository: Repository) -> Collection[RepositoryFile]:
    snapshots = [local.readable_snapshot(repository, commit) for commit in local.commits(repository)]
    return [file for snapshot in snapshots if snapshot is not None for file in snapshot.files]


def _bring(found: Snapshot, file: RepositoryFile, folder: Path) -> tuple[Path, RepositoryFile]:
    """Bring *file* into *folder*, from the Hub or what stock has cached; return its path and record."""
    try:
        cached = _cached(found, file)
        if cached is not None:
            linked = folder / uuid.uuid4().hex
            with contextlib.suppress(OSError, IntegrityError):  # What is damaged there is downloaded.
                link_from_cache(cached.resolve(), linked)
                return _checked(linked, found.repository, file)
        return _checked(_download(found, file, folder), found.repository, file)
    except ValueError as exc:  # huggingface_hub refuses the name.
        told = f"{file.path!r} of {found.repository} can't be downloaded: {exc} To leave it out: --exclude"
        raise IntegrityError(told) from exc


def _cached(found: Snapshot, file: RepositoryFile) -> Path | None:
    """Return where huggingface_hub, or `datasets` below 3, has cached *file*; None: neither has."""
    repo_type, repo_id = found.repository.repo_type, str(found.info.get("id", found.repository.repo_id))
    with asking_the_hub_itself():  # Else it is recorded as read.
        path = try_to_load_from_cache(repo_id, file.path, revision=found.commit, repo_type=repo_type)
    if isinstance(path, str):
        return Path(path)
    downloads = getattr(sys.modules.get("datasets.config"), "DOWNLOADED_DATASETS_PATH", None)
    if downloads is None:
        return None
    url = f"hf://{repo_type}s/{repo_id}@{found.commit}/{file.path}"
    name = hashlib.sha256(url.encode()).hexdigest()
    cached = Path(downloads).glob(f"{name}*")
    return next((path for path in cached if path.suffix not in (".json", ".lock", ".incomplete")), None)


def _download(found: Snapshot, file: RepositoryFile, folder: Path) -> Path:
    """Have stock download *file* into a cache of its own in *folder*; return where it lies."""
    repository = found.repository
    with telling_unreachable(), asking_the_hub_itself():
        try:
            path = HfApi().hf_hub_download(
                repository.repo_id,
                file.path,
                repo_type=repository.repo_type,
                revision=found.commit,
                cache_dir=folder / "hub",
            )
        except GatedRepoError as exc:
            raise AccessDeniedError(
                f"{repository} is gated, and the token has no access to it: ask for it on the page of the "
                f"repository, and set HF_TOKEN. {_head_of(exc)}"
            ) from without_frames(exc)
        except EntryNotFoundError as exc:
            raise IntegrityError(f"{file.path} is listed, but missing: {_head_of(exc)}") from without_frames(
                exc
            )
        except HfHubHTTPError as exc:
            raise UnreachableError(f"{file.path} of {repository}: {_head_of(exc)}") from without_frames(exc)
    return Path(path).resolve()


def _checked(source: Path, repository: Repository, file: RepositoryFile) -> tuple[Path, RepositoryFile]:
    """Return *source* and the record of what it holds, which must be *file*; else remove it."""
    sha256, size = hashlib.sha256(), source.stat().st_size
    oid = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(source, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha256.update(chunk)
            oid.update(chunk)
    is_right = sha256.hexdigest() == file.sha256 if file.is_lfs else file.oid in (None, oid.hexdigest())
    if size != file.size_bytes or not is_right:
        source.unlink()
        raise IntegrityError(f"{file.path} of {repository} is not what the Hub's list says: {size} bytes")
    return source, file._replace(sha256=sha256.hexdigest())


def _file(item: RepoFile) -> RepositoryFile:
    lfs = item.lfs
    return RepositoryFile(item.path, item.size, lfs.sha256 if lfs else "", item.blob_id, lfs is not None)


def _names(refs: Any) -> dict[str, str]:
    return {str(ref["name"]): str(ref["targetCommit"]) for ref in refs}


def _json(path: str, repository: Repository, timeout_seconds: float) -> Any:
    answer = answer_of(path, timeout_seconds)
    if answer.ok:
        try:
            return answer.json()
        except ValueError as exc:
            raise RefusedError(f"{shown_endpoint()} answers what the Hub does not") from exc
    code, message = answer.headers.get("X-Error-Code", ""), answer.headers.get("X-Error-Message", "")
    text = f"{repository}: {shown_endpoint()} answers {answer.status_code} {message or code}".rstrip()
    is_missing = answer.status_code == 404 or (not code and stands_for_missing(answer))
    if code in ("RepoNotFound", "RevisionNotFound") or is_missing:
        raise DatasetNotFoundError(text)
    if answer.status_code in (401, 403):
        raise AccessDeniedError(f"{text}. Set HF_TOKEN to a token that may read it")
    raise RefusedError(text)


def _head_of(exc: Exception) -> str:
    return without_queries(str(exc).strip()).partition("\n")[0]
