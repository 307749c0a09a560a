"""What the variables and files of AWS' own tools say of where S3 is, and whether there may be credentials.

Those are boto3's to read, which takes a third of a second to load.
"""

from __future__ import annotations

import configparser
import functools
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from hf_localize.settings.paths import expanded

#: Variables of AWS' own tools that can't lead to credentials.
WITHOUT_CREDENTIALS = frozenset(
    {
        "AWS_CA_BUNDLE",
        "AWS_CONFIG_FILE",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_MAX_ATTEMPTS",
        "AWS_REGION",
        "AWS_RETRY_MODE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "REQUESTS_CA_BUNDLE",
    }
)
#: Where boto, the first of its family, had credentials, which boto3 still reads.
_BOTO_FILES = ("/etc/boto.cfg", "~/.boto")
#: How EC2 documents that an instance is told from other machines.
_DMI_FILES = ("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/bios_version")


def may_have_credentials(environment: Mapping[str, str]) -> bool:
    """Tell whether AWS' chain has a variable or a file to look at, of those in ``botocore/credentials.py``.

    Args:
        environment: the variables that begin with ``AWS_``, and ``BOTO_CONFIG``.
    """
    return bool(environment.keys() - WITHOUT_CREDENTIALS) or any(map(_says_something, _files(environment)))


def changes(environment: Mapping[str, str]) -> tuple[int | None, ...]:
    """Return when each of the files that may hold credentials was changed; None: it is not there."""
    return tuple(map(_changed, _files(environment)))


def _files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    return (config_file(environment), _credentials_file(environment), *map(expanded, map(Path, _BOTO_FILES)))


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def is_on_ec2() -> bool:
    """Tell whether this machine is an EC2 instance, whose metadata service answers at once."""
    for path in _DMI_FILES:
        try:
            if "amazon" in Path(path).read_text(encoding="utf-8").lower():
                return True
        except OSError:
            continue
    return False


def names_metadata_service(environment: Mapping[str, str]) -> bool:
    """Tell whether a variable or the profile in use says where to ask for the role of an instance."""
    variable, setting = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint"
    return bool(environment.get(variable) or _profile(environment).get(setting))


def endpoint_of(environment: Mapping[str, str]) -> str | None:
    """Return the endpoint for S3 that the profile in use names, or None.

    As boto3 looks it up after the variables: for S3 alone (``services``), then for all services.
    """
    sections, profile = _sections(config_file(environment)), _profile(environment)
    services = sections.get(f"services {profile.get('services', '')}", {})
    return _nested(services.get("s3", "")).get("endpoint_url") or profile.get("endpoint_url")


def ignores_endpoints(environment: Mapping[str, str], variable: str | None) -> bool:
    """Tell whether boto3 is to use AWS' own endpoints, whatever the variables and the profile name.

    Args:
        variable: the value of ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS``, which counts before the profile.
    """
    named = _profile(environment).get("ignore_configured_endpoint_urls", "") if variable is None else variable
    return named.lower() == "true"


def ca_bundle_of(environment: Mapping[str, str]) -> str | None:
    """Return the file or folder with the certificates to trust: the first that is named, as boto3 looks.

    By ``AWS_CA_BUNDLE``, the profile in use, ``REQUESTS_CA_BUNDLE``.
    """
    named = environment.get("AWS_CA_BUNDLE") or _profile(environment).get("ca_bundle")
    return named or environment.get("REQUESTS_CA_BUNDLE")


def config_file(environment: Mapping[str, str]) -> Path:
    """Return where the file lies, if there is one."""
    return expanded(environment.get("AWS_CONFIG_FILE") or "~/.aws/config")


def has_config(environment: Mapping[str, str]) -> bool:
    """Tell whether the file says anything, or that with the credentials says more than those."""
    return _says_something(config_file(environment)) or bool(_profile(environment))


def _credentials_file(environment: Mapping[str, str]) -> Path:
    return expanded(environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what both files say of the profile in use, without credentials; that of the credentials wins."""
    name = environment.get("AWS_DEFAULT_PROFILE") or environment.get("AWS_PROFILE") or "default"
    sections = _sections(config_file(environment))
    profile = sections.get(f"profile {name}") or (sections.get(name) if name == "default" else None)
    return {**(profile or {}), **_sections(_credentials_file(environment)).get(name, {})}


def _sections(path: Path) -> dict[str, dict[str, str]]:
    try:
        return _read(path, os.stat(path).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, configparser.Error):
        return {}  # boto3 will say what is wrong with it.
    return {
        section: {name: value for name, value in parser[section].items() if not name.startswith("aws_")}
        for section in parser.sections()
    }


def _nested(value: str) -> dict[str, str]:
    """Return the settings that stand, indented, below another one."""
    pairs = (line.partition("=") for line in value.splitlines() if "=" in line)
    return {name.strip(): rest.strip() for name, _, rest in pairs}


def _says_something(path: Path) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # boto3 will say what is wrong with it.
    is_empty = stat.S_ISREG(found.st_mode) and found.st_size == 0
    return not (is_empty or stat.S_ISCHR(found.st_mode))  # As /dev/null is.
