"""The public functions: a catalog into a folder, or into the bucket."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_localize.catalog.frame import About, environment
from hf_localize.catalog.gathering import BucketShelf, PublicShelf, Shelf
from hf_localize.catalog.overview import Summary, overview, summary_of
from hf_localize.catalog.site import BucketSite, FolderSite, Site
from hf_localize.errors import SettingsError
from hf_localize.format.record import Record
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.publish.catalog_pages import INDEX, PAGES, page_names
from hf_localize.s3.address import address_of
from hf_localize.settings import Settings
from hf_localize.sources.session import Session, current_session
from hf_localize.transfer.workers import run_all


@dataclass(frozen=True, slots=True)
class Catalog(Record):
    """A catalog that was made: the location of its first page, what is in it, and what could not be read."""

    place: str
    is_public: bool
    #: Ids, and pages: of their configs and revisions, and of models and Spaces.
    datasets: int
    pages: int
    unread: tuple[DatasetRef, ...] = ()


def write_catalog(
    output: str | os.PathLike[str],
    public: bool = False,
    title: str | None = None,
    contact: str | None = None,
    rows: int = 5,
) -> Catalog:
    """Write a catalog of the bucket's datasets as a folder of web pages.

    Args:
        output: a folder that is empty, does not exist, or contains a catalog, which is replaced.
        public: describe what is shared publicly, as outsiders see it. Without credentials, this is so anyway.
        title: the title; None: the name of the bucket.
        contact: whom to ask for access: an email address, a URL or text.
        rows: how many rows to show of each of a dataset's first splits; 0 shows none.

    Raises:
        SettingsError: no bucket is configured, or the packages of the extra `catalog` are not installed.
        ConflictError: *output* contains something else.
        StoreError: *output* can't be written.
        AccessDeniedError, UnreachableError: the bucket can't be listed.
    """
    session = current_session()
    is_public = public or not session.can_publish()
    site = FolderSite(Path(output))
    shelf = _shelf(session, is_public)
    refs = shelf.refs()
    site.begin()
    return _make(session, shelf, refs, site, _about(session.settings, is_public, title, contact), rows)


def publish_catalog(
    public: bool = False, title: str | None = None, contact: str | None = None, rows: int = 5
) -> Catalog:
    """Make a catalog as :func:`write_catalog` does, and upload it under a prefix of its own in the bucket.

    Everybody can read a public catalog. The other one needs credentials.

    Raises:
        SettingsError: there is no bucket, there are no credentials, or the packages of the extra `catalog`
            are not installed.
        PublishError: it is public, but can't be read without credentials. The message has the bucket
            policy that helps.
        AccessDeniedError, UnreachableError: the bucket can't be listed or written.
    """
    session = current_session()
    bucket = session.require_publisher()
    site = BucketSite(bucket, session.public_files if public else None)
    shelf = _shelf(session, public)
    return _make(session, shelf, shelf.refs(), site, _about(session.settings, public, title, contact), rows)


def _shelf(session: Session, is_public: bool) -> Shelf:
    environment()
    workers = session.settings.max_concurrency
    if is_public:
        return PublicShelf(session.public_files, workers)
    return BucketShelf(session.bucket, session.public_files, workers)


def _about(settings: Settings, is_public: bool, title: str | None, contact: str | None) -> About:
    address = address_of(settings)
    variables: dict[str, str | None]
    if is_public and settings.public_url:
        variables = {"HGLOC_PUBLIC_URL": settings.public_url}
    elif address is None:
        raise SettingsError("neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set")
    else:
        variables = {
            "HGLOC_S3_BUCKET_NAME": address.name,
            "HGLOC_S3_ENDPOINT_URL": address.endpoint_url,
            "HGLOC_S3_DATA_PREFIX": address.prefix,
            "HGLOC_AWS_DEFAULT_REGION": None if is_public else address.region,
        }
    return About(
        title=title or (f"Datasets of {address.name}" if address else "Public datasets"),
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        is_public=is_public,
        variables={name: value for name, value in variables.items() if value},
        contact=contact,
    )


def _make(
    session: Session, shelf: Shelf, refs: Sequence[DatasetRef], site: Site, about: About, rows: int
) -> Catalog:
    from hf_localize.catalog.detail import detail  # It needs the packages of the extra.

    names = page_names(refs)
    together: dict[str, list[tuple[DatasetRef, str]]] = collections.defaultdict(list)
    for ref in sorted(refs, key=lambda ref: (ref.config_name == FILES_CONFIG, str(ref))):
        together[ref.dataset_id].append((ref, names[ref]))

    def make(ref: DatasetRef) -> Summary:
        # Only the summary stays in memory.
        listing, path = shelf.read(ref, rows), f"{PAGES}/{names[ref]}"
        site.put(path, detail(about, listing, together[ref.dataset_id]))
        return summary_of(listing, path)

    summaries: list[Summary] = run_all(make, refs, workers=session.settings.max_concurrency)
    site.put(INDEX, overview(about, summaries))
    site.finish({INDEX, *(summary.path for summary in summaries)})
    unread = tuple(summary.ref for summary in summaries if summary.has_problem)
    datasets = len({summary.ref.dataset_id for summary in summaries if summary.repo_type == "dataset"})
    return Catalog(site.place, about.is_public, datasets, len(summaries), unread)
