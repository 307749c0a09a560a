"""The public functions that carry datasets in a tar file, to where no bucket and no Hub is in reach."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hf_localize.api.batch import Download, failed
from hf_localize.api.configs import ref_of, stored_instead, with_configs
from hf_localize.api.datasets import may_travel
from hf_localize.errors import ConflictError, DatasetNotFoundError, HfLocalizeError, UnusableDataError
from hf_localize.format.arrow.shards import check_shards
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.base import download_command
from hf_localize.sources.session import current_session
from hf_localize.store.archive import write_archive
from hf_localize.store.commit import commit
from hf_localize.store.entry import LocalEntry
from hf_localize.store.staging import staging_folder
from hf_localize.store.store import Store

if TYPE_CHECKING:
    from hf_localize.sources.archive import ArchiveEntry

_log = logging.getLogger(__name__)


def export_datasets(
    dataset_ids: str | Iterable[str],
    path: str | os.PathLike[str],
    config_names: Iterable[str | None] = (None,),
    revision: str | None = None,
) -> list[DatasetRef]:
    """Write datasets of the local store into a tar file, and check each file against its manifest.

    To resume an interrupted call, make the same call again.

    Args:
        dataset_ids: one or more ids. If no config is named, all stored configs are written.

    Returns:
        The datasets in the tar file.

    Raises:
        InvalidRefError: something can't name a dataset.
        DatasetNotFoundError: the local store does not have it.
        IntegrityError: a file is damaged.
        UnusableDataError: a folder that a person put into the store names files of this machine.
    """
    session, entries = current_session(), {}
    ids = (dataset_ids,) if isinstance(dataset_ids, str) else tuple(dataset_ids)
    names = tuple(config_names)
    for ref in [ref_of(dataset_id, name, revision) for dataset_id in ids for name in names]:
        found = [session.store.find(one) for one in with_configs(ref, session, "local")]
        whole = [entry for entry in found if isinstance(entry, LocalEntry)]
        if not whole:
            where = f"{session.store.path}{stored_instead(ref, session)}"
            raise DatasetNotFoundError(f"{ref} is not in {where}. To download it: {download_command(ref)}")
        for entry in whole:
            if not entry.has_manifest and entry.is_saved and not may_travel(entry):
                raise UnusableDataError(
                    f"{entry.folder} names files of this machine. To make a portable dataset of it: "
                    f"hg-localize register {entry.folder} {entry.manifest.dataset_id}"
                )
        entries.update({entry.manifest.ref: entry for entry in whole})
    write_archive(list(entries.values()), Path(path))
    return list(entries)


def import_datasets(path: str | os.PathLike[str]) -> list[Download]:
    """Read the datasets of a tar file that :func:`export_datasets` wrote into the local store, verified.

    A failure does not stop the others. To resume an interrupted call, make the same call again.

    Returns:
        A :class:`Download` for each.

    Raises:
        FileNotFoundError: there is no such file.
        IntegrityError: it is not such a tar file, or is incomplete.
    """
    from hf_localize.sources.archive import entries_of

    session, done = current_session(), []
    for entry in entries_of(Path(path), session.settings.max_concurrency):
        ref = entry.manifest.ref
        try:
            done.append(Download(*ref.parts, str(_import(entry, session.store).folder)))
        except (HfLocalizeError, OSError) as exc:
            _log.debug("%s failed", ref, exc_info=True)
            done.append(failed(Download, ref, exc))
    return done


def _import(entry: ArchiveEntry, store: Store) -> LocalEntry:
    ref = entry.manifest.ref
    there = store.find(ref)
    if there is not None and there.manifest.ref == ref:
        if there.content_digest == entry.digest:
            return there
        raise ConflictError(
            f"{there.folder} has different content under this name. To replace it with that of "
            f"{entry.path}, remove it (hg-localize remove {ref.dataset_id}) and run the command again"
        )
    with staging_folder(store, f"{entry.digest}-import") as folder:
        manifest = entry.fetch_into(folder)
        try:
            check_shards(folder, manifest.splits, None)
        except HfLocalizeError:
            shutil.rmtree(folder)  # Nothing of it is of use to another try.
            raise
        return commit(store, folder, manifest)
