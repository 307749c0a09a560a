"""Files of repositories by huggingface_hub, from each place, beside stock from a Hub and `s5cmd`."""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.cases.hub import hub_on_loopback
from benchmarks.cases.public import open_public_places
from benchmarks.harness import (
    ROOT,
    Line,
    Run,
    clean_environment,
    in_turns,
    ratio_line,
    timed_process,
    timed_python,
)
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from tests.rig.hub_storage import make_repository

SECTION = "8 doors"
#: {repository: number of files, bytes of each}.
SHAPES = {"made/small": (1000, 10 << 10), "made/large": (4, 256 << 20)}
_PUBLISH = "import hf_localize; hf_localize.download_repository({name!r}, make_public=True)"
_CALLS = """
import itertools, shutil
from huggingface_hub import hf_hub_download, snapshot_download
number = itertools.count()

def whole(name, folder):
    snapshot_download(name, repo_type="dataset", cache_dir=folder)

def into_new_cache(name, folder):
    snapshot_download(name, repo_type="dataset", cache_dir=f"{folder}/{next(number)}")
"""
_OURS = "import hf_localize; hf_localize.install()\n" + _CALLS
#: A web server that is no Hub, and what a call of it takes.
_ELSEWHERE = """
import http.server, requests, threading
import hf_localize

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
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
    """Return the lines for whole repositories, for warm calls, for the import, and for other hosts."""
    repositories = folder / "repositories"
    for name, (count, size) in SHAPES.items():
        make_repository(
            repositories, name, "main", {f"data/{n:05}.bin": os.urandom(size) for n in range(count)}
        )
    lines = []
    with hub_on_loopback(repositories) as endpoint, seaweed_desk(folder) as desk:
        publisher = Desk(desk.server, folder / "publisher")
        hub = {"HF_ENDPOINT": endpoint, "HGLOC_SOURCES": "hub", **_quiet(folder / "hub")}
        open_public_places(publisher)
        for name in SHAPES:
            timed_python(_PUBLISH.format(name=name), {**publisher.environment(), **hub})
            lines += _snapshots(desk, publisher, folder / name, name, endpoint, runs)
            lines += _from_the_bucket(desk, folder / name / "bucket", name, endpoint, runs)
        lines += _warm_calls(publisher, folder / "warm", endpoint, runs)
    return [*lines, _import(runs), _another_host(runs)]


def _in_words(name: str) -> str:
    count, size = SHAPES[name]
    return f"{count:,} × {size >> 20} MiB" if size >> 20 else f"{count:,} × {size >> 10} KiB"


@contextmanager
def _workers(*settings: tuple[str, Mapping[str, str]]) -> Iterator[list[Worker]]:
    with ExitStack() as held:
        yield [held.enter_context(Worker(code, env)) for code, env in settings]


def _snapshots(desk: Desk, publisher: Desk, folder: Path, name: str, endpoint: str, runs: int) -> list[Line]:
    """Return the lines of `snapshot_download` into an empty cache directory, from each place."""
    stock = {**clean_environment(HF_ENDPOINT=endpoint), **_quiet(folder / "stock")}
    lines = []
    for place, source, env in (
        ("store", "local", publisher.environment()),
        ("bucket", "s3", desk.environment()),
        ("public files", "public", desk.environment(credentials=False)),
    ):
        own = {**env, **_quiet(folder / source), "HF_ENDPOINT": endpoint, "HGLOC_SOURCES": f"local,{source}"}
        with _workers((_OURS, own), (_CALLS, stock)) as (ours, theirs):
            for worker in (ours, theirs):
                worker.timed(f"whole({name!r}, {str(folder / 'warm')!r})")

            def fetched(worker: Worker, call: str, place: str = source) -> Run:
                if place != "local":
                    shutil.rmtree(desk.store, ignore_errors=True)
                shutil.rmtree(folder / "caches", ignore_errors=True)
                return worker.timed(call)

            empty = f"into_new_cache({name!r}, {str(folder / 'caches')!r})"
            what = f"`snapshot_download` of {_in_words(name)} from the {place}"
            pairs = in_turns(
                functools.partial(fetched, ours, empty), functools.partial(fetched, theirs, empty), runs
            )
            names = ("ours", "stock")
            lines.append(
                ratio_line(SECTION, f"{what}, by stock's from a Hub on loopback", None, pairs, names=names)
            )
            if source == "local":
                warm = f"whole({name!r}, {str(folder / 'warm')!r})"
                for call, text in ((empty, what), (warm, f"{what}, where the cache has it")):
                    pairs = in_turns(
                        functools.partial(fetched, ours, call), functools.partial(fetched, theirs, warm), runs
                    )
                    lines.append(
                        ratio_line(SECTION, f"{text}, by stock's of a warm cache", 0.2, pairs, names=names)
                    )
    return lines


def _from_the_bucket(desk: Desk, folder: Path, name: str, endpoint: str, runs: int) -> list[Line]:
    """Return the line of a fetch into the store by the command, beside `s5cmd`."""
    goal = 1.1 if SHAPES[name][1] >= 1 << 20 else None
    env = {**desk.environment(), **_quiet(folder), "HF_ENDPOINT": endpoint}
    command = [sys.executable, "-m", "hf_localize", "download", name, "--files-only", "--no-s3-upload"]

    def ours() -> Run:
        shutil.rmtree(desk.store, ignore_errors=True)
        return timed_process(command, env, cwd=ROOT)

    def s5cmd() -> Run:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return timed_process(["s5cmd", "cp", f"s3://{BUCKET}/plain/*", f"{folder}/"], desk.aws_environment())

    copy = ["s5cmd", "cp", f"{folder.parents[2]}/repositories/{name}/main/", f"s3://{BUCKET}/plain/"]
    subprocess.run(copy, env=desk.aws_environment(), check=True, capture_output=True)
    pairs = in_turns(ours, s5cmd, runs, warm=False)
    remove = ["s5cmd", "rm", f"s3://{BUCKET}/plain/*"]
    subprocess.run(remove, env=desk.aws_environment(), check=True, capture_output=True)
    what = f"fetch the files of {_in_words(name)}, verified, by `s5cmd cp`"
    return [ratio_line(SECTION, what, goal, pairs, names=("ours", "s5cmd"))]


def _warm_calls(publisher: Desk, folder: Path, endpoint: str, runs: int) -> list[Line]:
    env = {**publisher.environment(), **_quiet(folder), "HF_ENDPOINT": endpoint}
    place = f"repo_type='dataset', cache_dir={str(folder / 'c')!r}"
    call = f"hf_hub_download('made/small', 'data/00000.bin', {place})"
    stock = {**clean_environment(HF_ENDPOINT=endpoint), **_quiet(folder / "stock")}
    with _workers((_OURS, env), (_CALLS, stock)) as (ours, theirs):
        pairs = in_turns(
            functools.partial(ours.timed, call), functools.partial(theirs.timed, call), runs * 10
        )
    values = [1000 * run.wall_seconds for run, _ in pairs]
    by_stock = 1000 * statistics.median(run.wall_seconds for _, run in pairs)
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


def _quiet(folder: Path) -> dict[str, str]:
    return {
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
