"""The files of a repository hold all of its configs: sharing one config opens none that is kept private."""

from __future__ import annotations

import http.server
import io
import json
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.format.refs import original_mark
from hf_localize.format.repository import Repository
from hf_localize.http.public_files import PublicFiles
from hf_localize.publish.repositories import upload_repository
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub, make_repository
from tests.rig.s3_proxy import Rule, Status

ID = "made/two"
CARD = b"""---
configs:
- config_name: open
  data_files: open/*.csv
- config_name: closed
  data_files: closed/*.csv
---
"""
#: Rows that nothing else holds.
OPEN, CLOSED = b"row-of-the-open-config", b"row-of-the-closed-config"
FILES = {"README.md": CARD, "open/a.csv": b"text\n" + OPEN, "closed/b.csv": b"text\n" + CLOSED}


@pytest.fixture(autouse=True)
def _hosted(hub: LoopbackHub, desk: Desk) -> None:
    hub.add(make_repository(desk.folder / "repositories", ID, "main", FILES))
    desk.publisher().open_public_places()


def outsiders_read(desk: Desk, key: str) -> bytes | None:
    """Return what somebody without credentials gets for *key*; None: nothing."""
    try:
        with urllib.request.urlopen(f"{desk.server.endpoint_url}/{desk.bucket}/{key}") as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError:
        return None


def public_files(desk: Desk) -> set[str]:
    """Return the paths of the files that outsiders find listed and can read, by their content."""
    found: set[bytes] = set()
    for key in desk.bucket_keys():
        data = outsiders_read(desk, key)
        if key.startswith("public_repositories/blobs/") and data is not None:
            found.add(data)
    return {path for path, data in FILES.items() if data in found}


def done(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, by itself where processes of its own speak on its stderr."""
    has_others = {"--from-file", "--all", "--all-configs"}.intersection(arguments)
    ran = run_cli(*arguments, cwd=Path.cwd() if has_others else None)
    assert ran.returncode == 0, ran.stderr
    return ran


def keep_in_the_store() -> None:
    done("download", ID, "--name", "closed", "--no-s3-upload")


def keep_in_the_bucket(desk: Desk) -> None:
    done("download", ID, "--name", "closed", "--no-files")
    desk.publisher()


def keep_another_revision(hub: LoopbackHub, desk: Desk) -> None:
    done("download", ID, "--name", "closed", "--revision", hub.commit(ID), "--no-files")
    desk.publisher()


SHARE: dict[str, Callable[[], subprocess.CompletedProcess[str]]] = {
    "download": lambda: done("download", ID, "--name", "open", "--make-public"),
    "from a list": lambda: done("download", "--from-file", "list.txt", "--make-public"),
    "sync": lambda: done("sync-local-to-s3", ID, "--name", "open", "--make-public"),
    "Python": lambda: done("download", ID, "--name", "open", "--make-public", "--json"),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("way", SHARE)
@pytest.mark.parametrize("where", ["store", "bucket", "another revision"])
def test_files_are_not_shared_where_another_config_is_kept_private(
    where: str, way: str, hub: LoopbackHub, desk: Desk
) -> None:
    if where == "store":
        keep_in_the_store()
    elif where == "bucket":
        keep_in_the_bucket(desk)
    else:
        keep_another_revision(hub, desk)
    (desk.folder / "work" / "list.txt").write_text(f"{ID} open\n")
    if way == "sync":
        done("download", ID, "--name", "open", "--no-s3-upload")
    ran = SHARE[way]()
    assert public_files(desk) == set()
    assert f"{ID} [closed]" in ran.stderr
    (command,) = {
        line.partition("all the same: ")[2] for line in ran.stderr.splitlines() if "the same" in line
    }
    assert command.startswith("hg-localize sync-local-to-s3")
    assert [item.config_name for item in hf_localize.list_public_datasets()] == ["open"]
    ran = done(*command.split()[1:])
    assert public_files(desk) == set(FILES)
    assert "all configs" in ran.stdout


def test_files_are_shared_by_default_with_a_line_that_says_what_they_hold(desk: Desk) -> None:
    ran = SHARE["download"]()
    assert public_files(desk) == set(FILES)
    assert "shared publicly, with the data of all configs" in ran.stderr
    ran = SHARE["download"]()
    assert "shared publicly already, with the data of all configs" in ran.stderr
    ran = SHARE["sync"]()
    assert "its files: shared publicly already, with the data of all configs" in ran.stdout


def test_files_that_are_named_are_shared_all_the_same(desk: Desk) -> None:
    keep_in_the_store()
    ran = done("download", ID, "--name", "open", "--make-public", "--keep-files")
    assert public_files(desk) == set(FILES)
    assert ran.stderr.count("with the data of all configs") == 2  # Of the files, and of the ZIP of them.


def test_configs_that_are_shared_together_keep_no_files_back(desk: Desk) -> None:
    keep_in_the_store()
    done("download", ID, "--all-configs", "--make-public")
    assert public_files(desk) == set(FILES)
    done("withdraw", ID, "--name", "open")
    assert public_files(desk) == set()
    done("sync-local-to-s3", "--all", "--make-public")
    assert public_files(desk) == set(FILES)


def test_a_sync_of_everything_keeps_back_what_holds_a_config_that_only_the_bucket_has(desk: Desk) -> None:
    keep_in_the_bucket(desk)
    done("download", ID, "--name", "open", "--keep-files", "--no-s3-upload")
    ran = done("sync-local-to-s3", "--all", "--make-public")
    assert public_files(desk) == set()
    assert [item.config_name for item in hf_localize.list_public_datasets()] == ["open"]
    assert f"hg-localize sync-local-to-s3 {ID} --name original_files --make-public" in ran.stderr
    done("sync-local-to-s3", ID, "--name", "original_files", "--make-public")
    assert len(hf_localize.list_public_datasets()) == 2


def test_files_of_a_repository_without_datasets_are_kept_back_from_a_sync_of_everything(desk: Desk) -> None:
    keep_in_the_bucket(desk)
    done("download", ID, "--files-only", "--no-s3-upload")
    ran = done("sync-local-to-s3", "--all", "--make-public")
    assert public_files(desk) == set()
    assert f"{ID} [closed]" in ran.stderr


def test_a_config_that_is_public_already_in_files_is_named_when_it_is_uploaded(desk: Desk) -> None:
    SHARE["download"]()
    ran = done("download", ID, "--name", "open", "--no-files")
    assert "--files-only" not in ran.stderr
    ran = done("download", ID, "--name", "closed", "--no-files")
    assert f"{ID} [closed] is not shared publicly, but outsiders can read it" in ran.stderr
    (command,) = {
        line.rpartition("sharing them: ")[2] for line in ran.stderr.splitlines() if "withdraw" in line
    }
    done(*command.split()[1:])
    assert public_files(desk) == set()
    assert [item.config_name for item in hf_localize.list_public_datasets()] == ["open"]


def test_without_files_the_command_says_that_they_are_public_from_before(desk: Desk) -> None:
    SHARE["download"]()
    for arguments in (["--name", "open"], ["--all-configs"]):
        ran = done("download", ID, *arguments, "--no-files", "--make-public")
        assert ran.stderr.count(f"hg-localize withdraw {ID} --files-only") == 1
    keep_in_the_store()
    done("withdraw", ID, "--name", "closed")
    ran = done("download", ID, "--name", "open", "--no-files", "--make-public")
    assert "--files-only" not in ran.stderr


@pytest.mark.sampled(2)
@pytest.mark.parametrize("public", [True, False])
def test_files_that_patterns_leave_out_are_not_uploaded_though_they_are_stored(
    public: bool, desk: Desk
) -> None:
    for stored in (["--no-s3-upload"], []):  # In the store; in the bucket too.
        done("download", ID, "--files-only", *stored)
        if public or stored:
            how = ["--make-public"] if public else []
            done("download", ID, "--files-only", "--exclude", "closed/*", *how)
            found = public_files(desk) if public else team_files(desk)
            assert found == {"README.md", "open/a.csv"}, stored
    if public:
        download_repository(ID, include=["*.md"], make_public=True)
        assert public_files(desk) == {"README.md", "open/a.csv"}
        listed = [outsiders_read(desk, key) for key in desk.bucket_keys("public_repositories/repositories/")]
        assert not any(b"closed" in data for data in listed if data and b'"paths"' in data)
    download_repository(ID, make_public=public)  # What is not left out comes later.
    assert (public_files(desk) if public else team_files(desk)) == set(FILES)


def test_a_file_that_is_public_from_before_is_named_where_patterns_leave_it_out(desk: Desk) -> None:
    done("download", ID, "--files-only", "--make-public")
    ran = done("download", ID, "--files-only", "--make-public", "--exclude", "closed/*")
    assert "closed/b.csv" in ran.stderr
    assert f"hg-localize withdraw {ID} --files-only" in ran.stderr


def team_files(desk: Desk) -> set[str]:
    client = desk.client()
    keys = desk.bucket_keys(".hgloc/blobs/")
    found = {client.get_object(Bucket=desk.bucket, Key=key)["Body"].read() for key in keys}
    return {path for path, data in FILES.items() if data in found}


def plan_of(*arguments: str) -> tuple[list[tuple[str | None, str, int]], str]:
    """Return what would be shared, as config (of files: commit), action and bytes; and stderr."""
    ran = done(*arguments, "--make-public", "--dry-run", "--json")
    shown = [item for item in json.loads(ran.stdout) if item["action"] not in ("fetch", "upload")]
    return [
        (item["config_name"] or item["revision"], item["action"], item["size_bytes"]) for item in shown
    ], ran.stderr


def test_the_files_are_in_the_plan_of_what_would_be_shared(hub: LoopbackHub, desk: Desk) -> None:
    files, some = (
        (hub.commit(ID), "share", sum(map(len, FILES.values()))),
        len(CARD) + len(FILES["open/a.csv"]),
    )
    one = ("download", ID, "--name", "open")
    (config, action, _), of_files = plan_of(*one)[0]
    assert (config, action, of_files) == ("open", "share", files)
    assert "with the data of all configs" in plan_of(*one)[1]
    assert len(plan_of(*one, "--no-files")[0]) == 1
    assert plan_of("download", ID, "--files-only")[0] == [files]
    assert plan_of("download", ID, "--exclude", "closed/*")[0] == [(hub.commit(ID), "share", some)]
    assert len(plan_of("download", ID, "--all-configs")[0]) == 3
    assert plan_of(*one, "--no-s3-upload")[0] == []
    assert desk.bucket_keys() == []
    done(*one)
    assert [action for _, action, _ in plan_of(*one)[0]] == ["nothing", "share", "share"]
    assert plan_of("sync-local-to-s3", ID, "--name", "open")[0][1:] == plan_of(*one)[0][1:]
    assert files in plan_of("sync-local-to-s3", ID, "--files-only")[0]
    done(*one, "--make-public")
    assert {action for _, action, _ in plan_of(*one)[0]} == {"nothing"}
    assert plan_of("sync-local-to-s3", "--all")[0][-1] == (hub.commit(ID), "nothing", 0)
    done("withdraw", ID, "--files-only")
    keep_in_the_store()
    shown, stderr = plan_of(*one)
    assert files not in shown
    assert f"{ID} [closed]" in stderr


def everything_public(desk: Desk) -> dict[str, bytes]:
    """Return what outsiders can read: the objects of the bucket, and their former versions, unpacked."""
    found = {key: data for key in desk.bucket_keys() if (data := outsiders_read(desk, key)) is not None}
    versions = desk.client().list_object_versions(Bucket=desk.bucket).get("Versions", [])
    for key, version in ((item["Key"], item["VersionId"]) for item in versions if not item["IsLatest"]):
        data = outsiders_read(desk, f"{key}?versionId={version}")
        if data is not None:
            found[f"{key} {version}"] = data
    for key, data in list(found.items()):
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                found |= {f"{key}/{name}": archive.read(name) for name in archive.namelist()}
    return found


def holding(desk: Desk, row: bytes) -> list[str]:
    return sorted(key for key, data in everything_public(desk).items() if row in data)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("keeps_versions", [False, True])
def test_after_a_withdrawal_nothing_public_holds_a_row(keeps_versions: bool, desk: Desk) -> None:
    if keeps_versions:
        enabled = {"Status": "Enabled"}
        desk.client().put_bucket_versioning(Bucket=desk.bucket, VersioningConfiguration=enabled)
    done("download", ID, "--all-configs", "--make-public", "--keep-files")
    for _ in range(2):  # The pages are replaced.
        done("catalog", "--publish", "--public")
    page = "public_datasets_zip/catalog/datasets/made--two--closed.html"
    places = (
        "catalog/datasets/made--two--closed.html",
        "/blobs/",
        "closed---default_revision.zip/",
        "original_files---",
    )
    held = holding(desk, CLOSED)
    assert all(any(place in key for key in held) for place in places), held
    ran = done("withdraw", ID, "--name", "closed")
    assert holding(desk, CLOSED) == []
    assert page not in desk.bucket_keys()
    assert "hg-localize catalog --publish --public" in ran.stderr
    assert f"files of dataset {ID}: can no longer be read without credentials" in ran.stderr
    assert "made--two--open.html" in " ".join(holding(desk, OPEN))
    assert b"made--two--closed" in everything_public(desk)["public_datasets_zip/catalog/index.html"]
    done("catalog", "--publish", "--public")
    assert b"made--two--closed" not in everything_public(desk)["public_datasets_zip/catalog/index.html"]
    assert done("withdraw", ID, "--name", "open").stderr.count("catalog --publish --public") == 1
    assert holding(desk, OPEN) == []


def test_withdrawing_files_takes_their_zip_too(desk: Desk) -> None:
    done("download", ID, "--name", "open", "--keep-files", "--make-public")
    assert len(holding(desk, CLOSED)) > 1
    ran = done("download", ID, "--name", "closed", "--no-files")
    assert f"hg-localize withdraw {ID} --files-only" in ran.stderr
    done("withdraw", ID, "--files-only")
    assert holding(desk, CLOSED) == []
    assert [item.config_name for item in hf_localize.list_public_datasets()] == ["open"]


def test_a_dry_run_of_a_withdrawal_lists_all_that_goes(desk: Desk) -> None:
    done("download", ID, "--all-configs", "--make-public", "--keep-files")
    done("catalog", "--publish", "--public")
    keys, sizes = (
        desk.bucket_keys(),
        {one.config_name: one.size_bytes for one in hf_localize.list_public_datasets(details=True)},
    )
    of_files = sum(map(len, FILES.values()))

    def planned(*arguments: str) -> tuple[list[tuple[str | None, int]], str]:
        ran = done("withdraw", ID, *arguments, "--dry-run", "--json")
        rows = json.loads(ran.stdout)
        assert {row["action"] for row in rows} == {"withdraw"}
        return [(row["config_name"], row["size_bytes"]) for row in rows], ran.stderr

    rows, told = planned("--name", "closed")
    others = [("original_files", sizes["original_files"]), (None, of_files)]
    assert rows == [("closed", sizes["closed"]), *others]
    assert f"files of dataset {ID} that would be withdrawn: 3" in told
    pages = [line for line in told.splitlines() if "a page of the catalog, would be removed" in line]
    assert [page.partition(" in ")[0] for page in pages] == [
        f"public_datasets_zip/catalog/datasets/made--two--{name}.html"
        for name in ("closed", "original_files")
    ]
    assert planned("--files-only")[0] == others
    assert planned("--name", "original_files")[0] == others
    assert desk.bucket_keys() == keys
    done("withdraw", ID, "--name", "closed")
    gone = set(keys) - set(desk.bucket_keys())
    assert {page.partition(" in ")[0] for page in pages} <= gone
    assert [one.config_name for one in hf_localize.list_public_datasets()] == ["open"]
    assert public_files(desk) == set()


def test_a_dry_run_of_a_removal_lists_the_files_that_go_with_the_last_dataset(desk: Desk) -> None:
    done("download", ID, "--all-configs")
    for place in ("local", "s3"):
        for name, has_files in (("open", False), ("closed", True)):
            ran = done("remove", ID, "--name", name, "--in", place, "--dry-run", "--json")
            rows = [row["config_name"] for row in json.loads(ran.stdout)]
            assert rows == [name, *([None] if has_files else [])], place
            assert (f"files of dataset {ID} that would be removed: 3" in ran.stderr) == has_files
            done("remove", ID, "--name", name, "--in", place, "--yes")


def test_a_page_that_an_interrupted_withdrawal_has_left_is_removed(desk: Desk) -> None:
    done("download", ID, "--name", "open", "--make-public", "--no-files")
    done("catalog", "--publish", "--public")
    desk.s3.fail(Rule("DELETE", "/catalog/", Status(403, "AccessDenied"), times=1))
    assert run_cli("withdraw", ID, "--name", "open").returncode == 4
    assert hf_localize.list_public_datasets() == []
    done("withdraw", ID, "--name", "open")
    assert holding(desk, OPEN) == []


def test_what_is_removed_from_the_bucket_has_no_page_in_the_teams_catalog(desk: Desk) -> None:
    done("download", ID, "--all-configs")
    done("catalog", "--publish")
    pages = desk.bucket_keys(".hgloc/site/datasets/")
    assert len(pages) == 3
    ran = done("remove", ID, "--name", "closed", "--in", "s3", "--yes")
    assert set(pages) - set(desk.bucket_keys()) == {".hgloc/site/datasets/made--two--closed.html"}
    assert "hg-localize catalog --publish" in ran.stderr
    # Two configs that are uploaded at the same time may leave this mark.
    desk.client().put_object(Bucket=desk.bucket, Key=original_mark(ID), Body=b"")
    done("remove", ID, "--name", "open", "--in", "s3", "--yes")  # Its files go too.
    assert desk.bucket_keys(".hgloc/site/datasets/") == []


def test_withdrawing_files_says_who_can_still_read_them_and_which_are_shared(desk: Desk) -> None:
    done("download", ID, "--name", "open", "--make-public")
    assert done("withdraw", ID, "--files-only").stdout == (
        f"files of dataset {ID}: can no longer be read without credentials\n"
    )
    assert team_files(desk) == set(FILES)
    ran = run_cli("withdraw", ID, "--files-only")
    assert ran.returncode == 3
    assert f"the files of dataset {ID} are not shared publicly" in ran.stderr
    assert "hg-localize list-public --repo-type dataset" in ran.stderr
    done("download", ID, "--files-only", "--make-public")
    ran = run_cli("withdraw", ID, "--name", "closed")
    assert ran.returncode == 3
    assert f"hg-localize withdraw {ID} --files-only" in ran.stderr


def test_files_that_an_interrupted_withdrawal_has_left_are_removed(desk: Desk) -> None:
    done("download", ID, "--files-only", "--make-public")
    keys = desk.bucket_keys("public_repositories/repositories/")
    (snapshot,) = (key for key in keys if "refs.json" not in key)
    body = desk.client().get_object(Bucket=desk.bucket, Key=snapshot)["Body"].read()
    left = snapshot.replace("/repositories/", "/removed/", 1)
    desk.client().put_object(Bucket=desk.bucket, Key=left, Body=body)
    desk.client().delete_object(Bucket=desk.bucket, Key=snapshot)
    assert public_files(desk) == set(FILES)
    done("withdraw", ID, "--files-only")
    assert public_files(desk) == set()


def test_files_that_are_shared_while_they_are_withdrawn_are_all_there(desk: Desk) -> None:
    done("download", ID, "--files-only", "--make-public")
    session, withdrawals = current_session(), [("withdraw", ID, "--files-only")]

    class Meanwhile(PublicFiles):
        def is_readable(self, key: str, version_id: str | None = None) -> bool:
            found = PublicFiles.is_readable(self, key, version_id)
            if withdrawals:
                done(*withdrawals.pop())
            return found

    outsider = Meanwhile(session.public_files.base_url, 30)
    local, repository = session.repositories.local, Repository("dataset", ID)
    refs = local.refs(repository)
    assert refs is not None
    upload_repository(local, repository, refs.commits, session.bucket, workers=2, public_files=outsider)
    assert not withdrawals
    assert public_files(desk) == set(FILES)
    assert run_cli("verify", "--in", "public", "--deep").returncode == 0


@pytest.mark.parametrize(("method", "path"), [("DELETE", "original_files---"), ("PUT", "/removed/")])
def test_after_an_interrupted_withdrawal_of_a_config_the_next_names_the_files_that_are_left(
    method: str, path: str, desk: Desk
) -> None:
    done("download", ID, "--name", "closed", "--make-public", "--keep-files")
    desk.s3.fail(Rule(method, path, Status(403, "AccessDenied")))
    assert run_cli("withdraw", ID, "--name", "closed").returncode == 4
    assert holding(desk, CLOSED)
    desk.s3.heal()
    ran = run_cli("withdraw", ID, "--name", "closed")
    assert ran.returncode == 3
    assert f"hg-localize withdraw {ID} --files-only" in ran.stderr
    done("withdraw", ID, "--files-only")
    assert holding(desk, CLOSED) == []


def test_former_versions_that_an_interrupted_withdrawal_has_left_open_are_closed(desk: Desk) -> None:
    if not desk.server.supports_acl:
        pytest.skip("a policy for s3:GetObject does not open former versions")
    enabled = {"Status": "Enabled"}
    desk.client().put_bucket_versioning(Bucket=desk.bucket, VersioningConfiguration=enabled)
    done("download", ID, "--files-only", "--make-public")
    desk.s3.fail(Rule("PUT", ".", Status(403, "AccessDenied"), query="acl"))
    desk.s3.fail(Rule("DELETE", ".", Status(403, "AccessDenied"), query="versionId"))
    ran = run_cli("withdraw", ID, "--files-only")
    assert ran.returncode == 1
    assert "Run the command again" in ran.stderr
    assert public_files(desk) == set()
    assert holding(desk, CLOSED)
    desk.s3.heal()
    done("withdraw", ID, "--files-only")
    assert holding(desk, CLOSED) == []
    assert run_cli("withdraw", ID, "--files-only").returncode == 3


class _Cache(http.server.BaseHTTPRequestHandler):
    """A CDN that has a byte of everything."""

    def do_GET(self) -> None:
        self.send_response(206)
        self.send_header("Content-Range", "bytes 0-0/1")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


def test_a_cache_that_still_delivers_withdrawn_files_is_named(desk: Desk) -> None:
    done("download", ID, "--files-only", "--make-public")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Cache) as cache:
        threading.Thread(target=cache.serve_forever, daemon=True).start()
        desk.set(HGLOC_PUBLIC_URL=f"http://127.0.0.1:{cache.server_port}")
        ran = run_cli("withdraw", ID, "--files-only")
        cache.shutdown()
    assert ran.returncode == 1
    assert "public_repositories/ from the CDN or cache" in ran.stderr
    assert public_files(desk) == set()
