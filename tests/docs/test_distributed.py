"""The programs in ``examples/``: several workers read one stream, and every row is read once."""

from __future__ import annotations

import importlib.util
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
#: Workers, too, find the programs of the examples; and Ray does not report what it is used for.
MACHINE = {"PYTHONPATH": str(EXAMPLES), "RAY_USAGE_STATS_ENABLED": "0"}
#: `make test-ray` installs it, and runs it in a network namespace: Ray listens on all networks.
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="`make test-ray` runs these")
each_engine = pytest.mark.parametrize("engine", ["dask", pytest.param("ray", marks=needs_ray)])
READ = """
import sys
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
            env={**os.environ, **MACHINE, "RANK": str(rank), "WORLD_SIZE": str(count)},
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
    parts = [[int(n) for n in out.split()] for out in run([str(program), "team/corpus"], 4)]
    assert sorted(n for part in parts for n in part) == list(range(ROWS))
    assert not published.store.exists(), "a stream has written to the store"


def test_three_processes_share_eight_shards_row_by_row(published: Desk, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(READ.format(module="torchrun_stream", rows="row['n'] for row in my_rows(sys.argv[1])"))
    parts = [[int(n) for n in out.split()] for out in run([str(program), "team/corpus"], 3)]
    assert sorted(n for part in parts for n in part) == list(range(ROWS))


#: A worker waits for the other at its first row, so that neither can read all.
MEETING = """
import os, sys, time
from functools import partial

def of_worker(pids, row):
    open(os.path.join(pids, str(os.getpid())), "w").close()
    for _ in range(600):
        if len(os.listdir(pids)) == 2:
            return {"of": f"{os.getpid()}:{row['n']}"}
        time.sleep(0.1)
    raise TimeoutError("one worker reads all")
"""
MAPPED = {
    "dask": "(row['of'] for row in mapped(sys.argv[1], partial(of_worker, sys.argv[2])))",
    "ray": "(row['of'] for row in rows(sys.argv[1]).map(partial(of_worker, sys.argv[2])).iter_rows())",
}


@pytest.mark.sampled(0)
@each_engine
def test_two_workers_of_an_engine_read_each_row_and_each_shard_once(
    engine: str, published: Desk, tmp_path: Path
) -> None:
    assert run([str(EXAMPLES / f"{engine}_stream.py"), "team/corpus"]) == [f"{ROWS} rows\n"]
    assert times_read(published) == {f"data-{n:05d}-of-{SHARDS:05d}.arrow": 1 for n in range(SHARDS)}
    program = tmp_path / "program.py"
    program.write_text(MEETING + READ.format(module=f"{engine}_stream", rows=MAPPED[engine]))
    (tmp_path / "pids").mkdir()
    (out,) = run([str(program), "team/corpus", str(tmp_path / "pids")])
    pairs = [pair.split(":") for pair in out.split()]
    assert sorted(int(n) for _, n in pairs) == list(range(ROWS))
    assert len({pid for pid, _ in pairs}) == 2
    assert not published.store.exists(), "a stream has written to the store"


@pytest.mark.sampled(0)
def test_a_training_goes_on_behind_its_last_checkpoint(published: Desk, tmp_path: Path) -> None:
    """Two processes read 250 rows each and end; those that begin again read what comes after row 200."""
    program = tmp_path / "program.py"
    program.write_text(
        READ.format(
            module="torchrun_resume",
            rows="row['n'] for row in itertools.islice("
            "my_rows(sys.argv[1], Path(sys.argv[2])), int(sys.argv[3]) or None)",
        ).replace("import sys", "import itertools, sys")
    )
    arguments = [str(program), "team/corpus", str(tmp_path)]
    first, second = ([[int(n) for n in out.split()] for out in run([*arguments, n], 2)] for n in ("250", "0"))
    for before, after in zip(first, second, strict=True):
        assert len(before) == 250
        assert len(before[:200] + after) == ROWS // 2
    used = [n for part in first for n in part[:200]] + [n for part in second for n in part]
    assert sorted(used) == list(range(ROWS))


@pytest.mark.sampled(0)
@each_engine
def test_workers_map_a_dataset_into_a_registered_one(engine: str, published: Desk, tmp_path: Path) -> None:
    """A second run does no shard again; a shard that a killed worker left unfinished is done."""
    published.publisher()
    folder = tmp_path / "parts"
    arguments = [str(EXAMPLES / "parts.py"), engine, "map", "team/corpus", "team/upper", str(folder)]
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
@each_engine
def test_workers_localize_source_files_with_one_commit(engine: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    write_source_files(tmp_path, 4)
    source, parts = str(tmp_path), str(tmp_path / "parts")
    said = run([str(EXAMPLES / "parts.py"), engine, "files", source, "team/many", parts])
    assert said == ["40 rows\n"]
    marks = [r for r in desk.s3.requests if r.method == "PUT" and "/.hgloc/index/" in r.path]
    assert len(marks) == 1, marks
    desk.teammate()
    assert hf_localize.load_local_dataset("team/many")["train"]["n"][:] == list(range(40))


KILLED = """
import os, signal
from parts import *

def made(path):
    with open({log!r}, "a") as log:
        log.write(os.path.basename(path) + "\\n")
    if path.endswith("2.parquet") and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return source_file(path)

if __name__ == "__main__":
    makers = [partial(made, str(path)) for path in sorted(Path({source!r}).glob("*.parquet"))]
    print(register_parts({engine!r}, makers, "team/many", Path({source!r}, "parts")))
"""


@pytest.mark.sampled(0)
@each_engine
def test_a_worker_that_is_killed_costs_its_part_only(engine: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    write_source_files(tmp_path, 6)
    log, program = tmp_path / "log", tmp_path / "program.py"
    places = {"log": log, "mark": tmp_path / "mark", "source": tmp_path}
    program.write_text(KILLED.format(engine=engine, **{name: str(path) for name, path in places.items()}))
    assert run([str(program)])[0].split()[-1] == "60"
    made = log.read_text().split()
    assert sorted(set(made)) == [f"{number}.parquet" for number in range(6)]
    assert made.count("2.parquet") == 2
    # What else the worker had at hand when it was killed is at most one part more.
    assert len(made) <= 8, made
    desk.teammate()
    assert hf_localize.load_local_dataset("team/many")["train"]["n"][:] == list(range(60))


TRAINED = """
import os, signal
import ray_resume

def step(row):
    rank = os.environ["RANK"]
    with open({log!r} + rank, "a+") as log:
        log.write(f"{{row['n']}}\\n")
        log.seek(0)
        if rank == "1" and len(log.readlines()) == 250:
            log.flush()
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    ray_resume.step = step
    ray_resume.main()
"""


@pytest.mark.sampled(0)
@needs_ray
def test_an_actor_of_ray_that_is_killed_goes_on_behind_its_last_checkpoint(
    published: Desk, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(TRAINED.format(log=str(tmp_path / "log")))
    (said,) = run([str(program), "team/corpus", str(tmp_path / "checkpoints")])
    # Ray itself writes there that a worker was killed.
    assert said.endswith(f"trainer 0: {ROWS // 2} rows\ntrainer 1: {ROWS // 2 - 200} rows\n")
    first, second = ([int(n) for n in (tmp_path / f"log{rank}").read_text().split()] for rank in (0, 1))
    assert second[200:250] == second[250:300], "what comes after the checkpoint is read again"
    assert sorted(first + second[:250] + second[300:]) == list(range(ROWS))


FROM_HUGGINGFACE = """
import hf_localize, ray
hf_localize.install()
from datasets import load_dataset

if __name__ == "__main__":
    with ray.init(num_cpus=2):
        for is_streamed in (False, True):
            rows = load_dataset("team/corpus", split="train", streaming=is_streamed)
            print(sum(row["n"] for row in ray.data.from_huggingface(rows).iter_rows()))
"""


@pytest.mark.sampled(0)
@needs_ray
def test_ray_reads_what_datasets_has_loaded_without_the_hub(published: Desk, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FROM_HUGGINGFACE)
    assert run([str(program)]) == [f"{sum(range(ROWS))}\n" * 2]


HOOKED = """
import ray
from datasets import load_dataset

if __name__ == "__main__":
    with ray.init(num_cpus=2, runtime_env={"worker_process_setup_hook": "hf_localize.install"}):
        load = ray.remote(lambda: load_dataset("team/corpus", split="train[:3]")["n"][:])
        print(ray.get(load.remote()))
"""


@pytest.mark.sampled(0)
@needs_ray
def test_a_setup_hook_of_ray_installs_in_each_worker(published: Desk, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(HOOKED)
    assert run([str(program)]) == ["[0, 1, 2]\n"]
