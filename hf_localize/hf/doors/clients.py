"""Wrap the methods by which HTTP libraries send requests, so that those to the Hub are answered here.

Imported before the first library that sends requests, so it loads nothing. A library is wrapped when it is
imported. Each library's client sends every request by one method. So it does not matter whether
huggingface_hub, a factory that the user has given to it, or another program has made the client.
"""

from __future__ import annotations

import sys

from hf_localize.hf.doors import endpoints

TYPE_CHECKING = False  # Importing typing takes longer than all the rest.
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: The classes that send, in each module, and by which method. huggingface_hub uses requests up to 0.36, httpx
#: in 1, httpx2 since 2. `shim.activation` knows the modules too.
_SENDERS = {
    "requests.sessions": {"Session": "send"},
    "httpx": {"Client": "send", "AsyncClient": "send"},
    "httpx2": {"Client": "send", "AsyncClient": "send"},
    "urllib.request": {"OpenerDirector": "open"},
}
#: {(module, class): (class, name of its method, stock's method, ours)} of those that are wrapped.
_wrapped: dict[tuple[str, str], tuple[type, str, Any, Any]] = {}
_is_wanted: Callable[[], bool] = bool


def watch(is_wanted: Callable[[], bool]) -> None:
    """Wrap the libraries, now or when they are imported; *is_wanted* is asked at each request to the Hub."""
    global _is_wanted
    _is_wanted = is_wanted
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
    for name in _SENDERS:
        if name in sys.modules:
            __import__(name)  # By another thread, maybe: this waits until it is whole.
            _wrap(sys.modules[name])


def is_watching() -> bool:
    """Tell whether requests to the Hub come by here."""
    return bool(_wrapped) and _is_wanted()


def unwatch() -> None:
    """Give the libraries their methods back, and forget whether the Hub has answered."""
    global _is_wanted
    _is_wanted = bool
    for key, (owner, method, stock, ours) in list(_wrapped.items()):
        if vars(owner).get(method) is ours:  # Else other code has wrapped ours.
            setattr(owner, method, stock)
            del _wrapped[key]
    transport = sys.modules.get("hf_localize.hf.doors.transport")
    # While another thread still imports it, there is nothing to forget.
    getattr(transport, "forget", bool)()


def _wrap(module: ModuleType) -> None:
    for class_name, method in _SENDERS[module.__name__].items():
        if (module.__name__, class_name) not in _wrapped:
            _wrap_method(module, class_name, method)


def _wrap_method(module: ModuleType, class_name: str, method: str) -> None:
    owner = getattr(module, class_name, None)
    stock = getattr(owner, method, None)
    if owner is None or stock is None:
        return
    sender = f"{module.__name__.partition('.')[0]}.{class_name}"

    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        url = request if isinstance(request, str) else getattr(request, "full_url", None) or request.url
        if not str(url).startswith(endpoints()) or not _is_wanted():
            return stock(self, request, *args, **kwargs)
        from hf_localize.hf.doors.senders import SENDERS

        return SENDERS[sender](stock, self, request, *args, **kwargs)

    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(send, attribute, getattr(stock, attribute))
    send.__wrapped__ = stock  # type: ignore[attr-defined]
    setattr(owner, method, send)
    _wrapped[module.__name__, class_name] = owner, method, stock, send


class _Finder:
    """A finder of modules that lets the others find, and wraps a library when it has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _SENDERS:
            return None
        for other in sys.meta_path:
            is_ours = type(other).__module__.startswith("hf_localize.")
            find = None if is_ours else getattr(other, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None and spec.loader is not None:
                _wrap_after(spec.loader, name)
                return spec
        return None


def _wrap_after(loader: Any, name: str) -> None:
    """Have *loader* wrap the module *name* after it has run it."""
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        if module.__name__ == name and _is_wanted is not bool:
            _wrap(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # A loader that takes no attributes: that library is left alone.
        return


finder = _Finder()
