"""Sharing an entry with everybody: its ZIP in the bucket, and its public record."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    PublishError,
    RestrictedError,
    UnreachableError,
)
from hf_localize.format.manifest import UNKNOWN, Manifest, Terms
from hf_localize.format.policies import policy
from hf_localize.format.public_records import (
    described,
    drop_record,
    is_shared_as,
    is_zip_key,
    own_record,
    put_record,
    record_ref,
    require_readable,
)
from hf_localize.format.refs import PUBLIC_RECORDS_KEY, PUBLIC_ZIP_FOLDER, DatasetRef
from hf_localize.format.zip.writer import PackedZip
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.catalog_pages import remove_pages
from hf_localize.publish.former_versions import close_versions
from hf_localize.publish.inspect import sha256_of
from hf_localize.publish.zip_upload import MadeZip, send_zip
from hf_localize.s3.bucket import Bucket, KeyInfo
from hf_localize.s3.multipart import STALE_SECONDS, abort_stale
from hf_localize.s3.shared_json import read_json, update_json
from hf_localize.store.entry import LocalEntry

_log = logging.getLogger(__name__)
#: How often a publisher may share a dataset again while it is withdrawn.
_TRIES = 10
#: The pauses before the checks whether everyone can read what was shared.
_PAUSES_SECONDS = (0.1, 0.3)


def check_may_share(
    manifest: Manifest, share_restricted: Collection[str], ask_hub: Callable[[str], Terms | None] | None
) -> Manifest:
    """Return *manifest* with what the Hub says of it now; refuse what the Hub does not give to everybody.

    The Hub is asked whatever the manifest says, unless that is gated or private: a dataset may have
    become so since it was captured, and data that came from elsewhere may be the Hub's all the same.

    Args:
        share_restricted: dataset ids whose publisher answers for that. An id, not a switch: one that
            stays in a script must not open the next dataset that the script is used for.
        ask_hub: returns what the Hub says of a dataset id; None: the Hub may not be asked.

    Raises:
        RestrictedError: the dataset is gated or private, or nobody can tell, and it is not among those ids.
        IntegrityError: nobody could use its record: the name of its ZIP would be too long.
    """
    require_readable(described(manifest), manifest.ref)
    named = {manifest.dataset_id, manifest.canonical_id}
    known, why = manifest, None
    if manifest.gated or manifest.private:
        why = f"is {manifest.restriction} on the Hub"
    else:
        try:
            terms = _terms(manifest, ask_hub)
        except UnreachableError as exc:
            if manifest.restriction == UNKNOWN:
                why = f"may be gated or private on the Hub, which can't be asked ({exc})"
        else:
            told = (terms.gated, terms.private) if terms else (None, None)
            known = replace(manifest, gated=told[0], private=told[1])
            named.add(terms.dataset_id if terms else None)
            why = _why_not(manifest, terms)
    if why is None or not named.isdisjoint(share_restricted):
        return known
    raise RestrictedError(
        f"{manifest.ref} {why}, so it was not shared publicly. If its terms permit sharing, name it: "
        f"--make-public --share-restricted {manifest.dataset_id} (in Python: "
        f"share_restricted={manifest.dataset_id!r})"
    )


def _why_not(manifest: Manifest, terms: Terms | None) -> str | None:
    """Return why what the Hub answers keeps the dataset from being shared; None: it does not."""
    if terms is None:
        return "is no longer on the Hub, or only for others" if manifest.origin == "hub" else None
    if terms.restriction == UNKNOWN:
        return "is on the Hub, which does not say whether it is gated or private"
    name = "" if terms.dataset_id == manifest.dataset_id else f" as {terms.dataset_id}"
    return terms.restriction and f"is {terms.restriction} on the Hub{name}"


def _terms(manifest: Manifest, ask_hub: Callable[[str], Terms | None] | None) -> Terms | None:
    """Return the Hub's terms for the dataset of *manifest*; None: it has none that the token may see.

    Raises:
        UnreachableError: the Hub can't be asked.
    """
    if ask_hub is None:
        raise UnreachableError("HF_HUB_OFFLINE, HF_DATASETS_OFFLINE or HGLOC_OFFLINE is set")
    dataset_id = manifest.canonical_id or manifest.dataset_id
    terms = ask_hub(dataset_id)
    if terms is not None or manifest.origin == "hub" or "/" in dataset_id:
        return terms
    # A folder that was found in a store is named by it, where the slash of an id became "_".
    for at in (found.start() for found in re.finditer("_", dataset_id)):
        other = f"{dataset_id[:at]}/{dataset_id[at + 1 :]}"
        terms = ask_hub(other)
        if terms is not None and terms.restriction is not None:
            return terms
    return None


def make_public(
    entry: LocalEntry, bucket: Bucket, public_files: PublicFiles, *, workers: int, reads: bool = False
) -> bool:
    """Share *entry* with everybody: its ZIP, then its record in ``public_datasets.json``.

    The ZIP is made while it is uploaded; there is no copy of it here. Whether it may be shared was
    checked before, by :func:`check_may_share`.

    Args:
        public_files: reads the public files as an outsider does; it tells whether they are public.
        workers: the most requests that are under way at the same time.
        reads: read a ZIP that is there already, to compare its sha256. Else size and ETag tell whether it
            is right.

    Returns:
        False where the same content is shared already, whole.

    Raises:
        IntegrityError: a file differs from the manifest. Nothing was shared.
        PublishError: it could not be uploaded, or outsiders could not read it. Then the message has
            the bucket policy that helps.
    """
    manifest = entry.publishable_manifest()
    records = read_json(bucket, PUBLIC_RECORDS_KEY)
    key, own_zip = own_record(records, manifest.ref) or (None, None)
    own = records[key] if key is not None else {}
    same = own.get("digest") == manifest.digest
    is_damaged = same and not _is_zip_whole(bucket, own, reads=reads)
    if (
        same
        and not is_damaged
        and all(public_files.is_readable(n) for n in (str(own_zip), PUBLIC_RECORDS_KEY))
    ):
        terms = {"s3_zip_key": own_zip, "gated": manifest.gated, "private": manifest.private}
        if {**own, **terms} != own:
            update_json(
                bucket,
                PUBLIC_RECORDS_KEY,
                lambda d: own_record(d, manifest.ref) is not None and put_record(d, manifest.ref, terms),
                public=True,
            )
        _remove_left_behind(bucket, manifest.ref, records)
        return False
    zip_key = own_zip if same and own_zip else _free_zip_key(records, manifest, bucket)
    packed = PackedZip(entry.folder, manifest)
    made = _upload_public(bucket, public_files, zip_key, packed, workers, is_damaged=is_damaged)
    told = bucket.head_of(zip_key)
    record = {
        **described(manifest),
        "s3_zip_key": zip_key,
        "s3_bucket": bucket.address.name,
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "tail_bytes": packed.tail_bytes,
        "etag": None if told is None else told.etag,
    }
    update_json(
        bucket, PUBLIC_RECORDS_KEY, lambda document: put_record(document, manifest.ref, record), public=True
    )
    if not is_public(public_files, PUBLIC_RECORDS_KEY):
        raise not_public(bucket, PUBLIC_RECORDS_KEY)
    told = bucket.head_of(zip_key)
    if not is_public(public_files, zip_key) or told is None or told.metadata.get("digest") != manifest.digest:
        update_json(bucket, PUBLIC_RECORDS_KEY, lambda document: drop_record(document, record), public=True)
        raise _withdrawn(manifest)
    _remove_left_behind(bucket, manifest.ref, read_json(bucket, PUBLIC_RECORDS_KEY), replaced=own_zip)
    return True


def withdraw(
    ref: DatasetRef, bucket: Bucket, public_files: PublicFiles, itself: PublicFiles | None = None
) -> bool:
    """Stop sharing *ref*: remove its public record, its ZIP, and its page in the public catalog.

    Args:
        public_files: reads the public files as an outsider does; it tells whether the ZIP is gone.
        itself: the bucket as an outsider reads it, where *public_files* goes through a CDN.

    Returns:
        False where it is not shared.

    Raises:
        IntegrityError: the records can't be understood. They are left as they are.
        ConflictError: a publisher kept sharing it again.
        PublishError: outsiders can read it all the same, from a cache, or as a former version of a bucket
            that keeps versions.
    """
    gone: set[str] = set()
    refs = {ref, *ref.spellings}
    itself = itself or public_files
    stem, own = _zip_names(ref)
    for _ in range(_TRIES):
        taken = {info.key for info in _zips_of(bucket, ref)}

        def take(document: dict[str, Any], taken: set[str] = taken) -> bool:
            keys = [key for key, value in document.items() if is_shared_as(value, ref)]
            refs.update(filter(None, (record_ref(document[key]) for key in keys)))
            zips = [document.pop(key).get("s3_zip_key") for key in keys]
            # Whoever else wrote a record does not say what is removed here.
            taken.update(zip_key for zip_key in zips if is_zip_key(zip_key))
            gone.update(keys)
            return bool(keys)

        update_json(bucket, PUBLIC_RECORDS_KEY, take, public=True)
        records = read_json(bucket, PUBLIC_RECORDS_KEY)
        kept = {value.get("s3_zip_key") for value in records.values() if isinstance(value, dict)}
        # Also one that was left by a withdrawal that was interrupted.
        there = [key for key in sorted(taken - kept) if any(bucket.list_keys(key))]
        if not there and not any(is_shared_as(value, ref) for value in records.values()):

            def is_gone(key: str, kept: Collection[Any] = kept) -> bool:
                return key not in kept and own.fullmatch(key) is not None

            if close_versions(bucket, itself, stem, is_gone):
                gone.add(stem)
            return remove_pages(refs, bucket, itself) or bool(gone)
        for zip_key in there:
            gone.add(zip_key)
            bucket.delete(zip_key)
            # Where it is in the bucket again, somebody shares it once more.
            if public_files.is_readable(zip_key) and not any(bucket.list_keys(zip_key)):
                raise PublishError(
                    f"record and ZIP of {ref} are removed from {bucket.address}, but "
                    f"{public_files.url(zip_key)} can still be read: purge this URL from the CDN or cache"
                )
    raise ConflictError(f"{ref} in {bucket.address} was shared again while it was withdrawn")


def _is_zip_whole(bucket: Bucket, record: Mapping[str, Any], *, reads: bool) -> bool:
    """Tell whether the ZIP of a public *record* is what was shared, as far as the server tells."""
    zip_key = record["s3_zip_key"]
    told = bucket.head_of(zip_key)
    if told is None or told.is_archived or told.size_bytes != record.get("size_bytes"):
        return False
    if told.metadata.get("digest") != record.get("digest") or record.get("etag") not in (None, told.etag):
        return False
    return not reads or sha256_of(zip_key, lambda: bucket.open_range(zip_key)) == record.get("sha256")


def _upload_public(
    bucket: Bucket,
    public_files: PublicFiles,
    zip_key: str,
    packed: PackedZip,
    workers: int,
    *,
    is_damaged: bool,
) -> MadeZip:
    try:
        made = send_zip(packed, bucket, zip_key, workers, is_damaged=is_damaged)
    except (AccessDeniedError, UnreachableError) as exc:
        raise PublishError(f"the public ZIP could not be uploaded: {exc}") from exc
    if not is_public(public_files, zip_key):
        if bucket.head_of(zip_key) is None:
            raise _withdrawn(packed.manifest)
        bucket.delete(zip_key)
        raise not_public(bucket, zip_key)
    return made


def is_public(public_files: PublicFiles, key: str) -> bool:
    """Tell whether anybody may read what was just written; where not, after a moment.

    Some servers put an object there first, and then its ACL: so also while somebody else writes it.
    """
    for pause in (*_PAUSES_SECONDS, None):
        if public_files.is_readable(key):
            return True
        if pause is not None:
            time.sleep(pause)
    return False


def _zips_of(bucket: Bucket, ref: DatasetRef) -> list[KeyInfo]:
    """Return the ZIPs whose names are those that ZIPs of *ref* have, whatever record names them."""
    stem, own = _zip_names(ref)
    return [info for info in bucket.list_keys(stem) if own.fullmatch(info.key)]


def _zip_names(ref: DatasetRef) -> tuple[str, re.Pattern[str]]:
    """Return how the keys of ZIPs of *ref* begin, and what all of such a key is like."""
    stem = ref.zip_key.removesuffix(".zip")
    return stem, re.compile(f"{re.escape(stem)}(?:{re.escape(ref.suffix)})?(?:@[0-9a-f]{{8}})?[.]zip")


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
        abort_stale(bucket.connection, f"{PUBLIC_ZIP_FOLDER}/")
    except (AccessDeniedError, UnreachableError) as exc:
        _log.debug("files that interrupted runs may have left of %s could not be removed: %s", ref, exc)


def public_policy(bucket: Bucket) -> str:
    """Return the bucket policy (JSON) that opens exactly the public places to everybody."""
    return policy("public", bucket.address.name, bucket.address.prefix)


def not_public(bucket: Bucket, key: str) -> PublishError:
    """Return the error that says what opens *key* to everybody."""
    return PublishError(
        f"{key} in {bucket.address} can't be read without credentials: the bucket does not honor the "
        "public-read ACL, or the credentials lack s3:PutObjectAcl. Nothing was shared. Add this bucket "
        "policy, and allow public policies for the bucket (Block Public Access), then run the command "
        f"again:\n{public_policy(bucket)}"
    )


def _withdrawn(manifest: Manifest) -> ConflictError:
    return ConflictError(
        f"{manifest.ref} was withdrawn, or shared by others, at the same time; run the command again"
    )


def _free_zip_key(records: Mapping[str, Any], manifest: Manifest, bucket: Bucket) -> str:
    """Return where the ZIP goes: to the usual key, if nothing else was ever there.

    What is shared is never overwritten: it stays as it is until the record names the new one.
    """
    ref = manifest.ref
    zip_key, named = ref.zip_key, {v.get("s3_zip_key") for v in records.values() if isinstance(v, dict)}
    if zip_key in named and own_record(records, ref) is None:
        zip_key = f"{zip_key.removesuffix('.zip')}{ref.suffix}.zip"
    told = bucket.head_of(zip_key)
    if zip_key not in named and (told is None or told.metadata.get("digest") == manifest.digest):
        return zip_key
    content = hashlib.sha256(f"{ref.record_key}\n{manifest.digest}".encode()).hexdigest()[:8]
    return f"{ref.zip_key.removesuffix('.zip')}@{content}.zip"
