"""What the files of AWS' own tools say of where S3 is. Credentials in them are botocore's to read."""

from __future__ import annotations

import configparser
import functools
import os
from collections.abc import Mapping
from pathlib import Path


def endpoint_of(environment: Mapping[str, str]) -> str | None:
    """Return the endpoint for S3 that the profile in use names, or None.

    As botocore looks it up after the variables: for S3 alone (``services``), then for all services.
    """
    sections, profile = _profile(environment)
    services = sections.get(f"services {profile.get('services', '')}", {})
    return _nested(services.get("s3", "")).get("endpoint_url") or profile.get("endpoint_url")


def ca_bundle_of(environment: Mapping[str, str]) -> str | None:
    """Return the file with the certificates to trust, by ``AWS_CA_BUNDLE``, else by the profile in use."""
    return environment.get("AWS_CA_BUNDLE") or _profile(environment)[1].get("ca_bundle")


def config_file(environment: Mapping[str, str]) -> Path:
    """Return where the file lies, if there is one."""
    return Path(environment.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()


def _profile(environment: Mapping[str, str]) -> tuple[Mapping[str, Mapping[str, str]], Mapping[str, str]]:
    """Return all sections of the file, and that of the profile in use."""
    path = config_file(environment)
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        return {}, {}
    sections = _read(path, changed)
    name = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"
    return sections, sections.get(f"profile {name}") or sections.get(name) or {}


@functools.lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, configparser.Error):
        return {}  # botocore will say what is wrong with it.
    return {name: dict(parser[name]) for name in parser.sections()}


def _nested(value: str) -> dict[str, str]:
    """Return the settings that stand, indented, below another one."""
    pairs = (line.partition("=") for line in value.splitlines() if "=" in line)
    return {name.strip(): rest.strip() for name, _, rest in pairs}
