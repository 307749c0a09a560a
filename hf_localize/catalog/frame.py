"""The frame of a page: its style, its script, and the policy that allows these two and nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template

from hf_localize._version import __version__
from hf_localize.catalog import wording
from hf_localize.catalog.markup import Content, Html, element, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What all pages of a catalog tell."""

    title: str
    #: The day on which it was made.
    made: str
    is_public: bool
    #: Settings by which a reader finds the datasets; none of them is a credential.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Whom to ask for access.
    contact: str | None = None


def page(about: About, title: str, content: Html, *, home: str = "index.html") -> bytes:
    """Return a whole page.

    Args:
        home: where the first page is, as a relative URL.
    """
    # Style and script are in the page, by their hashes: so a page is one file, which browsers treat
    # alike from a folder and from a server, and nothing that a dataset brings along can run.
    policy = (
        f"default-src 'none'; style-src {_hash('catalog.css')}; script-src {_hash('catalog.js')}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    text = filled(
        "page.html",
        policy=policy,
        version=__version__,
        title=title,
        style=Html(_text("catalog.css")),
        script=Html(_text("catalog.js")),
        home=home,
        site=about.title,
        access="Public" if about.is_public else "Team only",
        access_class="public" if about.is_public else "team",
        made=about.made,
        content=content,
    )
    return text.encode("utf-8", "replace")


def filled(name: str, **parts: Content) -> Html:
    """Return the template *name* with *parts*, escaped where they are not HTML, in their places."""
    return Html(Template(_text(name)).substitute({key: joined(part) for key, part in parts.items()}))


def code(text: str, name: str, what: str) -> Html:
    """Return code with a button that copies it.

    Args:
        name: the id of the element.
        what: tells what it is, for the button.
    """
    button = element(
        "button", "Copy", type="button", class_="copy", hidden=True, data_of=name, aria_label=f"Copy {what}"
    )
    shown = element("pre", element("code", text, id=name), tabindex=0, aria_label=what, role="region")
    return element("div", shown, button, element("span", class_="sr", role="status"), class_="code")


def access(about: About, *more: Content, is_public: bool) -> Html:
    """Return how a reader gets access to what is public, or else is the team's alone."""
    settings = code(wording.settings_code(about.variables), "settings", "the settings")
    if is_public:
        text = "Everybody may load this, without an account. Install hf_localize, and set:"
        return joined(element("p", text), settings, *more, _ask(about))
    credentials = element(
        "p",
        "and your own credentials: ",
        element("code", "HGLOC_AWS_ACCESS_KEY_ID"),
        " and ",
        element("code", "HGLOC_AWS_SECRET_ACCESS_KEY"),
        ", or those of AWS’ own tools (profile, SSO, role). They need the rights ",
        element("code", "s3:GetObject"),
        " and ",
        element("code", "s3:ListBucket"),
        " on this bucket.",
    )
    text = "For members of the team. Install hf_localize, and set:"
    return joined(element("p", text), settings, credentials, *more, _ask(about))


def _ask(about: About) -> Html | None:
    return element("p", "To ask for access: ", _contact(about.contact)) if about.contact else None


def _contact(contact: str) -> Html:
    if re.fullmatch(r"https?://\S+", contact):
        return element("a", contact, href=contact, rel="noopener noreferrer")
    if re.fullmatch(r"[^\s@/]+@[^\s@/]+", contact):
        return element("a", contact, href=f"mailto:{contact}")
    return joined(contact)


@functools.cache
def _text(name: str) -> str:
    return (files("hf_localize.catalog") / "templates" / name).read_text("utf-8")


@functools.cache
def _hash(name: str) -> str:
    digest = hashlib.sha256(_text(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
