"""What clients of the loopback Hub write: repositories, commits, branches, tags, LFS objects.

The requests are those of `push_to_hub` of `datasets` 2.21 to 5.2 and of `HfApi` of huggingface_hub
1.33 and 2.4, with Xet switched off (see `LoopbackHub.client_environment`). LFS as in git-lfs'
``docs/api/batch.md``, by its basic transfer.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tests.rig.hub_calls import ID, LFS_SUFFIXES, REV, USER, Answer, Call, RefusalError, Route, json_answer
from tests.rig.hub_storage import Repository, Snapshot, Uploads

# What the first commit of a repository has.
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)


def _check_writer(call: Call) -> Uploads:
    """Return where to write, if the token may."""
    if call.token is None:
        raise RefusalError(401, None, "Invalid username or password.")
    if call.token not in call.hub.known_tokens():
        raise RefusalError(401, None, "Invalid credentials in Authorization header")
    if call.token not in call.hub.writers:
        raise RefusalError(403, None, "This token may not write: use one that LoopbackHub.writers has")
    if call.hub.uploads is None:
        raise RefusalError(403, None, "This Hub is read-only: give LoopbackHub a folder for uploads")
    return call.hub.uploads


# --- repositories -----------------------------------------------------------------------------


def _asked_repository(call: Call) -> str:
    asked = call.json()
    if asked.get("type") != "dataset":
        raise RefusalError(400, None, "This Hub has datasets alone: set repo_type='dataset'")
    return f"{asked.get('organization') or USER}/{asked['name']}"


def _create_repository(call: Call) -> Answer:
    uploads = _check_writer(call)
    dataset_id, asked = _asked_repository(call), call.json()
    with call.hub.lock:
        existing = call.hub.other_case(dataset_id) or dataset_id
        if call.hub.find(existing) is not None:
            known = {"error": "You already created this dataset repo", "url": _url(call, existing)}
            return json_answer(known, 409)
        uploads.commit(
            Repository(dataset_id, uploads.folder / dataset_id),
            "main",
            {".gitattributes": GIT_ATTRIBUTES.encode()},
        )
        # huggingface_hub >= 2 sends the second spelling.
        if asked.get("private") or asked.get("visibility") == "private":
            call.hub.private[dataset_id] = {str(call.token)}
    return json_answer({"url": _url(call, dataset_id), "name": dataset_id, "id": dataset_id})


def _url(call: Call, dataset_id: str) -> str:
    return f"{call.hub.url}/datasets/{dataset_id}"


def _delete_repository(call: Call) -> Answer:
    uploads = _check_writer(call)
    dataset_id = _asked_repository(call)
    with call.hub.lock:
        if call.hub.find(dataset_id) is None:
            raise RefusalError(404, "RepoNotFound", "Repository not found")
        if uploads.find(dataset_id) is None:
            raise RefusalError(403, None, f"{dataset_id} lies in the root, which is read-only")
        uploads.delete(dataset_id)
        call.hub.private.pop(dataset_id, None)
        call.hub.gated.pop(dataset_id, None)
        for key in [key for key in call.hub.tags if key[0] == dataset_id]:
            del call.hub.tags[key]
    return json_answer({})


def _create_branch(call: Call) -> Answer:
    with call.hub.lock:
        repository = call.repository()
        uploads = _check_writer(call)
        branch, start = call.parts["branch"], call.json().get("startingPoint", "main")
        if branch.startswith("refs/"):
            raise RefusalError(400, None, f"Invalid reference for a branch: {branch}")
        if branch in repository.revisions():
            raise RefusalError(409, None, f"Reference already exists: {branch}")
        uploads.commit(uploads.adopt(repository), branch, call.snapshot(repository, start).sources())
    return json_answer({})


def _create_tag(call: Call) -> Answer:
    with call.hub.lock:
        repository = call.repository()
        uploads = _check_writer(call)
        key = (repository.dataset_id, call.json()["tag"])
        if key in call.hub.tags:
            raise RefusalError(409, None, f"Tag reference exists already: {key[1]}")
        commit = call.snapshot(repository).commit
        uploads.adopt(repository)  # There the commit stays when its branch moves on.
        call.hub.tags[key] = commit
    return json_answer({})


# --- commits ----------------------------------------------------------------------------------


def _validate_yaml(call: Call) -> Answer:
    """Tell whether the front matter of a README.md is YAML."""
    parts = call.json()["content"].split("---\n")
    try:
        yaml.safe_load(parts[1] if len(parts) > 2 and not parts[0] else "")
    except yaml.YAMLError as error:
        return json_answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return json_answer({"errors": [], "warnings": []})


def _choose_upload_modes(call: Call) -> Answer:
    """Tell for each file whether it is to be sent as an LFS object or inside the commit."""
    repository = call.repository()
    _check_writer(call)
    snapshot = call.snapshot(repository)
    answers = []
    for asked in call.json()["files"]:
        mode = "lfs" if call.hub.is_lfs(asked["path"], asked["size"]) else "regular"
        answer = {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}
        known = snapshot.files.get(asked["path"])
        if known is not None:
            answer["oid"] = call.hub.oid(known)
        answers.append(answer)
    return json_answer({"files": answers, "commitOid": snapshot.commit})


def _commit(call: Call) -> Answer:
    if call.flag("create_pr"):
        raise RefusalError(400, None, "This Hub has no pull requests")
    header, *operations = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    with call.hub.lock:
        repository = call.repository()
        uploads = _check_writer(call)
        branch, parent = call.parts["rev"], call.snapshot(repository)
        if branch not in repository.revisions():
            raise RefusalError(400, None, f"Not a branch: {branch}")
        if header["value"].get("parentCommit", parent.commit) != parent.commit:
            raise RefusalError(412, None, "A commit has happened since. Please refresh and try again.")
        files = _changed_files(uploads, parent, operations)
        commit = uploads.commit(uploads.adopt(repository), branch, files)
    url = f"{_url(call, repository.dataset_id)}/commit/{commit}"
    return json_answer({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})


def _changed_files(
    uploads: Uploads, parent: Snapshot, operations: list[dict[str, Any]]
) -> dict[str, Path | bytes]:
    """Return the files of the next commit: those of *parent* after the operations, in order."""
    files: dict[str, Path | bytes] = {**parent.sources()}
    for operation in operations:
        kind, value = operation["key"], operation["value"]
        path = _checked(value["path"])
        if kind == "file":
            files[path] = base64.b64decode(value["content"])
        elif kind == "lfsFile":
            files[path] = _find_object(uploads, parent, value["oid"])
        elif kind in ("deletedFile", "deletedFolder"):
            gone = [one for one in files if one == path or PurePosixPath(path) in PurePosixPath(one).parents]
            if not gone:
                raise RefusalError(404, "EntryNotFound", f"Entry not found: {path}")
            for one in gone:
                del files[one]
        else:
            raise RefusalError(400, None, f"Unknown operation: {kind}")
    return files


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or {"..", ".git"} & set(parts):
        raise RefusalError(400, None, f"Invalid path in repo: {path}")
    return "/".join(parts)


def _find_object(uploads: Uploads, parent: Snapshot, digest: str) -> Path:
    committed = {file.sha256: file.source for file in parent.files.values()}
    found = uploads.find_object(digest) or committed.get(digest)
    if found is None:
        raise RefusalError(400, None, f"The LFS object {digest} was not uploaded")
    return found


# --- LFS --------------------------------------------------------------------------------------


def _announce_objects(call: Call) -> Answer:
    """Tell where to put each object, and nothing for one that is here already."""
    repository = call.repository()
    uploads = _check_writer(call)
    verify = f"{_url(call, repository.dataset_id)}.git/info/lfs/objects/verify"
    answers = []
    for asked in call.json()["objects"]:
        answer = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
        if uploads.find_object(asked["oid"]) is None:
            uploads.announced.add(asked["oid"])
            href = call.hub.object_url(f"uploads/{asked['oid']}")
            answer["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
        answers.append(answer)
    return json_answer({"transfer": "basic", "objects": answers})


def _receive_object(call: Call) -> Answer:
    """Take an object, without a token: its address is the right to send it."""
    uploads, digest = call.hub.uploads, call.parts["digest"]
    if uploads is None or digest not in uploads.announced:
        raise RefusalError(403, None, "Access denied")
    if hashlib.sha256(call.body).hexdigest() != digest:
        raise RefusalError(400, None, "The content does not match its sha256")
    uploads.keep_object(digest, call.body)
    uploads.announced.discard(digest)
    return json_answer({})


def _verify_object(call: Call) -> Answer:
    call.repository()
    found = _check_writer(call).find_object(call.json()["oid"])
    if found is None or found.stat().st_size != call.json()["size"]:
        raise RefusalError(404, None, "This object was not uploaded")
    return json_answer({})


WRITES = (
    Route("POST", r"/api/repos/create", _create_repository),
    Route("DELETE", r"/api/repos/delete", _delete_repository),
    Route("POST", r"/api/validate-yaml", _validate_yaml),
    Route("POST", rf"/api/datasets/{ID}/branch/(?P<branch>.+)", _create_branch),
    Route("POST", rf"/api/datasets/{ID}/tag/{REV}", _create_tag),
    Route("POST", rf"/api/datasets/{ID}/preupload/{REV}", _choose_upload_modes),
    Route("POST", rf"/api/datasets/{ID}/commit/{REV}", _commit),
    Route("POST", rf"/datasets/{ID}\.git/info/lfs/objects/batch", _announce_objects),
    Route("POST", rf"/datasets/{ID}\.git/info/lfs/objects/verify", _verify_object),
)
OBJECT_WRITES = (Route("PUT", r"/uploads/(?P<digest>[0-9a-f]{64})", _receive_object),)
