"""Whole repositories by huggingface_hub, from each place, beside stock from a Hub and `s5cmd`.

Stock asks for each of 1,000 files, so this takes longer than all the rest: `python -m benchmarks snapshots`.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.cases.doors import CALLS, OURS, SECTION, open_doors, quiet, workers
from benchmarks.harness import ROOT, Line, Run, clean_environment, in_turns, ratio_line, timed_process
from benchmarks.harness.servers import BUCKET, Desk
from benchmarks.harness.workers import Worker

#: {repository: number of files, bytes of each}.
SHAPES = {"made/small": (1000, 10 << 10), "made/large": (4, 256 << 20)}


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for `snapshot_download` into an empty cache directory and a warm one."""
    lines = []
    with open_doors(folder, SHAPES) as (desk, publisher, endpoint):
        for name in SHAPES:
            lines += _snapshots(desk, publisher, folder / name, name, endpoint, runs)
            lines += _from_the_bucket(desk, folder / name / "bucket", name, endpoint, runs)
    return lines


def _in_words(name: str) -> str:
    count, size = SHAPES[name]
    return f"{count:,} × {size >> 20} MiB" if size >> 20 else f"{count:,} × {size >> 10} KiB"


def _snapshots(desk: Desk, publisher: Desk, folder: Path, name: str, endpoint: str, runs: int) -> list[Line]:
    """Return the lines of `snapshot_download` into an empty cache directory, from each place."""
    stock = {**clean_environment(HF_ENDPOINT=endpoint), **quiet(folder / "stock")}
    lines = []
    for place, source, env in (
        ("store", "local", publisher.environment()),
        ("bucket", "s3", desk.environment()),
        ("public files", "public", desk.environment(credentials=False)),
    ):
        own = {**env, **quiet(folder / source), "HF_ENDPOINT": endpoint, "HGLOC_SOURCES": f"local,{source}"}
        with workers((OURS, own), (CALLS, stock)) as (ours, theirs):
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
    env = {**desk.environment(), **quiet(folder), "HF_ENDPOINT": endpoint}
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
