"""The public functions that tell of one dataset: who has it, and what it is. They move no data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_localize.api.configs import config_missing, ref_of
from hf_localize.api.datasets import PlainHub
from hf_localize.api.repositories import describe_files_of
from hf_localize.api.values import DescribedPlace, DescribedSplit, Description, Explanation, SourceAnswer
from hf_localize.errors import DatasetNotFoundError, NotLockedError, kind_of, without_queries
from hf_localize.format.lockfile import Locked
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import Snapshot
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import Budget, Entry, NotHere, StoredEntry
from hf_localize.sources.pinned import PinnedEntry, PinnedFetch
from hf_localize.sources.resolver import Answer, consult, not_found
from hf_localize.sources.session import Session, current_session
from hf_localize.store.entry import LocalEntry

if TYPE_CHECKING:
    from hf_localize.hf.hub import HubEntry

HAS_IT, NOT_HERE, NOT_ASKED = "has_it", "not_here", "not_asked"

#: What a load does with what a source has, where it does not fetch it.
_ACTIONS = {"local": "open", "hub": "prepare"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one source answered about a dataset or a repository.

    ``answer`` is ``has_it``, ``not_here``, ``not_asked``, or the kind of failure (see
    :func:`~hf_localize.errors.kind_of`); ``reason`` says why, or where it is.
    """

    kind: str
    answer: str
    reason: str
    seconds: float = 0.0
    entry: Entry | None = None
    error: Exception | None = None
    #: Where a repository was asked for.
    snapshot: Snapshot | None = None

    @property
    def name(self) -> str:
        """Return the source's name as users read it."""
        return SOURCE_NAMES[self.kind]

    @property
    def manifest(self) -> Manifest | None:
        """Return the manifest of what it has, where there is one before anything is fetched."""
        return self.entry.manifest if isinstance(self.entry, StoredEntry) else None

    def shown(self) -> SourceAnswer:
        """Return it as the public functions do."""
        told = self.manifest or self.snapshot
        commit = None if told is None else told.commit
        digest = self.entry.digest if isinstance(self.entry, StoredEntry) else None
        return SourceAnswer(
            self.kind, self.name, self.answer, self.reason, round(self.seconds, 3), commit, digest
        )


def explain_dataset(
    dataset_id: str, config_name: str | None = None, revision: str | None = None, *, name: str | None = None
) -> Explanation:
    """Ask every source in order whether it has a dataset, and say what a load would do. Downloads no data.

    A load stops at the first source that has it; here, the others are asked too. If a lock file is in force
    (``HGLOC_LOCK``, ``install(lock=…)``), only the content that it names counts.

    Example:
        >>> told = hf_localize.explain_dataset("openai/gsm8k", "main")
        >>> told.takes, told.action, told.transfer_bytes
        ('local', 'open', 0)

    Raises:
        InvalidRefError: an argument can't name a dataset.
        LockError: the lock file can't be read.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    lock = session.lock
    locked, refused = None, ""
    try:
        locked = None if lock is None else lock.of(ref)
    except NotLockedError as exc:
        refused = str(exc)
    asked = ask_all(session, lambda kind: _ask(kind, ref, session, locked, _check_as_a_load))
    taken = None if refused else next((one for one in asked if one.entry is not None), None)
    as_locked = None if lock is None or locked is None else lock.as_locked(locked)
    error = config_missing(ref, session, _errors(asked)) if taken is None and not refused else None
    does = f"fail: {refused or error or _failure(ref, asked, session, as_locked)}"
    hub_has_it = any(one.kind == "hub" and one.entry for one in asked)
    files, size_bytes = None, None
    if taken is not None and taken.entry is not None:
        does = _what_a_load_does(taken, session)
        files, size_bytes = to_fetch(taken.entry, session)
    return Explanation(
        **ref.as_dict(),  # type: ignore[arg-type]
        sources=[one.shown() for one in asked],
        takes=None if taken is None else taken.kind,
        transfer_files=files,
        transfer_bytes=size_bytes,
        action="fail" if taken is None else _ACTIONS.get(taken.kind, "fetch"),
        failure=None if taken is not None else kind_of(error or _not_found(ref, asked, session, as_locked)),
        does=does,
        repository=None if taken is None else describe_files_of(ref, session, asks_hub=hub_has_it),
    )


def describe_dataset(
    dataset_id: str, config_name: str | None = None, revision: str | None = None, *, name: str | None = None
) -> Description:
    """Return what a dataset is and where it is stored. Downloads no data.

    Asks the local store, the bucket and the public ZIPs, and the Hub if none of them has it.

    Returns:
        The facts from the first source that has it.

    Example:
        >>> told = hf_localize.describe_dataset("openai/gsm8k", "main")
        >>> [(split.name, split.rows) for split in told.splits]
        [('train', 7473), ('test', 1319)]

    Raises:
        InvalidRefError: an argument can't name a dataset.
        DatasetNotFoundError: no source has it; the message has the answer of each source.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    session = current_session()
    asked = ask_all(session, lambda kind: _ask(kind, ref, session), stops=True)
    having = [one for one in asked if one.entry is not None]
    if not having:
        raise config_missing(ref, session, _errors(asked)) or _not_found(ref, asked, session)
    first = having[0]
    manifest = first.manifest or _manifest_of(first.entry, ref)
    digests = [one.entry.digest if isinstance(one.entry, StoredEntry) else None for one in having]
    places = [
        DescribedPlace(
            one.kind,
            place_of(one.entry),
            None if None in (digest, digests[0]) else digest == digests[0],
            _came_from(one.entry, session),
        )
        for one, digest in zip(having, digests, strict=True)
    ]
    return Description(**facts_of(manifest), digest=digests[0], places=places)


def ask_all(session: Session, ask: Callable[[str], Asked], *, stops: bool = False) -> list[Asked]:
    """Have *ask* ask each kind of source, in the order of a load, and return what they said.

    Args:
        stops: the Hub is not asked where another has it.
    """
    asked: list[Asked] = []
    for kind in (*session.enabled, *(kind for kind in SOURCE_NAMES if kind not in session.enabled)):
        if (why := session.why_not_asked(kind)) is not None:
            asked.append(Asked(kind, NOT_ASKED, why))
        elif not (stops and kind == "hub" and any(one.answer == HAS_IT for one in asked)):
            asked.append(ask(kind))
    return asked


def _check_as_a_load(found: Entry | NotHere) -> None:
    """Raise IntegrityError or UnsupportedFeatureError where `datasets` can't read a manifest."""
    if isinstance(found, StoredEntry) and found.manifest.splits:
        from hf_localize.hf.info import dataset_info

        dataset_info(found.manifest, found.manifest.ref)


def _ask(
    kind: str,
    ref: DatasetRef,
    session: Session,
    locked: Locked | None = None,
    check: Callable[[Entry | NotHere], None] = lambda _: None,
) -> Asked:
    """Ask one kind of source for *ref*.

    Args:
        locked: what alone counts; None: whatever a source has.
        check: raises where a load could not use an answer.
    """
    hub = PlainHub(trust_remote_code=False) if kind == "hub" else None
    sources = session.resolver(hub, only=(kind,)).sources
    if kind == "hub":
        import hf_localize.hf.load  # noqa: F401  # `datasets` is there already where somebody loads.
    started, seconds = time.monotonic(), 0.0

    def told(answer: str, reason: str, entry: Entry | None = None, error: Exception | None = None) -> Asked:
        return Asked(kind, answer, without_queries(reason), seconds, entry, error)

    try:
        budget = Budget(session.settings.timeout_seconds, [kind])
        try:
            found, _ = consult(sources[0], ref, locked, session.store, budget)
        finally:
            seconds = time.monotonic() - started  # Without the import of `datasets` by the check.
        check(found)
    except Exception as exc:  # noqa: BLE001  # Also whatever stock raises about a dataset of the Hub.
        failure = kind_of(exc)
        return told(
            NOT_HERE if failure == "not found" else failure, str(exc) or type(exc).__name__, error=exc
        )
    if isinstance(found, NotHere):
        is_asked = not found.reason.startswith(("not asked", "left out"))
        return told(NOT_HERE if is_asked else NOT_ASKED, found.reason, error=found.error)
    place = place_of(found)
    if origin := _came_from(found, session):
        place += f", which came from {origin}"
    if isinstance(found, PinnedFetch):
        place += "; only its bytes show whether it matches the lock file"
    return told(HAS_IT, place, found)


def place_of(entry: Entry | None) -> str:
    """Return where an entry lies, as users read it."""
    entry = _bare(entry)
    if isinstance(entry, LocalEntry):
        return str(entry.folder)
    from hf_localize.sources.bucket import BucketEntry
    from hf_localize.sources.public import ZipFetch

    if isinstance(entry, BucketEntry):
        return f"{entry.placed.folder} in {entry.bucket.address}"
    if isinstance(entry, ZipFetch):
        return entry.files.url(entry.record.zip_key)
    return str(getattr(entry, "place", ""))  # The Hub's, whose module loads `datasets`.


def _came_from(entry: Entry | None, session: Session) -> str | None:
    """Return the bucket from which the store's copy came; None: from none, or it is not known."""
    entry = _bare(entry)
    origin = session.store.origin_of(entry) if isinstance(entry, LocalEntry) else None
    return None if origin is None else str(origin)


def _bare(entry: Entry | None) -> Entry | None:
    """Return the source's own entry, without what a lock file adds to it."""
    return entry.entry if isinstance(entry, (PinnedEntry, PinnedFetch)) else entry


def to_fetch(entry: Entry, session: Session) -> tuple[int | None, int | None]:
    """Return how many files and bytes a load of all of *entry* would transfer; None: not known."""
    entry = _bare(entry) or entry
    if isinstance(entry, LocalEntry):
        return 0, 0
    from hf_localize.sources.public import ZipEntry, ZipFetch

    if not isinstance(entry, StoredEntry):
        if isinstance(entry, ZipFetch):
            return 1, entry.record.size_bytes
        hub: HubEntry | Any = entry
        return hub.to_download()
    here = session.store.find_partial(entry.manifest.ref)
    there = here.paths() if here is not None and here.digest == entry.digest else frozenset()
    missing = [file for file in entry.manifest.files if file.path not in there]
    if isinstance(entry, ZipEntry) and entry.contents.members is not None:
        return len(missing), sum(entry.contents.members[file.path].packed_bytes for file in missing)
    return len(missing), sum(file.size_bytes for file in missing)


def _what_a_load_does(taken: Asked, session: Session) -> str:
    """Return, in words, what a load does with a dataset that *taken* has."""
    store = session.settings.datasets_store_path
    if taken.kind == "local":
        return "open the copy in the local store; no request is made, and nothing is downloaded"
    if taken.kind == "hub":
        kept = {
            "off": "nothing is kept in the store (HGLOC_WRITE_BACK=off)",
            "local": f"a copy is kept in {store}",
            "s3": f"a copy is kept in {store} and uploaded to the bucket",
        }[session.settings.write_back]
        return f"have stock datasets download and prepare it; {kept}"
    return f"fetch it from {taken.name} into {store}; the next load is local"


def _failure(ref: DatasetRef, asked: list[Asked], session: Session, as_locked: str | None) -> str:
    """Return, in words, why a load fails, and what to do."""
    failed = [one.name for one in asked if one.answer not in (HAS_IT, NOT_HERE, NOT_ASKED)]
    what = f"no source could provide it, and {', '.join(failed)} failed" if failed else "no source has it"
    *_, advice = str(_not_found(ref, asked, session, as_locked)).splitlines()
    return f"{what}{as_locked or ''}. {advice}"


def _errors(asked: list[Asked]) -> list[Exception]:
    return [one.error for one in asked if one.error is not None]


def _not_found(
    ref: DatasetRef, asked: list[Asked], session: Session, as_locked: str | None = None
) -> DatasetNotFoundError:
    """Return the error that a load raises."""
    answers = [Answer(one.name, one.reason, one.error) for one in asked if session.asks(one.kind)]
    return not_found(ref, answers, as_locked, session.unasked)


def _manifest_of(entry: Entry | None, ref: DatasetRef) -> Manifest:
    """Return what the Hub or a record tells of a dataset that has no manifest."""
    described = getattr(entry, "described", None)
    if described is not None:
        return described()  # type: ignore[no-any-return]
    return Manifest(dataset_id=ref.dataset_id, config_name=ref.config_name, revision=ref.revision)


def facts_of(manifest: Manifest) -> dict[str, Any]:
    """Return what a manifest tells, as the public functions do."""
    splits = [
        DescribedSplit(
            split.name,
            split.rows if split.rows or all(s.rows is not None for s in split.shards) else None,
            split.size_bytes or None,
            len(split.shards) or None,
        )
        for split in manifest.splits
    ]
    return {
        **manifest.identity.identity_json(),
        "origin": manifest.origin,
        "created": manifest.created,
        "written_by": dict(manifest.written_by),
        "license": manifest.license,
        "restriction": manifest.restriction,
        "configs": list(manifest.repository_configs),
        "features": dict(manifest.features),
        "splits": splits,
        "files": len(manifest.files) or None,
        "size_bytes": manifest.size_bytes or None,
    }
