"""The public functions that look at stored repositories, check, mend and compare them."""

from __future__ import annotations

import contextlib
import glob
import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from hf_localize.api.inspect import HAS_IT, NOT_ASKED, NOT_HERE, Asked, ask_all, facts_of
from hf_localize.api.repositories import FROM_TAR, files_not_found, find_on_hub, path_of, to_transfer
from hf_localize.api.stored_repositories import snapshot_at, snapshots_at
from hf_localize.api.values import (
    Age,
    CheckedDataset,
    DescribedPlace,
    Description,
    Difference,
    Explanation,
    FileDifference,
    RepairedDataset,
)
from hf_localize.errors import (
    AccessDeniedError,
    DatasetNotFoundError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    UnreachableError,
    kind_of,
    without_queries,
)
from hf_localize.format.repository import (
    PRIVATE_FOLDER,
    PUBLIC_FOLDER,
    REPO_TYPES,
    Repository,
    RepositoryFile,
    RepositoryRefs,
    RepoType,
    Snapshot,
    terms_of,
)
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.session import Session, current_session
from hf_localize.store.repositories import LocalRepositories
from hf_localize.transfer.workers import run_all

_log = logging.getLogger(__name__)
_BUCKET, _REFS = "the bucket or its public files", "refs.json"


def verify_repositories(
    repo_id: str | None = None,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    deep: bool = False,
    s3: bool = False,
    public: bool = False,
) -> list[CheckedDataset]:
    """Check the files of repositories, snapshot by snapshot.

    In the local store all bytes are read. A file that was never brought there is not damaged.

    Args:
        repo_id: None checks all of that type.
        deep: read all bytes in the bucket too, not only sizes and recorded sha256.
        s3: check the bucket, not the local store.
        public: check the public files in the bucket, not the local store.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        SettingsError: there is no bucket, or there are no credentials.
        DatasetNotFoundError: it is not there.
    """
    session, found = current_session(), []
    for place in _places(s3=s3, public=public):
        for repository, commit in snapshots_at(place, repo_type, repo_id, revision, session):
            found += _checked(place, repository, commit, place == "local" or deep, session)
    return found


def damaged_files_of(
    dataset_id: str | None, revision: str | None, *, deep: bool, s3: bool, public: bool
) -> list[CheckedDataset]:
    """Check the files that are kept as they are of a dataset, or of all repositories; return the damaged."""
    session, found = current_session(), []
    for place in _places(s3=s3, public=public):
        if place == "public" and not session.can_publish():
            continue  # Nobody else may list them.
        for repo_type in REPO_TYPES if dataset_id is None else REPO_TYPES[:1]:
            # The id is that of no repository, or its files are not stored.
            with contextlib.suppress(DatasetNotFoundError, InvalidRefError):
                for repository, commit in snapshots_at(place, repo_type, dataset_id, revision, session):
                    found += _checked(place, repository, commit, deep, session)
    if found:
        _log.info(
            "files of repositories that were checked: %d, in snapshots: %d",
            sum(checked["files"] for checked in found),
            len(found),
        )
    return [checked for checked in found if checked["damaged"]]


def _places(*, s3: bool, public: bool) -> list[str]:
    return [place for place, is_asked in (("s3", s3), ("public", public)) if is_asked] or ["local"]


def _checked(
    place: str, repository: Repository, commit: str, deep: bool, session: Session
) -> list[CheckedDataset]:
    """Return what is found of a snapshot that a place has; nothing, if it was removed meanwhile."""
    files: list[RepositoryFile] = []
    is_partial = False
    try:
        if place == "local":
            session.repositories.local.refs(repository)
        snapshot = snapshot_at(place, repository, commit, session)
        if snapshot is None:
            return []
        files, problems = _problems(place, snapshot, deep, session)
        damaged = [f"{path} {problem}" for path, problem in problems.items()]
        is_partial = not snapshot.is_complete or len(files) < len(snapshot.files)
    except IntegrityError as exc:  # The list of its files is damaged.
        damaged = [str(exc)]
    return [
        CheckedDataset(
            *(repository.repo_id, None, commit),
            place=_place(place, repository, commit, session),
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            is_hashed=deep,
            is_partial=is_partial,
            damaged=damaged,
        )
    ]


def _problems(
    place: str, snapshot: Snapshot, deep: bool, session: Session
) -> tuple[list[RepositoryFile], dict[str, str]]:
    """Return the files of *snapshot* that *place* has, and how those that are damaged differ."""
    if place == "local":
        local = session.repositories.local
        files = [file for file in snapshot.files if local.place_of_file(file).exists()]
        return files, local.problems(files, deep=deep)
    from hf_localize.publish.repositories import problems_in

    workers = session.settings.max_concurrency
    problems = problems_in(
        session.bucket, snapshot.files, public=place == "public", reads=deep, workers=workers
    )
    return list(snapshot.files), problems


def repair_repositories(
    repo_id: str | None = None, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> list[RepairedDataset]:
    """Fetch damaged files of repositories in the local store again: from a bucket, else from the Hub.

    Returns:
        A :class:`RepairedDataset` for each snapshot with damaged files.

    Raises:
        InvalidRefError, DatasetNotFoundError: as for :func:`verify_repositories`.
        IntegrityError: something could not be mended. What could be is.
    """
    mended, failed = repaired_files(repo_id, repo_type, revision)
    if failed:
        told = "\n".join(failed)
        raise IntegrityError(f"these are damaged, and could not be repaired:\n{told}\n{FROM_TAR}")
    return mended


def repaired_files(
    repo_id: str | None, repo_type: RepoType, revision: str | None
) -> tuple[list[RepairedDataset], list[str]]:
    """Repair as :func:`repair_repositories` does; return what was mended, and a line for each failure.

    A damaged file stays until its replacement is there, so that it is still reported if there is none.
    """
    session, mended, failed = current_session(), [], []
    local = LocalRepositories(replace(session.store, verifies_hashes=True))  # What is damaged is missing.
    for repository, commit in snapshots_at("local", repo_type, repo_id, revision, session):
        damaged = ""
        try:
            lists = _list_again(repository, commit, local, session)
            snapshot = local.snapshot(repository, commit)
            problems = {} if snapshot is None else _problems("local", snapshot, True, session)[1]
            if snapshot is None or not (problems or lists):
                continue
            damaged = f"{', '.join(sorted(problems))}: "
            source = _bring_again(snapshot, list(problems), local, session) if problems else _BUCKET
        except HfLocalizeError as exc:
            failed.append(f"  - {repository} at {commit}: {damaged}{exc}")
            continue
        place, named = path_of(snapshot, session), (repository.repo_id, None, commit)
        mended.append(RepairedDataset(*named, place, sorted([*problems, *lists]), source))
    return mended, failed


def _bring_again(snapshot: Snapshot, paths: list[str], local: LocalRepositories, session: Session) -> str:
    """Bring files into the store, and return from where."""
    try:
        replace(session.repositories, local=local).localize(snapshot, paths)
    except UnreachableError:
        found, _ = find_on_hub(snapshot.repository, snapshot.commit, session)
        from hf_localize.hf.hub_repository import download_from_hub

        download_from_hub(found, local, tuple(map(glob.escape, paths)), ())
        return SOURCE_NAMES["hub"]
    return _BUCKET


def _list_again(repository: Repository, commit: str, local: LocalRepositories, session: Session) -> list[str]:
    """Write the list of a snapshot's files, or the refs, again if they are damaged; return their names."""
    damaged, problem = [], None
    lists = (
        (f"{commit}.json", lambda: local.snapshot(repository, commit)),
        (_REFS, lambda: local.refs(repository)),
    )
    for name, read in lists:
        try:
            read()
        except IntegrityError as exc:
            problem = exc
            damaged.append(name)
    if problem is not None:
        place = replace(session.repositories, local=local)
        snapshot = place.snapshot(repository, commit)
        refs = None if snapshot is None else place.refs_elsewhere(snapshot)
        if snapshot is None or refs is None:
            raise problem
        local.keep(snapshot, refs)
    return damaged


def diff_repositories(
    repo_id: str | None = None, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> list[Difference]:
    """Compare the snapshots of repositories in the local store with those in the bucket, file by file.

    Raises:
        InvalidRefError, SettingsError: as for :func:`verify_repositories`.
        DatasetNotFoundError: neither side has it.
    """
    session, sides = current_session(), {}
    for place in ("local", "s3"):
        try:
            sides[place] = snapshots_at(place, repo_type, repo_id, revision, session)
        except DatasetNotFoundError:
            sides[place] = []
    both = sorted({*sides["local"], *sides["s3"]}, key=lambda item: (item[0].repo_id, item[1]))
    if not both and repo_id is not None:
        raise DatasetNotFoundError(f"{repo_type} {repo_id} is neither here nor in {session.bucket.address}")

    def compare(item: tuple[Repository, str]) -> Difference:
        here, there = (
            snapshot_at(place, *item, session) if item in sides[place] else None for place in ("local", "s3")
        )
        files = tuple(_differing(here, there, session)) if here is not None and there is not None else ()
        state = "only s3" if here is None else "only local"
        if here is not None and there is not None:
            state = "different" if files else "same"
        return Difference(
            item[0].repo_id,
            None,
            item[1],
            state=state,
            local_commit=None if here is None else here.commit,
            s3_commit=None if there is None else there.commit,
            files=files,
        )

    return run_all(compare, both, workers=session.settings.max_concurrency)


def _differing(here: Snapshot, there: Snapshot, session: Session) -> Iterable[FileDifference]:
    """Yield the files that one side lacks."""
    local = session.repositories.local
    mine = {file.path: file.size_bytes for file in here.files if local.local_path(file) is not None}
    its = {file.path: file.size_bytes for file in there.files}
    for path in sorted({*mine, *its}):
        if (path in mine) != (path in its):
            yield FileDifference(path, mine.get(path), its.get(path))


def outdated_repositories(
    repo_id: str | None = None,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    s3: bool = False,
) -> list[Age]:
    """Tell of each branch and tag of which a snapshot is stored whether the Hub has another commit by now.

    Args:
        s3: look at the bucket's, not at those of the local store.

    Raises:
        InvalidRefError, SettingsError, DatasetNotFoundError: as for :func:`verify_repositories`.
        AccessDeniedError: the Hub refuses the token.
        UnreachableError: the Hub is out of reach.
    """
    session, kind = current_session(), "s3" if s3 else "local"
    stored = snapshots_at(kind, repo_type, repo_id, revision, session)
    place = session.repositories_at(kind)
    ages: list[Age] = []
    for repository in dict.fromkeys(repository for repository, _ in stored):
        commits = {commit for owner, commit in stored if owner == repository}
        ages += _ages(repository, commits, place.refs(repository) if place else None, session)
    return ages


def _ages(
    repository: Repository, commits: set[str], refs: RepositoryRefs | None, session: Session
) -> list[Age]:
    named = {} if refs is None else {**refs.tags, **refs.branches}
    if refs is not None:
        named |= {f"refs/convert/{name}": commit for name, commit in refs.converts.items()}
    named = {name: commit for name, commit in named.items() if commit in commits}
    pinned = [
        Age(repository.repo_id, None, commit, state="pinned", commit=commit)
        for commit in sorted(commits - set(named.values()))
    ]
    if not named:
        return pinned
    try:
        there = find_on_hub(repository, None, session)[1]
    except DatasetNotFoundError as exc:
        gone = [
            Age(repository.repo_id, None, name, state="gone", commit=commit, reason=str(exc))
            for name, commit in named.items()
        ]
        return [*gone, *pinned]
    except AccessDeniedError:
        raise
    except HfLocalizeError as exc:
        raise UnreachableError(str(exc)) from exc
    found = []
    for name, commit in named.items():
        newest = there.resolve(name)
        state = "gone" if newest is None else "current" if newest == commit else "outdated"
        found.append(Age(repository.repo_id, None, name, state=state, commit=commit, hub_commit=newest))
    return [*found, *pinned]


def explain_repository(
    repo_id: str, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> Explanation:
    """Ask every source whether it has a repository; return what ``explain_dataset`` does. Moves no data.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
    """
    session, repository = current_session(), Repository(repo_type, repo_id)
    asked = ask_all(session, lambda kind: _ask(kind, repository, revision, session))
    taken = next((one for one in asked if one.snapshot is not None), None)
    failures = [one.answer for one in asked if one.answer not in (HAS_IT, NOT_HERE, NOT_ASKED)]
    action, does, files, size_bytes = "fail", "fail: no source has it", None, None
    if taken is not None and taken.snapshot is not None:
        action, does = "fetch", f"fetch its files from {taken.name}"
        files, size_bytes = to_transfer(taken.snapshot.files, session)
        if not files:
            action = "open"
            does = "open its files where they are; no request is made, and nothing is downloaded"
        elif taken.kind == "local":
            commit = taken.snapshot.commit
            others = (one for one in asked if one is not taken)
            source = next((one.name for one in others if (s := one.snapshot) and s.commit == commit), None)
            does = f"fetch the files that are not here from {source}"
            if source is None:
                action, does = "open", f"open the files that are here; no source has the others of {commit}"
    return Explanation(
        *(repo_id, None, revision),
        sources=[one.shown() for one in asked],
        takes=None if taken is None else taken.kind,
        transfer_files=files,
        transfer_bytes=size_bytes,
        action=action,
        failure=None if taken else failures[0] if failures else "not found",
        does=does,
        repository=None,
    )


def describe_repository(
    repo_id: str, *, repo_type: RepoType = "dataset", revision: str | None = None
) -> Description:
    """Return what a repository is and where it lies, as ``describe_dataset`` does. Moves no data.

    Raises:
        InvalidRefError: *repo_id* can't name a repository.
        DatasetNotFoundError: no source has it.
    """
    session, repository = current_session(), Repository(repo_type, repo_id)
    asked = ask_all(session, lambda kind: _ask(kind, repository, revision, session), stops=True)
    having = [one for one in asked if one.snapshot is not None]
    if not having:
        lines = [f"  - {one.name}: {one.reason}" for one in asked if session.asks(one.kind)]
        answers = "\n".join(["Asked, in this order:", *lines])
        kinds = [one.answer for one in asked]
        has_answered = any(one.kind == "hub" and one.answer == NOT_HERE for one in asked)
        raise files_not_found(repository, revision, session, answers, kinds, has_answered=has_answered)
    snapshot = having[0].snapshot
    assert snapshot is not None
    places = [
        DescribedPlace(
            one.kind, one.reason, one.snapshot is not None and one.snapshot.commit == snapshot.commit, None
        )
        for one in having
    ]
    known = {
        **facts_of(terms_of(snapshot)),
        "revision": revision,
        "canonical_id": snapshot.info.get("id"),
        "files": len(snapshot.files),
        "size_bytes": sum(file.size_bytes for file in snapshot.files),
    }
    return Description(**known, digest=None, places=places)


def _ask(kind: str, repository: Repository, revision: str | None, session: Session) -> Asked:
    started, snapshot = time.monotonic(), None
    try:
        if kind == "s3" and not session.bucket.has_credentials:
            return Asked(kind, NOT_ASKED, f"not asked: {session.bucket.missing_credentials}")
        if kind == "hub":
            snapshot = find_on_hub(repository, revision, session)[0]
        else:
            place = session.repositories_at(kind)
            refs = None if place is None else place.refs(repository)
            commit = None if refs is None else refs.resolve(revision)
            snapshot = None if place is None or commit is None else place.snapshot(repository, commit)
    except HfLocalizeError as exc:
        failure = kind_of(exc)
        answer = NOT_HERE if failure == "not found" else failure
        return Asked(kind, answer, without_queries(str(exc)), time.monotonic() - started)
    seconds = time.monotonic() - started
    if snapshot is None:
        return Asked(kind, NOT_HERE, f"it does not have {repository} at {revision or 'main'}", seconds)
    where = _place(kind, repository, snapshot.commit, session)
    return Asked(kind, HAS_IT, where, seconds, snapshot=snapshot)


def _place(kind: str, repository: Repository, commit: str, session: Session) -> str:
    """Return where a snapshot is, as users read it."""
    path = repository.snapshot_path(commit)
    if kind == "local":
        return str(session.repositories.local.place_of(repository, commit))
    if kind == "s3":
        return f"{PRIVATE_FOLDER}/{path} in {session.bucket.address}"
    if kind == "public":
        return session.public_files.url(f"{PUBLIC_FOLDER}/{path}")
    from hf_localize.hf.hub import endpoint

    folder = "" if repository.repo_type == "model" else f"{repository.repo_type}s/"
    return f"{endpoint()}/{folder}{repository.repo_id}"
