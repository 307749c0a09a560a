"""What huggingface_hub costs under activation: warm calls, its import, requests to other hosts."""

from __future__ import annotations

import functools
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.cases.hub import hub_on_loopback
from benchmarks.cases.public import open_public_places
from benchmarks.harness import Line, Run, clean_environment, in_turns, ratio_line, timed_process, timed_python
from benchmarks.harness.servers import Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from tests.rig.hub_storage import make_repository

SECTION = "8 doors"
_PUBLISH = "import hf_localize; hf_localize.download_repository({name!r}, make_public=True)"
CALLS = """
import itertools, shutil
from huggingface_hub import hf_hub_download, snapshot_download
number = itertools.count()

def whole(name, folder):
    snapshot_download(name, repo_type="dataset", cache_dir=folder)

def files(name, path, folder, count):
    for _ in range(count):
        hf_hub_download(name, path, repo_type="dataset", cache_dir=folder)

def into_new_cache(name, folder):
    snapshot_download(name, repo_type="dataset", cache_dir=f"{folder}/{next(number)}")
"""
#: Warm calls in one turn: a single one would take longer for having waited for it.
_IN_A_ROW = 20
OURS = "import hf_localize; hf_localize.install()\n" + CALLS
#: A web server that is no Hub, and what a call of it takes.
_ELSEWHERE = """
import http.server, requests, threading
import hf_localize

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Else each reply waits 40 ms for an ACK, which hides what is measured.
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
session, url = requests.Session(), f"http://127.0.0.1:{server.server_port}/"
def asked():
    for _ in range(100): session.get(url)
asked()
"""


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for warm calls, for the import, and for other hosts."""
    with open_doors(folder, {"made/small": (10, 10 << 10)}) as (_, publisher, endpoint):
        lines = _warm_calls(publisher, folder / "warm", endpoint, runs)
    return [*lines, _import(runs), _another_host(runs)]


@contextmanager
def open_doors(folder: Path, shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[Desk, Desk, str]]:
    """Lend a reader, the publisher of repositories of these *shapes*, and the address of a Hub with them."""
    repositories = folder / "repositories"
    for name, (count, size) in shapes.items():
        files = {f"data/{n:05}.bin": os.urandom(size) for n in range(count)}
        make_repository(repositories, name, "main", files)
    with hub_on_loopback(repositories) as endpoint, seaweed_desk(folder) as desk:
        publisher = Desk(desk.server, folder / "publisher")
        hub = {"HF_ENDPOINT": endpoint, "HGLOC_SOURCES": "hub", **quiet(folder / "hub")}
        open_public_places(publisher)
        for name in shapes:
            timed_python(_PUBLISH.format(name=name), {**publisher.environment(), **hub})
        yield desk, publisher, endpoint


@contextmanager
def workers(*settings: tuple[str, Mapping[str, str]]) -> Iterator[list[Worker]]:
    """Lend a process for each code and its settings."""
    with ExitStack() as held:
        yield [held.enter_context(Worker(code, env)) for code, env in settings]


def _warm_calls(publisher: Desk, folder: Path, endpoint: str, runs: int) -> list[Line]:
    env = {**publisher.environment(), **quiet(folder), "HF_ENDPOINT": endpoint}
    call = f"files('made/small', 'data/00000.bin', {str(folder / 'c')!r}, {_IN_A_ROW})"
    stock = {**clean_environment(HF_ENDPOINT=endpoint), **quiet(folder / "stock")}
    with workers((OURS, env), (CALLS, stock)) as (ours, theirs):
        pairs = in_turns(functools.partial(ours.timed, call), functools.partial(theirs.timed, call), runs * 4)
    values = [1000 * run.wall_seconds / _IN_A_ROW for run, _ in pairs]
    by_stock = 1000 * statistics.median(run.wall_seconds for _, run in pairs) / _IN_A_ROW
    note = f"stock from a Hub on loopback {by_stock:.1f} ms"
    return [
        Line(
            SECTION,
            "`hf_hub_download` of a file that is in the cache directory",
            1,
            values,
            unit="ms",
            note=note,
        )
    ]


def _import(runs: int) -> Line:
    def imported(**env: str) -> Run:
        return timed_process(
            [sys.executable, "-c", "import huggingface_hub.hf_api"], clean_environment(**env)
        )

    pairs = in_turns(functools.partial(imported, HGLOC_AUTO_INSTALL="1"), imported, runs * 4)
    return ratio_line(
        SECTION, "`import huggingface_hub` under activation, by plain", 1.05, pairs, names=("ours", "plain")
    )


def _another_host(runs: int) -> Line:
    with Worker(_ELSEWHERE, clean_environment()) as worker:

        def asked(*, installed: bool) -> Run:
            worker.timed("hf_localize.install()" if installed else "hf_localize.uninstall()")
            return worker.timed("asked()")

        pairs = in_turns(lambda: asked(installed=True), lambda: asked(installed=False), runs * 4)
    return ratio_line(SECTION, "100 requests to another host, by plain", None, pairs, names=("ours", "plain"))


def quiet(folder: Path) -> dict[str, str]:
    """Return the settings of huggingface_hub with its caches in *folder*, and nothing shown or told."""
    return {
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
