"""The local store as a source."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_localize.format.equivalence import Identity
from hf_localize.format.manifest import Manifest, repository_of
from hf_localize.format.refs import DatasetRef
from hf_localize.settings import SOURCE_NAMES
from hf_localize.sources.base import Entry, Needed, NotHere, alternatives
from hf_localize.store.entry import LocalEntry
from hf_localize.store.origins import Origin
from hf_localize.store.store import Store, reading

_log = logging.getLogger(__name__)
_warned: set[tuple[Path, Origin, Origin]] = set()


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Answer from this machine's store, without any request."""

    store: Store
    #: What the load needs: an entry that is here in part answers it if it has that.
    needed: Needed | None = None
    kind: str = "local"
    name: str = SOURCE_NAMES["local"]

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the stored entry for *ref*, or what is stored of that dataset instead.

        Raises:
            IntegrityError: it is damaged.
            AccessDeniedError, UnreachableError: the store can't be read.
        """
        with reading(self.store.path):
            return self._find(ref)

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any stored manifest that lists the configs of the repository of *ref*."""
        with reading(self.store.path):
            stored = self.store.manifests_of(ref)
            return next((m for m in stored if m.tells_configs(ref)), None) or repository_of(
                (m.identity for m in stored), ref
            )

    def stored(self, ref: DatasetRef) -> Sequence[Identity]:
        """Return what is stored of the dataset id of *ref*, whatever its config and revision."""
        with reading(self.store.path):
            return [manifest.identity for manifest in self.store.manifests_of(ref)]

    def known_ids(self) -> Collection[str]:
        """Return the ids of all stored datasets."""
        with reading(self.store.path):
            return {ref.dataset_id for ref in self.store.refs()}

    def _find(self, ref: DatasetRef) -> Entry | NotHere:
        entry = self.store.find(ref)
        if entry is not None:
            self._warn_of_another_bucket(entry)
            return entry
        if (partial := self.store.find_partial(ref)) is not None:
            if self.needed is not None and partial.has(self.needed(partial.manifest)):
                self._warn_of_another_bucket(partial)
                return partial
            reason = f"only a part of it is in {self.store.path}: {partial.summary()}"
            return NotHere(reason, is_partial=True)
        others = [str(manifest.ref) for manifest in self.store.manifests_of(ref)]
        reason = f"not in {self.store.path}{alternatives(others)}"
        if not self.store.path.exists():
            reason += ", which does not exist"
        if buckets := self.store.buckets_with(ref):
            names = ", ".join(map(str, buckets))
            reason += f"; the original tool has a copy there from {names}: to load it, configure that bucket"
        return NotHere(reason)

    def _warn_of_another_bucket(self, entry: LocalEntry) -> None:
        """Warn, once a process for a dataset, that *entry* came from another bucket than is configured.

        Whether that one has the dataset too, and the same, is not asked: a local copy needs no request.
        """
        origin, configured = self.store.origin_of(entry), self.store.bucket
        if origin is None or configured is None or origin.is_same(configured):
            return
        warning = (entry.folder, origin, configured)
        if warning not in _warned:
            _warned.add(warning)
            _log.warning(
                "%s: the local copy came from %s, but the configured bucket is %s. A load does not "
                "ask a bucket for a stored dataset. To use the bucket's copy: hg-localize "
                "remove %s, then hg-localize download it",
                entry.manifest.ref,
                origin,
                configured,
                entry.manifest.dataset_id,
            )
