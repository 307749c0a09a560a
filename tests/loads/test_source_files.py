"""Repositories of several files: streamed from the Hub, and kept as a shard for each file."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize.format.arrow.shards import count_rows
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.hub import HubEntry
from hf_localize.hf.load import ask_hub
from hf_localize.hf.source_rows import MAX_SINGLE_ROWS, cut_at_files
from tests.conftest import Desk, tree
from tests.loads.fidelity.repositories import no_rows, parquet, png
from tests.loads.fidelity.snapshots import shards
from tests.rig.hub import LoopbackHub, make_repository

FILES = {f"data/train-{n:05d}-of-00004.parquet": parquet(n=[2 * n, 2 * n + 1]) for n in range(4)}
#: Its keys look like "number of a file, number of a row", and are something else.
SCRIPT = b"""
import datasets

class Made(datasets.GeneratorBasedBuilder):
    def _info(self):
        return datasets.DatasetInfo(features=datasets.Features({"n": datasets.Value("int64")}))
    def _split_generators(self, dl_manager):
        return [datasets.SplitGenerator(name="train", gen_kwargs={"years": [2019, 2018]})]
    def _generate_examples(self, years):
        for year in years:
            for n in range(3):
                yield f"{year}_{n}" if KEYS == "years" else f"{2019 - year if KEYS == 'files' else year - 2018}_{n}", {"n": n}
"""


def add(hub: LoopbackHub, desk: Desk, name: str, files: dict[str, bytes]) -> None:
    hub.add(make_repository(desk.folder / "repositories", name, "main", files))


@pytest.mark.parametrize("place", ["local", "private"])
def test_a_slice_that_ends_before_it_begins_has_no_rows(place: str, hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/files", FILES)
    splits = ["train[6:3]", "train[90%:10%]", "train[-1:2]", "train[6:3]+train[:3]", "train[:1]+train[6:3]"]

    def loaded() -> list[list[int]]:
        return [part["n"][:] for part in datasets.load_dataset("made/files", split=splits)]

    desk.use_cache(str(desk.folder / "stock's cache"))
    expected = loaded()
    assert expected == [[], [], [], [0, 1, 2], [0]]
    desk.publisher()
    hf_localize.download_dataset("made/files")
    hub.stop()
    if place == "private":
        desk.teammate()
    with hf_localize.installed():
        for split, rows in zip(splits, expected, strict=True):
            for in_memory in (False, True):
                part = datasets.load_dataset("made/files", split=split, keep_in_memory=in_memory)
                assert (part["n"][:], str(part.split)) == (rows, split)
                assert part.features == datasets.Features(n=datasets.Value("int64"))
        assert loaded() == expected
        assert datasets.load_dataset("made/files", split="train[3:2]").num_rows == 0


def test_a_stream_from_the_hub_is_stocks_own(hub: LoopbackHub, desk: Desk) -> None:
    add(hub, desk, "made/files", FILES)
    desk.publisher()
    with hf_localize.installed():
        stream = datasets.load_dataset("made/files", split="train", streaming=True)
        assert shards(stream) == 4
        assert [row["n"] for row in stream] == list(range(8))
        elsewhere = pickle.loads(pickle.dumps(stream))
        assert [row["n"] for row in elsewhere] == list(range(8))
        builder = pickle.loads(pickle.dumps(datasets.load_dataset_builder("made/files")))
        builder.download_and_prepare()
        assert builder.as_dataset(split="train")[:]["n"] == list(range(8))
    assert not list(desk.store.rglob("*.arrow"))


@pytest.mark.skipif(
    (4, 5) <= tuple(map(int, datasets.__version__.split(".")[:2])) < (5, 0),
    reason="stock 4.5 to 4.8 can't prepare a file without rows that others follow (IndexError)",
)
def test_files_without_rows_are_shards_as_well(hub: LoopbackHub, desk: Desk) -> None:
    names = sorted(FILES)
    add(hub, desk, "made/empty", {**FILES, names[1]: no_rows("n"), names[3]: no_rows("n")})
    desk.publisher()
    hf_localize.download_dataset("made/empty")
    hub.stop()
    with hf_localize.installed():
        stream = datasets.load_dataset("made/empty", split="train", streaming=True)
        assert shards(stream) == 4
        assert [row["n"] for row in stream] == [0, 1, 4, 5]


def test_what_is_prepared_for_an_entry_is_a_file_for_each_source_file_and_not_written_again(
    hub: LoopbackHub, desk: Desk
) -> None:
    name = "made/lists"  # Of lists the metadata has another spelling.
    rows = [
        ("data/train-0.jsonl", 3),
        ("data/train-1.jsonl", 0),
        ("data/train-2.jsonl", 2),
        ("data/train-3.jsonl", 2),
    ]
    if datasets.__version__.startswith(
        "4.8"
    ):  # Stock's own load ends with an IndexError after an empty file.
        del rows[1]
    add(hub, desk, name, {path: b'{"n": [1, 2], "s": [{"a": 1}]}\n' * count for path, count in rows})
    desk.publisher()
    entry = ask_hub(DatasetRef(name), False)
    assert isinstance(entry, HubEntry)
    folder = desk.folder / "captured"
    folder.mkdir()
    prepared = desk.folder / "prepared"
    cut_at_files(entry.builder)
    entry.builder.download_and_prepare(str(prepared))
    inodes = {path.stat().st_ino for path in prepared.rglob("*.arrow")}
    manifest = entry.capture_into(folder, is_ours=True)
    (split,) = manifest.splits
    written = [shard.path for shard in split.shards if (folder / shard.path).stat().st_ino not in inodes]
    assert [shard.rows for shard in split.shards if shard.path not in written] == [3, 2, 2]
    assert all(count_rows(folder / path) == 0 for path in written)
    assert datasets.load_from_disk(str(folder))["train"]["n"] == [[1, 2]] * 7


@pytest.mark.parametrize("rows", [[1, 1, 1], [1, 1, 4], [4, 1, 1, 1, 4]])
def test_files_of_one_row_are_shuffled_as_stocks_shards(
    rows: list[int], hub: LoopbackHub, desk: Desk
) -> None:
    name = f"made/small-{'-'.join(map(str, rows))}"
    files = {
        f"train-{i}.jsonl": b"".join(b'{"n": %d}\n' % (10 * i + row) for row in range(count))
        for i, count in enumerate(rows)
    }
    add(hub, desk, name, files)

    def streamed() -> tuple[int, list[int]]:
        stream = datasets.load_dataset(name, split="train", streaming=True)
        return shards(stream), [row["n"] for row in stream.shuffle(seed=1, buffer_size=1)]

    expected = streamed()
    assert expected[0] == len(rows)
    desk.publisher()
    hf_localize.download_dataset(name)
    hub.stop()
    with hf_localize.installed():
        assert streamed() == expected


def test_very_many_files_of_one_row_are_one_shard(hub: LoopbackHub, desk: Desk) -> None:
    count = MAX_SINGLE_ROWS + 1
    add(hub, desk, "made/documents", {f"train-{i:03}.txt": b"%d\n" % i for i in range(count)})
    desk.publisher()
    hf_localize.download_dataset("made/documents")
    hub.stop()
    with hf_localize.installed():
        stream = datasets.load_dataset("made/documents", split="train", streaming=True)
        assert shards(stream) == 1
        assert [row["text"] for row in stream] == list(map(str, range(count)))


@pytest.mark.parametrize("count", [1, 4])  # One file is linked, several are copied.
def test_cleaning_stocks_cache_leaves_the_store_as_it_is_and_the_other_way_round(
    count: int, hub: LoopbackHub, desk: Desk
) -> None:
    name = f"made/files-{count}"
    add(hub, desk, name, dict(sorted(FILES.items())[:count]))
    desk.publisher()
    with hf_localize.installed(sources=("hub",)):
        loaded = datasets.load_dataset(name, split="train")
    cached = [Path(file["filename"]) for file in loaded.cache_files]
    entry = Path(hf_localize.download_dataset(name).message_or_path)
    before = tree(entry)
    for path in cached:
        path.unlink()
    assert tree(entry) == before
    with hf_localize.installed(sources=("local",)):
        loaded = datasets.load_dataset(name, split="train")
        shutil.rmtree(entry)
        assert loaded[:]["n"] == list(range(2 * count))


@pytest.mark.skipif(int(datasets.__version__.split(".")[0]) >= 4, reason="datasets 4 runs no scripts")
@pytest.mark.parametrize(("keys", "expected"), [("files", 2), ("years", 1), ("backwards", 1)])
def test_a_scripts_keys_are_believed_only_where_they_number_its_files(
    keys: str, expected: int, hub: LoopbackHub, desk: Desk
) -> None:
    add(hub, desk, f"made/{keys}", {f"{keys}.py": SCRIPT + f"KEYS = {keys!r}".encode()})
    desk.publisher()
    hf_localize.download_dataset(f"made/{keys}", trust_remote_code=True)
    hub.stop()
    with hf_localize.installed():
        stream = datasets.load_dataset(f"made/{keys}", split="train", streaming=True)
        assert shards(stream) == expected
        assert [row["n"] for row in stream] == [0, 1, 2, 0, 1, 2]


def test_images_in_an_archive_are_in_the_entry(hub: LoopbackHub, desk: Desk) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a/one.png", png(1))
        archive.writestr("a/two.png", png(2))
    add(hub, desk, "made/zipped", {"train.zip": sink.getvalue()})
    desk.publisher()
    hf_localize.download_dataset("made/zipped")
    folder = desk.folder / "own"
    folder.mkdir()
    (folder / "train.zip").write_bytes(sink.getvalue())
    hf_localize.register_dataset(folder, "team/zipped")
    shutil.rmtree(folder)
    hub.stop()
    desk.teammate()
    for name in ("made/zipped", "team/zipped"):
        with hf_localize.installed(sources=("local", "s3")):
            table = datasets.load_dataset(name, split="train").data.table
        assert [image["bytes"] for image in table["image"].to_pylist()] == [png(1), png(2)]
