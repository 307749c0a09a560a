"""Putting the resolver under `datasets`: install and uninstall."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import inspect
import itertools
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import wrapt

from hf_localize import settings
from hf_localize.errors import DatasetNotFoundError, LockError, SettingsError, printable
from hf_localize.hf.doors import clients
from hf_localize.settings.secret import hidden, revealed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hf_localize.settings.options import Options

_log = logging.getLogger(__name__)
_signature = functools.lru_cache(maxsize=16)(inspect.signature)
_lock = threading.RLock()
#: The settings of each install in force; the last one counts. An open ``with`` block has its own.
_layers: list[dict[str, Any]] = []
#: {function: the wrappers around it}. More than one where somebody else has put another function
#: there. Kept by uninstall(): what holds one elsewhere works again after install().
_wrappers: dict[str, list[Any]] = {}
#: Arguments that make a call ask for something else than the dataset as it is.
_NOT_OURS = ("data_dir", "data_files", "features", "storage_options", "config_kwargs")
#: A dataset on the Hub, whatever lies in the working directory; the revision is our addition.
_HUB_PATH = re.compile(r"hf://datasets/([^/@]+(?:/[^/@]+)?)(?:@([^/@]+|refs/[a-z]+/[^/@]+))?/?")


def install(**overrides: Unpack[Options]) -> None:
    """Make loads of `datasets` in this process use hf_localize, until :func:`uninstall`.

    Works before and after ``import datasets``, and for functions that were imported from it earlier. Does not
    import `datasets`. A second call only replaces the settings. The environment is not changed. Processes
    that `multiprocessing` starts (``fork``, ``spawn``, ``forkserver``) use the same settings.

    Args:
        overrides: settings that override the environment, such as ``s3_bucket_name="team"``. The names are
            those of the variables, in lower case and without ``HGLOC_``.

    Example:
        >>> hf_localize.install(sources=("local", "s3"), s3_bucket_name="team-datasets")
        >>> hf_localize.is_installed()
        True
        >>> hf_localize.uninstall()

    Raises:
        SettingsError: a name is not a setting, or a value can't be used.
        LockError: ``lock`` is not the path of a lock file.
    """
    overrides = settings.hide(overrides)  # type: ignore[assignment]  # This frame keeps no credential.
    _put_in_place(dict(overrides), is_context=False)


def activate(**overrides: Unpack[Options]) -> None:
    """Install without a call by the program. A wrong setting makes loads fail, but the program goes on."""
    try:
        install(**overrides)
    except SettingsError as exc:
        _log.error("%s. Loads fail until it is corrected.", exc)
        _put_in_place(None, is_context=False)


def uninstall() -> None:
    """Undo :func:`install`: loads go to stock `datasets` again."""
    with _lock:
        _layers.clear()
        settings.restore({})
        clients.unwatch()
        _rebind([(w, w.__wrapped__) for w in _all_wrappers()], sys.modules.values())


def is_installed() -> bool:
    """Return whether loads use hf_localize now."""
    return bool(_layers)


@contextlib.contextmanager
def installed(**overrides: Unpack[Options]) -> Iterator[None]:
    """Install for a ``with`` block, and restore the former state afterwards.

    Blocks of several threads may overlap: loads use hf_localize until the last block ends, with the settings
    of the block that began last.

    Example:
        >>> with hf_localize.installed(offline=True):
        ...     corpus = datasets.load_dataset("openai/gsm8k", "main", split="test")
        >>> hf_localize.is_installed()
        False
    """
    overrides = settings.hide(overrides)  # type: ignore[assignment]  # This frame keeps no credential.
    mine = _put_in_place(dict(overrides), is_context=True)
    try:
        yield
    finally:
        with _lock:
            others = [layer for layer in _layers if layer is not mine]
            if not others:
                uninstall()
            elif len(others) < len(_layers):  # Else somebody has uninstalled, and installed, meanwhile.
                _layers[:] = others
                settings.restore(others[-1])


def _put_in_place(overrides: dict[str, Any] | None, *, is_context: bool) -> dict[str, Any]:
    """Install with *overrides*, and return the layer that holds them.

    None: with the settings as they are, even if one is wrong.
    """
    for name in filter(_is_being_imported, _PATCH_POINTS):
        importlib.import_module(name)  # By another thread: wait, since its functions come one by one.
    with _lock:
        values: dict[str, Any] = {}
        if overrides is not None:
            _check_lock(overrides.get("lock"))
            values = settings.override(**overrides)
            _set_up_logging(settings.current().log_level)
        if is_context or not _layers:
            _layers.append({})
        layer = _layers[-1]
        layer.clear()
        layer.update(values)
        _take_along()
        clients.watch(is_installed)
        for name in _PATCH_POINTS:
            if name in sys.modules and not _is_being_imported(name):
                _wrap_module(sys.modules[name])
        if _layers:  # The seam is whole, or not imported yet.
            _rebind([(w.__wrapped__, w) for w in _all_wrappers()], sys.modules.values())
    return layer


def _take_along() -> None:
    """Have processes that are started afresh install as this one has.

    What `multiprocessing` sends to such a process has its authentication key, so what rebuilds the key there
    may do this as well. `datasets` uses another package of the same kind, `multiprocess`.
    """
    for package in ("multiprocessing", "multiprocess"):
        if package == "multiprocessing" or package in sys.modules:
            reduction = importlib.import_module(f"{package}.reduction")
            key_type = importlib.import_module(f"{package}.process").AuthenticationString
            reduction.ForkingPickler.register(key_type, _reduce_key)


def _reduce_key(key: Any) -> tuple[Any, ...]:
    rebuild, arguments = key.__reduce__()
    if not _layers:
        return rebuild, arguments
    return _rebuild_key_and_install, (rebuild, arguments, _layers[-1])


def _rebuild_key_and_install(rebuild: Callable[..., Any], arguments: Any, values: dict[str, Any]) -> Any:
    if not _layers:  # Else the program has installed by itself, at its top.
        activate(**values)
    return rebuild(*arguments)


def _check_lock(path: str | os.PathLike[str] | None) -> None:
    if path is not None:
        from hf_localize.format.lockfile import read_lock
        from hf_localize.settings.paths import located

        read_lock(located("lock", path))


def _is_being_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _wrap_module(module: ModuleType) -> None:
    """Wrap the seam: ``load_dataset`` looks ``load_dataset_builder`` up in its module when called.

    Where a part of it is missing, all is taken down again, and loads go to stock.
    """
    with _lock:
        if not _layers:
            return
        functions = _PATCH_POINTS[module.__name__]
        missing = [name for name in functions if not callable(getattr(module, name, None))]
        if any("dataset" in name for name in missing):  # Else some calls are answered less well.
            _log.error(
                "hf_localize is not in effect, and loads go to the Hub as usual: datasets %s has no %s.%s. "
                "Install a release of datasets that hf_localize knows (2.20 to 5), or a newer hf_localize.",
                getattr(sys.modules.get("datasets"), "__version__", "(unknown version)"),
                module.__name__,
                missing[0],
            )
            uninstall()
            return
        for name, behavior in functions.items():
            if name not in missing:  # Files are streamed then, and not linked.
                _wrap(module, name, behavior)
        _take_along()  # `datasets` has imported `multiprocess` by now.
        _rebind([(w.__wrapped__, w) for w in _all_wrappers()], [module])


def _wrap(module: ModuleType, name: str, behavior: Callable[..., Any]) -> None:
    wrappers = _wrappers.setdefault(name, [])
    current = getattr(module, name)
    if not any(current is known.__wrapped__ or _leads_to(known, current) for known in wrappers):
        wrappers.append(_wrapper(current, behavior))
        if "dataset" in name:
            _say_if_hidden(current, f"{module.__name__}.{name}")


def _wrapper(stock: Callable[..., Any], behavior: Callable[..., Any]) -> Any:
    def wrapper(wrapped: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
        if "token" in kwargs:
            kwargs = {**kwargs, "token": hidden("token", kwargs["token"])}
        try:
            return behavior(wrapped, args, kwargs)
        except (DatasetNotFoundError, SettingsError, LockError) as exc:  # Its text says it all.
            exc.__traceback__ = None
            raise exc from None

    return _Wrapper(stock, wrapper, enabled=is_installed)


class _Wrapper(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # wrapt 1 has no arguments there.
    """A wrapper that is pickled, hashed, copied and looked up in a class as the function it wraps."""

    def __reduce_ex__(self, _protocol: object) -> str | tuple[Any, ...]:
        if getattr(sys.modules.get(self.__module__), self.__name__, None) is self:
            return str(self.__name__)  # By reference, as any function.
        return copy.copy, (self.__wrapped__,)  # Uninstalled, or replaced by another wrapper.

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _memo: object) -> Any:
        return self

    def __get__(self, instance: object, _owner: object = None) -> Any:
        return self if instance is None else MethodType(self, instance)


def _say_if_hidden(function: Callable[..., Any], name: str) -> None:
    with contextlib.suppress(TypeError, ValueError):
        if "path" in _signature(function).parameters:
            return
    _log.warning("%s was replaced by a function without a `path`: its calls go to the Hub as usual", name)


def _leads_to(wrapper: object, function: Any) -> bool:
    """Tell whether *function* is *wrapper*, or lies around it and says so."""
    while function is not None and function is not wrapper:
        function = getattr(function, "__wrapped__", None)
    return function is wrapper


def _all_wrappers() -> list[Any]:
    return list(itertools.chain(*_wrappers.values()))


def _rebind(changes: list[tuple[Any, Any]], modules: Iterable[object]) -> None:
    """Replace the first of each pair by the second wherever *modules* have it as a global."""
    by_identity = {id(old): new for old, new in changes}
    for module in list(modules) if changes else ():
        if isinstance(module, ModuleType):
            try:  # Not vars(): that would load a module which is lazy.
                names = object.__getattribute__(module, "__dict__")
            except AttributeError:  # A library of cffi says that it is a module.
                continue
            for name, old in [item for item in list(names.items()) if id(item[1]) in by_identity]:
                names[name] = by_identity[id(old)]


def _ask_stock(stock: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    return stock(*args, **{name: revealed(value) for name, value in kwargs.items()})


def _load_dataset(stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    call, args, kwargs = _dataset_call(stock, args, kwargs)
    if call is None:
        return _ask_stock(stock, args, kwargs)
    from hf_localize.hf.load import load_of

    with load_of(call["path"], call.get("split")):
        return _ask_stock(stock, args, kwargs)


def _load_dataset_builder(stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    call, args, kwargs = _dataset_call(stock, args, kwargs)
    if call is None:
        return _ask_stock(stock, args, kwargs)
    from hf_localize.format.refs import DatasetRef
    from hf_localize.hf.load import BuilderRequest, is_forced, open_builder, open_original_files

    revision, name = call.get("revision"), call.get("name") or None
    force = is_forced(call.get("download_mode"))
    if not isinstance(name, (str, type(None))):
        raise TypeError(f"name must be a string, got {type(name).__name__}")
    ref = DatasetRef(call["path"], name, str(revision) if revision else None)
    if any(call.get(name) for name in _NOT_OURS):
        rest = {**call, **call.get("config_kwargs", {})}
        for name in ("path", "revision", "config_kwargs"):
            rest.pop(name, None)
        return open_original_files(ref, rest, lambda: _ask_stock(stock, args, kwargs), force=force)

    def call_stock(commit: str | None) -> Any:
        if commit is None:
            return _ask_stock(stock, args, kwargs)
        rest = {name: value for name, value in call.items() if name != "config_kwargs"}
        return _ask_stock(stock, (), {**rest, "revision": commit})

    request = BuilderRequest(
        ref,
        call_stock=call_stock,
        cache_dir=call.get("cache_dir"),
        token=call.get("token"),
        force=force,
    )
    return open_builder(request)


def _ask_repository(question: str, stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    call, args, kwargs = _dataset_call(stock, args, kwargs)
    if call is None:
        return _ask_stock(stock, args, kwargs)
    from hf_localize.format.refs import DatasetRef
    from hf_localize.hf import load

    revision = call.get("revision")
    ref = DatasetRef(call["path"], None, str(revision) if revision else None)
    if call.get("data_files"):
        with load.reading_files(ref):
            return _ask_stock(stock, args, kwargs)
    return getattr(load, question)(ref, lambda: _ask_stock(stock, args, kwargs))


def _dataset_call(
    stock: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[dict[str, Any] | None, Any, Any]:
    """Return the arguments of a call by name, None if it is stock's alone to answer; and those for stock."""
    try:
        call = _signature(stock).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # Stock says what is wrong with them.
        return None, args, kwargs
    found = _HUB_PATH.fullmatch(call["path"]) if isinstance(call.get("path"), str) else None
    if found is None:
        return (call if _names_a_dataset(call.get("path")) else None), args, kwargs
    dataset_id, revision = found.groups()
    revision = revision and unquote(revision)
    is_known = _datasets_release() >= (4, 8) and not _is_packaged(dataset_id)
    if not is_known or (revision and call.get("revision") not in (None, revision)):
        return None, args, kwargs
    if revision is not None:  # Which stock does not know in such a path.
        call["revision"] = revision
        parameters = _signature(stock).parameters.values()
        open_name = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "")
        rest = {name: value for name, value in call.items() if name != open_name}
        args, kwargs = (), {**rest, **call.get(open_name, {}), "path": f"hf://datasets/{dataset_id}"}
    return {**call, "path": dataset_id}, args, kwargs


def _datasets_release() -> tuple[int, ...]:
    version = getattr(sys.modules.get("datasets"), "__version__", "0")
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _is_packaged(path: str) -> bool:
    from hf_localize.hf import packaged_builders

    return path in packaged_builders()


def _names_a_dataset(path: object) -> bool:
    """Tell whether stock would look for *path* on the Hub: no packaged builder, no local path."""
    if not isinstance(path, str) or not path or _is_packaged(path):
        return False
    if "://" in path or path.startswith("buckets/") or path.endswith(".py") or Path(path).is_absolute():
        return False
    script = os.path.join(path, f"{os.path.basename(path)}.py")
    return path.count("/") <= 1 and not os.path.isdir(path) and not os.path.isfile(script)


def _ask_cache(function: str, stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    from hf_localize.hf.doors import cache

    return getattr(cache, function)(stock, args, {name: revealed(value) for name, value in kwargs.items()})


def _write(stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call what reads a file in order to change it on the Hub, so what is held may be too old."""
    from hf_localize.hf.doors.state import asking_the_hub_itself

    with asking_the_hub_itself():
        return _ask_stock(stock, args, kwargs)


def _offline_check(stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Raise what stock raises where it would ask the Hub, but is offline; not where the Hub is not asked.

    Before `datasets` 3, each download is checked, too: its text names the file.
    """
    try:
        return stock(*args, **kwargs)
    except ConnectionError:
        from hf_localize.hf.doors import state, transport

        text = str(args[0] if args else kwargs.get("msg")).removeprefix("Tried to reach ")
        if not (state.hub_is_left_out.get() or transport.is_held(text)):
            raise


#: What is wrapped, and by what.
_PATCH_POINTS: dict[str, dict[str, Callable[..., Any]]] = {
    "datasets.utils.file_utils": {"_raise_if_offline_mode_is_enabled": _offline_check},
    "datasets.load": {"load_dataset_builder": _load_dataset_builder, "load_dataset": _load_dataset},
    "datasets.inspect": {
        "get_dataset_config_names": functools.partial(_ask_repository, "config_names"),
        "get_dataset_default_config_name": functools.partial(_ask_repository, "default_config_name"),
    },
    "huggingface_hub.file_download": {
        "hf_hub_download": functools.partial(_ask_cache, "one_file"),
        "try_to_load_from_cache": functools.partial(_ask_cache, "one_file"),
        "_download_to_tmp_and_move": functools.partial(_ask_cache, "download"),
    },
    "huggingface_hub._snapshot_download": {
        "snapshot_download": functools.partial(_ask_cache, "snapshot"),
        "write_tree_cache": functools.partial(_ask_cache, "keep_list"),
    },
    "huggingface_hub.repocard": {"metadata_update": _write},
    "huggingface_hub._commit_api": {"_fetch_files_to_copy": _write},
}


#: What releases of huggingface_hub below 1 lack, and don't need.
_NEWER = ("write_tree_cache",)


def missing_patch_points() -> list[str]:
    """Return what the installed `datasets` lacks of that which is wrapped."""
    return [
        f"{name}.{function}"
        for name, functions in _PATCH_POINTS.items()
        for function in functions
        if function not in _NEWER and not callable(getattr(importlib.import_module(name), function, None))
    ]


def _set_up_logging(level: str | None) -> None:
    """Show hf_localize's log on stderr where ``HGLOC_LOG_LEVEL`` asks for it and nobody listens."""
    if level is None:
        return
    logger = logging.getLogger("hf_localize")
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))  # It may quote what others wrote.


for _name in _PATCH_POINTS:  # Called at once for a module that is loaded; install() wraps that one.
    wrapt.register_post_import_hook(_wrap_module, _name)
