"""Sharing an entry with everybody: its ZIP in the bucket, and its public record."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from hf_localize.bucket import (
    STALE_SECONDS,
    AclsDisabledError,
    Bucket,
    KeyInfo,
    MultipartUpload,
    NotPermittedError,
    etag_of_parts,
)
from hf_localize.crew import Crew
from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    HfLocalizeError,
    PreconditionFailedError,
    PublishError,
    RestrictedError,
    UnreachableError,
    UnsafeArchiveError,
)
from hf_localize.manifest import Manifest, check_paths
from hf_localize.packing import PackedZip
from hf_localize.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.sources.public import read_record, record_ref
from hf_localize.store import LocalEntry
from hf_localize.web import PublicFiles

_log = logging.getLogger(__name__)
_PART_BYTES = 16 << 20
#: Of all parts that are in memory at the same time.
_MOST_BYTES = 80 << 20
#: An upload has at most 10,000 parts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MOST_PARTS = 10_000
#: How often a publisher may share a dataset again while it is withdrawn.
_TRIES = 10


def check_may_share(manifest: Manifest, share_restricted: Collection[str]) -> None:
    """Refuse to share with everybody what the Hub gives to some people only, unless it is named.

    Args:
        share_restricted: dataset ids whose publisher answers for that. An id, not a switch: one that
            stays in a script must not open the next dataset that the script is used for.

    Raises:
        RestrictedError: the dataset is gated or private, and is not among those ids.
    """
    ids = {manifest.dataset_id, manifest.canonical_id or manifest.dataset_id}
    if manifest.restriction is None or not ids.isdisjoint(share_restricted):
        return
    raise RestrictedError(
        f"{manifest.ref} is {manifest.restriction} on the Hub, so it was not shared with everybody. If its "
        f"terms permit that, name it: --make-public --share-restricted {manifest.dataset_id} (in Python: "
        f"share_restricted={manifest.dataset_id!r})"
    )


def make_public(
    entry: LocalEntry,
    bucket: Bucket,
    outside: PublicFiles,
    *,
    workers: int,
    share_restricted: Collection[str] = (),
) -> bool:
    """Share *entry* with everybody: its ZIP, then its record in ``public_datasets.json``.

    The ZIP is made while it is uploaded; there is no copy of it here.

    Args:
        outside: reads the public files as an outsider does; it tells whether they are public.
        workers: the most requests that are under way at the same time.
        share_restricted: ids of gated or private datasets that may be shared, by :func:`check_may_share`.

    Returns:
        False where the same content is shared already.

    Raises:
        RestrictedError: it is gated or private on the Hub, and not named. Nothing was shared.
        IntegrityError: a file differs from the manifest. Nothing was shared.
        PublishError: it could not be uploaded, or outsiders could not read it. Then the message has
            the bucket policy that helps.
    """
    manifest = entry.hashed_manifest()
    check_may_share(manifest, share_restricted)
    records, _ = bucket.read_json(PUBLIC_RECORDS_KEY)
    key, own_zip = _own_record(records, manifest.ref) or (None, None)
    same = key is not None and records[key].get("digest") == manifest.digest
    if same and all(map(outside.is_readable, (str(own_zip), PUBLIC_RECORDS_KEY))):
        _remove_left_behind(bucket, manifest.ref, records)
        return False
    zip_key = own_zip if same and own_zip else _free_zip_key(records, manifest, bucket)
    made = _upload_public(bucket, outside, zip_key, PackedZip(entry.folder, manifest), workers)
    record = _record(manifest, made, bucket)
    bucket.update_json(
        PUBLIC_RECORDS_KEY, lambda document: _put_record(document, manifest.ref, record), public=True
    )
    if not outside.is_readable(PUBLIC_RECORDS_KEY):
        raise _not_public(bucket, PUBLIC_RECORDS_KEY)
    told = bucket.told_of(zip_key)
    if not outside.is_readable(zip_key) or told is None or told[1].get("digest") != manifest.digest:
        bucket.update_json(PUBLIC_RECORDS_KEY, lambda document: _drop(document, record), public=True)
        raise ConflictError(
            f"{manifest.ref} was withdrawn, or shared otherwise, while it was shared; run the command again"
        )
    _remove_left_behind(bucket, manifest.ref, bucket.read_json(PUBLIC_RECORDS_KEY)[0], replaced=own_zip)
    return True


def withdraw(ref: DatasetRef, bucket: Bucket, outside: PublicFiles) -> bool:
    """Take what *ref* names out of what everybody may read: its record, then its ZIP.

    Args:
        outside: reads the public files as an outsider does; it tells whether the ZIP is gone.

    Returns:
        False where it is not shared.

    Raises:
        IntegrityError: the records can't be understood. They are left as they are.
        ConflictError: a publisher kept sharing it again.
        PublishError: outsiders can read it all the same, from a cache or a former version.
    """
    gone: set[str] = set()
    for _ in range(_TRIES):
        taken = {info.key for info in _zips_of(bucket, ref)}

        def take(document: dict[str, Any], taken: set[str] = taken) -> bool:
            keys = [key for key, value in document.items() if _is_shared_as(value, ref)]
            zips = [document.pop(key).get("s3_zip_key") for key in keys]
            # Whoever else wrote a record does not say what is removed here.
            taken.update(zip_key for zip_key in zips if _is_zip_key(zip_key))
            gone.update(keys)
            return bool(keys)

        bucket.update_json(PUBLIC_RECORDS_KEY, take, public=True)
        records, _ = bucket.read_json(PUBLIC_RECORDS_KEY)
        kept = {value.get("s3_zip_key") for value in records.values() if isinstance(value, dict)}
        # Also one that was left by a withdrawal that was interrupted.
        there = [key for key in sorted(taken - kept) if any(bucket.list_keys(key))]
        if not there and not any(_is_shared_as(value, ref) for value in records.values()):
            return bool(gone)
        for zip_key in there:
            gone.add(zip_key)
            bucket.delete(zip_key)
            if outside.is_readable(zip_key):
                raise PublishError(
                    f"record and ZIP of {ref} are removed from {bucket.address}, but {outside.url(zip_key)} "
                    "can still be read: have the cache before it forget it"
                )
    raise ConflictError(f"{ref} in {bucket.address} was shared again while it was withdrawn")


def _is_shared_as(value: Any, ref: DatasetRef) -> bool:
    record = read_record(value)
    return record_ref(value) == ref or (record is not None and record.answers(ref))


def _is_zip_key(key: Any) -> TypeGuard[str]:
    """Tell whether a record's word for its ZIP may be followed: it lies in the folder of public ZIPs."""
    if not isinstance(key, str) or not key.startswith(f"{PUBLIC_ZIP_FOLDER}/"):
        return False
    with contextlib.suppress(UnsafeArchiveError):
        return bool(check_paths([key], PUBLIC_RECORDS_KEY))
    return False


def public_policy(bucket: Bucket) -> str:
    """Return the bucket policy (JSON) that opens exactly the two public places to everybody."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
    places = (PUBLIC_RECORDS_KEY, f"{PUBLIC_ZIP_FOLDER}/*")
    arn = f"arn:aws:s3:::{bucket.address.name}"
    statement = {
        "Sid": "HfLocalizePublicDatasets",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": [f"{arn}/{bucket.address.key(place)}" for place in places],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


@dataclass(frozen=True, slots=True)
class _Made:
    """A ZIP that was uploaded; sizes in bytes, ``sha256`` in hex."""

    zip_key: str
    size_bytes: int
    sha256: str
    tail_bytes: int


def _upload_public(
    bucket: Bucket, outside: PublicFiles, zip_key: str, packed: PackedZip, workers: int
) -> _Made:
    try:
        made = _send(packed, bucket, zip_key, workers)
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(f"the public ZIP could not be uploaded: {exc}") from exc
    if not outside.is_readable(zip_key):
        bucket.delete(zip_key)
        raise _not_public(bucket, zip_key)
    return made


def _send(packed: PackedZip, bucket: Bucket, zip_key: str, workers: int) -> _Made:
    """Bring the ZIP to *zip_key*, unless it is there; nothing else is overwritten."""
    told = bucket.told_of(zip_key)
    if told is not None and told[1].get("digest") == packed.digest:  # An interrupted run has sent it.
        upload = _Upload(packed, bucket, zip_key, workers, is_sent=True)
        made = upload.run()
        if upload.etag == told[0]:
            return made
    upload = _Upload(packed, bucket, zip_key, workers, is_new=told is None)
    try:
        return upload.run()
    except PreconditionFailedError as exc:
        told = bucket.told_of(zip_key)
        if told is None or told[0] != upload.etag:
            raise ConflictError(f"somebody else is sharing {zip_key}; run the command again") from exc
        return upload.made  # By somebody else, or by us, and the answer was lost.


def _zips_of(bucket: Bucket, ref: DatasetRef) -> list[KeyInfo]:
    """Return the ZIPs whose names are those that ZIPs of *ref* have, whatever record names them."""
    stem = ref.zip_key.removesuffix(".zip")
    own = re.compile(f"{re.escape(stem)}(?:{re.escape(ref.suffix)})?(?:@[0-9a-f]{{8}})?[.]zip")
    return [info for info in bucket.list_keys(stem) if own.fullmatch(info.key)]


def _remove_left_behind(
    bucket: Bucket, ref: DatasetRef, records: Mapping[str, Any], replaced: str | None = None
) -> None:
    """Remove ZIPs of *ref* that no record names, and parts of ZIPs.

    The one that was *replaced* goes at once, others after a day: somebody may be about to name them.
    """
    named = {value.get("s3_zip_key") for value in records.values() if isinstance(value, dict)}
    try:
        left = [info for info in _zips_of(bucket, ref) if info.key not in named]
        bucket.delete_all(i.key for i in left if i.key == replaced or i.age_seconds > STALE_SECONDS)
        bucket.abort_stale(f"{PUBLIC_ZIP_FOLDER}/")
    except (AccessDeniedError, UnreachableError) as exc:
        _log.debug("what interrupted runs may have left of %s stays: %s", ref, exc)


class _Upload:
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
        self._condition: dict[str, str] = {"IfNoneMatch": "*"} if is_new else {}
        self._md5s: dict[int, str] = {}
        self._is_whole = False
        self._packed = packed
        self._bucket = bucket
        self._key = key
        self._part_bytes = max(_PART_BYTES, -(-packed.most_bytes // _MOST_PARTS))
        self._crew = Crew(self._next_piece, min(workers, max(2, _MOST_BYTES // self._part_bytes)))
        self._pieces = packed.pieces()
        self._rest = memoryview(b"")
        self._is_ended = False
        self._making, self._hashing = threading.Lock(), threading.Lock()
        self._local = threading.local()
        self._hash = hashlib.sha256()
        self._parts = self._size_bytes = 0
        self._upload: MultipartUpload | None = None

    def run(self) -> _Made:
        """Make and send it. On any error nothing of it is visible."""
        try:
            self._crew.run()
            if self._upload is not None:
                self._upload.complete(self._parts, **self._condition)
        except HfLocalizeError:
            if self._upload is not None:
                self._give_up(self._upload)
            raise
        finally:
            with contextlib.suppress(ValueError):  # A thread still runs it: somebody pressed Ctrl-C.
                self._pieces.close()
        return self.made

    @property
    def made(self) -> _Made:
        """Return what was made."""
        return _Made(self._key, self._size_bytes, self._hash.hexdigest(), self._packed.tail_bytes)

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
            if not part:
                return 0
            self._parts += 1
            self._size_bytes += len(part)
            number, is_whole = self._parts, self._parts == 1 and self._is_ended
            if number == 1 and not is_whole and not self._is_sent:
                self._upload = self._publicly(
                    lambda public: self._bucket.resume_upload(
                        self._key, self._part_bytes, metadata=self._metadata, public=public
                    )
                )
            # Taken before the next part can be made: so they are hashed in order.
            self._hashing.acquire()
        try:
            self._hash.update(part)
        finally:
            self._hashing.release()
        self._md5s[number] = md5 = hashlib.md5(part, usedforsecurity=False).hexdigest()
        self._is_whole = self._is_whole or is_whole
        if self._is_sent:
            return len(part)
        if is_whole:
            self._publicly(lambda public: self._send_whole(bytes(part), public))
        elif self._upload is not None and self._upload.parts_there.get(number) != md5:
            upload = self._upload
            self._crew.trying(self._key, lambda: upload.send(number, part))
        return len(part)

    def _send_whole(self, data: bytes, public: bool) -> None:
        self._bucket.put(self._key, data, public=public, Metadata=self._metadata, **self._condition)

    @property
    def _metadata(self) -> dict[str, str]:
        return {"digest": self._packed.digest}

    def _fill(self, buffer: memoryview) -> int:
        """Copy what comes next of the ZIP into *buffer*; return how much that was."""
        filled = 0
        was_ended, self._is_ended = self._is_ended, True  # As it is if what follows fails.
        while not was_ended and filled < len(buffer):
            if not self._rest:
                self._rest = next(self._pieces, self._rest)
                if not self._rest:
                    return filled
            count = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        self._is_ended = was_ended
        return filled

    def _publicly(self, work: Callable[[bool], Any]) -> Any:
        try:
            return work(True)
        except (AclsDisabledError, NotPermittedError):
            return work(False)  # A bucket policy may open it, and the right to set ACLs be missing.

    def _give_up(self, upload: MultipartUpload) -> None:
        try:
            upload.abort()
        except HfLocalizeError as exc:
            _log.warning("%s: parts of an upload that failed could not be removed: %s", self._key, exc)


def _not_public(bucket: Bucket, key: str) -> PublishError:
    return PublishError(
        f"{key} in {bucket.address} can't be read without credentials: the bucket does not honour the "
        "public-read ACL, or the credentials lack s3:PutObjectAcl. Nothing was shared. Add this bucket "
        "policy, and allow public policies for the bucket (Block Public Access), then run the command "
        f"again:\n{public_policy(bucket)}"
    )


def _own_record(records: Mapping[str, Any], ref: DatasetRef) -> tuple[str, str] | None:
    """Return the key of the record of *ref*, and that of the ZIP that it names; None: there is none."""
    own = [k for k, v in records.items() if record_ref(v) == ref and _is_zip_key(v.get("s3_zip_key"))]
    return (own[0], records[own[0]]["s3_zip_key"]) if own else None


def _free_zip_key(records: Mapping[str, Any], manifest: Manifest, bucket: Bucket) -> str:
    """Return where the ZIP goes: to the usual key, if nothing else was ever there.

    What is shared is never overwritten: it stays as it is until the record names the new one.
    """
    ref = manifest.ref
    zip_key, named = ref.zip_key, {v.get("s3_zip_key") for v in records.values() if isinstance(v, dict)}
    if zip_key in named and _own_record(records, ref) is None:
        zip_key = f"{zip_key.removesuffix('.zip')}{ref.suffix}.zip"
    told = bucket.told_of(zip_key)
    if zip_key not in named and (told is None or told[1].get("digest") == manifest.digest):
        return zip_key
    content = hashlib.sha256(f"{ref.record_key}\n{manifest.digest}".encode()).hexdigest()[:8]
    return f"{ref.zip_key.removesuffix('.zip')}@{content}.zip"


def _record(manifest: Manifest, made: _Made, bucket: Bucket) -> dict[str, Any]:
    return {
        "dataset_id": manifest.dataset_id,
        "config_name": manifest.config_name,
        "revision": manifest.revision,
        "s3_zip_key": made.zip_key,
        "s3_bucket": bucket.address.name,
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "tail_bytes": made.tail_bytes,
        **described(manifest),
    }


def described(manifest: Manifest) -> dict[str, Any]:
    """Return what a public record tells of an entry, but where its ZIP is."""
    return {
        "dataset_id": manifest.dataset_id,
        "config_name": manifest.config_name,
        "revision": manifest.revision,
        "digest": manifest.digest,
        "canonical_id": manifest.canonical_id,
        "resolved_config": manifest.resolved_config,
        "is_default_config": manifest.is_default_config,
        "commit": manifest.commit,
        "license": manifest.license,
        "gated": manifest.gated,
        "private": manifest.private,
        "splits": {split.name: split.rows for split in manifest.splits},
        "features": manifest.features,
    }


def _put_record(document: dict[str, Any], ref: DatasetRef, record: dict[str, Any]) -> bool:
    """Set *ref*'s record; keep fields of it that are not known here. False: nothing to change."""
    zip_key = record["s3_zip_key"]
    if any(_names(value, zip_key) and record_ref(value) != ref for value in document.values()):
        raise ConflictError(f"another publisher took {zip_key} meanwhile; run the command again")
    own = _own_record(document, ref)
    key = own[0] if own else ref.record_key
    if own is None and key in document:
        key += ref.suffix
    merged = {**document.get(key, {}), **record}
    if document.get(key) == merged:  # Both are plain JSON: a manifest's parts are.
        return False
    document[key] = merged
    return True


def _drop(document: dict[str, Any], record: Mapping[str, Any]) -> bool:
    """Take a record out whose ZIP is not what it says. False: it is not there."""
    zip_key, digest = record["s3_zip_key"], record["digest"]
    keys = [k for k, v in document.items() if _names(v, zip_key) and v.get("digest") == digest]
    return bool([document.pop(key) for key in keys])


def _names(value: Any, zip_key: str) -> bool:
    return isinstance(value, dict) and value.get("s3_zip_key") == zip_key
