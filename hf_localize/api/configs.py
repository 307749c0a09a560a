"""A config that a call leaves out: all configs that are stored, or an error that lists which there are."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from shlex import quote

from hf_localize.errors import (
    ConfigMissingError,
    DatasetNotFoundError,
    HfLocalizeError,
    InvalidRefError,
    NotLockedError,
)
from hf_localize.format.equivalence import Identity
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.sources.base import RepositorySource, alternatives
from hf_localize.sources.session import Session, current_session

#: What stock `datasets` says where no config is named and there is no default.
_STOCK = re.compile(r"Config name is missing\.\s.*?available configs: (\[.*?\])", re.DOTALL)


def ref_of(
    dataset_id: str, config_name: str | None = None, revision: str | None = None, name: str | None = None
) -> DatasetRef:
    """Return the ref that a call names. *name* is what `datasets` calls the config name.

    Raises:
        InvalidRefError: a part can't name anything, or *name* and *config_name* differ.
    """
    if None not in (name, config_name) and name != config_name:
        raise InvalidRefError(f"name={name!r} and config_name={config_name!r}: give only one of them")
    return DatasetRef(dataset_id, name if config_name is None else config_name, revision)


def any_ref_of(
    dataset_id: str | None, config_name: str | None, revision: str | None, name: str | None = None
) -> DatasetRef | None:
    """Return the ref that a call names; None, for everything, where it names no dataset.

    Raises:
        InvalidRefError: as :func:`ref_of`; a config or revision is named, but no dataset.
    """
    if dataset_id is not None:
        return ref_of(dataset_id, config_name, revision, name)
    if not (config_name is revision is name is None):
        raise InvalidRefError("config_name and revision select from one dataset: also give dataset_id")
    return None


def with_configs(ref: DatasetRef, session: Session, *places: str) -> list[DatasetRef]:
    """Return *ref* or, where it names no config, a ref for each config that *places* have of it."""
    if ref.config_name is not None:
        return [ref]
    found = _stored(ref, session, places)
    itself = [] if any(identity.answers(ref) for identity in found) else [ref]
    return list(dict.fromkeys([*itself, *(identity.ref for identity in found)]))


@contextlib.contextmanager
def configs_listed(ref: DatasetRef, *places: str, all_configs: bool = False) -> Iterator[None]:
    """Have a call that fails because it names no config say which there are.

    Args:
        places: that are asked for them, in place of the enabled sources.
        all_configs: the command has the option ``--all-configs``.

    Raises:
        ConfigMissingError: no config is named, and there are some.
    """
    try:
        yield
    except (DatasetNotFoundError, ValueError) as exc:
        error = config_missing(ref, current_session(), [exc], *places, all_configs=all_configs)
        if error is None:
            raise
        raise error from exc


def config_missing(
    ref: DatasetRef, session: Session, errors: Sequence[Exception], *places: str, all_configs: bool = False
) -> ConfigMissingError | None:
    """Return the error for a *ref* without config that led to *errors*; None: it is not for want of one."""
    if ref.config_name is not None or any(isinstance(error, NotLockedError) for error in errors):
        return None
    others = ", or take all with --all-configs" if all_configs else ""
    told = next(filter(None, (_STOCK.search(str(error)) for error in errors)), None)
    if told is not None:
        names: list[str] = ast.literal_eval(told[1])
    else:
        answers = [answer for error in errors for answer in getattr(error, "answers", ())]
        failed = {answer.source for answer in answers if answer.error is not None}
        stored = _stored(ref, session, places or session.enabled, failed)
        names = sorted({identity.config for identity in stored} - {FILES_CONFIG})
        if not names or any(identity.answers(ref) for identity in stored):
            return None
        if all_configs and session.is_outsider:
            # Most other configs of the repository may not be public.
            others = f", or take all of these: {' '.join(f'--name {quote(name)}' for name in names)}"
    ways = f'Name one with --name CONFIG (in Python: config_name="{names[0]}")'
    return ConfigMissingError(f"Config name is missing: {ref} has {', '.join(names)}.\n{ways}{others}.")


def stored_instead(ref: DatasetRef, session: Session, *places: str) -> str:
    """Return, in words for a message, what the local store, or *places*, have of the dataset id of *ref*."""
    return alternatives(
        sorted({str(identity.ref) for identity in _of_id(ref, session, places or ("local",))})
    )


def _stored(
    ref: DatasetRef, session: Session, places: Sequence[str], failed: Collection[str] = ()
) -> list[Identity]:
    """Return what *places* have of the repository of *ref*, at its revision; those *failed* are not asked."""
    return [one for one in _of_id(ref, session, places, failed) if one.is_of_repository(ref)]


def _of_id(
    ref: DatasetRef, session: Session, places: Sequence[str], failed: Collection[str] = ()
) -> list[Identity]:
    found: list[Identity] = []
    for source in session.resolver(only=tuple(places)).sources:
        with contextlib.suppress(HfLocalizeError):  # A request to that place itself reports this.
            if isinstance(source, RepositorySource) and source.name not in failed:
                found += source.stored(ref)
    return found
