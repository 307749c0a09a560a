"""Manifests and Arrow files that lie: each is right, or corrupt from its source, and the next source is asked."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from click.testing import CliRunner

import hf_localize
from hf_localize import errors
from hf_localize.cli import main
from hf_localize.format.manifest_json import manifest_bytes, read_manifest
from hf_localize.format.refs import MANIFEST_NAME, DatasetRef
from hf_localize.format.zip.writer import PackedZip
from hf_localize.sources.session import current_session
from hf_localize.store.entry import LocalEntry
from tests.commands.test_cli_output import _own_logger  # noqa: F401  # A fixture that is used.
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL
from tests.faults.test_hostile import ZIP_KEY, put_public

NAME = "org/x"
REF = DatasetRef(NAME)
TRUTH = {"train": [{"n": n, "text": f"row {n}"} for n in range(10)], "test": [{"n": 7, "text": "é"}]}
Document = dict[str, Any]


def at(*path: str | int, to: object) -> Callable[[Document], None]:
    """Return what sets a place in a manifest to a value."""

    def lie(document: Document) -> None:
        place: Any = document
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return lie


def without(*path: str | int) -> Callable[[Document], None]:
    def lie(document: Document) -> None:
        place: Any = document
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]

    return lie


def twice(document: Document) -> None:
    document["splits"][0]["shards"][1] = document["splits"][0]["shards"][0]


def deep(levels: int, inner: object = 1) -> object:
    for _ in range(levels):
        inner = {"a": inner}
    return inner


TRAIN: tuple[str | int, ...] = ("splits", 0)
SHARD = (*TRAIN, "shards", 0)
ODD: dict[str, object] = {
    "null": None, "a number": 5, "a text": "x", "a list": [1], "an object": {"a": 1}, "true": True
}  # fmt: skip
#: Values in the place of each field.
LIES: dict[str, Callable[[Document], None]] = {
    f"{name} is {what}": at(name, to=value)
    for name in (
        *("format_version", "dataset_id", "config_name", "revision", "canonical_id", "resolved_config"),
        *("is_default_config", "commit", "repository_configs", "repository_default_config", "origin"),
        *("created", "written_by", "license", "gated", "splits", "features", "info", "files"),
    )
    for what, value in ODD.items()
}
LIES |= {
    f"{' '.join(map(str, path))} is {what}": at(*path, to=value)
    for path in (
        *((*TRAIN, "name"), (*TRAIN, "rows"), (*TRAIN, "size_bytes"), (*TRAIN, "shards"), TRAIN, SHARD),
        *((*TRAIN, "original_shard_rows"), (*SHARD, "path"), (*SHARD, "rows"), (*SHARD, "seek_points")),
        *(("files", 0), ("files", 0, "path"), ("files", 0, "size_bytes"), ("files", 0, "sha256")),
        *(("features", "n"), ("features", "n", "_type"), ("features", "n", "dtype")),
        *(("info", name) for name in ("version", "builder_name", "download_size", "supervised_keys")),
        *(("info", name) for name in ("config_name", "dataset_name", "size_in_bytes", "description")),
    )
    for what, value in ODD.items()
}
LIES |= {
    f"{' '.join(map(str, path))} is {value}": at(*path, to=value)
    for path in ((*TRAIN, "rows"), (*TRAIN, "size_bytes"), (*SHARD, "rows"), ("files", 0, "size_bytes"))
    for value in (-1, 0, 1, 10**6, 1 << 62, 1 << 63, 10**300, 1.5)
}
LIES |= {
    f"features: {feature}": at("features", to={"n": feature, "text": {"_type": "Value", "dtype": "string"}})
    for feature in (
        *({"_type": "Value", "dtype": "string"}, {"_type": "Value", "dtype": "no such"}, {"_type": "Value"}),
        *({"_type": "ClassLabel", "names": 5}, {"_type": "ClassLabel", "num_classes": 10**9}, {}, [], [1, 2]),
        {"_type": "ClassLabel", "names_file": "/etc/passwd"},
        *({"_type": "Array2D", "shape": "x", "dtype": "int8"}, {"_type": "Array2D", "shape": [1 << 40, -1]}),
        {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "int8"}, "length": "x"},
        {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "int8"}, "length": 1 << 40},
        *({"_type": "Translation", "languages": 5}, {"_type": "Audio", "sampling_rate": "x"}),
        *({"_type": "Value", "dtype": "timestamp[xx]"}, {"_type": "Value", "dtype": "decimal128(999,5)"}),
        *({"_type": "Image"}, {"_type": "LargeList", "feature": 3}, {"_type": "Sequence"}),
    )
}
LIES |= {
    "no features": at("features", to={}),
    "a feature too many": at("features", "more", to={"_type": "Value", "dtype": "string"}),
    "a feature too few": without("features", "n"),
    "deep features": at("features", "n", to=deep(500)),
    "features at the limit": at("features", "n", to=deep(58)),
    "deep info": at("info", "a", to=deep(500)),
    "no checksum of a file": without("files", 0, "sha256"),
    "another checksum of a file": at("files", 0, "sha256", to="0" * 64),
    "a path twice": lambda document: document["files"].append(document["files"][0]),
    "a path that leads out": at("files", 0, "path", to="../../x"),
    "a shard that is no file": at(*SHARD, "path", to="no/such.arrow"),
    "a shard twice": twice,
    "a shard of no rows too many": lambda document: document["splits"][0]["shards"].append(
        {"path": "dataset_dict.json", "rows": 0}
    ),
    "a shard too few": without(*SHARD),
    "no shards": at(*TRAIN, "shards", to=[]),
    "rows of the shards the other way round": lambda document: (
        [
            shard.__setitem__("rows", rows)
            for shard, rows in zip(document["splits"][0]["shards"], (4, 6), strict=True)
        ]
        and None
    ),
    "a split twice": lambda document: document["splits"].append(document["splits"][0]),
    "a split that leads out": at(*TRAIN, "name", to="../x"),
    "a split of a slice": at(*TRAIN, "name", to="train[:10%]"),
    "seek points that are none": at(*SHARD, "seek_points", to="1:2:3"),
    "seek points of letters": at(*SHARD, "seek_points", to="a:b"),
    "negative seek points": at(*SHARD, "seek_points", to="0:-8"),
    "seek points out of reach": at(*SHARD, "seek_points", to="0:9999999999999999"),
    "seek points of 30 digits": at(*SHARD, "seek_points", to=f"{'9' * 30}:{'9' * 30}"),
    "seek points elsewhere": at(*SHARD, "seek_points", to="1:9"),
    "a version that leads out": at("info", "version", to="../../../x"),
    "a version that is an object": at("info", "version", to={"version_str": "../../x", "major": 0}),
    "a version that is one": at("info", "version", to={"version_str": "1.2.3", "major": 1}),
    "a config that no builder can have": at("repository_configs", to=["a<b>"]),
    "a config that leads out": at("resolved_config", to="../.."),
    "a future format": at("format_version", to=2),
    "half a letter": at("license", to="\ud800"),
}
SOURCES = ("local", "s3", "public")


#: All lies are tried in so many parts, which run at the same time.
PARTS = range(8) if IS_ALL else range(1)


def lies_of(source: str, part: int) -> list[tuple[str, Callable[[Document], None]]]:
    """Return the lies to try from a source; a sample, unless all faults are tried."""
    start, step = (part, len(PARTS)) if IS_ALL else (SOURCES.index(source), 60)
    return list(LIES.items())[start::step]


@dataclass
class Good:
    """What was published, and is the truth."""

    document: Document
    folder: Path
    mark: Document


@pytest.fixture
def good(desk: Desk, tmp_path: Path) -> Good:
    made = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in TRUTH.items()})
    made.save_to_disk(str(tmp_path / "saved"), num_shards={"train": 2, "test": 1})
    desk.publisher().open_public_places()
    hf_localize.register_dataset(tmp_path / "saved", NAME, make_public=True)
    entry = current_session().store.find(REF)
    assert isinstance(entry, LocalEntry)
    document = json.loads(manifest_bytes(entry.manifest))
    del document["checksum"]
    document |= {
        "repository_configs": ["default"],
        "repository_default_config": "default",
        "is_default_config": True,
        "resolved_config": "default",
        "info": {**document["info"], "version": "0.0.0"},
    }
    mark = {"folder": REF.folders[0], "elsewhere": {}, "generation": 0}
    good = Good(document, entry.folder, mark)
    put_mark(desk, good, document)
    share(desk, good, document)
    return good


def put_mark(desk: Desk, good: Good, document: Document) -> None:
    body = json.dumps({**document, **good.mark}).encode()
    desk.client().put_object(Bucket=desk.bucket, Key=REF.index_key, Body=body)


def share(desk: Desk, good: Good, document: Document) -> None:
    """Share the files with *document* as their manifest: packed by us where that can be, else by others."""
    data = json.dumps(document).encode()
    try:
        manifest = read_manifest(data, "m")
        zipped = b"".join(map(bytes, PackedZip(good.folder, manifest).pieces()))
        digest = manifest.digest
    except (errors.HfLocalizeError, OSError, ValueError, AssertionError):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
            for file in good.document["files"]:
                opened.write(good.folder / file["path"], file["path"])
            opened.writestr(MANIFEST_NAME, data)
        zipped, digest = sink.getvalue(), good.document["digest"]
    record = {"dataset_id": NAME, "config_name": None, "revision": None, "s3_zip_key": ZIP_KEY}
    record |= {"is_default_config": True, "resolved_config": "default"}
    record |= {"size_bytes": len(zipped), "tail_bytes": len(zipped), "digest": digest}
    put_public(desk, ZIP_KEY, zipped)
    put_public(
        desk, "public_datasets.json", json.dumps({"org/x---default_config---default_revision": record})
    )


def place(source: str, desk: Desk, good: Good, document: Document) -> None:
    """Have *source* say *document*, and give the other sources the truth; sit down at an empty machine."""
    put_mark(desk, good, document if source == "s3" else good.document)
    share(desk, good, document if source == "public" else good.document)
    desk.teammate()
    if source == "local":
        desk.set(HGLOC_SOURCES="s3")
        hf_localize.download_dataset(NAME, skip_s3_upload=True)
        (path,) = desk.store.glob(f"org_x/*/*/{MANIFEST_NAME}")
        path.write_text(json.dumps(document))


def rows_of(loaded: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: list(split) for name, split in loaded.items()}


def ask(what: str) -> object:
    """Call `datasets` as a user does; the answer is compared with the truth."""
    if what == "load":
        return rows_of(datasets.load_dataset(NAME))
    if what == "one split":
        return {**TRUTH, "test": list(datasets.load_dataset(NAME, split="test"))}
    if what == "stream":
        return rows_of(datasets.load_dataset(NAME, streaming=True))
    if what == "configs":
        assert datasets.get_dataset_config_names(NAME) == ["default"]
    elif what == "splits":
        assert datasets.get_dataset_split_names(NAME, "default") == list(TRUTH)
    else:
        (info,) = datasets.get_dataset_infos(NAME).values()
        assert set(info.splits) == set(TRUTH)
    return TRUTH


#: How the names of files begin that a stream finds damaged when it comes to them.
PATHS = ("train/", "test/", "dataset_dict.json")
ASKED = ("load", "one split", "stream", "configs", "splits", "infos")
CLI = (
    *(("info", NAME), ("explain", NAME), ("preview", NAME), ("verify",), ("verify", "--s3")),
    *(("verify", "--public"), ("list-local", "--long"), ("list-s3", "--long"), ("list-public", "--long")),
    *(("info", NAME, "--json"), ("list-local", "--json")),
)


def fresh(desk: Desk, number: list[int]) -> None:
    """Use a cache of `datasets` that has nothing, so that what was prepared of the truth hides no lie."""
    number[0] += 1
    desk.use_cache(str(desk.folder / f"cache-{number[0]}"))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_lie_is_right_or_corrupt_and_the_next_source_is_asked(
    source: str, part: int, desk: Desk, good: Good
) -> None:
    others = [name for name in SOURCES if name != source]
    raw: dict[str, object] = {}
    number = [0]
    for lie, make in lies_of(source, part):
        document = copy.deepcopy(good.document)
        make(document)
        for sources in ([source], [source, *others]):
            place(source, desk, good, document)
            desk.set(HGLOC_SOURCES=",".join(sources))
            for what in ASKED:
                fresh(desk, number)
                with hf_localize.installed():
                    try:
                        answer: object = ask(what)
                    except errors.UnsupportedFeatureError as exc:
                        answer = TRUTH if "_type is a text" in lie else exc
                    except (errors.IntegrityError, errors.NotAnswerableError) as exc:
                        is_late = what == "stream" and str(exc).startswith(PATHS)
                        answer = TRUTH if len(sources) == 1 or is_late else exc
                    except errors.DatasetNotFoundError as exc:
                        answer = TRUTH if len(sources) == 1 and lie in OTHER_NAMES else exc
                    except Exception as exc:
                        answer = exc
                if answer != TRUTH and lie not in HARMLESS.get(what, ()):
                    raw[f"{lie}: {what} from {sources}"] = answer
    assert not raw, "\n".join(f"{name}: {found!r:.300}" for name, found in raw.items())


#: What can't be known from outside: another name of a split.
HARMLESS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("load", "stream", "splits", "infos"), ("splits 0 name is a text",)
)
#: What is right, and not there, from a source that calls it by another name.
OTHER_NAMES = tuple(
    f"{name} is a text" for name in ("dataset_id", "config_name", "resolved_config", "revision")
)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("source", SOURCES)
def test_no_command_ends_in_an_error_of_another_library(
    source: str, part: int, desk: Desk, good: Good
) -> None:
    raw: dict[str, object] = {}
    for lie, make in lies_of(source, part):
        document = copy.deepcopy(good.document)
        make(document)
        place(source, desk, good, document)
        desk.set(HGLOC_SOURCES=source)
        for command in CLI:
            ran = CliRunner().invoke(main, command)
            if not isinstance(ran.exception, (SystemExit, type(None))):
                raw[f"{lie}: {' '.join(command)}"] = ran.exception
            elif ran.exit_code == 1 and "damaged" not in ran.output and "_type is a text" not in lie:
                raw[f"{lie}: {' '.join(command)}"] = ran.output
    assert not raw, "\n".join(f"{name}: {found!r:.300}" for name, found in raw.items())


# --- Arrow files that are not what their manifest says ---


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=1000)
    return sink.getvalue()


def with_features(features: object) -> bytes:
    return with_metadata(json.dumps({"info": {"features": features}}))


def with_metadata(metadata: str) -> bytes:
    return stream_of(TABLE.replace_schema_metadata({"huggingface": metadata}))


def damaged(offset: int, value: int = 0xFF) -> Callable[[], bytes]:
    def made() -> bytes:
        data = bytearray(with_features({}))
        data[offset] = value
        return bytes(data)

    return made


#: The rows of the first shard.
TABLE = pa.Table.from_pylist(TRUTH["train"][:5])
SHARDS: dict[str, Callable[[], bytes]] = {
    "other types": lambda: stream_of(TABLE.set_column(0, "n", pa.array([str(n) for n in range(5)]))),
    "other columns": lambda: stream_of(TABLE.rename_columns(["m", "text"])),
    "a column too few": lambda: stream_of(TABLE.select(["n"])),
    "a column too many": lambda: stream_of(TABLE.append_column("more", pa.array(range(5)))),
    "fewer rows": lambda: stream_of(TABLE.slice(0, 4)),
    "more rows": lambda: stream_of(pa.concat_tables([TABLE, TABLE])),
    "no rows": lambda: stream_of(TABLE.slice(0, 0)),
    "compressed": lambda: stream_of(TABLE, compression="zstd"),
    "compressed by lz4": lambda: stream_of(TABLE, compression="lz4"),
    "metadata that is no JSON": lambda: stream_of(TABLE.replace_schema_metadata({"huggingface": "{"})),
    "metadata without features": lambda: stream_of(TABLE.replace_schema_metadata({"huggingface": "[3]"})),
    "features that are none": lambda: with_features({"n": 3}),
    "features without a type": lambda: with_features({"n": {"_type": "Value"}}),
    "deep features": lambda: with_metadata(
        '{"info": {"features": {"n": ' + '{"a": ' * 3000 + "1" + "}" * 3000 + "}}}"
    ),
    "not Arrow": lambda: b"x" * 1000,
    "nothing": lambda: b"",
    "half of it": lambda: stream_of(TABLE)[:500],
    "an Arrow file, no stream": lambda: b"ARROW1\0\0" + stream_of(TABLE),
    **{f"a wrong byte at {at}": damaged(at) for at in (0, 5, 8, 12, 30, 60, 100, 200, 400)},
    **{f"no byte at {at}": damaged(at, 0) for at in (4, 8, 24, 40, 80, 160, 320)},
}


@pytest.mark.parametrize("source", ["s3", "public"])
def test_a_shard_that_is_not_what_its_manifest_says_is_corrupt(source: str, desk: Desk, good: Good) -> None:
    """Its sha256 is right: whoever wrote the file wrote the manifest too."""
    raw: dict[str, object] = {}
    number = [0]
    path = good.document["splits"][0]["shards"][0]["path"]
    assert good.document["splits"][0]["shards"][0]["rows"] == TABLE.num_rows
    truth = (good.folder / path).read_bytes()
    kinds = list(SHARDS) if IS_ALL else list(SHARDS)[("s3", "public").index(source) :: 12]
    for kind in kinds:
        data = SHARDS[kind]()
        document = copy.deepcopy(good.document)
        for file in document["files"]:
            if file["path"] == path:
                file |= {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        document.pop("digest", None)
        (good.folder / path).write_bytes(data)
        for what in ("load", "stream"):
            for sources in ([source], [source, "s3" if source == "public" else "public"]):
                (good.folder / path).write_bytes(data)
                place(source, desk, good, document)
                desk.client().put_object(Bucket=desk.bucket, Key=f"{REF.folders[0]}/{path}", Body=data)
                if source == "public":
                    desk.client().put_object(Bucket=desk.bucket, Key=f"{REF.folders[0]}/{path}", Body=truth)
                else:
                    (good.folder / path).write_bytes(truth)
                    share(desk, good, good.document)
                desk.set(HGLOC_SOURCES=",".join(sources))
                fresh(desk, number)
                with hf_localize.installed():
                    try:
                        answer: object = ask(what)
                    except errors.IntegrityError as exc:
                        answer = TRUTH if len(sources) == 1 or what == "stream" else exc
                    except Exception as exc:
                        answer = exc
                if answer != TRUTH and not is_streamed_as_it_is(what, kind):
                    raw[f"{kind}: {what} from {sources}"] = answer
    assert not raw, "\n".join(f"{name}: {found!r:.300}" for name, found in raw.items())


def is_streamed_as_it_is(what: str, kind: str) -> bool:
    """Tell whether a stream gives the rows that the file has, since it is not counted before."""
    return what == "stream" and kind in ("fewer rows", "more rows", "no rows")


def test_a_feature_of_a_newer_release_is_not_corrupt(desk: Desk, good: Good) -> None:
    document = copy.deepcopy(good.document)
    document["features"]["n"] = {"_type": "FromTheFuture"}
    for sources in (("s3",), ("public",), ("s3", "public")):
        desk.teammate()
        put_mark(desk, good, document)
        share(desk, good, document)
        desk.set(HGLOC_SOURCES=",".join(sources))
        with hf_localize.installed(), pytest.raises(errors.UnsupportedFeatureError, match="FromTheFuture"):
            datasets.load_dataset(NAME)


def test_a_lying_copy_in_the_store_is_replaced_by_what_the_next_source_has(desk: Desk, good: Good) -> None:
    document = copy.deepcopy(good.document)
    document["splits"][0]["rows"], document["splits"][0]["shards"][0]["rows"] = 9, 4
    place("local", desk, good, document)
    desk.set(HGLOC_SOURCES="local,s3")
    with hf_localize.installed():
        assert ask("load") == TRUTH
        desk.set(HGLOC_SOURCES="local")
        desk.use_cache(str(desk.folder / "another-cache"))
        assert ask("load") == TRUTH
