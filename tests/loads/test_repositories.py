"""Repositories as they are on the Hub: localized by one, used by teammates and outsiders without the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hf_localize
from hf_localize.api.batch import download_repositories
from hf_localize.api.repositories import download_repository, sync_local_repository_to_s3
from hf_localize.api.stored_repositories import remove_repository
from hf_localize.errors import (
    AccessDeniedError,
    DatasetNotFoundError,
    IntegrityError,
    PublishError,
    RestrictedError,
    UnreachableError,
)
from hf_localize.format.listfile import RepositoryRef
from hf_localize.format.repository import Repository, RepositoryRefs, RepoType, Snapshot, read_refs
from hf_localize.sources.session import current_session
from tests.conftest import SECRET, Desk, run_cli, run_python, tree
from tests.rig.hub import Fault, LoopbackHub, make_repository
from tests.rig.s3_proxy import Rule, Status, Truncate

WEIGHTS = os.urandom(40_000)
FILES = {
    ".gitattributes": b"*.bin filter=lfs\n",
    "README.md": b"---\nlicense: mit\n---\n",
    "config.json": b"{}",
    "empty.txt": b"",
    "sub folder/model #1.bin": WEIGHTS,
    "sub folder/copy.bin": WEIGHTS,
}
KEYS: dict[RepoType, str] = {"dataset": "", "model": "models/", "space": "spaces/"}


@pytest.fixture
def hosted(hub: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """Return the Hub with ``team/one`` as a dataset, a model and a Space, each with a tag and a branch."""
    for kind, key in KEYS.items():
        own = {**FILES, "type.txt": kind.encode()}
        repository = make_repository(tmp_path / "hub", f"{key}team/one", "main", own)
        make_repository(tmp_path / "hub", f"{key}team/one", "old", {**own, "config.json": b"{1}"})
        make_repository(tmp_path / "hub", f"{key}team/one", "refs/convert/parquet", {"a.parquet": b"PAR1"})
        hub.add(repository)
        hub.tags[f"{key}team/one", "v1"] = "old"
    hub.refresh()
    return hub


def _found(repo_type: RepoType, revision: str | None = None) -> tuple[RepositoryRefs, Snapshot]:
    repositories, repository = current_session().repositories, Repository(repo_type, "team/one")
    refs = repositories.refs(repository, revision)
    assert refs is not None
    commit = refs.resolve(revision)
    assert commit is not None
    snapshot = repositories.snapshot(repository, commit)
    assert snapshot is not None
    return refs, snapshot


def _content(snapshot: Snapshot) -> dict[str, bytes]:
    paths = current_session().repositories.localize(snapshot, [file.path for file in snapshot.files])
    return {path: local.read_bytes() for path, local in paths.items()}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("repo_type", list(KEYS))
def test_a_repository_is_used_without_the_hub(hosted: LoopbackHub, desk: Desk, repo_type: RepoType) -> None:
    expected = {**FILES, "type.txt": repo_type.encode()}
    desk.publisher()
    desk.open_public_places()
    path = Path(download_repository("team/one", repo_type=repo_type, make_public=True).message_or_path)
    commit = hosted.commit(f"{KEYS[repo_type]}team/one")
    assert path.is_relative_to(desk.store)
    assert path.name == f"{commit}.json"
    hosted.stop()
    for who in (desk.publisher, desk.teammate, desk.outsider):
        who()
        refs, snapshot = _found(repo_type)
        assert snapshot.commit == commit
        assert snapshot.is_complete
        assert _content(snapshot) == expected
        assert refs.tags == {"v1": hosted.commit(f"{KEYS[repo_type]}team/one", "old")}
        assert set(refs.branches) == {"main", "old"}
        assert set(refs.converts) == {"parquet"}
        assert (snapshot.info["id"], snapshot.info["private"]) == ("team/one", False)
        weights = snapshot.find("sub folder/model #1.bin")
        assert weights is not None
        assert weights.etag == hashlib.sha256(WEIGHTS).hexdigest()
        config = snapshot.find("config.json")
        assert config is not None
        assert config.etag == hashlib.sha1(b"blob 2\0{}").hexdigest()
        # From then on it is in the store, and nothing else is asked.
        desk.set(HGLOC_OFFLINE="1")
        assert _content(_found(repo_type)[1]) == expected
        desk.set(HGLOC_OFFLINE="0")


def test_the_commands_download_and_sync_files_as_they_are(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    ran = run_cli("download", "team/one", "--repo-type", "space", "--no-s3-upload", "--include", "*.json")
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).is_relative_to(desk.store)
    assert desk.bucket_keys() == []
    ran = run_cli("sync-local-to-s3", "team/one", "--repo-type", "space", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)[0]["error"] is None
    assert [key for key in desk.bucket_keys() if "/repositories/space/team%2Fone/" in key]
    ran = run_cli("download", "team/one", "team/none", "--files-only", "--json")
    one, none = json.loads(ran.stdout)
    assert (one["error"], none["error_kind"], ran.returncode) == (None, "not found", 3)
    for wrong in (("--name", "x"), ("--update", "--dry-run"), ("--no-checks",)):
        assert run_cli("download", "team/one", "--files-only", *wrong).returncode == 2


MODEL = Repository("model", "team/one")


def _download(**options: object) -> str:
    path = download_repository("team/one", repo_type="model", **options).message_or_path  # type: ignore[arg-type]
    return Path(path).stem


def test_a_revision_brings_only_the_bytes_that_are_new(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    _download()
    hosted.clear()
    assert _download(revision="v1") == hosted.commit("models/team/one", "old")
    fetched = {r.path.rpartition("/")[2] for r in hosted.requests if "/resolve/" in r.path}
    assert fetched == {"config.json"}
    sent = len([key for key in desk.bucket_keys() if "/blobs/" in key])
    assert sent == len({*FILES.values(), b"model", b"{1}"})
    hosted.stop()
    desk.teammate()
    for revision in ("v1", "old", "refs/heads/old", hosted.commit("models/team/one", "old")):
        assert _content(_found("model", revision)[1])["config.json"] == b"{1}"
    with pytest.raises(UnreachableError):
        _download(revision="none")
    hosted.start()
    with pytest.raises(DatasetNotFoundError):
        _download(revision="none")


def test_a_pull_request_is_found_by_its_name(hosted: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    make_repository(tmp_path / "hub", "models/team/one", "refs/pr/1", {"config.json": b"{2}"})
    make_repository(tmp_path / "hub", "team/one", "refs/pr/1", {"data.csv": b"a\n1\n"})
    hosted.refresh()
    desk.publisher()
    _download()
    _download(revision="refs/pr/1")
    hf_localize.download_dataset("team/one", revision="refs/pr/1")
    hosted.stop()
    for who in (desk.publisher, desk.teammate):
        who()
        assert _content(_found("model", "refs/pr/1")[1]) == {"config.json": b"{2}"}
        assert _content(_found("model")[1])["config.json"] == b"{}"
        assert _content(_found("dataset", "refs/pr/1")[1]) == {"data.csv": b"a\n1\n"}


def test_a_newer_revision_in_the_bucket_is_found_beside_what_is_in_the_store(
    hosted: LoopbackHub, desk: Desk
) -> None:
    publisher = desk.publisher().store
    _download()
    desk.teammate()
    assert _content(_found("model")[1])
    mine = desk.store
    desk.publisher()
    desk.set(HGLOC_DATASETS_STORE_PATH=str(publisher))
    hosted.tags["models/team/one", "v2"] = "refs/convert/parquet"
    _download(revision="v2")
    hosted.stop()
    desk.set(HGLOC_DATASETS_STORE_PATH=str(mine))
    assert _content(_found("model", "v2")[1]) == {"a.parquet": b"PAR1"}


def test_a_partial_snapshot_claims_nothing_of_other_files(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    _download(include=["*.json"])
    _, snapshot = _found("model")
    assert [file.path for file in snapshot.files] == ["config.json"]
    assert not snapshot.is_complete
    _download(include=["*.bin"], exclude=["*copy*"])
    _, snapshot = _found("model")
    assert {file.path for file in snapshot.files} == {"config.json", "sub folder/model #1.bin"}
    hosted.stop()
    desk.teammate()
    assert set(_content(_found("model")[1])) == {"config.json", "sub folder/model #1.bin"}
    with pytest.raises(UnreachableError) as caught:
        _download()
    told = re.search("Some files are there. To have these: hg-localize (.*)", str(caught.value))
    assert told is not None
    ran = run_cli(*shlex.split(told[1]))
    assert ran.returncode == 0, ran.stderr
    assert "← local store, 2 files" in ran.stderr
    hosted.start()
    desk.publisher()
    _download()
    assert _found("model")[1].is_complete


def test_a_teammate_fetches_only_the_files_that_are_asked_for(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    _download()
    hosted.stop()
    desk.teammate()
    snapshot, repositories = _found("model")[1], current_session().repositories
    paths = repositories.localize(snapshot, ["sub folder/copy.bin"])
    assert list(paths) == ["sub folder/copy.bin"]
    assert repositories.localize(snapshot, ["sub folder/model #1.bin"]).popitem()[1] == paths.popitem()[1]
    config = snapshot.find("config.json")
    assert config is not None
    assert repositories.local_path(config) is None
    with repositories.open(config) as stream:
        assert stream.read() == b"{}"
    with repositories.open(config, 1, 2) as stream:
        assert stream.read() == b"}"
    assert repositories.local_path(config) is None
    weights = snapshot.find("sub folder/copy.bin")
    assert weights is not None
    for start, stop in ((5, 9), (39_990, None), (7, 7), (39_999, 50_000)):
        with repositories.open(weights, start, stop) as stream:
            assert stream.read() == WEIGHTS[start:stop]
    with pytest.raises(FileNotFoundError):
        repositories.localize(snapshot, ["none"])


def test_a_damaged_object_is_refused_and_the_next_place_is_asked(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    desk.open_public_places()
    _download(make_public=True)
    hosted.stop()
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    private = f".hgloc/blobs/{sha256[:2]}/{sha256}"
    desk.client().put_object(Bucket=desk.bucket, Key=private, Body=WEIGHTS[::-1])
    desk.teammate()
    assert _content(_found("model")[1])["sub folder/copy.bin"] == WEIGHTS
    public = f"public_repositories/blobs/{sha256[:2]}/{sha256}"
    desk.client().put_object(Bucket=desk.bucket, Key=public, Body=WEIGHTS[::-1], ACL="public-read")
    desk.teammate()
    with pytest.raises(UnreachableError, match="differs"):
        _content(_found("model")[1])
    assert not list((desk.store / ".hgloc" / "blobs").glob("*/" + sha256))
    weights = _found("model")[1].find("sub folder/copy.bin")
    assert weights is not None
    with pytest.raises(IntegrityError), current_session().repositories.open(weights) as stream:
        stream.read()


def test_what_is_damaged_in_the_store_or_the_bucket_is_brought_again(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    _download()
    weights = _found("model")[1].find("sub folder/copy.bin")
    assert weights is not None
    path = current_session().repositories.local_path(weights)
    assert path is not None
    path.write_bytes(b"short")
    assert current_session().repositories.local_path(weights) is None
    desk.client().delete_object(Bucket=desk.bucket, Key=f".hgloc/{_found('model')[1].files[0].blob_path}")
    hosted.stop()
    assert _download()
    assert path.read_bytes() == WEIGHTS
    desk.teammate()
    assert len(_content(_found("model")[1])) == len(FILES) + 1


def test_an_interrupted_fetch_is_resumed(hosted: LoopbackHub, desk: Desk, tmp_path: Path) -> None:
    large = os.urandom(24 << 20)
    make_repository(tmp_path / "hub", "models/team/one", "main", {"large.bin": large})
    hosted.refresh()
    desk.publisher()
    cut = Fault("GET .*large.bin", "truncate", times=1, after_bytes=10 << 20)
    hosted.faults = [cut, Fault("GET .*large.bin", 500)]
    with pytest.raises((UnreachableError, OSError)):
        _download()
    hosted.faults = []
    hosted.clear()
    _download()
    # Of what came whole nothing is sent again.
    assert not any("GET" in request.method and "config.json" in request.path for request in hosted.requests)
    hosted.stop()
    desk.teammate()
    sha256 = hashlib.sha256(large).hexdigest()
    desk.s3.fail(Rule("GET", sha256, Truncate(5 << 20), times=1))
    desk.s3.fail(Rule("GET", sha256, Status(403, "AccessDenied")))
    desk.set(HGLOC_MAX_CONCURRENCY="1")  # Else what is cut may be another part than the next.
    with pytest.raises(UnreachableError):
        _content(_found("model")[1])
    desk.s3.heal()
    desk.s3.clear()
    assert _content(_found("model")[1])["large.bin"] == large
    assert sum(r.response_bytes for r in desk.s3.requests if sha256 in r.path) < len(large)


def test_a_restricted_repository_is_shared_only_if_it_is_named(hosted: LoopbackHub, desk: Desk) -> None:
    hosted.gated["models/team/one"] = {SECRET}
    desk.publisher()
    desk.open_public_places()
    with pytest.raises(AccessDeniedError, match="gated"):
        _download()
    desk.set(HF_TOKEN=SECRET)
    with pytest.raises(RestrictedError):
        _download(make_public=True)
    assert [key for key in desk.bucket_keys() if "public" in key] == []
    _download(make_public=True, share_restricted="team/one")
    assert _found("model")[1].info["gated"] == "auto"
    hosted.stop()
    desk.outsider()
    assert len(_content(_found("model")[1])) == len(FILES) + 1


def test_credentials_stay_where_they_belong(hosted: LoopbackHub, desk: Desk) -> None:
    hosted.private["models/team/one"] = {SECRET}
    desk.publisher()
    with pytest.raises(DatasetNotFoundError):
        _download()
    desk.set(HF_TOKEN=SECRET)
    _download()
    for request in desk.s3.requests:
        assert SECRET not in str(request)
    for request in hosted.requests:
        assert desk.server.secret_key not in str(request)
        assert "aws4" not in str(request.headers).lower()
    for data in tree(desk.store).values():
        assert SECRET.encode() not in data
    for key in desk.bucket_keys():
        assert SECRET.encode() not in desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read()


def test_publishers_at_once_keep_each_others_refs(hosted: LoopbackHub, desk: Desk) -> None:
    wanted = {"main", "old", "refs/convert/parquet"}
    stores = []
    for revision in wanted:
        stores.append(desk.publisher().store)
        _download(revision=revision, skip_s3_upload=True)
    code = """
from hf_localize import sync_local_repository_to_s3
print(sync_local_repository_to_s3("team/one", repo_type="model").message_or_path)
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "HGLOC_DATASETS_STORE_PATH": str(store)}
        )
        for store in stores
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    data = desk.client().get_object(Bucket=desk.bucket, Key=f".hgloc/{MODEL.refs_path}")["Body"].read()
    commits = {hosted.commit("models/team/one", revision) for revision in wanted}
    assert set(read_refs(data, "the bucket", MODEL).commits) == commits
    hosted.stop()
    desk.teammate()
    for revision in wanted:
        assert _content(_found("model", revision)[1])


def test_an_upload_that_fails_shows_nothing_and_can_be_repeated(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    desk.s3.fail(Rule("PUT", "/repositories/", Status(403, "AccessDenied")))
    with pytest.raises(PublishError) as caught:
        _download()
    assert caught.value.path is not None
    desk.s3.heal()
    assert [key for key in desk.bucket_keys() if "/repositories/" in key] == []
    assert "uploaded" in sync_local_repository_to_s3("team/one", repo_type="model").message_or_path
    assert "already" in sync_local_repository_to_s3("team/one", repo_type="model").message_or_path


def test_a_renamed_repository_answers_to_both_names(hosted: LoopbackHub, desk: Desk) -> None:
    hosted.redirects["models/former"] = "models/team/one"
    desk.publisher()
    download_repository("former", repo_type="model")
    hosted.redirects.clear()
    hosted.stop()
    desk.teammate()
    for repo_id in ("former", "team/one"):
        assert Path(download_repository(repo_id, repo_type="model").message_or_path).is_file()


def test_repositories_are_listed_verified_and_removed(hosted: LoopbackHub, desk: Desk) -> None:
    desk.publisher()
    desk.open_public_places()
    commits = {_download(make_public=True), _download(revision="old", make_public=True)}
    model = ("--repo-type", "model")
    for place in ("list-local", "list-s3"):
        listed = json.loads(run_cli(place, *model, "--json", "--long", "team/*").stdout)
        assert {(item["dataset_id"], item["revision"]) for item in listed} == {
            ("team/one", c) for c in commits
        }
        assert all(item["size_bytes"] > len(WEIGHTS) for item in listed)
        assert json.loads(run_cli(place, "--repo-type", "space", "--json").stdout) == []
    ran = run_cli("verify", "team/one", *model)
    assert ran.returncode == 0, ran.stderr
    weights = _found("model")[1].find("sub folder/copy.bin")
    assert weights is not None
    path = current_session().repositories.local_path(weights)
    assert path is not None
    path.write_bytes(WEIGHTS[::-1])
    ran = run_cli("verify", "team/one", *model)
    assert (ran.returncode, "sub folder/copy.bin" in ran.stderr) == (6, True)
    path.write_bytes(WEIGHTS)

    assert run_cli("remove", "team/one", *model, "--revision", "main").returncode == 0
    (left,) = json.loads(run_cli("list-local", *model, "--json").stdout)
    assert left["revision"] == hosted.commit("models/team/one", "old")
    names = {path.name for path in (desk.store / ".hgloc" / "blobs").glob("*/*")}
    assert hashlib.sha256(b"{1}").hexdigest() in names
    assert hashlib.sha256(b"{}").hexdigest() not in names
    assert run_cli("remove", "team/one", *model).returncode == 0
    assert not list((desk.store / ".hgloc" / "blobs").glob("*/*"))

    assert run_cli("withdraw", "team/one", *model).returncode == 0
    assert [key for key in desk.bucket_keys("public_repositories/") if "refs.json" not in key] == []
    assert run_cli("remove", "team/one", *model, "--s3").returncode == 0
    assert json.loads(run_cli("list-s3", *model, "--json").stdout) == []
    assert desk.bucket_keys(".hgloc/blobs/")  # For a day.
    assert run_cli("remove", "team/one", *model, "--s3").returncode == 3
    hosted.stop()
    desk.teammate()
    assert current_session().repositories.refs(MODEL) is None
    hosted.start()
    desk.publisher()
    _download()
    hosted.stop()
    desk.teammate()
    assert len(_content(_found("model")[1])) == len(FILES) + 1


def test_files_of_removed_snapshots_go_after_a_day_unless_others_name_them(
    hosted: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publisher()
    _download()
    _download(revision="old")
    monkeypatch.setattr("hf_localize.publish.repositories._GRACE_SECONDS", 0)  # A day later.
    remove_repository("team/one", repo_type="model", revision="main", place="s3")
    blobs = {key.rpartition("/")[2] for key in desk.bucket_keys(".hgloc/blobs/")}
    assert hashlib.sha256(b"{1}").hexdigest() in blobs
    assert hashlib.sha256(b"{}").hexdigest() not in blobs
    assert desk.bucket_keys(".hgloc/removed/") == []
    hosted.stop()
    desk.teammate()
    assert len(_content(_found("model", "old")[1])) == len(FILES) + 1


@pytest.mark.sampled(1)
@pytest.mark.parametrize("who", ["publisher", "teammate", "outsider"])
def test_huggingface_hub_reads_what_is_stored_with_the_hub_down(
    hosted: LoopbackHub, desk: Desk, who: str, tmp_path: Path
) -> None:
    desk.publisher()
    desk.open_public_places()
    _download(make_public=True)
    hosted.stop()
    if who != "publisher":
        getattr(desk, who)()
    code = """
import hf_localize; hf_localize.install()
from pathlib import Path
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
folder = Path(snapshot_download("team/one"))
paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
print(paths)
print(sorted(HfApi().list_repo_files("team/one")) == paths)
print([tag.name for tag in HfApi().list_repo_refs("team/one").tags])
weights = (folder / "sub folder/model #1.bin").read_bytes()
print(HfFileSystem().read_bytes("team/one/sub folder/copy.bin") == weights)
"""
    ran = run_python(code, cwd=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.splitlines() == [str(sorted([*FILES, "type.txt"])), "True", "['v1']", "True"]


def test_a_file_that_huggingface_hub_refuses_is_told_and_does_not_stop_the_next(
    hosted: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    hosted.add(make_repository(tmp_path / "hub", "models/team/odd", "main", {"a.txt": b"a", "c:b.txt": b"b"}))
    desk.outsider()
    todo = [RepositoryRef(Repository("model", repo_id), None) for repo_id in ("team/odd", "team/one")]
    odd, fine = download_repositories(todo)
    assert fine.success
    if not odd.success:  # Releases before 1 take any name.
        assert odd.error_kind == "corrupt"
        assert "'c:b.txt' of model team/odd" in (odd.error or "")
        assert "--exclude" in (odd.error or "")
        assert download_repository("team/odd", repo_type="model", exclude=["c:*"]).success
