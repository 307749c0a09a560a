"""The pure function that answers the Hub's HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from hf_localize.format.repository import Repository, RepositoryFile, RepositoryRefs, Snapshot
from hf_localize.hf.doors.answer import Part, Reply, Request, answer, changed_by, not_held

COMMIT, OLD, ABSENT = "a" * 40, "b" * 40, "c" * 40
CARD = RepositoryFile("README.md", 5, "1" * 64, "2" * 40)
DATA = RepositoryFile("data/train.parquet", 100, "3" * 64, None, is_lfs=True)
DEEP = RepositoryFile("data/more/x.json", 2, "4" * 64, "5" * 40)


class Places:
    """Hold one repository."""

    def __init__(self, repo_type="dataset", repo_id="org/data", **changes: object) -> None:
        self.repository = Repository(repo_type, repo_id)
        info = {"lastModified": "2024-01-01T00:00:00.000Z", "xetEnabled": True, "likes": 7}
        snapshot = Snapshot(self.repository, COMMIT, (CARD, DATA, DEEP), info=info)
        self.snapshots = {COMMIT: replace(snapshot, **changes)}

    def spellings(self, repository: Repository, *, everywhere: bool) -> Iterator[Repository]:
        yield repository

    def refs(self, repository: Repository, revision: str | None = None) -> RepositoryRefs | None:
        if repository != self.repository:
            return None
        return RepositoryRefs(
            repository, {"main": COMMIT}, {"v1": COMMIT, "v0": ABSENT}, {"parquet": COMMIT}, (COMMIT,)
        )

    def snapshot(self, repository: Repository, commit: str) -> Snapshot | None:
        return self.snapshots.get(commit)


def ask(
    url: str, method="GET", places: Places | None = None, *, is_last=True, body=b"", **headers: str
) -> Reply | None:
    parts = urlsplit(url)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, parts.path, parts.query, named, body, "https://hub")
    reply = answer(request, places or Places(), is_last=is_last)
    if reply is not None:
        assert "Content-Length" in reply.headers
        assert not any("xet" in name.lower() for name in reply.headers)
        if isinstance(reply.body, bytes):
            assert b"xet" not in reply.body.lower()
        if method == "HEAD":
            assert reply.body == b""
        elif isinstance(reply.body, bytes):
            assert len(reply.body) == int(reply.headers["Content-Length"])
    return reply


def told(url: str, **options):
    reply = ask(url, **options)
    assert reply is not None
    assert reply.status == 200
    return json.loads(reply.body)


FILE = "/datasets/org/data/resolve/main/data/train.parquet"


def test_a_file_is_given_with_the_headers_of_the_hub() -> None:
    reply = ask(FILE)
    assert reply is not None
    assert reply.body == Part(Places().snapshots[COMMIT], DATA, 0, 100)
    wanted = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Size": "100",
        "Content-Length": "100",
        "Accept-Ranges": "bytes",
    }
    assert wanted.items() <= reply.headers.items()
    assert reply.headers["ETag"] == reply.headers["X-Linked-Etag"] == f'"{DATA.sha256}"'
    assert ask("/datasets/org/data/resolve/main/README.md").headers["ETag"] == f'"{CARD.oid}"'


def test_a_head_has_the_length_of_the_file_and_no_body() -> None:
    assert ask(FILE, "HEAD").headers["Content-Length"] == "100"


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", (0, 10)), ("bytes=90-", (90, 100)), ("bytes=-5", (95, 100)), ("bytes=90-500", (90, 100))],
)
def test_a_range_is_a_part_of_the_file(asked: str, part: tuple[int, int]) -> None:
    reply = ask(FILE, range=asked)
    assert reply.status == 206
    assert (reply.body.start, reply.body.stop) == part
    assert reply.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/100"
    assert reply.headers["Content-Length"] == str(part[1] - part[0])


def test_a_range_past_the_end_is_refused_and_several_ranges_give_the_whole() -> None:
    refused = ask(FILE, range="bytes=100-")
    assert (refused.status, refused.headers["Content-Range"]) == (416, "bytes */100")
    assert ask(FILE, range="bytes=0-1,5-6").status == 200
    assert ask(FILE, "HEAD", range="bytes=0-1").headers["Content-Length"] == "100"


def test_raw_is_what_git_has_which_points_to_a_large_file() -> None:
    assert ask("/datasets/org/data/raw/main/README.md") == ask("/datasets/org/data/resolve/main/README.md")
    pointer = ask(FILE.replace("resolve", "raw"))
    assert pointer.body.decode().splitlines()[1:] == [f"oid sha256:{DATA.sha256}", "size 100"]
    assert ask("/datasets/org/data/raw/main/none").status == 404


def test_the_rest_of_another_file_is_not_sent() -> None:
    for etag, status in ((f'"{DATA.sha256}"', 206), ('"else"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        assert ask(FILE, range="bytes=5-", if_range=etag).status == status


@pytest.mark.parametrize("etag", [f'"{DATA.sha256}"', f'W/"{DATA.sha256}"', "*", f'"x", "{DATA.sha256}"'])
def test_a_file_that_the_client_has_is_not_sent_again(etag: str) -> None:
    reply = ask(FILE, if_none_match=etag)
    assert (reply.status, reply.body) == (304, b"")
    assert ask(FILE, if_none_match='"else"').status == 200


@pytest.mark.parametrize(
    "revision", ["main", "v1", "refs%2Fconvert%2Fparquet", "refs/convert/parquet", COMMIT]
)
def test_a_branch_a_tag_a_ref_and_a_commit_name_a_snapshot(revision: str) -> None:
    assert ask(f"/datasets/org/data/resolve/{revision}/README.md").status == 200
    assert told(f"/api/datasets/org/data/revision/{revision}")["sha"] == COMMIT


def test_newer_clients_are_answered_where_the_hub_redirects_them() -> None:
    assert ask(f"/api/resolve-cache/datasets/org/data/{COMMIT}/README.md").status == 200


@pytest.mark.parametrize(("repo_type", "prefix"), [("model", ""), ("space", "spaces/")])
def test_models_and_spaces_have_their_own_paths(repo_type: str, prefix: str) -> None:
    places = Places(repo_type)
    assert ask(f"/{prefix}org/data/resolve/main/README.md", places=places).status == 200
    assert told(f"/api/{repo_type}s/org/data", places=places)["id"] == "org/data"
    assert ask("/datasets/org/data/resolve/main/README.md", places=places) is None


@pytest.mark.parametrize(
    "url",
    ["/datasets/org/data/resolve/main/nope", "/api/datasets/org/data/tree/main/nope"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_a_complete_snapshot_lacks_is_not_in_the_repository(url: str, method: str) -> None:
    reply = ask(url, method, is_last=False)
    assert (reply.status, reply.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert reply.headers["X-Repo-Commit"] == COMMIT
    assert method == "GET" or reply.headers["Content-Length"] == "0"


def test_what_a_partial_snapshot_lacks_may_be_elsewhere() -> None:
    partial = Places(allow_patterns=("data/*",), files=(DATA, DEEP))
    assert ask("/datasets/org/data/resolve/main/README.md", places=partial) is None
    assert ask(FILE, places=partial).status == 200
    # Its patterns would have chosen this one.
    assert ask("/datasets/org/data/resolve/main/data/no.json", places=partial).status == 404
    for listing in ("", "/tree/main", "/commits/main"):
        assert ask(f"/api/datasets/org/data{listing}", places=partial, is_last=False) is None
    for is_last in (True, False):
        assert ask("/api/datasets/org/data/tree/main/else", places=partial, is_last=is_last) is None
        for path in ("README.md", "else"):
            url, body = "/api/datasets/org/data/paths-info/main", f"paths={path}&paths=data".encode()
            assert ask(url, "POST", partial, is_last=is_last, body=body) is None
    assert ask("/api/datasets/org/data/tree/main/data/no", places=partial).status == 404
    paths = told("/api/datasets/org/data/tree/main?recursive=true", places=partial)
    assert [item["path"] for item in paths] == ["data", "data/more", "data/more/x.json", "data/train.parquet"]


def test_an_unknown_revision_is_not_found_unless_the_hub_can_be_asked() -> None:
    url = "/datasets/org/data/resolve/nope/README.md"
    reply = ask(url, "HEAD")
    assert (reply.status, reply.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert ask(url, is_last=False) is None
    for may_exist in (OLD, "refs%2Fpr%2F1", "v0"):  # A tag at a commit that is not here.
        assert ask(f"/datasets/org/data/resolve/{may_exist}/README.md") is None


@pytest.mark.parametrize(
    "url", ["/datasets/org/else/resolve/main/x", "/api/datasets/org/else", "/api/whoami-v2", "/"]
)
def test_what_is_not_held_is_not_answered(url: str) -> None:
    assert ask(url) is None
    assert ask(url, "HEAD") is None


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
@pytest.mark.parametrize("path", ["", "/commit/main", "/tree/main", "/revision/main", "/settings"])
def test_writes_are_not_answered(method: str, path: str) -> None:
    assert ask(f"/api/datasets/org/data{path}", method) is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(
            (f"/api/models/org/data/{path}", {})
            for path in ("commit/main", "branch/new", "tag/main", "settings")
        ),
        *((f"/api/models/org/data/{path}", {}) for path in ("super-squash/main", "discussions/1/merge")),
        ("/api/models/org/data/lfs-files/batch", {}),
        ("/api/repos/create", {"name": "data", "organization": "org"}),
        ("/api/repos/delete", {"name": "data", "organization": "org", "type": "model"}),
        ("/api/repos/move", {"fromRepo": "org/data", "toRepo": "org/new", "type": "model"}),
    ],
)
def test_what_changes_a_repository_is_known(path: str, body: dict[str, str]) -> None:
    request = Request("POST", path, body=json.dumps(body).encode())
    assert changed_by(request) == Repository("model", "org/data")


@pytest.mark.parametrize("path", ["/like", "/discussions/1/comment", "/user-access-request/handle"])
def test_what_leaves_a_repository_as_it_is_is_no_change(path: str) -> None:
    assert changed_by(Request("POST", f"/api/models/org/data{path}")) is None


def test_an_old_id_is_answered_by_the_present_one() -> None:
    squad = Places(repo_id="rajpurkar/squad")
    for name in ("squad", "SQuAD", "rajpurkar/squad"):
        assert told(f"/api/datasets/{name}/revision/main", places=squad)["id"] == "rajpurkar/squad"
        assert ask(f"/datasets/{name}/resolve/main/README.md", places=squad).status == 200


def test_the_names_of_routes_can_be_parts_of_an_id() -> None:
    assert told("/api/datasets/org/refs", places=Places(repo_id="org/refs"))["id"] == "org/refs"


def test_the_facts_of_a_repository_are_those_of_the_hub() -> None:
    facts = told("/api/datasets/org/data")
    assert (facts["id"], facts["author"], facts["sha"], facts["likes"]) == ("org/data", "org", COMMIT, 7)
    assert facts["siblings"][0] == {"rfilename": "README.md"}
    lfs = {"sha256": DATA.sha256, "size": 100, "pointerSize": 128}
    sibling = told("/api/datasets/org/data?blobs=true")["siblings"][1]
    assert (sibling["size"], sibling["lfs"], len(sibling["blobId"])) == (100, lfs, 40)
    assert set(told("/api/datasets/org/data?expand=sha&expand=likes")) == {"_id", "id", "sha", "likes"}
    for more in ("expand=sha&expand=downloadsAllTime", "securityStatus=true"):  # Only the Hub knows that.
        assert told(f"/api/datasets/org/data?{more}")["sha"] == COMMIT
        assert ask(f"/api/datasets/org/data?{more}", is_last=False) is None


def test_a_tree_is_listed_page_by_page() -> None:
    url, seen = "https://hub/api/datasets/org/data/tree/main?recursive=true&limit=2", []
    while url:
        reply = ask(url.removeprefix("https://hub"))
        page = json.loads(reply.body)
        assert 0 < len(page) <= 2
        seen += page
        url = reply.headers.get("Link", "")[1:].partition(">")[0]
    assert [(item["type"], item["path"]) for item in seen] == [
        ("file", "README.md"),
        ("directory", "data"),
        ("directory", "data/more"),
        ("file", "data/more/x.json"),
        ("file", "data/train.parquet"),
    ]
    assert seen[4]["lfs"] == {"oid": DATA.sha256, "size": 100, "pointerSize": 128}
    direct = told("/api/datasets/org/data/tree/main/data?expand=true")
    assert [item["path"] for item in direct] == ["data/more", "data/train.parquet"]
    assert direct[0]["lastCommit"]["id"] == COMMIT


@pytest.mark.parametrize("as_json", [True, False])
def test_of_paths_those_that_exist_are_told(as_json: bool) -> None:
    body = b'{"paths": ["README.md", "data", "x"]}' if as_json else b"paths=README.md&paths=data&paths=x"
    kind = "application/json" if as_json else "application/x-www-form-urlencoded"
    url = "/api/datasets/org/data/paths-info/main"
    found = told(url, method="POST", body=body, content_type=kind)
    assert [(item["type"], item["path"]) for item in found] == [("file", "README.md"), ("directory", "data")]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"paths": 1}', b"null", pytest.param(b"[" * 100_000, id="deep")]
)
def test_a_body_that_makes_no_sense_is_refused(body: bytes) -> None:
    url = "/api/datasets/org/data/paths-info/main"
    assert ask(url, "POST", body=body, content_type="application/json").status == 400


def test_refs_and_the_commits_that_are_held_are_listed() -> None:
    refs = told("/api/datasets/org/data/refs")
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]
    assert [tag["name"] for tag in refs["tags"]] == ["v0", "v1"]
    assert refs["converts"][0]["ref"] == "refs/convert/parquet"
    assert [commit["id"] for commit in told("/api/datasets/org/data/commits/main")] == [COMMIT]


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "..%2f..%2fetc/passwd", "%00", "a%0d%0aX-Evil: 1", "/etc/passwd"]
)
@pytest.mark.parametrize("route", ["resolve/main", "tree/main"])
def test_a_hostile_path_is_no_file(path: str, route: str) -> None:
    place = "/datasets/org/data" if route.startswith("resolve") else "/api/datasets/org/data"
    reply = ask(f"{place}/{route}/{path}")
    assert reply.status == 404
    assert not any("\n" in value or "\r" in value for value in reply.headers.values())


def test_what_is_not_held_has_an_error_for_clients_that_cannot_go_on() -> None:
    head = not_held(Request("HEAD", "/datasets/a/b/resolve/main/x"))
    assert (head.status, head.body, head.headers["X-Error-Code"]) == (404, b"", "RepoNotFound")


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [
        (f"bytes={'9' * 5000}-", 416, None),
        (f"bytes=10-{'9' * 5000}", 206, 90),
        (f"bytes=-{'9' * 5000}", 206, 100),
        (f"bytes={'0' * 5000}1-2", 206, 2),
    ],
)
def test_a_range_may_have_thousands_of_digits(asked: str, status: int, length: int | None) -> None:
    reply = ask(FILE, range=asked)
    assert reply is not None
    assert reply.status == status
    assert length is None or reply.headers["Content-Length"] == str(length)


def test_a_page_of_a_tree_may_be_asked_for_by_thousands_of_digits() -> None:
    tree = "/api/datasets/org/data/tree/main?recursive=true"
    assert told(f"{tree}&cursor={'9' * 5000}") == []
    assert told(f"{tree}&limit={'9' * 5000}") == told(tree)
