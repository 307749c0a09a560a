"""Pointers in the store: from other ids of a repository to the entry that is there."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_localize.errors import IntegrityError, InvalidRefError
from hf_localize.format.files import read_whole, replacing
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.format.sealed_json import parse_json

_log = logging.getLogger(__name__)


def targets_of(store: Path, ref: DatasetRef) -> Iterator[DatasetRef]:
    """Yield the refs to which pointers from *ref* lead. A damaged one leads nowhere."""
    for key in ref.alias_keys:
        try:
            data = read_whole(store / key)
        except OSError:  # Also where its name, quoted, is longer than a file's may be.
            continue
        try:
            yield read_pointer(data, str(store / key))
        except IntegrityError as exc:
            _log.warning("%s. Remove this file: it only points from one id to a stored dataset", exc)


def other_ids(manifest: Manifest) -> list[DatasetRef]:
    """Return the refs of an entry by other ids than the one by which it is stored."""
    own = manifest.ref.id_folder_prefix.lower()
    return [ref for ref in manifest.equivalents() if ref.id_folder_prefix.lower() != own]


def point_at(store: Path, manifest: Manifest, refs: Iterable[DatasetRef], folder: Path) -> None:
    """Make an entry findable as *refs*; pointers are written in *folder*, and then renamed."""
    for ref in refs:
        path = store / ref.alias_key
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, folder) as part:
            part.write_text(json.dumps(manifest.ref.as_dict()))


def remove_pointers(store: Path, manifest: Manifest) -> None:
    """Remove the pointers to an entry."""
    for ref in manifest.equivalents():
        pointer = store / ref.alias_key
        with contextlib.suppress(OSError, IntegrityError):
            if read_pointer(read_whole(pointer), "") == manifest.ref:
                pointer.unlink()


def read_pointer(data: bytes, where: str) -> DatasetRef:
    """Return the ref to which a pointer leads; raises IntegrityError where it is damaged."""
    document = parse_json(data, where)
    try:
        return DatasetRef(document["dataset_id"], document["config_name"], document["revision"])
    except (TypeError, KeyError, InvalidRefError) as exc:
        raise IntegrityError(f"{where} is not a pointer: {exc!r}") from exc
