"""Repositories as they are on the Hub: localized by one, used by teammates and outsiders without the Hub."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from hf_localize.api.repositories import download_repository
from hf_localize.format.repository import Repository, RepositoryRefs, RepoType, Snapshot
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository

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


@pytest.mark.sampled(3)
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
    for wrong in (("--name", "x"), ("--update",), ("--no-checks",)):
        assert run_cli("download", "team/one", "--files-only", *wrong).returncode == 2
