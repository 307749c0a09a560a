"""Upload what the local store has to the team's bucket and, if asked, share it publicly.

This module decides what may be shared publicly: prepared datasets and the files of repositories.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hf_localize.errors import HfLocalizeError, InvalidRefError
from hf_localize.format.equivalence import Identity
from hf_localize.format.manifest import Manifest, Terms
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.format.repository import ALL_FILES, Patterns, Repository, matches, terms_of
from hf_localize.http.retry import one_load
from hf_localize.settings import Settings
from hf_localize.sources.base import files_option
from hf_localize.sources.local import LocalSource
from hf_localize.sources.session import Session
from hf_localize.store.entry import LocalEntry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether a publication is for the team alone, or also shared publicly."""

    make_public: bool
    #: Ids that may be shared although they are, or may be, gated or private on the Hub.
    share_restricted: tuple[str, ...]
    #: The files of a repository were named: they are shared even if a config is kept private.
    is_named: bool


@contextlib.contextmanager
def after_storing(path: str, done: str) -> Iterator[None]:
    """Have an error of what is done meanwhile begin with what is *done*, and name *path* in the store."""
    try:
        yield
    except HfLocalizeError as exc:
        exc.path = path
        exc.comes_after(done)
        raise


def publish_entry(entry: LocalEntry, session: Session, sharing: Sharing, *, replaces: bool) -> list[str]:
    """Upload a prepared dataset and, where asked, share it publicly; return what was done, in words.

    Args:
        replaces: other content in the bucket is replaced.

    Raises:
        SettingsError: there is no bucket, or there are no credentials.
        RestrictedError: it is, or may be, gated or private, and may not be shared publicly.
        PublishError, ConflictError: it could not be published.
    """
    from hf_localize.publish.bucket import upload
    from hf_localize.publish.public import check_may_share, make_public
    from hf_localize.publish.shared_files import warn_if_public

    bucket = session.require_publisher()
    settings, workers = session.settings, session.settings.max_concurrency
    reads = settings.verify == "always"
    if sharing.make_public:  # Before anything is sent.
        told = check_may_share(entry.manifest, sharing.share_restricted, _terms_on_hub(settings))
        manifest = replace(entry.publishable_manifest(), gated=told.gated, private=told.private)
        entry = replace(entry, manifest=manifest, has_manifest=True)
    with one_load():
        sent = upload(entry, bucket, replace=replaces, workers=workers, reads=reads)
    done = [f"uploaded to {bucket.address}" if sent else f"{bucket.address} has it already"]
    has_all_configs = entry.manifest.config_name == FILES_CONFIG
    publishes_publicly = sharing.make_public
    if publishes_publicly and has_all_configs and not sharing.is_named:
        ref, options = entry.manifest.ref, f"--name {FILES_CONFIG}"
        options += f" --revision '{ref.revision}'" if ref.revision else ""
        publishes_publicly = may_share_files(
            *(ref.dataset_id, entry.manifest.commit, session, sharing.share_restricted), options=options
        )
    if publishes_publicly:
        try:
            with one_load():
                shared = make_public(entry, bucket, session.public_files, workers=workers, reads=reads)
        except HfLocalizeError as exc:
            exc.comes_after(f"{done[0]}; sharing it publicly failed")
            raise
        done.append("shared publicly" if shared else "shared publicly already")
        if has_all_configs:
            done[-1] += ", with the data of all configs"
    elif sent:
        warn_if_public(entry.manifest, session.public_files)
    return done


def publish_files(
    repository: Repository,
    commits: Sequence[str],
    session: Session,
    sharing: Sharing,
    patterns: Patterns = ALL_FILES,
) -> list[str]:
    """Upload snapshots and, where asked, share them publicly; return what was done, in words.

    Args:
        patterns: of the files that are published.

    Raises:
        SettingsError, RestrictedError, PublishError: as for :func:`publish_entry`.
    """
    from hf_localize.publish.bucket import warn_if_restricted
    from hf_localize.publish.public import check_may_share
    from hf_localize.publish.repositories import upload_repository

    bucket, local, settings = session.require_publisher(), session.repositories.local, session.settings
    snapshots = [local.snapshot(repository, commit) for commit in commits]
    terms = [terms_of(snapshot) for snapshot in snapshots if snapshot is not None]
    make_public, restricted_ids = sharing.make_public, sharing.share_restricted
    if make_public:  # Before anything is sent.
        for manifest in terms:
            check_may_share(manifest, restricted_ids, _terms_on_hub(settings, repository.repo_type))
    for restricted in [one for one in terms if one.gated or one.private][:1]:
        warn_if_restricted(repository, restricted, bucket)
    has_configs = repository.repo_type == "dataset"
    if make_public and has_configs and not sharing.is_named:
        make_public = all(
            may_share_files(repository.repo_id, commit, session, restricted_ids) for commit in commits
        )
    upload = functools.partial(
        upload_repository,
        *(local, repository, commits, bucket),
        workers=settings.max_concurrency,
        reads=settings.verify == "always",
        patterns=patterns,
    )
    with one_load():
        done = [f"uploaded to {bucket.address}" if upload() else f"{bucket.address} has them already"]
        if make_public:
            is_new = upload(public_files=session.public_files)
            told = "shared publicly" if is_new else "shared publicly already"
            if patterns != ALL_FILES:
                _tell_what_stays_public(repository, commits, session, patterns)
            elif has_configs:
                told += ", with the data of all configs"
            done.append(told)
    return done


def publish_files_of(manifest: Manifest, session: Session, sharing: Sharing) -> list[str]:
    """Publish what the store has of the files of which a dataset is made; return what was done, in words."""
    if not has_files_of(manifest, session):
        return []
    repository = Repository("dataset", manifest.dataset_id)
    done = publish_files(repository, (str(manifest.commit),), session, sharing)
    return [f"its files: {text}" for text in done]


def has_files_of(manifest: Manifest, session: Session) -> bool:
    """Tell whether the store has files of the repository of which a dataset was made, at its commit."""
    with contextlib.suppress(InvalidRefError):
        refs = session.repositories.local.refs(Repository("dataset", manifest.dataset_id))
        return refs is not None and manifest.commit in refs.commits
    return False


def may_share_files(
    dataset_id: str,
    commit: str | None,
    session: Session,
    share_restricted: Collection[str] = (),
    planned: Collection[Identity] = (),
    options: str = "",
) -> bool:
    """Tell whether files of *commit* may be shared: no config in the store or the bucket is kept private.

    If some are, a warning names them.

    Args:
        planned: what will be shared too.
        options: of the command that shares the files all the same; by default those for files of *commit*.
    """
    from hf_localize.publish.shared_files import kept_private

    stored = LocalSource(session.store, None).stored(DatasetRef(dataset_id))
    bucket, workers = session.require_publisher(), session.settings.max_concurrency
    private = kept_private(dataset_id, commit, stored, bucket, workers, planned)
    if not private:
        return True
    options = options or f"--files-only --revision {commit}"
    command = f"hg-localize sync-local-to-s3 {dataset_id} {options} --make-public"
    command += "".join(f" --share-restricted {name}" for name in share_restricted)
    _log.warning(
        "the files of dataset %s are not shared publicly by this command: they hold all configs, and these "
        "are kept private: %s. To share the files all the same: %s",
        *(dataset_id, ", ".join(map(str, private)), command),
    )
    tell_if_files_stay_public(dataset_id, session)
    return False


def tell_if_files_stay_public(dataset_id: str, session: Session) -> None:
    """Warn if outsiders can read files of a repository that this call does not share."""
    from hf_localize.publish.shared_files import has_public_files

    if has_public_files(dataset_id, session.public_files):
        _log.warning(
            "files of dataset %s, which hold all configs, are public from before, and stay so. To stop "
            "sharing them: hg-localize withdraw %s --files-only",
            *(dataset_id, dataset_id),
        )


def _tell_what_stays_public(
    repository: Repository, commits: Sequence[str], session: Session, patterns: Patterns
) -> None:
    """Warn of files that patterns leave out, and that are public from before."""
    from hf_localize.publish.repositories import snapshot_in

    found = filter(None, (snapshot_in(session.bucket, repository, commit, public=True) for commit in commits))
    paths = [file.path for snapshot in found for file in snapshot.files]
    others = [path for path in paths if not matches(path, *patterns)]
    if others:
        _log.warning(
            "%s of %s: still public from before. To stop sharing the files: hg-localize withdraw %s %s",
            *(", ".join(others[:3]) + (", …" if len(others) > 3 else ""), repository),
            *(repository.repo_id, files_option(repository.repo_type)),
        )


def _terms_on_hub(settings: Settings, repo_type: str = "dataset") -> Callable[[str], Terms | None] | None:
    """Return what asks the Hub for its terms, which needs huggingface_hub; None: it may not be asked."""
    if settings.offline or settings.hub_offline:
        return None

    def ask(dataset_id: str) -> Terms | None:
        from hf_localize.hf.hub_terms import terms_of

        return terms_of(dataset_id, settings.timeout_seconds, repo_type)

    return ask
