"""Credentials as values that show nothing of themselves."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

_T = TypeVar("_T")
#: Parts of the names of variables that hold credentials.
_WORDS = ("TOKEN", "SECRET", "ACCESS_KEY", "PASSWORD")


class Secret(Generic[_T]):
    """A credential, or a value that holds one, which no ``repr``, ``str`` or pickle shows.

    So no traceback with local variables does. Only :meth:`reveal` gives it: call that inside the expression
    that needs it, so that no local variable keeps it.
    """

    __slots__ = ("reveal",)
    #: Return it.
    reveal: Callable[[], _T]

    def __init__(self, value: _T) -> None:
        # A function, since tools that print attributes don't call them.
        object.__setattr__(self, "reveal", lambda: value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __repr__(self) -> str:
        return "(secret)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self.reveal() == other.reveal())

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> tuple[Any, ...]:
        # `datasets` starts processes with another package of the same kind, `multiprocess`.
        contexts = (sys.modules.get(f"{name}.context") for name in ("multiprocessing", "multiprocess"))
        if all(context is None or context.get_spawning_popen() is None for context in contexts):
            raise TypeError("a secret is not pickled")
        return Secret, (self.reveal(),)  # Into the pipe to a process that this one is starting.


@functools.lru_cache(maxsize=512)
def is_secret(name: str) -> bool:
    """Tell whether the variable or setting *name* holds a credential, by its name."""
    return any(word in name.upper() for word in _WORDS)


def revealed(value: Any) -> Any:
    """Return the text of a secret, and any other value as it is."""
    return value.reveal() if isinstance(value, Secret) else value


def hidden(name: str, value: Any) -> Any:
    """Return *value*, as a :class:`Secret` if it is a text that can hold a credential, by its *name*."""
    may_hold_one = is_secret(name) or "URL" in name.upper()  # Of a user with a password.
    return Secret(value) if value and isinstance(value, str) and may_hold_one else value


def can_be_sent(text: Any) -> bool:
    """Tell whether *text* can stand in an HTTP header. Python quotes what can't in its error."""
    return bool(str(revealed(text)).isascii() and str(revealed(text)).isprintable())
