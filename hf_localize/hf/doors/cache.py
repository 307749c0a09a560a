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

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import filter_repo_objects

from hf_localize.errors import HfLocalizeError
from hf_localize.format.repository import Repository
from hf_localize.hf.doors import transport
from hf_localize.hf.doors.clients import endpoints
from hf_localize.store.linking import links_are_free

_log = logging.getLogger(__name__)


def download(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Do as ``_download_to_tmp_and_move`` of huggingface_hub: have the file of a URL at a path."""
    call = inspect.signature(stock).bind(*args, **kwargs).arguments
    target, url = call.get("destination_path"), call.get("url_to_download")
    if (
        isinstance(target, Path)
        and isinstance(url, str)
        and (call.get("force_download") or not target.exists())
    ):
        part = transport.held_part(url)
        places = transport.places()
        if part is not None and places is not None:
            try:
                source = places.localize(part.snapshot, [part.file.path])[part.file.path]
                # A folder that the user has named holds files that people edit.
                _place(source, target, links=target.parent.name == "blobs")
            except (HfLocalizeError, FileNotFoundError) as exc:
                _log.warning("%s is not taken from what is held: %s", part.file.path, exc)
            else:
                return None
    return stock(*args, **kwargs)


def from_cache_only(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call *stock*; with ``local_files_only=True``, have it find what is held, too."""
    if not kwargs.get("local_files_only"):
        return stock(*args, **kwargs)
    with transport.answering_only_what_is_held():
        return stock(*args, **{**kwargs, "local_files_only": False})


def snapshot(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call ``snapshot_download``, which asks for file after file, when all that is held is in the store."""
    try:
        _bring_together(inspect.signature(stock).bind(*args, **kwargs).arguments)
    except (HfLocalizeError, TypeError) as exc:  # Stock says what is wrong with the arguments.
        _log.debug("files are not fetched ahead of snapshot_download: %s", exc)
    return from_cache_only(stock, args, kwargs)


def _bring_together(call: Mapping[str, Any]) -> None:
    places, endpoint = transport.places(), call.get("endpoint") or constants.ENDPOINT
    if places is None or call.get("dry_run") or f"{endpoint}/" not in endpoints():
        return
    repository = Repository(call.get("repo_type") or "model", call["repo_id"])
    refs = places.refs(repository)
    commit = None if refs is None else refs.resolve(call.get("revision"))
    found = None if commit is None else places.snapshot(repository, commit)
    if found is None:
        return
    where = {"cache_dir": call.get("cache_dir"), "revision": found.commit, "repo_type": repository.repo_type}
    patterns = {name: call.get(name) for name in ("allow_patterns", "ignore_patterns")}
    wanted = filter_repo_objects([file.path for file in found.files], **patterns)
    is_cached = functools.partial(try_to_load_from_cache, repository.repo_id, **where)
    absent = {file.path for file in found.files if places.local_path(file) is None}
    if missing := [path for path in wanted if path in absent and not isinstance(is_cached(path), str)]:
        places.localize(found, missing)


def _place(source: Path, target: Path, *, links: bool) -> None:
    """Have the bytes of *source* at *target*, whole at any time."""
    fresh = target.with_name(f".{uuid.uuid4().hex}")
    try:
        if not (links and links_are_free(source) and _has_linked(source, fresh)):
            shutil.copyfile(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _has_linked(source: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return True
    return False
