"""`scan` reads which datasets, models and metrics source code names, and writes a list for `download`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_localize.api.scan import scan
from hf_localize.format.listfile import line_of, read_list
from tests.commands.test_cli_output import run
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub, make_repository

PYTHON = {
    'load_dataset("openai/gsm8k")': ["openai/gsm8k"],
    'datasets.load_dataset(path="openai/gsm8k", name="main", split="test")': ["openai/gsm8k main"],
    'load_dataset("a/b", "c d", revision="v1", streaming=True)': ["a/b 'c d' v1"],
    'load_dataset_builder("a/b", revision="v1")': ["a/b - v1"],
    'load_dataset("a/b", data_files="x.csv")': ["a/b --repo-type dataset"],
    'load_dataset("a/b", data_dir=None)': ["a/b"],
    'load_dataset("json", data_files="x.json")': [],
    'load_dataset("parquet", data_files="hf://datasets/a/b@refs%2Fconvert%2Fparquet/x/0.parquet")': [
        "a/b refs/convert/parquet --repo-type dataset"
    ],
    'load_dataset("hf://datasets/a/b@v2")': ["a/b v2 --repo-type dataset"],
    'load_dataset("./local"); load_dataset("/data/x"); load_dataset("a/b/c.py")': [],
    'NAME = "a/b"\nload_dataset(NAME)': ["a/b"],
    'hf_hub_download("a/b", "x.json")': ["a/b --repo-type model"],
    'huggingface_hub.hf_hub_download(repo_id="a/b", filename="x", repo_type="dataset", revision="v1")': [
        "a/b v1 --repo-type dataset"
    ],
    'HfApi().snapshot_download("a/b", repo_type="space")': ["a/b --repo-type space"],
    'AutoTokenizer.from_pretrained("gpt2", revision="main")': ["gpt2 main --repo-type model"],
    "AutoModel.from_pretrained(args.model)": [],
    'import evaluate\nevaluate.load("accuracy")': ["evaluate-metric/accuracy --repo-type space"],
    'import evaluate as hf\nhf.load("toxicity", module_type="measurement")': [
        "evaluate-measurement/toxicity --repo-type space"
    ],
    'from evaluate import load as get\nget("org/own")': ["org/own --repo-type space"],
    'numpy.load("accuracy"); json.load(file)': [],
    'pd.read_parquet("hf://datasets/a/b/x.parquet"); open("hf://spaces/c/d/x")': [
        "a/b --repo-type dataset",
        "c/d --repo-type space",
    ],
}


def _lines(folder: Path) -> list[str]:
    return sorted(line_of(item.ref) for item in scan([folder])[0])


@pytest.mark.parametrize("code", PYTHON)
def test_literal_ids_in_python_are_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(code)
    assert _lines(tmp_path) == PYTHON[code]


def test_an_id_that_is_no_literal_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        'x = "a/b"\nx = "c/d"\nload_dataset(x)\nload_dataset(*y)\nload_dataset()'
    )
    found, unknown = scan([tmp_path])
    assert (found, unknown) == ([], [f"{tmp_path}/one.py:3", f"{tmp_path}/one.py:4"])


def test_tasks_of_lm_evaluation_harness_are_found_with_what_they_include(tmp_path: Path) -> None:
    files = {
        "plain.yaml": "task: plain\ndataset_path: openai/gsm8k\ndataset_name: main\n",
        "bare.yml": "dataset_path: a/b\n",
        "_template_yaml": "dataset_path: hails/mmlu\nprocess_docs: !function utils.process\n",
        "child.yaml": "include: _template_yaml\ntask: child\ndataset_name: anatomy\n",
        "_base.yaml": "dataset_path: c/d\n",
        "group.yaml": "group: g\ndataset_path: e/f\ntask:\n- task: one\n  dataset_name: n1\n"
        "- task: two\n  include: _base.yaml\n",
        "files.yaml": "task: x\ndataset_path: json\ndataset_kwargs: {data_files: x.json}\n",
        "own.yaml": "task: y\ndataset_path: g/h\ndataset_kwargs: {data_dir: d, revision: v1}\n",
        "loop.yaml": "include: loop.yaml\ntask: z\ndataset_path: i/j\n",
        "other.yaml": "- just\n- a list\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert _lines(tmp_path) == [
        *("a/b", "c/d", "e/f", "e/f n1", "g/h v1 --repo-type dataset", "hails/mmlu anatomy", "i/j"),
        "openai/gsm8k main",
    ]


def test_foreign_folders_and_broken_files_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (".git", "venv", "node_modules"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text('load_dataset("no/no")')
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "deep.py").write_text("(" * 5000)
    (tmp_path / "null.py").write_bytes(b"x = '\0'")
    (tmp_path / "good.py").write_text('load_dataset("yes/yes")')
    assert _lines(tmp_path) == ["yes/yes"]
    assert {"broken.py", "broken.yaml", "deep.py"} <= {
        Path(record.getMessage().split(" is left out")[0]).name for record in caplog.records
    }
    with pytest.raises(FileNotFoundError):
        scan([tmp_path / "none"])


def test_a_notebook_is_read_cell_by_cell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = [
        ("markdown", ['load_dataset("no/no")']),
        ("code", ["%pip install datasets\n", "import evaluate as e\n", 'NAME = "a/b"']),
        ("code", "if True:\n    !nvidia-smi\n    load_dataset(NAME)\ne.load('accuracy')"),
        ("code", ["%%bash\n", "ls -l *\n"]),
        ("code", ["load_dataset(other)"]),
    ]
    notebook = tmp_path / "train.ipynb"
    notebook.write_text(
        json.dumps({"nbformat": 4, "cells": [{"cell_type": kind, "source": text} for kind, text in cells]})
    )
    (tmp_path / "old.ipynb").write_text('{"worksheets": []}')
    (tmp_path / "broken.ipynb").write_text("{")
    found, unknown = scan([tmp_path])
    listed = {line_of(item.ref): item.places for item in found}
    place = f"{notebook}:cell 3"
    assert listed == {"a/b": (place,), "evaluate-metric/accuracy --repo-type space": (place,)}
    assert unknown == [f"{notebook}:cell 5"]
    left_out = {record.getMessage().split(" is left out")[0] for record in caplog.records}
    assert left_out == {f"{notebook}:cell 4", *(str(tmp_path / f"{one}.ipynb") for one in ("old", "broken"))}


def test_a_file_of_another_kind_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tmp_path / "train.sh"
    other.write_text('load_dataset("a/b")')
    assert scan([other]) == ([], [])
    (record,) = caplog.records
    assert (
        record.getMessage() == f"{other} is left out: by its name, it is neither Python, a notebook nor YAML"
    )


def test_what_is_found_is_downloaded_from_the_list(hub: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    folder = desk.folder / "repositories"
    hub.add(make_repository(folder, "made/data", "main", {"a.csv": b"n\n1\n"}))
    hub.add(make_repository(folder, "models/made/model", "main", {"config.json": b"{}"}))
    desk.publisher()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one.py").write_text(
        'load_dataset("made/data")\n\nAutoModel.from_pretrained("made/model")\nload_dataset(x)\n'
    )
    source = str(tmp_path / "src")
    assert run("scan", source, "-o", "-").stdout == run("scan", source).stdout != ""
    assert not Path("-").exists()
    ran = run("scan", str(tmp_path / "src"), "-o", str(tmp_path / "list.txt"), "--json")
    assert ran.exit_code == 0, ran.stderr
    assert len(json.loads(ran.stdout)["found"]) == 2
    assert "# " in (tmp_path / "list.txt").read_text()
    assert len(read_list(tmp_path / "list.txt")) == 2
    assert f"{tmp_path}/src/one.py:4: the id is not a literal" in ran.stderr
    listed = run("scan", str(tmp_path / "src"))
    assert listed.stdout == (tmp_path / "list.txt").read_text()
    for options in (("--dry-run",), ()):
        ran = run("download", "--from-file", str(tmp_path / "list.txt"), "--json", *options)
        assert ran.exit_code == 0, ran.output
        assert [item["dataset_id"] for item in json.loads(ran.stdout)] == ["made/data", "made/model"]
    assert len(json.loads(run("list-local", "--json").stdout)) == 1
    assert len(json.loads(run("list-local", "--repo-type", "model", "--json").stdout)) == 1
