"""From settings to working parts: the store, the bucket, the sources, the resolver."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_localize.errors import AccessDeniedError, HfLocalizeError, SettingsError, did_you_mean
from hf_localize.format.equivalence import Identity
from hf_localize.format.lockfile import Lock, read_lock
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import PUBLIC_FOLDER, Repository
from hf_localize.settings import SOURCE_NAMES, Settings, current
from hf_localize.sources.base import Entry, Needed, NotHere, RepositorySource, Source
from hf_localize.sources.local import LocalSource
from hf_localize.sources.resolver import Resolver, Unasked
from hf_localize.store.origins import Origin
from hf_localize.store.store import Store

if TYPE_CHECKING:
    from hf_localize.http.public_files import PublicFiles
    from hf_localize.s3.bucket import Bucket
    from hf_localize.sources.repositories import RemoteRepositories, RepositoryTiers
    from hf_localize.store.entry import LocalEntry
    from hf_localize.store.repositories import LocalRepositories


@dataclass(frozen=True, slots=True)
class Session:
    """The parts that one setting of everything calls for.

    Parts that need a network library are made at first use, so that a local hit loads neither
    boto3 nor requests.
    """

    settings: Settings

    @property
    def store(self) -> Store:
        """Return the local store."""
        settings = self.settings
        return Store(
            settings.datasets_store_path,
            verifies_hashes=settings.verify == "always",
            bucket=self.bucket_origin,
        )

    @property
    def bucket_origin(self) -> Origin | None:
        """Return where what is fetched from the bucket, or from the public files, comes from."""
        settings = self.settings
        if settings.s3_bucket_name:
            return Origin(settings.s3_bucket_name, settings.s3_endpoint_url, settings.s3_data_prefix)
        return Origin(None, settings.public_url) if settings.public_url else None

    @property
    def bucket(self) -> Bucket:
        """Return the team's bucket; raises SettingsError where none is configured."""
        return _bucket(self.settings)

    @property
    def public_files(self) -> PublicFiles:
        """Return the public files, as somebody without credentials reads them."""
        if self.settings.public_url is not None:
            return self._public_files(self.settings.public_url)
        if self.settings.s3_bucket_name is None:
            raise SettingsError("neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set")
        return self.public_bucket_files

    @property
    def public_bucket_files(self) -> PublicFiles:
        """Return the bucket itself, as somebody without credentials reads it, past any CDN."""
        return self._public_files(*self.bucket.public_urls)

    def _public_files(self, url: str, other_url: str | None = None) -> PublicFiles:
        from hf_localize.http.public_files import PublicFiles
        from hf_localize.s3.target import route_to

        settings = self.settings
        route = route_to(url, settings.aws_environment.plain)
        return PublicFiles(
            url,
            settings.timeout_seconds,
            other_url=other_url,
            proxy_url=route.proxy_url,
            ca_bundle=route.ca_bundle,
            bytes_per_second=settings.max_bandwidth,
        )

    def require_publisher(self) -> Bucket:
        """Return the bucket where publishing to it can be tried.

        Raises:
            SettingsError: there is no bucket, or there are no credentials.
        """
        if not self.bucket.has_credentials:
            advice = (
                "set HGLOC_AWS_ACCESS_KEY_ID and HGLOC_AWS_SECRET_ACCESS_KEY, or configure AWS' own "
                "(profile, role, …)"
            )
            if self.settings.aws_environment.endpoint_file is not None:
                advice = self.settings.missing_credentials
            raise SettingsError(f"this needs credentials for {self.bucket.address}: {advice}")
        return self.bucket

    def can_publish(self) -> bool:
        """Tell whether there are a bucket and credentials for it."""
        return bool(self.settings.s3_bucket_name) and self.bucket.has_credentials

    @property
    def is_outsider(self) -> bool:
        """Tell whether there are no credentials, so that only what is public can be read."""
        try:
            return not self.can_publish()
        except AccessDeniedError:  # There are some, although they can't be used.
            return False

    def came_from_bucket(self, entry: LocalEntry) -> bool:
        """Tell whether the local copy *entry* was fetched from the bucket, or from its public files.

        The original tool keeps with a bucket's name what it has yet to upload there, too.
        """
        if not entry.has_manifest:
            return False
        origin, configured = self.store.origin_of(entry), self.bucket_origin
        return origin is not None and configured is not None and origin.is_same(configured)

    def resolver(
        self,
        hub: Source | None = None,
        *,
        only: tuple[str, ...] | None = None,
        needed: Needed | None = None,
        locked: bool = False,
    ) -> Resolver:
        """Return the resolver over the enabled sources.

        Args:
            locked: keep to the lock file, if one is in force.
            hub: the Hub as a source, which only the caller can make; None leaves it out.
            only: these kinds of sources, in place of the enabled ones.
            needed: what the load needs of an entry; None: all of it.

        Raises:
            LockError: the lock file can't be read.
        """
        kinds = self.enabled if only is None else only
        sources = (hub if kind == "hub" else self._source(kind, needed) for kind in kinds)
        return Resolver(
            self.store,
            tuple(s for s in sources if s),
            self.settings.timeout_seconds,
            self.lock if locked else None,
            unasked=self.unasked if only is None else (),
        )

    def local_entry(self, ref: DatasetRef) -> LocalEntry:
        """Return what the local store has for *ref*.

        Raises:
            DatasetNotFoundError: it does not have it.
        """
        return self.resolver(only=("local",)).find(ref)

    @property
    def repositories(self) -> RepositoryTiers:
        """Return the repositories of the store and of the enabled sources, without the Hub."""
        return _repositories(self.settings)

    def repositories_at(self, kind: str) -> LocalRepositories | RemoteRepositories | None:
        """Return the repositories of one kind of source; None: it is not configured, or it is the Hub."""
        if kind == "s3" and self.settings.s3_bucket_name:
            from hf_localize.sources.bucket import repositories_in

            return repositories_in(self.bucket)
        if kind == "public" and (self.settings.s3_bucket_name or self.settings.public_url):
            from hf_localize.sources.public import public_repositories

            return public_repositories(self.public_files)
        if kind == "local":
            from hf_localize.store.repositories import LocalRepositories

            return LocalRepositories(self.store)
        return None

    @property
    def lock(self) -> Lock | None:
        """Return what the lock file names that is in force, or None; raises LockError if it can't be read."""
        return None if self.settings.lock is None else read_lock(self.settings.lock)

    @property
    def enabled(self) -> tuple[str, ...]:
        """Return the kinds of sources that a load asks, in order."""
        return ("local",) if self.settings.offline else self.settings.sources

    def why_not_asked(self, kind: str) -> str | None:
        """Return why a load does not ask that kind of source; None: it does."""
        here = self.settings
        if kind not in self.enabled:
            left_out = "HGLOC_SOURCES, or install(sources=…), leaves it out"
            return "HGLOC_OFFLINE is set" if here.offline else left_out
        if kind == "s3" and not here.s3_bucket_name:
            return "HGLOC_S3_BUCKET_NAME is not set"
        if kind == "public" and not (here.s3_bucket_name or here.public_url):
            return "neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set"
        return None

    def asks(self, kind: str) -> bool:
        """Tell whether a load asks that kind of source."""
        return self.why_not_asked(kind) is None

    def places_of_files(self) -> str:
        """Return, in words for an error, where files of repositories are looked for, apart from the Hub."""
        kinds = [kind for kind in ("local", "s3", "public") if self.asks(kind)]
        told = {SOURCE_NAMES[kind]: self._place_of_files(kind) for kind in kinds}
        told |= {one.source: f"not asked: {one.reason}" for one in self.unasked}
        places = [f"{name} ({told[name]})" for name in SOURCE_NAMES.values() if name in told]
        return ", ".join(places) or "no source is enabled (HGLOC_SOURCES)"

    def did_you_mean(self, repository: Repository) -> str:
        """Return, as a line for an error, the stored repositories with ids most like that of *repository*."""
        known = self.repositories.local.known_ids(repository.repo_type)
        return did_you_mean(repository.repo_id, known)

    def _place_of_files(self, kind: str) -> str:
        try:
            if kind == "local":
                return str(self.store.path)
            if kind == "public":
                return self.public_files.url(PUBLIC_FOLDER)
            is_asked = self.bucket.has_credentials
            return str(self.bucket.address) if is_asked else f"not asked: {self.bucket.missing_credentials}"
        except HfLocalizeError as exc:  # AWS' own configuration can't be used.
            return str(exc)

    @property
    def unasked(self) -> tuple[Unasked, ...]:
        """Return the enabled sources that are not configured, and the likeliest one if a load asks none."""
        likeliest = self._likeliest_unasked()
        known = () if likeliest is None else (likeliest,)
        kinds = [kind for kind in ("s3", "public") if kind in self.enabled]
        others = [Unasked(SOURCE_NAMES[kind], why) for kind in kinds if (why := self.why_not_asked(kind))]
        return (*known, *(one for one in others if likeliest is None or one.source != likeliest.source))

    def _likeliest_unasked(self) -> Unasked | None:
        """Return the remote source that likeliest has a dataset, if a load does not ask it; else None."""
        here = self.settings
        is_public = here.s3_bucket_name or here.public_url or "public" in self.enabled
        if self.asks("s3") and self.asks("public"):
            return None
        kind = "public" if is_public else "s3"
        if here.s3_bucket_name and (here.aws_access_key_id or here.may_have_aws_credentials):
            kind = "s3"
        why = self.why_not_asked(kind)
        if why is None or not (is_public or kind in self.enabled):
            return None
        if kind in self.enabled:
            return Unasked(SOURCE_NAMES[kind], why, "set the variable to load what others have published")
        setting = "HGLOC_OFFLINE=0" if here.offline else f"HGLOC_SOURCES=local,{kind}"
        advice = f"download it from there: {setting} {{command}}"
        if kind == "public" and "s3" in self.enabled and here.s3_bucket_name and not here.offline:
            advice = f"set the bucket's credentials. If the dataset is shared publicly: {setting} {{command}}"
        return Unasked(SOURCE_NAMES[kind], why, advice)

    def _source(self, kind: str, needed: Needed | None) -> Source | None:
        if kind == "local":
            return LocalSource(self.store, needed)
        address = self.settings.s3_bucket_name or (kind == "public" and self.settings.public_url)
        return RemoteSource(kind, self) if kind in ("s3", "public") and address else None


class RemoteSource:
    """A source whose network library is loaded when it is first asked.

    A pickle of it holds no settings: the process that unpickles takes its own, so that no
    credential travels with a dataset to a worker.
    """

    def __init__(self, kind: str, session: Session) -> None:
        self.kind = kind
        self.name = SOURCE_NAMES[kind]
        self._session = session

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.kind,)

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return what the bucket, or the public records, have for *ref*."""
        return self._source.find(ref)

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any manifest there that tells the configs of the repository of *ref*."""
        return self._source.repository(ref)

    def stored(self, ref: DatasetRef) -> Sequence[Identity]:
        """Return what is stored there of the dataset id of *ref*, whatever its config and revision."""
        return self._source.stored(ref)

    def known_ids(self) -> Collection[str]:
        """Return the dataset ids that are known to be there without a request; there may be others."""
        return self._source.known_ids()

    @functools.cached_property
    def _source(self) -> RepositorySource:
        workers = self._session.settings.max_concurrency
        if self.kind == "s3":
            from hf_localize.sources.bucket import PrivateSource

            return PrivateSource(self._session.bucket, workers)
        from hf_localize.sources.public import PublicSource

        return PublicSource(self._session.public_files, workers)


def _reopen(kind: str) -> RemoteSource:
    return RemoteSource(kind, current_session())


@functools.lru_cache(maxsize=8)
def _bucket(settings: Settings) -> Bucket:
    from hf_localize.s3.bucket import Bucket

    return Bucket(settings)


@functools.lru_cache(maxsize=8)
def _repositories(settings: Settings) -> RepositoryTiers:
    from hf_localize.sources.repositories import RepositoryTiers
    from hf_localize.store.repositories import LocalRepositories

    session = Session(settings)
    kinds = (kind for kind in session.enabled if kind != "hub" and session.asks(kind))
    places = tuple((kind, functools.partial(session.repositories_at, kind)) for kind in kinds)
    local = LocalRepositories(session.store)
    return RepositoryTiers(local, places, settings.max_concurrency, settings.timeout_seconds)


def current_session() -> Session:
    """Return the session for the settings in force now."""
    return Session(current())
