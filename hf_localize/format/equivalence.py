"""Which refs a stored dataset answers: those that name the same repository, config and revision."""

from __future__ import annotations

from typing import Protocol

from hf_localize.format.refs import DatasetRef, is_commit, same_revision


class Identified(Protocol):
    """What tells which refs a stored dataset answers: a manifest, or a public record."""

    @property
    def ref(self) -> DatasetRef:
        """Return the ref under which it was stored."""

    @property
    def canonical_id(self) -> str | None:
        """Return the id to which the Hub resolved the one that was asked for."""

    @property
    def resolved_config(self) -> str | None:
        """Return the name of the config that was built."""

    @property
    def is_default_config(self) -> bool:
        """Tell whether that config is the dataset's default."""

    @property
    def commit(self) -> str | None:
        """Return the commit SHA."""


def answers(stored: Identified, ref: DatasetRef) -> bool:
    """Tell whether *stored* is what *ref* names.

    No config is the dataset's default config, which is called ``default`` where nothing else is known, no
    revision is ``main``, a commit SHA is the entry that recorded it, and the id may be the canonical one.
    Nothing else is equivalent.
    """
    if ref == stored.ref:
        return True
    if not is_same_id(stored, ref.dataset_id):
        return False
    if ref.config_name is None:
        same_config = stored.ref.config_name is None or stored.is_default_config
    else:
        same_config = ref.config_name in (stored.ref.config_name, stored.resolved_config or config_of(stored))
    return same_config and is_same_revision(stored, ref.revision)


def config_of(stored: Identified) -> str:
    """Return the name of the config that *stored* is."""
    return stored.ref.config_name or stored.resolved_config or "default"


def is_same_id(stored: Identified, dataset_id: str) -> bool:
    """Tell whether *dataset_id* names the repository of *stored*.

    The Hub keeps no two ids that differ by letter case only, and redirects from any case; so
    does what came from there. The id of a registered dataset is taken as it is.
    """
    if dataset_id == stored.ref.dataset_id:
        return True
    known = (stored.ref.dataset_id, stored.canonical_id)
    return stored.canonical_id is not None and dataset_id.lower() in (i.lower() for i in known if i)


def is_same_revision(stored: Identified, revision: str | None) -> bool:
    """Tell whether *revision* is what *stored* was stored under, or the commit that it recorded."""
    return same_revision(revision, stored.ref.revision) or is_commit(revision, stored.commit)
