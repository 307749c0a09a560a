"""Which refs a stored dataset answers: those that name the same repository, config and revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hf_localize.format.refs import DatasetRef, is_commit, same_revision


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells which refs a stored dataset answers.

    ``ref`` is that under which it was stored, ``canonical_id`` the id to which the Hub resolved the one
    that was asked for, ``resolved_config`` the config that was built, ``is_default_config`` whether that
    is the dataset's default.
    """

    ref: DatasetRef
    canonical_id: str | None = None
    resolved_config: str | None = None
    is_default_config: bool = False
    commit: str | None = None

    def identity_json(self) -> dict[str, Any]:
        """Return it as catalogs, public records and lock files have it."""
        return {
            **self.ref.as_dict(),
            "canonical_id": self.canonical_id,
            "resolved_config": self.resolved_config,
            "is_default_config": self.is_default_config,
            "commit": self.commit,
        }

    @property
    def config(self) -> str:
        """Return the name of the config that it is."""
        return self.ref.config_name or self.resolved_config or "default"

    def answers(self, ref: DatasetRef) -> bool:
        """Tell whether this is what *ref* names.

        No config is the dataset's default config, which is called ``default`` where nothing else is known,
        no revision is ``main``, a commit SHA is the entry that recorded it, and the id may be the canonical
        one. Nothing else is equivalent.
        """
        if ref == self.ref:
            return True
        if ref.config_name is None:
            same_config = self.ref.config_name is None or self.is_default_config
        else:
            same_config = ref.config_name in (self.ref.config_name, self.resolved_config or self.config)
        return same_config and self.is_of_repository(ref)

    def is_of_repository(self, ref: DatasetRef) -> bool:
        """Tell whether this is of the repository of *ref*, at its revision or the commit that it names."""
        is_same = same_revision(ref.revision, self.ref.revision) or is_commit(ref.revision, self.commit)
        return is_same and self.has_id(ref.dataset_id)

    def has_id(self, dataset_id: str) -> bool:
        """Tell whether *dataset_id* names the repository.

        The Hub keeps no two ids that differ by letter case only, and redirects from any case; so
        does what came from there. The id of a registered dataset is taken as it is.
        """
        if dataset_id == self.ref.dataset_id or self.canonical_id is None:
            return dataset_id == self.ref.dataset_id
        return dataset_id.lower() in (self.ref.dataset_id.lower(), self.canonical_id.lower())


def identity_fields(value: dict[str, Any], text: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the fields of an `Identity`, but ``ref``, that JSON has; *text* returns one that is text."""
    names = ("canonical_id", "resolved_config", "commit")
    return {
        **{name: text(name) for name in names},
        "is_default_config": value.get("is_default_config") is True,
    }
