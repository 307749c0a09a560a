"""Putting the resolver under `datasets`: install, uninstall, activation."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt

from hf_localize import settings
from hf_localize.refs import DatasetRef

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_installed = False
_hooked = False
#: {function: wrapper} of what is wrapped now.
_wrappers: dict[str, _Wrapper] = {}
#: Arguments that make a call ask for something else than the dataset as it is.
_NOT_OURS = ("data_dir", "data_files", "features", "storage_options", "config_kwargs")


def install(**overrides: Any) -> None:
    """Have `datasets` ask the resolver first, in this process, until :func:`uninstall`.

    Works before and after ``import datasets``, and for names that were imported from it before.
    `datasets` is not imported by this. A second call only replaces the settings.

    Args:
        overrides: settings that win over the environment, such as ``s3_bucket_name="team"``;
            the names are those of the variables, without ``HGLOC_`` and in small letters.

    Raises:
        SettingsError: a name is not a setting, or a value can't be used.
    """
    _activate(overrides)


def uninstall() -> None:
    """Give every name in `datasets` and in loaded modules its original back."""
    global _installed
    with _lock:
        _installed = False
        settings.override()
        for wrapper in _wrappers.values():
            _rebind(wrapper, wrapper.__wrapped__)
        _wrappers.clear()


def is_installed() -> bool:
    """Tell whether loads ask the resolver now."""
    return _installed


@contextlib.contextmanager
def installed(**overrides: Any) -> Iterator[None]:
    """Install for the length of a ``with`` block, and restore what was before."""
    was_installed = _installed
    former = _activate(overrides)
    try:
        yield
    finally:
        if was_installed:
            settings.override(**former)
        else:
            uninstall()


def auto_install() -> None:
    """Install if ``HGLOC_AUTO_INSTALL`` asks for it. Never raises: a program must always start."""
    try:
        if settings.auto_install_requested():
            install()
    except Exception:  # noqa: BLE001
        _log.exception("hf_localize could not be activated; datasets loads from the Hub as usual")


def _activate(overrides: dict[str, Any]) -> dict[str, Any]:
    """Install with *overrides* and return those that were in force before."""
    global _installed, _hooked
    with _lock:
        former = settings.override(**overrides)
        _set_up_logging(settings.current().log_level)
        _installed = True
        if not _hooked:
            _hooked = True
            for module in _SEAM:
                wrapt.register_post_import_hook(_wrap_module, module)
        else:
            for module in _SEAM.keys() & sys.modules.keys():
                _wrap_module(sys.modules[module])
    return former


def _wrap_module(module: ModuleType) -> None:
    """Wrap the seam: ``load_dataset`` looks ``load_dataset_builder`` up in its module when called."""
    with _lock:
        if not _installed:
            return
        functions = _SEAM[module.__name__]
        missing = [name for name in functions if not callable(getattr(module, name, None))]
        if missing:
            _log.error("%s has no %s any more: loads go to the Hub as usual", module.__name__, missing[0])
            return
        for name, behaviour in functions.items():
            _wrap(module, name, behaviour)


class _Wrapper(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # wrapt 1 has no generics.
    """A wrapper that pickles by name, as the function itself does."""

    def __copy__(self) -> _Wrapper:
        return self

    def __deepcopy__(self, memo: Any) -> _Wrapper:
        return self

    def __reduce_ex__(self, protocol: Any) -> str:
        name: str = self.__wrapped__.__qualname__
        return name


def _wrap(module: ModuleType, name: str, behaviour: Callable[..., Any]) -> None:
    if name in _wrappers:
        return
    original = getattr(module, name)
    wrapper = _Wrapper(original, behaviour, enabled=is_installed)
    _wrappers[name] = wrapper
    _rebind(original, wrapper)


def _rebind(old: object, new: object) -> None:
    """Replace *old* by *new* wherever a loaded module has it as a global."""
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for name in [n for n, value in list(vars(module).items()) if value is old]:
                setattr(module, name, new)


def _load_dataset(stock: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
    from hf_localize.loading import capturing

    with capturing():
        return stock(*args, **kwargs)


def _load_dataset_builder(stock: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
    try:
        call = _signature(stock).bind(*args, **kwargs).arguments
    except TypeError:
        return stock(*args, **kwargs)  # Stock says what is wrong with the arguments.
    if not _names_a_dataset(call["path"]):
        return stock(*args, **kwargs)
    from hf_localize.loading import BuilderRequest, open_builder, open_original_files

    revision = call.get("revision")
    ref = DatasetRef(call["path"], call.get("name") or None, str(revision) if revision else None)
    if any(call.get(name) for name in _NOT_OURS):
        rest = {**call, **call.get("config_kwargs", {})}
        for name in ("path", "revision", "config_kwargs"):
            rest.pop(name, None)
        return open_original_files(ref, rest, lambda: stock(*args, **kwargs))
    request = BuilderRequest(
        ref,
        call_stock=lambda: stock(*args, **kwargs),
        cache_dir=call.get("cache_dir"),
        token=call.get("token"),
        force=str(call.get("download_mode") or "").lower().endswith("force_redownload"),
    )
    return open_builder(request)


def _config_names(stock: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
    return _ask_repository("config_names", stock, args, kwargs)


def _default_config_name(stock: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
    return _ask_repository("default_config_name", stock, args, kwargs)


def _ask_repository(question: str, stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        call = _signature(stock).bind(*args, **kwargs).arguments
    except TypeError:
        return stock(*args, **kwargs)
    if not _names_a_dataset(call["path"]) or call.get("data_files"):
        return stock(*args, **kwargs)
    from hf_localize import loading

    revision = call.get("revision")
    ref = DatasetRef(call["path"], None, str(revision) if revision else None)
    return getattr(loading, question)(ref, lambda: stock(*args, **kwargs))


def _names_a_dataset(path: object) -> bool:
    """Tell whether stock would look for *path* on the Hub: no packaged builder, no local path."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if not isinstance(path, str) or not path or path in _PACKAGED_DATASETS_MODULES:
        return False
    if "://" in path or path.startswith("buckets/") or path.endswith(".py") or Path(path).is_absolute():
        return False
    script = os.path.join(path, f"{os.path.basename(path)}.py")
    return path.count("/") <= 1 and not os.path.isdir(path) and not os.path.isfile(script)


#: What is wrapped, and by what.
_SEAM: dict[str, dict[str, Callable[..., Any]]] = {
    "datasets.load": {"load_dataset_builder": _load_dataset_builder, "load_dataset": _load_dataset},
    "datasets.inspect": {
        "get_dataset_config_names": _config_names,
        "get_dataset_default_config_name": _default_config_name,
    },
}


@functools.lru_cache(maxsize=4)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _set_up_logging(level: str | None) -> None:
    """Show hf_localize's log on stderr where ``HGLOC_LOG_LEVEL`` asks for it and nobody listens."""
    if level is None:
        return
    logger = logging.getLogger("hf_localize")
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
