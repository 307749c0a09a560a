"""The local store as a source."""

from __future__ import annotations

from dataclasses import dataclass

from hf_localize.entries import Entry, NotHere
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
        return entry or NotHere(f"not in {self.store.path}{self._others(ref)}")

    def repository(self, ref: DatasetRef) -> Manifest | None:
        """Return any stored manifest that tells the configs of the repository of *ref*."""
        return next((m for m in self.store.manifests_of(ref) if tells_configs(m, ref)), None)

    def _others(self, ref: DatasetRef) -> str:
        others = [str(manifest.ref) for manifest in self.store.manifests_of(ref)]
        return f" (it has {', '.join(sorted(others))})" if others else ""
