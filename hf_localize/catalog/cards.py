"""Dataset cards: what their head tells, and their text as HTML that can do nothing.

What a card has of HTML becomes plain text or nothing, and pictures become their descriptions: they lie
on other hosts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_localize.catalog.markup import NOTHING, Html

if TYPE_CHECKING:
    from markdown_it.token import Token

#: Of a longer card the beginning is shown; a longer head is not looked at.
MOST_BYTES = 256 << 10
_MAX_SUMMARY = 220
_HEAD = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
#: HTML whose content is no text.
_NO_TEXT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_NO_SLUG = re.compile(r"[^\w\- ]")
_NULLS = ("", "~", "null")
_TOLD = ("pretty_name", "language", "task_categories", "license")


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset card: some of what its head tells, its text, and the first sentences of that."""

    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text: Html = NOTHING
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
    return tuple(item[:80] for item in items[:12] if isinstance(item, str) and item not in _NULLS)


def _rendered(markdown: str) -> tuple[Html, str]:
    """Return the text as HTML, and its summary."""
    if not markdown.strip():
        return NOTHING, ""
    from markdown_it import MarkdownIt

    # HTML is recognized, so that it can be left out: nothing of it is rendered.
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = renderer.parse(markdown)
    anchors = _name_headings(tokens)
    for token in tokens:
        _disarm(token)
        _disarm_links(token.children or (), anchors)
    tokens = [part for token in tokens for part in _in_paragraph(token)]
    return Html(renderer.renderer.render(tokens, renderer.options, {})), _summary(tokens)


def _name_headings(tokens: Sequence[Token]) -> set[str]:
    """Give headings a name for links, and their rank below the page's own."""
    anchors: set[str] = set()
    for token, inline in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
        if token.type == "heading_open" and inline is not None:
            slug = _NO_SLUG.sub("", inline.content.lower()).strip().replace(" ", "-")[:80]
            if slug and slug not in anchors:
                anchors.add(slug)
                token.attrSet("id", f"card-{slug}")
    return anchors


def _disarm(token: Token) -> None:
    """Make plain text of HTML and pictures."""
    for child in token.children or ():
        _disarm(child)
    if token.type == "html_block":
        text = _TAG.sub(" ", _NO_TEXT.sub(" ", token.content))
        _become_text(token, " ".join(text.split()))
    elif token.type == "html_inline":
        _become_text(token, "")
    elif token.type == "image":
        _become_text(token, f"[picture: {token.content}]" if token.content else "[picture]")
        token.children = None


def _disarm_links(tokens: Sequence[Token], anchors: set[str]) -> None:
    """Keep links to other sites and within the card; others become what they say."""
    kept: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrGet("href") or "")
            is_anchor = target.startswith("#") and target[1:] in anchors
            kept.append(is_anchor or bool(_LINK.match(target)))
            if is_anchor:
                token.attrSet("href", f"#card-{target[1:]}")
            elif kept[-1]:
                token.attrSet("rel", "noopener noreferrer nofollow")
            else:
                _become_text(token, "")
        elif token.type == "link_close" and not kept.pop():
            _become_text(token, "")


def _in_paragraph(token: Token) -> list[Token]:
    """Return a token that is text by itself, as what was HTML now is, in a paragraph; none if it is empty."""
    if token.type != "text":
        return [token]
    if not token.content:
        return []
    around = type(token)
    return [around("paragraph_open", "p", 1), token, around("paragraph_close", "p", -1)]


def _become_text(token: Token, text: str) -> None:
    token.type, token.tag, token.nesting, token.content, token.attrs = "text", "", 0, text, {}


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
        if child.type in ("text", "code_inline") and not child.content.startswith("[picture"):
            yield child.content
        elif child.type in ("softbreak", "hardbreak"):
            yield " "
