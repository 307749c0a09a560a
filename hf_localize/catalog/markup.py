"""HTML in which nothing of a dataset is taken for markup: what is not `Html` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias


class Html(str):
    """Text that is HTML already; every other text is escaped where it becomes a part of some."""

    __slots__ = ()


NOTHING = Html("")
#: What stands in an element: HTML, text, or several of them.
Content: TypeAlias = "str | Iterable[Content] | None"


def element(name: str, *content: Content, **attributes: str | int | bool | None) -> Html:
    """Return an element. An attribute's name has ``_`` for ``-``, and may end in ``_``.

    Args:
        content: None is left out.
        attributes: True stands for the name alone; False and None leave the attribute out.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Html:
    """Return *content* as HTML, one after another."""
    return Html("".join(map(_html, content)))


_VOID = frozenset({"br", "img", "input"})


def _html(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return html.escape(content)
    return joined(*content)


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
