"""Secrets: planted everywhere, and then searched for in everything that was written."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner

import hf_localize
from hf_localize import errors
from hf_localize.cli import main
from hf_localize.sources.session import current_session
from hf_localize.store.staging import staging_folder
from tests.conftest import Desk, run_cli, run_python
from tests.rig.hub import Fault, LoopbackHub, make_repository
from tests.rig.s3_proxy import RecordingProxy, Rule, Status

KEY, SECRET, TOKEN = "AKIACANARYKEY01", "canarySECRETkey02", "canarySESSIONtoken03"
HUB_TOKEN = "hf_canaryHUBtoken04"
SIGNATURE = "canarySIGNATURE05"
CANARIES = (KEY, SECRET, TOKEN, HUB_TOKEN, SIGNATURE)
SECRET_ID = "openai/secret"


def leaks(text: str | bytes) -> list[str]:
    data = text.encode(errors="replace") if isinstance(text, str) else text
    return [canary for canary in CANARIES if canary.encode() in data]


def leaking_files(folder: Path) -> list[str]:
    """Return what below *folder* has a canary in its name or in its bytes; what lies in ZIPs too."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if leaks(path.name) or leaks(data) or any(map(leaks, unpacked(data))):
            found.append(str(path))
    return found


def unpacked(data: bytes) -> list[bytes]:
    if not data.startswith(b"PK"):
        return []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.fixture
def canaries(hub: LoopbackHub, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Sit down as a publisher whose every secret is a canary (moto takes any key)."""
    files = {"train.csv": b"text\n" + b"x\n" * 50, "README.md": b"---\nlicense: mit\n---\n"}
    hub.add(make_repository(desk.folder / "repositories", SECRET_ID, "main", files))
    hub.private[SECRET_ID] = {HUB_TOKEN}
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    monkeypatch.setenv("HF_HOME", str(desk.folder / "hf-home"))
    monkeypatch.setenv("HGLOC_LOG_LEVEL", "DEBUG")
    desk.publisher().open_public_places()
    play_publisher(desk)
    return desk


def play_publisher(desk: Desk) -> None:
    desk.set(HGLOC_AWS_ACCESS_KEY_ID=KEY, HGLOC_AWS_SECRET_ACCESS_KEY=SECRET, HGLOC_AWS_SESSION_TOKEN=TOKEN)


def watched(*arguments: str) -> str:
    """Run ``hg-localize`` and return all that it wrote, and the command lines of its processes."""
    command = [sys.executable, "-m", "hf_localize", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        titles = Path(f"/proc/{process.pid}/cmdline")
        title = titles.read_text() if titles.exists() else ""
        assert process.stdout is not None
        return title + process.stdout.read().decode(errors="replace")


def shown(folder: Path) -> list[str]:
    """Return what the commands write that show or check something, as JSON where they have it."""
    lock, pages = str(folder / "datasets.lock"), str(folder / "catalog")
    commands = [
        *(["list-local", "--json"], ["list-s3", "--long", "--json"], ["list-public", "--json"]),
        *([name, SECRET_ID, "--json"] for name in ("info", "preview", "explain")),
        *(["doctor", "--json"], ["doctor"], ["diff", "--json"], ["outdated", "--json"]),
        *(["verify", "--deep", "--json"], ["verify", "--s3", "--public", "--json"], ["repair", "--json"]),
        *(["lock", SECRET_ID, "-o", lock], ["download", "--locked", lock, "--json"]),
        *(
            ["catalog", "--output", pages, "--json"],
            ["catalog", "--publish"],
            ["prune", "--older-than", "9d", "--json"],
        ),
    ]
    log = logging.getLogger("hf_localize")
    before = log.level, log.handlers[:]
    said = []
    for command in commands:
        ran = CliRunner().invoke(main, command, catch_exceptions=False)
        assert ran.exit_code == 0 or command[0] == "doctor", (command, ran.output)
        said.append(ran.output)
    assert Path(lock).exists()
    assert list(Path(pages).rglob("*.html"))
    assert log.isEnabledFor(logging.DEBUG)
    log.setLevel(before[0])
    log.handlers[:] = before[1]
    return said


@pytest.mark.skipif("HGLOC_TEST_S3" in os.environ, reason="the canaries are keys that only moto takes")
def test_no_secret_is_in_what_the_commands_write(canaries: Desk) -> None:
    desk = canaries
    own = desk.folder / "own"
    own.mkdir()
    (own / "rows.csv").write_text("a\n1\n")
    share = ("--make-public", "--share-restricted", SECRET_ID)
    said = [
        watched("download", SECRET_ID, "--keep-files", *share),
        watched("register", str(own), "org/own", "--make-public"),
        watched("register", str(own), "org/own", "--keep-files"),
        watched("sync-local-to-s3", SECRET_ID, *share),
        watched("list-local"),
        watched("list-s3", "--all-folders"),
    ]
    assert all("Error" not in text for text in said), said
    said += shown(desk.folder)
    for who in ("teammate", "outsider"):
        getattr(desk, who)()
        if who == "teammate":
            play_publisher(desk)
        said.append(watched("download", SECRET_ID, "--no-s3-upload"))
    assert any("private S3" in text for text in said)
    assert not leaks("\n".join(said))
    keys = desk.bucket_keys()
    assert [key for key in keys if key.endswith(".zip")]
    for key in keys:
        body = desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read()
        assert not any(map(leaks, (key, body, *unpacked(body)))), key
    assert list((desk.folder / "hf-home").rglob("*"))
    assert leaking_files(desk.folder) == []


FAULTS = {
    "wrong keys": Status(403, f"InvalidAccessKeyId of {KEY}, not {SECRET}"),
    "expired token": Status(400, f"ExpiredToken {TOKEN}"),
    "not permitted": Status(403, "AccessDenied"),
    "broken": Status(500, "InternalError"),
    "elsewhere": Status(307, headers={"Location": f"http://127.0.0.1:9/?X-Amz-Signature={SIGNATURE}"}),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_is_in_what_an_error_says(fault: str, canaries: Desk) -> None:
    desk = canaries
    assert run_cli("download", SECRET_ID, "--no-s3-upload").returncode == 0
    desk.s3.fail(Rule(None, ".", FAULTS[fault]))
    for command in (["sync-local-to-s3", SECRET_ID], ["list-s3"], ["download", "org/none"]):
        ran = run_cli(*command)
        assert 1 <= ran.returncode <= 6
        assert "Error" in ran.stderr
        assert "Traceback" in ran.stderr  # At DEBUG: it is searched too.
        assert not leaks(ran.stdout + ran.stderr), (fault, command)


@pytest.mark.parametrize("endpoint", ["unreachable", "not a url", "with a password", "with a signature"])
def test_no_secret_is_in_what_is_said_of_a_wrong_endpoint(endpoint: str, canaries: Desk) -> None:
    urls = {
        "unreachable": "http://127.0.0.1:9",
        "not a url": f"ftp://{KEY}:{SECRET}@host?X-Amz-Signature={SIGNATURE}",
        "with a password": f"http://{KEY}:{SECRET}@127.0.0.1:9",
        "with a signature": f"http://127.0.0.1:9/?X-Amz-Signature={SIGNATURE}",
    }
    for variable in ("HGLOC_S3_ENDPOINT_URL", "HGLOC_PUBLIC_URL"):
        ran = run_cli("list-s3", **{variable: urls[endpoint]})
        assert variable == "HGLOC_PUBLIC_URL" or ran.returncode in (2, 5)
        assert not leaks(ran.stdout + ran.stderr), ran.stderr


@pytest.mark.sampled(6)
@pytest.mark.parametrize("end", ["\r\nX: y", "\n\n.", "\u20ac"])
@pytest.mark.parametrize("prefix", ["HGLOC_AWS_", "AWS_"])
def test_no_secret_is_in_what_is_said_of_a_credential_that_no_header_takes(
    prefix: str, end: str, canaries: Desk
) -> None:
    keys = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET, "SESSION_TOKEN": TOKEN}
    ours = {f"HGLOC_AWS_{name}": "" for name in keys} if prefix == "AWS_" else {}
    for wrong in ("ACCESS_KEY_ID", "SESSION_TOKEN"):
        env = ours | {
            f"{prefix}{name}": f"{key}{end}" if name == wrong else key for name, key in keys.items()
        }
        for command in (["list-s3"], ["download", SECRET_ID, "--no-s3-upload"]):
            ran = run_cli(*command, "-v", **env, HGLOC_SOURCES="s3")
            assert ran.returncode in (2, 4)
            assert "line break" in ran.stderr
            assert not leaks(ran.stdout + ran.stderr), ran.stderr


PROGRAMS = {
    "fails": f"echo 'export AWS_SECRET_ACCESS_KEY={SECRET}' >&2; exit 3",
    "gives no JSON": f"echo {SECRET}; echo {TOKEN} >&2",
    "gives no version": f"""echo '{{"AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}"}}'""",
    "gives a secret as version": f"""echo '{{"Version": "{SECRET}"}}'""",
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_secret_is_in_what_is_said_of_a_program_that_gives_out_credentials(
    program: str, canaries: Desk, tmp_path: Path
) -> None:
    """Such programs may write credentials to stderr, and botocore quotes that in its error."""
    script, config = tmp_path / "program.sh", tmp_path / "config"
    script.write_text(PROGRAMS[program])
    config.write_text(f"[default]\ncredential_process = sh {script}\nregion = eu-west-3\n")
    ours = {f"HGLOC_AWS_{name}": "" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    for command in (["list-s3"], ["download", SECRET_ID, "--no-s3-upload"], ["doctor"]):
        ran = run_cli(*command, "-v", **ours, AWS_CONFIG_FILE=str(config), HGLOC_SOURCES="s3")
        assert not leaks(ran.stdout + ran.stderr), ran.stderr
        if program == "fails":
            assert "run it by itself to see why" in ran.stdout + ran.stderr


def test_no_secret_is_in_what_botocore_logs_of_a_program_that_fails_later(
    canaries: Desk, tmp_path: Path
) -> None:
    script, config = tmp_path / "program.sh", tmp_path / "config"
    server = canaries.server
    keys = {"Version": 1, "AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key}
    until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=12)
    (tmp_path / "keys.json").write_text(json.dumps(keys | {"Expiration": until.isoformat()}))
    script.write_text(f"cd {tmp_path}; cat keys.json || echo {SECRET} >&2; rm keys.json")
    config.write_text(f"[default]\ncredential_process = sh {script}\nregion = eu-west-3\n")
    ours = {f"HGLOC_AWS_{name}": "" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    code = "import logging, hf_localize; logging.basicConfig(); print(hf_localize.list_s3_datasets())"
    ran = run_python(code, cwd=tmp_path, **ours, AWS_CONFIG_FILE=str(config))
    assert ran.stdout.strip() == "[]", ran.stderr
    assert "run it by itself to see why" in ran.stderr
    assert not leaks(ran.stderr), ran.stderr


def test_a_line_break_after_a_credential_does_not_count(desk: Desk) -> None:
    desk.publisher()
    names = ("HGLOC_AWS_ACCESS_KEY_ID", "HGLOC_AWS_SECRET_ACCESS_KEY")
    ran = run_cli("list-s3", **{name: f"{os.environ[name]}\r\n" for name in names})
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("status", [403, 503])
def test_a_presigned_url_of_the_hub_is_in_no_log(status: int, hub: LoopbackHub, canaries: Desk) -> None:
    location = f"{canaries.s3.url}/file?X-Amz-Signature={SIGNATURE}&X-Amz-Credential={KEY}"
    hub.faults = [Fault(r"^GET .*/resolve/", 302, headers={"Location": location})]
    canaries.s3.fail(Rule(None, "file", Status(status, "AccessDenied")))
    ran = run_cli("download", SECRET_ID, HF_HUB_DOWNLOAD_TIMEOUT="2", HGLOC_SOURCES="hub")
    assert ran.returncode == 1
    assert [r for r in canaries.s3.requests if "X-Amz-Signature" in r.query]
    assert not leaks(ran.stdout + ran.stderr)


def test_no_secret_is_in_a_repr_a_pickle_or_an_exception(canaries: Desk) -> None:
    if canaries.server.enforces_auth:
        pytest.skip("this server takes its own keys only, which are no canaries")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x")
    session = current_session()
    with hf_localize.installed(sources=("s3",)):
        stream = datasets.load_dataset("org/x", split="train", streaming=True)
        builder = datasets.load_dataset_builder("org/x")
        shown = [session, session.settings, session.bucket, session.resolver(), session.public_files, builder]
        assert not leaks(" ".join(map(repr, shown)) + " ".join(map(str, shown)))
        for thing in (session.bucket, stream, builder):
            assert not leaks(pickle.dumps(thing))
    canaries.s3.fail(Rule(None, ".", FAULTS["wrong keys"]))
    with pytest.raises(errors.HfLocalizeError) as caught:
        session.bucket.put("k", b"")
    assert not leaks(repr(caught.value) + str(caught.value))


def test_no_secret_is_in_the_log_of_a_program_that_logs_everything_of_ours(canaries: Desk) -> None:
    code = (
        "import logging, sys, hf_localize\n"
        "log = logging.getLogger('hf_localize'); log.setLevel('DEBUG')\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "hf_localize.install()\n"
        "import datasets\n"
        f"print(datasets.load_dataset('{SECRET_ID}')['train'][0])\n"
        f"print(list(datasets.load_dataset('{SECRET_ID}', split='train', streaming=True))[:1])\n"
    )
    ran = run_python(code, cwd=Path.cwd(), HGLOC_WRITE_BACK="s3")
    assert ran.returncode == 0, ran.stderr
    assert "Hugging Face Hub" in ran.stdout
    assert not leaks(ran.stdout + ran.stderr)
    assert leaking_files(canaries.folder) == []


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_files_of_the_store_have_the_umasks_permissions_and_staging_is_as_private_as_the_store(
    umask: int, desk: Desk
) -> None:
    desk.publisher()
    before = os.umask(umask)
    try:
        hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x")
        hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [2]}), "org/x")
        mine = desk.store
        desk.teammate()
        hf_localize.load_local_dataset("org/x")
    finally:
        os.umask(before)
    for store in (mine, desk.store):
        for path in (store, *store.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            private = {f".hgloc/{name}" for name in ("staging", "set-aside", "kept")} & {
                path.relative_to(store).as_posix()
            }
            if private:  # A group that may write to the store may build there too.
                assert mode == (0o775 if umask == 0o002 else 0o700), path
            elif path.is_dir():
                assert mode == 0o777 & ~umask, (path, oct(mode))
            else:
                assert mode == 0o666 & ~umask, (path, oct(mode))


def test_an_entry_is_built_where_nobody_else_looks(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x", skip_s3_upload=True)
    with staging_folder(current_session().store, "key") as folder:
        roots = [path for path in folder.parents if desk.store in path.parents]
        assert any(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (folder, *roots))
        assert not logging.getLogger("hf_localize").handlers


def test_a_second_endpoint_is_not_sent_the_first_ones_keys(canaries: Desk) -> None:
    with RecordingProxy(canaries.server.endpoint_url) as elsewhere:
        target = {"Location": f"{elsewhere.url}/{canaries.bucket}/k"}
        canaries.s3.fail(Rule("GET", ".", Status(307, "TemporaryRedirect", headers=target)))
        with pytest.raises(errors.HfLocalizeError):
            hf_localize.load_local_dataset("org/none")
        assert elsewhere.requests == ()
