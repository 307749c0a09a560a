"""Images, sounds, videos, documents: an entry has the bytes of each value, whatever `save_to_disk` of a release does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize.errors import IntegrityError
from hf_localize.format.refs import DatasetRef
from tests.conftest import Desk
from tests.loads.fidelity.repositories import png
from tests.rig.hub import LoopbackHub, make_repository

NAME = "made/media"
#: The types of media that this release of `datasets` has.
TYPES = [
    t
    for t in ("Image", "Audio", "Video", "Pdf", "Nifti", "Mesh", "BioSequence", "BioStructure")
    if hasattr(datasets, t)
]
FOLDERS = {"mp4": "Video", "pdf": "Pdf", "png": "Image"}
STORAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def content(number: int, kind: str) -> bytes:
    return png(number) if kind == "png" else f"%PDF-1.4 the bytes of {number}".encode()


def folder_of(kind: str, place: Path) -> dict[str, bytes]:
    """Write two files of a *kind* into *place*, and return them by name."""
    if FOLDERS[kind] not in TYPES:
        pytest.skip(f"this release of datasets has no {FOLDERS[kind]}")
    files = {f"{n}.{kind}": content(n, kind) for n in range(2)}
    place.mkdir()
    for name, data in files.items():
        (place / name).write_bytes(data)
    return files


def dataset(feature: Any, values: list[Any]) -> datasets.Dataset:
    """Return a dataset in memory, with *values* as they are."""
    features = datasets.Features({"x": feature, "n": datasets.Value("int64")})
    schema = features.arrow_schema
    columns = [pa.array(values, schema.field("x").type), pa.array(range(len(values)))]
    return datasets.Dataset(pa.table(columns, schema=schema), info=datasets.DatasetInfo(features=features))


def stored(entry: str | Path) -> dict[str, list[Any]]:
    """Return the columns of the Arrow files of an entry, as they are."""
    columns: dict[str, list[Any]] = {}
    for shard in sorted(Path(entry).rglob("*.arrow")):
        with pa.OSFile(str(shard)) as file:
            for name, values in pa.ipc.open_stream(file).read_all().to_pydict().items():
                columns.setdefault(name, []).extend(values)
    return columns


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_files_that_is_registered_has_their_bytes(kind: str, desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    files = folder_of(kind, tmp_path / "own")
    entry = hf_localize.register_dataset(tmp_path / "own", NAME).message_or_path
    (values,) = stored(entry).values()
    assert values == [{"bytes": data, "path": name} for name, data in files.items()]
    desk.teammate()
    with hf_localize.installed(sources=("s3",)):
        loaded = datasets.load_dataset(NAME, split="train").with_format("arrow")[:]
    assert loaded.to_pydict() == stored(entry)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("way", ["download", "load_dataset"])
def test_a_repository_of_files_on_the_hub_is_kept_with_their_bytes(
    kind: str, way: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    files = folder_of(kind, tmp_path / "published")
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", files))
    desk.publisher()
    if way == "download":
        hf_localize.download_dataset(NAME)
    else:
        with hf_localize.installed():
            datasets.load_dataset(NAME)
    (values,) = stored(desk.store / DatasetRef(NAME).folders[0]).values()
    assert sorted(value["bytes"] for value in values) == sorted(files.values())
    assert not any("/" in value["path"] for value in values)


def nested(feature: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield features, and a value, that hold a feature and its value at some depth."""
    text = datasets.Value("string")
    yield feature, value
    yield [feature], [value, None, value]
    yield datasets.Sequence(feature, length=2), [value, None]
    yield datasets.Sequence({"a": feature}), {"a": [value]}
    yield [{"a": [feature], "t": text}], [{"a": [value], "t": "x"}, None]
    plain = {"bytes": datasets.Value("binary"), "path": text}  # Like a media value, and none.
    yield {"a": feature, "plain": plain}, {"a": value, "plain": {"bytes": None, "path": "/nowhere"}}


@pytest.mark.parametrize("kind", TYPES)
def test_values_that_are_paths_are_registered_with_their_bytes_at_any_depth(
    kind: str, desk: Desk, tmp_path: Path
) -> None:
    desk.publisher()
    path = tmp_path / "one.bin"
    path.write_bytes(b"its bytes")
    by_path, embedded = {"bytes": None, "path": str(path)}, {"bytes": b"its bytes", "path": "one.bin"}
    feature = getattr(datasets, kind)()
    for number, (features, value) in enumerate(nested(feature, by_path)):
        expected = list(nested(feature, embedded))[number][1]
        made = dataset(features, [value, None, value])
        entry = hf_localize.register_dataset(made, f"{NAME}{number}", skip_s3_upload=True).message_or_path
        assert (
            stored(entry)["x"]
            == dataset(features, [expected, None, expected]).with_format("arrow")[:]["x"].to_pylist()
        )


def test_values_that_are_not_decoded_are_embedded_as_well(desk: Desk, tmp_path: Path) -> None:
    desk.publisher()
    path = tmp_path / "one.png"
    path.write_bytes(png(1))
    made = datasets.Dataset.from_dict({"x": [str(path), None]}).cast_column("x", datasets.Image(decode=False))
    made.save_to_disk(str(tmp_path / "saved"))
    for number, source in enumerate((made, tmp_path / "saved")):
        entry = hf_localize.register_dataset(source, f"{NAME}{number}", skip_s3_upload=True).message_or_path
        assert stored(entry)["x"] == [{"bytes": png(1), "path": "one.png"}, None]


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_whose_file_is_gone_is_refused_and_named(kind: str, desk: Desk) -> None:
    desk.publisher()
    made = dataset(getattr(datasets, kind)(), [{"bytes": None, "path": "/nowhere/one.bin"}])
    with pytest.raises(IntegrityError, match=r"/nowhere/one\.bin"):
        hf_localize.register_dataset(made, NAME)
    assert hf_localize.list_local_datasets() == []
    assert desk.bucket_keys() == []


@pytest.mark.parametrize("kind", TYPES)
def test_a_saved_folder_whose_values_are_paths_alone_is_not_published(
    kind: str, desk: Desk, tmp_path: Path
) -> None:
    """As `save_to_disk` of some releases writes it; a person has put it into the store."""
    desk.publisher()
    feature = getattr(datasets, kind)()
    place = desk.store / DatasetRef(NAME).folders[0]
    dataset(feature, [{"bytes": b"bytes", "path": None}]).save_to_disk(str(place))
    (tmp_path / "two.bin").write_bytes(b"others")
    without = dataset(feature, [{"bytes": None, "path": str(tmp_path / "two.bin")}]).with_format("arrow")[:]
    (shard,) = place.rglob("*.arrow")
    with pa.ipc.new_stream(str(shard), without.schema) as writer:
        writer.write_table(without)
    with pytest.raises(IntegrityError, match=r"has no bytes, only the path.*two\.bin"):
        hf_localize.sync_local_dataset_to_s3(NAME, make_public=True)
    assert desk.bucket_keys() == []
    entry = hf_localize.register_dataset(place, "made/registered", skip_s3_upload=True).message_or_path
    assert stored(entry)["x"] == [{"bytes": b"others", "path": "two.bin"}]


@pytest.mark.parametrize("path", ["one.mp4", "/home/publisher/one.mp4", "https://example.invalid/one.mp4"])
def test_a_path_of_the_publishers_machine_is_not_kept_without_bytes(
    path: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    kind = "Video" if "Video" in TYPES else "Image"
    features = datasets.Features({"x": getattr(datasets, kind)()})
    table = pa.table({"x": pa.array([{"bytes": None, "path": path}], STORAGE)}, schema=features.arrow_schema)
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    files = {"data/train-0.parquet": parquet.getvalue()}
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", files))
    desk.publisher()
    with pytest.raises(Exception, match="did not come with the dataset"):
        hf_localize.download_dataset(NAME)
    with hf_localize.installed():
        datasets.load_dataset(NAME)
    assert hf_localize.list_local_datasets() == []
    assert desk.bucket_keys() == []


def test_videos_inside_an_archive_are_kept_with_their_bytes(
    hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    files = folder_of("mp4", tmp_path / "published")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"train/{name}", data)
    hub.add(make_repository(tmp_path / "repositories", NAME, "main", {"data.zip": packed.getvalue()}))
    desk.publisher()
    hf_localize.download_dataset(NAME)
    (values,) = stored(desk.store / DatasetRef(NAME).folders[0]).values()
    assert sorted(value["bytes"] for value in values) == sorted(files.values())


def test_large_values_are_not_gathered_in_memory_and_keep_their_order(desk: Desk, tmp_path: Path) -> None:
    """Rows whose files are read are written as soon as they have some tens of megabytes."""
    if "Video" not in TYPES:
        pytest.skip("images are embedded by datasets itself")
    desk.publisher()
    paths = [tmp_path / f"{n}.mp4" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]) * (20 << 20))
    made = dataset(datasets.Video(), [{"bytes": None, "path": str(path)} for path in paths])
    entry = hf_localize.register_dataset(made, NAME, skip_s3_upload=True).message_or_path
    columns = stored(entry)
    assert [(value["path"], value["bytes"][:1], len(value["bytes"])) for value in columns["x"]] == [
        (f"{n}.mp4", bytes([n]), 20 << 20) for n in range(5)
    ]
    assert columns["n"] == list(range(5))
