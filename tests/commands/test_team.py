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
from tests.rig.hub import LoopbackHub

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


def stored() -> list[str]:
    with hf_localize.installed(sources=("local",)):
        return datasets.load_dataset(ID, split="train")["text"][:]  # type: ignore[no-any-return]


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


def test_what_was_removed_from_the_bucket_is_uploaded_again_with_a_warning_if_it_is_named(team: Team) -> None:
    team.withdraw()
    ran = run("push", ID)
    assert ran.exit_code == 0, ran.output
    assert f"{ID} was fetched from" in ran.stderr
    assert team.in_bucket() == [{"text": "old"}]
    assert "was fetched from" not in run("push", ID).stderr
    undo = ran.stderr.partition("hg-localize ")[2].split()
    assert run(*undo, "--yes").exit_code == 0
    assert "was fetched from" not in run("push", ID, "--force").stderr


def test_an_update_takes_what_the_bucket_has_now_and_asks_no_hub(team: Team, hub: LoopbackHub) -> None:
    hf_localize.download_dataset("openai/gsm8k", "main")
    team.publish("new")
    hub.clear()
    planned = run("pull", ID, "--update", "--dry-run", "--json")
    assert json.loads(planned.stdout)[0]["action"] == "fetch"
    ran = run("pull", ID, "--update")
    assert ran.exit_code == 0, ran.output
    assert stored() == ["new"]
    assert [item.state for item in hf_localize.diff_datasets(ID)] == ["same"]

    team.publish("newer")
    assert json.loads(run("pull", "--update", "--dry-run", "--json").stdout)[0]["dataset_id"] == ID
    ran = run("download", "--update")
    assert ran.exit_code == 0, ran.output
    assert (stored(), len(ran.stdout.splitlines())) == (["newer"], 1)
    assert run("download", "--update").stdout == ""
    outdated = run("outdated")
    assert "The Hub was not asked: HGLOC_SOURCES" in outdated.stderr
    assert "hg-localize diff" in outdated.stderr
    assert "can't be compared" not in run("status").stderr
    assert hub.requests == []


def test_an_update_leaves_alone_what_was_registered_here_unless_it_is_named(team: Team) -> None:
    hf_localize.register_dataset(rows("mine"), ID, skip_s3_upload=True)
    ran = run("pull", "--update")
    assert (ran.exit_code, ran.stdout) == (0, ""), ran.output
    assert f"hg-localize pull {ID} --update" in ran.stderr
    assert stored() == ["mine"]
    assert run("pull", ID, "--update").exit_code == 0
    assert stored() == ["old"]


def test_an_update_fails_if_the_bucket_is_out_of_reach_or_no_source_is_asked(team: Team) -> None:
    team.desk.set(HGLOC_S3_ENDPOINT_URL="http://127.0.0.1:9")
    for command in (["pull", ID, "--update"], ["pull", "--update"]):
        ran = run(*command)
        assert (ran.exit_code, "127.0.0.1:9" in ran.stderr) == (5, True), ran.output
    team.desk.set(HGLOC_SOURCES="local")
    ran = run("pull", ID, "--update")
    assert (ran.exit_code, "HGLOC_SOURCES" in ran.stderr) == (5, True), ran.output
    assert stored() == ["old"]


def test_an_update_without_the_hub_says_how_to_leave_it_out(team: Team, hub: LoopbackHub) -> None:
    team.ben("")
    hf_localize.download_dataset("openai/gsm8k", "main")
    hub.stop()
    for command in (["pull", "openai/gsm8k", "--name", "main", "--update"], ["outdated"]):
        ran = run(*command)
        assert ran.exit_code == 5
        assert "HGLOC_SOURCES=local,s3 hg-localize" in ran.stderr
    assert run("status").stderr.count("can't be compared") == 1


def test_what_was_removed_from_the_bucket_is_told_and_kept(team: Team) -> None:
    team.publish("v2", revision="v2")
    team.withdraw()
    removed = run("remove", ID, "--in", "s3", "--yes")
    assert (removed.exit_code, f"(it has {ID}@v2)" in removed.stderr) == (3, True), removed.output
    for command in ("diff", "status"):
        assert f"{ID} was fetched from the bucket, and has been removed there" in run(command, ID).stderr
        assert json.loads(run(command, "--json").stdout)[0]["was_removed"] is True
    ran = run("download", ID, "--update")
    assert (ran.exit_code, stored()) == (0, ["old"])
    assert f"{ID} was not uploaded" in ran.stderr
    assert [item.ref.revision for item in hf_localize.diff_datasets() if item.s3_digest] == ["v2"]
    hf_localize.remove_dataset(ID)
    for command in ("diff", "status"):
        ran = run(command, ID)
        assert (ran.exit_code, f"(it has {ID}@v2)" in ran.stderr) == (3, True), ran.output


def test_a_lock_of_what_the_bucket_has_no_more_is_warned_of(team: Team) -> None:
    assert "bucket" not in run("lock", ID).stderr
    team.publish("new")
    ran = run("lock", ID)
    assert ran.exit_code == 0
    assert "has other content than is locked" in ran.stderr
    assert f"hg-localize pull {ID} --update" in ran.stderr
    run("pull", ID, "--update")
    assert "other content" not in run("lock", ID).stderr
    team.withdraw()
    assert "lacks it" in run("lock", ID).stderr


def test_a_named_dataset_is_updated_in_a_lock_file_that_exists(team: Team) -> None:
    hf_localize.register_dataset(rows("x"), "ben/own")
    assert run("lock", ID, "ben/own").exit_code == 0
    team.publish("new")
    run("pull", ID, "--update")
    ran = run("lock", ID)
    assert "Locked: 2 datasets" in ran.stderr
    checked = run("lock", "--check")
    assert (checked.exit_code, len(checked.stdout.splitlines())) == (0, 2), checked.output


def test_a_load_without_the_revision_that_is_there_is_told_to_name_it(team: Team) -> None:
    team.publish("v2", revision="v2")
    team.withdraw()
    hf_localize.remove_dataset(ID)
    with pytest.raises(hf_localize.errors.DatasetNotFoundError) as raised:
        hf_localize.load_local_dataset(ID)
    assert 'revision="v2"' in str(raised.value).splitlines()[-1]


def test_what_is_stored_in_part_is_told(team: Team) -> None:
    team.ada()
    both = datasets.DatasetDict(train=rows("a"), test=rows("b"))
    hf_localize.register_dataset(both, "team/two")
    team.ben()
    with hf_localize.installed():
        assert datasets.load_dataset("team/two", split="test")["text"][:] == ["b"]
    for command in ("diff", "status"):
        assert "team/two: only a part of it is in the local store" in run(command).stderr
        found = json.loads(run(command, "team/two", "--json").stdout)
        assert [item["is_partial"] for item in found] == [True]
