"""Over a link of 1 Gbit/s and 20 ms, where the processors are not the limit: `python -m benchmarks far`."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import public, streaming
from benchmarks.cases.moving import FEWER, LARGE, SMALL, Moved, in_words
from benchmarks.harness import Line, in_turns, ratio_line, timed_python
from benchmarks.harness.link import Link
from benchmarks.harness.made import TEXTS, make_entry
from benchmarks.harness.servers import BUCKET, Desk, seaweed_desk
from benchmarks.harness.workers import Worker
from hf_localize.format.refs import DatasetRef

SECTION = "far"
_link = functools.partial(Link, bytes_per_second=125e6, round_trip_seconds=0.02)
#: Number of shards, bytes of each: of what is fetched and uploaded, and of what is streamed.
MOVED = (FEWER[LARGE], SMALL)
STREAMED = ((200, 64 << 10), (32, 4 << 20), (4, 48 << 20))
#: The same Arrow files from the same server, by stock's own way of reading what is on the web.
_STOCK = """
import datasets
files = [{url!r} + f"/train/data-{{n:05d}}-of-{{{count}:05d}}.arrow" for n in range({count})]

def opened():
    global stream
    stream = datasets.load_dataset("arrow", data_files=files, split="train", streaming=True)
"""


def measure(folder: Path, runs: int) -> list[Line]:
    """Return the lines for fetches, uploads, public ZIPs and streams over such a link."""
    lines = []
    with seaweed_desk(folder) as near, _link(near.server.endpoint_url) as link:
        desk = replace(near, endpoint_url=link.url)
        for shape in MOVED:
            moved = Moved(desk, Desk(desk.server, folder / "publisher", link.url), shape)
            lines += moved.by_s5cmd(runs)
    with seaweed_desk(folder) as near, _link(near.server.endpoint_url) as link:
        lines += public.fetches(replace(near, endpoint_url=link.url), folder, runs)
    with seaweed_desk(folder) as near:
        lines += _streams(near, folder / "streams", runs)
    return [replace(line, section=SECTION) for line in lines]


def _streams(near: Desk, folder: Path, runs: int) -> list[Line]:
    publisher = Desk(near.server, folder / "publisher")
    for count, size in STREAMED:
        make_entry(publisher.store, _name(count), count, size, kind="text", like=TEXTS)
        code = streaming.PUBLISH.format(name=_name(count), public=False)
        timed_python(code, publisher.environment())
    with streaming.as_files(near, folder / "files") as served, _link(served) as link:
        return [_stream(near, link.url, count, size, runs) for count, size in STREAMED]


def _stream(near: Desk, url: str, count: int, size: int, runs: int) -> Line:
    env = {**near.environment(), "HGLOC_S3_ENDPOINT_URL": url}
    ours = Worker(streaming.OURS.format(name=_name(count)) + streaming.READ, env)
    place = f"{url}/{BUCKET}/{DatasetRef(_name(count)).folders[0]}"
    stock = Worker(_STOCK.format(url=place, count=count) + streaming.READ, env)
    with ours, stock:
        pairs = in_turns(
            functools.partial(streaming.reading, ours, "as Arrow tables"),
            functools.partial(streaming.reading, stock, "as Arrow tables"),
            runs,
        )
    what = f"stream of {in_words((count, size))} from the bucket, by stock's of the same files over HTTP"
    return ratio_line(SECTION, what, None, pairs, names=("ours", "stock"))


def _name(count: int) -> str:
    return f"made/of-{count}"
