"""Settings: the only reader of the process environment, and of the ``.env`` that counts."""

from __future__ import annotations

import difflib
import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hf_localize.errors import SettingsError
from hf_localize.settings import aws_files
from hf_localize.settings.env_file import (
    PREFIX,
    EnvFile,
    RefusedError,
    nearest_env_file,
    require_own,
    searched_folders,
    working_folder,
)
from hf_localize.settings.paths import absolute, expanded, located
from hf_localize.settings.secret import Secret, can_be_sent, hidden, is_secret, revealed

_log = logging.getLogger(__name__)
#: The kinds of sources, in the order in which they are asked, and what users read of each.
SOURCE_NAMES = {
    "local": "local store",
    "s3": "private S3",
    "public": "public ZIP",
    "hub": "Hugging Face Hub",
}
#: The settings that take one of a few words.
_CHOICES = {
    "write_back": ("off", "local", "s3"),
    "verify": ("size", "always"),
    "s3_sse": ("AES256", "aws:kms", "aws:kms:dsse"),
    "s3_addressing_style": ("auto", "path", "virtual"),
    "s3_request_payer": ("requester",),
}
#: Of the variables by which AWS' own tools find credentials.
_AWS_PREFIXES = ("AWS_", "BOTO_CONFIG", "REQUESTS_CA_BUNDLE")
_AWS_NAMES = (
    ("s3_endpoint_url", "AWS_ENDPOINT_URL_S3"),
    ("s3_endpoint_url", "AWS_ENDPOINT_URL"),
    ("aws_default_region", "AWS_REGION"),
    ("aws_default_region", "AWS_DEFAULT_REGION"),
)
_CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_PATHS = frozenset({"datasets_store_path", "record", "lock"})
#: Fields that no setting sets.
_DERIVED = frozenset({"hub_offline", "aws_environment"})
#: A bucket's name and a region become parts of a host name.
_HOST_PART = re.compile(r"[A-Za-z0-9._-]{1,255}")
#: Variables of others that matter to us, for people to see.
_ECOSYSTEM = (
    *("HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    "HGLOC_AUTO_INSTALL",
)
_NO_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
#: Variables of our own tests.
_TESTS = "HGLOC_TEST_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class AwsEnvironment:
    """The variables of AWS' own tools, and whether credentials that they lead to may be used."""

    #: By which boto3 finds credentials where ours are not set.
    variables: tuple[tuple[str, str | Secret[str]], ...] = field(default=(), repr=False)
    #: The ``.env`` that names the endpoint, which then gets no credentials but those of that file.
    endpoint_file: Path | None = None

    @property
    def plain(self) -> dict[str, str]:
        """Return the variables, with what stands for the value of a credential."""
        return {name: str(value) for name, value in self.variables}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured. Each field is ``HGLOC_<FIELD IN CAPITALS>``."""

    s3_bucket_name: str | None = None
    s3_endpoint_url: str | None = None
    #: Where the bucket's name stands in URLs: in the path, or in the host name.
    s3_addressing_style: str = "auto"
    s3_data_prefix: str = ""
    #: How the server encrypts what is written there, and with which of its keys.
    s3_sse: str | None = None
    s3_sse_kms_key_id: str | None = None
    #: ``requester``: requests are paid by who makes them, where the bucket's owner wants that.
    s3_request_payer: str | None = None
    aws_access_key_id: Secret[str] | None = None
    aws_secret_access_key: Secret[str] | None = None
    aws_session_token: Secret[str] | None = None
    aws_default_region: str | None = None
    datasets_store_path: Path
    sources: tuple[str, ...] = tuple(SOURCE_NAMES)
    offline: bool = False
    write_back: str = "local"
    #: What of a stored entry's files is compared with its manifest before a load uses them.
    verify: str = "size"
    public_url: str | None = None
    log_level: str | None = None
    #: Seconds that asking the private bucket and the public files may take in one resolution.
    timeout_seconds: float = 20.0
    #: Requests that move data at the same time, at most; fewer where each holds much.
    max_concurrency: int = 64
    #: Bytes per second that a process moves, at most.
    max_bandwidth: float | None = None
    #: Shards that are streamed whole stay in the store.
    stream_cache: bool = False
    #: The file, or folder, to which loads append what they have loaded.
    record: Path | None = None
    #: The lock file that names what may be loaded.
    lock: Path | None = None
    #: ``HF_HUB_OFFLINE`` or ``HF_DATASETS_OFFLINE`` is set (names of huggingface_hub and datasets).
    hub_offline: bool = False
    aws_environment: AwsEnvironment = field(default_factory=lambda: AwsEnvironment())

    @property
    def may_have_aws_credentials(self) -> bool:
        """Tell whether AWS' own chain may be asked for credentials, and has anything to look at."""
        if self.aws_environment.endpoint_file is not None:
            return False
        return self.may_ask_instance or aws_files.may_have_credentials(self.aws_environment.plain)

    @property
    def may_ask_instance(self) -> bool:
        """Tell whether the metadata service of an EC2 instance is asked. Elsewhere it does not answer."""
        if aws_files.names_metadata_service(self.aws_environment.plain):
            return True
        host = urlsplit(self.s3_endpoint_url or "//.amazonaws.com").hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and aws_files.is_on_ec2()

    def without_credentials(self, endpoint_file: Path) -> Settings:
        """Return these settings for the endpoint that *endpoint_file* names, which has no keys for it."""
        aws = replace(self.aws_environment, endpoint_file=endpoint_file)
        return replace(
            self,
            aws_access_key_id=None,
            aws_secret_access_key=None,
            aws_session_token=None,
            aws_environment=aws,
        )

    @property
    def missing_credentials(self) -> str:
        """Return, in words, that there are no credentials, and why others are not used."""
        if (file := self.aws_environment.endpoint_file) is None:
            return "there are no credentials"
        return (
            f"there are no credentials for {self.s3_endpoint_url}: {file} names that endpoint "
            "and no keys, and keys from elsewhere are not sent to an endpoint that a .env file names. To use "
            "them, set HGLOC_S3_ENDPOINT_URL in the environment too"
        )


#: The environment variable of each setting that has one.
_VARIABLES = {f.name: PREFIX + f.name.upper() for f in fields(Settings) if f.name not in _DERIVED}
_overrides: dict[str, Any] = {}


class Note(NamedTuple):
    """What people are told of how settings were found: once in the log, and by the doctor."""

    name: str
    level: int
    text: str
    advice: str | None = None


@dataclass(slots=True)
class _Lookup:
    """Settings, where each comes from in words (the others are defaults), and what to tell people."""

    found: dict[str, Any]
    origins: dict[str, str]
    notes: list[Note]

    def take(self, name: str, value: Any, origin: str) -> None:
        self.found[name], self.origins[name] = value, origin


_noted: set[Note] = set()


def current() -> Settings:
    """Return the settings in force now.

    Looked up, first wins: :func:`override` (the arguments of ``install()``), the environment, the
    ``.env`` file that counts for the working folder (:mod:`hf_localize.settings.env_file`), the default.

    Raises:
        SettingsError: a value can't be used.
    """
    lookup = _look_up(_overrides)
    for note in lookup.notes:
        if note not in _noted and _log.isEnabledFor(note.level):
            _noted.add(note)
            _log.log(note.level, "%s%s", note.text, f". {note.advice}" if note.advice else "")
    return Settings(**lookup.found)


def _look_up(overrides: Mapping[str, Any]) -> _Lookup:
    here = working_folder()
    names = [name for name in os.environ if name.startswith((PREFIX, *_AWS_PREFIXES))]
    environment = {name: hidden(name, os.environ[name]) for name in names}
    file = nearest_env_file(here)
    lookup = _Lookup({}, {}, [])
    for name, variable in _VARIABLES.items():
        if variable in environment:
            if environment[variable]:
                lookup.take(name, parsed(name, variable, environment[variable]), "environment")
        elif file and variable in file.values:
            value = _parse(name, variable, file.values[variable], file.path.parent)
            lookup.take(name, value, str(file.path))
    for name, value in overrides.items():
        if value is not None or name != "datasets_store_path":
            lookup.take(name, value, "argument of install()")
    found = lookup.found
    variables = [(name, environment[name]) for name in sorted(names) if name.startswith(_AWS_PREFIXES)]
    found["aws_environment"] = aws = AwsEnvironment(tuple(variables))
    found["hub_offline"] = _flag("HF_HUB_OFFLINE", os.environ) or _flag("HF_DATASETS_OFFLINE", os.environ)
    _take_default_store(lookup, here)
    if found.get("s3_bucket_name"):  # AWS' own variables serve where ours are not set.
        _take_aws_values(lookup, aws)
    if file is not None:
        _heed_file(lookup, file)
    if found.get("s3_sse_kms_key_id") and not str(found.get("s3_sse")).startswith("aws:kms"):
        raise SettingsError("HGLOC_S3_SSE_KMS_KEY_ID needs HGLOC_S3_SSE=aws:kms")
    return lookup


def parsed(name: str, variable: str, value: Any) -> Any:
    """Return the value of the setting *name* as *variable*, or an option of a command, has it.

    Raises:
        SettingsError: it can't be used.
    """
    try:
        return _parse(name, variable, value)
    except SettingsError as exc:
        if not (isinstance(value, str) and value.startswith(("'", '"'))):
            raise
        raise SettingsError(f"{exc}. Remove the quotes: docker --env-file, for one, keeps them") from None


def _take_aws_values(lookup: _Lookup, aws: AwsEnvironment) -> None:
    values = dict(aws.variables)
    ignores = revealed(values.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))  # By its name, it could be a URL.
    is_ignored = aws_files.ignores_endpoints(aws.plain, ignores)
    for name, variable in _AWS_NAMES:
        if name == "s3_endpoint_url" and is_ignored:
            continue
        if name not in lookup.found and values.get(variable):
            lookup.take(name, _parse(name, variable, values[variable]), f"environment ({variable})")
    if "s3_endpoint_url" not in lookup.found and not is_ignored:
        origin = "endpoint_url of the AWS profile"
        if endpoint := hidden("URL", aws_files.endpoint_of(aws.plain)):
            lookup.take("s3_endpoint_url", _parse("s3_endpoint_url", origin, endpoint), origin)


def _heed_file(lookup: _Lookup, file: EnvFile) -> None:
    """Note what is used of *file*; if that is the endpoint, use no credentials but those of *file*."""
    path, found, origins = str(file.path), lookup.found, lookup.origins
    if file.refused is not None:
        advice = "Set its variables in the environment, or put a .env of your own into a nearer folder"
        lookup.notes.append(Note(".env", logging.WARNING, f"{path} is not used: {file.refused}", advice))
    for line in file.malformed_lines:
        text = f"{path}: line {line} is not NAME=VALUE, so it has no effect"
        lookup.notes.append(Note(".env", logging.WARNING, text, "Correct that line"))
    if origins.get("s3_endpoint_url") == path:
        foreign = [name for name in _CREDENTIALS if found.get(name) and origins[name] != path]
        for name in foreign:
            del found[name], origins[name]
        for name in _CREDENTIALS:
            if value := file.values.get(_VARIABLES[name]):
                lookup.take(name, _parse(name, _VARIABLES[name], value), path)
        aws = found["aws_environment"] = replace(found["aws_environment"], endpoint_file=file.path)
        may_have = aws_files.may_have_credentials(aws.plain)
        if "aws_access_key_id" not in found and (foreign or may_have):
            text = Settings(**found).missing_credentials
            lookup.notes.append(Note("credentials", logging.WARNING, text))
    if used := [_VARIABLES[name] for name, origin in origins.items() if origin == path]:
        text = f"settings of {path} are used: {', '.join(sorted(used))}"
        lookup.notes.append(Note(".env", logging.INFO, text))


class Setting(NamedTuple):
    """One setting for people to read: its variable, its value in words, and where that comes from."""

    variable: str
    value: str
    origin: str


def explained() -> tuple[list[Setting], list[Note]]:
    """Return every setting with where it comes from, and notes; of a credential only that it is set.

    Raises:
        SettingsError: a value can't be used.
    """
    lookup = _look_up(_overrides)
    values = Settings(**lookup.found)
    shown = []
    for setting, variable in _VARIABLES.items():
        value = getattr(values, setting)
        text = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        if isinstance(value, Secret):
            text = "(set)"
        shown.append(Setting(variable, text, lookup.origins.get(setting, "default")))
    for name in (*_ECOSYSTEM, *(name for name in values.aws_environment.plain)):
        if os.environ.get(name):
            shown.append(Setting(name, _masked(name, os.environ[name]), "environment"))
    return shown, lookup.notes


def _masked(name: str, value: str) -> str:
    """Return a variable's value as it may be shown: no credential, no password in a URL."""
    if is_secret(name):
        return "(set)"
    return re.sub(r"^(\w+://)?.*@", r"\1…@", value).partition("?")[0]


def hide(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``install()`` with credentials as secrets."""
    return {name: hidden(name, value) for name, value in values.items()}


def override(**values: Any) -> dict[str, Any]:
    """Replace the overrides by *values*, and return them as :func:`restore` takes them.

    Raises:
        SettingsError: a name is not a setting, or a value can't be used.
    """
    known = _VARIABLES.keys()
    if unknown := sorted(set(values) - known):
        raise SettingsError(f"no such setting: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
    parsed = {k: None if v is None else _parse(k, k, _as_text(k, v)) for k, v in values.items()}
    _look_up(parsed)  # Raises before anything is replaced.
    restore(parsed)
    return parsed


def restore(overrides: Mapping[str, Any]) -> None:
    """Replace the overrides by those that :func:`override` has returned."""
    global _overrides
    _overrides = dict(overrides)


def current_overrides() -> dict[str, Any]:
    """Return the overrides in force, as :func:`restore` takes them."""
    return dict(_overrides)


def take_part(parts: int) -> None:
    """Have this process be one of *parts* that move, together, what the settings allow."""
    here = current()
    rate = here.max_bandwidth
    share = {"max_concurrency": max(1, here.max_concurrency // parts)}
    restore({**_overrides, **share, **({} if rate is None else {"max_bandwidth": rate / parts})})


def auto_install_requested() -> bool:
    """Tell whether ``HGLOC_AUTO_INSTALL`` asks for activation (environment only, not ``.env``)."""
    return _flag("HGLOC_AUTO_INSTALL", os.environ)


#: Variables of the original tool, and what is always so here.
_ORIGINAL = {
    "HGLOC_DEFAULT_CONFIG_NAME": "the folder of the default config is default_config",
    "HGLOC_DEFAULT_REVISION_NAME": "the folder of the default revision is default_revision",
    "HGLOC_PUBLIC_DATASETS_JSON_KEY": "public datasets are recorded in public_datasets.json",
    "HGLOC_PUBLIC_DATASETS_ZIP_DIR_PREFIX": "public ZIPs are in public_datasets_zip/",
}


def unknown_variables() -> list[tuple[str, str]]:
    """Return the ``HGLOC_`` variables that are no settings, also those of ``.env``, with what to do."""
    known = ["HGLOC_AUTO_INSTALL", *_VARIABLES.values()]
    file = nearest_env_file(working_folder())
    given = {*os.environ, *(file.values if file else ())}
    names = sorted(n for n in given if n.startswith(PREFIX) and not n.startswith(_TESTS))
    unknown = [(name, _advice(name, known)) for name in names if name not in known]
    if file and "HGLOC_AUTO_INSTALL" in file.values and "HGLOC_AUTO_INSTALL" not in os.environ:
        advice = "Export it: Python reads it when it starts, before any file."
        unknown.append((f"HGLOC_AUTO_INSTALL in {file.path}", advice))
    return unknown


def _advice(name: str, known: list[str]) -> str:
    if name in _ORIGINAL:
        return (
            f"It is a setting of hg_localization. In hf_localize, {_ORIGINAL[name]}: move data "
            "that is elsewhere, and unset the variable."
        )
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else "See docs/reference/settings.md."


def no_color() -> bool:
    """Tell whether the person does not want colors (``NO_COLOR``, or a terminal that has none)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def cache_folder() -> Path:
    """Return the folder of what may be lost at any time."""
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "hf_localize"


def are_bars_disabled() -> bool:
    """Tell whether a terminal shall, or can, show no live bars.

    ``HF_DATASETS_DISABLE_PROGRESS_BARS`` is read as `datasets` reads it.
    """
    return os.environ.get(_NO_BARS[0], "").lower() in _TRUE or os.environ.get("TERM") in ("dumb", "unknown")


def without_bars_of_datasets() -> None:
    """Have `datasets` and huggingface_hub, if they are imported after this, show no progress bars."""
    for name in _NO_BARS:
        os.environ.setdefault(name, "1")


def _as_text(name: str, value: Any) -> Any:
    """Return a Python value as it would be written in the environment; a secret and a path as they are."""
    if isinstance(value, Secret) or name in _PATHS:
        return value
    if isinstance(value, bytes):
        raise SettingsError(f"{name} must be a string, not bytes")
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _parse(name: str, variable: str, raw: Any, folder: Path | None = None) -> Any:
    """Return the value of a setting; a relative path counts from *folder*, else the working folder."""
    if name in _CREDENTIALS:
        if name != "aws_secret_access_key" and not can_be_sent(revealed(raw).strip()):
            raise SettingsError(f"{variable} has a line break or another character that no credential has")
        return hidden(name, revealed(raw).strip()) or None
    if name in _PATHS:
        return located(variable, raw, folder)
    if name == "sources":
        names = (part.strip().lower() for part in raw.split(",") if part.strip())
        return tuple(_one_of(variable, name, tuple(SOURCE_NAMES)) for name in names)
    if name in ("offline", "hub_offline", "stream_cache"):
        return _flag(variable, {variable: raw})
    if name in _CHOICES:
        text = raw.strip() if name == "s3_sse" else raw.strip().lower()
        return _one_of(variable, text, _CHOICES[name])
    if name == "log_level":
        return _one_of(variable, raw.strip().upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    if name == "max_bandwidth":
        try:
            return parse_bytes(variable, re.sub("/s$", "", raw.strip(), flags=re.IGNORECASE))
        except SettingsError as exc:
            raise SettingsError(f"{variable} must be bytes per second such as 50MB/s, got {raw!r}") from exc
    if name in ("timeout_seconds", "max_concurrency"):
        return _positive(variable, raw, int if name == "max_concurrency" else float)
    if name in ("s3_bucket_name", "aws_default_region"):
        if not _HOST_PART.fullmatch(raw.strip()):
            what = "bucket" if name == "s3_bucket_name" else "region"
            raise SettingsError(f"{variable} must be a {what}'s name alone, got {raw!r}")
        return raw.strip()
    if name == "s3_data_prefix":
        prefix = raw.rstrip("\r\n").strip("/")
        if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
            raise SettingsError(
                f"{variable}={raw!r} is not a key prefix: empty, '.' and '..' parts are refused"
            )
        return prefix
    if name in ("s3_endpoint_url", "public_url"):
        url = Secret(revealed(raw).strip())
        if problem := _problem_of_url(url.reveal()):
            raise SettingsError(f"{variable} must {problem}")
        return url.reveal().rstrip("/")
    return raw


def _problem_of_url(raw: str) -> str | None:
    """Return, in words without what may be a password or a signature, what a URL must be."""
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and re.search(r"\s", raw) is None
    except ValueError:
        usable = False
    if not usable:
        return f"be http://host or https://host, got {raw.split('@')[-1].partition('?')[0]!r}"
    if parts.username or parts.password or parts.query:
        return "hold no user, password or query: it is shown in messages"
    return None


def parse_bytes(what: str, raw: str) -> float:
    """Return a number of bytes for ``50MB``, ``1.5 GiB`` or ``50000000``.

    Raises:
        SettingsError: *raw*, the value of *what*, is none, or not above 0.
    """
    found = re.fullmatch(r"([0-9.]+)\s*([KMGT]?)(i?)B?", raw.strip(), re.IGNORECASE)
    if found is None:
        raise SettingsError(f"{what} must be a number of bytes such as 50GB, got {raw!r}")
    base = 1024 if found.group(3) else 1000
    number: float = _positive(what, found.group(1), float)
    return number * float(base ** " KMGT".index(found.group(2).upper() or " "))


def parse_seconds(what: str, raw: str) -> float:
    """Return seconds for ``90m``, ``12h``, ``30d`` or ``4w``.

    Raises:
        SettingsError: *raw*, the value of *what*, is none of these, or not above 0.
    """
    found = re.fullmatch(r"([0-9.]+)\s*([mhdw])", raw.strip(), re.IGNORECASE)
    if found is None:
        raise SettingsError(f"{what} must be a time such as 12h, 30d or 4w, got {raw!r}")
    number: float = _positive(what, found.group(1), float)
    return number * {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[found.group(2).lower()]


def _one_of(variable: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingsError(f"{variable}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _positive(variable: str, raw: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(raw)
    except ValueError:
        value = kind(0)
    if not 0 < value < threading.TIMEOUT_MAX:
        raise SettingsError(f"{variable} must be a number above 0, got {raw!r}")
    return value


def _flag(variable: str, values: Mapping[str, str]) -> bool:
    raw = values.get(variable, "").strip().lower()
    if raw in _TRUE:
        return True
    if raw in _FALSE:
        return False
    raise SettingsError(
        f"{variable}={raw!r} is neither yes ({', '.join(sorted(_TRUE))}) nor no (0, false, no, off)"
    )


def _take_default_store(lookup: _Lookup, here: str) -> None:
    """Look for ``datasets_store`` as for ``.env``: the nearest one, if nobody else may write there."""
    if "datasets_store_path" in lookup.found:
        return
    for folder in searched_folders(here):
        path = os.path.join(folder, "datasets_store")
        if os.path.isdir(path):
            try:
                require_own(path)
            except (OSError, RefusedError) as exc:
                text, advice = (
                    f"{path} is not the store: {exc}",
                    f"To use it, set HGLOC_DATASETS_STORE_PATH={path}",
                )
                lookup.notes.append(Note("datasets_store", logging.WARNING, text, advice))
                break
            place = "this folder" if folder == here else folder
            lookup.take("datasets_store_path", Path(path), f"default: {place} has it")
            return
    # The rule of huggingface_hub for HF_HOME.
    home = os.environ.get("HF_HOME")
    origin = "default, by HF_HOME" if home else "default"
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    store = absolute("HF_HOME", expanded(home)) / "datasets_store"
    if expanded(home).parts[:1] and expanded(home).parts[0].startswith("~"):
        text = f"there is no home folder, so the local store is in the working folder: {store}"
        advice = "Set HF_HOME, or HGLOC_DATASETS_STORE_PATH, to a folder of yours"
        lookup.notes.append(Note("datasets_store", logging.WARNING, text, advice))
    lookup.take("datasets_store_path", store, origin)
