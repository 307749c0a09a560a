"""The errors that hf_localize raises.

Each one also inherits the builtin that callers already catch for that situation, so
``except FileNotFoundError`` around a load keeps working.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
import unicodedata
from collections.abc import Collection, Iterator

_log = logging.getLogger(__name__)
#: Of URLs, also of those that lack their host: urllib3 names it apart.
_QUERY = re.compile(r"""(/[^\s?'"<>]*)\?[^\s'"<>)]+""")
_USER = re.compile(r"""(\w://)[^\s/?#'"<>]*@""")
#: Of a whole URL, also if they are not escaped as in a URL, or if the scheme is missing.
_ANY_USER = re.compile(r"(\w+://)?.*@", re.DOTALL)


def without_queries(said: str) -> str:
    """Return what another library *said* without credentials in URLs: queries (presigned) and passwords."""
    return _USER.sub(r"\1…@", _QUERY.sub(r"\1?…", said))


def without_user(url: str) -> str:
    """Return *url*, and nothing else, without the user and password in it."""
    return _ANY_USER.sub(lambda found: f"{found[1] or ''}…@", url)


def without_frames(exc: BaseException) -> BaseException:
    """Return *exc* and what led to it without the frames that raised them, for ``raise ... from``.

    Tools that print local variables would show the headers of requests there, and so credentials.
    """
    chain: list[BaseException] = [exc]
    for link in chain:
        link.__traceback__ = None
        chain += [e for e in (link.__cause__, link.__context__) if e is not None and e not in chain]
    return exc


def printable(text: str) -> str:
    """Return *text* with characters that would steer a terminal, or reorder a line, as their escapes.

    Line breaks and tabs stay, and what joins or divides letters in some scripts.
    """
    if text.isprintable():
        return text
    return "".join(
        [
            char if char.isprintable() or not _steers(char) else char.encode("unicode_escape").decode()
            for char in text
        ]
    )


def _steers(char: str) -> bool:
    return char not in "\n\t\u200c\u200d" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


class HfLocalizeError(Exception):
    """Base of every error that hf_localize raises. Its message may quote text of others.

    ``path`` is the folder of the dataset in the local store, if it is there and only a later step failed.
    """

    path: str | None = None

    def __str__(self) -> str:
        return printable(super().__str__())

    def comes_after(self, done: str) -> None:
        """Have the message begin with what was *done* before this happened."""
        self.args = (f"{done}: {self}",)


class InvalidRefError(HfLocalizeError, ValueError):
    """A dataset id, config name or revision that can't name a dataset."""


class SettingsError(HfLocalizeError, ValueError):
    """A setting is missing, or has a value that can't be used."""


class AccessDeniedError(HfLocalizeError, PermissionError):
    """A source was reached and refused access."""


class UnreachableError(HfLocalizeError, ConnectionError):
    """A source could not be reached, or did not answer in time."""


class SlowDownError(UnreachableError):
    """The server asks for fewer requests (HTTP 503 or 429).

    ``retry_after_seconds`` is how long it asks to wait, or None.
    """

    retry_after_seconds: float | None = None


class RefusedError(UnreachableError):
    """The server refuses the request, and a retry would not help."""


class IntegrityError(HfLocalizeError, OSError):
    """Stored data is damaged: it differs from its manifest, or can't be read at all."""


class StoreError(HfLocalizeError, OSError):
    """The local store, or a tar or lock file, can't be written: no permission, no space, no such folder."""


class GarbledError(IntegrityError):
    """The data makes no sense: it is damaged at its source, or on its way."""


class UnsafeArchiveError(IntegrityError):
    """An archive or a manifest names a place outside its own folder, or is otherwise hostile."""


class PreconditionFailedError(HfLocalizeError):
    """A conditional write lost to another writer (HTTP 412 or 409)."""


class ConflictError(HfLocalizeError):
    """Two copies of one dataset differ, or a shared file kept changing under a writer."""


class PublishError(HfLocalizeError):
    """An upload or a publication could not be completed; nothing of it is visible."""


class RestrictedError(HfLocalizeError, PermissionError):
    """The Hub restricts the dataset, and it was not named as one that may be shared publicly."""


class LockError(HfLocalizeError, ValueError):
    """A lock file, or a record of loads, can't be read or made."""


class NotAnswerableError(HfLocalizeError, ConnectionError):
    """A call that only the Hub can answer (``data_files=``, …), and the Hub is out of reach."""


class UnsupportedFeatureError(HfLocalizeError, ValueError):
    """The dataset has a feature type that the installed ``datasets`` lacks."""


class ScriptDatasetError(HfLocalizeError, RuntimeError):
    """The dataset is a loading script, which the installed ``datasets`` does not run."""


class PreparationError(HfLocalizeError, RuntimeError):
    """Stock ``datasets`` can't prepare the dataset: a file can't be read, or sizes are not as recorded.

    ``path`` is the folder of the original files in the local store, if these were requested too.
    """


class UnusableDataError(HfLocalizeError, ValueError):
    """Your own data can't be registered: its splits differ in features, or can't be told apart."""


class DatasetNotFoundError(HfLocalizeError, FileNotFoundError):
    """No source could deliver the dataset. The message has the answer of each source.

    ``answers`` has them as values, in the order in which the sources were asked.
    """

    answers: tuple[object, ...] = ()


class ConfigMissingError(DatasetNotFoundError, ValueError):
    """No config is named, and the dataset has no default config. The message lists its configs."""


class DatasetDeniedError(DatasetNotFoundError, AccessDeniedError):
    """No source could deliver the dataset, and at least one refused access."""


class DatasetUnreachableError(DatasetNotFoundError, UnreachableError):
    """No source could deliver the dataset, and at least one was out of reach."""


class DatasetCorruptError(DatasetNotFoundError, IntegrityError):
    """No source could deliver the dataset, and at least one has a damaged copy."""


class DatasetConflictError(DatasetNotFoundError, ConflictError):
    """No source could deliver the content that the lock file names, and at least one has other content."""


class NotLockedError(DatasetNotFoundError):
    """A lock file is in force, and it does not name the dataset."""


#: What kinds of failure there are, and the errors of each. The first that fits counts: an error that
#: sums up what several sources said is of the worst of their kinds.
_KINDS: tuple[tuple[str, tuple[type[Exception], ...]], ...] = (
    ("corrupt", (IntegrityError,)),
    ("conflict", (ConflictError, PreconditionFailedError)),
    ("denied", (AccessDeniedError, RestrictedError)),
    ("unreachable", (UnreachableError, NotAnswerableError)),
    ("usage", (InvalidRefError, SettingsError, LockError, ConfigMissingError)),
    ("failed", (StoreError,)),
    ("not found", (FileNotFoundError,)),
    ("denied", (PermissionError,)),
    ("unreachable", (ConnectionError, TimeoutError)),
)


def kind_of(error: BaseException) -> str:
    """Return what kind of failure *error* is, in a word or two.

    It is ``corrupt``, ``conflict``, ``denied``, ``unreachable``, ``usage``, ``not found``, or
    ``failed`` for all others. What could not be published or prepared is of the kind of its cause.
    """
    for kind, errors in _KINDS:
        if isinstance(error, errors):
            return kind
    if str(error).startswith("BuilderConfig '"):  # What `datasets` says of a config that there is not.
        return "not found"
    if str(error).startswith("Config name is missing"):  # The same, where none is named.
        return "usage"
    if type(error).__name__ == "HFValidationError":  # What huggingface_hub says of an id that can't be one.
        return "usage"
    if isinstance(error, (PublishError, PreparationError)) and isinstance(error.__cause__, Exception):
        return kind_of(error.__cause__)
    return "failed"


def is_defect(error: BaseException) -> bool:
    """Tell whether *error* is a defect of hf_localize, not an error of its own, the system or `datasets`."""
    if isinstance(error, (HfLocalizeError, OSError, MemoryError)) or kind_of(error) != "failed":
        return False
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [name.partition(".")[0] for name in modules]
    libraries = [name for name in names if name in (__package__, "datasets", "huggingface_hub")]
    return libraries[-1:] == [__package__]


def message_of(error: BaseException) -> str:
    """Return what to tell a user of *error*: its message, or how to report a defect, in one line."""
    message = without_queries(str(error)) or type(error).__name__
    if not is_defect(error):
        return message
    shown = " ".join(f"{type(error).__name__}: {message}".split())
    return f"this is a defect of hf_localize. Please report it with what this command prints with -v: {shown}"


@contextlib.contextmanager
def bookkeeping(failed: str) -> Iterator[None]:
    """Log what goes wrong meanwhile, after the words *failed*, and go on.

    It may go wrong in any way: builders are classes of other people, and of releases to come.
    """
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # See above.
        _log.warning("%s: %s: %s", failed, type(exc).__name__, without_queries(str(exc)))
        _log.debug("where that happened:", exc_info=True)


def did_you_mean(dataset_id: str, known: Collection[str]) -> str:
    """Return, as a line for an error, those of *known* ids that are most like one that was not found."""
    import difflib

    names = {one: one.rpartition("/")[2].lower() for one in sorted(known)}
    # An owner may be forgotten, or another one.
    close = difflib.get_close_matches(dataset_id.rpartition("/")[2].lower(), set(names.values()))
    near = [] if dataset_id in names else [one for one, name in names.items() if name in close]
    return f"\nDid you mean {' or '.join(near[:3])}?" if near else ""
