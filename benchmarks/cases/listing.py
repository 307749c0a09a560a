"""Listing and looking up, where there are 10,000 entries."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.harness import ROOT, Line, clean_environment, in_turns, ratio_line, timed_process
from benchmarks.harness.made import ROW_BYTES, make_entries, write_saved
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from hf_localize.format.refs import DatasetRef
from tests.rig.s3_proxy import RecordingProxy

SECTION = "6 listing"
_ENTRIES = 10_000
#: Two of the entries have as many objects as all are meant to; ten million can't be made here.
_LARGE_ENTRIES, _OBJECTS = 2, 1_000
#: The original tool's layout: entries, objects of each.
_OLD_ENTRIES, _OLD_OBJECTS = 200, 20
_COMMAND = (sys.executable, "-m", "hf_localize")
_FIND = """
import hf_localize
from hf_localize.errors import DatasetNotFoundError
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
def find(name):
    try:
        return current_session().resolver(only=("s3",)).find(DatasetRef(name))
    except DatasetNotFoundError:
        return None
"""


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for lists of the bucket and of the store, for lookups, and for ``--help``."""
    with seaweed_desk(folder) as desk, _recorded(desk) as proxy:
        lines = [_list_indexed(desk, proxy), _list_original(desk, proxy), *_lookups(desk, proxy)]
    return [*lines, _list_local(folder, runs), _help(runs)]


@contextlib.contextmanager
def _recorded(desk: Desk) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(desk.server.endpoint_url)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


def _at(desk: Desk, proxy: RecordingProxy, prefix: str) -> dict[str, str]:
    return {**desk.environment(), "HGLOC_S3_ENDPOINT_URL": proxy.url, "HGLOC_S3_DATA_PREFIX": prefix}


def _put_all(desk: Desk, prefix: str, keys: Iterable[str]) -> None:
    """Put objects without content into the bucket."""
    root = desk.folder / prefix
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    timed_process(["s5cmd", "cp", f"{root}/", f"s3://{BUCKET}/{prefix}/"], desk.aws_environment())
    shutil.rmtree(root)


def _list_indexed(desk: Desk, proxy: RecordingProxy) -> Line:
    refs = [DatasetRef(f"made/entry-{number:05}") for number in range(_ENTRIES)]
    counts = [_OBJECTS if number < _LARGE_ENTRIES else 1 for number in range(_ENTRIES)]
    _put_all(desk, "indexed", (ref.index_key for ref in refs))
    _put_all(desk, "indexed", _objects(zip(refs, counts, strict=True)))
    proxy.clear()
    run = timed_process([*_COMMAND, "list-s3"], _at(desk, proxy, "indexed"), cwd=ROOT)
    requests = [len(proxy.requests)]
    note = (
        f"{run.wall_seconds:.1f} s; the folders hold 1 object each, {_LARGE_ENTRIES} of them "
        f"{_OBJECTS:,}: index keys and folders are listed, objects are not"
    )
    return Line(SECTION, f"`list-s3` of {_ENTRIES:,} entries asks", 12, requests, unit="requests", note=note)


def _objects(entries: Iterable[tuple[DatasetRef, int]]) -> Iterator[str]:
    for ref, count in entries:
        for number in range(count - 1):
            yield f"{ref.folders[0]}/train/data-{number:05}.arrow"
        yield f"{ref.folders[0]}/dataset_dict.json"


def _list_original(desk: Desk, proxy: RecordingProxy) -> Line:
    refs = [DatasetRef(f"old/entry-{number:05}") for number in range(_OLD_ENTRIES)]
    _put_all(desk, "original", _objects((ref, _OLD_OBJECTS) for ref in refs))
    proxy.clear()
    run = timed_process([*_COMMAND, "list-s3"], _at(desk, proxy, "original"), cwd=ROOT)
    each = len(proxy.requests) / _OLD_ENTRIES
    what = f"`list-s3` of the original's layout, {_OLD_OBJECTS} objects an entry, asks for each entry"
    note = f"{_OLD_ENTRIES} entries in {run.wall_seconds:.1f} s; one for each level of folders, in parallel"
    return Line(SECTION, what, 3.1, [each], unit="requests", note=note)


def _lookups(desk: Desk, proxy: RecordingProxy) -> list[Line]:
    write_saved(desk.folder / "saved", {"train": (1, ROW_BYTES)})
    publish = f"import hf_localize; hf_localize.register_dataset({str(desk.folder / 'saved')!r}, 'made/one')"
    settings = {**_at(desk, proxy, "indexed"), "PYTHONPATH": str(ROOT)}
    timed_process([sys.executable, "-c", publish], settings)
    asked = []
    with Worker(_FIND, settings) as worker:
        for name in ("made/one", "made/none"):
            proxy.clear()
            worker.timed(f"find({name!r})")
            asked.append(len(proxy.requests))
    return [
        Line(SECTION, "finding an entry in the bucket asks", 1, asked[:1], unit="requests"),
        Line(SECTION, "a miss in the bucket asks", 3, asked[1:], unit="requests"),
    ]


def _list_local(folder: Path, runs: int) -> Line:
    make_entries(folder / "local" / "store", _ENTRIES)
    settings = clean_environment(HGLOC_DATASETS_STORE_PATH=str(folder / "local" / "store"))
    command = [*_COMMAND, "list-local"]
    timed_process(command, settings, cwd=ROOT)
    values = [timed_process(command, settings, cwd=ROOT).wall_seconds for _ in range(runs)]
    return Line(SECTION, f"`list-local` of {_ENTRIES:,} entries, whole process", 1, values, unit="s")


def _help(runs: int) -> Line:
    program = Path(sys.executable).parent / ("hg-localize.exe" if os.name == "nt" else "hg-localize")
    env = clean_environment()
    pairs = in_turns(
        lambda: timed_process([program, "--help"], env),
        lambda: timed_process([sys.executable, "-c", "import click"], env),
        4 * runs,
    )
    return ratio_line(SECTION, "`hg-localize --help`, by `import click`", 2.0, pairs, names=("ours", "click"))
