"""The order in which sources are asked, and what each kind of answer leads to."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hf_localize.errors import (
    AccessDeniedError,
    ConflictError,
    DatasetConflictError,
    DatasetCorruptError,
    DatasetDeniedError,
    DatasetNotFoundError,
    DatasetUnreachableError,
    HfLocalizeError,
    IntegrityError,
    InvalidRefError,
    LockError,
    SettingsError,
    StoreError,
    UnreachableError,
    UnsupportedFeatureError,
    did_you_mean,
    kind_of,
    without_queries,
)
from hf_localize.format.arrow.shards import check_shards
from hf_localize.format.lockfile import Lock, Locked
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.renamed_ids import current_ref
from hf_localize.http.retry import one_load
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import (
    SOURCE_FAILURES,
    Budget,
    Entry,
    Needed,
    NotHere,
    RepositorySource,
    Source,
    StoredEntry,
    arguments_of,
    download_command,
)
from hf_localize.sources.pinned import find_pinned
from hf_localize.store.commit import commit, commit_part
from hf_localize.store.entry import LocalEntry
from hf_localize.store.origins import record_origin
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: What another source can't mend: a mistake of the caller's, and a store that does not take what was found.
_NO_ANSWER = (SettingsError, LockError, InvalidRefError, StoreError)
#: How many times an entry may be replaced while it is fetched.
_REPLACEMENTS = 5
_warned: set[tuple[str, str]] = set()


class Answer(NamedTuple):
    """What one source answered: why it could not give the dataset."""

    source: str
    reason: str
    error: Exception | None = None
    is_partial: bool = False

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors of other libraries may hold requests, with their credentials, and not all can be pickled.
        own = self.error if isinstance(self.error, HfLocalizeError) else None
        return Answer, (self.source, self.reason, own, self.is_partial)

    @property
    def has_failed(self) -> bool:
        """Tell whether the source could not answer at all."""
        return isinstance(self.error, SOURCE_FAILURES)

    @property
    def was_asked(self) -> bool:
        """Tell whether the source was asked at all."""
        return not self.reason.startswith(("not asked", "left out"))

    @property
    def is_definite(self) -> bool:
        """Tell whether another library's own error says that there is no such dataset."""
        return self.error is not None and not self.has_failed


class Unasked(NamedTuple):
    """A source that is not asked, although it may have the dataset; an error names it."""

    source: str
    reason: str
    #: What to do about that, as the end of a sentence. ``{command}`` stands for the command that downloads.
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.source}: not asked: {self.reason}"


def _check(folder: Path, manifest: Manifest, paths: Collection[str] | None) -> None:
    check_shards(folder, manifest.splits, paths)


def _as_it_is(entry: Entry) -> Any:
    return entry


@dataclass(frozen=True, slots=True)
class Resolver:
    """Ask the sources in order; the first that has the dataset wins.

    ``timeout_seconds`` bounds what all remote stores of one resolution may take to answer.
    """

    store: Store
    sources: tuple[Source, ...]
    timeout_seconds: float
    #: What may be found; None: whatever there is.
    lock: Lock | None = None
    #: Raises IntegrityError where files of an entry (paths; None: all) in a folder are not what its
    #: manifest says. What a source gives comes into the store only after that.
    check: Callable[[Path, Manifest, Collection[str] | None], None] = _check
    #: An error names them; at most one has advice.
    unasked: tuple[Unasked, ...] = ()
    #: Where the Hub has answered that it has no such dataset, the sources after it are not asked.
    hub_decides: bool = False

    def find(
        self, ref: DatasetRef, use: Callable[[Entry], _T] = _as_it_is, *, skip_local: bool = False
    ) -> _T:
        """Return the first source's entry for *ref*. No data is moved.

        Args:
            use: what to make of the entry and return. A source of whose entry it raises IntegrityError
                has a damaged copy: the next one is asked.
            skip_local: pass over the local store.

        Raises:
            DatasetNotFoundError: no source has it; the subclass tells why.
        """
        return self._first(ref, self._usable(skip_local), lambda entry, _: use(entry))

    def localize(
        self,
        ref: DatasetRef,
        *,
        skip_local: bool = False,
        needed: Needed | None = None,
        is_checked: bool = True,
    ) -> LocalEntry:
        """Return the entry for *ref* in the local store, fetched there if need be.

        A source that fails while its entry is fetched is passed over like one that fails to
        answer.

        Raises:
            DatasetNotFoundError: no source could give it; the subclass tells why.
        """
        return self._first(
            ref,
            self._usable(skip_local),
            functools.partial(self._localize, force=skip_local, needed=needed, is_checked=is_checked),
        )

    def localize_entry(
        self,
        entry: Entry,
        ref: DatasetRef,
        *,
        force: bool = False,
        needed: Needed | None = None,
        is_checked: bool = True,
    ) -> LocalEntry:
        """Return *entry* in the local store; if it can't be fetched, another source's entry.

        Args:
            force: fetch it also where the store has the same content.
            needed: what of it is needed, where that is not all.
            is_checked: what the store has is known to be what its manifest says.

        Raises:
            DatasetNotFoundError: no source could give it; the subclass tells why.
        """
        try:
            with one_load():
                return self._localize(entry, ref, force, needed, is_checked)
        except HfLocalizeError as exc:
            if isinstance(exc, _NO_ANSWER):
                raise
            answer = Answer(entry.source, str(exc), exc)
            self._report(answer, ref)
        # What is damaged may have been replaced meanwhile. Otherwise the source is not tried again.
        given = [] if isinstance(answer.error, IntegrityError) else [answer]
        use = functools.partial(self._localize, force=False, needed=needed, is_checked=is_checked)
        return self._first(ref, self.sources, use, given)

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return a manifest that lists all configs of the repository of *ref*, from any store."""
        budget = Budget(self.timeout_seconds, [source.kind for source in self.sources])
        for source in self.sources:
            if isinstance(source, RepositorySource):
                try:
                    for name in filter(None, (ref, current_ref(ref))):
                        known = budget.ask(source.kind, functools.partial(source.repository, name))
                        if known is not None:
                            return known
                except HfLocalizeError as exc:
                    if isinstance(exc, _NO_ANSWER):
                        raise
                    self._report(Answer(source.name, str(exc), exc), ref)
        return None

    def did_you_mean(self, ref: DatasetRef) -> str:
        """Return, as a line for an error, the known ids most like that of *ref*. Makes no request."""
        known: set[str] = set()
        for source in self.sources:
            with contextlib.suppress(HfLocalizeError, OSError):
                known |= set(source.known_ids()) if isinstance(source, RepositorySource) else set()
        return did_you_mean(ref.dataset_id, known)

    def without_hub(self) -> Resolver:
        """Return the resolver that a pickle may hold: stock's call can't be repeated from one."""
        return replace(self, sources=tuple(source for source in self.sources if source.kind != "hub"))

    def _usable(self, skip_local: bool) -> Sequence[Source]:
        return [source for source in self.sources if not (skip_local and source.kind == "local")]

    @one_load()
    def _first(
        self,
        ref: DatasetRef,
        sources: Sequence[Source],
        use: Callable[[Entry, DatasetRef], _T],
        given: Sequence[Answer] = (),
    ) -> _T:
        """Return what *use* makes of the first entry; sources whose answers are *given* are not asked."""
        answers: list[Answer] = []
        said_by_stock: Exception | None = None
        budget = Budget(self.timeout_seconds, [source.kind for source in sources])
        locked = None if self.lock is None else self.lock.of(ref)
        for source in sources:
            if known := [answer for answer in given if answer.source == source.name]:
                answers += known
                continue
            try:
                found, name = consult(source, ref, locked, self.store, budget)
                if not isinstance(found, NotHere):
                    return self._use(source, name, locked, found, use)
                answers.append(Answer(source.name, found.reason, found.error, found.is_partial))
                _log.debug("%s: %s: %s", ref, source.name, found.reason)
            except Exception as exc:  # Raised again below unless it is an answer.
                # Whatever stock raises is the Hub's answer. Any other error that is not ours is a defect.
                is_answer = isinstance(exc, HfLocalizeError) or source.kind == "hub"
                if isinstance(exc, _NO_ANSWER) or not is_answer:
                    raise
                answers.append(Answer(source.name, without_queries(str(exc)) or type(exc).__name__, exc))
                if source.kind == "hub" and not isinstance(exc, (*SOURCE_FAILURES, ConflictError)):
                    said_by_stock = exc
                is_raised = exc is said_by_stock and source is sources[-1]
                if not is_raised and not isinstance(exc, ConflictError):  # Other content than is locked.
                    self._report(answers[-1], ref)
            if self.hub_decides and source.kind == "hub" and answers[-1].is_definite:
                break
        for answer in answers:
            if isinstance(answer.error, UnsupportedFeatureError):
                raise answer.error  # It says what to do; that nobody else has the dataset does not.
        if said_by_stock is not None:
            raise said_by_stock
        answers[:0] = [_passed_over(source, ref) for source in self.sources if source not in sources]
        as_locked = None if self.lock is None or locked is None else self.lock.as_locked(locked)
        error = not_found(ref, answers, as_locked, self.unasked)
        if self.lock is None and kind_of(error) in ("not found", "denied", "unreachable"):
            error.args = (f"{error}{self.did_you_mean(ref)}",)
        raise error

    def _use(
        self,
        source: Source,
        ref: DatasetRef,
        locked: Locked | None,
        found: Entry,
        use: Callable[[Entry, DatasetRef], _T],
    ) -> _T:
        """Use a source's entry. If it was removed or replaced in the meantime, use the new one."""
        for _ in range(_REPLACEMENTS):
            try:
                return use(found, ref)
            except IntegrityError:
                is_remote = source.kind in ("s3", "public")
                newer = find_pinned(source, ref, locked, self.store) if is_remote else found
                if not isinstance(newer, StoredEntry) or not isinstance(found, StoredEntry):
                    raise
                if newer.digest == found.digest:
                    raise
                found = newer
        return use(found, ref)

    def _localize(
        self, entry: Entry, ref: DatasetRef, force: bool, needed: Needed | None, is_checked: bool
    ) -> LocalEntry:
        started = time.monotonic()
        if isinstance(entry, LocalEntry):
            if not is_checked:
                self.check(entry.folder, entry.manifest, entry.paths())
            _log_resolution(ref, entry.source, entry, "nothing to fetch")
            return entry
        key = entry.digest if isinstance(entry, StoredEntry) else ref.suffix[1:] + "-hub"
        with staging_folder(self.store, key) as folder:
            local = None if force else self._local_copy_of(entry, ref)
            if local is None and isinstance(entry, StoredEntry):
                local = self._fetch(entry, folder, force, needed)
            if local is None:
                manifest = entry.fetch_into(folder)
                self._check_staged(folder, manifest, None)
                local = commit(self.store, folder, manifest)
            is_of_bucket = entry.source in (SOURCE_NAMES["s3"], SOURCE_NAMES["public"])
            record_origin(self.store.path, local.manifest, self.store.bucket if is_of_bucket else None)
        _log_resolution(ref, entry.source, local, f"{time.monotonic() - started:.1f} s")
        return local

    def _fetch(
        self, entry: StoredEntry, folder: Path, force: bool, needed: Needed | None
    ) -> LocalEntry | None:
        """Fetch the *needed* part of *entry*, and keep the part that is here already; None: all is needed."""
        here = None if force else self.store.find_partial(entry.manifest.ref)
        if here is not None and here.digest != entry.digest:
            here = None
        paths = needed(entry.manifest) if needed is not None else None
        there = here.paths() if here is not None else frozenset()
        if paths is not None and not entry.manifest.shard_paths() <= there | set(paths):
            missing = sorted(set(paths) - there)
            if not force:
                self.store.link_same_content(entry.manifest, missing, folder)
            manifest = entry.fetch_some(folder, missing) if missing else entry.manifest
            self._check_staged(folder, manifest, missing)
            return commit_part(self.store, folder, manifest, missing)
        if not force:
            self.store.link_same_content(entry.manifest, entry.manifest.shard_paths() - there, folder)
        if here is None:
            return None
        here.link_into(folder)  # Each was checked when it came, so only the others are looked at.
        missing = sorted({file.path for file in entry.manifest.files} - there)
        manifest = entry.fetch_some(folder, missing)
        self._check_staged(folder, manifest, None)
        return commit(self.store, folder, manifest)

    def _check_staged(self, folder: Path, manifest: Manifest, paths: Collection[str] | None) -> None:
        try:
            self.check(folder, manifest, paths)
        except HfLocalizeError:
            shutil.rmtree(folder)  # Nothing of it is of use to another try.
            raise

    def _local_copy_of(self, entry: Entry, ref: DatasetRef) -> LocalEntry | None:
        """Return what another process has stored while this one waited for the staging folder."""
        try:
            present = current_ref(ref)
            local = self.store.find(ref) or (self.store.find(present) if present is not None else None)
        except IntegrityError:
            return None
        if local is None or not isinstance(entry, StoredEntry) or local.digest != entry.digest:
            return None
        return local if local.manifest.says_as(entry.manifest) else None

    def _report(self, answer: Answer, ref: DatasetRef) -> None:
        """Warn of a failing source once in a process; say it again at DEBUG."""
        key = (answer.source, type(answer.error).__name__)
        level = logging.DEBUG if key in _warned else logging.WARNING
        _warned.add(key)
        _log.log(level, "%s: %s failed and is skipped: %s", ref, answer.source, answer.reason)


def consult(
    source: Source, ref: DatasetRef, locked: Locked | None, store: Store, budget: Budget
) -> tuple[Entry | NotHere, DatasetRef]:
    """Return what *source* has for *ref*, and the ref by which it has it: that of its present id, maybe.

    The Hub knows that itself, and stock may refuse the old one; then that is the answer.

    Args:
        locked: the only content that counts; None: any.
    """

    def find(name: DatasetRef) -> Entry | NotHere:
        return budget.ask(source.kind, functools.partial(find_pinned, source, name, locked, store))

    found = find(ref)
    present = current_ref(ref)
    if not isinstance(found, NotHere) or present is None or source.kind == "hub":
        return found, ref
    other = find(present)
    if not isinstance(other, NotHere):
        return other, present
    reason = found.reason
    if not reason.startswith("not asked"):
        reason += f"; as {present.dataset_id}: {other.reason}"
    return found._replace(reason=reason, is_partial=found.is_partial or other.is_partial), ref


def _passed_over(source: Source, ref: DatasetRef) -> Answer:
    """Return what the local store, which a forced load does not ask, has of *ref*."""
    try:
        found = source.find(ref)
    except HfLocalizeError as exc:
        return Answer(source.name, f"not used, because a new copy is asked for: {exc}")
    return Answer(source.name, found.reason if isinstance(found, NotHere) else _HERE_BUT_FORCED)


def not_found(
    ref: DatasetRef, answers: Sequence[Answer], as_locked: str | None = None, unasked: Sequence[Unasked] = ()
) -> DatasetNotFoundError:
    """Return the error for *ref*, of the class that the worst answer calls for.

    Args:
        as_locked: which content was looked for, in words, where a lock file names it.
        unasked: the sources that may have it, but are not asked.
    """
    errors = [answer.error for answer in answers]
    kind: type[DatasetNotFoundError] = DatasetNotFoundError
    for failure, needed in (
        (ConflictError, DatasetConflictError),
        (UnreachableError, DatasetUnreachableError),
        (AccessDeniedError, DatasetDeniedError),
        (IntegrityError, DatasetCorruptError),
    ):
        if any(isinstance(error, failure) for error in errors):
            kind = needed
    lines: list[Answer | Unasked] = list(answers)
    for one in unasked:  # The lines are in the order of loads.
        after = [i for i, line in enumerate(lines) if _rank(line.source) > _rank(one.source)]
        lines.insert(min(after, default=len(lines)), one)
    asked = "\n".join(f"  - {line}" for line in lines) or "  - no source is enabled (HGLOC_SOURCES)"
    outcome = _OUTCOMES.get(kind, "could not be found")
    error = kind(
        f"Dataset {ref}{as_locked or ''} {outcome}.\nAsked, in this order:\n{asked}\n"
        f"{_advice(ref, answers, unasked) if as_locked is None else _advice_on_locks(ref)}"
    )
    error.answers = tuple(answers)
    return error


def _rank(source: str) -> int:
    """Return where a source stands in the order of loads."""
    return list(SOURCE_NAMES.values()).index(source)


#: What has happened, by the class of the error.
_OUTCOMES: dict[type[DatasetNotFoundError], str] = {
    DatasetUnreachableError: "could not be reached",
    DatasetDeniedError: "could not be read: access denied",
    DatasetCorruptError: "could not be read intact",
}
_HERE_BUT_FORCED = "it is here, but not used, because download_mode='force_redownload' asks for a new copy"
#: What a source has instead, as :func:`alternatives` tells it.
_HAS = re.compile(r"\(it has ([^)]*)\)")
#: A revision as `sources.pinned` names what it stores beside other content, in :func:`alternatives`.
_PINNED = re.compile(r"\(it has [^)]*(@[0-9a-f]{40}|~[0-9a-f]{12})\b")


def _advice_on_locks(ref: DatasetRef) -> str:
    """Return what to do next if no source has the content that is locked."""
    return (
        "No other content is used instead. To lock the content that this machine would load, update the lock "
        f"file: hg-localize lock {arguments_of(ref)} (-o FILE, if it is not datasets.lock). To restore the "
        "locked content, publish it again from a machine that has it (hg-localize sync-local-to-s3 with "
        "--force, or hg-localize download with --revision COMMIT), or carry it from there in a tar file "
        "(hg-localize export and hg-localize import)"
    )


def _other_revisions(ref: DatasetRef, answers: Sequence[Answer]) -> list[str]:
    """Return the revisions that sources have of *ref* in place of the one that was asked for."""
    begins = f"{replace(ref, revision=None)}@"
    told = [match[1] for answer in answers for match in _HAS.finditer(answer.reason)]
    names = [name for names in told for name in names.split(", ") if name.startswith(begins)]
    return [name[len(begins) :] for name in dict.fromkeys(names) if not _PINNED.search(f"(it has {name}")]


def _advice(ref: DatasetRef, answers: Sequence[Answer], unasked: Sequence[Unasked]) -> str:
    """Return what to do next about a dataset that no source could deliver."""
    if any(answer.reason == _HERE_BUT_FORCED for answer in answers):
        return "No other source could deliver it. To load the copy that is here, leave out force_redownload"
    if any(answer.source == SOURCE_NAMES["hub"] and answer.is_definite for answer in answers):
        mend = "Fix what failed above. " if any(answer.has_failed for answer in answers) else ""
        there = "".join(
            f' A source has it at revision="{revision}" (in commands: --revision {revision}).'
            for revision in _other_revisions(ref, answers)[:1]
        )
        return f"{mend}The Hub has answered: check the id, the config and the revision.{there}"
    command = download_command(ref)
    if any(a.source == SOURCE_NAMES["hub"] and isinstance(a.error, IntegrityError) for a in answers):
        return (
            "The Hub has it, but its data can't be stored: see above. Loads from the Hub still "
            f"work.\nTo store its original files, for loads with data_files=: {command} --keep-files"
        )
    asked = {answer.source for answer in answers if answer.was_asked}
    has_failed = any(answer.has_failed for answer in answers)
    if asked <= {SOURCE_NAMES["local"]}:
        if any(answer.is_partial for answer in answers):
            return f"To download the rest, run this where the bucket or the Hub is reachable: {command}"
        if any(_PINNED.search(answer.reason) for answer in answers):
            return (
                "What is stored was downloaded by its commit, or with a lock file. To load it: set "
                "HGLOC_LOCK to the lock file, or name the revision"
            )
    if revisions := _other_revisions(ref, answers):
        first = f"{'Fix what failed above, or load' if has_failed else 'Load'} a revision that is there"
        return f'{first}: revision="{revisions[0]}" (in commands: --revision {revisions[0]})'
    advised = next((one.advice for one in unasked if one.advice), "")
    if not asked & {SOURCE_NAMES["s3"], SOURCE_NAMES["public"]} and advised:
        advice = advised.format(command=command)
        return f"Fix what failed above, or {advice}" if has_failed else f"{advice[0].upper()}{advice[1:]}"
    if all(answer.source == SOURCE_NAMES["local"] for answer in answers):
        return (
            "To see what is stored: hg-localize list-local. To add your own data: hg-localize "
            f"register PATH {ref.dataset_id}"
        )
    if SOURCE_NAMES["public"] in asked and SOURCE_NAMES["s3"] not in asked:
        mend = "Fix what failed above. " if has_failed else ""
        if {answer.source for answer in answers if answer.has_failed} == {SOURCE_NAMES["hub"]}:
            mend = "If the Hub is never reachable, leave it out: HGLOC_SOURCES=local,public. "
        return (
            f"{mend}Without credentials, only what is shared "
            "publicly can be loaded; to see it: hg-localize list-public. To share this dataset too, its "
            f"publisher runs: {command} --make-public"
        )
    failed = "Fix what failed above, or publish it" if has_failed else "To publish it, run this"
    return f"{failed} where the Hub and the bucket are reachable: {command}"


def _log_resolution(ref: DatasetRef, source: str, local: LocalEntry, how: str) -> None:
    """Log one line at INFO: the source that answered for *ref*, what is stored of it, and *how* it came."""
    if not _log.isEnabledFor(logging.INFO):
        return
    paths = local.paths()
    size_bytes = sum(file.size_bytes for file in local.manifest.files if file.path in paths)
    count = f"{len(paths)} of {len(local.manifest.files)}" if local.is_partial else str(len(paths))
    log_answer(str(ref), source, count, size_bytes, how)


def log_answer(what: str, source: str, count: str, size_bytes: int, how: str) -> None:
    """Log one line at INFO: the source that answered for *what*, how much is stored, and *how* it came."""
    units = (("MB", 1e6, 1), ("kB", 1e3, 1), ("bytes", 1, 0))
    unit, scale, digits = next(one for one in units if size_bytes >= one[1] or one[0] == "bytes")
    amount = "1 byte" if size_bytes == 1 else f"{size_bytes / scale:.{digits}f} {unit}"
    files = "file" if count == "1" else "files"
    _log.info("%s ← %s, %s %s, %s, %s", what, source, count, files, amount, how)
