"""The first rows of an Arrow stream, read without the rest of it."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest

from hf_localize import errors
from hf_localize.catalog.peeking import first_rows

NESTED = pa.table(
    {
        "n": range(60),
        "image": [{"bytes": bytes([n]) * 9_000, "path": f"{n}.png"} for n in range(60)],
        "tags": [["a" * n, "b"] for n in range(60)],
        "flag": [n % 2 == 0 for n in range(60)],
        "pairs": pa.array([[("k", n)] for n in range(60)], pa.map_(pa.string(), pa.int64())),
        "fixed": pa.array([[n, n + 1] for n in range(60)], pa.list_(pa.int32(), 2)),
        "nothing": pa.nulls(60),
        "text": [None if n % 3 else "x" * n for n in range(60)],
        "deep": [[{"a": n, "b": ["z"] * n}] for n in range(60)],
    }
)


def arrow(table: pa.Table, rows: int = 60, **options: object) -> bytes:
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return made.getvalue()


def peek(data: bytes, count: int = 5, most_bytes: int = 1 << 20) -> list[tuple[object, ...]]:
    return list(first_rows(lambda: io.BytesIO(data), len(data), count, most_bytes).rows)


def test_fewer_rows_than_there_are_come_with_the_reason() -> None:
    empty = arrow(NESTED.slice(0, 0))
    many = io.BytesIO()
    with pa.ipc.new_stream(many, NESTED.schema) as writer:
        for _ in range(40):
            writer.write_batch(pa.RecordBatch.from_pylist([], NESTED.schema))
        writer.write_table(NESTED)
    for data, reason in (
        (arrow(NESTED), ""),
        (empty, ""),
        (many.getvalue(), "the others are not in the first 32 record batches"),
    ):
        assert first_rows(lambda data=data: io.BytesIO(data), len(data), 60, 1 << 20).reason == reason


@pytest.mark.parametrize("rows", [60, 7, 1])
def test_first_rows_are_those_that_arrow_reads(rows: int) -> None:
    needed = [tuple(row.values()) for row in NESTED.slice(0, 9).to_pylist()]
    assert peek(arrow(NESTED, rows), 9) == needed
    assert peek(arrow(NESTED.select(["text"]).combine_chunks(), rows), 9) == [(row[7],) for row in needed]


def test_of_rows_that_are_too_large_fewer_are_shown_or_columns_left_out() -> None:
    data = arrow(NESTED)
    found = first_rows(lambda: io.BytesIO(data), len(data), 5, 30_000)
    assert (len(found.rows), found.skipped) == (2, frozenset())
    assert found.reason == "the next row is too large to be shown here"
    found = first_rows(lambda: io.BytesIO(data), len(data), 5, 5_000)
    assert (found.rows[0][0], found.rows[0][1], found.skipped) == (0, None, frozenset({"image"}))


def test_a_stream_that_can_only_be_read_whole_is_read_if_it_is_small() -> None:
    words = pa.table({"word": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert peek(arrow(words)) == [("a",), ("b",), ("a",)]
    with pytest.raises(errors.IntegrityError, match="as a whole"):
        peek(arrow(words), most_bytes=10)
    with pytest.raises(errors.IntegrityError, match="compressed"):
        peek(arrow(NESTED, compression="lz4"))


def test_damaged_streams_are_refused_and_harm_nobody() -> None:
    data = arrow(NESTED.slice(0, 40), 40)
    end = data.index(b"\x01" * 100)  # Before the first large values: schema, metadata and offsets.
    refused = 0
    for position in [*range(0, end, 41), len(data) - 9]:
        for value in (0x00, 0x7F, 0xFF):
            damaged = data[:position] + bytes([value]) + data[position + 1 :]
            try:
                peek(damaged, 8, 200_000)
            except errors.IntegrityError:
                refused += 1
    assert refused > 20
    for length in range(0, len(data), len(data) // 20):
        with pytest.raises(errors.IntegrityError):
            peek(data[:length], 40)


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=1000)
    return sink.getvalue()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_catalog_does_not_inflate_record_batches(codec: str) -> None:
    data = stream_of(pa.table({"n": [0] * 1_000_000}), compression=codec)
    with pytest.raises(errors.IntegrityError, match="compressed"):
        first_rows(lambda: io.BytesIO(data), len(data), 3, 1 << 20)
    words = pa.table({"n": pa.array(["a"] * 1000).dictionary_encode()})
    with pytest.raises(errors.IntegrityError, match="compressed"):
        first_rows(lambda: io.BytesIO(stream_of(words, compression=codec)), 10_000, 3, 1 << 20)
