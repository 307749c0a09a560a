"""The commands that look at what is stored know repositories of each type."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import OfflineModeIsEnabled

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.format.repository import Repository, RepoType, Snapshot
from hf_localize.sources.session import current_session
from tests.commands.json_docs import assert_documented
from tests.commands.test_cli_output import run
from tests.conftest import Desk, run_python
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Rule, Status

MODEL, FILES = ("--repo-type", "model"), {"config.json": b"{}", "model.bin": b"weights" * 3000}


def _push(
    hub: LoopbackHub, desk: Desk, value: bytes, branch: str = "main", model: bytes | None = None
) -> None:
    files = {**FILES, "config.json": value, "model.bin": model or FILES["model.bin"]}
    hub.add(make_repository(desk.folder / "repositories", "models/team/one", branch, files))


@pytest.fixture
def stored(hub: LoopbackHub, desk: Desk) -> str:
    """Return the commit of a model that the publisher has stored, and shared publicly."""
    _push(hub, desk, b"{}")
    _push(hub, desk, b"{}", "kept")
    desk.publisher().open_public_places()
    download_repository("team/one", repo_type="model", make_public=True)
    return hub.commit("models/team/one")


def printed(command: str, *arguments: str, status: int = 0) -> Any:
    ran = run(command, *arguments, "--json")
    assert ran.exit_code == status, ran.output
    return assert_documented(command, ran.stdout)


def _blob(path: str) -> Path:
    local, repository = current_session().repositories.local, Repository("model", "team/one")
    refs = local.refs(repository)
    assert refs is not None
    held = local.snapshot(repository, refs.commits[0])
    assert held is not None
    file = held.find(path)
    assert file is not None
    return local.place_of_file(file)


def test_info_and_explain_tell_of_a_repository(stored: str, hub: LoopbackHub, desk: Desk) -> None:
    told = printed("info", "team/one", *MODEL)
    assert (told["commit"], told["files"], told["canonical_id"]) == (stored, 2, "team/one")
    assert [place["source"] for place in told["places"]] == ["local", "s3", "public"]
    assert "team/one" in run("info", "team/one", *MODEL).stdout
    told = printed("explain", "team/one", *MODEL)
    assert (told["takes"], told["action"], told["transfer_bytes"]) == ("local", "open", 0)
    assert {source["answer"] for source in told["sources"]} == {"has_it"}
    desk.teammate()
    hub.stop()
    told = printed("explain", "team/one", *MODEL)
    assert (told["takes"], told["transfer_files"]) == ("s3", 2)
    assert not desk.store.exists()
    assert printed("explain", "team/none", *MODEL, status=5)["failure"] == "unreachable"
    desk.set(HGLOC_SOURCES="local,s3")
    assert printed("explain", "team/none", *MODEL, status=3)["failure"] == "not found"
    assert run("info", "team/none", *MODEL).exit_code == 3
    assert run("info", "team/one", *MODEL, "--name", "x").exit_code == 2


def test_where_the_hub_has_answered_that_it_has_none_the_id_is_to_be_checked(
    hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher()
    advice = "The Hub has answered: check the id, the revision and the type of the repository."
    for command in ("download", "info"):
        ran = run(command, "team/none", *MODEL)
        assert (ran.exit_code, "To publish them" in ran.stderr) == (3, False), ran.stderr
        assert f"\n{advice}" in ran.stderr
    desk.set(HGLOC_S3_ENDPOINT_URL="http://127.0.0.1:9")
    for command in ("download", "info"):  # The bucket may have it.
        ran = run(command, "team/none", *MODEL)
        assert ran.exit_code == 5, ran.stderr
        assert "http://127.0.0.1:9 could not be reached" in ran.stderr
        assert f"\nFix what failed above. {advice}" in ran.stderr
    hub.stop()
    assert advice not in run("download", "team/none", *MODEL).stderr


def test_damaged_files_are_found_and_mended(stored: str, hub: LoopbackHub, desk: Desk) -> None:
    for cut in (False, True):
        for stops in (False, True):  # From the Hub, where the bucket does not have them; from the bucket.
            blob = _blob("model.bin")
            blob.write_bytes(blob.read_bytes()[: 100 if cut else None][::-1])
            assert printed("verify", *MODEL, status=6)[0]["damaged"]
            if stops:
                hub.stop()
            else:
                desk.set(HGLOC_SOURCES="local,hub")
            (mended,) = printed("repair", *MODEL)
            assert mended["mended"] == ["model.bin"]
            assert not printed("verify", "team/one", *MODEL)[0]["damaged"]
            desk.set(HGLOC_SOURCES="local,s3,public,hub")
            if stops:
                hub.start()
    _blob("model.bin").write_bytes(FILES["model.bin"][::-1])
    assert [item["damaged"] for item in printed("verify", "--deep", status=6)] == [
        ["model.bin differs from the entry's manifest: its sha256 is different"]
    ]
    assert [item["mended"] for item in printed("repair")] == [["model.bin"]]
    assert printed("repair", *MODEL) == []
    assert "Nothing to repair" in run("repair", *MODEL).stderr
    _blob("model.bin").write_bytes(b"")
    desk.set(HGLOC_SOURCES="local")
    assert run("repair", *MODEL).exit_code == 6


def test_damaged_objects_in_the_bucket_are_found(stored: str, desk: Desk) -> None:
    for place, prefix in (("--s3", ".hgloc"), ("--public", "public_repositories")):
        (checked,) = printed("verify", *MODEL, place, "--deep")
        assert (checked["damaged"], checked["files"]) == ([], 2)
        key = f"{prefix}/{_blob('model.bin').relative_to(desk.store / '.hgloc').as_posix()}"
        head = desk.client().head_object(Bucket=desk.bucket, Key=key)
        for data, metadata, deep in (
            (FILES["model.bin"][::-1], head["Metadata"], ["--deep"]),
            (b"short", head["Metadata"], []),
        ):
            desk.client().put_object(Bucket=desk.bucket, Key=key, Body=data, Metadata=metadata)
            (checked,) = printed("verify", "team/one", *MODEL, place, *deep, status=6)
            assert checked["damaged"][0].startswith("model.bin ")
        desk.client().delete_object(Bucket=desk.bucket, Key=key)
        assert printed("verify", *MODEL, place, status=6)[0]["damaged"] == ["model.bin is missing"]


def _differences(*arguments: str) -> Any:
    ran = run("diff", *MODEL, *arguments, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_diff_and_outdated_compare_repositories(stored: str, hub: LoopbackHub, desk: Desk) -> None:
    (same,) = _differences("team/one")
    assert (same["state"], same["revision"]) == ("same", stored)
    ages = printed("outdated", *MODEL, "--all")
    states = {(age["revision"], age["state"], age["commit"]) for age in ages}
    assert states == {("main", "current", stored), ("kept", "current", stored)}
    _push(hub, desk, b"{1}")
    ages = {age["revision"]: age for age in printed("outdated", *MODEL, "--all")}
    assert (ages["main"]["state"], ages["kept"]["state"]) == ("outdated", "current")
    assert ages["main"]["hub_commit"] == hub.commit("models/team/one") != stored
    assert [age["revision"] for age in printed("outdated", *MODEL, "--in", "s3")] == ["main"]
    newest = hub.commit("models/team/one")
    download_repository("team/one", repo_type="model", revision=newest, skip_s3_upload=True)
    assert {age["state"] for age in printed("outdated", *MODEL, "--all")} == {"current"}
    states = {item["revision"]: item["state"] for item in _differences("--all")}
    assert states == {stored: "same", newest: "only local"}
    desk.publisher()
    assert [item["state"] for item in _differences()] == ["only s3"]
    download_repository("team/one", repo_type="model", include="*.json", revision="kept")
    (partly,) = printed("diff", *MODEL)
    assert ([file["path"] for file in partly["files"]], partly["state"]) == (["model.bin"], "different")


def test_an_update_brings_the_commit_that_the_source_has_now(
    stored: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    def config() -> bytes:
        return Path(
            hf_hub_download("team/one", "config.json", cache_dir=tmp_path / desk.store.name)
        ).read_bytes()

    weights = _blob("model.bin").relative_to(desk.store).as_posix()
    publisher, teammate = desk.store, desk.teammate().store
    with hf_localize.installed(sources="local,s3"):
        assert config() == b"{}"
    told = printed("explain", "team/one", *MODEL)
    assert (told["does"], told["transfer_files"]) == ("fetch the files that are not here from private S3", 1)
    desk.publisher().set(HGLOC_DATASETS_STORE_PATH=str(publisher))
    _push(hub, desk, b"{1}", model=b"other" * 3000)
    newest = hub.commit("models/team/one")
    assert newest not in printed("download", "team/one", *MODEL)[0]["path"]
    assert newest in printed("download", "team/one", *MODEL, "--update", "--make-public")[0]["path"]
    assert {age["state"] for age in printed("outdated", *MODEL, "--all")} == {"current"}
    for command in ("remove", "withdraw"):
        place = ("--in", "s3") if command == "remove" else ()
        assert run(command, "team/one", *MODEL, "--revision", stored, *place, "--yes").exit_code == 0
    desk.client().delete_object(Bucket=desk.bucket, Key=weights)  # As a day later.
    hub.stop()
    desk.teammate().set(HGLOC_DATASETS_STORE_PATH=str(teammate))
    with hf_localize.installed(sources="local,s3"):
        assert config() == b"{}"
        with pytest.raises(
            OfflineModeIsEnabled, match="hg-localize pull team/one --repo-type model --update"
        ):
            hf_hub_download("team/one", "model.bin", cache_dir=tmp_path / "lost")
    ran = run("pull", "team/one", *MODEL, "--update")
    assert ran.exit_code == 5
    assert "HGLOC_SOURCES=local,s3 hg-localize pull team/one --repo-type model --update" in ran.stderr
    desk.set(HGLOC_SOURCES="local,s3")
    assert newest in run("pull", "team/one", *MODEL, "--update").stdout
    with hf_localize.installed():
        assert config() == b"{1}"


def test_an_update_leaves_out_the_files_that_were_left_out(hub: LoopbackHub, desk: Desk) -> None:
    _push(hub, desk, b"{}")
    desk.publisher()
    download_repository("team/one", repo_type="model", exclude="*.bin")
    _push(hub, desk, b"{1}")
    download_repository("team/one", repo_type="model", update=True)
    newest = hub.commit("models/team/one")
    held = current_session().repositories.local.snapshot(Repository("model", "team/one"), newest)
    assert held is not None
    assert [file.path for file in held.files] == ["config.json"]


def test_patterns_that_no_file_matches_are_told(stored: str, desk: Desk) -> None:
    told = "the patterns leave no file of model team/one, so no file was downloaded"
    for mistyped in (("--include", "*.jsn"), ("--exclude", "*")):
        assert told in run("download", "team/one", *MODEL, *mistyped).stderr
    assert told not in run("download", "team/one", *MODEL, "--include", "*.json").stderr


def test_all_that_is_here_is_uploaded_and_listed(stored: str, hub: LoopbackHub, desk: Desk) -> None:
    hub.add(make_repository(desk.folder / "repositories", "made/data", "main", {"a.csv": b"n\n1\n"}))
    desk.publisher()
    hf_localize.download_dataset("made/data", skip_s3_upload=True)
    download_repository("team/one", repo_type="model", skip_s3_upload=True)
    ran = run("sync-local-to-s3", "--all", "--json")
    assert ran.exit_code == 0, ran.output
    assert sorted(item["dataset_id"] for item in json.loads(ran.stdout)) == ["made/data", "team/one"]
    for listing in (["list-public"], ["list", "--in", "public"], ["list-s3"], ["list-local"], ["list"]):
        (item,) = json.loads(run(*listing, *MODEL, "--json").stdout)
        assert (item["dataset_id"], item["revision"]) == ("team/one", stored), listing
    (kept,) = json.loads(run("list-s3", "--repo-type", "dataset", "--json").stdout)
    assert kept["dataset_id"] == "made/data"
    told = {item["name"]: item["told"] for item in json.loads(run("doctor", "--json").stdout)}
    assert told["repositories"] == "files as they are: 1 dataset, 1 model"


def test_prune_removes_files_that_were_not_used(
    stored: str, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def age(path: str, days: int) -> None:
        moment = time.time() - days * 24 * 3600
        os.utime(_blob(path), (moment, moment))

    hf_localize.register_dataset(_rows(), "org/own", skip_s3_upload=True)
    for path in FILES:
        age(path, 30)
    snapshot = next((desk.store / ".hgloc" / "repositories").rglob(f"{stored}.json"))
    os.utime(snapshot, (0, 0))
    age("config.json", 0)
    assert printed("prune", "--older-than", "1d") == []
    age("config.json", 30)
    assert printed("prune", "--older-than", "1d", "--keep", "team/*") == []
    assert f"files of team/one@{stored} is kept: as asked" in caplog.text
    (pruned,) = printed("prune", "--max-size", "1kB", "--dry-run")
    assert (pruned["repo_type"], pruned["revision"], pruned["dataset_id"]) == ("model", stored, "team/one")
    assert pruned["size_bytes"] == sum(map(len, FILES.values()))
    assert snapshot.exists()
    assert printed("prune", "--older-than", "1d") == [pruned]
    assert not list((desk.store / ".hgloc" / "blobs").glob("*/*"))


@pytest.mark.parametrize("copies", [True, False])
def test_an_upload_asks_for_lists_and_has_public_files_copied(
    copies: bool, hub: LoopbackHub, desk: Desk
) -> None:
    files = {f"{number}.bin": os.urandom(1000) for number in range(40)}
    hub.add(make_repository(desk.folder / "repositories", "models/team/many", "main", files))
    desk.publisher().open_public_places()
    if not copies:  # Then the bytes are sent twice.
        desk.s3.fail(Rule("PUT", ".", Status(501, "NotImplemented"), header="x-amz-copy-source"))
    desk.s3.clear()
    download_repository("team/many", repo_type="model", make_public=True)
    written = [r for r in desk.s3.requests if r.method == "PUT" and "/blobs/" in r.path]
    copied = [r for r in written if "x-amz-copy-source" in r.headers]
    assert len(written) - len(copied) == (40 if copies else 80)
    assert len(copied) == 40 if copies else len(copied) < 8
    gone = _snapshot("team/many").files[5]
    desk.s3.clear()
    desk.client().delete_object(Bucket=desk.bucket, Key=f".hgloc/{gone.blob_path}")
    assert run("sync-local-to-s3", "team/many", *MODEL).exit_code == 0
    asked = [r for r in desk.s3.requests if "/.hgloc/blobs/" in r.path]
    assert [(r.method, r.path.rpartition("/")[2]) for r in asked] == [("PUT", gone.sha256)]
    assert printed("verify", *MODEL, "--public", "--deep")[0]["damaged"] == []
    desk.outsider()
    hub.stop()
    outside, repository = current_session().repositories, Repository("model", "team/many")
    snapshot = outside.snapshot(repository, hub.commit("models/team/many"))
    assert snapshot is not None
    for file in snapshot.files[:3]:
        with outside.open(file) as stream:
            assert stream.read() == files[file.path]


def test_a_bucket_of_many_other_files_is_not_listed_for_few(
    hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.bin": os.urandom(1000) for number in range(40)}
    hub.add(make_repository(desk.folder / "repositories", "models/team/many", "main", files))
    desk.publisher()
    download_repository("team/many", repo_type="model")
    monkeypatch.setattr("hf_localize.publish.repositories._PAGE", 10)
    names = [file.path for file in _snapshot("team/many").files]
    gone = _snapshot("team/many").files[-1]
    desk.client().delete_object(Bucket=desk.bucket, Key=f".hgloc/{gone.blob_path}")
    desk.s3.clear()
    assert len(names) == 40
    assert run("sync-local-to-s3", "team/many", *MODEL).exit_code == 0
    asked = [r for r in desk.s3.requests if "/blobs/" in r.path]
    assert [r.path.rpartition("/")[2] for r in asked if r.method == "PUT"] == [gone.sha256]
    assert sum(r.method == "HEAD" for r in asked) == 40 - 20


def test_rot_in_the_files_kept_with_a_dataset_is_found_and_mended(hub: LoopbackHub, desk: Desk) -> None:
    hub.add(make_repository(desk.folder / "repositories", "made/data", "main", {"a.csv": b"n\n1\n"}))
    desk.publisher().open_public_places()
    hf_localize.download_dataset("made/data", make_public=True)
    local, snapshot = current_session().repositories.local, _snapshot("made/data", "dataset")
    (file,) = [file for file in snapshot.files if file.path == "a.csv"]
    for words in (("verify", "made/data"), ("verify",), ("verify", "--s3", "--public", "--deep")):
        assert not any(item["damaged"] for item in printed(*words))
    for data, deep in ((b"n\n2\n", ["--deep"]), (b"n", [])):
        blob = local.place_of_file(file)
        blob.unlink()  # It may be linked elsewhere.
        blob.write_bytes(data)
        assert _damaged("made/data", *deep) == ["a.csv"]
        (mended,) = printed("repair", "made/data")
        assert mended["mended"] == ["a.csv"]
        assert _damaged("made/data", "--deep", status=0) == []
    for place, folder in (("--s3", ".hgloc"), ("--public", "public_repositories")):
        key = f"{folder}/{file.blob_path}"
        head = desk.client().head_object(Bucket=desk.bucket, Key=key)
        for data, deep in ((b"n\n2\n", ["--deep"]), (b"n", [])):
            for named in (["made/data"], []):
                desk.client().put_object(
                    Bucket=desk.bucket, Key=key, Body=data, Metadata=head["Metadata"], ACL="public-read"
                )
                assert _damaged(*named, place, *deep) == ["a.csv"]
        desk.set(HGLOC_VERIFY="always")
        hf_localize.sync_local_dataset_to_s3("made/data", make_public=True)
        desk.set(HGLOC_VERIFY="size")
        assert _damaged("made/data", place, "--deep", status=0) == []
        listed = f"{folder}/{snapshot.repository.snapshot_path(snapshot.commit)}"
        desk.client().put_object(Bucket=desk.bucket, Key=listed, Body=b"{", ACL="public-read")
        assert listed in " ".join(_damaged("made/data", place))


def _damaged(*words: str, status: int = 6) -> list[str]:
    """Return the first word of what `verify` says of each damaged file."""
    found = printed("verify", *words, status=status)
    return [text.split(" ")[0] for item in found for text in item["damaged"]]


def _snapshot(repo_id: str, repo_type: RepoType = "model") -> Snapshot:
    local, repository = current_session().repositories.local, Repository(repo_type, repo_id)
    refs = local.refs(repository)
    assert refs is not None
    found = local.snapshot(repository, refs.commits[0])
    assert found is not None
    return found


def test_a_writer_that_is_killed_leaves_nothing_beside_what_it_writes(hub: LoopbackHub, desk: Desk) -> None:
    repository = make_repository(desk.folder / "repositories", "made/now", "main", {"a.csv": b"n\n1\n"})
    hub.add(repository)
    hub.redirects["made/before"] = "made/now"
    desk.publisher()
    for part_of in ("/alias/", "/repositories/"):
        code = f"""
import os, hf_localize
rename = os.replace
def killed(source, target, **options):
    if {part_of!r} in str(target):
        os._exit(9)
    rename(source, target, **options)
os.replace = killed
hf_localize.download_dataset("made/before")
"""
        assert run_python(code, cwd=desk.folder).returncode == 9, part_of
    work = desk.store / ".hgloc"
    left = [p for kind in ("alias", "repositories") for p in (work / kind).rglob("*") if p.is_file()]
    assert [path for path in left if path.suffix != ".json"] == []


def _rows() -> Any:
    import datasets

    return datasets.Dataset.from_dict({"a": [1]})


def _list_of(what: str, commit: str) -> Path:
    local, repository = current_session().repositories.local, Repository("model", "team/one")
    place = local.place_of(repository, commit)
    return place if what == "snapshot" else place.with_name("refs.json")


@pytest.mark.parametrize("left", [0, 40])
@pytest.mark.parametrize("what", ["snapshot", "refs"])
def test_a_cut_list_of_files_or_refs_is_told_and_repaired(
    what: str, left: int, stored: str, desk: Desk
) -> None:
    path = _list_of(what, stored)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    for command in (("list-local", *MODEL), ("prune", "--max-size", "1GB")):
        assert run(*command).exit_code == 0
    checked = run("verify", "team/one", *MODEL)
    assert checked.exit_code != 0
    assert path.name in checked.output
    assert run("repair", "team/one", *MODEL).exit_code == 0
    assert run("verify", "team/one", *MODEL).exit_code == 0
    assert json.loads(path.read_bytes()).keys() == json.loads(whole).keys()


@pytest.mark.parametrize("way", ["download", "remove"])
@pytest.mark.parametrize("what", ["snapshot", "refs"])
def test_a_cut_list_of_files_or_refs_is_downloaded_again_or_removed(
    way: str, what: str, stored: str, desk: Desk
) -> None:
    path = _list_of(what, stored)
    path.write_bytes(b"")
    options = ("--yes",) if way == "remove" else ()
    assert run(way, "team/one", *MODEL, *options).exit_code == 0
    assert path.exists() == (way == "download")
    assert run("verify").exit_code == 0


def test_a_cut_list_of_files_keeps_those_of_others_from_nothing(
    stored: str, hub: LoopbackHub, desk: Desk
) -> None:
    hub.add(make_repository(desk.folder / "repositories", "models/team/two", "main", FILES))
    download_repository("team/two", repo_type="model")
    path = _list_of("snapshot", stored)
    path.write_bytes(b"")
    blob = _blob_named(FILES["model.bin"])
    assert run("remove", "team/two", *MODEL, "--yes").exit_code == 0
    assert blob.exists()
    assert run("repair", "team/one", *MODEL).exit_code == 0
    assert run("verify", "team/one", *MODEL).exit_code == 0


def test_a_list_of_files_of_a_newer_release_is_left_as_it_is(stored: str, desk: Desk) -> None:
    path = _list_of("refs", stored)
    newer = json.dumps({**json.loads(path.read_bytes()), "format_version": 99}).encode()
    path.write_bytes(newer)
    assert run("download", "team/one", *MODEL).exit_code != 0
    assert path.read_bytes() == newer


def _blob_named(data: bytes) -> Path:
    sha256 = hashlib.sha256(data).hexdigest()
    return current_session().store.path / ".hgloc" / "blobs" / sha256[:2] / sha256
