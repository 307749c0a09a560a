"""Link files that are held into the cache of huggingface_hub, which else would stream them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import filter_repo_objects

from hf_localize.errors import HfLocalizeError
from hf_localize.format.lockfile import LockedRepository
from hf_localize.format.repository import Repository, Snapshot, is_commit_sha
from hf_localize.hf.doors import endpoints, transport
from hf_localize.hf.doors.state import (
    answering_only_what_is_held,
    goes_to_the_hub,
    is_loading,
    is_written,
    listing_a_part,
    lists_a_part,
)
from hf_localize.hf.recording import record
from hf_localize.settings.paths import expanded
from hf_localize.sources.session import Session, current_session
from hf_localize.store.linking import link_from_cache, links_are_free

_log = logging.getLogger(__name__)
_signature = functools.lru_cache(maxsize=8)(inspect.signature)
_are_free = functools.lru_cache(maxsize=1024)(links_are_free)


def download(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Do as ``_download_to_tmp_and_move`` of huggingface_hub: have the file of a URL at a path."""
    call = _signature(stock).bind(*args, **kwargs).arguments
    target, url = call.get("destination_path"), call.get("url_to_download")
    if (
        isinstance(target, Path)
        and isinstance(url, str)
        and (call.get("force_download") or not target.exists())
    ):
        part = transport.held_part(url)
        places = transport.places()
        if part is not None:
            try:
                source = places.local_path(part.file)
                if source is None:
                    source = places.localize(part.snapshot, [part.file.path])[part.file.path]
                # Only the cache has both in one folder. People edit the files of one that they have named.
                _place(source, target, links=target.parent == call["incomplete_path"].parent)
                call["incomplete_path"].unlink(missing_ok=True)  # Of a download before, which was aborted.
            except (HfLocalizeError, FileNotFoundError) as exc:
                _log.warning("%s is not taken from what is held: %s", part.file.path, exc)
            else:
                return None
    return stock(*args, **kwargs)


def one_file(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call ``hf_hub_download`` or ``try_to_load_from_cache``, and record a file that was asked for by commit.

    Stock finds that in a cache or folder without a request. A request is recorded when it is answered.
    """
    path = from_cache_only(stock, args, kwargs)
    if isinstance(path, str) and not goes_to_the_hub.get():
        with contextlib.suppress(HfLocalizeError):  # Of the settings, say: it is read all the same.
            _record(_signature(stock).bind(*args, **kwargs).arguments)
    return path


def _record(call: Mapping[str, Any]) -> None:
    revision = call.get("revision") or "main"
    commit = getattr(revision, "resolved", revision)
    if not is_commit_sha(commit) or not _is_of_the_hub(call):
        return
    repository = _repository_of(call)
    file = "/".join(filter(None, (call.get("subfolder"), call["filename"])))
    if not is_loading(repository):
        locked = LockedRepository(repository, str(revision), commit, (file,))
        record(current_session().settings.record, repository, lambda: locked, "cache")


def _repository_of(call: Mapping[str, Any]) -> Repository:
    return Repository(call.get("repo_type") or "model", call["repo_id"])


def _is_of_the_hub(call: Mapping[str, Any]) -> bool:
    return f"{(call.get('endpoint') or constants.ENDPOINT).rstrip('/')}/" in endpoints()


def from_cache_only(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call *stock*; with ``local_files_only=True``, have it find what is held, too."""
    if not kwargs.get("local_files_only"):
        return stock(*args, **kwargs)
    with answering_only_what_is_held():
        return stock(*args, **{**kwargs, "local_files_only": False})


def snapshot(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call ``snapshot_download``, which asks for file after file, when all that is held is in the store.

    It is not called where it has put the same commit into the cache before, and all of that is still there.
    """
    folder, is_partial = None, True
    try:
        with transport.one_session() as session:
            call = _signature(stock).bind(*args, **kwargs).arguments
            found = _held(call)
            is_partial = found is not None and not found.is_complete
            if found is not None:
                folder = _bring_together(call, found, _root_of_cache(stock, call), session)
    except (HfLocalizeError, TypeError) as exc:  # Stock says what is wrong with the arguments.
        _log.debug("files are not fetched ahead of snapshot_download: %s", exc)
    if folder is not None:
        return folder
    with listing_a_part() if is_partial else contextlib.nullcontext():
        return from_cache_only(stock, args, kwargs)


def keep_list(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Have stock cache the list of a commit's files, unless it may lack those that are not held.

    Once stock has cached a list, it never asks for it again, even if the Hub or the bucket has more files.
    """
    return None if lists_a_part.get() else stock(*args, **kwargs)


def _root_of_cache(stock: Callable[..., Any], call: Mapping[str, Any]) -> str:
    """Return the cache that *call* means, as *stock* writes it: some releases leave it as it is given."""
    root = os.fspath(call.get("cache_dir") or constants.HF_HUB_CACHE)
    is_expanded = "expanduser" in inspect.unwrap(stock).__code__.co_names
    return str(expanded(root).resolve()) if is_expanded else root


def _held(call: Mapping[str, Any]) -> Snapshot | None:
    """Return the held snapshot of the commit that *call* asks for; None: stock downloads the files."""
    places = transport.places()
    if call.get("dry_run") or not _is_of_the_hub(call):
        return None
    repository = _repository_of(call)
    if is_written(repository):
        return None
    spellings = places.spellings(repository, everywhere=not transport.may_ask_hub())
    refs = next(filter(None, map(places.refs, spellings)), None)
    # A ResolvedRevision of huggingface_hub is the text "main", and names the commit that it was.
    revision = getattr(call.get("revision"), "resolved", None) or call.get("revision") or "main"
    locked, refusal = transport.locked_commit(repository, revision)
    if refusal is not None:
        return None  # Stock raises this refusal as the error of its first request.
    commit = None if refs is None else refs.resolve(locked or revision)
    return None if refs is None or commit is None else places.snapshot(refs.repository, commit)


def _bring_together(call: Mapping[str, Any], found: Snapshot, root: str, session: Session) -> str | None:
    """Have the files that *call* asks for in the cache; return their folder if nothing was missing there."""
    places = transport.places()
    repository = _repository_of(call)
    patterns = {name: call.get(name) for name in ("allow_patterns", "ignore_patterns")}
    files = {file.path: file for file in found.files}
    wanted = {path: files[path] for path in filter_repo_objects(list(files), **patterns)}
    if call.get("local_dir") is not None or call.get("force_download"):
        if missing := [path for path, file in wanted.items() if places.local_path(file) is None]:
            places.localize(found, missing)
        return None
    name = repo_folder_name(repo_id=repository.repo_id, repo_type=repository.repo_type)
    folder = Path(root, name)
    pointers = {path: folder / "snapshots" / found.commit / path for path in wanted}
    absent = [path for path, pointer in pointers.items() if not pointer.exists()]
    if wanted and not absent and found.is_complete and session.settings.record is None:
        named = folder / "refs" / (call.get("revision") or "main")
        with contextlib.suppress(OSError):
            whole = os.path.join(root, name, "snapshots", found.commit)  # As stock writes it.
            return whole if named.read_text() == found.commit else None
    sources = {path: places.local_path(wanted[path]) for path in absent}
    sources.update(
        places.localize(found, missing) if (missing := [p for p in absent if not sources[p]]) else {}
    )
    if getattr(constants, "HF_HUB_DISABLE_SYMLINKS", False):
        return None
    with contextlib.suppress(OSError):  # Where this fails, the client does it in its own way.
        for path in absent:
            _add(sources[path], folder / "blobs" / wanted[path].etag, pointers[path])
    return None


def _add(source: Path | None, blob: Path, pointer: Path) -> None:
    """Put a file into a cache as huggingface_hub does."""
    if not blob.exists():
        if source is None:
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        _place(source, blob, links=True)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.symlink_to(os.path.relpath(blob, pointer.parent))


def _place(source: Path, target: Path, *, links: bool) -> None:
    """Have the bytes of *source* at *target*, whole at any time."""
    fresh = target.with_name(f".{uuid.uuid4().hex}")
    try:
        if links and _are_free(source.parent):
            link_from_cache(source, fresh)  # Users may write into the files of their cache.
        else:
            shutil.copyfile(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
