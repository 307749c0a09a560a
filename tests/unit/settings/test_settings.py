"""Settings: where they come from, when they take effect, what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import hf_localize
from hf_localize import errors, settings
from hf_localize.settings.secret import revealed
from tests.conftest import ROOT, SECRET, run_python


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_environment_over_dotenv_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.current().s3_bucket_name is None
    (tmp_path / ".env").write_text("HGLOC_S3_BUCKET_NAME=from-dotenv\nHGLOC_WRITE_BACK=off\nPATH=/nowhere\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert (settings.current().s3_bucket_name, settings.current().write_back) == ("from-dotenv", "off")
    monkeypatch.setenv("HGLOC_S3_BUCKET_NAME", "from-environment")
    assert settings.current().s3_bucket_name == "from-environment"
    with hf_localize.installed(s3_bucket_name="from-argument"):
        assert settings.current().s3_bucket_name == "from-argument"
    assert settings.current().s3_bucket_name == "from-environment"


def test_dotenv_does_not_change_the_environment_of_the_process(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HGLOC_S3_BUCKET_NAME=team\nAWS_PROFILE=other\n")
    code = (
        "import os; from hf_localize.settings import current; assert current().s3_bucket_name == 'team'\n"
        "print('AWS_PROFILE' in os.environ, 'HGLOC_S3_BUCKET_NAME' in os.environ)"
    )
    assert run_python(code, cwd=tmp_path).stdout == "False False\n"


def test_settings_made_after_import_take_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", str(tmp_path / name))
        assert tmp_path / name == hf_localize.DATASETS_STORE_PATH


def test_the_store_is_the_variable_else_the_folder_here_else_below_hf_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert settings.current().datasets_store_path == tmp_path / "hf" / "datasets_store"
    (tmp_path / "datasets_store").mkdir()
    assert settings.current().datasets_store_path == tmp_path / "datasets_store"
    monkeypatch.setenv("HGLOC_DATASETS_STORE_PATH", "elsewhere")
    assert settings.current().datasets_store_path == tmp_path / "elsewhere"


def test_a_user_without_a_home_folder_has_the_store_where_stock_has_its_caches_and_is_told(
    tmp_path: Path,
) -> None:
    code = (
        "import os\nfor name in ('HOME', 'HF_HOME', 'XDG_CACHE_HOME', 'HGLOC_DATASETS_STORE_PATH'):\n"
        "    os.environ.pop(name, None)\n"
        "import pwd; pwd.getpwuid = {}.__getitem__\n"  # As of a user id that a container was given.
        "from hf_localize.settings import current; print(current().datasets_store_path)\n"
        "print(current().may_have_aws_credentials)\n"
        "from huggingface_hub.constants import HF_HOME; print(os.path.abspath(HF_HOME))"
    )
    ran = run_python(code, cwd=tmp_path)
    store, _, home = ran.stdout.splitlines()
    assert store == f"{home}/datasets_store" == f"{tmp_path}/~/.cache/huggingface/datasets_store"
    assert ran.stderr.count(f"so the local store is in the working folder: {store}. Set HF_HOME") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOURCES", "local,ftp"),
        ("WRITE_BACK", "everywhere"),
        ("OFFLINE", "perhaps"),
        ("LOG_LEVEL", "LOUD"),
        ("TIMEOUT_SECONDS", "soon"),
        ("TIMEOUT_SECONDS", "-1"),
        ("MAX_CONCURRENCY", "0"),
        ("S3_DATA_PREFIX", "a/../b"),
        ("S3_ENDPOINT_URL", "minio:9000"),
        ("PUBLIC_URL", "file:///etc"),
        ("PUBLIC_URL", "https://user:password@host"),
        ("S3_ENDPOINT_URL", "http://"),
        ("S3_ENDPOINT_URL", "http://mi nio:9000"),
        ("S3_ENDPOINT_URL", "http://minio\n:9000"),
        ("S3_BUCKET_NAME", "s3://team"),
        ("TIMEOUT_SECONDS", "inf"),
        ("DATASETS_STORE_PATH", "~no-such-user/store"),
    ],
)
def test_a_value_that_can_not_be_used_is_an_error_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HGLOC_{name}", value)
    with pytest.raises(errors.SettingsError, match=f"HGLOC_{name}"):
        settings.current()


def test_a_line_break_after_a_value_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "s3_bucket_name": "team",
        "s3_endpoint_url": "http://minio:9000",
        "public_url": "https://cdn/team",
        "aws_default_region": "eu-west-3",
        "s3_data_prefix": "a/b",
        "aws_access_key_id": "KEY",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"HGLOC_{name.upper()}", f"{value}\r\n")
    assert {name: revealed(getattr(settings.current(), name)) for name in values} == values


@pytest.mark.parametrize(
    "overrides",
    [
        {"sources": ["local", "ftp"]},
        {"timeout_seconds": -1},
        {"write_back": 3},
        {"nonsense": 1},
        {"datasets_store_path": 5},
        {"lock": b"datasets.lock"},
        {"s3_data_prefix": b"team"},
    ],
)
def test_install_refuses_what_can_not_be_used_and_leaves_nothing_behind(overrides: dict[str, object]) -> None:
    with pytest.raises(errors.SettingsError):
        hf_localize.install(s3_bucket_name="left-over", **overrides)
    assert not hf_localize.is_installed()
    assert settings.current().s3_bucket_name is None


def test_a_dotenv_that_is_somebody_elses_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"# caf\xe9\nHGLOC_S3_BUCKET_NAME=team\n")
    assert settings.current().s3_bucket_name is None


def test_an_unknown_aws_profile_is_an_error_of_that_source_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_S3_BUCKET_NAME", "team")
    monkeypatch.setenv("AWS_PROFILE", "nope")
    from hf_localize.sources.session import current_session

    with pytest.raises(errors.AccessDeniedError, match="nope"):
        _ = current_session().bucket.has_credentials


def test_a_container_token_that_no_header_takes_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_S3_BUCKET_NAME", "team")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "SECRET\n")
    from hf_localize.sources.session import current_session

    with pytest.raises(errors.AccessDeniedError, match="ValueError") as e:
        _ = current_session().bucket.has_credentials
    assert "Check the variables" in str(e.value)
    assert "SECRET" not in str(e.value)


@pytest.mark.parametrize(
    ("endpoint", "asks"),
    [
        (None, True),
        ("https://bucket.vpce-1a2b.s3.eu-west-3.vpce.amazonaws.com", True),
        ("https://s3.eu-west-3.amazonaws.com.example", False),
        ("http://minio:9000", False),
    ],
)
def test_the_role_of_an_instance_is_for_the_endpoints_of_aws(
    endpoint: str | None, asks: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hf_localize.settings.aws_files._DMI_FILES", (str(tmp_path / "vendor"),))
    assert not settings.Settings(datasets_store_path=tmp_path, s3_endpoint_url=endpoint).may_ask_instance
    (tmp_path / "vendor").write_text("Amazon EC2\n")
    assert settings.Settings(datasets_store_path=tmp_path, s3_endpoint_url=endpoint).may_ask_instance is asks


def test_aws_own_variables_serve_where_ours_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost:9000")
    assert settings.current().s3_endpoint_url is None  # Without a bucket it is none of our business.
    monkeypatch.setenv("HGLOC_S3_BUCKET_NAME", "team")
    with pytest.raises(errors.SettingsError, match="AWS_ENDPOINT_URL_S3"):
        settings.current()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert settings.current().s3_endpoint_url == "http://127.0.0.1:9"
    assert settings.current().aws_default_region == "eu-central-1"
    monkeypatch.setenv("HGLOC_AWS_DEFAULT_REGION", "us-west-2")
    assert settings.current().aws_default_region == "us-west-2"


def test_credentials_come_from_ours_else_aws_chain_else_there_are_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hf_localize.sources.session import current_session

    def has_credentials() -> bool:
        return current_session().bucket.has_credentials

    monkeypatch.setenv("HGLOC_S3_BUCKET_NAME", "one")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert not has_credentials()
    (tmp_path / "credentials").write_text("[ml]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_PROFILE", "ml")
    assert has_credentials()
    monkeypatch.delenv("AWS_PROFILE")
    assert not has_credentials()
    monkeypatch.setenv("HGLOC_AWS_ACCESS_KEY_ID", "a")
    with pytest.raises(errors.SettingsError, match="HGLOC_AWS_SECRET_ACCESS_KEY"):
        has_credentials()
    monkeypatch.setenv("HGLOC_AWS_SECRET_ACCESS_KEY", SECRET)
    assert has_credentials()


def test_no_repr_of_settings_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setenv(f"HGLOC_AWS_{name}", f"{SECRET}-{name}")
    assert SECRET not in repr(settings.current())


def test_the_settings_page_lists_every_setting() -> None:
    table = set(re.findall(r"`(HGLOC_[A-Z0-9_]+)`", (ROOT / "docs/reference/settings.md").read_text()))
    names = {f"HGLOC_{item.name.upper()}" for item in fields(settings.Settings)} - {
        "HGLOC_HUB_OFFLINE",
        "HGLOC_AWS_ENVIRONMENT",
    }
    assert names | {"HGLOC_AUTO_INSTALL"} <= table


def test_they_share_what_the_settings_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_localize import settings

    monkeypatch.setenv("HGLOC_MAX_BANDWIDTH", "12MB/s")
    monkeypatch.setattr(settings, "_overrides", {"timeout_seconds": 3.0})
    settings.take_part(6)
    here = settings.current()
    assert (here.max_concurrency, here.max_bandwidth, here.timeout_seconds) == (10, 2_000_000, 3.0)


def test_quotes_that_a_file_of_variables_kept_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGLOC_SOURCES", '"local,s3"')
    with pytest.raises(errors.SettingsError, match="Remove the quotes"):
        settings.current()


def test_activation_in_a_dotenv_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("HGLOC_AUTO_INSTALL=1\n")
    ((name, advice),) = settings.unknown_variables()
    assert name == f"HGLOC_AUTO_INSTALL in {tmp_path / '.env'}"
    assert advice.startswith("Export it")
