"""Activation from outside the program, by ``HGLOC_AUTO_INSTALL=1``.

Imported while Python starts, by the wheel's ``hf_localize.pth`` or ``.start``, or by a ``sitecustomize``.
So it loads next to nothing: the libraries that send requests are wrapped when the program looks for one of
them, and the shim is installed when it looks for `datasets`, uses huggingface_hub, or asks the Hub for
something, and never otherwise.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # Importing typing takes longer than all the rest.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def start() -> None:
    """Do what ``hf_localize.pth`` does, for the ``hf_localize.start`` of Python 3.15 and newer.

    https://peps.python.org/pep-0829/
    """
    if os.environ.get("HGLOC_AUTO_INSTALL", "0") not in ("", "0"):
        auto_install()


def auto_install() -> None:
    """Install when `datasets` is looked for, or the Hub asked, if ``HGLOC_AUTO_INSTALL`` says so then."""
    if _finder not in sys.meta_path:
        _finder.is_waiting = True
        sys.meta_path.insert(0, _finder)
    if any(name in sys.modules for name in _SENDERS):
        _watch()
    if any(name in sys.modules for name in _FIRST):
        settle()


def settle() -> None:
    """Do now what :func:`auto_install` has put off. Never raises: a program must always run."""
    if not _finder.is_waiting:
        return
    _finder.is_waiting = False
    try:
        if _is_requested():
            from hf_localize.shim.patch import activate

            activate()
    except Exception:
        import logging

        logging.getLogger(__name__).exception(
            "hf_localize could not be activated; datasets loads from the Hub as usual"
        )


def _watch() -> ModuleType:
    from hf_localize.hf.doors import clients

    clients.watch(_is_installed)
    return clients


def _is_requested() -> bool:
    from hf_localize import settings
    from hf_localize.errors import SettingsError

    try:
        return settings.auto_install_requested()
    except SettingsError as exc:  # If it did not count, loads would go to the Hub unnoticed.
        import logging

        logging.getLogger(__name__).error("%s. It is taken for 1.", exc)
        return True


def _is_installed() -> bool:
    settle()  # install() has the libraries ask patch.is_installed() in place of this.
    patch = sys.modules.get("hf_localize.shim.patch")  # Another thread may still be importing it.
    return bool(getattr(patch, "is_installed", bool)())


#: What is looked for when `datasets` is imported, or huggingface_hub is used; not when that is only imported.
_FIRST = ("datasets", "huggingface_hub.file_download", "huggingface_hub._snapshot_download")
#: The modules by which requests are sent, as `clients` wraps them.
_SENDERS = ("requests.sessions", "httpx", "httpx2", "urllib.request")


class _Finder:
    """A finder that acts when a program imports `datasets`, huggingface_hub or an HTTP library.

    It stays in ``sys.meta_path``, which others are walking along while it is asked.
    """

    is_waiting = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name in _FIRST:
            settle()
        if name in _SENDERS and self.is_waiting:
            # Its own finder has come into sys.meta_path before this one, so it is not asked any more.
            spec: ModuleSpec | None = _watch().finder.find_spec(name, path, target)
            return spec
        return None


_finder = _Finder()
