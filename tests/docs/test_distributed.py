"""The programs in ``examples/``: several workers read one stream, and every row is read once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import hf_localize
from tests.conftest import ROOT, Desk

EXAMPLES = ROOT / "examples"
ROWS, SHARDS = 4_000, 8
READ = """
import sys; sys.path.insert(0, sys.argv[2])
from {module} import *
if __name__ == "__main__":
    print(*({rows}))
"""


@pytest.fixture
def published(desk: Desk, tmp_path: Path) -> Desk:
    """Return a teammate's desk: the bucket has a dataset of eight shards."""
    desk.publisher()
    made = datasets.Dataset.from_dict({"n": range(ROWS), "text": [f"row {n}" * 20 for n in range(ROWS)]})
    made.save_to_disk(tmp_path / "made", num_shards=SHARDS)
    hf_localize.register_dataset(tmp_path / "made", "team/corpus")
    desk.teammate()
    desk.s3.clear()
    return desk


def run(arguments: list[str], count: int = 1) -> list[str]:
    """Run ``python *arguments*`` in *count* processes at the same time, as torchrun does."""
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, said
    return [out for out, _ in said]


def write_source_files(folder: Path, count: int) -> None:
    """Write parquet files of ten rows each, numbered through all of them."""
    for number in range(count):
        rows = range(10 * number, 10 * number + 10)
        datasets.Dataset.from_dict({"n": rows}).to_parquet(folder / f"{number}.parquet")


def times_read(desk: Desk) -> dict[str, int]:
    """Return {shard: how often its first byte was asked for}."""
    firsts = [
        request.path.rsplit("/", 1)[1]
        for request in desk.s3.requests
        if request.path.endswith(".arrow") and request.headers["range"].startswith("bytes=0-")
    ]
    return {name: firsts.count(name) for name in firsts}


@pytest.mark.sampled(0)
def test_four_processes_of_torchrun_read_each_row_and_each_shard_once(
    published: Desk, tmp_path: Path
) -> None:
    said = run([str(EXAMPLES / "torchrun_stream.py"), "team/corpus"], 4)
    assert said == [f"rank {rank} of 4: {ROWS // 4} rows\n" for rank in range(4)]
    assert times_read(published) == {f"data-{n:05d}-of-{SHARDS:05d}.arrow": 1 for n in range(SHARDS)}
    program = tmp_path / "program.py"
    program.write_text(READ.format(module="torchrun_stream", rows="row['n'] for row in my_rows(sys.argv[1])"))
    parts = [[int(n) for n in out.split()] for out in run([str(program), "team/corpus", str(EXAMPLES)], 4)]
    assert sorted(n for part in parts for n in part) == list(range(ROWS))
    assert not published.store.exists(), "a stream has written to the store"


def test_three_processes_share_eight_shards_row_by_row(published: Desk, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(READ.format(module="torchrun_stream", rows="row['n'] for row in my_rows(sys.argv[1])"))
    parts = [[int(n) for n in out.split()] for out in run([str(program), "team/corpus", str(EXAMPLES)], 3)]
    assert sorted(n for part in parts for n in part) == list(range(ROWS))


@pytest.mark.sampled(0)
def test_two_workers_of_dask_read_each_row_and_each_shard_once(published: Desk, tmp_path: Path) -> None:
    assert run([str(EXAMPLES / "dask_stream.py"), "team/corpus"]) == [f"{ROWS} rows\n"]
    assert times_read(published) == {f"data-{n:05d}-of-{SHARDS:05d}.arrow": 1 for n in range(SHARDS)}
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "def of_worker(row):\n    return f'{os.getpid()}:{row[\"n\"]}'\n"
        + READ.format(module="dask_stream", rows="mapped(sys.argv[1], of_worker)")
    )
    (out,) = run([str(program), "team/corpus", str(EXAMPLES)])
    pairs = [pair.split(":") for pair in out.split()]
    assert sorted(int(n) for _, n in pairs) == list(range(ROWS))
    assert len({pid for pid, _ in pairs}) == 2, "one worker has read all"
    assert not published.store.exists(), "a stream has written to the store"


@pytest.mark.sampled(0)
def test_a_training_goes_on_behind_its_last_checkpoint(published: Desk, tmp_path: Path) -> None:
    """Two processes read 250 rows each and end; those that begin again read what comes after row 200."""
    program = tmp_path / "program.py"
    program.write_text(
        READ.format(
            module="torchrun_resume",
            rows="row['n'] for row in itertools.islice("
            "my_rows(sys.argv[1], Path(sys.argv[3])), int(sys.argv[4]) or None)",
        ).replace("import sys;", "import itertools, sys;")
    )
    arguments = [str(program), "team/corpus", str(EXAMPLES), str(tmp_path)]
    first, second = ([[int(n) for n in out.split()] for out in run([*arguments, n], 2)] for n in ("250", "0"))
    for before, after in zip(first, second, strict=True):
        assert len(before) == 250
        assert len(before[:200] + after) == ROWS // 2
    used = [n for part in first for n in part[:200]] + [n for part in second for n in part]
    assert sorted(used) == list(range(ROWS))


@pytest.mark.sampled(0)
def test_workers_of_dask_map_a_dataset_into_a_registered_one(published: Desk, tmp_path: Path) -> None:
    """A second run does no shard again; a shard that a killed worker left unfinished is done."""
    published.publisher()
    folder = tmp_path / "parts"
    arguments = [str(EXAMPLES / "dask_parts.py"), "map", "team/corpus", "team/upper", str(folder)]
    assert run(arguments) == [f"{ROWS} rows\n"]
    published.teammate()
    rows = hf_localize.load_local_dataset("team/upper")["train"]
    assert rows["n"][:] == list(range(ROWS))
    assert rows[0]["text"].startswith("ROW 0")
    parts = sorted(folder.iterdir())
    assert len(parts) == SHARDS
    shutil.rmtree(parts[3])
    (folder / ".unfinished-killed").mkdir()
    times = {part: part.stat().st_mtime_ns for part in parts if part.exists()}
    published.publisher()
    assert run(arguments) == [f"{ROWS} rows\n"]
    assert {part: part.stat().st_mtime_ns for part in times} == times


@pytest.mark.sampled(0)
def test_workers_of_dask_localize_source_files_with_one_commit(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    write_source_files(tmp_path, 4)
    source = str(tmp_path)
    said = run([str(EXAMPLES / "dask_parts.py"), "files", source, "team/many", str(tmp_path / "parts")])
    assert said == ["40 rows\n"]
    marks = [r for r in desk.s3.requests if r.method == "PUT" and "/.hgloc/index/" in r.path]
    assert len(marks) == 1, marks
    desk.teammate()
    assert hf_localize.load_local_dataset("team/many")["train"]["n"][:] == list(range(40))


KILLED = """
import os, signal, sys; sys.path.insert(0, {examples!r})
from dask_parts import *

def made(path):
    with open({log!r}, "a") as log:
        log.write(os.path.basename(path) + "\\n")
    if path.endswith("2.parquet") and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return source_file(path)

if __name__ == "__main__":
    makers = [partial(made, str(path)) for path in sorted(Path({source!r}).glob("*.parquet"))]
    print(register_parts(makers, "team/many", Path({source!r}, "parts")))
"""


@pytest.mark.sampled(0)
def test_a_worker_of_dask_that_is_killed_costs_its_part_only(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    write_source_files(tmp_path, 6)
    log, program = tmp_path / "log", tmp_path / "program.py"
    places = {"examples": EXAMPLES, "log": log, "mark": tmp_path / "mark", "source": tmp_path}
    program.write_text(KILLED.format(**{name: str(path) for name, path in places.items()}))
    assert run([str(program)])[0].split()[-1] == "60"
    made = log.read_text().split()
    assert sorted(set(made)) == [f"{number}.parquet" for number in range(6)]
    assert made.count("2.parquet") == 2
    # What else the worker had at hand when it was killed is at most one part more.
    assert len(made) <= 8, made
    desk.teammate()
    assert hf_localize.load_local_dataset("team/many")["train"]["n"][:] == list(range(60))
