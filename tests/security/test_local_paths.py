"""Paths of the publisher's machine: in no byte of what is stored, sent or shared."""

from __future__ import annotations

import io
import json
import os
import wave
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import IS_ALL, Desk
from tests.loads.fidelity.repositories import png, tar
from tests.loads.matrix.columns import INSTALLED
from tests.rig.hub import LoopbackHub, make_repository
from tests.security.test_secrets import unpacked

OWNER = "made"


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def sound() -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(64))
    return sink.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema({"a": pa.int64()})) as writer:
        writer.write_table(pa.table({"a": [1]}))
    return sink.getvalue()


#: What datasets loads by a builder of its own, by name.
FOLDERS: dict[str, dict[str, bytes]] = {
    "csv": {"data/train.csv": b"a\n1\n"},
    "json": {"train.jsonl": b'{"a": 1}\n'},
    "json_gz": {"train.jsonl.gz": __import__("gzip").compress(b'{"a": 1}\n')},
    "text": {"train.txt": b"one\n"},
    "parquet": {"train.parquet": parquet()},
    "arrow": {"train.arrow": arrow()},
    "webdataset": {
        f"sub dir/train-{n}.tar": tar({f"a/{n}{k}.txt": b"t" for k in range(2)}) for n in range(2)
    },
    "webdataset_media": {"train.tar": tar({f"{k}/0.{e}": d for k in "ab" for e, d in (("png", png(1)),)})},
    "imagefolder": {f"train/{label}/0.png": png(n) for n, label in enumerate(("cat", "dog"))},
    "image_metadata": {
        **{f"train/{label}/0.png": png(1) for label in "ab"},
        "train/metadata.jsonl": b"".join(
            json.dumps({"file_name": f"{label}/0.png", "n": 1}).encode() + b"\n" for label in "ab"
        ),
    },
    # Later releases need a codec that needs torch.
    **(
        {"audiofolder": {"train/x/0.wav": sound(), "train/y/0.wav": sound()}}
        if INSTALLED < (4, 0) and find_spec("soundfile")
        else {}
    ),
    **(
        {"image_zip": {"train.zip": zipped({"a/0.png": png(1), "b/0.png": png(2)})}}
        if INSTALLED < (4, 0)
        else {}
    ),
    **({"xml": {"train.xml": b"<a/>\n"}} if (3, 0) <= INSTALLED < (4, 0) else {}),
}
#: `make test-faults` tries all of them.
TRIED = list(FOLDERS) if IS_ALL else list(FOLDERS)[::3]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def canaries(hub: LoopbackHub, desk: Desk) -> Callable[[], list[str]]:
    """Put all that this machine has into folders of telling names; return what finds these names.

    Caches of huggingface_hub and of stock's downloads are those of the whole run.
    """
    for name, files in FOLDERS.items():
        hub.add(make_repository(desk.folder / "repositories", f"{OWNER}/{name}", "main", files))
    desk.set(HOME=str(desk.folder / "home"), TMPDIR=str(desk.folder))
    desk.publisher().open_public_places()
    names = [os.fsencode(name) for name in (str(desk.folder), os.environ["HF_HOME"])]

    def leaks() -> list[str]:
        return sorted({where for where, data in everything(desk) if any(name in data for name in names)})

    return leaks


def everything(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Yield what is stored here, in the bucket, and in ZIPs: where it lies, and its bytes."""
    for path in desk.store.rglob("*"):
        yield str(path.relative_to(desk.store)), path.read_bytes() if path.is_file() else b""
    for key in desk.bucket_keys():
        body = desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read()
        yield from ((key, part) for part in (key.encode(), body, *unpacked(body)))


def test_no_path_of_this_machine_is_in_what_is_captured(
    desk: Desk, canaries: Callable[[], list[str]]
) -> None:
    for name in TRIED:
        hf_localize.download_dataset(f"{OWNER}/{name}", make_public=True, keep_files=True)
    assert len([key for key in desk.bucket_keys() if key.endswith(".zip")]) == 2 * len(TRIED)
    assert canaries() == []


def test_no_path_of_this_machine_is_in_what_is_registered(
    desk: Desk, canaries: Callable[[], list[str]]
) -> None:
    for name in TRIED:
        files = FOLDERS[name]
        folder = write(desk.folder / "own" / name, files)
        hf_localize.register_dataset(folder, f"own/{name}", make_public=True, keep_files=True)
        made = datasets.load_dataset(f"{OWNER}/{name}")
        hf_localize.register_dataset(made, f"memory/{name}", make_public=True)
        made.save_to_disk(str(desk.folder / "saved" / name))
        hf_localize.register_dataset(desk.folder / "saved" / name, f"saved/{name}", make_public=True)
    assert canaries() == []


@pytest.mark.sampled(0)
def test_no_path_of_this_machine_is_in_what_was_made_here(
    desk: Desk, canaries: Callable[[], list[str]]
) -> None:
    own = write(desk.folder / "own", {n: d for f in FOLDERS.values() for n, d in f.items()})
    cache = str(desk.folder / "made-here")
    picture = str(own / "train" / "cat" / "0.png")

    def rows() -> Iterator[dict[str, Any]]:
        yield {"a": 1}

    made = {
        "generator": datasets.Dataset.from_generator(rows, cache_dir=cache),
        "csv": datasets.Dataset.from_csv(str(own / "data" / "train.csv"), cache_dir=cache),
        "json": datasets.Dataset.from_json(str(own / "train.jsonl"), cache_dir=cache),
        "text": datasets.Dataset.from_text(str(own / "train.txt"), cache_dir=cache),
        "parquet": datasets.Dataset.from_parquet(str(own / "train.parquet"), cache_dir=cache),
        "picture": datasets.Dataset.from_dict({"image": [picture]}).cast_column("image", datasets.Image()),
        "mapped": datasets.load_dataset(str(own / "sub dir"), split="train").map(lambda row: {"n": 1}),
    }
    for name, data in made.items():
        hf_localize.register_dataset(data, f"here/{name}", make_public=True)
    hf_localize.sync_local_datasets_to_s3(make_public=True)
    assert canaries() == []


@pytest.mark.parametrize("name", ["csv", "webdataset"])
def test_no_path_of_this_machine_is_in_what_was_put_into_the_store_by_hand(
    name: str, desk: Desk, canaries: Callable[[], list[str]]
) -> None:
    own = write(desk.folder / "own", FOLDERS[name])
    data = datasets.load_dataset(str(own))
    if name == "csv":  # As releases below 5 note it.
        checks = {str(own / path): {"num_bytes": 1, "checksum": None} for path in FOLDERS[name]}
        data["train"].info.download_checksums = checks
    place = desk.store / "by_hand" / "default_config" / "default_revision"
    data.save_to_disk(str(place))
    assert any(os.fsencode(own) in path.read_bytes() for path in place.rglob("*") if path.is_file())
    with pytest.raises(errors.UnusableDataError, match=f"hg-localize register {place} by/hand"):
        hf_localize.export_datasets("by/hand", desk.folder / "x.tar")
    hf_localize.sync_local_dataset_to_s3("by/hand", make_public=True)
    assert [leak for leak in canaries() if not leak.startswith(".hgloc/kept/")] == []
    desk.outsider()
    with hf_localize.installed():
        loaded = datasets.load_dataset("by/hand", split="train")
    assert loaded.remove_columns("__url__" if name == "webdataset" else []).to_list() == (
        data["train"].remove_columns("__url__" if name == "webdataset" else []).to_list()
    )


def image_paths(dataset_id: str, **how: Any) -> list[Any]:
    """Return the ``path`` of each value of the only media column of a split."""
    data = datasets.load_dataset(dataset_id, split="train", **how)
    (column,) = [name for name, kind in data.features.items() if name in ("image", "images", "png")]
    plain = datasets.Image(decode=False)
    rows = data.cast_column(column, [plain] if column == "images" else plain)
    values = [row[column] for row in rows]
    return [[v["path"] for v in value] if isinstance(value, list) else value["path"] for value in values]


def embedded(column: str, *values: Any) -> bytes:
    """Return a parquet file with images inside, under the paths *values*."""
    kind: Any = [datasets.Image()] if column == "images" else datasets.Image()
    features = datasets.Features({column: kind})
    images = [
        [{"bytes": png(1), "path": path} for path in value]
        if isinstance(value, list)
        else {"bytes": png(1), "path": value}
        for value in values
    ]
    table = pa.table({column: images}).cast(features.arrow_schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["parquet", "lists", "folder", "webdataset"])
def test_the_path_of_a_media_value_keeps_its_folders(name: str, hub: LoopbackHub, desk: Desk) -> None:
    files = {
        "parquet": {"train.parquet": embedded("image", "a/0.png", "b/0.png", None, "/author/c/0.png")},
        "lists": {"train.parquet": embedded("images", ["a/0.png", "b/0.png"], [], ["c/0.png"])},
        "folder": FOLDERS["imagefolder"],
        "webdataset": FOLDERS["webdataset_media"],
    }[name]
    hub.add(make_repository(desk.folder / "repositories", f"{OWNER}/paths", "main", files))
    if name == "folder":  # Stock has hf:// URLs of what it does not embed.
        expected: list[Any] = list(files)
    else:
        expected = image_paths(f"{OWNER}/paths", streaming=name != "lists")
    desk.publisher().open_public_places()
    hf_localize.download_dataset(f"{OWNER}/paths", make_public=True)
    hub.stop()
    for sit in (lambda: None, desk.teammate, desk.outsider):
        sit()
        with hf_localize.installed():
            assert image_paths(f"{OWNER}/paths") == expected


def test_the_path_of_a_registered_media_value_is_that_in_its_folder(desk: Desk, hub: LoopbackHub) -> None:
    folder = write(desk.folder / "own", FOLDERS["imagefolder"])
    hf_localize.register_dataset(folder, "own/images", skip_s3_upload=True)
    values = [{"bytes": png(1), "path": path} for path in ("a/0.png", "/home/me/b/0.png")]
    images = datasets.Dataset.from_dict({"image": values}).cast_column("image", datasets.Image())
    hf_localize.register_dataset(images, "own/bytes", skip_s3_upload=True)
    with hf_localize.installed():
        assert image_paths("own/images") == ["train/cat/0.png", "train/dog/0.png"]
        assert image_paths("own/bytes") == ["a/0.png", "0.png"]


@pytest.mark.parametrize("name", ["webdataset", "webdataset_media"])
def test_the_url_of_a_webdataset_is_that_of_stocks_stream(
    name: str, hub: LoopbackHub, desk: Desk, canaries: object
) -> None:
    stream = datasets.load_dataset(f"{OWNER}/{name}", split="train", streaming=True)
    expected = [row["__url__"] for row in stream]
    assert {url.partition("@")[0] for url in expected} == {f"hf://datasets/{OWNER}/{name}"}
    hf_localize.download_dataset(f"{OWNER}/{name}", make_public=True)
    hub.stop()
    for sit in (lambda: None, desk.teammate, desk.outsider):
        sit()
        with hf_localize.installed():
            loaded = datasets.load_dataset(f"{OWNER}/{name}", split="train")
            streamed = datasets.load_dataset(f"{OWNER}/{name}", split="train", streaming=True)
            assert loaded["__url__"][:] == expected
            assert [row["__url__"] for row in streamed] == expected


def test_the_url_of_a_registered_webdataset_is_the_path_in_its_folder(desk: Desk, canaries: object) -> None:
    folder = write(desk.folder / "own", FOLDERS["webdataset"])
    hf_localize.register_dataset(folder, "own/w")
    with hf_localize.installed():
        loaded = datasets.load_dataset("own/w", split="train")
    assert loaded["__url__"][:] == [f"sub dir/train-{n}.tar" for n in (0, 0, 1, 1)]


@pytest.mark.skipif(INSTALLED >= (4, 0), reason="datasets 4 runs no scripts")
def test_the_rows_of_a_script_name_what_it_has_downloaded_by_its_url(
    hub: LoopbackHub, desk: Desk, canaries: Callable[[], list[str]]
) -> None:
    script = """import datasets, os
class Script(datasets.GeneratorBasedBuilder):
    def _info(self):
        text = datasets.Value("string")
        return datasets.DatasetInfo(features=datasets.Features({"file": text, "members": [text]}))
    def _split_generators(self, manager):
        file, folder = manager.download("x.txt"), manager.download_and_extract("y.zip")
        return [datasets.SplitGenerator("train", gen_kwargs={"file": file, "folder": folder})]
    def _generate_examples(self, file, folder):
        yield 0, {"file": file, "members": [os.path.join(folder, "in/m.txt")]}
"""
    files = {"script.py": script.encode(), "x.txt": b"x", "y.zip": zipped({"in/m.txt": b"m"})}
    hub.add(make_repository(desk.folder / "repositories", f"{OWNER}/script", "main", files))
    hf_localize.download_dataset(f"{OWNER}/script", trust_remote_code=True)
    with hf_localize.installed():
        (row,) = datasets.load_dataset(f"{OWNER}/script", split="train")
    assert row["file"].startswith(f"hf://datasets/{OWNER}/script@")
    assert row["file"].endswith("/x.txt")
    assert row["members"][0].removeprefix("zip://").partition("::")[0] == "in/m.txt"
    assert canaries() == []


def test_a_path_that_the_source_file_has_stays_as_it_is(
    hub: LoopbackHub, desk: Desk, canaries: object
) -> None:
    path = f"{os.environ['HF_HOME']}/hub/datasets--a--b/snapshots/{'0' * 40}/x.csv"
    files = {"train.jsonl": json.dumps({"text": path, "__url__": path}).encode()}
    hub.add(make_repository(desk.folder / "repositories", f"{OWNER}/paths", "main", files))
    hf_localize.download_dataset(f"{OWNER}/paths")
    with hf_localize.installed():
        assert datasets.load_dataset(f"{OWNER}/paths", split="train")[0] == {"text": path, "__url__": path}
