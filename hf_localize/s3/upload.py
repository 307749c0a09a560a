"""Bringing files to a bucket, many at once, each checked against its record while it moves."""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from hf_localize.errors import IntegrityError
from hf_localize.format.manifest import FileRecord
from hf_localize.format.streams import read_exactly
from hf_localize.progress import counter, part_counter, sending
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.connection import hex_md5
from hf_localize.s3.multipart import MultipartUpload, etag_of_parts, part_bytes_of, resume_upload
from hf_localize.transfer.parts import SENT_PART_BYTES, Buffers, most_at_once
from hf_localize.transfer.workers import WorkerPool


def send_files(
    files: Iterable[tuple[FileRecord, Path, str]],
    bucket: Bucket,
    *,
    workers: int,
    public: bool = False,
    beside: Iterable[Callable[[], int]] = (),
) -> None:
    """Send each file to its key, several at a time. Only what matches its record is published.

    Args:
        files: record, file and key of each.
        workers: the most requests that are under way at the same time; fewer where files are large.
        public: give the objects the ``public-read`` ACL where that is possible.
        beside: more pieces of work for the same threads, which are begun first.

    Raises:
        IntegrityError: a file differs from its record. The object is not made.
        UnreachableError: the bucket did not take it in several tries.
    """
    lock = threading.Lock()

    def next_piece() -> Callable[[], int] | None:
        with lock:
            return next(pieces, None)

    files = list(files)
    sizes = [_part_bytes(record) for record, _, _ in files] or [0]
    most, mean_bytes = most_at_once(workers, max(sizes)), sum(sizes) // len(sizes)
    pool, buffers = WorkerPool(next_piece, most, piece_bytes=mean_bytes), Buffers()
    outgoing = [_Outgoing(*file, bucket, pool, buffers, public=public) for file in files]
    pieces = itertools.chain(beside, _send_pieces(outgoing))
    pool.run()


def etag_of(record: FileRecord, path: Path) -> str:
    """Return the ETag (without quotes) that most servers give the file at *path* once it is sent."""
    with open(path, "rb") as source:
        md5s = [hex_md5(part) for part in iter(lambda: source.read(_part_bytes(record) or 1), b"")]
    if record.size_bytes <= SENT_PART_BYTES:
        return "".join(md5s) or hex_md5(b"")
    return etag_of_parts(md5s)


class _Outgoing:
    """A file on its way into a bucket. Its parts are read and hashed in order, and sent in any."""

    def __init__(
        self,
        record: FileRecord,
        path: Path,
        key: str,
        bucket: Bucket,
        pool: WorkerPool,
        buffers: Buffers,
        *,
        public: bool,
    ) -> None:
        self._public = public
        self.record = record
        self._path = path
        self._key = key
        self._bucket = bucket
        self._pool = pool
        self._buffers = buffers
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._source: io.FileIO | None = None
        self._upload: MultipartUpload | None = None
        self._read_bytes = 0
        self._parts = self._parts_left = 0

    def pieces(self) -> Iterator[Callable[[], int]]:
        """Yield what is to be done, in order; several threads may do it at the same time."""
        size = self.record.size_bytes
        if size <= SENT_PART_BYTES:
            yield self._send_whole
            return
        part_bytes = _part_bytes(self.record)
        self._parts = self._parts_left = -(-size // part_bytes)
        for _ in range(self._parts):
            yield lambda: self._send_part(part_bytes)

    def _send_whole(self) -> int:
        data = self._path.read_bytes() if self._path.exists() else b""
        self._hash.update(data)
        if self._hash.hexdigest() != self.record.sha256:
            raise self._differs()
        note = counter(self.record.path)
        with sending(note):
            self._pool.retrying(
                self._key,
                lambda: self._bucket.put_file(self._key, data, self.record.sha256, public=self._public),
            )
        note(len(data))
        return len(data)

    def _send_part(self, part_bytes: int) -> int:
        with self._lock:
            if self._upload is None:
                self._source = open(self._path, "rb", buffering=0)  # noqa: SIM115  # Closed with the last part.
                self._bucket.write(self._begin, public=self._public)
            assert self._source is not None
            assert self._upload is not None
            upload = self._upload
            number = self._read_bytes // part_bytes + 1
            left = self.record.size_bytes - self._read_bytes
            data = self._buffers.get("part", part_bytes)[: min(part_bytes, left)]
            is_short = read_exactly(self._source, data) > 0
            self._read_bytes += len(data)
            self._hash.update(data)
            is_last = self._read_bytes == self.record.size_bytes
            if is_short or (is_last and self._source.read(1)):
                self._source.close()
                upload.give_up()
                raise self._differs()
        note = part_counter(self.record.path)
        there = upload.parts_there.get(number)
        md5 = None if there is None else hex_md5(data)
        if there is None or there != md5:
            with sending(note):
                self._pool.retrying(self._key, lambda: upload.send(number, data, md5))
        note(len(data))
        with self._lock:
            self._parts_left -= 1
            is_done = self._parts_left == 0
        if is_done:
            self._source.close()
            if self._hash.hexdigest() != self.record.sha256:
                upload.give_up()
                raise self._differs()
            self._pool.retrying(self._key, lambda: upload.complete(self._parts))
        return len(data)

    def _begin(self, acl: Mapping[str, str]) -> None:
        metadata, part_bytes = {"sha256": self.record.sha256}, _part_bytes(self.record)
        self._upload = resume_upload(
            self._bucket.connection, self._key, part_bytes, metadata=metadata, acl=acl
        )

    def _differs(self) -> IntegrityError:
        return IntegrityError(
            f"{self._path} differs from the entry's manifest; nothing was published. "
            "Register the dataset again, or download it again."
        )


def _part_bytes(record: FileRecord) -> int:
    """Return how much of a file is sent at a time."""
    size = record.size_bytes
    return size if size <= SENT_PART_BYTES else part_bytes_of(size, SENT_PART_BYTES)


def _send_pieces(files: list[_Outgoing]) -> Iterator[Callable[[], int]]:
    """Yield the pieces of all *files*, those of several large ones in turns: each reads in order."""
    large = [file.pieces() for file in files if file.record.size_bytes > SENT_PART_BYTES]
    for first in range(0, len(large), 4):
        group = large[first : first + 4]
        while group:
            for pieces in list(group):
                piece = next(pieces, None)
                if piece is None:
                    group.remove(pieces)
                else:
                    yield piece
    for file in files:
        if file.record.size_bytes <= SENT_PART_BYTES:
            yield from file.pieces()
