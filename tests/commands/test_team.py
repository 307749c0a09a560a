"""Two people and a bucket: one publishes new versions, the other has older copies that were fetched from there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import datasets
import pytest

import hf_localize
from tests.commands.test_cli_output import _own_logger, run  # noqa: F401  # A fixture that is used.
from tests.commands.test_locking import rows
from tests.conftest import Desk

ID = "team/tables"
#: A teammate without the Hub.
NO_HUB = "local,s3"


class Team:
    """Ada, who has published, and Ben, whose copy was fetched. Both may write to the bucket."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.publisher()
        self._ada = desk.store
        hf_localize.register_dataset(rows("old"), ID)
        desk.publisher()
        self._ben = desk.store
        hf_localize.download_dataset(ID)

    def ada(self) -> None:
        self.desk.set(HGLOC_DATASETS_STORE_PATH=str(self._ada), HGLOC_SOURCES="")

    def ben(self, sources: str = NO_HUB) -> None:
        self.desk.set(HGLOC_DATASETS_STORE_PATH=str(self._ben), HGLOC_SOURCES=sources)

    def publish(self, *values: str, revision: str | None = None) -> None:
        """Have Ada publish other content; afterwards, it is Ben who sits there."""
        self.ada()
        hf_localize.register_dataset(rows(*values), ID, revision=revision)
        self.ben()

    def withdraw(self) -> None:
        self.ada()
        hf_localize.remove_dataset(ID, s3=True)
        self.ben()

    def in_bucket(self) -> list[str]:
        with hf_localize.installed(sources=("s3",)):
            return list(datasets.load_dataset(ID, split="train", streaming=True).take(9))  # type: ignore[arg-type]


@pytest.fixture
def team(desk: Desk) -> Iterator[Team]:
    return Team(desk)


def test_a_copy_that_was_fetched_does_not_replace_what_the_bucket_has_now(team: Team) -> None:
    team.publish("new")
    for command in (
        ["push", ID],
        ["push", "--all"],
        ["push", "--all", "--dry-run"],
        ["push", ID, "--dry-run"],
    ):
        ran = run(*command)
        assert ran.exit_code == 6, (command, ran.output)
        assert f"hg-localize pull {ID} --update" in ran.stderr
        assert f"hg-localize sync-local-to-s3 {ID} --force" in ran.stderr
        assert team.in_bucket() == [{"text": "new"}]
    downloaded = run("download", ID)
    assert downloaded.exit_code == 6
    assert downloaded.stderr.index("pull") < downloaded.stderr.index("--force")
    assert json.loads(run("push", "--all", "--dry-run", "--json").stdout)[0]["error_kind"] == "conflict"
    assert run("push", ID, "--dry-run", "--force").exit_code == 0
    assert run("push", ID, "--force").exit_code == 0
    assert team.in_bucket() == [{"text": "old"}]


def test_what_a_person_has_made_replaces_what_the_bucket_has(team: Team) -> None:
    team.publish("new")
    hf_localize.register_dataset(rows("old"), ID, skip_s3_upload=True)  # The same content as was fetched.
    assert run("push", "--all").exit_code == 0
    assert team.in_bucket() == [{"text": "old"}]


def test_what_was_removed_from_the_bucket_is_not_uploaded_with_all_others(team: Team) -> None:
    hf_localize.register_dataset(rows("mine"), "ben/own", skip_s3_upload=True)
    team.withdraw()
    planned = run("push", "--all", "--dry-run")
    assert f"{ID} was not uploaded" in planned.stderr
    ran = run("push", "--all")
    assert ran.exit_code == 0, ran.output
    assert f"{ID} was not uploaded" in ran.stdout
    listed = [item["dataset_id"] for item in json.loads(run("list-s3", "--json").stdout)]
    assert listed == ["ben/own"]
    assert run("push", "--all", "--force").exit_code == 0
    assert team.in_bucket() == [{"text": "old"}]
