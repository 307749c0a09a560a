"""One column for each feature type of `datasets`, with the versions that have it."""

from __future__ import annotations

import datetime as dt
import decimal
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa
from datasets import Array2D, Array3D, Array4D, Array5D, Audio, ClassLabel, Image, Sequence, Value

from hf_localize.format.features import has_media, types_in

INSTALLED = tuple(int(part) for part in datasets.__version__.split(".")[:2])


@dataclass(frozen=True)
class Column:
    """Two rows of a feature type; ``since`` is the first minor version of `datasets` with it."""

    feature: Callable[[], Any]
    rows: tuple[Any, Any]
    since: tuple[int, int] = (2, 21)


def _cube(dimensions: int) -> list[Any]:
    return 7 if dimensions == 0 else [_cube(dimensions - 1)] * 2


def _png() -> bytes:
    import PIL.Image

    sink = io.BytesIO()
    PIL.Image.new("RGB", (3, 2), (1, 2, 3)).save(sink, "PNG")
    return sink.getvalue()


def _file(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


_NOW = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
_SCALARS: dict[str, tuple[Any, Any]] = {
    "bool": (True, None),
    **{f"{sign}int{bits}": (1, 100) for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": (0.5, None) for bits in (16, 32, 64)},
    "string": ("é", None),
    "large_string": ("é", ""),
    "binary": (b"\x00\xff", b""),
    "large_binary": (b"\x00\xff", None),
    "date32": (dt.date(2024, 2, 29), None),
    "date64": (dt.date(2024, 2, 29), None),
    "time32[s]": (dt.time(1, 2, 3), None),
    "time32[ms]": (dt.time(1, 2, 3), None),
    "time64[us]": (dt.time(1, 2, 3, 4), None),
    "timestamp[s]": (_NOW.replace(microsecond=0), None),
    "timestamp[us]": (_NOW, None),
    "timestamp[us, tz=UTC]": (_NOW.replace(tzinfo=dt.timezone.utc), None),
    "duration[us]": (dt.timedelta(days=1, microseconds=5), None),
    "decimal128(10, 2)": (decimal.Decimal("1234.50"), None),
    "decimal256(40, 3)": (decimal.Decimal("-0.125"), None),
}
STRUCT = {"q": Value("string"), "n": Value("int32")}
_QN = ({"q": "?", "n": 1}, {"q": "!", "n": 2})
_ARRAYS = {2: Array2D, 3: Array3D, 4: Array4D, 5: Array5D}


def _array(dimensions: int, kind: Any) -> Column:
    return Column(lambda: kind(shape=(2,) * dimensions, dtype="int32"), (_cube(dimensions),) * 2)


def _newer(name: str, **arguments: Any) -> Callable[[], Any]:
    return lambda: getattr(datasets, name)(**arguments)


_ALL: dict[str, Column] = {
    **{f"value {dtype}": Column(lambda dtype=dtype: Value(dtype), rows) for dtype, rows in _SCALARS.items()},
    "class label": Column(lambda: ClassLabel(names=["no", "yes"]), (1, 0)),
    "struct": Column(
        lambda: {"a": Value("int8"), "b": {"c": Value("string")}}, ({"a": 1, "b": {"c": "x"}},) * 2
    ),
    "feature": Column(
        lambda: {"feature": Value("int8"), "length": Value("int8")}, ({"feature": 1, "length": 2},) * 2
    ),
    "sequence": Column(lambda: Sequence(Value("int64")), ([1, 2, 3], [])),
    "sequence of 2": Column(lambda: Sequence(Value("int64"), length=2), ([1, 2], [3, 4])),
    "sequence of lists": Column(lambda: Sequence(Sequence(Value("string"))), ([["a"], []], [])),
    "sequence of labels": Column(lambda: Sequence(ClassLabel(names=["o", "b"])), ([0, 1], [])),
    "sequence of images": Column(lambda: Sequence(Image(decode=False)), ([_file(_png())], [])),
    "struct of lists": Column(lambda: Sequence(STRUCT), ({"q": ["?"], "n": [1]}, {"q": [], "n": []})),
    "list of struct": Column(lambda: [STRUCT], (list(_QN), [])),
    "struct of list of struct": Column(
        lambda: {"deep": [{"turns": [STRUCT]}]}, ({"deep": [{"turns": list(_QN)}]},) * 2
    ),
    **{f"array {n}d": _array(n, kind) for n, kind in _ARRAYS.items()},
    "array of any length": Column(
        lambda: Array2D(shape=(None, 2), dtype="float32"), ([[1.0, 2.0]], [[3.0, 4.0]] * 2)
    ),
    "translation": Column(
        lambda: datasets.Translation(languages=["de", "en"]), ({"de": "ja", "en": "yes"},) * 2
    ),
    "variable translation": Column(
        lambda: datasets.features.TranslationVariableLanguages(languages=["de", "en"]),
        ({"language": ["de", "en"], "translation": ["ja", "yes"]},) * 2,
    ),
    "image": Column(lambda: Image(decode=False), (_file(_png()), None)),
    "audio": Column(lambda: Audio(sampling_rate=16000, decode=False), (_file(b"RIFF"), None)),
    "large list": Column(lambda: datasets.LargeList(Value("int16")), ([1, 2], [])),
    "large list of struct": Column(lambda: datasets.LargeList(STRUCT), (list(_QN), [])),
    "video": Column(_newer("Video", decode=False), (_file(b"mp4"), None), (3, 1)),
    "pdf": Column(_newer("Pdf", decode=False), (_file(b"%PDF"), None), (3, 5)),
    "list of 2 structs": Column(lambda: datasets.List(STRUCT, length=2), (list(_QN),) * 2, (4, 0)),
    "nifti": Column(_newer("Nifti", decode=False), (_file(b"nii"), None), (4, 4)),
    "json": Column(_newer("Json"), ({"any": [1, "x"]}, "text"), (4, 7)),
    "mesh": Column(_newer("Mesh", decode=False), (_file(b"glTF"), None), (5, 0)),
    "bio sequence": Column(_newer("BioSequence", decode=False), (_file(b">a\nACGT"), None), (5, 1)),
    "bio structure": Column(_newer("BioStructure", decode=False), (_file(b"ATOM"), None), (5, 1)),
}


#: Parquet has coarser types for these, so stock gives others back.
NOT_IN_PARQUET = frozenset({"value date64", "value time32[s]", "value timestamp[s]"})


def columns(version: tuple[int, int], group: str) -> dict[str, Column]:
    """Return the columns that both *version* and the installed `datasets` have.

    Args:
        group: ``decoded`` or ``plain``: `datasets` 5.2 can't save a table with a translation and a
            type that it decodes.
    """
    return {
        name: column
        for name, column in _ALL.items()
        if column.since <= min(version, INSTALLED) and (group == "decoded") == _is_decoded(column)
    }


def _is_decoded(column: Column) -> bool:
    feature = datasets.Features({"x": column.feature()}).to_dict()
    return has_media(feature) or "Json" in types_in(feature)


def only_since(since: tuple[int, int]) -> dict[str, Column]:
    """Return the columns of types that came with *since*."""
    return {name: column for name, column in _ALL.items() if column.since == since}


def features(chosen: dict[str, Column]) -> datasets.Features:
    """Return the features of the chosen columns, as the installed `datasets` spells them."""
    return datasets.Features({name: column.feature() for name, column in chosen.items()})


def dataset(chosen: dict[str, Column]) -> datasets.Dataset:
    """Return the dataset of two rows with the chosen columns."""
    needed = features(chosen)
    # Encoding a sound takes an audio library, which reading an entry must not need.
    encoded = {**needed, "audio": {"bytes": Value("binary"), "path": Value("string")}}
    rows = {name: list(c.rows) for name, c in chosen.items()}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features({n: encoded[n] for n in needed})).data
    return datasets.Dataset(table.cast(needed.arrow_schema), info=datasets.DatasetInfo(features=needed))


def cells(table: pa.Table) -> dict[str, str]:
    """Return each column as text, by the storage of Arrow: no version's decoding comes in between."""
    return {name: repr(_storage(table.column(name)).to_pylist()) for name in table.column_names}


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column
