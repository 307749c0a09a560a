"""Where the pages of a catalog go: a folder, or a place of their own in the bucket."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hf_localize.errors import AccessDeniedError, ConflictError, PublishError
from hf_localize.format.files import replacing, telling_unwritable
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.catalog_pages import INDEX, PAGES, PRIVATE_PLACE, PUBLIC_PLACE
from hf_localize.publish.public import public_policy
from hf_localize.s3.bucket import Bucket

#: By this a catalog's own page is known, so that nothing else is overwritten.
GENERATOR = '<meta name="generator" content="hf_localize'
_HEAD_BYTES = 4096
_PART = re.compile(r"\.[0-9a-f]{32}\.part")


@dataclass(frozen=True, slots=True)
class FolderSite:
    """A folder."""

    folder: Path

    @property
    def place(self) -> str:
        """Return the path of the first page."""
        return str(self.folder / INDEX)

    def begin(self) -> None:
        """Make the folder.

        Raises:
            ConflictError: it has files that are not from a catalog.
            StoreError: it can't be made.
        """
        with telling_unwritable(self.folder):
            (self.folder / PAGES).mkdir(parents=True, exist_ok=True)
            names = {path.name for path in self.folder.iterdir() if not _is_part(path)}
        pages = [self.folder / INDEX, *(page for page in self._pages() if not _is_part(page))]
        if names - {INDEX, PAGES} or not all(map(_is_ours, pages)):
            raise ConflictError(
                f"{self.folder} has files that are not from a catalog, so nothing was written; name "
                "an empty or a new folder"
            )

    def put(self, path: str, page: bytes) -> None:
        """Write a page; raises StoreError where it can't be written."""
        target = self.folder / path
        with telling_unwritable(target), replacing(target) as part:
            part.write_bytes(page)

    def finish(self, paths: Collection[str]) -> None:
        """Remove other pages."""
        for page in self._pages():
            if f"{PAGES}/{page.name}" not in paths:
                with telling_unwritable(page):
                    page.unlink(missing_ok=True)

    def _pages(self) -> list[Path]:
        return list((self.folder / PAGES).iterdir())


@dataclass(frozen=True, slots=True)
class BucketSite:
    """A place in the bucket that nothing else uses; *public_files* tells whether it is public."""

    bucket: Bucket
    #: None: a private catalog.
    public_files: PublicFiles | None

    @property
    def place(self) -> str:
        """Return the first page's URL, or its address where it needs credentials."""
        if self.public_files is not None:
            return self.public_files.url(f"{PUBLIC_PLACE}/{INDEX}")
        address = self.bucket.address
        return f"s3://{address.name}/{address.key(f'{PRIVATE_PLACE}/{INDEX}')}"

    def put(self, path: str, page: bytes) -> None:
        """Upload a page.

        Raises:
            PublishError: it is for everybody, and can't be read without credentials.
        """
        key = f"{self._folder}/{path}"
        headers = {"ContentType": "text/html; charset=utf-8", "CacheControl": "max-age=60"}
        self.bucket.put(key, page, public=self.public_files is not None, **headers)
        if self.public_files and path == INDEX and not self.public_files.is_readable(key):
            raise PublishError(
                f"{key} in {self.bucket.address} can't be read without credentials: the bucket does not "
                "honor the public-read ACL, or the credentials lack s3:PutObjectAcl. Add this bucket "
                "policy, allow public policies for the bucket (Block Public Access), and run the command "
                f"again:\n{public_policy(self.bucket)}"
            )

    def finish(self, paths: Collection[str]) -> None:
        """Remove other pages; they stay where that is not permitted."""
        folder = f"{self._folder}/"
        with contextlib.suppress(AccessDeniedError):
            keys = [info.key for info in self.bucket.list_keys(folder)]
            self.bucket.delete_all(key for key in keys if key.removeprefix(folder) not in paths)

    @property
    def _folder(self) -> str:
        return PRIVATE_PLACE if self.public_files is None else PUBLIC_PLACE


#: A place for pages, which several threads may put there; one that was there is replaced as a whole.
Site: TypeAlias = FolderSite | BucketSite


def _is_part(path: Path) -> bool:
    """Tell whether *path* is what a run that was cut off has left."""
    return _PART.fullmatch(path.name) is not None


def _is_ours(page: Path) -> bool:
    """Tell whether *page* may be overwritten: there is none, or it is one of a catalog."""
    try:
        with open(page, "rb") as file:
            return GENERATOR.encode() in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return True
    except OSError:
        return False
