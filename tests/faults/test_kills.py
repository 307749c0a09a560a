"""Kill anywhere: whatever step a command is killed at, nobody sees anything torn, and it can go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import hf_localize
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL
from tests.faults.killer import NAME, Kind, Scenario, World, rows, save
from tests.faults.runner import Runner
from tests.rig.hub import LoopbackHub

#: Each scenario's points are shared out among so many tests, which may run at the same time.
PARTS = 2
SAMPLE = 4


def published(tag: str, *, is_public: bool = False) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        hf_localize.register_dataset(save(desk.folder / tag, tag), NAME, make_public=is_public)

    return prepare


def stored(tag: str, former: Callable[[Desk], None] | None = None) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        if former is not None:
            former(desk)
        hf_localize.register_dataset(save(desk.folder / f"stored-{tag}", tag), NAME, skip_s3_upload=True)

    return prepare


def folder(tag: str, former: Callable[[Desk], None] | None = None) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        if former is not None:
            former(desk)
        save(desk.folder / "data", tag)

    return prepare


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
    )
}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("name", "kind"), [(s.name, kind) for s in SCENARIOS.values() for kind in s.kinds])
def test_a_kill_at_any_step_tears_nothing_and_is_recovered_from(
    name: str,
    kind: Kind,
    part: int,
    desk: Desk,
    runner: Runner,
    hub: LoopbackHub,
    record_property: Callable[[str, object], None],
) -> None:
    world = World(SCENARIOS[name], desk, runner, hub)
    steps = world.steps(kind)
    assert steps > 3
    wanted = range(1, steps + 1)
    if not IS_ALL:
        wanted = range(1 + part, steps + 1, max(1, steps // SAMPLE))
    killed = sum(world.check_kill(kind, step) for step in list(wanted)[part % PARTS :: PARTS])
    record_property(f"points {name}, {kind}", killed)
    assert killed > 0
