"""A config that is left out: one answer of all commands and functions, or all configs that are stored."""

from __future__ import annotations

import json
from collections.abc import Callable

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.cli import main
from hf_localize.errors import ConfigMissingError, DatasetNotFoundError, InvalidRefError
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"
ANSWER = "Config name is missing: openai/gsm8k has main, socratic.\nName one with --name CONFIG"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture
def stored(desk: Desk, hub: LoopbackHub) -> Desk:
    """Return a publisher's desk with both configs of a dataset that has no default one, everywhere."""
    desk.publisher().open_public_places()
    for name in ("main", "socratic"):
        hf_localize.download_dataset(GSM8K, name=name, make_public=True)
    return desk


def test_each_command_says_which_configs_there_are(stored: Desk, hub: LoopbackHub) -> None:
    for place in ("hub", "stored"):
        for words in (("download",), ("info",), ("preview",), ("explain",), ("lock", "-o", "-")):
            ran = run(*words, GSM8K)
            assert (ran.exit_code, ANSWER in ran.output) == (2, True), (place, words, ran.output)
        hub.stop()
    assert "or take all with --all-configs" in run("download", GSM8K).stderr
    for words in (("remove",), ("remove", "--s3"), ("sync-local-to-s3",), ("withdraw",)):
        ran = run(*words, GSM8K)
        assert (ran.exit_code, ANSWER in ran.stderr) == (2, True), (words, ran.output)
    told = json.loads(run("explain", GSM8K, "--json").stdout)
    assert (told["action"], told["failure"], told["takes"]) == ("fail", "usage", None)


def test_what_only_looks_takes_all_stored_configs(stored: Desk) -> None:
    for words in (
        ("verify",),
        ("verify", "--in", "s3"),
        ("verify", "--in", "public"),
        ("diff",),
        ("outdated", "--all"),
    ):
        ran = run(*words, GSM8K)
        assert ran.exit_code == 0, words
        assert [line.split("\t")[:2] for line in ran.stdout.splitlines()] == [
            [GSM8K, "main"],
            [GSM8K, "socratic"],
        ], words
    shard = next((stored.store / "openai_gsm8k" / "socratic").rglob("*.arrow"))
    shard.write_bytes(b"")
    (mended,) = json.loads(run("repair", GSM8K, "--json").stdout)
    assert (mended["config_name"], mended["mended"]) == ("socratic", [f"{shard.parent.name}/{shard.name}"])
    assert run("verify", GSM8K, "--revision", "v7").exit_code == 3


@pytest.mark.parametrize(
    "call", [hf_localize.download_dataset, hf_localize.load_local_dataset, hf_localize.remove_dataset]
)
def test_python_gives_the_same_answer(call: Callable[[str], object], desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    for name in ("b", "a"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"x": [1]}), "org/two", name=name)
    with pytest.raises(ConfigMissingError, match="org/two has a, b") as caught:
        call("org/two")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(DatasetNotFoundError) as other:
        call("org/none")
    assert not isinstance(other.value, ConfigMissingError)


def test_name_is_the_config_name(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"x": [1]}), "org/two", name="a")
    assert hf_localize.load_local_dataset("org/two", name="a")["train"]["x"][:] == [1]
    assert hf_localize.describe_dataset("org/two", "a", name="a")["config_name"] == "a"
    with pytest.raises(InvalidRefError, match="give only one of them"):
        hf_localize.describe_dataset("org/two", "a", name="b")


def test_an_error_of_the_store_names_the_revisions_that_it_has(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"x": [1]}), "org/x", revision="v1")
    for command in ("verify", "repair", "remove", "info"):
        ran = run(command, "org/x")
        assert (ran.exit_code, "(it has org/x@v1)" in ran.stderr) == (3, True), (command, ran.stderr)
