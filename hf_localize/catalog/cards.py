"""Dataset cards: what their head tells, and their text as HTML that can do nothing.

Of the elements and attributes that a card has, only those that Markdown makes are kept, and pictures become
their descriptions: they lie on other hosts.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

#: Of a longer card the beginning is shown; a longer head is not looked at.
MOST_BYTES = 256 << 10
_MAX_SUMMARY = 220
#: There are cards with hundreds of languages.
_MAX_WORDS = 1000
#: Tags of a card that has more are shown as text: nesting tens of thousands of them would take minutes.
_MAX_TAGS = 1 << 13
_HEAD = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
_TAGS = {
    *("a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s"),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_BLOCK = re.compile(r"<(?=/?(?:center|details|div|h[1-6]|section|summary)\b)", re.IGNORECASE)
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_NO_SLUG = re.compile(r"[^\w\- ]")
_NULLS = ("", "~", "null")
_TOLD = ("pretty_name", "language", "task_categories", "license")


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset card: some of what its head tells, its text, and the first sentences of that."""

    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: HTML.
    text: str = ""
    summary: str = ""


def read_card(data: bytes) -> Card:
    """Return the card that a README.md holds, whatever it holds."""
    markdown = data[:MOST_BYTES].decode("utf-8", "replace").replace("\r\n", "\n").lstrip("\ufeff")
    head = _HEAD.match(markdown)
    body = markdown[head.end() :] if head else markdown
    if len(data) > MOST_BYTES:
        body += "\n\n…"
    text, summary = _rendered(body)
    return Card(_told(head.group(1) or "") if head else {}, text, summary)


def _told(head: str) -> dict[str, tuple[str, ...]]:
    import yaml

    try:
        # The loaders that know only text, lists and mappings: safe ones merge mappings to any size, and
        # make numbers of any length. Bandit and ruff see only that the name is looked up.
        document = yaml.load(head, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506  # nosec B506
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return {}
    found = document if isinstance(document, dict) else {}
    return {name: words for name in _TOLD if (words := _words(found.get(name)))}


def _words(told: Any) -> tuple[str, ...]:
    items = told if isinstance(told, list) else [told]
    return tuple(item[:80] for item in items[:_MAX_WORDS] if isinstance(item, str) and item not in _NULLS)


def _rendered(markdown: str) -> tuple[str, str]:
    """Return the text as HTML, and its summary."""
    if not markdown.strip():
        return "", ""
    import nh3
    from markdown_it import MarkdownIt

    is_html = markdown.count("<") <= _MAX_TAGS
    renderer = MarkdownIt("commonmark", {"html": is_html}).enable(["table", "strikethrough"])
    renderer.add_render_rule("image", _described)
    renderer.add_render_rule("html_block", _apart)
    tokens = renderer.parse(markdown)
    anchors = _name_headings(tokens)
    made = nh3.clean(
        renderer.renderer.render(tokens, renderer.options, {}),
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}, **{f"h{rank}": {"id"} for rank in range(3, 7)}},
        attribute_filter=_Filter(anchors),
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return made, _summary(tokens)


def _name_headings(tokens: Sequence[Token]) -> set[str]:
    """Give headings a name for links, and their rank below the page's own."""
    anchors: set[str] = set()
    for token, inline in itertools.zip_longest(tokens, tokens[1:]):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
        if token.type == "heading_open" and inline is not None:
            slug = _NO_SLUG.sub("", inline.content.lower()).strip().replace(" ", "-")[:80]
            if slug and slug not in anchors:
                anchors.add(slug)
                token.attrSet("id", f"card-{slug}")
    return anchors


class _Filter:
    """Keep links to other sites and within the card, and one heading of each name."""

    def __init__(self, anchors: set[str]) -> None:
        self._anchors = {f"card-{anchor}" for anchor in anchors}
        self._unused = set(self._anchors)

    def __call__(self, _tag: str, name: str, value: str) -> str | None:
        """Return the value of an attribute; None: it is left out."""
        if name == "id":
            is_free = value in self._unused
            self._unused.discard(value)
            return value if is_free else None
        if name == "href" and value.startswith("#"):
            return f"#card-{value[1:]}" if f"card-{value[1:]}" in self._anchors else None
        return value if name != "href" or _LINK.match(value) else None


def _described(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """Return a picture's description in its place: it lies on another host."""
    told = html.escape(tokens[index].content)
    return f"[picture: {told}]" if told else "[picture]"


def _apart(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """Return HTML whose elements stay apart when their tags are gone."""
    return _BLOCK.sub(" <", tokens[index].content)


def _summary(tokens: Sequence[Token]) -> str:
    """Return the beginning of the text: of the part that is called so, else of the first paragraph."""
    paragraphs: list[tuple[bool, str]] = []
    heading = ""
    for before, token in itertools.pairwise(tokens):
        if token.type != "inline":
            continue
        text = " ".join("".join(_texts(token)).split())
        if before.type == "heading_open":
            heading = text.lower()
        elif before.type == "paragraph_open" and before.level == 0 and len(text) > 20:
            paragraphs.append(("summary" in heading or "description" in heading, text))
    text = next((t for is_summary, t in paragraphs if is_summary), paragraphs[0][1] if paragraphs else "")
    if len(text) <= _MAX_SUMMARY:
        return text
    return f"{text[:_MAX_SUMMARY].rsplit(' ', 1)[0]}…"


def _texts(token: Token) -> Iterator[str]:
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            yield child.content
        elif child.type in ("softbreak", "hardbreak"):
            yield " "
