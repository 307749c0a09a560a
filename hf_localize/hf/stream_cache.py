"""Streams that leave what they have read whole in the local store, so that the next reading is local."""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from hf_localize.errors import HfLocalizeError, IntegrityError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.refs import DatasetRef
from hf_localize.format.streams import SeekableStream
from hf_localize.sources.base import StoredEntry
from hf_localize.sources.resolver import Resolver
from hf_localize.store.commit import commit_part
from hf_localize.store.entry import LocalEntry
from hf_localize.store.origins import record_origin
from hf_localize.store.staging import incoming_folder
from hf_localize.transfer.flushing import begin_flush
from hf_localize.transfer.remote_file import RemoteFile, remote_of

_log = logging.getLogger(__name__)
#: Stores that could not be written: they are not tried again by this process.
_given_up: set[Path] = set()


@dataclass(slots=True)
class ReadThrough:
    """An entry that lies elsewhere: a file that is read from its first byte to its last is kept.

    It is added to what is here of the entry in part; with the last shard the entry becomes whole.
    A file that is read only partly leaves nothing, and a store that can't be written is none.
    """

    entry: StoredEntry
    ref: DatasetRef
    resolver: Resolver
    _home: LocalEntry | None = None

    def open(self, path: str) -> BinaryIO:
        """Return a seekable stream over the file at *path*: the store's own, or the entry's."""
        record = self.entry.manifest.file(path)
        local = self._holding()
        if local is not None and local.has_file(record):
            with contextlib.suppress(IntegrityError):  # It has just become whole, or was replaced.
                return local.open(path)
        stream = self.entry.open(path)
        if not record.sha256 or not record.size_bytes or self.resolver.store.path in _given_up:
            return stream
        return cast("BinaryIO", _Kept(stream, record, self))

    def keep(self, folder: Path, path: str) -> None:
        """Add the file *path* in *folder*, which was checked, to what is in the store.

        Raises:
            StoreError: the store can't be written.
        """
        local = self._holding()
        if local is None or not local.has_file(self.entry.manifest.file(path)):  # Else another was faster.
            local = self._home = commit_part(self.resolver.store, folder, self.entry.manifest, [path])
            record_origin(self.resolver.store.path, local.manifest, self.resolver.store.bucket)
        if local.is_partial and self.entry.manifest.shard_paths() <= local.paths():
            self._complete()

    def _holding(self) -> LocalEntry | None:
        """Return what is in the store of this content."""
        if self._home is None or self._home.was_replaced():
            with contextlib.suppress(OSError):  # A store that can't be read holds nothing.
                self._home = self.resolver.store.holding(self.entry.manifest)
        return self._home

    def _complete(self) -> None:
        """Fetch what is left, which is little, and make the entry whole."""
        try:
            self._home = self.resolver.localize_entry(self.entry, self.ref)
        except (HfLocalizeError, OSError) as exc:  # A later load does it.
            _log.info("%s: all shards are stored, but the rest is not: %s", self.ref, exc)


class _Kept(SeekableStream):
    """A stream that is copied into the store while it is read."""

    def __init__(self, stream: BinaryIO, record: FileRecord, cache: ReadThrough) -> None:
        self._stream = stream
        self._record = record
        self._cache = cache
        self._held = contextlib.ExitStack()
        self._sink: io.FileIO | None = None
        self._written = self._flushed = 0
        self._try(self._begin)

    @property
    def remote(self) -> RemoteFile | None:
        """Return the remote file that is copied, if it is one."""
        return remote_of(self._stream)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset*; then it is not read from its first byte to its last."""
        self._forget()
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset of the byte that is read next."""
        return self._stream.tell()

    def read(self, size: int | None = -1) -> Any:
        """Return up to *size* bytes; what the stream raises about its end, it raises here."""
        data = self._stream.read(-1 if size is None else size)
        if self._sink is not None:
            self._try(lambda: self._copy(data))
        return data

    def close(self) -> None:
        """Close the stream; of a file that was not read to its end nothing stays."""
        self._forget()
        self._stream.close()
        super().close()

    def _begin(self) -> None:
        store = self._cache.resolver.store
        folder = self._held.enter_context(incoming_folder(store, self._cache.entry.digest))
        path = folder / self._record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = self._held.enter_context(path.open("wb", buffering=0))
        self._folder = folder

    def _copy(self, data: Any) -> None:
        """Write what was read. The read of the last byte has checked the whole file."""
        assert self._sink is not None
        rest = memoryview(data)
        while rest:
            count = self._sink.write(rest)
            self._written += count
            rest = rest[count:]
        self._flushed = begin_flush(self._sink.fileno(), self._flushed, self._written)
        if self._written == self._record.size_bytes:
            self._cache.keep(self._folder, self._record.path)
            self._forget()

    def _try(self, work: Any) -> None:
        """Do *work*; where the store can't be written, say so once, and only read from then on."""
        try:
            work()
        except OSError as exc:
            self._forget()
            store = self._cache.resolver.store.path
            if store not in _given_up:
                _given_up.add(store)
                _log.warning(
                    "%s is streamed without being stored (HGLOC_STREAM_CACHE): the local store %s can't "
                    "be written: %s",
                    self._cache.ref,
                    store,
                    exc,
                )

    def _forget(self) -> None:
        """Remove what is on its way."""
        self._sink = None
        self._held.close()
