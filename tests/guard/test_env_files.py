"""`.env` files and stores that others may have planted: whose count, where they are looked for, what they may do."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors, settings
from hf_localize.format.lockfile import Locked, read_record
from hf_localize.format.refs import DatasetRef
from hf_localize.hf.recording import record
from hf_localize.sources.session import current_session
from tests.conftest import Desk, run_cli, run_python
from tests.rig.s3_proxy import RecordingProxy

OTHER_USER = 12345
KEY, SECRET, TOKEN = "AKIAELSEWHERE01", "elsewhereSECRET02", "elsewhereTOKEN03"
HUB_TOKEN = "hf_elsewhere04"
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


@needs_root
@pytest.mark.parametrize(("owner", "counts"), [(OTHER_USER, True), (0, True), (65534, False)])
def test_another_user_than_root_takes_a_dotenv_of_his_own_and_of_roots(owner: int, counts: bool) -> None:
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        (Path(top) / ".env").write_text("HGLOC_S3_BUCKET_NAME=planted\n")
        os.chown(Path(top) / ".env", owner, owner)
        child = os.fork()
        if not child:
            code = 2
            try:
                os.setuid(OTHER_USER)
                os.chdir(top)
                code = int(bucket_name() == "planted")
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == counts


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


def test_what_is_used_of_a_dotenv_is_said_once_by_name_and_by_the_doctor(
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
    assert [(f.state, f.told) for f in hf_localize.diagnose() if f.name == ".env"] == [("ok", expected)]


# --- credentials stay at home ----------------------------------------------------------------


@pytest.fixture
def evil(desk: Desk) -> Iterator[RecordingProxy]:
    """Return a stranger's server, which records, and answers as a real one (it takes any key)."""
    with RecordingProxy(desk.server.endpoint_url) as server:
        yield server


def plant(desk: Desk, monkeypatch: pytest.MonkeyPatch, evil: RecordingProxy, *lines: str) -> None:
    """Plant a `.env` that names *evil*, in the working folder of somebody with no settings of his own."""
    desk.outsider()
    for name in ("HGLOC_S3_ENDPOINT_URL", "HGLOC_S3_BUCKET_NAME"):
        monkeypatch.delenv(name)
    mine = (f"HGLOC_S3_ENDPOINT_URL={evil.url}", f"HGLOC_S3_BUCKET_NAME={desk.bucket}")
    public = f"HGLOC_PUBLIC_URL={evil.url}/${{AWS_SECRET_ACCESS_KEY}}/${{HF_TOKEN}}"
    Path(".env").write_text("\n".join((*mine, public, "HGLOC_WRITE_BACK=s3", *lines)))


def use(origin: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put credentials where *origin* says; return the arguments of ``install()``."""
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    ours = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
    if origin == "arguments":
        return ours
    if origin == "profile":
        lines = "\n".join(f"{name} = {value}" for name, value in ours.items())
        (desk.folder / "credentials").write_text(f"[default]\n{lines}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(desk.folder / "credentials"))
    else:
        prefix = "HGLOC_" if origin == "ours" else ""
        for name, value in ours.items():
            monkeypatch.setenv(f"{prefix}{name.upper()}", value)
    return {}


def carried(server: RecordingProxy) -> list[str]:
    """Return what of the requests to *server* is signed, or holds a credential from elsewhere."""
    shown = [f"{r.method} {r.path} {dict(r.query)} {dict(r.headers)}" for r in server.requests]
    signs = ("authorization", "x-amz-security-token", "x-amz-signature", KEY, SECRET, TOKEN, HUB_TOKEN)
    return [text for text in shown if any(sign.lower() in text.lower() for sign in signs)]


def work(arguments: dict[str, str]) -> None:
    """Do what asks the bucket and the public files, in whatever it may end."""
    with hf_localize.installed(**arguments):
        tries: tuple[Callable[[], object], ...] = (
            lambda: datasets.load_dataset("org/none"),
            lambda: hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x"),
            lambda: hf_localize.sync_local_dataset_to_s3("org/x", make_public=True),
            hf_localize.list_s3_datasets,
            hf_localize.list_public_datasets,
            lambda: current_session().bucket.get("key"),
            lambda: current_session().bucket.list_folder(""),
            hf_localize.diagnose,
        )
        for act in tries:
            try:
                act()
            except (errors.HfLocalizeError, datasets.exceptions.DatasetNotFoundError):
                continue


@pytest.mark.sampled(2)
@pytest.mark.parametrize("origin", ["ours", "aws", "profile", "arguments"])
def test_an_endpoint_that_a_dotenv_names_gets_no_credential_from_elsewhere(
    origin: str,
    desk: Desk,
    evil: RecordingProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant(desk, monkeypatch, evil)
    arguments = use(origin, desk, monkeypatch)
    work(arguments)
    assert carried(evil) == []
    assert evil.requests, "it was not asked at all, not even as by an outsider"
    (said,) = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert evil.url in said
    assert "set HGLOC_S3_ENDPOINT_URL in the environment" in said
    if not arguments:
        for command in (["list-s3"], ["list-public"], ["download", "org/none"], ["doctor"]):
            assert SECRET not in run_cli(*command).stderr
        assert carried(evil) == []
        assert "keys from elsewhere are not sent" in run_cli("doctor").stdout
        assert run_cli("sync-local-to-s3", "org/x", HGLOC_S3_ENDPOINT_URL=evil.url).returncode == 0
        assert carried(evil), "credentials are not sent to an endpoint of the environment"


def test_keys_that_stand_beside_the_endpoint_in_a_dotenv_are_used_in_place_of_others(
    desk: Desk, evil: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("HGLOC_AWS_ACCESS_KEY_ID=AKIAOWN", f"HGLOC_AWS_SECRET_ACCESS_KEY={desk.server.secret_key}")
    plant(desk, monkeypatch, evil, *keys)
    for origin in ("ours", "aws"):
        use(origin, desk, monkeypatch)
    work({})
    signed = [r.headers["authorization"] for r in evil.requests if "authorization" in r.headers]
    assert signed
    assert all("Credential=AKIAOWN/" in header for header in signed)
    assert not [text for text in carried(evil) if KEY in text or TOKEN in text]


def test_a_stream_that_goes_to_another_process_does_not_take_that_ones_credentials_to_the_endpoint(
    desk: Desk, evil: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (f"HGLOC_AWS_{name}={desk.server.access_key}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    plant(desk, monkeypatch, evil, *keys)
    data = pickle.dumps(current_session().bucket)
    (desk.folder / "elsewhere").mkdir()
    (desk.folder / "bucket.pickle").write_bytes(data)
    use("ours", desk, monkeypatch)
    code = (
        "import pickle, sys; bucket = pickle.load(open(sys.argv[1] if sys.argv[1:] else '../bucket.pickle', 'rb'))\n"
        "for ask in (lambda: bucket.get('k'), lambda: bucket.list_folder('')):\n"
        "    try: ask()\n"
        "    except Exception as exc: print(type(exc).__name__)\n"
    )
    ran = run_python(code, cwd=desk.folder / "elsewhere")
    assert ran.stdout.split() == ["AccessDeniedError", "AccessDeniedError"], ran.stderr
    assert carried(evil) == []


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


# --- a record is appended to records only ----------------------------------------------------

LOADED = Locked(DatasetRef("org/x", "$(touch pwned) `touch pwned`"), digest="0" * 64)
FILES = {
    "a start-up file of a shell": (".bashrc", "alias x=y\n", False),
    "an empty start-up file": (".bashrc", "", False),
    "a start-up file that is not there": (".bash_aliases", None, False),
    "JSON of something else": ("package.json", '{"name": "x"}\n', False),
    "a file of Python": ("sitecustomize.py", "import os\n", False),
    "a new record": ("loads.jsonl", None, True),
    "an empty record": ("loads.jsonl", "", True),
}


@pytest.mark.parametrize("by_link", [False, True])
@pytest.mark.parametrize("case", FILES)
def test_a_record_is_appended_to_nothing_but_a_record(
    case: str, by_link: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, text, is_record = FILES[case]
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    path = tmp_path / "link.jsonl" if by_link else file
    if by_link:
        path.symlink_to(file)
    for digest in ("1" * 64, "2" * 64):
        record(path, LOADED.ref, lambda digest=digest: Locked(LOADED.ref, digest=digest), "Hub")
    if is_record:
        assert [item.ref for item in read_record(path)] == [LOADED.ref] * 2
    else:
        assert (file.read_text() if file.exists() else None) == text
        assert "is not a record of loads" in caplog.text


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "make"])
def test_a_record_that_is_run_as_a_script_runs_nothing_of_a_dataset(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    record(tmp_path / "loads.jsonl", LOADED.ref, lambda: LOADED, "Hub")
    command = [shell, *(["-f"] if shell == "make" else []), "loads.jsonl"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loads.jsonl"]


# --- paths, and the default store ------------------------------------------------------------


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
