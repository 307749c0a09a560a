"""`status` and `list`: where each stored dataset stands, whole at any width; `policy` and `verify --repair`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.cli import main
from tests.commands.json_docs import assert_documented
from tests.commands.test_cli_output import on_terminal
from tests.conftest import ROOT, Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"
LONG = "an-organization-with-a-rather-long-name/a-dataset-that-has-a-name-which-is-still-longer-than-that"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def register(dataset_id: str, *values: str, **options: object) -> None:
    hf_localize.register_dataset(datasets.Dataset.from_dict({"x": values}), dataset_id, **options)  # type: ignore[arg-type]


def test_status_tells_how_each_dataset_stands_to_bucket_and_hub(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "main")
    register("org/mine", "a", skip_s3_upload=True)
    register("org/other", "a")
    hf_localize.remove_dataset("org/other")

    def told(*arguments: str) -> dict[str, tuple[str | None, str | None]]:
        found = assert_documented("status", run("status", *arguments, "--json").stdout)
        return {item["dataset_id"]: (item["bucket"], item["hub"]) for item in found}

    assert told() == {
        GSM8K: ("same", "current"),
        "org/mine": ("only local", "own"),
        "org/other": ("only s3", "own"),
    }
    assert told(GSM8K) == {GSM8K: ("same", "current")}
    hub.stop()
    assert told()["org/mine"] == ("only local", None)
    desk.set(HGLOC_S3_BUCKET_NAME="")
    assert told()[GSM8K] == (None, None)
    assert told("org/mine") == {"org/mine": (None, "own")}
    ran = run("status", "org/none")
    assert (ran.exit_code, "the bucket is not asked: HGLOC_S3_BUCKET_NAME is not set" in ran.stderr) == (
        3,
        True,
    )
    desk.publisher().set(HGLOC_S3_ENDPOINT_URL="http://127.0.0.1:9", HGLOC_SOURCES="local,s3")
    assert run("status", "org/none").exit_code == 5, "the bucket may have it"
    register("org/mine", "a", skip_s3_upload=True)
    assert told("org/mine") == {"org/mine": (None, "own")}


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_each_id_is_whole_at_any_width(columns: int, desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3,public", HGLOC_OFFLINE="0")
    names = [(LONG, "a-config"), ("org/short", "2024-01_multilingual"), ("org/short", "b")]
    for dataset_id, config in names:
        register(dataset_id, "a", config_name=config, revision="release-2024.01")
    for command in (("list-local",), ("list-s3",), ("list", "--in", "s3"), ("status",)):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(*command, columns=columns)).splitlines()
        words = [line.split() for line in shown]
        assert [word for line in words for word in line if "/" in word] == [LONG, "org/short"], command
        for _, config in names:
            assert any({config, "release-2024.01"} <= set(line) for line in words), command
        assert all(len(line) <= columns for line in shown if line != LONG), command


def test_list_lists_each_place(desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.set(HGLOC_SOURCES="local,s3,public")
    register("org/here", "a", skip_s3_upload=True)
    register("org/shared", "a", make_public=True)
    hf_localize.remove_dataset("org/shared")
    for place, name in (("local", "here"), ("s3", "shared"), ("public", "shared")):
        assert run("list", "org/*", "--in", place).stdout == f"org/{name}\t-\t-\n"
    assert_documented("list", run("list", "--json").stdout)


@pytest.mark.parametrize("kind", ["consumer", "publisher"])
def test_the_policies_are_those_of_the_page(kind: str) -> None:
    page = (ROOT / "docs" / "permissions.md").read_text()
    told = page.partition(f"<!-- policy: {kind} -->\n```json\n")[2].partition("```")[0]
    assert json.loads(run("policy", kind, "--bucket", "BUCKET").stdout) == json.loads(told)


def test_the_public_policy_opens_what_is_shared_and_nothing_else(desk: Desk) -> None:
    desk.publisher().set(HGLOC_S3_DATA_PREFIX="team/a", HGLOC_SOURCES="local,s3,public")
    policy = run("policy", "public").stdout
    (statement,) = json.loads(policy)["Statement"]
    assert statement["Resource"][0] == f"arn:aws:s3:::{desk.bucket}/team/a/public_datasets.json"
    desk.client().put_bucket_policy(Bucket=desk.bucket, Policy=policy)
    register("org/a", "a", make_public=True)
    desk.outsider().set(HGLOC_S3_BUCKET_NAME="")
    assert run("policy", "public").exit_code == 2
    assert run("policy", "consumer", "--bucket", "b").exit_code == 0
    assert run("policy", "consumer", "--bucket", "s3://b/c").exit_code == 2
    assert run("policy", "public").exit_code == 2, "the option counted for one command"


def test_verify_repairs_first_where_asked(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    register("org/a", "a")
    shard = next(Path(desk.store).rglob("*.arrow"))
    shard.write_bytes(b"")
    assert run("verify", "org/a").exit_code == 6
    ran = run("verify", "org/a", "--repair")
    assert (ran.exit_code, ran.stdout.split("\t")[3]) == (0, "ok")
    shard.write_bytes(b"")
    desk.set(HGLOC_SOURCES="local")
    assert run("verify", "org/a", "--repair").exit_code == 6
    assert run("verify", "--repair", "--in", "s3").exit_code == 2
