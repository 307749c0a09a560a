"""Programs that read files of the Hub run unchanged where it is out of reach."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_localize.format.repository import Repository
from tests.loads.clients.conftest import Bench, result_json
from tests.loads.fidelity.repositories import card, parquet

TABLE = Repository("dataset", "made/table")
PARTS = [{"n": list(range(1000 * part, 1000 * part + 1000))} for part in range(3)]
FILES = {
    "README.md": card(license="mit"),
    "extra.csv": b"n,word\n1,one\n2,two\n",
    **{f"data/part-{number}.parquet": parquet(**part) for number, part in enumerate(PARTS)},
}
SUM = sum(range(3000))

HEAD = """
import json, os

ENDPOINT = os.environ["HF_ENDPOINT"]
ROOT = "hf://datasets/made/table"

"""
#: By library: a program that puts what it has read into `found`, and what that is.
READERS: dict[str, tuple[str, Any]] = {
    "pandas": (
        """
import pandas
frame = pandas.read_parquet(f"{ROOT}/data/part-1.parquet")
whole = pandas.read_parquet(f"{ROOT}/data", filters=[("n", "<", 1500)])
words = pandas.read_csv(f"{ROOT}/extra.csv")
by_url = pandas.read_csv(f"{ENDPOINT}/datasets/made/table/resolve/main/extra.csv")
found = [int(frame["n"].sum()), len(whole), words.to_dict("list"), words.equals(by_url)]
""",
        [sum(range(1000, 2000)), 1500, {"n": [1, 2], "word": ["one", "two"]}, True],
    ),
    "dask": (
        """
import dask.dataframe
frame = dask.dataframe.read_parquet(f"{ROOT}/data/*.parquet")
words = dask.dataframe.read_csv(f"{ROOT}/*.csv")
found = [frame.npartitions]
for scheduler in ("threads", "processes"):
    found += [int(frame["n"].sum().compute(scheduler=scheduler)), len(words.compute(scheduler=scheduler))]
""",
        [3, SUM, 2, SUM, 2],
    ),
    "pyarrow": (
        """
import pyarrow.dataset, pyarrow.parquet
from huggingface_hub import HfFileSystem
files = HfFileSystem()
table = pyarrow.parquet.read_table("datasets/made/table/data/part-2.parquet", filesystem=files)
whole = pyarrow.dataset.dataset("datasets/made/table/data", filesystem=files)
few = whole.to_table(filter=pyarrow.dataset.field("n") < 10)
footer = pyarrow.parquet.ParquetFile(files.open("datasets/made/table/data/part-0.parquet")).metadata
found = [table.num_rows, whole.count_rows(), few["n"].to_pylist(), footer.num_rows]
""",
        [1000, 3000, list(range(10)), 1000],
    ),
    "duckdb": (
        """
import duckdb
from huggingface_hub import HfFileSystem
base = duckdb.connect()
base.register_filesystem(HfFileSystem())
whole = base.sql(f"select count(*), sum(n)::bigint from '{ROOT}/data/*.parquet'").fetchall()
few = base.sql(f"select n from '{ROOT}/data/part-1.parquet' where n < 1003 order by n").fetchall()
found = [whole, few, base.sql(f"select * from '{ROOT}/extra.csv'").fetchall()]
""",
        [[[3000, SUM]], [[1000], [1001], [1002]], [[1, "one"], [2, "two"]]],
    ),
}


@pytest.mark.sampled(len(READERS))
@pytest.mark.parametrize("library", READERS)
def test_a_library_reads_by_fsspec(bench: Bench, library: str) -> None:
    program, expected = READERS[library]
    bench.serve(TABLE.repo_id, FILES)
    code = f"{HEAD}{program}\njson.dump(found, open('result.json', 'w'))"
    assert bench.compare([TABLE], ["-c", code], result_json, stores=False) == expected


def downloaded(folder: Path) -> dict[str, bytes]:
    """Return what lies in the folder `out`, but what the command keeps for itself."""
    out = folder / "out"
    paths = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    return {path.as_posix(): (out / path).read_bytes() for path in paths if path.parts[0] != ".cache"}


def test_the_command_hf_downloads(bench: Bench) -> None:
    bench.serve(TABLE.repo_id, FILES)
    command = (
        "-m huggingface_hub.cli.hf download made/table --repo-type dataset --exclude *.csv --local-dir out"
    )
    # The command also asks the Hub for its list of agents, which is not in a repository.
    found = bench.compare([TABLE], command.split(), downloaded, HGLOC_SOURCES="local,s3")
    assert found == {path: content for path, content in FILES.items() if path != "extra.csv"}


SERVED = """
file=$HF_ENDPOINT/datasets/made/table/resolve/main/data/part-1.parquet
curl --silent --show-error --fail --location --output whole.parquet "$file"
curl --silent --show-error --fail --location --range 4-99 --output range "$file"
curl --silent --show-error --fail --location --head "$file" | tr -d '\\r' | grep -i '^content-length:' > head
curl --silent --output missing --write-out '%{http_code}' "$HF_ENDPOINT/datasets/made/table/resolve/main/none" > status
hf download made/table extra.csv --repo-type dataset --local-dir out
"""
POLARS = """
import json, os, polars
frame = polars.scan_parquet(os.environ["HF_ENDPOINT"] + "/datasets/made/table/resolve/main/data/part-1.parquet")
found = [frame.select(polars.len()).collect().item(), frame.filter(polars.col("n") < 1010).collect()["n"].to_list()]
json.dump(found, open("result.json", "w"))
"""


def serve_and_run(bench: Bench, place: str, *command: str) -> Any:
    """Run *command*, which has no activation, beside `hg-localize serve`."""
    ran = bench.run(place, ["-m", "hf_localize", "run", "--serve", "--", *command])
    assert ran.status == 0, ran.said
    assert bench.hub.url not in ran.met
    assert all(url.startswith("http://127.0.0.1:") for url in ran.met)
    return ran


def test_curl_and_the_command_hf_read_what_is_served(bench: Bench) -> None:
    assert shutil.which("curl"), "curl is not installed"
    bench.serve(TABLE.repo_id, FILES)
    bench.publish_and_stop_the_hub([TABLE])
    path = f"PATH={Path(sys.executable).parent}:$PATH\nset -e\n"
    whole = FILES["data/part-1.parquet"]
    for place in ("bucket", "store"):
        folder = serve_and_run(bench, place, "bash", "-c", path + SERVED).folder
        assert (folder / "whole.parquet").read_bytes() == whole
        assert (folder / "range").read_bytes() == whole[4:100]
        assert (folder / "head").read_text().split()[1] == str(len(whole))
        assert (folder / "status").read_text() == "404"
        assert downloaded(folder) == {"extra.csv": FILES["extra.csv"]}


def test_a_client_in_rust_reads_what_is_served(bench: Bench) -> None:
    """The HTTP client of polars is in Rust: it asks for sizes and ranges by itself."""
    bench.serve(TABLE.repo_id, FILES)
    bench.publish_and_stop_the_hub([TABLE])
    for place in ("bucket", "store"):
        folder = serve_and_run(bench, place, sys.executable, "-c", POLARS).folder
        assert json.loads((folder / "result.json").read_text()) == [1000, list(range(1000, 1010))]
