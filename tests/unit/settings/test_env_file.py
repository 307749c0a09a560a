"""Settings from a .env file: which files count, and what they may do."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import hf_localize
from hf_localize import errors, settings

OTHER_USER = 12345
SECRET, TOKEN = "elsewhereSECRET02", "elsewhereTOKEN03"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_noted", set())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a `.env` in it, below which the working folder is."""
    top = tmp_path / "top"
    (top / "work").mkdir(parents=True)
    (top / ".env").write_text("HGLOC_S3_BUCKET_NAME=planted\n")
    monkeypatch.chdir(top / "work")
    return top


def bucket_name() -> str | None:
    return settings.current().s3_bucket_name


def grant_by_acl(path: Path) -> None:
    """Let another user write to *path* by an access control list, as ``setfacl -m u:12345:rw`` does."""
    entries = ((1, 6, -1), (2, 6, OTHER_USER), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as exc:
        pytest.skip(f"no access control lists here: {exc}")


MADE_UNSAFE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another user's file": (lambda top: os.chown(top / ".env", OTHER_USER, 0), "uid 12345"),
    "nobody's file": (lambda top: os.chown(top / ".env", 65534, 65534), "uid 65534"),
    "another user's folder": (lambda top: os.chown(top, OTHER_USER, 0), "uid 12345"),
    "file that its group may write to": (lambda top: (top / ".env").chmod(0o664), "mode 664"),
    "file that all may write to": (lambda top: (top / ".env").chmod(0o646), "mode 646"),
    "folder that its group may write to": (lambda top: top.chmod(0o775), "mode 775"),
    "folder that all may write to": (lambda top: top.chmod(0o777), "mode 777"),
    "sticky folder": (lambda top: top.chmod(0o1777), "mode 1777"),
    "file with an access control list": (lambda top: grant_by_acl(top / ".env"), "may write"),
}


@needs_root
@pytest.mark.parametrize("case", MADE_UNSAFE)
def test_a_dotenv_to_which_others_may_write_is_not_used_and_a_warning_says_why(
    case: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert bucket_name() == "planted"
    make_unsafe, why = MADE_UNSAFE[case]
    make_unsafe(folder)
    caplog.clear()
    assert [bucket_name(), bucket_name()] == [None, None]
    (said,) = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert str(folder / ".env") in said
    assert why in said
    (finding,) = [f for f in hf_localize.diagnose() if f.name == ".env"]
    assert (finding.state, why in finding.told) == ("warn", True)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfHGLOC_S3_BUCKET_NAME=mine\n",
        b"HGLOC_S3_BUCKET_NAME=mine\r\nHGLOC_OFFLINE=1\r\n",
        b"export HGLOC_S3_BUCKET_NAME='mine'  # of the team",
    ],
    ids=["byte order mark", "CRLF", "shell"],
)
def test_a_dotenv_is_read_as_editors_write_it(text: bytes, folder: Path) -> None:
    (folder / ".env").write_bytes(text)
    assert bucket_name() == "mine"


def test_a_working_folder_that_was_removed_has_no_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "work").rmdir()
    assert bucket_name() is None
    assert settings.current().datasets_store_path.is_absolute()
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", "store")
    with pytest.raises(
        errors.SettingsError, match="HGLOC_DATASETS_STORE_PATH=store is relative to the working"
    ):
        settings.current()


@needs_root
def test_a_working_folder_that_its_user_may_not_look_at_has_no_dotenv(folder: Path) -> None:
    folder.chmod(0o700)
    assert as_another_user(lambda: bucket_name() is None)


@needs_root
def test_a_refused_dotenv_ends_the_search(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "work" / ".env").write_text("HGLOC_OFFLINE=1\n")
    (folder / "work" / ".env").chmod(0o666)
    assert bucket_name() is None
    (folder / "work" / ".env").write_text("DJANGO_DEBUG=1\n")  # Not about us: nothing to warn of.
    caplog.clear()
    assert bucket_name() is None
    assert caplog.records == []


LINKS = {
    "to an own file": (lambda top, place: None, True),
    "to another user's file": (lambda top, place: os.chown(place / "env", OTHER_USER, 0), False),
    "to a folder of another user": (lambda top, place: os.chown(place, OTHER_USER, 0), False),
    "to a folder that all may write to": (lambda top, place: place.chmod(0o1777), False),
    "of another user": (lambda top, place: os.lchown(top / ".env", OTHER_USER, 0), False),
}


@needs_root
@pytest.mark.parametrize("case", LINKS)
def test_a_dotenv_that_is_a_link_counts_if_nobody_else_may_change_what_it_leads_to(
    case: str, folder: Path
) -> None:
    change, counts = LINKS[case]
    place = folder.parent / "place"
    place.mkdir()
    shutil.move(folder / ".env", place / "env")
    (folder.parent / "second").symlink_to("place/env")
    (folder / ".env").symlink_to("../second")
    change(folder, place)
    assert (bucket_name() == "planted") == counts


def as_another_user(question: Callable[[], bool]) -> bool:
    """Return what *question* returns in a process of another user in the working folder."""
    child = os.fork()
    if not child:
        code = 2
        try:
            os.setuid(OTHER_USER)
            code = int(question())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return bool(code)


@needs_root
@pytest.mark.parametrize(("owner", "counts"), [(OTHER_USER, True), (0, True), (65534, False)])
def test_another_user_than_root_takes_a_dotenv_of_his_own_and_of_roots(
    owner: int, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        (Path(top) / ".env").write_text("HGLOC_S3_BUCKET_NAME=planted\n")
        os.chown(Path(top) / ".env", owner, owner)
        monkeypatch.chdir(top)
        assert as_another_user(lambda: bucket_name() == "planted") == counts


def test_the_search_ends_at_the_home_folder_and_at_a_repository(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = folder / "work"
    assert bucket_name() == "planted"
    (folder.parent / "link").symlink_to(folder)
    for home, expected in ((work, None), (folder.parent / "link", "planted"), (folder.parent, "planted")):
        monkeypatch.setenv("HOME", str(home))
        assert bucket_name() == expected, home
    (folder / ".git").mkdir()
    assert bucket_name() == "planted"
    (work / ".git").write_text("gitdir: elsewhere\n")  # As in a worktree or a submodule.
    assert bucket_name() is None


@needs_root
def test_the_search_ends_at_the_border_of_a_file_system(folder: Path) -> None:
    code = f'cd {folder}; mount -t tmpfs none work && cd work && {sys.executable} -c "$0"'
    program = "from hf_localize.settings import current; print(current().s3_bucket_name)"
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", code, program], capture_output=True, text=True, timeout=120
    )
    if ran.returncode:
        pytest.skip(f"nothing can be mounted here: {ran.stderr}")
    assert ran.stdout == "None\n"


def test_nothing_in_a_dotenv_is_replaced_by_other_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    (folder / ".env").write_text('HGLOC_PUBLIC_URL="http://127.0.0.1:9/${AWS_SECRET_ACCESS_KEY}/$HOME"\n')
    assert settings.current().public_url == "http://127.0.0.1:9/${AWS_SECRET_ACCESS_KEY}/$HOME"


def test_what_is_used_of_a_dotenv_is_said_once_by_name(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text(
        f"HGLOC_S3_BUCKET_NAME=b\nHGLOC_AWS_SESSION_TOKEN={TOKEN}\nHGLOC_OFFLINE=1\nHGLOC_X=1\n"
    )
    monkeypatch.setenv("HGLOC_OFFLINE", "1")
    with caplog.at_level(logging.INFO, "hf_localize"):
        settings.current()
        settings.current()
    expected = f"settings of {folder / '.env'} are used: HGLOC_AWS_SESSION_TOKEN, HGLOC_S3_BUCKET_NAME"
    assert [entry.getMessage() for entry in caplog.records] == [expected]


@pytest.mark.parametrize(
    "value", ["evil.example/x", "evil.example#", "evil.example?", "a@evil.example", "a:b", "a\\b"]
)
@pytest.mark.parametrize("name", ["S3_BUCKET_NAME", "AWS_DEFAULT_REGION"])
def test_a_bucket_or_region_that_would_be_another_host_is_refused(
    name: str, value: str, folder: Path
) -> None:
    (folder / ".env").write_text(f"HGLOC_{name}='{value}'\n")
    with pytest.raises(errors.SettingsError, match=f"HGLOC_{name}"):
        settings.current()


def test_relative_paths_in_a_dotenv_count_from_its_folder_those_of_the_environment_from_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"datasets_store_path": "store", "record": "../loads.jsonl", "lock": "a.lock"}
    (folder / ".env").write_text("".join(f"HGLOC_{k.upper()}={v}\n" for k, v in names.items()))
    found = settings.current()
    paths = {name: Path(os.path.normpath(getattr(found, name))) for name in names}
    assert paths == {name: Path(os.path.normpath(folder / value)) for name, value in names.items()}
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", "store")
    assert settings.current().datasets_store_path == folder / "work" / "store"


def test_a_default_store_is_found_from_the_folders_below_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "datasets_store").mkdir()
    assert settings.current().datasets_store_path == folder / "datasets_store"
    (folder / "work" / "datasets_store").mkdir()
    assert settings.current().datasets_store_path == folder / "work" / "datasets_store"
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    (folder / "work" / "datasets_store").rmdir()
    (folder / "work" / ".git").mkdir()
    assert settings.current().datasets_store_path == folder / "hf" / "datasets_store"


@needs_root
@pytest.mark.parametrize("case", ["another user's", "one that all may write to", "one in a sticky folder"])
def test_a_default_store_to_which_others_may_write_is_not_used(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = folder / "datasets_store"
    store.mkdir()
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    {
        "another user's": lambda: os.chown(store, OTHER_USER, 0),
        "one that all may write to": lambda: store.chmod(0o777),
        "one in a sticky folder": lambda: folder.chmod(0o1777),
    }[case]()
    assert settings.current().datasets_store_path == folder / "hf" / "datasets_store"
    assert f"set HGLOC_DATASETS_STORE_PATH={store}" in caplog.text
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", str(store))
    assert settings.current().datasets_store_path == store
