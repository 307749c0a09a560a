"""The public function that looks at everything on which loads depend."""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import itertools
import logging
import platform
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from hf_localize import settings
from hf_localize._version import __version__
from hf_localize.errors import HfLocalizeError, without_queries
from hf_localize.sources.session import Session, current_session
from hf_localize.transfer.workers import run_all
from hf_localize.upkeep.findings import FAIL, OK, WARN
from hf_localize.upkeep.findings import Finding as Finding

#: Releases of `datasets` that are tested: from the first to before the last.
_TESTED = ((2, 20), (6, 0))
_PACKAGES = ("datasets", "huggingface_hub", "pyarrow", "boto3", "click", "filelock", "isal")


def diagnose() -> list[Finding]:
    """Check settings, store, bucket, public files, Hub, versions and activation by trying them.

    Test files in the bucket and the store are removed again. The result contains no credentials. The checks
    take a second or two, and longer if something is out of reach.
    """
    found = list(_settings())
    if any(finding.state == FAIL for finding in found):
        return [*found, *_versions(), *_activation()]
    session = current_session()
    areas: dict[str, Callable[[], Iterator[Finding]]] = {
        "store": lambda: _store(session),
        "bucket": lambda: _bucket(session),
        "public": lambda: _public(session),
        "hub": lambda: _hub(session),
        "versions": _versions,
        "activation": _activation,
    }

    def look_at(area: str) -> list[Finding]:
        found: list[Finding] = []
        try:
            found.extend(areas[area]())
        except (HfLocalizeError, OSError) as exc:
            found.append(Finding(area, "all of it", FAIL, str(exc), "see the message"))
        return found

    found += look_at("store")
    # Side by side, so that servers that do not answer are waited for at the same time.
    found += itertools.chain(*run_all(look_at, ("bucket", "public", "hub"), workers=3))
    found += [*look_at("versions"), *look_at("activation")]
    return [dataclasses.replace(finding, told=without_queries(finding.told)) for finding in found]


def _settings() -> Iterator[Finding]:
    try:
        found, notes = settings.explained()
        for setting in found:
            told = f"{setting.value or '(not set)'}  ← {setting.origin}"
            yield Finding("settings", setting.variable, OK, told)
        for name, advice in settings.unknown_variables():
            yield Finding("settings", name, WARN, "is not a setting, so it has no effect", advice)
        for note in notes:
            state = WARN if note.level >= logging.WARNING else OK
            yield Finding("settings", note.name, state, note.text, note.advice)
    except HfLocalizeError as exc:
        advice = "correct that value in the environment or in .env"
        yield Finding("settings", "values", FAIL, str(exc), advice)


def _store(session: Session) -> Iterator[Finding]:
    from hf_localize.hf.load import cache_folder
    from hf_localize.upkeep.store_probe import probe_store

    probed = list(probe_store(session.store, cache_folder()))
    yield from probed
    is_readable = all(finding.state != FAIL for finding in probed)
    if is_readable and (repositories := session.repositories.local.all()):
        counts = collections.Counter(repository.repo_type for repository in repositories)
        told = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in sorted(counts.items()))
        yield Finding("store", "repositories", OK, f"files as they are: {told}")
    if (lock := session.lock) is not None:
        count, files = len(lock.datasets), len(lock.repositories)
        told = f"{session.settings.lock}: it allows loads of {count} dataset{'s' * (count != 1)}"
        told += f" and reads of {files} repositor{'y' if files == 1 else 'ies'}" if files else ""
        yield Finding("store", "lock file", OK, told)


def _bucket(session: Session) -> Iterator[Finding]:
    here = session.settings
    if not here.s3_bucket_name:
        is_needed = not here.public_url and "s3" in session.enabled
        state = WARN if is_needed else OK
        advice = "set HGLOC_S3_BUCKET_NAME, or HGLOC_PUBLIC_URL" if is_needed else None
        yield Finding("bucket", "name", state, "none: HGLOC_S3_BUCKET_NAME is not set", advice)
        return
    if "s3" not in session.enabled:
        yield Finding("bucket", "use", OK, "loads don't ask it (HGLOC_SOURCES, HGLOC_OFFLINE)")
        if not session.bucket.has_credentials:
            told = f"none were found for {session.bucket.address}; public datasets need none"
            yield Finding("bucket", "credentials", OK, told)
            return
    from hf_localize.upkeep.bucket_probe import probe_bucket

    yield from probe_bucket(session.bucket, session.public_bucket_files)


def _public(session: Session) -> Iterator[Finding]:
    here = session.settings
    if here.s3_bucket_name or here.public_url:
        from hf_localize.upkeep.bucket_probe import probe_public

        yield from probe_public(session.public_files, session.bucket if here.s3_bucket_name else None)


def _hub(session: Session) -> Iterator[Finding]:
    here = session.settings
    if here.hub_offline or not session.asks("hub"):
        ours, hubs = "HGLOC_SOURCES or HGLOC_OFFLINE", "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE"
        yield Finding("hub", "use", OK, f"it is not asked ({hubs if here.hub_offline else ours})")
        return
    from hf_localize.hf.hub import endpoint, token_owner, unreachable

    if problem := unreachable(here.timeout_seconds):
        others = "local,public" if session.is_outsider else "local,s3,public"
        advice = f"if it is never reachable, leave it out: HGLOC_SOURCES={others}"
        yield Finding("hub", "reachability", WARN, problem, advice)
        return
    yield Finding("hub", "reachability", OK, f"{endpoint()} answers")
    state, told = token_owner()
    mend = "make a new token, and set HF_TOKEN or run: hf auth login"
    yield Finding("hub", "token", state, told, None if state == OK else mend)


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "hf_localize", OK, f"{__version__} on Python {platform.python_version()}")
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", name, FAIL, "is not installed", f"pip install {name}")
            continue
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if name == "datasets" and not _TESTED[0] <= numbers < _TESTED[1]:
            yield Finding("versions", name, WARN, f"{version}, which is not tested", "use 2.20 to 5")
        else:
            yield Finding("versions", name, OK, version)


def _activation() -> Iterator[Finding]:
    area = "activation"
    try:
        is_asked = settings.auto_install_requested()
    except HfLocalizeError as exc:
        yield Finding(area, "HGLOC_AUTO_INSTALL", FAIL, str(exc), "set it to 1 or 0")
        return
    folders = {sysconfig.get_path("purelib"), *site.getsitepackages(), site.getusersitepackages()}
    there = [folder for folder in sorted(folders) if Path(folder, "hf_localize.pth").exists()]
    if there:
        told = f"every Python of {sys.prefix} checks HGLOC_AUTO_INSTALL ({there[0]}/hf_localize.pth)"
        yield Finding(area, "hf_localize.pth", OK, told)
    else:
        advice = (
            "pip install hf-localize, or use hg-localize run, or a sitecustomize (sitecustomize_example/)"
        )
        state = WARN if is_asked else OK
        yield Finding(area, "hf_localize.pth", state, f"is not in {sys.prefix}", advice)
    if is_asked:
        yield Finding(area, "HGLOC_AUTO_INSTALL", OK, "is on: programs need no change")
    else:
        told = "is off: programs call hf_localize.install(), or are run by hg-localize run"
        yield Finding(area, "HGLOC_AUTO_INSTALL", OK, told)
    from hf_localize.shim.patch import missing_patch_points

    if missing := missing_patch_points():
        advice = "install datasets 2.20 to 5, or a newer hf_localize"
        yield Finding(area, "datasets", FAIL, f"it lacks {', '.join(missing)}: loads go to the Hub", advice)
    else:
        yield Finding(area, "datasets", OK, "it has every function that hf_localize wraps")
