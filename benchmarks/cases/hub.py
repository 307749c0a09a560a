"""What is brought from the Hub, beside stock `datasets` alone, both with nothing in any cache."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import ROOT, Line, Run, clean_environment, in_turns, ratio_line, timed_process
from tests.rig.hub_storage import make_repository

SECTION = "5 Hub"
NAME = "made/parquet"
#: Of the parquet dataset.
TOTAL_BYTES = 1 << 29
#: Source files of the parquet dataset, as the Hub's converter makes them: a hundred MB and more each.
FILES = 4
CONFIGS = 20
_ROWS = 50_000
_STOCK = f"import datasets; datasets.load_dataset({NAME!r})"


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for one large dataset and for many small ones."""
    repositories = folder / "repositories"
    _make_parquet(repositories)
    many = _make_configs(repositories)
    with hub_on_loopback(repositories) as endpoint:
        return [*_large(folder / "large", endpoint, runs), *_many(folder / "many", endpoint, many, runs)]


def _make_parquet(root: Path) -> None:
    folder = root / NAME / "main" / "data"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    width = 512  # int64 and 63 floats
    rows = TOTAL_BYTES // FILES // width
    for number in range(FILES):
        with pq.ParquetWriter(folder / f"train-{number:05}-of-{FILES:05}.parquet", _schema()) as writer:
            for start in range(0, rows, _ROWS):
                count = min(_ROWS, rows - start)
                values = pa.array(random.random(count * 63, dtype=np.float64))
                vectors = pa.FixedSizeListArray.from_arrays(values, 63)
                numbers = pa.array(np.arange(start, start + count, dtype=np.int64))
                writer.write_table(pa.table([numbers, vectors], schema=_schema()))


def _schema() -> pa.Schema:
    return pa.schema([("number", pa.int64()), ("vector", pa.list_(pa.float64(), 63))])


def _make_configs(root: Path) -> list[str]:
    names = [f"c{number}" for number in range(CONFIGS)]
    card = "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in names)
    files = {f"{name}.csv": b"text\n" + name.encode() * 3 + b"\n" for name in names}
    make_repository(root, "made/many", "main", {**files, "README.md": f"---\nconfigs:\n{card}---\n".encode()})
    return names


@contextlib.contextmanager
def hub_on_loopback(root: Path) -> Iterator[str]:
    """Lend the address of a Hub on loopback, a process of its own."""
    command = [sys.executable, "-m", "tests.rig.hub", "--root", str(root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    """Return the settings of a process that has its caches in *folder* and asks the Hub at *endpoint*."""
    return clean_environment(
        HF_ENDPOINT=endpoint,
        HF_HOME=str(folder / "hf"),
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_XET="1",
        HGLOC_DATASETS_STORE_PATH=str(folder / "store"),
        PYTHONPATH=str(ROOT),
    )


def _large(folder: Path, endpoint: str, runs: int) -> list[Line]:
    on_disk: list[int] = []

    def cold(command: list[str]) -> Run:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run = timed_process(command, environment(folder, endpoint), cwd=folder)
        on_disk.append(_blocks(folder))
        return run

    def ours() -> Run:
        return cold([sys.executable, "-m", "hf_localize", "download", NAME])

    def stock() -> Run:
        return cold([sys.executable, "-c", _STOCK])

    pairs = in_turns(ours, stock, runs, warm=False)
    size = f"{TOTAL_BYTES / 1e9:.2g} GB of parquet"
    return [
        ratio_line(SECTION, f"download {size}, by load_dataset", 1.15, pairs, names=("ours", "stock")),
        Line(
            SECTION,
            f"download {size}, written to disk, by load_dataset",
            1.1,
            [a.written_bytes / b.written_bytes for a, b in pairs],
            note=f"stock {pairs[0][1].written_bytes / 1e6:,.0f} MB; what stays is at most "
            f"{max(on_disk) / 1e6:,.0f} MB",
        ),
    ]


def _blocks(folder: Path) -> int:
    """Return the bytes that the files below *folder* take on disk; what is linked counts once."""
    stats = [path.lstat() for path in folder.rglob("*")]
    return sum({(stat.st_dev, stat.st_ino): stat.st_blocks * 512 for stat in stats}.values())


def _many(folder: Path, endpoint: str, names: list[str], runs: int) -> list[Line]:
    command = [sys.executable, "-m", "hf_localize", "download", "made/many"]

    def fresh() -> dict[str, str]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return environment(folder, endpoint)

    def one() -> Run:
        return timed_process([*command, "--all-configs"], fresh(), cwd=folder)

    def each() -> Run:
        env = fresh()
        parts = [timed_process([*command, "-n", name], env, cwd=folder) for name in names[::_SAMPLE]]
        return Run(sum(part.wall_seconds for part in parts) * len(names) / len(parts))

    pairs = in_turns(one, each, runs, warm=False)
    what = f"download {len(names)} configs in one command, by {len(names)} commands"
    return [ratio_line(SECTION, what, 0.5, pairs, names=("one", "each"))]


#: Of the commands one by one every tenth is run, and its time taken ten times: all take as long.
_SAMPLE = 10
