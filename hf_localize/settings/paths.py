"""Paths as settings name them."""

from __future__ import annotations

import os
from pathlib import Path

from hf_localize.errors import SettingsError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return *path* with the home folder in the place of ``~``.

    Where the user has no home folder, ``~`` stays, as boto3, `datasets` and huggingface_hub leave it.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib raises an error there.


def located(variable: str, raw: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Return the absolute path *raw*, which counts from *folder*, else from the working folder.

    Args:
        variable: whose value it is, for errors.

    Raises:
        SettingsError: it is no path; there is no such home folder, or no working folder any more.
    """
    if not isinstance(raw, (str, os.PathLike)):
        raise SettingsError(f"{variable} must be a path, not {type(raw).__name__}")
    path = expanded(raw)
    if path.is_absolute():
        return path
    path = Path(folder or "", path)
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise SettingsError(f"{variable}={os.fspath(raw)!r}: there is no such home folder")
    return absolute(variable, path)


def absolute(variable: str, path: Path) -> Path:
    """Return *path*, the value of *variable*, as an absolute path.

    Raises:
        SettingsError: it is relative to the working folder, which was removed.
    """
    try:
        return path.absolute()
    except FileNotFoundError as exc:
        raise SettingsError(
            f"{variable}={path} is relative to the working folder, which was removed"
        ) from exc
