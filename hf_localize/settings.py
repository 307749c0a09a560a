"""Settings: the only reader of the process environment and of ``.env``."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hf_localize import profiles
from hf_localize.errors import SettingsError

_log = logging.getLogger(__name__)
#: The kinds of sources, in the order in which they are asked, and what users read of each.
SOURCE_NAMES = {
    "local": "local store",
    "s3": "private S3",
    "public": "public ZIP",
    "hub": "Hugging Face Hub",
}
WRITE_BACK_MODES = ("off", "local", "s3")
VERIFY_MODES = ("size", "always")
SSE_MODES = ("AES256", "aws:kms", "aws:kms:dsse")
ADDRESSING_STYLES = ("auto", "path", "virtual")
_PREFIX = "HGLOC_"
#: Of the variables by which AWS' own tools find credentials.
_AWS_PREFIXES = ("AWS_", "BOTO_CONFIG", "REQUESTS_CA_BUNDLE")
_AWS_NAMES = (
    ("s3_endpoint_url", "AWS_ENDPOINT_URL_S3"),
    ("s3_endpoint_url", "AWS_ENDPOINT_URL"),
    ("aws_default_region", "AWS_REGION"),
    ("aws_default_region", "AWS_DEFAULT_REGION"),
)
_SECRET = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
#: Variables of others that matter to us, for people to see.
_ECOSYSTEM = (
    *("HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    "HGLOC_AUTO_INSTALL",
)
_NO_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


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
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)
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
    #: AWS' own variables, by which botocore finds credentials where ours are not set.
    aws_environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def may_have_aws_credentials(self) -> bool:
        """Tell whether AWS' own chain has anything to look at for credentials."""
        is_instance = self.s3_endpoint_url is None and profiles.is_on_ec2()
        return is_instance or profiles.may_have_credentials(dict(self.aws_environment))


_overrides: dict[str, Any] = {}


def current() -> Settings:
    """Return the settings in force now.

    Looked up, first wins: :func:`override` (the arguments of ``install()``), the environment,
    ``.env`` in the working directory or a parent, the default.

    Raises:
        SettingsError: a value can't be used.
    """
    return _settings(_overrides)


def _settings(overrides: Mapping[str, Any]) -> Settings:
    here = os.getcwd()  # noqa: PTH109  # Each load comes by here, and paths as text take a third.
    names = [name for name in os.environ if name.startswith((_PREFIX, *_AWS_PREFIXES))]
    values = _dotenv(here)[1] | {name: os.environ[name] for name in names if name.startswith(_PREFIX)}
    found: dict[str, Any] = {
        "aws_environment": tuple(sorted((n, os.environ[n]) for n in names if n.startswith(_AWS_PREFIXES))),
        "hub_offline": _flag("HF_HUB_OFFLINE", os.environ) or _flag("HF_DATASETS_OFFLINE", os.environ),
    }
    for item in fields(Settings):
        variable = _PREFIX + item.name.upper()
        if values.get(variable):
            found[item.name] = _parse(item.name, variable, values[variable])
    found |= overrides
    if found.get("datasets_store_path") is None:
        found["datasets_store_path"] = _default_store_path(here)
    if found.get("s3_bucket_name"):  # AWS' own variables serve where ours are not set.
        for name, variable in _AWS_NAMES:
            if name not in found and os.environ.get(variable):
                found[name] = _parse(name, variable, os.environ[variable])
        aws = dict(found["aws_environment"])
        if "s3_endpoint_url" not in found and (endpoint := profiles.endpoint_of(aws)):
            found["s3_endpoint_url"] = _parse("s3_endpoint_url", "endpoint_url of the AWS profile", endpoint)
    if found.get("s3_sse_kms_key_id") and not str(found.get("s3_sse")).startswith("aws:kms"):
        raise SettingsError("HGLOC_S3_SSE_KMS_KEY_ID needs HGLOC_S3_SSE=aws:kms")
    return Settings(**found)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting for people to read: its variable, its value in words, and where that comes from."""

    variable: str
    value: str
    origin: str


def explained() -> list[Setting]:
    """Return every setting with where it comes from; of a credential only that it is set.

    Raises:
        SettingsError: a value can't be used.
    """
    here = os.getcwd()  # noqa: PTH109  # As in `_settings`.
    values = current()
    path, lines = _dotenv(here)
    shown = []
    for item in fields(Settings):
        if item.name in ("hub_offline", "aws_environment"):
            continue
        value = getattr(values, item.name)
        text = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        if item.name in _SECRET and value:
            text = "(set)"
        shown.append(
            Setting(_PREFIX + item.name.upper(), text, _origin(item.name, values, path, lines, here))
        )
    for name in (*_ECOSYSTEM, *(name for name, _ in values.aws_environment)):
        if os.environ.get(name):
            shown.append(Setting(name, _masked(name, os.environ[name]), "environment"))
    return shown


def _origin(name: str, values: Settings, path: str, lines: Mapping[str, str], here: str) -> str:
    """Return, in words, where the value of the setting *name* comes from."""
    variable = _PREFIX + name.upper()
    if name in _overrides and getattr(values, name) == _overrides[name]:
        return "argument of install()"
    if os.environ.get(variable):
        return "environment"
    if variable not in os.environ and lines.get(variable):
        return path
    for of, other in _AWS_NAMES if values.s3_bucket_name else ():
        if of == name and os.environ.get(other):
            return f"environment ({other})"
    if name == "datasets_store_path" and values.datasets_store_path != Path(here, "datasets_store"):
        return "default, by HF_HOME" if os.environ.get("HF_HOME") else "default"
    return "default: this folder has it" if name == "datasets_store_path" else "default"


def _masked(name: str, value: str) -> str:
    """Return a variable's value as it may be shown: no credential, no password in a URL."""
    if any(word in name.upper() for word in ("TOKEN", "SECRET", "KEY", "PASSWORD")):
        return "(set)"
    return re.sub(r"^(\w+://)?[^/@\s]*@", r"\1…@", value).partition("?")[0]


def override(**values: Any) -> dict[str, Any]:
    """Replace the overrides by *values*, and return them as :func:`restore` takes them.

    Raises:
        SettingsError: a name is not a setting, or a value can't be used.
    """
    known = {item.name for item in fields(Settings)}
    if unknown := sorted(set(values) - known):
        raise SettingsError(f"no such setting: {', '.join(unknown)}. Known: {', '.join(sorted(known))}")
    parsed = {k: None if v is None else _parse(k, k, _as_text(v)) for k, v in values.items()}
    _settings(parsed)  # Raises before anything is replaced.
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


def no_colour() -> bool:
    """Tell whether the person does not want colours (``NO_COLOR``, or a terminal that has none)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def cache_folder() -> Path:
    """Return the folder of what may be lost at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hf_localize"


def are_bars_unwanted() -> bool:
    """Tell whether a terminal shall, or can, show no live bars.

    ``HF_DATASETS_DISABLE_PROGRESS_BARS`` is read as `datasets` reads it.
    """
    return os.environ.get(_NO_BARS[0], "").lower() in _TRUE or os.environ.get("TERM") in ("dumb", "unknown")


def without_bars_of_datasets() -> None:
    """Have `datasets` and huggingface_hub, if they are imported after this, show no progress bars."""
    for name in _NO_BARS:
        os.environ.setdefault(name, "1")


def _as_text(value: Any) -> str:
    """Return a Python value as it would be written in the environment."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _parse(name: str, variable: str, raw: str) -> Any:
    if name in ("datasets_store_path", "record", "lock"):
        return Path(raw).expanduser().absolute()
    if name == "sources":
        return _parse_sources(variable, raw)
    if name in ("offline", "hub_offline", "stream_cache"):
        return _flag(variable, {variable: raw})
    if name == "write_back":
        return _one_of(variable, raw.strip().lower(), WRITE_BACK_MODES)
    if name == "verify":
        return _one_of(variable, raw.strip().lower(), VERIFY_MODES)
    if name == "s3_addressing_style":
        return _one_of(variable, raw.strip().lower(), ADDRESSING_STYLES)
    if name == "s3_sse":
        return _one_of(variable, raw.strip(), SSE_MODES)
    if name == "s3_request_payer":
        return _one_of(variable, raw.strip().lower(), ("requester",))
    if name == "log_level":
        return _one_of(variable, raw.strip().upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    if name == "max_bandwidth":
        return _parse_rate(variable, raw)
    if name in ("timeout_seconds", "max_concurrency"):
        return _positive(variable, raw, int if name == "max_concurrency" else float)
    if name == "s3_bucket_name" and ("/" in raw or ":" in raw):
        raise SettingsError(f"{variable} must be a bucket's name alone, got {raw!r}")
    if name == "s3_data_prefix":
        return _parse_prefix(variable, raw)
    if name in ("s3_endpoint_url", "public_url"):
        return _parse_url(variable, raw)
    return raw


def _parse_sources(variable: str, raw: str) -> tuple[str, ...]:
    names = tuple(part.strip().lower() for part in raw.split(",") if part.strip())
    for name in names:
        _one_of(variable, name, tuple(SOURCE_NAMES))
    return names


def _parse_prefix(variable: str, raw: str) -> str:
    prefix = raw.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise SettingsError(f"{variable}={raw!r} is not a key prefix: empty, '.' and '..' parts are refused")
    return prefix


def _parse_url(variable: str, raw: str) -> str:
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = raw.split("@")[-1].partition("?")[0]  # Without what may be a password or a signature.
        raise SettingsError(f"{variable} must be http://host or https://host, got {shown!r}")
    if parts.username or parts.password or parts.query:
        raise SettingsError(f"{variable} must hold no user, password or query: it is shown in messages")
    return raw.rstrip("/")


def _parse_rate(variable: str, raw: str) -> float:
    """Return bytes per second for ``50MB/s``, ``50 MiB`` or ``50000000``."""
    try:
        return parse_bytes(variable, re.sub("/s$", "", raw.strip(), flags=re.IGNORECASE))
    except SettingsError as exc:
        raise SettingsError(f"{variable} must be bytes per second such as 50MB/s, got {raw!r}") from exc


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


def _dotenv(here: str) -> tuple[str, dict[str, str]]:
    """Return the path of the ``.env`` file that counts (empty: there is none), and our lines of it."""
    folder = here
    while not os.path.isfile(path := os.path.join(folder, ".env")):
        parent = os.path.split(folder)[0]
        if parent == folder:
            return "", {}
        folder = parent
    from dotenv import dotenv_values

    try:
        lines = dotenv_values(path).items()
        return path, {k: v for k, v in lines if k.startswith(_PREFIX) and v is not None}
    except (OSError, UnicodeError) as exc:  # It may be somebody's own, and not about us at all.
        _log.warning("%s is left out: %s", path, exc)
        return path, {}


def _default_store_path(here: str) -> Path:
    beside = Path(here, "datasets_store")
    if beside.is_dir():
        return beside
    # The rule of huggingface_hub for HF_HOME.
    home = os.environ.get("HF_HOME")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(home).expanduser().absolute() / "datasets_store"
