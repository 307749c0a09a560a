"""``--dry-run`` tells what would be moved or removed, in bytes, and changes nothing; confirmations; ``lock --check``."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result

import hf_localize
from hf_localize.cli import main
from hf_localize.errors import LockError
from tests.conftest import Desk
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def planned(*arguments: str) -> list[tuple[str, str | None, str, int]]:
    """Return id, config, action and bytes of each thing that a command would do."""
    ran = run(*arguments, "--dry-run", "--json")
    assert ran.exit_code == 0, ran.output
    fields = ("dataset_id", "config_name", "action", "size_bytes")
    return [tuple(item[field] for field in fields) for item in json.loads(ran.stdout)]


def bytes_in(folder: Path | str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def register(dataset_id: str, *values: str, **options: object) -> str:
    data = datasets.Dataset.from_dict({"x": values})
    return hf_localize.register_dataset(data, dataset_id, **options).message_or_path  # type: ignore[arg-type]


def test_a_dry_run_of_a_removal_names_its_bytes_and_removes_nothing(desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.set(HGLOC_SOURCES="local,s3,public")
    path = register("org/a", "one", make_public=True)
    keys = desk.bucket_keys()
    assert planned("remove", "org/a") == [("org/a", None, "remove", bytes_in(path))]
    ((*_, of_bucket),) = planned("remove", "org/a", "--s3")
    assert of_bucket == hf_localize.list_local_datasets(details=True)[0]["size_bytes"]
    ((*_, of_zip),) = planned("withdraw", "org/a")
    assert of_zip == hf_localize.list_public_datasets(details=True)[0]["size_bytes"]
    assert "Nothing was changed" in run("remove", "org/a", "--dry-run").stderr
    assert run("remove", "org/none", "--dry-run").exit_code == 3
    assert (desk.bucket_keys(), Path(path).is_dir()) == (keys, True)


def test_a_dry_run_of_an_upload_names_what_the_bucket_lacks(desk: Desk) -> None:
    desk.publisher().open_public_places()
    desk.set(HGLOC_SOURCES="local,s3,public")
    path = register("org/a", "one", skip_s3_upload=True)
    register("org/b", "two")
    keys = desk.bucket_keys()
    assert planned("sync-local-to-s3", "--all") == [
        ("org/a", None, "upload", bytes_in(path)),
        ("org/b", None, "nothing", 0),
    ]
    assert [action for *_, action, _ in planned("sync-local-to-s3", "org/b", "--make-public")] == [
        "nothing",
        "share",
    ]
    assert desk.bucket_keys() == keys


def test_a_dry_run_of_a_download_names_source_and_bytes(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher()
    sizes = {
        name: sum(path.stat().st_size for path in (Path(hub.root) / GSM8K / "main" / name).glob("*.parquet"))
        for name in ("main", "socratic")
    }
    plan = [(GSM8K, name, "fetch", size) for name, size in sizes.items()]
    assert planned("download", GSM8K, "--all-configs") == plan
    assert not desk.store.exists()
    hf_localize.download_dataset(GSM8K, "main")
    assert planned("download", GSM8K, "-n", "main", "--update") == [(GSM8K, "main", "nothing", 0)]
    lock = str(desk.folder / "a.lock")
    assert run("lock", GSM8K, "-n", "main", "-o", lock).exit_code == 0
    desk.teammate()
    ((*_, action, size),) = planned("download", "--locked", lock)
    assert (action, size > sizes["main"]) == ("fetch", True)
    ran = run("download", "org/none", GSM8K, "-n", "main", "--dry-run")
    assert (ran.exit_code, ran.stdout.count("\n")) == (3, 1), ran.output
    assert not desk.store.exists()


def test_a_confirmation_names_id_config_and_revision(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    register("org/a", "one", config_name="en", revision="v2", skip_s3_upload=True)
    ran = run("remove", "org/a", "-n", "en", "-r", "v2")
    assert ran.exit_code == 1
    assert "No other copy of org/a, config en, revision v2, is known" in ran.stderr


def test_only_a_lock_file_is_overwritten_by_one(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    register("org/a", "one")
    lock = hf_localize.lock_datasets("org/a")
    other = desk.folder / "notes.json"
    other.write_text('{"mine": 1}')
    ran = run("lock", "org/a", "-o", str(other))
    assert (ran.exit_code, other.read_text()) == (2, '{"mine": 1}')
    assert "is not a lock file, so it is not overwritten" in ran.stderr
    with pytest.raises(LockError):
        lock.write(other)
    other.write_text("")
    lock.write(other)
    assert run("lock", "org/a", "-o", str(other)).exit_code == 0


def test_lock_check_tells_whether_what_there_is_now_is_what_is_locked(desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3")
    for name in ("org/a", "org/b", "org/c"):
        register(name, name)
    file = str(desk.folder / "a.lock")
    assert run("lock", "org/a", "org/b", "-o", file).exit_code == 0
    written = Path(file).read_bytes()
    assert run("lock", "--check", "-o", file).exit_code == 0
    shard = next(desk.store.glob("org_a/**/*.arrow"))
    intact = shard.read_bytes()
    shard.write_bytes(bytes(len(intact)))
    assert run("lock", "--check", "-o", file).exit_code == 0, "no data is read"
    command = next(line for line in run("lock", "--help").stdout.splitlines() if "verify --deep" in line)
    assert "hg-localize verify --deep" in command
    assert run("verify", "--deep").exit_code == 6
    shard.write_bytes(intact)
    register("org/b", "other")
    hf_localize.remove_dataset("org/a")
    hf_localize.remove_dataset("org/a", s3=True)
    ran = run("lock", "--check", "-o", file)
    assert ran.exit_code == 6
    assert [line.split("\t")[3] for line in ran.stdout.splitlines()] == ["missing", "different"]
    ran = run("lock", "--check", "-o", file, "org/c", "--json")
    assert (ran.exit_code, [item["state"] for item in json.loads(ran.stdout)]) == (6, ["not locked"])
    assert Path(file).read_bytes() == written
    assert run("lock", "--check", "-o", str(desk.folder / "none.lock")).exit_code == 2


def test_a_dry_run_knows_files_as_they_are(desk: Desk, hub: LoopbackHub) -> None:
    desk.publisher().open_public_places()
    folder = Path(hub.root) / GSM8K / "main"
    total, chosen = bytes_in(folder), sum(path.stat().st_size for path in (folder / "main").glob("*.parquet"))
    assert planned("download", GSM8K, "--files-only") == [(GSM8K, None, "fetch", total)]
    assert planned("download", GSM8K, "--include", "main/*") == [(GSM8K, None, "fetch", chosen)]
    assert not desk.store.exists()
    hf_localize.download_repository(GSM8K, skip_s3_upload=True)
    ((*_, action, size),) = planned("sync-local-to-s3", GSM8K, "--files-only")
    assert (action, size) == ("upload", total)
    hf_localize.sync_local_repository_to_s3(GSM8K, make_public=True)
    keys = desk.bucket_keys()
    assert planned("sync-local-to-s3", GSM8K, "--files-only") == [(GSM8K, None, "nothing", 0)]
    for words in (("remove",), ("remove", "--s3"), ("withdraw",)):
        assert planned(*words, GSM8K, "--files-only") == [(GSM8K, None, words[0], total)]
    assert planned("download", GSM8K, "--files-only") == [(GSM8K, None, "nothing", 0)]
    assert desk.bucket_keys() == keys
