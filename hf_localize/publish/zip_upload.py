"""A public ZIP on its way into the bucket: it is made while it is sent, and not kept here."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hf_localize.errors import ConflictError, HfLocalizeError, PreconditionFailedError
from hf_localize.format.zip.writer import PackedZip
from hf_localize.progress import Task, part_of, sending, task
from hf_localize.s3.bucket import Bucket
from hf_localize.s3.conditions import Write, write_over
from hf_localize.s3.connection import hex_md5
from hf_localize.s3.multipart import MultipartUpload, etag_of_parts, part_bytes_of, resume_upload
from hf_localize.transfer.parts import PART_BYTES
from hf_localize.transfer.workers import WorkerPool

#: Of all parts that are in memory at the same time.
_MAX_BYTES = 80 << 20


@dataclass(frozen=True, slots=True)
class MadeZip:
    """A ZIP that was uploaded; ``sha256`` in hex."""

    size_bytes: int
    sha256: str


def send_zip(
    packed: PackedZip, bucket: Bucket, zip_key: str, workers: int, *, is_damaged: bool = False
) -> MadeZip:
    """Bring the ZIP to *zip_key*, unless it is there; nothing else is overwritten.

    Args:
        is_damaged: what is there was found to be wrong, whatever it says of itself.

    Raises:
        ConflictError: somebody else brings another one there.
    """
    told, digest = bucket.head_of(zip_key), packed.manifest.digest
    if told and not told.is_archived and not is_damaged and told.metadata.get("digest") == digest:
        # An interrupted run has sent it.
        upload = _ZipUpload(packed, bucket, zip_key, workers, is_sent=True)
        made = upload.run()
        if upload.etag == told.etag:
            return made
    upload = _ZipUpload(packed, bucket, zip_key, workers, is_new=told is None)
    try:
        return upload.run()
    except PreconditionFailedError as exc:
        told = bucket.head_of(zip_key)
        if told is None or told.etag != upload.etag:
            raise ConflictError(f"another process is sharing {zip_key}; run the command again") from exc
        return upload.made  # By somebody else, or by us, and the answer was lost.


class _ZipUpload:
    """A ZIP on its way into the bucket. Its parts are made and hashed in order, and sent in any.

    Where it *is_sent* already, it is made only to tell its ``etag``: the MD5 of the whole, or that of
    the parts' MD5s, as most servers have it. Where it *is_new*, nothing is put in the place of
    another object.
    """

    def __init__(
        self,
        packed: PackedZip,
        bucket: Bucket,
        key: str,
        workers: int,
        *,
        is_sent: bool = False,
        is_new: bool = False,
    ) -> None:
        self._is_sent = is_sent
        self._is_new = is_new
        self._md5s: dict[int, str] = {}
        self._is_whole = False
        self._packed = packed
        self._bucket = bucket
        self._key = key
        self._part_bytes = part_bytes_of(packed.most_bytes, PART_BYTES)
        self._pool = WorkerPool(self._next_piece, min(workers, max(2, _MAX_BYTES // self._part_bytes)))
        self._pieces = packed.pieces()
        self._rest = memoryview(b"")
        self._is_ended = False
        self._making, self._hashing = threading.Lock(), threading.Lock()
        self._local = threading.local()
        self._hash = hashlib.sha256()
        self._parts = self._size_bytes = 0
        self._upload: MultipartUpload | None = None
        self._sending: Task | None = None

    def run(self) -> MadeZip:
        """Make and send it. On any error nothing of it is visible."""
        manifest = self._packed.manifest
        try:
            with (
                task("Sending ZIP of", manifest.ref, () if self._is_sent else None) as self._sending,
                task("Packing", manifest.ref, manifest.files),
            ):
                self._pool.run()
            if self._upload is not None:
                upload = self._upload
                self._write(lambda condition: upload.complete(self._parts, **condition))
        except HfLocalizeError:
            if self._upload is not None:
                self._upload.give_up()
            raise
        finally:
            with contextlib.suppress(ValueError):  # A thread still runs it: somebody pressed Ctrl-C.
                self._pieces.close()
        return self.made

    @property
    def made(self) -> MadeZip:
        """Return what was made."""
        return MadeZip(self._size_bytes, self._hash.hexdigest())

    @property
    def etag(self) -> str:
        """Return the object's ETag, without quotes."""
        if self._is_whole:
            return self._md5s[1]
        return etag_of_parts(self._md5s[n] for n in range(1, self._parts + 1))

    def _next_piece(self) -> Callable[[], int] | None:
        return None if self._is_ended else self._send_part

    def _send_part(self) -> int:
        buffer: memoryview = getattr(self._local, "buffer", None) or memoryview(bytearray(self._part_bytes))
        self._local.buffer = buffer
        with self._making:
            part = buffer[: self._fill(buffer)]
            if self._sending is not None and self._is_ended:  # How much it is is known by now.
                self._sending.total = self._size_bytes + len(part)
            if not part:
                return 0
            self._parts += 1
            self._size_bytes += len(part)
            number, is_whole = self._parts, self._parts == 1 and self._is_ended
            if number == 1 and not is_whole and not self._is_sent:
                self._bucket.write(self._begin)
            # Taken before the next part can be made: so they are hashed in order.
            self._hashing.acquire()
        try:
            self._hash.update(part)
        finally:
            self._hashing.release()
        self._md5s[number] = md5 = hex_md5(part)
        self._is_whole = self._is_whole or is_whole
        if self._is_sent:
            return len(part)
        note = part_of(self._sending, self._key)
        if is_whole:
            data = bytes(part)
            self._write(
                lambda condition: self._bucket.put(
                    self._key, data, public=True, md5=md5, Metadata=self._metadata, **condition
                )
            )
        elif self._upload is not None and self._upload.parts_there.get(number) != md5:
            upload = self._upload
            with sending(note):
                self._pool.retrying(self._key, lambda: upload.send(number, part, md5))
        note(len(part))
        return len(part)

    def _begin(self, acl: Mapping[str, str]) -> None:
        self._upload = resume_upload(
            self._bucket.connection, self._key, self._part_bytes, metadata=self._metadata, acl=acl
        )

    def _write(self, write: Write) -> None:
        """Make the object by *write*; where it is new, only if nobody else has made one meanwhile."""
        if self._is_new:
            write_over(self._bucket, self._key, None, write)
        else:
            write({})

    @property
    def _metadata(self) -> dict[str, str]:
        return {"digest": self._packed.manifest.digest}

    def _fill(self, buffer: memoryview) -> int:
        """Copy what comes next of the ZIP into *buffer*; return how much that was."""
        filled = 0
        while not self._is_ended and filled < len(buffer):
            if not self._rest:
                piece = next(self._pieces, None)  # None also after it has raised, in another thread.
                if piece is None:
                    self._is_ended = True
                    break
                self._rest = piece
            count = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled
