"""Loads and streams over a link, beside those of stock `datasets` from a Hub at its other end."""

from __future__ import annotations

import functools
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import streaming
from benchmarks.cases.hub import environment as hub_environment
from benchmarks.cases.hub import hub_on_loopback
from benchmarks.harness import Line, Run, in_turns, python, ratio_line, timed_process, timed_python
from benchmarks.harness.link import FAST, USUAL, Link
from benchmarks.harness.made import TEXTS, make_entry, texts
from benchmarks.harness.servers import Desk
from benchmarks.harness.workers import Worker
from benchmarks.links.moving import fresh
from tests.rig.hub_storage import make_repository

#: A dataset as GSM8K is: its card, its two configs, its numbers of rows and their sizes.
GSM8K = "made/gsm8k"
_ROWS = {"train": 7473, "test": 1319}
_QUESTION_BYTES, _ANSWER_BYTES = 235, 290
#: A repository of files as they are: so many of so many bytes.
FILES, FILE_BYTES = 4, 32 << 20
_STREAMED = (4, 48 << 20)
_LOAD = f"import datasets; assert len(datasets.load_dataset({GSM8K!r}, 'main')['train']) == {_ROWS['train']}"
_OURS = "import hf_localize; hf_localize.install()\n"
_BRING = f"import hf_localize; hf_localize.download_dataset({GSM8K!r}, 'main')"
#: What stock imports for the first row of any stream (torch, if it is there) is imported before.
_FIRST = f"""
import datasets
next(iter(datasets.Dataset.from_dict({{"n": [1]}}).to_iterable_dataset()))

def load():
    datasets.load_dataset({GSM8K!r}, "main")

def first():
    next(iter(datasets.load_dataset({GSM8K!r}, "main", split="train", streaming=True)))
"""


def measure(link: Link, desk: Desk, folder: Path, runs: int, *, is_quick: bool) -> list[Line]:
    """Return the lines for loads, first rows and files as they are; on the fast link for a stream."""
    if link.kind is FAST:
        return [_stream(link, desk, folder, runs, is_quick=is_quick)]
    hub = folder / "hub"
    _make_gsm8k(hub)
    with hub_on_loopback(hub) as endpoint:
        compared = _Compared(link, desk, folder, endpoint, runs)
        lines = [compared.first_row()]
        if link.kind is USUAL:
            lines += [*compared.loads(), compared.files(hub, FILE_BYTES >> (4 * is_quick))]
    return lines


def _make_gsm8k(root: Path) -> None:
    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    files = {}
    for config in ("main", "socratic"):
        for split, rows in _ROWS.items():
            columns = [texts(rows, size) for size in (_QUESTION_BYTES, _ANSWER_BYTES)]
            sink = io.BytesIO()
            pq.write_table(pa.table([pa.array(column) for column in columns], schema=schema), sink)
            files[f"{config}/{split}-00000-of-00001.parquet"] = sink.getvalue()
    card = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in _ROWS)
        for config in ("main", "socratic")
    )
    files["README.md"] = f"---\nconfigs:\n{card}---\n".encode()
    make_repository(root, GSM8K, "main", files)


class _Compared:
    """A machine that has the team's bucket beyond the link, and one that has the Hub there."""

    def __init__(self, link: Link, desk: Desk, folder: Path, endpoint: str, runs: int) -> None:
        self._link, self._desk, self._runs = link, desk, runs
        self._stock = folder / "stock"
        self._env = desk.environment()
        self._stock_env = hub_environment(self._stock, endpoint)
        self._publisher = Desk(desk.server, folder / "publisher-hub")
        self._publisher_env = {
            **self._publisher.environment(HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1"),
            "HGLOC_SOURCES": "local,s3,hub",
        }
        timed_python(_BRING, self._publisher_env)

    def loads(self) -> list[Line]:
        """Return the lines for a first load and for a second, as whole processes and as calls alone."""
        section = self._link.kind.name
        what = "`load_dataset` of GSM8K, bucket by Hub"
        ours, stock = self._by(_OURS + _LOAD, self._env), self._by(_LOAD, self._stock_env)
        names = ("ours", "stock")

        def cold(work: Callable[[], Run]) -> Run:
            fresh(self._desk)
            shutil.rmtree(self._stock, ignore_errors=True)
            self._stock.mkdir()
            return work()

        first = in_turns(lambda: cold(ours), lambda: cold(stock), self._runs)
        ours(), stock()
        second = in_turns(ours, stock, self._runs)
        calls = self._in_turns("load()")
        return [
            ratio_line(section, f"first {what}, whole process", 0.6, first, names=names),
            ratio_line(section, f"second {what}, whole process", 0.3, second, names=names),
            ratio_line(section, f"second {what}, the call alone", None, calls, names=names),
        ]

    def first_row(self) -> Line:
        """Return the line for the first row of a stream, from the call on."""
        pairs = self._in_turns("first()")
        what = "first row of a stream of GSM8K, bucket by Hub"
        return ratio_line(self._link.kind.name, what, 0.5, pairs, names=("ours", "stock"))

    def files(self, hub: Path, size: int) -> Line:
        """Return the line for files as they are."""
        name = "made/files"
        content = {f"data/{n}.bin": bytes([n]) * size for n in range(FILES)}
        make_repository(hub, name, "main", content)
        bring = [sys.executable, "-m", "hf_localize", "download", name, "--files-only"]
        timed_process(bring, self._publisher_env)
        hf = str(Path(sys.executable).with_name("hf"))

        def ours() -> Run:
            fresh(self._desk)
            return timed_process(self._link.command(*bring, "--no-s3-upload"), self._env)

        def theirs() -> Run:
            shutil.rmtree(self._stock, ignore_errors=True)
            command = [hf, "download", name, "--repo-type", "dataset", "--local-dir", str(self._stock / "x")]
            return timed_process(self._link.command(*command), self._stock_env)

        pairs = in_turns(ours, theirs, self._runs)
        what = f"{FILES} files of {size >> 20} MiB as they are, bucket by `hf download`"
        return ratio_line(self._link.kind.name, what, None, pairs, names=("ours", "hf"))

    def _by(self, code: str, env: dict[str, str]) -> Callable[[], Run]:
        return lambda: timed_process(self._link.command(*python(code)), env)

    def _in_turns(self, call: str) -> list[tuple[Run, Run]]:
        """Time *call* in fresh processes, without their imports."""

        def timed(setup: str, env: dict[str, str]) -> Run:
            with Worker(setup, env, self._link.command) as worker:
                return worker.timed(call)

        return in_turns(
            lambda: timed(_OURS + _FIRST, self._env), lambda: timed(_FIRST, self._stock_env), self._runs
        )


def _stream(link: Link, desk: Desk, folder: Path, runs: int, *, is_quick: bool) -> Line:
    """Return the line for a stream as Arrow tables, by stock's of the same files on the local disk."""
    count, size = (2, 4 << 20) if is_quick else _STREAMED
    publisher = Desk(desk.server, folder / "publisher-stream")
    name = streaming.RATE
    entry = make_entry(publisher.store, name, count, size, kind="text", like=TEXTS)
    timed_python(streaming.PUBLISH.format(name=name, public=False), publisher.environment())
    with streaming.as_files(desk, folder / "files") as url:  # SeaweedFS would be the limit.
        env = {**desk.environment(), "HGLOC_S3_ENDPOINT_URL": url}
        ours = Worker(streaming.OURS.format(name=name) + streaming.READ, env, link.command)
        local = Worker(
            streaming.LOCAL.format(folder=str(entry)) + streaming.READ, desk.environment(), link.command
        )
        with ours, local:
            way = "as Arrow tables"
            pairs = in_turns(
                functools.partial(streaming.reading, ours, way),
                functools.partial(streaming.reading, local, way),
                runs,
            )
    what = f"rate of a stream of {count * size >> 20} MiB, {way}, by stock's from the local disk"
    names = ("ours", "local")
    return ratio_line(link.kind.name, what, 0.6, pairs, names=names, inverse=True, at_least=True)
