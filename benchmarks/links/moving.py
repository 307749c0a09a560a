"""Fetches and uploads over a link, beside the best of what a user would take instead."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.cases.moving import in_words
from benchmarks.cases.public import SHARE, open_public_places
from benchmarks.harness import Line, Run, in_turns, python, ratio_line, timed_process, timed_python
from benchmarks.harness.link import FAST, SLOW, USUAL, Link
from benchmarks.harness.made import make_entry
from benchmarks.harness.servers import BUCKET, Desk
from benchmarks.links.rivals import RIVALS, environment
from hf_localize.format.refs import DatasetRef

_MIB = 1 << 20
#: Number of shards and bytes of each, large and small. The slow link takes 86 s for 1 GiB, and five programs
#: move it: 8 × 8 MiB are 5 s there, long enough for TCP to find its rate many times over.
SHAPES = {
    FAST: ((8, 128 * _MIB), (2000, 64 << 10)),
    USUAL: ((8, 128 * _MIB), (2000, 64 << 10)),
    SLOW: ((8, 8 * _MIB), (400, 64 << 10)),
}
QUICK = ((4, 2 * _MIB), (40, 64 << 10))
#: Of a public ZIP: shards, bytes of each.
ZIPS = {FAST: (4, 64 * _MIB), USUAL: (4, 64 * _MIB), SLOW: (4, 8 * _MIB)}
#: The most that we may take, by the best of the others: of large files, of small ones.
_FETCH_GOALS, _UPLOAD_GOALS, _ZIP_GOAL = (1.05, 0.9), (1.1, 1.0), 0.7
_FETCH = "import hf_localize; hf_localize.download_dataset({name!r}, skip_s3_upload=True)"
_SEND = "import hf_localize; hf_localize.sync_local_dataset_to_s3({name!r})"


def beside_best(
    section: str,
    what: str,
    goal: float,
    ours: Callable[[], Run],
    others: Mapping[str, Callable[[], Run]],
    runs: int,
) -> Line:
    """Return the line beside whichever of *others* is the fastest, which is found by one run of each."""
    ours()
    tried = {name: run().wall_seconds for name, run in others.items()}
    best = min(tried, key=lambda name: tried[name])
    pairs = in_turns(ours, others[best], runs, warm=False)
    line = ratio_line(section, what, goal, pairs, names=("ours", best))
    rest = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in tried.items() if name != best)
    return Line(section, what, goal, line.values, note=f"{line.note}{f'; once {rest}' if rest else ''}")


def measure(link: Link, desk: Desk, folder: Path, runs: int, *, is_quick: bool) -> list[Line]:
    """Return the lines for fetches and uploads of large and of small files, and for public ZIPs."""
    lines = []
    shapes = QUICK if is_quick else SHAPES[link.kind]
    for shape, fetch_goal, upload_goal in zip(shapes, _FETCH_GOALS, _UPLOAD_GOALS, strict=True):
        moved = _Moved(link, desk, folder, shape)
        fetches = {name: functools.partial(moved.fetch_by, name) for name in RIVALS}
        uploads = {name: functools.partial(moved.upload_by, name) for name in RIVALS}
        what, section = in_words(shape), link.kind.name
        lines += [
            beside_best(section, f"fetch {what}", fetch_goal, moved.fetch, fetches, runs),
            beside_best(section, f"upload {what}", upload_goal, moved.upload, uploads, runs),
        ]
        desk.renew_bucket()
        shutil.rmtree(moved.publisher.folder)
    return [*lines, *_zips(link, desk, folder, runs, is_quick=is_quick)]


class _Moved:
    """A dataset of one shape, there and back again, by us and by others."""

    def __init__(self, link: Link, desk: Desk, folder: Path, shape: tuple[int, int]) -> None:
        count, size = shape
        self._link = link
        self._desk = desk
        self.publisher = Desk(desk.server, folder / "publisher")
        self._name = f"made/of-{count}"
        self._entry = make_entry(self.publisher.store, self._name, count, size)
        timed_python(_SEND.format(name=self._name), self.publisher.environment())

    def fetch(self) -> Run:
        fresh(self._desk)
        command = python(_FETCH.format(name=self._name))
        return timed_process(self._link.command(*command), self._desk.environment())

    def upload(self) -> Run:
        self._desk.renew_bucket()
        command = python(_SEND.format(name=self._name))
        return timed_process(self._link.command(*command), self.publisher.environment())

    def fetch_by(self, name: str) -> Run:
        target = fresh(self._desk)
        command = RIVALS[name][0](target, f"{DatasetRef(self._name).folders[0]}/")
        return timed_process(self._link.command(*command), environment(self._desk))

    def upload_by(self, name: str) -> Run:
        self._desk.renew_bucket()
        command = RIVALS[name][1](self._entry, "plain/")
        return timed_process(self._link.command(*command), environment(self._desk))


def fresh(desk: Desk) -> Path:
    """Give *desk* a folder with nothing in it, and return one in it for what others fetch.

    The one before is put aside: for minutes after many files were deleted ext4 looks for other inodes than
    theirs whenever a file is made.
    """
    if desk.folder.exists():
        large = [path for path in desk.folder.rglob("*") if path.is_file() and path.stat().st_size > _MIB]
        for path in large:
            path.unlink()
        desk.folder.rename(desk.folder.with_name(f"{desk.folder.name}-{uuid.uuid4().hex}"))
    target = desk.folder / "target"
    target.mkdir(parents=True)
    return target


def _zips(link: Link, desk: Desk, folder: Path, runs: int, *, is_quick: bool) -> list[Line]:
    open_public_places(desk)
    count, size = QUICK[0] if is_quick else ZIPS[link.kind]
    return [
        _zip(link, desk, Desk(desk.server, folder / f"publisher-{kind}"), kind, (count, size), runs)
        for kind in ("noise", "text")
    ]


def _zip(link: Link, desk: Desk, publisher: Desk, kind: str, shape: tuple[int, int], runs: int) -> Line:
    name = f"made/{kind}"
    make_entry(publisher.store, name, *shape, kind=kind)
    timed_python(SHARE.format(name=name), publisher.environment(HF_HUB_OFFLINE="1"))
    key = DatasetRef(name).zip_key
    size = desk.client().head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    url = f"{desk.url}/{BUCKET}/{key}"

    def ours() -> Run:
        fresh(desk)
        command = python(_FETCH.format(name=name))
        return timed_process(link.command(*command), desk.environment(credentials=False))

    def theirs() -> Run:
        target = fresh(desk)
        script = 'curl -sSf -o "$1/a.zip" "$2" && unzip -q "$1/a.zip" -d "$1"'
        command = link.command("sh", "-c", script, "sh", str(target), url)
        return timed_process(command, desk.environment(credentials=False))

    what = f"fetch a public ZIP of {size / _MIB:.0f} MiB that holds {shape[0] * shape[1] // _MIB}"
    return beside_best(link.kind.name, what, _ZIP_GOAL, ours, {"curl, unzip": theirs}, runs)
