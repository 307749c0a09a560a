"""The team's bucket: its objects, read, listed, written, copied and removed.

Keys are relative to the prefix.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hf_localize.errors import (
    AccessDeniedError,
    HfLocalizeError,
    IntegrityError,
    RefusedError,
    SettingsError,
)
from hf_localize.format.sealed_json import MAX_JSON_BYTES
from hf_localize.http.retry import retrying
from hf_localize.s3.address import BucketAddress, address_of
from hf_localize.s3.connection import Connection, content_md5, time_of
from hf_localize.s3.errors import AclsDisabledError, MissingKeyError, NotPermittedError, not_s3
from hf_localize.s3.target import virtual_url
from hf_localize.settings import Settings, current

_MAX_DELETED = 1000
_OF_OBJECTS = frozenset({"Key", "Size", "ETag", "LastModified"})
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class KeyInfo(NamedTuple):
    """One listed object: its key, size in bytes and ETag (without quotes).

    ``modified`` is when it was written (seconds since the epoch), ``age_seconds`` how long ago that was,
    both by the server's clock.
    """

    key: str
    size_bytes: int
    etag: str
    age_seconds: float = 0.0
    modified: float = 0.0
    #: It was moved to a class of storage from which it must be restored; it may have been.
    is_archived: bool = False


class Told(NamedTuple):
    """What a server says about an object: ETag (without quotes), its uploader's metadata, size in bytes."""

    etag: str
    metadata: Mapping[str, str]
    size_bytes: int
    #: It must be restored before it can be read.
    is_archived: bool = False


class Bucket:
    """The configured bucket, with credentials.

    Pickles hold the address only: the process that unpickles takes its own credentials.
    """

    def __init__(self, settings: Settings) -> None:
        address = address_of(settings)
        if address is None:
            raise SettingsError("HGLOC_S3_BUCKET_NAME is not set: there is no bucket to use")
        self.address = address
        self.connection = Connection(settings, address)
        #: In words, why there are no credentials.
        self.missing_credentials = self.connection.missing_credentials
        #: Whether the endpoint heeds conditions; None: it is not known yet.
        self.heeds_conditions: bool | None = None
        #: Whether an answer has told that what is replaced or removed is kept as a former version.
        self.keeps_versions = False
        #: Whether the bucket has no ACLs at all: then none is tried again.
        self._has_no_acls = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.address,)

    def __repr__(self) -> str:
        return f"Bucket({self.address})"

    @property
    def has_credentials(self) -> bool:
        """Tell whether any credentials were found."""
        return self.connection.has_credentials

    @property
    def public_urls(self) -> tuple[str, str | None]:
        """Return the public URL of the prefix, and the one to try if the server refuses that form."""
        url = self.connection.anonymous_target.url
        virtual = virtual_url(url, self.address) if self.address.addressing_style == "auto" else None
        return self.address.below(url), virtual and self.address.below(virtual)

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes, or None where there is no such key."""
        found = self.get_with_headers(key)
        return found[0] if found else None

    def get_with_headers(self, key: str) -> tuple[bytes, Mapping[str, str]] | None:
        """Return the object's bytes, and the headers that came with them; None: there is no such key."""

        def read() -> tuple[bytes, Mapping[str, str]]:
            with self.connection.request(key, "GetObject", lambda wire, name: wire.get(name)) as body:
                data = body.read_all(MAX_JSON_BYTES + 1)
                endpoint = self.address.endpoint_url
                if endpoint and (problem := not_s3(endpoint, body.status, body.headers, data[:1000])):
                    raise problem
                if len(data) > MAX_JSON_BYTES:
                    raise IntegrityError(
                        f"{key} in {self.address} has more than {MAX_JSON_BYTES} bytes, the limit"
                    )
                return data, body.headers

        with contextlib.suppress(MissingKeyError):
            return self.connection.ask(lambda: retrying(key, read))
        return None

    def open_range(self, key: str, start: int = 0, stop: int | None = None) -> io.RawIOBase:
        """Return the object's bytes from *start* to before *stop* (None: its end) for one reading.

        Raises:
            FileNotFoundError: there is no such key.
            UnreachableError: also from a read, where the connection breaks.
        """
        return self.connection.request(key, "GetObject", lambda wire, name: wire.get(name, start, stop))

    def head_of(self, key: str) -> Told | None:
        """Return what the server says about an object, without its bytes; None: there is none."""
        try:
            found = self.connection.ask(lambda: self.connection.call("head_object", key))
        except MissingKeyError:
            return None
        is_archived = found.get("StorageClass") in _ARCHIVES or "ArchiveStatus" in found
        is_restored = 'ongoing-request="false"' in found.get("Restore", "")
        etag, size_bytes = found["ETag"].strip('"'), found["ContentLength"]
        return Told(etag, found["Metadata"], size_bytes, is_archived and not is_restored)

    def put(
        self, key: str, data: bytes, *, public: bool = False, md5: str | None = None, **extra: Any
    ) -> str:
        """Write one object and return its ETag.

        Args:
            md5: that of *data* (hex), where it is known.
            public: give it the ``public-read`` ACL, where that is possible: :meth:`write`.
            extra: ``IfMatch`` or ``IfNoneMatch``; ``Metadata``; ``ContentType``.

        Raises:
            PreconditionFailedError: the condition did not hold.
        """
        answers: list[Any] = []

        def write(acl: Mapping[str, str]) -> None:
            arguments = {**acl, **extra}
            answers.append(
                self.connection.call(
                    "put_object", key, Body=data, ContentMD5=content_md5(data, md5), **arguments
                )
            )

        self.write(write, public=public)
        self._note_version(answers[-1])
        return str(answers[-1]["ETag"])

    def write(
        self, write: Callable[[dict[str, Any]], object], *, public: bool = True
    ) -> HfLocalizeError | None:
        """Do *write*; it gets the ``public-read`` ACL as an argument if *public*, unless that is refused.

        Servers refuse ACLs in many words. A bucket policy may open the object all the same: whether
        everybody can read it is known only by asking without credentials.

        Returns:
            Why the ACL could not be set, or None.
        """
        if not public or self._has_no_acls:
            write({})
            return None
        try:
            write({"ACL": "public-read"})
        except (AclsDisabledError, NotPermittedError, RefusedError) as exc:
            self._has_no_acls = isinstance(exc, AclsDisabledError)
            write({})
            return exc
        return None

    def put_file(self, key: str, data: Any, sha256: str, *, public: bool = False) -> None:
        """Write one small object, whose *sha256* (hex) is signed and recorded.

        Args:
            public: as for :meth:`put`.
        """
        headers = {"x-amz-content-sha256": sha256, "x-amz-meta-sha256": sha256, **self.connection.encrypting}
        if self.connection.knows_checksums:
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        else:
            headers["Content-MD5"] = content_md5(data)

        def write(acl: Mapping[str, str]) -> None:
            sent = headers | ({"x-amz-acl": acl["ACL"]} if acl else {})
            self.connection.request(key, "PutObject", lambda wire, name: wire.put(name, data, sent))

        self.write(write, public=public)

    def delete(self, key: str) -> None:
        """Remove one object; it is a success if there is none."""
        self._note_version(self.connection.call("delete_object", key))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, 1,000 with one request, as S3's ``DeleteObjects`` takes them.

        What is refused so is removed by itself: some servers don't have it, and Ceph's gateway wants a
        right on the bucket for it that nothing else needs.

        Raises:
            AccessDeniedError: the first that could not be removed was refused.
            UnreachableError: it failed in another way.
        """
        names = sorted(keys)
        for start in range(0, len(names), _MAX_DELETED):
            some = names[start : start + _MAX_DELETED]
            try:
                left = self._delete_some(some)
            except (NotPermittedError, RefusedError):
                left = some
            for key in left:
                self.delete(key)

    def _delete_some(self, keys: Sequence[str]) -> list[str]:
        """Remove up to 1,000 objects with one request; return the keys that may be there still."""
        objects: list[Any] = [{"Key": self.address.key(key)} for key in keys]
        with self.connection.client(keys[0]) as client:
            done = client.delete_objects(Bucket=self.address.name, Delete={"Objects": objects})
        gone = {self.address.relative(each.get("Key", "")) for each in done.get("Deleted", [])}
        return [key for key in keys if key not in gone]

    def copy(self, source_key: str, key: str, *, public: bool = False) -> bool:
        """Have the server copy an object with its metadata. False: it does not, and nothing is there.

        Args:
            public: as for :meth:`put`.
        """
        source: Any = {"Bucket": self.address.name, "Key": self.address.key(source_key)}

        def write(acl: Mapping[str, Any]) -> None:
            copied = self.connection.call("copy_object", key, CopySource=source, **acl)
            if "ETag" not in copied["CopyObjectResult"]:
                raise RefusedError(f"{key} in {self.address}: the response to copy_object is not one of S3")

        try:
            self.write(write, public=public)
        except (AccessDeniedError, RefusedError, MissingKeyError):
            return False
        return True

    def list_keys(self, prefix: str) -> Iterator[KeyInfo]:
        """Yield every object under *prefix*, at 1,000 a request."""
        for page in self._pages(prefix):
            yield from self._infos(page)

    def list_all(self, prefixes: Iterable[str]) -> list[KeyInfo]:
        """Return all objects under *prefixes*: by one request, if they and what lies between are few."""
        left, found = sorted(set(prefixes)), list[KeyInfo]()
        while left:
            first = left[0]
            common = os.path.commonprefix([first, left[-1]])  # noqa: RUF071  # Of keys, not of paths.
            for page in self._pages(common, StartAfter=self.address.key(first)):
                infos = list(self._infos(page))
                found += [info for info in infos if info.key.startswith(tuple(left))]
                if infos:
                    last = infos[-1].key
                    left = [prefix for prefix in left if last < prefix or last.startswith(prefix)]
                    # What lies between is not read on through.
                    if page.get("IsTruncated") and last > first and not last.startswith(tuple(left)):
                        break
            else:
                return found
        return found

    def _infos(self, page: Any) -> Iterator[KeyInfo]:
        now = time_of(page)
        for item in page.get("Contents", []):
            key, etag = self.address.relative(item["Key"]), item["ETag"].strip('"')
            modified = item["LastModified"].timestamp()
            is_archived = item.get("StorageClass") in _ARCHIVES
            yield KeyInfo(key, item["Size"], etag, now - modified, modified, is_archived)

    def list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the folder names and the file names directly under *prefix* (``a/b/`` or empty)."""
        folders: list[str] = []
        files: list[str] = []
        for more_folders, more_files, _ in self.folder_pages(prefix):
            folders += more_folders
            files += more_files
        return folders, files

    def folder_pages(self, prefix: str) -> Iterator[tuple[list[str], list[str], bool]]:
        """Yield the same in pages of 1,000 names or fewer, one request each, and whether more follow."""
        for page in self._pages(prefix, Delimiter="/"):
            folders = [self.address.relative(item["Prefix"]) for item in page.get("CommonPrefixes", [])]
            files = [self.address.relative(item["Key"]) for item in page.get("Contents", [])]
            yield (
                [name.removeprefix(prefix).rstrip("/") for name in folders],
                [name.removeprefix(prefix) for name in files],
                page["IsTruncated"],
            )

    def former_versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield key and version id of the replaced and removed objects under *prefix*.

        A bucket that keeps no versions lists its objects as their latest versions.
        """
        with self.connection.client(prefix) as client:
            pages = client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self.address.name, Prefix=self.address.key(prefix)):
                for item in page.get("Versions", []):
                    if not item.get("IsLatest"):
                        yield self.address.relative(item["Key"]), item["VersionId"]

    def close_version(self, key: str, version_id: str) -> None:
        """Take the ``public-read`` ACL from one version of an object; its bytes stay."""
        self.connection.call("put_object_acl", key, VersionId=version_id, ACL="private")

    def delete_version(self, key: str, version_id: str) -> None:
        """Remove one version of an object for good."""
        self.connection.call("delete_object", key, VersionId=version_id)

    def _note_version(self, answer: Mapping[str, Any]) -> None:
        self.keeps_versions = self.keeps_versions or answer.get("VersionId", "null") != "null"

    def _pages(self, prefix: str, **extra: Any) -> Iterator[Any]:
        full = self.address.key(prefix) if prefix or not self.address.prefix else f"{self.address.prefix}/"
        ask = self.connection.ask
        with self.connection.client(prefix) as client:
            listing = client.get_paginator("list_objects_v2")
            pages = iter(listing.paginate(Bucket=self.address.name, Prefix=full, **extra))
            while (page := ask(lambda: next(pages, None))) is not None:
                _check_page(page)
                yield page


def _check_page(page: Any) -> None:
    """Raise KeyError where a page of a listing lacks what S3 servers give, as XML of another kind does."""
    # Without the token, what follows would be taken for missing.
    of_page = {"IsTruncated", "NextContinuationToken"} if page.get("IsTruncated") else {"IsTruncated"}
    for fields, records in ((of_page, [page]), (_OF_OBJECTS, page.get("Contents", []))):
        for record in records:
            if missing := fields - record.keys():
                raise KeyError(min(missing))


def _reopen(address: BucketAddress) -> Bucket:
    here = current()
    if address.endpoint_file is not None and here.s3_endpoint_url != address.endpoint_url:
        here = here.without_credentials(address.endpoint_file)
    return Bucket(
        replace(
            here,
            s3_bucket_name=address.name,
            s3_endpoint_url=address.endpoint_url,
            aws_default_region=address.region,
            s3_data_prefix=address.prefix,
        )
    )
