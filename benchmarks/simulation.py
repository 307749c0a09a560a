"""1,000 nodes that fetch from one bucket at once, simulated: `python -m benchmarks.simulation`.

Each node runs the worker pool of a fetch (:class:`Concurrency`) and pauses as :func:`retrying` does. The
bucket answers so many requests a second, and refuses the others with 503. S3 documents 5,500 reads a second
for a prefix, and that it divides a busy prefix gradually:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html. Here it can do twice as
many after each five minutes in which it refused some. Writes its table into docs/performance.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import ROOT
from hf_localize.transfer.concurrency import Concurrency
from tests.loads.fidelity.report import put_between

NODES, RACK = 1_000, 32
#: What each node fetches and how fast its network is; when a request's first byte comes, and at what rate the
#: others follow.
NODE_BYTES, NETWORK, FIRST_BYTE_SECONDS, REQUEST_RATE = 100e9, 1.25e9, 0.03, 90e6
PREFIX_REQUESTS, DIVIDES_AFTER_SECONDS = 5_500, 300
_START, _MOST = 8, 64
_STEP, _JUDGE_STEPS = 0.05, 5
_IDLE, _FETCHING, _PAUSED = 0, 1, 2
_PAGE = ROOT / "docs" / "performance.md"
_HEAD = (
    "| who fetches | from the bucket | requests | refused | most refusals of one part | fetched after "
    "| all have it after |"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds until the last node is done; requests answered and refused; the worst refusals of one part."""

    seconds: float
    answered: int
    refused: int
    most_tries: int
    longest_wait: float


def simulate(nodes: int, part_bytes: float) -> Outcome:
    """Let *nodes* fetch all of theirs in parts, each of one request."""
    random = np.random.default_rng(0)
    pools = [Concurrency(_START, _MOST) for _ in range(nodes)]
    limit = np.full(nodes, _START)
    state = np.zeros((nodes, _MOST), dtype=np.int8)
    until = np.zeros((nodes, _MOST))
    tries = np.zeros((nodes, _MOST), dtype=np.int64)
    since = np.zeros((nodes, _MOST))
    left = np.full(nodes, math.ceil(NODE_BYTES / part_bytes))
    pace, moved = np.zeros((nodes, _MOST)), np.zeros(nodes)
    quiet_until = np.zeros(nodes)
    capacity, busy_seconds, credit = float(PREFIX_REQUESTS), 0.0, 0.0
    now, step, answered, refused, most_tries, longest = 0.0, 0, 0, 0, 0, 0.0
    columns = np.arange(_MOST)
    while (left > 0).any() or (state == _FETCHING).any():
        now, step = now + _STEP, step + 1
        done = (state == _FETCHING) & (until <= now)
        moved += (pace * (state == _FETCHING)).sum(axis=1) * _STEP
        state[done | ((state == _PAUSED) & (until <= now))] = _IDLE
        tries[done] = 0
        # A worker that was refused asks again for its part; others take a new one, if they may.
        again = (state == _IDLE) & (tries > 0)
        fresh = (state == _IDLE) & (tries == 0) & (columns < limit[:, None])
        fresh &= np.cumsum(fresh, axis=1) <= left[:, None]
        left -= fresh.sum(axis=1)
        since[fresh] = now
        row, column = np.nonzero(again | fresh)
        credit = min(credit, capacity * _STEP) + capacity * _STEP
        order = random.permutation(len(row))
        taken, turned_away = order[: int(credit)], order[int(credit) :]
        credit -= len(taken)
        answered, refused = answered + len(taken), refused + len(turned_away)
        state[row[taken], column[taken]] = _FETCHING
        share = NETWORK / np.maximum(1, (state == _FETCHING).sum(axis=1))
        rate = np.minimum(REQUEST_RATE, share)[row[taken]]
        seconds = FIRST_BYTE_SECONDS + part_bytes / rate
        until[row[taken], column[taken]] = now + seconds
        pace[row[taken], column[taken]] = part_bytes / seconds
        where = row[turned_away], column[turned_away]
        tries[where] += 1
        state[where] = _PAUSED
        until[where] = now + random.uniform(0.1, 0.3, len(turned_away)) * 2.0 ** np.minimum(tries[where], 4)
        if len(turned_away):
            most_tries = max(most_tries, int(tries[where].max()))
            longest = max(longest, float((now - since[where]).max()))
        for node in row[turned_away]:
            pools[node].slow_down()
            limit[node], quiet_until[node], moved[node] = pools[node].limit, now + 1, 0
        if step % _JUDGE_STEPS == 0:
            for node in np.nonzero((left > 0) & (quiet_until <= now))[0]:
                pools[node].judge(moved[node] / (_STEP * _JUDGE_STEPS))
                limit[node], moved[node] = pools[node].limit, 0
        busy_seconds += _STEP * bool(len(turned_away))
        if busy_seconds >= DIVIDES_AFTER_SECONDS:
            capacity, busy_seconds = 2 * capacity, 0.0
    return Outcome(now, answered, refused, most_tries, longest)


def main() -> None:
    """Simulate, print the table, and write it into the page."""
    racks = math.ceil(NODES / RACK)
    rows = []
    for what, nodes, part in (
        (f"{NODES:,} nodes, parts of 8 MiB", NODES, 8 << 20),
        (f"{NODES:,} nodes, parts of 64 MiB", NODES, 64 << 20),
        (f"one node of each rack of {RACK}, parts of 8 MiB", racks, 8 << 20),
    ):
        found = simulate(nodes, part)
        # In a rack, each that has the data serves one neighbor, so they double each time.
        served = 0.0 if nodes == NODES else math.ceil(math.log2(RACK)) * NODE_BYTES / NETWORK
        rows.append(
            f"| {what} | {nodes * NODE_BYTES / 1e12:.0f} TB | {found.answered / 1e6:.2f} M "
            f"| {found.refused / 1e6:.2f} M | {found.most_tries} in {found.longest_wait:.0f} s "
            f"| {found.seconds:,.0f} s | {found.seconds + served:,.0f} s |"
        )
        print(rows[-1], flush=True)
    put_between(_PAGE, "simulation", "\n".join([_HEAD, "|---" * 7 + "|", *rows, ""]))


if __name__ == "__main__":
    main()
