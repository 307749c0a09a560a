"""Paths of this machine in prepared data: found, and put as stock has them where it streams from the Hub."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hf_localize.format.files import read_whole, replacing
from hf_localize.format.manifest import Manifest
from hf_localize.format.save_to_disk import INFO_FILE
from hf_localize.format.sealed_json import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

#: A file in the cache of huggingface_hub: repository, commit and path.
_SNAPSHOT = re.compile(r"datasets--([^/]+)/snapshots/([0-9a-f]{40})/(.+)")
#: A file of an archive in the cache of `datasets`, in a folder named by the sha256 of the archive's path.
_EXTRACTED = re.compile(r"extracted/([0-9a-f]{64})/(.+)")

#: A path that counts from the root of a machine, also of an archive (``zip://a::/home/me/b.zip``).
_ON_A_DISK = re.compile(r"(.*::)?(file:|/|~|[A-Za-z]:[\\/]|\\\\)", re.DOTALL)
_IN_ARCHIVE = re.compile(r"\w+:///?([^:]+)::")
_IN_REPOSITORY = re.compile(r"hf://datasets/[^@]+@[^/]+/(.+)")


class LocalPaths(NamedTuple):
    """Where files that came with a dataset lie on this machine.

    Args:
        hub: caches of huggingface_hub.
        downloads: folders of what `datasets` downloads.
        source: the folder from which the dataset was read, if that is the user's own.
    """

    hub: tuple[str, ...]
    downloads: tuple[str, ...]
    source: str | None = None

    def translated(self, value: str, *, is_path: bool) -> str:
        """Return *value*, if it is a path of this machine, as stock has it in a stream from the Hub.

        In the user's own folder it becomes relative to that. Another path of this machine becomes the
        name of its file.

        Args:
            is_path: it is known to be a path, wherever it may lie.
        """
        chain, divider, path = value.rpartition("::")
        for root in self.hub:
            if (rest := _below(path, root)) and (found := _SNAPSHOT.fullmatch(rest)):
                repository, commit, name = found.groups()
                return f"{chain}{divider}hf://datasets/{repository.replace('--', '/')}@{commit}/{name}"
        for root in self.downloads:
            if rest := _below(path, root):
                return f"{chain}{divider}{_downloaded(root, rest)}"
        if self.source and (rest := _below(path, self.source)):
            return f"{chain}{divider}{rest}"
        roots = (*self.hub, *self.downloads)
        is_ours = (is_path and path.startswith(os.sep)) or any(_below(path, root) for root in roots)
        return f"{chain}{divider}{os.path.basename(path)}" if is_ours else value

    def media_name(self, path: str) -> str:
        """Return the path that a media value has once its file at *path* is embedded.

        It is that in the repository, the user's own folder or the archive from which the file is.
        """
        shown = self.translated(path, is_path=True)
        if found := _IN_ARCHIVE.match(shown) or _IN_REPOSITORY.fullmatch(shown):
            return found.group(1)
        return shown.rpartition("/")[2] if "://" in shown else shown


def names_local_files(folder: Path, manifest: Manifest) -> bool:
    """Tell whether what `save_to_disk` wrote in *folder* names files of the machine on which it was made.

    `datasets` notes from which files it has read, and the builder of WebDataset puts it into each row.
    """
    for path in (file.path for file in manifest.files if file.path.rpartition("/")[2] == INFO_FILE):
        document = parse_json(read_whole(folder / path), str(folder / path))
        checksums = document.get("download_checksums")
        if isinstance(checksums, dict) and any(map(_ON_A_DISK.match, checksums)):
            return True
    if manifest.info.get("builder_name") != "webdataset" or "__url__" not in manifest.features:
        return False
    return any(
        value is not None and _ON_A_DISK.match(value)
        for path in manifest.shard_paths()
        for value in _texts(folder / path, "__url__")
    )


def _texts(shard: Path, column: str) -> Iterator[str | None]:
    import pyarrow as pa

    with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            yield from batch.column(column).to_pylist()


def _below(path: str, root: str) -> str | None:
    """Return the path relative to *root*, with slashes; None: it does not lie below it."""
    for folder in _spellings(root):
        if path.startswith(folder):
            return path[len(folder) :].replace(os.sep, "/")
    return None


@functools.lru_cache(maxsize=64)
def _spellings(root: str) -> tuple[str, ...]:
    """Return the folder *root* as it is named, and without symbolic links; each ends in a slash."""
    return tuple(dict.fromkeys(os.path.join(name, "") for name in (root, os.path.realpath(root))))


@functools.lru_cache(maxsize=4096)
def _downloaded(root: str, rest: str) -> str:
    """Return from where the file *rest* of the folder *root* was downloaded; if nobody knows, its name."""
    if found := _EXTRACTED.fullmatch(rest):
        digest, member = found.groups()
        for archive in (str(path.with_suffix("")) for path in Path(root).glob("*.json")):
            if hashlib.sha256(archive.encode()).hexdigest() == digest:
                return f"zip://{member}::{_url_of(archive) or os.path.basename(archive)}"
        return member
    return _url_of(os.path.join(root, rest)) or os.path.basename(rest)


def _url_of(path: str) -> str | None:
    """Return the URL of what `datasets` has downloaded to *path*, without a query, where signatures are."""
    try:
        url: str = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url.partition("?")[0]


def translate(shard: Path, columns: Collection[str] | None, paths: LocalPaths) -> None:
    """Translate the paths of this machine in the Arrow stream file *shard*, by *paths*.

    Args:
        columns: those that hold nothing but paths; None: any text, at any depth, may be one.
    """
    import pyarrow as pa

    if columns is None and not _holds(shard, (*paths.hub, *paths.downloads)):
        return
    change = functools.partial(paths.translated, is_path=columns is not None)
    with replacing(shard) as part, contextlib.ExitStack() as opened:
        source = opened.enter_context(pa.memory_map(str(shard)))
        reader = opened.enter_context(pa.ipc.open_stream(source))
        writer = opened.enter_context(pa.ipc.new_stream(str(part), reader.schema))
        for batch in reader:
            for index, field in enumerate(batch.schema):
                if columns is None or field.name in columns:
                    batch = batch.set_column(index, field, _changed(batch.column(index), change))
            writer.write_batch(batch)


def _holds(shard: Path, roots: Collection[str]) -> bool:
    """Tell whether any of *roots* stands in the bytes of *shard*: its values are not compressed."""
    names = {os.fsencode(name) for root in roots for name in _spellings(root)}
    with open(shard, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(name) >= 0 for name in names)


def _changed(array: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Return *array*, which is no slice, with each text as *change* returns it."""
    import pyarrow as pa

    kind, mask = array.type, array.is_null() if array.null_count else None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([value and change(value) for value in array.to_pylist()], kind)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, _changed(array.dictionary, change))
    if pa.types.is_struct(kind) and kind.num_fields:
        children = [_changed(array.field(index), change) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if pa.types.is_fixed_size_list(kind):
        return type(array).from_arrays(_changed(array.values, change), type=kind, mask=mask)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return type(array).from_arrays(array.offsets, _changed(array.values, change), type=kind, mask=mask)
    return array
