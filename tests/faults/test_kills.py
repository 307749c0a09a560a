"""Kill anywhere: whatever step a command is killed at, nobody sees anything torn, and it can go on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import datasets
import pytest

import hf_localize
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL
from tests.faults.killer import LATER, NAME, OTHER, Kind, Scenario, World, rows, save
from tests.faults.runner import Runner
from tests.rig.hub import LoopbackHub, make_repository

Prepare = Callable[[Desk, LoopbackHub], None]
#: Each scenario's points are shared out among so many tests, which may run at the same time.
PARTS = 2
SAMPLE = 3


def published(tag: str, *, is_public: bool = False) -> Prepare:
    def prepare(desk: Desk, hub: LoopbackHub) -> None:
        hf_localize.register_dataset(save(desk.folder / tag, tag), NAME, make_public=is_public)

    return prepare


def stored(tag: str, retired: Prepare | None = None) -> Prepare:
    def prepare(desk: Desk, hub: LoopbackHub) -> None:
        if retired is not None:
            retired(desk, hub)
        hf_localize.register_dataset(save(desk.folder / f"stored-{tag}", tag), NAME, skip_s3_upload=True)

    return prepare


def folder(tag: str, retired: Prepare | None = None) -> Prepare:
    def prepare(desk: Desk, hub: LoopbackHub) -> None:
        if retired is not None:
            retired(desk, hub)
        save(desk.folder / "data", tag)

    return prepare


def on_the_hub(tag: str) -> Prepare:
    def prepare(desk: Desk, hub: LoopbackHub) -> None:
        files = {
            f"data/{split}-{part}.jsonl": "".join(
                json.dumps({"text": text}) + "\n" for text in texts[part::2]
            )
            for split, texts in rows(tag).items()
            for part in range(2)
        }
        hub.add(
            make_repository(desk.folder / "hub", HUB_NAME, "main", {n: t.encode() for n, t in files.items()})
        )
        hub.add(make_repository(desk.folder / "later", LATER, "main", {"rows.csv": b"n\n1\n"}))

    return prepare


def large(desk: Desk, hub: LoopbackHub) -> None:
    """Store a dataset with one shard that moves in three parts."""
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": LARGE["train"]})})
    hf_localize.register_dataset(made, NAME, skip_s3_upload=True)


def large_in_the_bucket(desk: Desk, hub: LoopbackHub) -> None:
    large(desk, hub)
    hf_localize.sync_local_dataset_to_s3(NAME)


HUB_NAME = "hub/x"
_noise = random.Random(1)
LARGE = {"train": [_noise.randbytes(1 << 20) for _ in range(20)]}
FROM_HUB = {split: [*texts[0::2], *texts[1::2]] for split, texts in rows("new").items()}
OLD, NEW = rows("old"), rows("new")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "fetch from the bucket",
            "teammate",
            ("download", NAME, "--no-s3-upload"),
            published("new"),
            before={"local": None, "s3": NEW},
            after={"local": NEW, "s3": NEW},
            kinds=("requests", "changes"),
        ),
        Scenario(
            "fetch from a public ZIP",
            "outsider",
            ("download", NAME),
            published("new", is_public=True),
            before={"local": None, "public": NEW},
            after={"local": NEW, "public": NEW},
            kinds=("requests", "changes"),
        ),
        Scenario(
            "upload",
            "publisher",
            ("sync-local-to-s3", NAME),
            stored("new"),
            before={"local": NEW, "s3": None},
            after={"local": NEW, "s3": NEW},
        ),
        Scenario(
            "upload in place of other content",
            "publisher",
            ("sync-local-to-s3", NAME),
            stored("new", published("old")),
            before={"local": NEW, "s3": OLD},
            after={"local": NEW, "s3": NEW},
        ),
        Scenario(
            "make public",
            "publisher",
            ("sync-local-to-s3", NAME, "--make-public"),
            published("new"),
            before={"local": NEW, "s3": NEW, "public": None},
            after={"local": NEW, "s3": NEW, "public": NEW},
        ),
        Scenario(
            "make public in place of other content",
            "publisher",
            ("sync-local-to-s3", NAME, "--make-public"),
            stored("new", published("old", is_public=True)),
            before={"local": NEW, "s3": OLD, "public": OLD},
            after={"local": NEW, "s3": NEW, "public": NEW},
        ),
        Scenario(
            "register",
            "publisher",
            ("register", "{folder}/data", NAME),
            folder("new"),
            before={"local": None, "s3": None},
            after={"local": NEW, "s3": NEW},
            kinds=("requests", "changes"),
        ),
        Scenario(
            "register in place of other content",
            "publisher",
            ("register", "{folder}/data", NAME),
            folder("new", published("old")),
            before={"local": OLD, "s3": OLD},
            after={"local": NEW, "s3": NEW},
            kinds=("requests", "changes"),
        ),
        Scenario(
            "capture from the Hub",
            "outsider",
            ("download", HUB_NAME, "--no-s3-upload"),
            on_the_hub("new"),
            before={"local": None},
            after={"local": FROM_HUB},
            kinds=("requests", "changes"),
            dataset_id=HUB_NAME,
        ),
        Scenario(
            "remove from the store",
            "publisher",
            ("remove", NAME, "--yes"),
            published("new"),
            before={"local": NEW, "s3": NEW},
            after={"local": None, "s3": NEW},
            kinds=("changes",),
            again=(0, 3),
        ),
        Scenario(
            "remove from the bucket",
            "publisher",
            ("remove", NAME, "--s3", "--yes"),
            published("new"),
            before={"local": NEW, "s3": NEW},
            after={"local": NEW, "s3": None},
            again=(0, 3),
        ),
        Scenario(
            "withdraw",
            "publisher",
            ("withdraw", NAME, "--yes"),
            published("new", is_public=True),
            before={"local": NEW, "s3": NEW, "public": NEW},
            after={"local": NEW, "s3": NEW, "public": None},
            again=(0, 3),
        ),
        Scenario(
            "prune",
            "publisher",
            ("prune", "--older-than", "1d", "--keep", OTHER),
            published("new"),
            before={"local": NEW, "s3": NEW},
            after={"local": None, "s3": NEW},
            kinds=("changes",),
            is_old=True,
        ),
        Scenario(
            "upload a large file",
            "publisher",
            ("sync-local-to-s3", NAME),
            large,
            before={"local": LARGE, "s3": None},
            after={"local": LARGE, "s3": LARGE},
            stride=2,
        ),
        Scenario(
            "make a large file public",
            "publisher",
            ("sync-local-to-s3", NAME, "--make-public"),
            large_in_the_bucket,
            before={"local": LARGE, "public": None},
            after={"local": LARGE, "public": LARGE},
            stride=2,
        ),
        Scenario(
            "fetch a large file",
            "teammate",
            ("download", NAME, "--no-s3-upload"),
            large_in_the_bucket,
            before={"local": None},
            after={"local": LARGE},
        ),
    )
}


#: Scenario, kinds of steps, and which part of them; in the sample all kinds at once, of what is fast.
CASES: list[tuple[str, tuple[Kind, ...], int]] = (
    [(s.name, (kind,), part) for s in SCENARIOS.values() for kind in s.kinds for part in range(PARTS)]
    if IS_ALL
    else [(s.name, s.kinds, 0) for s in SCENARIOS.values() if s.stride == 1]
)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "kinds", "part"), CASES)
def test_a_kill_at_any_step_tears_nothing_and_is_recovered_from(
    name: str,
    kinds: tuple[Kind, ...],
    part: int,
    desk: Desk,
    runner: Runner,
    hub: LoopbackHub,
    record_property: Callable[[str, object], None],
) -> None:
    world = World(SCENARIOS[name], desk, runner, hub)
    for kind in kinds:
        steps = world.steps(kind)
        assert steps > 3
        needed = range(1 + part * SCENARIOS[name].stride, steps + 1, PARTS * SCENARIOS[name].stride)
        if not IS_ALL:
            needed = range(steps // 3, steps + 1, max(1, steps // SAMPLE))
        killed = sum(world.check_kill(kind, step) for step in needed)
        record_property(f"points {name}, {kind}", killed)
        assert killed > 0
