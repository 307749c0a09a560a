"""The local store as a source."""

from __future__ import annotations

from dataclasses import dataclass

from hf_localize.entries import Entry, NotHere, instead
from hf_localize.manifest import Manifest, tells_configs
from hf_localize.refs import DatasetRef
from hf_localize.store import Store


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Answer from this machine's store. Nobody else is asked."""

    store: Store
    kind: str = "local"
    name: str = "local store"

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the stored entry for *ref*, or what is stored of that dataset instead."""
        entry = self.store.find(ref)
        if entry is not None:
            return entry
        others = [str(manifest.ref) for manifest in self.store.manifests_of(ref)]
        return NotHere(f"not in {self.store.path}{instead(others)}")

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any stored manifest that tells the configs of the repository of *ref*."""
        return next((m for m in self.store.manifests_of(ref) if tells_configs(m, ref)), None)
