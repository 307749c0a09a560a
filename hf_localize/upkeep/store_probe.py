"""What the place of the local store can do, by trying it in a folder that is removed again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hf_localize.errors import HfLocalizeError
from hf_localize.store.store import Store, reading
from hf_localize.transfer.disk_space import SHARED, file_system_of
from hf_localize.upkeep.findings import FAIL, OK, WARN, Finding, judged

_AREA = "store"
_LITTLE_BYTES = 5 << 30
_HELD = 7
_TRY_LOCK = f"""
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(timeout=0)
except Timeout:
    sys.exit({_HELD})
"""
_ELSEWHERE = "set HGLOC_DATASETS_STORE_PATH to another place"


def probe_store(store: Store, cache: Path) -> Iterator[Finding]:
    """Yield what is found about the place of *store*, and about *cache*, where `datasets` keeps its own."""
    try:
        with reading(store.path):
            yield from _contents(store)
    except HfLocalizeError as exc:
        told = f"{exc}: loads ask the next source, and store nothing"
        advice = f"mount it again, give permission to enter it, or {_ELSEWHERE}"
        yield Finding(_AREA, "path", FAIL, told, advice)
        return
    existing = next(path for path in (store.path, *store.path.parents) if path.exists())
    yield _space(existing)
    kind = file_system_of(existing)
    if kind in SHARED:
        advice = "jobs on several machines may share it; locks and renames must work, see below"
        yield Finding(_AREA, "file system", OK, f"{kind}, shared by machines", advice)
    else:
        yield Finding(_AREA, "file system", OK, kind or "of unknown kind")
    yield _permissions(existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        told = f"{existing} can't be written: stored datasets load, but nothing new is stored"
        yield Finding(_AREA, "writing", WARN, told, f"give write permission, or {_ELSEWHERE}")
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".hgloc-probe-", dir=existing) as folder:
            yield Finding(_AREA, "writing", OK, f"{existing} can be written")
            yield from _abilities(Path(folder), cache)
    except OSError as exc:
        advice = f"free space, give write permission, or {_ELSEWHERE}"
        yield Finding(_AREA, "writing", FAIL, f"{existing} can't be written: {exc}", advice)


def _contents(store: Store) -> Iterator[Finding]:
    if not store.path.is_dir():
        if store.path.exists():
            yield Finding(_AREA, "path", FAIL, f"{store.path} is not a folder", _ELSEWHERE)
        else:
            yield Finding(_AREA, "path", OK, f"{store.path}: the first download creates it")
        return
    parts = len(store.partials())
    partly = f", {parts} in part" if parts else ""
    count = len(store.refs())
    yield Finding(_AREA, "path", OK, f"{store.path}: {count} dataset{'s' * (count != 1)}{partly}")


def _space(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    told = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free"
    advice = f"free space with hg-localize prune, or {_ELSEWHERE}"
    return judged(_AREA, "space", usage.free >= _LITTLE_BYTES, told, told, advice)


def _permissions(folder: Path) -> Finding:
    mode = folder.stat().st_mode
    told = f"{stat.filemode(mode)} {folder}"
    is_safe = not mode & stat.S_IWOTH or bool(mode & stat.S_ISVTX)
    advice = f"any user of this machine can change what you load: chmod o-w {folder}"
    return judged(_AREA, "permissions", is_safe, told, told, advice)


def _abilities(folder: Path, cache: Path) -> Iterator[Finding]:
    """Yield what can be done in *folder*, which is removed afterwards."""
    file = folder / "file"
    file.write_bytes(b"probe")
    (folder / "one").mkdir()
    (folder / "one" / "file").write_bytes(b"")
    problem = _error_of(os.rename, folder / "one", folder / "two")
    yield _of_error("renames", problem, FAIL, f"datasets are put in place by renames: {_ELSEWHERE}")
    advice = "symbolic links are used instead, or copies, which take time and space"
    yield _of_error("hard links", _error_of(os.link, file, folder / "link"), WARN, advice)
    yield from _locks(folder / "lock")
    if (folder / "FILE").exists():
        told = "file names that differ only in letter case are the same here, which does no harm"
        yield Finding(_AREA, "letter case", OK, told)
    yield from _links_to_cache(file, cache)


def _links_to_cache(file: Path, cache: Path) -> Iterator[Finding]:
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        advice = "stock datasets needs it too: set HF_DATASETS_CACHE, or HF_HOME, to a folder of yours"
        yield Finding(_AREA, "cache of datasets", FAIL, f"{cache} can't be written", advice)
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".hgloc-probe-", dir=existing) as folder:
            problem = _error_of(os.link, file, Path(folder) / "link")
            has_symlinks = _error_of(os.symlink, file, Path(folder) / "symlink") is None
    except OSError as exc:
        problem, has_symlinks = exc, False
    if problem is None:
        yield Finding(_AREA, "cache of datasets", OK, f"{cache}: a load links the store's files into it")
    else:
        # What the store offers to symbolic links are hard links of its own.
        if has_symlinks and _error_of(os.link, file, file.with_name("own")) is None:
            how = "symbolic links are made"
            why = ", so that removing one does not break the other; files that can't be linked are copied"
        else:
            how = "they are copied"
            why = " that has links: each dataset that a load copies takes its space twice"
        told = f"the store's files can't be hard-linked into {cache} ({problem.strerror}): {how}"
        advice = f"put both on one file system{why}"
        yield Finding(_AREA, "cache of datasets", WARN, told, advice)


def _of_error(name: str, problem: OSError | None, state: str, advice: str) -> Finding:
    if problem is None:
        return Finding(_AREA, name, OK, "they work")
    return Finding(_AREA, name, state, f"they don't work: {problem.strerror or problem}", advice)


def _error_of(attempt: Callable[..., object], *arguments: Path) -> OSError | None:
    try:
        attempt(*arguments)
    except OSError as exc:
        return exc
    return None


def _locks(path: Path) -> Iterator[Finding]:
    """Try whether another process of this machine is kept from a lock that this one has."""
    from filelock import FileLock, Timeout

    name = "locks (flock)"
    try:
        with FileLock(path).acquire(timeout=5):
            command = [sys.executable, "-c", _TRY_LOCK, str(path)]
            other = subprocess.run(command, check=False, timeout=60)  # noqa: S603  # It is our own.
    except (OSError, Timeout, NotImplementedError, subprocess.SubprocessError) as exc:
        yield _of_error(name, OSError(str(exc)), FAIL, f"writers need them: {_ELSEWHERE}")
        return
    good = "a lock excludes other processes of this machine; other machines can't be tested"
    bad = "two processes of this machine can hold one lock at the same time; others can't be tested"
    advice = "this damages no data, but each process downloads a missing dataset for itself"
    yield judged(_AREA, name, other.returncode == _HELD, good, bad, advice)
